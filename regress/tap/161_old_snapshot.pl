# A session that holds an old snapshot keeps all row versions that the engine makes meanwhile: those of its own state, which changes with
# every batch, and the messages that are out. The work of a batch must not grow with them. It is counted in blocks touched, never in
# time: of batches with a sink, of ordinary transactions, of views with buffers and frontiers. kafka.pipelines shows since when
# a snapshot is held, whoever holds it in whatever way; and with its end the rows go, and their space is used again.

use strict;
use warnings;
use KafkaViews;
use Test::More;

my $broker = KafkaViews::Broker->shared;
# vacuum has its turn at the end, for its reads would be counted; a publisher that is at rest reports what it has read when it looks again
my $node = new_node('main', broker => $broker, conf => "autovacuum = off\nautovacuum_naptime = 1s\nkafka.commit_interval = 1s\nmax_prepared_transactions = 2");
my %topic = map { $_ => "old_snapshot_${_}_$$" } qw(input passed lefts rights);
my $rounds = 0;
my %stands = (
	'the batches' => q(relname ~ '^(pipeline|position|published|outbox_batch|outbox_\d+)$'),
	'the transactions' => q(relname ~ '^transaction_'),
	'the views' => q(relname ~ '^(view|mark|skipped|buffer_.*)$'));

sub query { return $node->safe_psql('postgres', $_[0]) }

# Runs so many rounds: three messages of an ordinary transaction, which is published, applied as batches of two pipelines, and published from there.
sub run_rounds
{
	my ($count) = @_;

	query("CALL run_rounds($rounds + 1, $rounds + $count)");
	$rounds += $count;
	return;
}

# Runs rounds and gives the blocks that each of them has touched, by kind.
sub blocks
{
	my ($count) = @_;
	my %blocks;

	query('CALL settle(); TRUNCATE before; INSERT INTO before TABLE touched');
	run_rounds($count);
	query('CALL settle()');
	for my $kind (sort keys %stands)
	{
		$blocks{$kind} = query("SELECT round(sum(t.blocks - b.blocks) / $count, 1) FROM touched t JOIN before b USING (relname) WHERE $stands{$kind}");
		note "after $rounds rounds $kind touch $blocks{$kind} blocks a round: " . query(
			"SELECT string_agg(relname || ' ' || round((t.blocks - b.blocks)::numeric / $count, 1), ', ' ORDER BY relname) FROM touched t JOIN before b USING (relname) WHERE $stands{$kind}");
	}
	return %blocks;
}

# without the outbox of a pipeline, which has room for more dead rows before vacuum comes
sub size { return query(q(SELECT sum(pg_relation_size('kafka_state.' || t)) FROM unnest('{pipeline,view,position,published,outbox_batch,transaction_batch,transaction_outbox}'::text[]) t)) }
# processes of the engine hold one for the moment of a transaction, too
sub oldest_becomes
{
	my ($since, $what) = @_;

	wait_until("the oldest snapshot to be of $since", sub { return oldest() eq $since });
	pass($what);
	return;
}
sub oldest { return query(q(SET ROLE reader; SELECT oldest_snapshot FROM kafka.pipelines WHERE pipeline = 'passed')) }

