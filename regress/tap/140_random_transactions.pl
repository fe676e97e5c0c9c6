# Several sessions do random things in transactions that write to topics in every way there is: kafka.publish for rows, for statements, on
# partitions and deferred, INSERT into topics; with savepoints, exceptions, procedures that commit, held cursors and prepared
# transactions, while the publisher and all of Postgres are killed (-9). Each topic has exactly what was committed, in order.
#
# Every change gives its key the next number under the key's row lock, and the message carries it. What rolls back takes its number
# back. So whatever happened, the messages of a key must be 1, 2, 3 ... up to the number in its row, in this order.
#
# Prints its seed; SEED=... makes the same statements again. TIME (15) is the seconds of it.

use strict;
use warnings;
use KafkaViews;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $sessions = 5;
my $keys = 12;
my $seed = $ENV{SEED} // int(rand(1_000_000));
my $time = $ENV{TIME} // 15;
my @ways = qw(rows statements deferred parts direct);

note "SEED=$seed TIME=$time";
srand($seed);
my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => <<~'CONF');
	max_prepared_transactions = 50
	kafka.transaction_size = '64kB'
	kafka.commit_interval = '1s'
	CONF

$broker->create($_, 2, 'retention.ms=-1') for @ways;
$broker->create('states', 2, 'cleanup.policy=compact');
$node->safe_psql('postgres', <<~"SQL");
	CREATE TABLE rows (k int PRIMARY KEY, n bigint DEFAULT 0, pad text);
	CREATE TABLE statements (LIKE rows INCLUDING ALL);
	CREATE TABLE deferred (LIKE rows INCLUDING ALL);
	CREATE TABLE direct (LIKE rows INCLUDING ALL);
	CREATE TABLE parts (k int, n bigint DEFAULT 0, pad text, side int DEFAULT 0, PRIMARY KEY (k, side)) PARTITION BY LIST (side);
	CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
	CREATE TABLE parts_1 (side int, pad text, n bigint, k int);
	ALTER TABLE parts_1 ALTER k SET NOT NULL, ALTER side SET NOT NULL;
	ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES IN (1);
	CREATE TABLE states (k int PRIMARY KEY, n bigint);
	@{[ join "\n", map { "INSERT INTO $_ (k) SELECT generate_series(1, $keys);\n"
		. "CREATE FOREIGN TABLE topic_$_ (k int OPTIONS (key 'true'), n bigint, pad text) SERVER broker OPTIONS (topic '$_');" } @ways ]}
	CREATE FOREIGN TABLE topic_states (k int OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'states', mode 'upsert');
	CREATE TRIGGER publish AFTER INSERT OR UPDATE ON rows FOR EACH ROW EXECUTE FUNCTION kafka.publish('topic_rows');
	CREATE TRIGGER publish AFTER INSERT OR UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION kafka.publish('topic_parts');
	CREATE TRIGGER publish AFTER INSERT OR UPDATE OR DELETE ON states FOR EACH ROW EXECUTE FUNCTION kafka.publish('topic_states');
	CREATE CONSTRAINT TRIGGER publish AFTER INSERT OR UPDATE ON deferred DEFERRABLE INITIALLY DEFERRED
	  FOR EACH ROW EXECUTE FUNCTION kafka.publish('topic_deferred');
	CREATE TRIGGER publish_i AFTER INSERT ON statements REFERENCING NEW TABLE AS new
	  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('topic_statements');
	CREATE TRIGGER publish_u AFTER UPDATE ON statements REFERENCING NEW TABLE AS new
	  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('topic_statements');
	CREATE FUNCTION direct(key int, size int) RETURNS void LANGUAGE sql AS \$\$
		WITH u AS (UPDATE direct SET n = n + 1 WHERE k = key RETURNING k, n) INSERT INTO topic_direct SELECT k, n, repeat('d', size) FROM u \$\$;
	-- a loop with exception blocks, of which every third rolls back
	CREATE FUNCTION loop(key int, rounds int, size int) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR i IN 1..rounds LOOP
			BEGIN
				UPDATE rows SET n = n + 1, pad = repeat('l', size) WHERE k = key;
				PERFORM direct(key, size);
				BEGIN
					UPDATE statements SET n = n + 1, pad = repeat('l', size) WHERE k = key;
					IF i % 5 = 0 THEN RAISE EXCEPTION USING ERRCODE = 'KV001'; END IF;
				EXCEPTION WHEN SQLSTATE 'KV001' THEN PERFORM direct(key, size);
				END;
				IF i % 3 = 0 THEN RAISE EXCEPTION USING ERRCODE = 'KV002'; END IF;
			EXCEPTION WHEN SQLSTATE 'KV002' THEN NULL;
			END;
		END LOOP;
	END \$\$;
	CREATE PROCEDURE commits(key int, rounds int, size int) LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR i IN 1..rounds LOOP
			PERFORM loop(key, 3, size);
			UPDATE deferred SET n = n + 1 WHERE k = key;
			IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
	END \$\$;
	SQL

