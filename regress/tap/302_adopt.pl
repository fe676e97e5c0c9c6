# A dump that is taken while messages wait, of a pipeline and of ordinary transactions, one batch of these begun and not out: restored
# into a cluster whose transaction ids are smaller, and adopted, it publishes every message once and goes on where the
# dump stood, under the same names in Kafka. After kafka.fork() it publishes the same messages once more, as somebody else.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('original', broker => $broker);
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';

$broker->create($_, 2, 'retention.ms=-1') for qw(orders passed copied notes);
$broker->produce('orders', map { qq({"id": $_}) } 1 .. 20);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE orders (id bigint) SERVER broker OPTIONS (topic 'orders');
	CREATE FOREIGN TABLE passed (id bigint OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'passed');
	CREATE FOREIGN TABLE copied (id bigint OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'copied');
	CREATE FOREIGN TABLE notes (id bigint OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'notes');
	BEGIN;
	CREATE MATERIALIZED VIEW seen WITH (kafka.continuous) AS SELECT id FROM orders;
	SELECT kafka.attach_sink('seen', 'passed');
	COMMIT;
	INSERT INTO notes SELECT generate_series(1, 10);
});
wait_for_view($node, 'seen');
wait_for_sink($broker, 'notes', 10);
wait_until('the first batch to be noted', sub {
	$node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.transaction_outbox') eq '0' });

# ids far above those of a new cluster
$node->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');

# a batch of ordinary transactions is begun and not out, another transaction has committed behind it; the pipeline has the rows for a second sink
my $publisher = worker_pid($node, 'publisher');
kill 'STOP', $publisher or die "could not stop the publisher: $!";
$node->safe_psql('postgres', 'INSERT INTO notes SELECT generate_series(11, 20)');
$broker->kill;
kill 'CONT', $publisher or die "could not continue the publisher: $!";
wait_until('a batch to be begun', sub {
	$node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.transaction_batch WHERE NOT published') eq '1' });
$node->safe_psql('postgres', q{SELECT kafka.attach_sink('seen', 'copied')});
$node->safe_psql('postgres', 'INSERT INTO notes SELECT generate_series(21, 30)');
is($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM kafka_state.transaction_outbox o, kafka_state.transaction_batch b
	WHERE NOT pg_visible_in_snapshot(o.xid, b.snapshot)}), 't', 'messages wait behind the batch that is under way');
$node->run_log([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ]);
$node->stop;
$broker->start;

# Restores the dump into a new cluster, which stands still, and goes on by the statement given.
sub restore
{
	my ($name, $statement) = @_;
	my $copy = new_node($name, extension => 0);

	$copy->safe_psql('postgres', 'CREATE DATABASE restored');
	$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $copy->connstr('restored') ], "$name: the dump restores");
	is($copy->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'kafka_views (worker|publisher)'}), 0,
		"$name: nothing starts by itself");
	$copy->safe_psql('restored', "SELECT kafka.$statement()");
	$copy->safe_psql('restored', 'INSERT INTO notes SELECT generate_series(31, 40)');
	return $copy;
}

# How often each id is in a topic, as "times: first-last ...".
sub spread
{
	my ($topic) = @_;
	my (%times, @runs);

	$times{$_}++ for $broker->consume($topic, format => '%k');
	for my $id (sort { $a <=> $b } keys %times)
	{
		if (@runs && $runs[-1][0] == $times{$id} && $runs[-1][2] == $id - 1) { $runs[-1][2] = $id }
		else { push @runs, [ $times{$id}, $id, $id ] }
	}
	return join ' ', map { "$_->[0]: $_->[1]-$_->[2]" } @runs;
}

sub wait_for_outbox
{
	my ($copy) = @_;

	wait_until('the outbox to be empty', sub {
		$copy->safe_psql('restored', 'SELECT count(*) FROM kafka_state.transaction_outbox') eq '0' });
	wait_for_view($copy, 'seen', 'restored');
	cmp_ok($copy->safe_psql('restored', 'SELECT max(batch) FROM kafka_state.transaction_batch'), '<', 20, 'no batch was made in vain');
	return;
}

my $adopted = restore('adopted', 'adopt');
wait_for_outbox($adopted);
is(spread('notes'), '1: 1-40', 'adopted: every message of ordinary transactions once');
is(spread('passed'), '1: 1-20', 'adopted: no row of the view again');
is(spread('copied'), '1: 1-20', 'adopted: every row once in the sink whose messages waited');
is($adopted->safe_psql('restored', q{SELECT * FROM kafka.verify('seen')}), '', 'adopted: the view equals its query');
$broker->produce('orders', map { qq({"id": $_}) } 21 .. 30);
wait_for_view($adopted, 'seen', 'restored');
is(spread($_), '1: 1-30', "adopted: it goes on, $_") for qw(passed copied);
# by a publisher that runs already, and has asked Kafka before
$adopted->safe_psql('restored', 'SELECT kafka.adopt(take_over => true)');
wait_for_view($adopted, 'seen', 'restored');
is($adopted->safe_psql('restored', 'SELECT count(*) FROM seen'), 30, 'adopted again: it is known what Kafka has, and the view can be read');
$adopted->stop;

my $forked = restore('forked', 'fork');
wait_for_outbox($forked);
is(spread('notes'), '1: 1-10 2: 11-40', 'forked: every message that waited once more');
is(spread('passed'), '1: 1-20 2: 21-30', 'forked: every row that came later once more');
is(spread('copied'), '2: 1-30', 'forked: and every one that waited');
is($forked->safe_psql('restored', q{SELECT * FROM kafka.verify('seen')}), '', 'forked: the view equals its query');
$forked->stop;
done_testing();
