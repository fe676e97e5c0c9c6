# A pipeline that is far behind in many partitions holds no more of their records in memory than kafka.buffer_limit, however long it
# stands still, applies all of them in the end, one that is larger than the share of its partition too, and follows a change of the limit.

use strict;
use warnings;
use KafkaViews;
use Test::More;

use constant { PARTITIONS => 40, RECORDS => 400, RECORD => 10_000 };	# 160 MB

my $broker = KafkaViews::Broker->shared;
my $topic = "buffer_limit_$$";
my $node = new_node('main', broker => $broker, conf => 'kafka.buffer_limit = 16MB');

sub query { return $node->safe_psql('postgres', $_[0]) }

$broker->create($topic, PARTITIONS, 'retention.ms=-1');
query(<<~"SQL");
	CREATE FOREIGN TABLE facts (id int, pad text) SERVER broker OPTIONS (topic '$topic');
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT count(*) AS records, count(DISTINCT id) AS ids, sum(length(pad)) AS length FROM facts;
	SQL
$broker->produce($topic, map { qq(partition=$_ ts=1000 k\t{"id":-$_}) } 0 .. PARTITIONS - 1);
wait_for_view($node, 'v');

my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; LOCK TABLE v IN SHARE MODE');
my $worker = worker_pid($node, 'worker');
my $before = memory_of($worker, 'VmRSS');
my $id = 0;
for my $partition (0 .. PARTITIONS - 1)
{
	$broker->produce($topic, map { $id++; sprintf "partition=%d ts=%d k\t{\"id\":%d,\"pad\":\"%s\"}", $partition, 2000 + $id, $id, 'x' x RECORD } 1 .. RECORDS);
}
$broker->produce($topic, sprintf "partition=0 ts=9000000 k\t{\"id\":0,\"pad\":\"%s\"}", 'y' x 900_000);
wait_until('the worker to wait', sub { query("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $worker") eq 'Lock' });
my ($last, $same) = (0, 0);
wait_until('its memory not to grow', sub { my $now = memory_of($worker, 'VmRSS'); $same = $now > $last ? 0 : $same + 1; $last = $now if $now > $last; return $same == 30 });
cmp_ok(memory_of($worker, 'VmRSS') - $before, '<', 40, 'what waits is not in memory');

$session->query_safe('COMMIT');
$session->quit;
wait_for_view($node, 'v');
is(query('SELECT * FROM v'), join('|', PARTITIONS + $id + 1, PARTITIONS + $id, RECORD * $id + 900_000), 'all is applied, a record that is larger than the share too');
cmp_ok(memory_of($worker, 'VmHWM') - $before, '<', 100, 'and was never in memory at once');
is(worker_pid($node, 'worker'), $worker, 'by the same process');

# A pipeline that begins knows no end of any partition, and the times of each lie behind those of the one before: it waits for the first with its hands full.
query('CREATE MATERIALIZED VIEW w WITH (kafka.continuous) AS SELECT count(*) AS records, count(DISTINCT id) AS ids, sum(length(pad)) AS length FROM facts');
wait_for_view($node, 'w');
is(query('SELECT * FROM w'), query('SELECT * FROM v'), 'another pipeline applies all from the beginning');
my $other = query("SELECT pid FROM kafka.pipelines WHERE pipeline = 'w'");
cmp_ok(memory_of($other, 'VmHWM') - $before, '<', 100, 'and has not more of it in memory');

$node->append_conf('postgresql.conf', 'kafka.buffer_limit = 64MB');
$node->reload;
$broker->produce($topic, "partition=1 ts=9000000 k\t{\"id\":100000,\"pad\":\"x\"}");
wait_for_view($node, 'v');
is(query('SELECT ids FROM v'), PARTITIONS + $id + 1, 'it goes on with another limit');
is(query(q{SELECT coalesce(string_agg(error, ' '), '') FROM kafka.pipelines}), '', 'without an error');
$broker->delete($topic);

done_testing();
