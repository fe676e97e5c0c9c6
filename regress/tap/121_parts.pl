# Batches that are larger than a Kafka transaction go out in parts: the rows of a view that gets a sink, and one large ordinary
# transaction. The publisher is killed (-9) between two parts, again and again: every message arrives once and in order.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.transaction_size = 64kB');
my $rows = 20000;

$broker->create($_, 1, 'retention.ms=-1') for qw(input output facts);
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE input (id int, pad text) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE output (id int, pad text) SERVER broker OPTIONS (topic 'output');
	CREATE FOREIGN TABLE facts (id int, pad text) SERVER broker OPTIONS (topic 'facts');
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id, pad FROM input;
	SQL
$broker->produce('input', map { sprintf '\N%s{"id":%d,"pad":"%s"}', "\t", $_, 'x' x 80 } 1 .. $rows);
wait_for_view($node, 'passed');

# Lets a statement write a large batch and kills the publisher while it is out in part, four times. in_part: the place in the
# batch, 0 or nothing before the first part; left: whether there is anything to publish.
sub kill_between_parts
{
	my ($statement, $in_part, $left) = @_;
	my ($killed, $before) = (0, 0);

	$node->safe_psql('postgres', $statement);
	for my $round (1 .. 4)
	{
		my $part;
		wait_until('another part', sub {
			$part = $node->safe_psql('postgres', $in_part) || 0;
			return $part > $before || $node->safe_psql('postgres', $left) eq 'f' });
		last if $part <= $before;
		kill_worker($node, 'publisher');
		restart_after_crash($node);
		($before, $killed) = ($part, $killed + 1);
	}
	return $killed;
}

my $outbox = $node->safe_psql('postgres', "SELECT 'kafka_state.outbox_' || pipeline FROM kafka_state.pipeline");
my $killed = kill_between_parts("SELECT kafka.attach_sink('passed', 'output')", 'SELECT part FROM kafka_state.published',
	"SELECT EXISTS (SELECT FROM $outbox)");
cmp_ok($killed, '>', 0, "the publisher was killed between parts of a pipeline's batch, $killed times");
$broker->produce('input', '\N' . "\t{\"id\":" . ($rows + 1) . '}');
wait_for_sink($broker, 'output', $rows + 1);
wait_for_view($node, 'passed');
my @ids = map { /"id":(\d+)/ } $broker->consume('output', format => '%v');
is(scalar @ids, $rows + 1, 'every row is out once');
is_deeply([ sort { $a <=> $b } @ids ], [ 1 .. $rows + 1 ], 'and none is missing');
is($ids[-1], $rows + 1, 'a later batch comes after them');

$killed = kill_between_parts("INSERT INTO facts SELECT i, repeat('x', 80) FROM generate_series(1, $rows) i",
	'SELECT part FROM kafka_state.transaction_batch WHERE NOT published', 'SELECT EXISTS (SELECT FROM kafka_state.transaction_outbox)');
cmp_ok($killed, '>', 0, "and between parts of a transaction's, $killed times");
for my $more (1 .. 2)
{
	$node->safe_psql('postgres', 'INSERT INTO facts VALUES (' . ($rows + $more) . ')');
	wait_for_sink($broker, 'facts', $rows + $more);
}
is_deeply([ map { /"id":(\d+)/ } $broker->consume('facts', format => '%v') ], [ 1 .. $rows + 2 ], 'every fact is out once, in order');

# what a part costs is not more because it is one of many: rows are found, fetched and deleted, and not looked through again for each part
$node->safe_psql('postgres', q{SELECT pg_stat_reset_single_table_counters('kafka_state.transaction_outbox'::regclass)});
$node->safe_psql('postgres', "INSERT INTO facts SELECT i, repeat('x', 80) FROM generate_series(1, $rows) i");
my ($read, $written, $deleted);
wait_until('all of it to be deleted', sub {
	($read, $written, $deleted) = split /\|/, $node->safe_psql('postgres', q{
		SELECT idx_tup_fetch + seq_tup_read, n_tup_ins, n_tup_del FROM pg_stat_all_tables WHERE relid = 'kafka_state.transaction_outbox'::regclass});
	return $written > 100 && $deleted >= $written });
note("$written rows, read $read times");
cmp_ok($read, '<', 10 * $written, 'the rows of a large transaction are read a few times, and not once for each of its parts');

done_testing();
