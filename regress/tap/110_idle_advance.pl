# With kafka.idle_advance time goes on by the clock once all partitions are idle: the frontier of a join moves, no faster than the
# clock does, and what comes behind it is late. A restart neither loses what time has gained nor adds it again, though the stream
# times of the partitions, from which every run starts, have stood still. What the frontier passes is closed then, without a record.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('main', broker => $broker, conf => 'kafka.idle_timeout = 0');

sub query { return $node->safe_psql('postgres', $_[0]) }

# Seconds of event time since the last record, seconds of the clock since the given moment.
sub gained { return query("SELECT extract(epoch FROM frontier - timestamptz '2024-01-01 00:00:10+00') FROM kafka.views WHERE view = 'pairs'::regclass") }
sub since { return query("SELECT extract(epoch FROM clock_timestamp() - '$_[0]')") }
sub clock { return query('SELECT clock_timestamp()') }
sub stream_times { return query(q(SELECT string_agg(stream_time::text, ' ' ORDER BY topic::text, partition) FROM kafka.lag WHERE pipeline = 'pairs')) }

$broker->create($_, 2, 'retention.ms=-1') for qw(idle_lefts idle_rights);
query(<<~'SQL');
	CREATE FOREIGN TABLE lefts (id int, at timestamptz) SERVER broker OPTIONS (topic 'idle_lefts', event_time 'at');
	CREATE FOREIGN TABLE rights (id int, at timestamptz) SERVER broker OPTIONS (topic 'idle_rights', event_time 'at');
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '1 s') AS
	  SELECT l.id, r.at FROM lefts l JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '1 s';
	CREATE MATERIALIZED VIEW alone WITH (kafka.continuous, kafka.grace = '1 s') AS
	  SELECT l.id, l.at FROM lefts l LEFT JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at + interval '0.5 s' AND l.at + interval '1 s' WHERE r.id IS NULL;
	SQL
my $fed = clock();
$broker->produce($_, map { qq(partition=$_ 1\t{"id":1,"at":"2024-01-01 00:00:0$_+00"}) } 0, 1) for qw(idle_lefts idle_rights);
# a partition without a record holds nothing back: its first one would be late behind the others' next ones, should those be fetched before it
wait_for_view($node, $_) for qw(pairs alone);
$broker->produce($_, qq(partition=0 1\t{"id":1,"at":"2024-01-01 00:00:10+00"})) for qw(idle_lefts idle_rights);
wait_for_view($node, $_) for qw(pairs alone);
my $before = stream_times();

# not before: a slow machine takes longer than that from topic to topic
$node->append_conf('postgresql.conf', "kafka.idle_timeout = '300ms'\nkafka.idle_advance = on");
$node->reload;
wait_until('time to go on', sub { gained() > 8 });
cmp_ok(gained(), '<=', since($fed), 'time goes on, and not faster than the clock');
is(stream_times(), $before, 'the stream times stand still');
wait_until('the rows without a match', sub { query('SELECT count(*) FROM alone') == 2 });
pass('time alone closes the rows without a match');

query("SELECT kafka.pause('pairs'::regclass)");
wait_until('the pause', sub { query('SELECT phase FROM kafka.pipelines WHERE pipeline = \'pairs\'') eq 'paused' });
my $paused = gained();
$node->restart;
is(gained(), $paused, 'the frontier is state');
my $restarted = clock();
query("SELECT kafka.resume('pairs'::regclass)");
wait_until('time to go on after the restart', sub { gained() > $paused });
my $now = gained();
my $run = since($restarted);
cmp_ok($now - $paused, '<=', $run, 'the gain before the restart is not made again');
cmp_ok($now, '>', $run, 'nor is it lost: it went on from there');

$broker->produce('idle_lefts', qq(partition=0 1\t{"id":1,"at":"2024-01-01 00:00:10.5+00"}));
wait_for_view($node, 'pairs');
is(query('SELECT late_rows FROM kafka.views WHERE view = \'pairs\'::regclass'), '1', 'what is older than the time reached is late');
done_testing();
