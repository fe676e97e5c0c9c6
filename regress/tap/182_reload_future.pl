# What is from the future when a buffer is read again after a crash, because kafka.max_ahead is less than it was, or the clock was set back, was not when it was
# applied: it is in the buffer as before. What was from the future then is not, though it is none any more.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => "kafka.max_ahead = '1h'");
my $minute_ms = 60_000;
my $now_ms = time() * 1000;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub max_ahead
{
	my ($setting) = @_;
	$node->append_conf('postgresql.conf', "kafka.max_ahead = '$setting'");
	$node->reload;
	return wait_until('the setting', sub { query('SHOW kafka.max_ahead') eq $setting });
}
# A record of some minutes ahead; by its event time it may be more ahead than by its timestamp.
sub record
{
	my ($id, $minutes, $of_kafka) = @_;
	return sprintf qq(ts=%d k\t{"id":%d,"at":%d}), $now_ms + ($of_kafka // $minutes) * $minute_ms, $id, $now_ms + $minutes * $minute_ms;
}

$broker->create($_, 1, 'retention.ms=-1', 'message.timestamp.after.max.ms=' . 24 * 60 * $minute_ms) for qw(lefts rights);
query(<<~'SQL');
	CREATE FOREIGN TABLE lefts (id int, at timestamptz) SERVER broker OPTIONS (topic 'lefts', event_time 'at');
	CREATE FOREIGN TABLE rights (id int, at timestamptz) SERVER broker OPTIONS (topic 'rights', event_time 'at');
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous) AS
	  SELECT l.id FROM lefts l JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '1 hour';
	SQL
$broker->produce('lefts', record(1, 0), record(2, 30), record(3, 31, 0), record(4, 300));
$broker->produce('rights', record(0, 0));
wait_for_view($node, 'pairs');
is(query('SELECT string_agg(record_offset::text, \' \') FROM kafka_state.dead_letter'), '3', 'one is from the future');

query('CHECKPOINT');    # not lost with the last commits
max_ahead('1min');
kill_worker($node, 'kafka_views worker pairs');
restart_after_crash($node);
wait_until('the pipeline to be back', sub { my (undef, $phase) = ask($node, 'postgres', 'SELECT phase FROM kafka.pipelines'); ($phase // '') =~ /^(live|failed)$/ });
is(query('SELECT error FROM kafka.pipelines'), '', 'what was applied is none now');
max_ahead('10h');
$broker->produce('rights', map { record($_, 32) } 1 .. 4);
wait_for_view($node, 'pairs');
is(query('SELECT string_agg(id::text, \' \' ORDER BY id) FROM pairs'), '1 2 3', 'it is in the buffer, and what was set aside is not');
done_testing();
