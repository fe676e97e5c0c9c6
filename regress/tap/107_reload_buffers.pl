# After a crash the unlogged buffers hold exactly the rows that a probe could see before it: those that were late by their own
# partition, late by the frontier alone, or dead letters stay out; evicted ones do not matter. Two partitions run out of order
# and unevenly, the batches are small, and there are enough records for several marks to reload from. The seed is printed.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} // int(rand(1 << 31));
srand($seed);
note("SEED=$seed");

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => 'kafka.batch_rows = 500');
my $begin_ms = 1_700_000_000_000;

$broker->create($_, 2, 'retention.ms=-1') for qw(lefts rights);
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE lefts (id bigint, divisor int, at timestamptz) SERVER broker OPTIONS (topic 'lefts', event_time 'at');
	CREATE FOREIGN TABLE rights (id bigint, at timestamptz) SERVER broker OPTIONS (topic 'rights', event_time 'at');
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '2 s') AS
	  SELECT l.id, 100 / l.divisor AS share, r.at FROM lefts l
	  JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '20 s';
	SQL

# Record i is at i * 2 ms, some up to 30 s behind; partition 1 of each topic now and then runs ahead or falls behind.
sub records
{
	my ($from, $to, $value) = @_;

	return map {
		my $at = $begin_ms + 2 * $_ - (rand() < 0.05 ? int(rand(30_000)) : int(rand(500)));
		sprintf "partition=%d ts=%d %d\t%s", (rand() < ($_ % 5000 < 1000 ? 0.9 : 0.4) ? 1 : 0), $at, $_, $value->($_, $at);
	} $from .. $to;
}

# Buffers as far as a probe can see them, and where the pipeline stands.
sub visible_buffers
{
	my $view = $node->safe_psql('postgres', "SELECT view FROM kafka_state.view WHERE relation = 'pairs'::regclass");
	my $frontier = "(SELECT timestamptz '2000-01-01 00:00+00' + frontier * interval '1 microsecond' FROM kafka_state.view WHERE view = $view)";

	return join "\n", map {
		$node->safe_psql('postgres', "SELECT $_, * FROM kafka_state.buffer_${view}_$_ WHERE kv_time > $frontier - interval '22 s' ORDER BY 2, 3, 4")
	} 0, 1;
}

# the frontier is 5 s further than what partition 1 begins with
$broker->produce($_, sprintf "partition=0 ts=%d 0\t{\"id\":0,\"divisor\":1,\"at\":%d}", ($begin_ms + 5000) x 2) for qw(lefts rights);
wait_for_view($node, 'pairs');
for my $part (0 .. 5)
{
	my ($from, $to) = (1 + 8000 * $part, 8000 * ($part + 1));
	my @lefts = records($from, $to, sub { sprintf '{"id":%d,"divisor":%d,"at":%d}', $_[0], $_[0] % 700 ? 7 : 0, $_[1] });

	$lefts[ int(rand(@lefts)) ] .= '}' for 1 .. 3;    # bad records
	$broker->produce('lefts', @lefts);
	$broker->produce('rights', records($from, $to, sub { sprintf '{"id":%d,"at":%d}', $_[0], $_[1] + 300 }));
	wait_for_view($node, 'pairs') if $part % 2;
}
wait_for_view($node, 'pairs');

# what was late by the frontier alone at the beginning is older than any buffer by now and forgotten; a new partition brings more
$broker->add_partitions('rights', 3);
wait_until('the new partition', sub { $node->safe_psql('postgres', q{SELECT count(*) FROM kafka_state.position WHERE relation = 'rights'::regclass}) == 3 });
$broker->produce('rights', map { my $at = $begin_ms + 85_000 + $_; sprintf 'partition=2 ts=%d %d%s{"id":%d,"at":%d}', $at, $_, "\t", $_, $at } 1 .. 50);
wait_for_view($node, 'pairs');

my %count = map { $_ => $node->safe_psql('postgres', $_) } 'SELECT late_rows FROM kafka_state.view',
  'SELECT count(*) FROM kafka_state.dead_letter WHERE view IS NULL', 'SELECT count(*) FROM kafka_state.dead_letter WHERE view IS NOT NULL',
  'SELECT count(*) FROM kafka_state.skipped s WHERE view IS NOT NULL AND NOT EXISTS (SELECT FROM kafka_state.dead_letter d '
  . 'WHERE (d.relation, d.partition, d.record_offset) = (s.relation, s.partition, s.record_offset))',
  'SELECT count(*) FROM kafka_state.mark';
cmp_ok($count{$_}, '>', 0, "there are some: $_") for sort keys %count;

my $before = visible_buffers();
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM pairs');
cmp_ok(length $before, '>', 10_000, 'the buffers are not empty');
kill_worker($node, 'kafka_views worker pairs');
restart_after_crash($node);
wait_until('the reload to be over', sub {
	my ($status, $phase) = $node->psql('postgres', 'SELECT phase FROM kafka.pipelines');
	return $status == 0 && $phase eq 'live';
});
ok(visible_buffers() eq $before, 'the buffers are what they were');
cmp_ok($node->safe_psql('postgres', 'SELECT reload_total FROM kafka.pipelines'), '<', 90_000, 'the reload began at marks');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pairs'), $rows, 'a reload makes no rows');

done_testing();
