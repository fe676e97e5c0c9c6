# Every record of a topic is bad, first because it cannot be decoded, then because the view's expression fails on it, with a good one
# here and there: the pipeline goes on, the log hears nothing, and whatever dies in the middle, each bad record is a dead letter once
# and each good one is in the view once. With on_error 'skip' the same leaves no dead letters; with 'stop' a bad record stands
# in the way, and is named, until the topic's table says otherwise.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 1000');
my $records = 6000;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub dead_letters { my ($status, $count) = ask($node, 'postgres', "SELECT count(*) FROM kafka_state.dead_letter WHERE relation = '$_[0]'::regclass"); return $count // 0 }

# Of a hundred records 98 are bad, by the value given.
sub storm { my ($topic, $bad) = @_; $broker->produce($topic, map { $_ % 50 ? qq($_\t{"id":$_,"v":$bad}) : qq($_\t{"id":$_,"v":1}) } 1 .. $records); return }

$broker->create("storm_$_", 2, 'retention.ms=-1') for qw(codes values copies);
query(<<~"SQL") for qw(codes values);
	CREATE FOREIGN TABLE storm_$_ (id int, v int) SERVER broker OPTIONS (topic 'storm_$_');
	SQL
query(<<~'SQL');
	CREATE FOREIGN TABLE storm_copies (id int, inverse int) SERVER broker OPTIONS (topic 'storm_copies');
	BEGIN;
	CREATE MATERIALIZED VIEW codes WITH (kafka.continuous) AS SELECT id, v FROM storm_codes;
	CREATE MATERIALIZED VIEW inverses WITH (kafka.continuous) AS SELECT id, 1 / v AS inverse FROM storm_values;
	CREATE MATERIALIZED VIEW ids WITH (kafka.continuous, kafka.pipeline = 'inverses') AS SELECT id FROM storm_values;
	CREATE TRIGGER publish AFTER INSERT ON inverses REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('storm_copies');
	COMMIT;
	SQL
for my $case ([codes => '"x"'], [values => 0])
{
	my ($name, $bad) = @$case;

	storm("storm_$name", $bad);
	wait_until("the storm of $name to begin", sub { dead_letters("storm_$name") > 0 });
	kill_worker($node, 'kafka_views worker ' . ($name eq 'codes' ? 'codes' : 'inverses'));
	restart_after_crash($node);
}
wait_for_view($node, $_) for qw(codes inverses ids);
my $expected = $records / 50;
is(query("SELECT count(*), count(DISTINCT id), sum(id) FROM $_"), join('|', $expected, $expected, 50 * $expected * ($expected + 1) / 2), "the good records are in $_ once")
  for qw(codes inverses);
is(query('SELECT count(*), count(DISTINCT id) FROM ids'), "$records|$records", 'all are in a view that bears them');
is(query("SELECT count(*), count(DISTINCT (partition, record_offset)) FROM kafka_state.dead_letter WHERE relation = 'storm_$_'::regclass"),
	join('|', ($records - $expected) x 2), "the bad ones of storm_$_ are dead letters once") for qw(codes values);
is(scalar(wait_for_sink($broker, 'storm_copies', $expected)), $expected, 'and the good ones went out once');
unlike(slurp_file($node->logfile), qr/division by zero|invalid input syntax|does not fit/, 'the log is silent');

query(<<~'SQL');
	CREATE FOREIGN TABLE skipped (id int, v int) SERVER broker OPTIONS (topic 'storm_codes', on_error 'skip');
	CREATE FOREIGN TABLE strict (id int, v int) SERVER broker OPTIONS (topic 'storm_values', on_error 'stop');
	CREATE MATERIALIZED VIEW without_bad WITH (kafka.continuous) AS SELECT id, v FROM skipped;
	CREATE MATERIALIZED VIEW strict_inverses WITH (kafka.continuous) AS SELECT id, 1 / v AS inverse FROM strict;
	SQL
wait_for_view($node, 'without_bad');
is(query('SELECT count(*) FROM without_bad'), $expected, 'skipped: the good ones are there');
is(dead_letters('skipped'), 0, 'and no dead letters');
is(query("SELECT dead_letters FROM kafka.pipelines WHERE pipeline = 'without_bad'"), 0, 'nor are any shown');
wait_until('the pipeline to stop', sub { query("SELECT state FROM kafka.pipelines WHERE pipeline = 'strict_inverses'") eq 'failed' });
like(query("SELECT concat_ws(' ', error, error_detail, error_hint) FROM kafka.pipelines WHERE pipeline = 'strict_inverses'"),
	qr/^division by zero It is record \d+ of topic "storm_values" partition [01], in continuous view (public\.)?strict_inverses\. Foreign table .*'dead_letter'/,
	'stopped: it says by which record, and what to do');
query(q{ALTER FOREIGN TABLE strict OPTIONS (SET on_error 'dead_letter')});
wait_for_view($node, 'strict_inverses');
is(query('SELECT count(*) FROM strict_inverses'), $expected, 'and it goes on when told so');
is(dead_letters('strict'), $records - $expected, 'with dead letters');
done_testing();