$broker->create($_, 1, 'retention.ms=-1') for values %topic;
query(<<~"SQL");
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic '$topic{input}');
	CREATE FOREIGN TABLE sink (id int) SERVER broker OPTIONS (topic '$topic{passed}');
	CREATE FOREIGN TABLE lefts (id int, at timestamptz) SERVER broker OPTIONS (topic '$topic{lefts}', event_time 'at');
	CREATE FOREIGN TABLE rights (id int, at timestamptz) SERVER broker OPTIONS (topic '$topic{rights}', event_time 'at');
	BEGIN;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
	SELECT kafka.attach_sink('passed', 'sink');
	COMMIT;
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '1 s') AS
	  SELECT l.id, r.at FROM lefts l JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '1 hour';
	CREATE ROLE reader;
	GRANT SELECT ON passed TO reader;
	CREATE TABLE before (relname name, blocks numeric);
	CREATE VIEW touched AS
	  SELECT relname, heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0) AS blocks FROM pg_statio_all_tables WHERE schemaname = 'kafka_state';
	CREATE PROCEDURE run_rounds(first int, last int) LANGUAGE plpgsql AS \$\$
	DECLARE
	  published bigint = (SELECT sum(published_messages) FROM kafka_state.processes() WHERE kind = 'output');
	BEGIN
	  FOR i IN first .. last LOOP
	    INSERT INTO input VALUES (i);
	    INSERT INTO lefts VALUES (i, timestamptz '2024-01-01Z' + i * interval '1 s');
	    INSERT INTO rights VALUES (i, timestamptz '2024-01-01Z' + i * interval '1 s');
	    COMMIT;
	    WHILE published + i - first >= (SELECT sum(published_messages) FROM kafka_state.processes() WHERE kind = 'output') LOOP
	      PERFORM pg_sleep(0.005);
	    END LOOP;
	    COMMIT;
	  END LOOP;
	END \$\$;
	-- waits until all is applied, and the processes, which do so once a second, have reported what they have done
	CREATE PROCEDURE settle() LANGUAGE plpgsql AS \$\$
	DECLARE
	  before numeric = -1;
	  now numeric;
	  still int = 0;
	BEGIN
	  IF NOT (kafka.wait_for_view('passed', '60 s') AND kafka.wait_for_view('pairs', '60 s')) THEN
	    RAISE 'the views do not catch up';
	  END IF;
	  WHILE still < 13 LOOP
	    COMMIT;
	    PERFORM pg_stat_clear_snapshot();
	    SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) INTO now FROM pg_stat_all_tables WHERE schemaname = 'kafka_state';
	    still = CASE WHEN now = before THEN still + 1 ELSE 0 END;
	    before = now;
	    PERFORM pg_sleep(0.2);
	  END LOOP;
	END \$\$;
	SQL
run_rounds(10);

my $session = $node->background_psql('postgres', on_error_die => 1);
$session->set_query_timer_restart;
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM passed');
my $began = $session->query_safe('SELECT now()');
oldest_becomes($began, 'kafka.pipelines shows since when a snapshot is held, to who may not see by whom');

my %early = blocks(40);
run_rounds(350);
my %late = blocks(40);
cmp_ok($late{$_}, '<', 1.5 * $early{$_}, "held for 400 rounds: $_ touch no more blocks than at first") for sort keys %early;
is(query('SELECT count(DISTINCT id) || \' \' || count(*) FROM passed'), "$rounds $rounds", 'nothing is lost or doubled');
my $held = size();
$session->query_safe('COMMIT');

# the two other ways: a transaction that has written and reads nothing now, and one that is prepared
$session->query_safe('BEGIN; CREATE TEMP TABLE written ()');
$began = $session->query_safe('SELECT now()');
oldest_becomes($began, 'a transaction without a snapshot that has written holds one');
$session->query_safe('ROLLBACK');
$session->query_safe(q(BEGIN; INSERT INTO before VALUES ('prepared', 0); PREPARE TRANSACTION 'held'));
oldest_becomes(query(q(SELECT prepared FROM pg_prepared_xacts)), 'so does a prepared one');
query(q(COMMIT PREPARED 'held'));
$session->quit;

$node->append_conf('postgresql.conf', 'autovacuum = on');
$node->reload;
wait_until('vacuum', sub {
	return query(q(SELECT count(*) FROM pg_stat_all_tables WHERE schemaname = 'kafka_state' AND n_dead_tup > 100 AND relname !~ '^outbox_\d')) == 0 });
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->reload;
wait_until('vacuum to end', sub { return query(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker')) == 0 });
my %after = blocks(40);
cmp_ok($after{$_}, '<', 1.5 * $early{$_}, "let go: $_ touch no more blocks than at first") for sort keys %early;
run_rounds(100);
cmp_ok(size(), '<=', $held, 'and their space is used again');
my %seen;
$seen{$_}++ for map { /"id":\s*(\d+)/ } $broker->consume($topic{passed}, isolation => 'read_committed', format => '%v');
is(join(' ', scalar keys %seen, grep { $seen{$_} > 1 } keys %seen), $rounds, 'each row is published once');
$broker->delete(values %topic);

done_testing();
