# Producers' batches are large, partitions are many, and the limit has no room for one batch of each: a pipeline holds the records that it
# waits with, not the batches that they came in; it applies all of them in the end, with keys, nulls and headers, and gives the memory back.

use strict;
use warnings;
use KafkaViews;
use Test::More;

use constant { PARTITIONS => 100, RECORDS => 1000, RECORD => 1000 };	# 100 MB, in two batches a partition: of 1 MB, and of the rest

my $broker = KafkaViews::Broker->shared;
my $topic = "large_batches_$$";
my $node = new_node('main', broker => $broker, conf => 'kafka.buffer_limit = 16MB');

sub query { return $node->safe_psql('postgres', $_[0]) }

$broker->create($topic, PARTITIONS, 'retention.ms=-1');
query(<<~"SQL");
	CREATE FOREIGN TABLE facts (id int, pad text, name text OPTIONS (metadata 'key'), headers jsonb OPTIONS (metadata 'headers')) SERVER broker OPTIONS (topic '$topic');
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
		SELECT count(*) AS records, sum(id) AS ids, sum(length(pad)) AS length, count(name) AS names, count(headers->>'h') AS headers FROM facts;
	SQL
$broker->produce($topic, map { qq(partition=$_ ts=1000 k\t{"id":-$_}) } 0 .. PARTITIONS - 1);
wait_for_view($node, 'v');
my $before = memory_of(worker_pid($node, 'worker'), 'RssAnon');
my $file = memory_of(worker_pid($node, 'worker'), 'RssFile');

query(q{SELECT kafka.pause('v')});
for my $partition (0 .. PARTITIONS - 1)
{
	my @lines = map { sprintf "partition=%d ts=%d %sk\t{\"id\":%d,\"pad\":\"%s\"}\n", $partition, 2000 + $_, $_ % 2 ? '' : "header=h:$_ ", $partition * RECORDS + $_, 'x' x RECORD } 1 .. RECORDS;
	$broker->kv_kafka(join('', @lines), 'produce', $topic, '--linger', 1000);
}
$broker->produce($topic, "partition=0 ts=9000000 \\N", qq(partition=1 ts=9000000 {"id":1,"pad":""}));
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; SELECT * FROM v FOR UPDATE');
query(q{SELECT kafka.resume('v')});
my $worker = worker_pid($node, 'worker');
wait_until('the worker to wait', sub { query("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $worker") eq 'Lock' });
my ($last, $same) = (0, 0);
wait_until('its memory not to grow', sub { my $now = memory_of($worker, 'RssAnon'); $same = $now > $last ? 0 : $same + 1; $last = $now if $now > $last; return $same == 30 });
cmp_ok(memory_of($worker, 'RssAnon') - $before, '<', 40, 'a record of each partition waits, and not its batch');

$session->query_safe('COMMIT');
$session->quit;
wait_for_view($node, 'v');
my $ids = PARTITIONS * RECORDS;
is(query('SELECT * FROM v'), join('|', $ids + PARTITIONS + 1, $ids * ($ids + 1) / 2 - PARTITIONS * (PARTITIONS - 1) / 2 + 1, PARTITIONS * RECORDS * RECORD, PARTITIONS * (RECORDS + 1), PARTITIONS * RECORDS / 2), 'all is applied');
my $peak = memory_of($worker, 'VmHWM') - $file;
cmp_ok($peak - $before, '<', 80, 'and was never in memory at once');
wait_until('most of it to be given back', sub { return memory_of($worker, 'RssAnon') - $before < 25 });
is(worker_pid($node, 'worker'), $worker, 'by the same process');
is(query(q{SELECT coalesce(string_agg(error, ' '), '') FROM kafka.pipelines}), '', 'without an error');
$broker->delete($topic);

done_testing();
