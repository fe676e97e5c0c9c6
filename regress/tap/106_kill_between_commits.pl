# The publisher is killed (-9) in the one moment that decides about "exactly once": Kafka has committed, Postgres has not noted
# it. A lock that lets the publisher read but not write keeps it from that. Its successor finds the number in Kafka's metadata.

use strict;
use warnings;
use KafkaViews;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);

$broker->create($_, 1, 'retention.ms=-1') for qw(input output facts);
$node->safe_psql('postgres', <<~'SQL');
	CREATE FOREIGN TABLE facts (id int) SERVER broker OPTIONS (topic 'facts');
	CREATE FOREIGN TABLE input (id int) SERVER broker OPTIONS (topic 'input');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic 'output');
	BEGIN;
	CREATE MATERIALIZED VIEW passed WITH (kafka.continuous) AS SELECT id FROM input;
	CREATE TRIGGER publish AFTER INSERT ON passed REFERENCING NEW TABLE AS new
	  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('output');
	COMMIT;
	INSERT INTO facts VALUES (1);
	SQL
$broker->produce('input', '\N' . qq(\t{"id":1}));
wait_for_view($node, 'passed');
wait_for_sink($broker, 'facts', 1);
sub is_noted { return $node->safe_psql('postgres', 'SELECT published FROM kafka_state.transaction_batch') eq 't' }
wait_until('the first batches to be noted', \&is_noted);

# Runs code while a session holds a lock on a table against writers; the crash that the code causes ends the session.
sub while_locked
{
	my ($table, $code) = @_;
	my $pid = fork // die "could not fork: $!";

	if ($pid == 0)
	{
		# psql may die with the connection, and no END block may run here: it would end the test's servers
		eval { $node->psql('postgres', "BEGIN; LOCK TABLE $table IN SHARE MODE; SELECT pg_sleep(100)") };
		POSIX::_exit(0);
	}
	wait_until('the lock', sub { return $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_locks WHERE relation = '$table'::regclass AND mode = 'ShareLock' AND granted") eq '1' });
	$code->();
	waitpid $pid, 0;
	return;
}

sub kill_publisher
{
	kill_worker($node, 'publisher');
	restart_after_crash($node);
	return;
}

while_locked('kafka_state.published', sub {
	$broker->produce('input', '\N' . qq(\t{"id":2}));
	wait_for_sink($broker, 'output', 2);
	kill_publisher();
});
wait_for_view($node, 'passed');
$broker->produce('input', '\N' . qq(\t{"id":3}));
wait_for_sink($broker, 'output', 3);
wait_for_view($node, 'passed');
is(join(',', $broker->consume('output', format => '%v')), '{"id":1},{"id":2},{"id":3}', 'a batch that Kafka had is not published again');

# The lock comes when the batch has begun, or it would not begin. So there is a producer, and a broker that stands still.
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (2)');
wait_for_sink($broker, 'facts', 2);
wait_until('it to be noted', \&is_noted);
$broker->freeze;
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (3)');
wait_until('the batch to be under way', sub { return !is_noted() });
while_locked('kafka_state.transaction_outbox', sub {
	$broker->thaw;
	wait_for_sink($broker, 'facts', 3);
	kill_publisher();
});
$node->safe_psql('postgres', 'INSERT INTO facts VALUES (4)');
wait_for_sink($broker, 'facts', 4);
wait_until('the last batch to be noted', \&is_noted);
is(join(',', $broker->consume('facts', format => '%v')), '{"id":1},{"id":2},{"id":3},{"id":4}', 'nor a batch of ordinary transactions');

done_testing();
