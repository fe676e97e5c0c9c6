# pg_dump and restore: a restored database has its views, their rows and positions, starts nothing by itself, and goes on from the
# positions, under names of its own in Kafka, after kafka.fork(). What only a live view has (internal dependencies) is there again.
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

$broker->create('dump_orders', 2, 'retention.ms=-1');
$broker->produce('dump_orders', map { qq({"id": $_, "k": ${\ ($_ % 3)}, "at": ${\ ($_ * 1000)}}) } 1 .. 30);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE orders (id bigint, k int, at timestamptz) SERVER broker OPTIONS (topic 'dump_orders', event_time 'at');
	CREATE MATERIALIZED VIEW sums WITH (kafka.continuous) AS SELECT k, count(*) AS n, avg(id) AS mean FROM orders GROUP BY k;
	COMMENT ON MATERIALIZED VIEW sums IS 'counted';
});
wait_for_view($node, 'sums');

$node->run_log([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ]);
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'the dump restores without an error');

my $rows = 'SELECT k, n, mean FROM sums ORDER BY k';
my $expected = $node->safe_psql('postgres', $rows);
is($node->safe_psql('restored', $rows), $expected, 'rows are restored');
is($node->safe_psql('restored', "SELECT obj_description('sums'::regclass)"), 'counted', 'so is the comment');
is($node->safe_psql('restored', 'SELECT sum(next_offset) FROM kafka_state.position'), 30, 'positions are restored');

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

$node->safe_psql('restored', 'DROP MATERIALIZED VIEW sums');
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'kafka_state'::regnamespace AND relname ~ '_\d+$'}), 0,
	'DROP takes what belongs to the view');
$node->safe_psql('postgres', 'DROP DATABASE restored');
is($node->safe_psql('postgres', 'SELECT count(*) FROM kafka.verify(\'sums\')'), 0, 'the original was not touched');

$node->stop;
done_testing();
