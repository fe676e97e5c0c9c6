# Ordinary transactions write to topics from several sessions, some roll back, and the publisher and the postmaster are killed
# (-9) meanwhile: each topic has the messages of exactly the transactions that committed, and the last message of a key is its row.
#
# A session that loses its connection in COMMIT does not know what became of it, so the table is the truth: every row is written
# together with its messages.

use strict;
use warnings;
use KafkaViews;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $sessions = 4;
my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);

$broker->create($_, 2, 'retention.ms=-1') for qw(facts states);
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE facts (id bigint, session int) SERVER broker OPTIONS (topic 'facts');
	CREATE FOREIGN TABLE states (session int OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'states', mode 'upsert');
	CREATE TABLE fact (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, session int);
	CREATE TABLE state (session int PRIMARY KEY, n bigint);
	CREATE TRIGGER publish AFTER INSERT ON fact REFERENCING NEW TABLE AS new
	  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
	CREATE TRIGGER publish AFTER INSERT OR UPDATE OR DELETE ON state FOR EACH ROW EXECUTE FUNCTION kafka.publish('states');
	CREATE PROCEDURE work(me int, rounds int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..rounds LOOP
			BEGIN
				INSERT INTO fact (session) SELECT me FROM generate_series(1, 1 + i % 40);
				IF i % 3 = 0 THEN RAISE EXCEPTION 'rolled back'; END IF;
			EXCEPTION WHEN raise_exception THEN NULL;
			END;
			INSERT INTO fact (session) VALUES (me);
			INSERT INTO state VALUES (i % 10, i) ON CONFLICT (session) DO UPDATE SET n = state.n + 1;
			IF i % 7 = 0 THEN DELETE FROM state WHERE session = i % 10; END IF;
			IF i % 5 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
	END $$;
	SQL

# runs the procedure again and again until the file stops it; the connection is lost at every crash
my $stop = $node->basedir . '/stop';
my @pids = map { my $me = $_; my $pid = fork // die "could not fork: $!"; $pid || run_session($me) } 1 .. $sessions;

sub run_session
{
	my ($me) = @_;

	until (-e $stop)
	{
		# psql may die with the connection, and no END block may run here: it would end the test's servers
		my $result = eval { ($node->psql('postgres', "CALL work($me, 40)"))[0] } // 1;
		usleep(100_000) if $result != 0;
	}
	POSIX::_exit(0);
}

for my $messages (200, 3000)
{
	wait_for_sink($broker, 'facts', $messages);
	kill_worker($node, 'publisher');
	restart_after_crash($node);
}
wait_for_sink($broker, 'facts', 6000);
$node->kill9;
restart_after_crash($node);
wait_for_sink($broker, 'facts', 8000);
open my $file, '>', $stop or die $!;
close $file;
waitpid $_, 0 for @pids;

wait_until('the outbox to be empty', sub { $node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.transaction_outbox') eq '0' });
is($node->safe_psql('postgres', q{
	(SELECT id, session FROM fact EXCEPT ALL SELECT id, session FROM facts) UNION ALL
	(SELECT id, session FROM facts EXCEPT ALL SELECT id, session FROM fact)}), '', 'every committed row is in the topic once');
is($node->safe_psql('postgres', q{
	(SELECT session, n FROM state EXCEPT ALL SELECT session, n FROM states) UNION ALL
	(SELECT session, n FROM states EXCEPT ALL SELECT session, n FROM state)}), '', 'the last message of a key is its row');

done_testing();
