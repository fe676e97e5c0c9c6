# Ordinary transactions in circumstances that have stopped their messages, or could: a publication FOR ALL TABLES, messages that are
# too large, prepared transactions over a restart, the worker of a subscription, a sink that is missing for long, one transaction of 50 MB.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker, conf => <<~'CONF');
	max_prepared_transactions = 5
	wal_level = logical
	max_wal_senders = 4
	max_replication_slots = 4
	kafka.commit_interval = '1h'
	kafka.transaction_size = '4MB'
	CONF

$broker->create($_, 1, 'retention.ms=-1') for qw(input output facts states small);
$node->safe_psql('postgres', <<~'SQL');
	CREATE PUBLICATION everything FOR ALL TABLES;
	CREATE FOREIGN TABLE input (id int, n int, at timestamptz) SERVER broker OPTIONS (topic 'input', event_time 'at');
	CREATE FOREIGN TABLE output (id int, v text) SERVER broker OPTIONS (topic 'output');
	CREATE FOREIGN TABLE facts (id int, v text) SERVER broker OPTIONS (topic 'facts');
	CREATE FOREIGN TABLE small (id int, v text) SERVER broker OPTIONS (topic 'small');
	CREATE FOREIGN TABLE states (id int OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'states', mode 'upsert');
	BEGIN;
	CREATE MATERIALIZED VIEW copies WITH (kafka.continuous, kafka.retention = '1 hour') AS
	  SELECT id, repeat('x', n) AS v, at FROM input;
	CREATE TRIGGER publish AFTER INSERT ON copies FOR EACH ROW EXECUTE FUNCTION kafka.publish('output');
	COMMIT;
	CREATE MATERIALIZED VIEW counts WITH (kafka.continuous) AS SELECT n, count(*), count(DISTINCT id) AS ids FROM input GROUP BY n;
	SQL

sub error_of { return $node->safe_psql('postgres', "SELECT coalesce(error, '') FROM kafka_state.processes() WHERE kind = '$_[0]'") }
sub empty { return $node->safe_psql('postgres', 'SELECT NOT EXISTS (SELECT FROM kafka_state.transaction_outbox)') eq 't' }

# Updates and deletes of tables that are published to subscribers need a replica identity: the engine's have one.
sub record { my ($id, $n) = @_; return "\\N\t{\"id\": $id, \"n\": $n, \"at\": ${id}000}" }

$broker->produce('input', map { record($_, 3) } 1, 4000, 8000);
$node->safe_psql('postgres', "INSERT INTO facts VALUES (1, 'one')");
wait_for_sink($broker, 'facts', 1);
wait_for_sink($broker, 'output', 3);
wait_until('the outbox to be empty under a publication', sub { empty() });
wait_for_view($node, $_) for qw(copies counts);
is($node->safe_psql('postgres', 'SELECT id FROM copies'), "8000", 'a view in a publication lets old rows go');
is($node->safe_psql('postgres', 'TABLE counts'), '3|3|3', 'and one with groups changes');
is($node->safe_psql('postgres', 'CREATE TABLE t (); DROP TABLE t; SELECT 1'), '1', 'a table can be dropped');

# A message that no producer takes is its transaction's, or its record's, own fault.
my ($status, undef, $error) = $node->psql('postgres', "INSERT INTO facts VALUES (2, repeat('x', 1500000))");
like($error, qr/too large for public.facts.*up to 1000000 bytes.*ALTER SERVER broker OPTIONS \(ADD message_max_bytes/s, 'refused when it is written');
$broker->produce('input', record(8001, 1500000), record(8002, 4));
wait_for_sink($broker, 'output', 4);
is($node->safe_psql('postgres', 'SELECT sqlstate, "offset" FROM kafka.dead_letters'), '54000|3', 'of a view, its record is a dead letter');

# What follows the hint goes on; where the topic takes less than the server, publishing waits for whoever raises it there.
$node->safe_psql('postgres', q{ALTER SERVER broker OPTIONS (ADD message_max_bytes '2000000')});
$broker->configure($_, 'retention.ms=-1', 'max.message.bytes=100000', 'compression.type=uncompressed') for qw(small);
# text that compression does not make small
my $large = q{(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 10000) i)};
$node->safe_psql('postgres', "INSERT INTO small VALUES (1, $large)");
wait_until('the error of the topic', sub { error_of('publisher') =~ /could not write to topic "small"/ });
like($node->safe_psql('postgres', q{SELECT error_hint FROM kafka_state.processes() WHERE kind = 'publisher'}), qr/Raise max.message.bytes of the topic/, 'says what to do');
$broker->configure('small', 'retention.ms=-1', 'max.message.bytes=2000000');
wait_for_sink($broker, 'small', 1);
wait_until('publishing to go on', sub { error_of('publisher') eq '' && empty() });

# Prepared transactions: flushed before PREPARE, out once, after a restart and many batches, and at once (nothing else would wake the publisher).
$node->safe_psql('postgres', <<~'SQL');
	CREATE TABLE kept (id int PRIMARY KEY, v text);
	CREATE TABLE child (id int PRIMARY KEY, kept int REFERENCES kept ON UPDATE CASCADE ON DELETE CASCADE);
	CREATE FOREIGN TABLE children (id int OPTIONS (key 'true'), kept int) SERVER broker OPTIONS (topic 'small', mode 'upsert');
	CREATE TRIGGER publish AFTER INSERT OR UPDATE OR DELETE ON kept FOR EACH ROW EXECUTE FUNCTION kafka.publish('states');
	CREATE TRIGGER publish AFTER INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION kafka.publish('children');
	CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO facts VALUES (NEW.id, 'deferred'); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER say AFTER INSERT ON kept DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION say();
	SQL
