# Dead letters that are discarded, while the worker tries them again, and before a crash. A session and the worker that want the same one take turns and never
# wait for each other in a circle; whoever is second finds it gone, or failed again. A reload of unlogged buffers leaves out a record whose dead letter was
# discarded, though it could be read by then.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my $begin_ms = 1_700_000_000_000;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub ids { my ($view) = @_; return query("SELECT string_agg(id::text, ' ' ORDER BY id) FROM $view") }
sub letters { return query(q{SELECT coalesce(string_agg(concat_ws(' ', relation, view, "offset", attempts), ', ' ORDER BY relation::text, "offset", view), '') FROM kafka.dead_letters}) }
sub record { my ($id, $at, $more) = @_; return sprintf 'ts=%d k%s%s{"id":%d,"at":%d%s}', $begin_ms + 1000 * $at, $id, "\t", $id, $begin_ms + 1000 * $at, $more // '' }

sub buffers
{
	my $view = query("SELECT view FROM kafka_state.view WHERE relation = 'pairs'::regclass");
	return join "\n", map { query("SELECT $_, id FROM kafka_state.buffer_${view}_$_ ORDER BY 2") } 0, 1;
}

sub waits_for { my ($what, $pid) = @_; wait_until($what, sub { query("SELECT coalesce(wait_event_type, '') FROM pg_stat_activity WHERE pid = $pid") eq 'Lock' }); return }

$broker->create($_, 1, 'retention.ms=-1') for qw(lefts rights);
query(<<~'SQL');
	CREATE DOMAIN weight AS int CHECK (VALUE < 100);
	CREATE FUNCTION share(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 100 / a; END $$;
	CREATE FOREIGN TABLE lefts (id int, divisor int, weight weight, at timestamptz) SERVER broker OPTIONS (topic 'lefts', event_time 'at');
	CREATE FOREIGN TABLE rights (id int, at timestamptz) SERVER broker OPTIONS (topic 'rights', event_time 'at');
	BEGIN;
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '2 s', kafka.pipeline = 'pairs') AS
	  SELECT l.id, l.weight::int AS weight, share(l.divisor) AS share FROM lefts l
	  JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '60 s';
	CREATE MATERIALIZED VIEW shares WITH (kafka.continuous, kafka.pipeline = 'pairs') AS SELECT id, share(divisor) AS share FROM lefts;
	COMMIT;
	SQL
$broker->produce('lefts', record(1, 0, ',"divisor":1'), map { record($_, 1, qq(,"divisor":1,"weight":${_}00)) } 2 .. 5);
$broker->produce('rights', record(1, 1));
wait_for_view($node, 'pairs');
is(letters(), 'lefts 1 1, lefts 2 1, lefts 3 1, lefts 4 1', 'dead letters');

# the session is first: the pipeline goes on without them, and tries them only when they are there again
query('SELECT kafka.pause($$pairs$$); SELECT kafka.retry_dead_letters($$lefts$$)');
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; SELECT kafka.discard_dead_letters($$lefts$$)');
query('SELECT kafka.resume($$pairs$$)');
$broker->produce('lefts', record(10, 2, ',"divisor":1'));
wait_until('a record to be applied', sub { ids('shares') eq '1 10' });
is(letters(), 'lefts 1 1, lefts 2 1, lefts 3 1, lefts 4 1', 'none is tried while a session discards them');
$session->query_safe('ROLLBACK');
wait_for_view($node, 'pairs');
is(letters(), 'lefts 1 2, lefts 2 2, lefts 3 2, lefts 4 2', 'they are, and fail, when it does not');

# the worker is first, and one of two can be applied: the session waits, and discards what has failed again
query('CREATE OR REPLACE FUNCTION share(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN 100 / a; END $$');
query('ALTER DOMAIN weight DROP CONSTRAINT weight_check; ALTER DOMAIN weight ADD CONSTRAINT weight_check CHECK (VALUE <= 200) NOT VALID');
my $holder = $node->background_psql('postgres', on_error_die => 1);
$holder->query_safe('SELECT pg_advisory_lock(1)');
my $chosen = q{(SELECT array_agg(id) FROM kafka.dead_letters WHERE "offset" IN (1, 2))};
query("SELECT kafka.retry_dead_letters('lefts', $chosen)");
waits_for('the worker to try them', worker_pid($node, 'worker pairs'));
my ($pid) = $session->query_safe('SELECT pg_backend_pid()') =~ /(\d+)/;
$session->query_until(qr/begun/, "\\echo begun\nSELECT 'discarded ' || kafka.discard_dead_letters('lefts', $chosen);\n");
waits_for('the session to wait for the worker', $pid);
$holder->query_safe('SELECT pg_advisory_unlock(1)');
$holder->quit;
wait_for_view($node, 'pairs');
wait_until('the session to be done', sub { query("SELECT state FROM pg_stat_activity WHERE pid = $pid") eq 'idle' });
is(letters(), 'lefts 3 2, lefts 4 2', 'the one that was applied is gone, and so is the one that failed');
is(ids('shares'), '1 2 10', 'the first was applied once');
$session->quit;

# what is discarded is not in the buffers after a crash either, though its cause is mended; what was tried again is
query(q{SELECT kafka.discard_dead_letters('lefts', ARRAY(SELECT id FROM kafka.dead_letters WHERE "offset" = 3))});
query('ALTER DOMAIN weight DROP CONSTRAINT weight_check');
my $before = buffers();
kill_worker($node, 'worker pairs');
restart_after_crash($node);
wait_until('the reload to be over', sub { my ($status, $phase) = ask($node, 'postgres', 'SELECT phase FROM kafka.pipelines'); return ($phase // '') eq 'live' });
is(buffers(), $before, 'the buffers are what they were');
query('SELECT kafka.retry_dead_letters($$lefts$$)');
$broker->produce('rights', map { record($_, 10) } 2 .. 5);
wait_for_view($node, 'pairs');
is(ids('pairs'), '1 2 5', 'nothing that was discarded has joined');
is(ids('shares'), '1 2 5 10', 'or is in a view');
is(letters(), '', 'nothing is left');

done_testing();
