# A run of a worker ends by an error while records wait in its rings, as messages of the client and, where partitions are parked, as copies: what is
# given back to the client is looked at before it is freed. Memory is overwritten when it is freed here, so that nobody finds in it what was there.

use strict;
use warnings;
use KafkaViews;
use Test::More;

use constant { PARTITIONS => 4, RECORDS => 4000 };

$ENV{MALLOC_PERTURB_} = 165;
my $broker = KafkaViews::Broker->shared;
my $topic = "end_with_records_$$";
my $node = new_node('main', broker => $broker, conf => "kafka.buffer_limit = 16MB\nkafka.batch_rows = 100");

sub query { return $node->safe_psql('postgres', $_[0]) }

$broker->create($topic, PARTITIONS, 'retention.ms=-1');
query(<<~"SQL");
	CREATE FOREIGN TABLE facts (id int, pad text, headers jsonb OPTIONS (metadata 'headers')) SERVER broker OPTIONS (topic '$topic');
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT count(*) AS records, sum(id) AS ids, count(headers->>'h') AS headers FROM facts;
	SQL
for my $pad (10, 2000)
{
	my $before = query('SELECT records FROM v');
	query(q{SELECT kafka.pause('v')});
	for my $partition (0 .. PARTITIONS - 1)
	{
		$broker->produce($topic, map { sprintf "partition=%d header=h:%d k\t{\"id\":%d,\"pad\":\"%s\"}", $partition, $_, $_, 'x' x $pad } 1 .. RECORDS);
	}
	my $session = $node->background_psql('postgres', on_error_die => 1);
	$session->query_safe('BEGIN; SELECT * FROM v FOR UPDATE');
	query(q{SELECT kafka.resume('v')});
	my $worker = worker_pid($node, 'worker');
	wait_until('the batch to wait', sub { return query("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $worker") eq 'Lock' });
	cmp_ok(query('SELECT buffered_records FROM kafka.pipelines'), '>', 100, 'records wait behind it');
	query("SELECT pg_cancel_backend($worker)");
	wait_until('the run to end', sub { return query('SELECT error FROM kafka.pipelines') =~ /cancel/ });
	$session->query_safe('COMMIT');
	$session->quit;
	wait_for_view($node, 'v');
	is(query('SELECT * FROM v'), join('|', $before + PARTITIONS * RECORDS, ($before / (PARTITIONS * RECORDS) + 1) * PARTITIONS * RECORDS * (RECORDS + 1) / 2, $before + PARTITIONS * RECORDS), 'all is applied');
	is(worker_pid($node, 'worker'), $worker, 'by the same process');
}
$broker->delete($topic);

done_testing();
