# pg_dump and restore: a restored database has its views, their rows and positions, starts nothing by itself, and goes on from the
# positions, under names of its own in Kafka, after kafka.fork(). What only a live view has (internal dependencies) is there again.
# So do unstored views, which pg_dump takes for plain ones: they are continuous again, with their sinks.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my $node = new_node('original', broker => $broker);
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';

$broker->create($_, 2, 'retention.ms=-1') for qw(dump_orders dump_even);
$broker->produce('dump_orders', map { qq({"id": $_, "k": ${\ ($_ % 3)}, "at": ${\ ($_ * 1000)}}) } 1 .. 30);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE orders (id bigint, k int, at timestamptz) SERVER broker OPTIONS (topic 'dump_orders', event_time 'at');
	CREATE MATERIALIZED VIEW sums WITH (kafka.continuous) AS SELECT k, count(*) AS n, avg(id) AS mean FROM orders GROUP BY k;
	COMMENT ON MATERIALIZED VIEW sums IS 'counted';
	CREATE FOREIGN TABLE even_sink (id bigint OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'dump_even');
	BEGIN;
	CREATE VIEW even WITH (kafka.continuous) AS SELECT a.id, a.at FROM orders a JOIN orders b ON b.id = a.id AND b.at = a.at WHERE a.id % 2 = 0;
	CREATE MATERIALIZED VIEW evens WITH (kafka.continuous) AS SELECT count(*) AS n FROM even;
	SELECT kafka.attach_sink('even', 'even_sink');
	COMMIT;
	COMMENT ON VIEW even IS 'not odd';
});
wait_for_view($node, $_) for qw(sums even);

$node->run_log([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ]);
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'the dump restores without an error');

my $rows = 'SELECT k, n, mean FROM sums ORDER BY k';
my $expected = $node->safe_psql('postgres', $rows);
is($node->safe_psql('restored', $rows), $expected, 'rows are restored');
is($node->safe_psql('restored', "SELECT obj_description('sums'::regclass)"), 'counted', 'so is the comment');
is($node->safe_psql('restored', q{SELECT sum(next_offset) FROM kafka_state.position p JOIN kafka_state.pipeline USING (pipeline) WHERE name = 'sums'}),
	30, 'positions are restored');
is($node->safe_psql('restored', q{SELECT view, stored, obj_description(view), (SELECT topic FROM kafka.sinks s WHERE s.relation = v.view)
	FROM kafka.views v WHERE view::text = 'even'}), 'even|f|not odd|even_sink', 'an unstored view is restored with its sink');

# the original goes on; the copy does not
$broker->produce('dump_orders', map { qq({"id": $_, "k": 7, "at": ${\ ($_ * 1000)}}) } 31 .. 40);
wait_for_view($node, 'sums');
is($node->safe_psql('postgres', 'SELECT n FROM sums WHERE k = 7'), 10, 'the original goes on');
is($node->safe_psql('restored', $rows), $expected, 'the copy stands still');
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'restored' AND backend_type = 'kafka_views worker'}), 0,
	'and runs no worker');

$node->safe_psql('restored', 'SELECT kafka.fork()');
wait_for_view($node, 'sums', 'restored');
is($node->safe_psql('restored', $rows), $node->safe_psql('postgres', $rows), 'after kafka.fork() it goes on from its positions');
is($node->safe_psql('restored', 'SELECT count(*) FROM kafka.verify(\'sums\')'), 0, 'and equals its query');

# the unstored view: original and copy have each written the rows since the dump to the sink; its buffers are made again from the topic
wait_for_view($node, 'even', $_) for qw(postgres restored);
is(join(' ', sort { $a <=> $b } wait_for_sink($broker, 'dump_even', 25, format => '%k')), join(' ', map { 2 * $_ } 1 .. 15, map { ($_, $_) } 16 .. 20),
	'the copy of an unstored view goes on from its positions too');
is($node->safe_psql('restored', 'SELECT n FROM evens'), 20, 'and so does the view over it');
my ($status, undef, $error) = $node->psql('restored', 'CREATE OR REPLACE VIEW even AS SELECT id, at FROM orders');
like($error, qr/cannot replace continuous view/, 'it is known for what it is');
$node->safe_psql('restored', 'DROP VIEW even CASCADE');

$node->safe_psql('restored', 'DROP MATERIALIZED VIEW sums');
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'kafka_state'::regnamespace AND relname ~ '_\d+$'}), 0,
	'DROP takes what belongs to the view');
$node->safe_psql('postgres', 'DROP DATABASE restored');

# a restore that lacks a view's rows: nobody is to go on without knowing that
$node->safe_psql('postgres', 'CREATE DATABASE restored');
for my $part ([ '--schema-only' ], [ '--data-only', '--exclude-table-data', 'sums' ])
{
	$node->run_log([ 'pg_dump', @$part, '-f', $dump, $node->connstr('postgres') ]);
	$node->run_log([ 'psql', '-X', '-q', '-f', $dump, $node->connstr('restored') ]);
}
(undef, undef, $error) = $node->psql('restored', 'SELECT kafka.fork()');
like($error, qr/WARNING:  continuous view public\.sums is empty\nDETAIL:  Its pipeline has read \d+ records before/, 'views without their rows are told of');
$node->safe_psql('postgres', 'DROP DATABASE restored');
is($node->safe_psql('postgres', 'SELECT count(*) FROM kafka.verify(\'sums\')'), 0, 'the original was not touched');

$node->stop;
done_testing();