# statements of one session

my @prepared;
my $number = 0;

sub any { return $_[rand @_] }
sub key { return 1 + int rand $keys }
sub size { return any(0, 10, 100, 1000, 3000, 9000, 20000) }

# One change, or several below each other.
sub change
{
	my ($depth) = @_;
	my ($key, $other, $size) = (key(), key(), size());

	return any(
		"UPDATE rows SET n = n + 1, pad = repeat('r', $size) WHERE k = $key;",
		"UPDATE deferred SET n = n + 1, pad = repeat('r', $size) WHERE k = $key;",
		"UPDATE parts SET n = n + 1, pad = repeat('r', $size) WHERE k = $key;",
		"UPDATE parts SET n = n + 1, side = 1 - side WHERE k IN ($key, $other);",
		"UPDATE statements SET n = n + 1, pad = repeat('r', $size) WHERE k IN ($key, $other);",
		"INSERT INTO statements VALUES ($key, 1) ON CONFLICT (k) DO UPDATE SET n = statements.n + 1;",
		"MERGE INTO rows USING (SELECT $key AS k) s ON rows.k = s.k WHEN MATCHED THEN UPDATE SET n = n + 1 WHEN NOT MATCHED THEN DO NOTHING;",
		"SELECT direct($key, $size);",
		"SELECT loop($key, " . int(rand 12) . ", $size);",
		"DECLARE held_" . ++$number . " CURSOR WITH HOLD FOR SELECT direct($key, $size), direct($other, 1); FETCH held_$number;",
		"SET CONSTRAINTS ALL " . any('IMMEDIATE', 'DEFERRED') . ';',
		"INSERT INTO states VALUES ($key, 1) ON CONFLICT (k) DO UPDATE SET n = states.n + 1;",
		"DELETE FROM states WHERE k = $key;",
		"UPDATE states SET k = $other WHERE k = $key AND NOT EXISTS (SELECT FROM states WHERE k = $other);",
		rand() < 0.3 ? 'SELECT 1/0;' : 'SELECT 1;') if $depth > 3 || rand() < 0.75;

	my $name = 's' . ++$number;
	my $inner = join ' ', map { change($depth + 1) } 0 .. rand 3;
	return "SAVEPOINT $name; $inner " . any("RELEASE $name;", "ROLLBACK TO $name;", "ROLLBACK TO $name; " . change($depth + 1) . " RELEASE $name;", '');
}

