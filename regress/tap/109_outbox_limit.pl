# A publisher that stands still: the pipeline waits once more than kafka.outbox_limit is to be published, says so in
# kafka.pipelines, and goes on by itself when the messages are out. And an outbox that is large with nothing in it is emptied, also before anything of the pipeline is out.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
my ($topic, $sink) = map { "outbox_limit_${_}_$$" } qw(topic sink);
my $node = new_node('main', broker => $broker, conf => "kafka.outbox_limit = 1MB\nkafka.batch_rows = 1000");

# the first batch fails until it may succeed; dead rows of such batches are made below
$broker->create($_, 1) for $topic, $sink;
$node->safe_psql('postgres', <<~"SQL");
	ALTER TABLE kafka_state.outbox_batch ADD CONSTRAINT none CHECK (false);
	CREATE FOREIGN TABLE facts (id int, pad text) SERVER broker OPTIONS (topic '$topic');
	CREATE FOREIGN TABLE sink (id int, pad text) SERVER broker OPTIONS (topic '$sink');
	BEGIN;
	CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id, pad FROM facts;
	CREATE TRIGGER publish AFTER INSERT ON v REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
	COMMIT;
	SQL
my $outbox = $node->safe_psql('postgres', "SELECT 'kafka_state.outbox_' || pipeline FROM kafka_state.pipeline");
$node->safe_psql('postgres', "BEGIN; INSERT INTO $outbox SELECT 1, i, convert_to(repeat('x', 1000), 'UTF8') FROM generate_series(1, 20000) i; ROLLBACK");
wait_until('the outbox to be emptied', sub { return $node->safe_psql('postgres', "SELECT pg_relation_size('$outbox') = 0") eq 't' });
is($node->safe_psql('postgres', 'SELECT coalesce(published_batch, 0), publish_error FROM kafka.pipelines'), '0|', 'an outbox of dead rows is emptied where nothing is out yet');
$node->safe_psql('postgres', "ALTER TABLE kafka_state.outbox_batch DROP CONSTRAINT none; SELECT kafka.resume('v'::regclass)");
$broker->produce($topic, '{"id":0}');
wait_for_sink($broker, $sink, 1);

my $publisher = kill_worker($node, 'publisher', 'STOP');
my $produced = 1;
my $waits = sub {
	return $node->safe_psql('postgres', "SELECT count(*) FROM kafka.pipelines WHERE error LIKE '%waits for its messages%'") > 0;
};
wait_until('the pipeline to wait', sub {
	$broker->produce($topic, map { sprintf '{"id":%d,"pad":"%s"}', $_, 'x' x 100 } $produced .. $produced + 4999) if !$waits->();
	$produced += 5000 if !$waits->();
	return $waits->();
});
pass('the pipeline waits and says so');
cmp_ok($node->safe_psql('postgres', "SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relname ~ '^outbox_[0-9]+\$'"), '<', 8 * 1024 * 1024,
	'the outbox has not grown much beyond its limit');

# it looks again each second: at what waits, by the index, not at all that a large outbox may have under an old snapshot
my $scans = sub { return split /\|/, $node->safe_psql('postgres', "SELECT sum(seq_scan), sum(idx_scan) FROM pg_stat_all_tables WHERE relname ~ '^outbox_[0-9]+\$'") };
my ($whole, $by_index) = $scans->();
wait_until('the pipeline to look at the outbox again', sub { my @now = $scans->(); return $now[0] > $whole || $now[1] > $by_index + 1 });
is(($scans->())[0], $whole, 'the outbox is looked at by its index');

kill 'CONT', $publisher;
wait_for_view($node, 'v');
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM v');
is(scalar(wait_for_sink($broker, $sink, $rows)), $rows, 'every row is published once');
wait_until('the message to go', sub { return !$waits->() });
$broker->delete($topic, $sink);

done_testing();