$node->safe_psql('postgres', <<~'SQL');
	BEGIN;
	INSERT INTO kept VALUES (1, 'a'), (2, 'b');
	SAVEPOINT s; INSERT INTO facts VALUES (3, 'never'); ROLLBACK TO s;
	SAVEPOINT s; INSERT INTO facts VALUES (4, 'four'); RELEASE s;
	PREPARE TRANSACTION 'old';
	BEGIN; INSERT INTO facts VALUES (5, 'never'); PREPARE TRANSACTION 'other';
	SQL
for my $i (10 .. 14)
{
	$node->safe_psql('postgres', "INSERT INTO facts VALUES ($i, repeat('y', 100000))");
	wait_for_sink($broker, 'facts', $i - 8);
	$node->restart if $i == 12;
}
wait_until('the outbox of all but the prepared', sub { empty() });
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'other'; COMMIT PREPARED 'old'});
my @facts = wait_for_sink($broker, 'facts', 9, format => '%v');
is(join(' ', map { /"id":(\d+)/ } @facts), '1 10 11 12 13 14 4 1 2', 'a prepared transaction is out once, when it is committed');
is($node->safe_psql('postgres', 'TABLE states ORDER BY id'), "1|a\n2|b", 'with what its triggers wrote');

# A key that moves, and what the foreign key moves with it.
$node->safe_psql('postgres', 'INSERT INTO child VALUES (7, 1), (8, 2); UPDATE kept SET id = 3 WHERE id = 1; DELETE FROM kept WHERE id = 2');
wait_until('the outbox to be empty', sub { empty() });
is($node->safe_psql('postgres', 'TABLE states'), '3|a', 'the old key is gone');
is($node->safe_psql('postgres', 'SELECT * FROM children WHERE id > 1'), '7|3', 'rows that a foreign key changes are published');

# A subscription's worker fires the triggers that are for it.
$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('source', q{CREATE TABLE kept (id int PRIMARY KEY, v text); CREATE PUBLICATION kept FOR TABLE kept});
$node->safe_psql('source', q{SELECT pg_create_logical_replication_slot('kept', 'pgoutput')});
$node->safe_psql('postgres', 'ALTER TABLE kept ENABLE ALWAYS TRIGGER publish');
$node->safe_psql('postgres', sprintf q{CREATE SUBSCRIPTION kept CONNECTION '%s' PUBLICATION kept WITH (create_slot = false, slot_name = 'kept', copy_data = false)},
	$node->connstr('source') =~ s{'}{''}gr);
$node->safe_psql('source', q{INSERT INTO kept VALUES (20, 'subscribed'); UPDATE kept SET v = 'changed'});
wait_until('rows of the subscription', sub { $node->safe_psql('postgres', 'SELECT v FROM states WHERE id = 20') eq 'changed' });
$node->safe_psql('postgres', 'DROP SUBSCRIPTION kept');
$node->safe_psql('source', 'DROP PUBLICATION kept');

# One transaction of 50 MB: neither the session nor the publisher holds it in memory.
my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe(q{SELECT 1; INSERT INTO output SELECT i, md5(i::text) || repeat(md5(i::text), 30) FROM generate_series(1, 100) i});
my $before = memory_of($pid, 'RssAnon');
$session->query_safe('BEGIN');
$session->query_safe(q{INSERT INTO output SELECT i, repeat(md5(i::text), 31) FROM generate_series(1, 25000) i}) for 1 .. 2;
cmp_ok(memory_of($pid, 'RssAnon') - $before, '<', 5, 'a session keeps little of a large transaction');
$session->query_safe('COMMIT');
$session->quit;
my $publisher = worker_pid($node, 'publisher');
my $most = 0;
wait_until('the large transaction to be out', sub { my $now = memory_of($publisher, 'RssAnon'); $most = $now if $now > $most; return empty() });
cmp_ok($most, '<', 80, 'the publisher reads it in parts');

# A sink that is not there for long: sessions are warned, and not blocked.
$node->append_conf('postgresql.conf', "kafka.outbox_limit = '1MB'");
$node->reload;
$node->safe_psql('postgres', q{CREATE FOREIGN TABLE missing (id int) SERVER broker OPTIONS (topic 'missing'); INSERT INTO missing VALUES (1)});
wait_until('the error of the topic', sub { error_of('publisher') ne '' });
($status, undef, $error) = $node->psql('postgres', q{INSERT INTO facts SELECT i, repeat('z', 1000) FROM generate_series(100, 3000) i});
is($status, 0, 'a session can write while publishing stands');
like($error, qr/WARNING:  messages to server "broker" wait to be published.*kafka.outbox_limit \(1 MB\)/s, 'and is warned');
$broker->create('missing');
wait_until('the outbox to be empty again', sub { empty() });
is(scalar(my @all = $broker->consume('facts')), 9 + 2901, 'everything is out once');

done_testing();