# One transaction, or the end of one that has been prepared.
sub transaction
{
	my ($me) = @_;

	if (@prepared && rand() < 0.3)
	{
		my $gid = splice @prepared, rand @prepared, 1;
		return any("COMMIT PREPARED '$gid';", "COMMIT PREPARED '$gid';", "ROLLBACK PREPARED '$gid';");
	}
	return 'CALL commits(' . join(', ', key(), 1 + int rand 6, size()) . ');' if rand() < 0.1;

	my $changes = join ' ', map { change(0) } 0 .. rand 5;
	my $end = any(('COMMIT;') x 6, 'ROLLBACK;', 'prepare');
	my $level = any(('READ COMMITTED') x 4, 'REPEATABLE READ', 'SERIALIZABLE');
	if ($end eq 'prepare')
	{
		$changes =~ s/DECLARE \S+ CURSOR WITH HOLD FOR (.*?); FETCH \S+;/$1;/g;
		push @prepared, my $gid = "session ${me} " . ++$number;
		$end = "PREPARE TRANSACTION '$gid';";
	}
	return "BEGIN ISOLATION LEVEL $level; $changes $end";
}

my $stop = $node->basedir . '/stop';

# Runs transactions until the file stops it; the connection is lost at every crash.
sub run_session
{
	my ($me) = @_;

	srand($seed * 100 + $me);
	until (-e $stop)
	{
		my $script = join "\n", "SET lock_timeout = '500ms';", map { transaction($me) } 1 .. 15;
		# psql may die with the connection, and no END block may run here: it would end the test's servers
		eval { $node->psql('postgres', "$script\n", on_error_stop => 0) };
	}
	POSIX::_exit(0);
}

# How many rows the sessions have written to the outbox; 0 while the server cannot say.
sub written
{
	my ($status, $rows) = ask($node, 'postgres', 'SELECT last_value FROM kafka_state.transaction_outbox_seq_seq');
	return $status == 0 ? $rows : 0;
}

my @pids = map { my $me = $_; my $pid = fork // die "could not fork: $!"; $pid || run_session($me) } 1 .. $sessions;
my $end = time + $time;
my %done;
while (time < $end)
{
	my $enough = written() + 50 + int(rand 400);
	wait_until('the sessions to write', sub { return written() >= $enough || time >= $end });
	my $what = any('kill', 'kill', 'end', 'end', 'postmaster');
	$done{$what}++;
	if ($what eq 'end')
	{
		ask($node, 'postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type ~ 'publisher'});
		next;
	}
	$what eq 'kill' ? kill_worker($node, 'publisher') : $node->kill9;
	restart_after_crash($node);
}
open my $file, '>', $stop or die $!;
close $file;
waitpid $_, 0 for @pids;

kill_worker($node, 'publisher');
restart_after_crash($node);
for my $gid (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'))
{
	$node->safe_psql('postgres', any('COMMIT', 'ROLLBACK') . " PREPARED '$gid'");
}
wait_until('the outbox to be empty', sub { $node->safe_psql('postgres', 'SELECT count(*) FROM kafka_state.transaction_outbox') eq '0' });

my $changes = 0;
for my $way (@ways)
{
	my (%last, @wrong);
	for my $line ($broker->consume($way, format => '%k %v'))
	{
		my ($key, $n) = $line =~ /^(\d+) .*"n":(\d+)/ or die "not a message of $way: $line";
		push @wrong, "key $key: $n after " . ($last{$key} // 0) if $n != ($last{$key} // 0) + 1;
		$last{$key} = $n;
	}
	my %stands = map { split /\|/ } split /\n/, $node->safe_psql('postgres', "SELECT k, n FROM $way");
	push @wrong, map { "key $_: ends at " . ($last{$_} // 0) . " and not $stands{$_}" } grep { ($last{$_} // 0) != $stands{$_} } sort keys %stands;
	is(join("\n", @wrong[0 .. ($#wrong < 9 ? $#wrong : 9)]), '', "$way: every committed change once, in order");
	$changes += $_ for values %stands;
}
is($node->safe_psql('postgres', '(TABLE states EXCEPT TABLE topic_states) UNION ALL (TABLE topic_states EXCEPT TABLE states)'),
	'', 'the last message of a key is its row');
cmp_ok($changes, '>', 100, 'there were changes');
note "$changes changes, " . join ', ', map { "$done{$_} times $_" } sort keys %done;

done_testing();
