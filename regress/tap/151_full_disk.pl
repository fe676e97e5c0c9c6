# No room for a table any more: a worker may not make files larger than 2 MB, which fails as a full disk does. The batch is rolled back and
# tried again, no record is blamed, the status says why, other pipelines go on; with room it goes on by itself, and nothing is lost or
# published twice. A session's transaction that finds no room in the outbox fails as a whole.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->shared;
# segments of WAL are files too, and must stay below the limit
my $node = new_node('main', broker => $broker, init => [ extra => [ '--wal-segsize', '1' ] ], conf => 'kafka.batch_rows = 500');
my ($topic, $sink, $facts) = map { "full_disk_${_}_$$" } qw(in out facts);
my $produced = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub feed { my ($count) = @_; $broker->produce($topic, map { $produced++; sprintf '{"id":%d,"pad":"%s"}', $produced, 'x' x 1000 } 1 .. $count); return }
# the soft limit, which its owner may raise again
sub limit { my ($pid, $bytes) = @_; system_or_bail('prlimit', "--pid=$pid", "--fsize=$bytes:"); return }

$broker->create($topic, 2);
$broker->create($_, 1) for $sink, $facts;
query(<<~"SQL");
	CREATE FOREIGN TABLE input (id int, pad text) SERVER broker OPTIONS (topic '$topic');
	CREATE FOREIGN TABLE output (id int) SERVER broker OPTIONS (topic '$sink');
	CREATE FOREIGN TABLE facts (id int, pad text) SERVER broker OPTIONS (topic '$facts');
	BEGIN;
	CREATE MATERIALIZED VIEW large WITH (kafka.continuous, kafka.pipeline = 'large') AS SELECT id, pad FROM input;
	SELECT kafka.attach_sink('large', 'output');
	COMMIT;
	CREATE MATERIALIZED VIEW small WITH (kafka.continuous, kafka.pipeline = 'small') AS SELECT count(*) AS n, sum(id) AS total FROM input;
	SQL
feed(10);
wait_for_view($node, $_) for qw(large small);

my $worker = worker_pid($node, 'worker large');
limit($worker, 2 * 1024 * 1024);
feed(4000);
wait_until('the pipeline to fail', sub { query(q{SELECT state FROM kafka.pipelines WHERE pipeline = 'large'}) eq 'failed' });
like(query(q{SELECT error FROM kafka.pipelines WHERE pipeline = 'large'}), qr/^could not extend file/, 'the status says why');
is(query(q{SELECT error_hint FROM kafka.pipelines WHERE pipeline = 'large'}), 'Check free disk space.', 'and what to do');
wait_for_view($node, 'small');
is(query('SELECT n, total FROM small'), join('|', $produced, $produced * ($produced + 1) / 2), 'the other pipeline goes on');
cmp_ok(query('SELECT count(*) FROM large'), '<', $produced, 'this one does not have everything');
is(query(q{SELECT * FROM kafka.verify('large')}), '', 'but what it has applied');
is(query('SELECT count(*) FROM kafka.dead_letters'), 0, 'no record is to blame');

limit($worker, 'unlimited');
wait_for_view($node, 'large');
is(query(q{SELECT * FROM kafka.verify('large')}), '', 'with room it has everything');
is(join(' ', sort { $a <=> $b } map { /(\d+)/ } wait_for_sink($broker, $sink, $produced, format => '%v')), join(' ', 1 .. $produced), 'and every message is out once');

my ($status, undef, $error) = $node->psql('postgres', q{
	SELECT pg_backend_pid() AS pid \gset
	\setenv PID :pid
	\! prlimit --pid=$PID --fsize=2097152:
	BEGIN;
	INSERT INTO facts VALUES (1, 'lost');
	INSERT INTO facts SELECT g, repeat(md5(g::text), 100) FROM generate_series(2, 5000) g;
	COMMIT;});
like($error, qr/could not extend file/, 'a session finds no room in the outbox');
query(q{INSERT INTO facts VALUES (7, 'kept')});
is(join(' ', map { /"id": ?(\d+)/ } wait_for_sink($broker, $facts, 1, format => '%v')), '7', 'and nothing of its transaction is published');

done_testing();
