# Dead letters that were tried again, and crashes. The worker is killed while it tries them: they are applied and published once all the same. What is
# in unlogged buffers then is what was there before: records that could not be decoded and those that a view could not bear, one that was
# both, one that the topic has deleted since, and without one that came too late. What no reload needs any more is forgotten.

use strict;
use warnings;
use KafkaViews;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = KafkaViews::Broker->new;
my $node = new_node('main', broker => $broker);
my $begin_ms = 1_700_000_000_000;

sub query { return $node->safe_psql('postgres', $_[0]) }

# A record of one of the topics: id at so many seconds, and further fields.
sub record
{
	my ($id, $at, $more) = @_;

	return sprintf 'ts=%d k%s%s{"id":%d,"at":%d%s}', $begin_ms + 1000 * $at, $id, "\t", $id, $begin_ms + 1000 * $at, $more // '';
}

sub buffers
{
	return join "\n", map { my $view = query("SELECT view FROM kafka_state.view WHERE relation = '$_'::regclass");
		map { query("SELECT $_, * FROM kafka_state.buffer_${view}_$_ ORDER BY 2, 3") } 0, 1 } qw(pairs twins);
}

sub crash
{
	kill_worker($node, 'kafka_views worker pairs');
	restart_after_crash($node);
	wait_until('the reload to be over', sub { my ($status, $phase) = ask($node, 'postgres', 'SELECT phase FROM kafka.pipelines'); return ($phase // '') eq 'live' });
}

sub retry
{
	my ($relation) = @_;

	query("SELECT kafka.retry_dead_letters('$relation')");
	wait_for_view($node, 'pairs');
}

$broker->create($_, 1, 'retention.ms=-1') for qw(lefts rights sink);
query(<<~'SQL');
	CREATE DOMAIN weight AS int CHECK (VALUE < 100);
	CREATE FUNCTION share(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 100 / a; END $$;
	CREATE FOREIGN TABLE lefts (id int, divisor int, weight weight, at timestamptz) SERVER broker OPTIONS (topic 'lefts', event_time 'at');
	CREATE FOREIGN TABLE rights (id int, at timestamptz) SERVER broker OPTIONS (topic 'rights', event_time 'at');
	CREATE FOREIGN TABLE sink (id int, weight int, share int) SERVER broker OPTIONS (topic 'sink');
	BEGIN;
	CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '2 s', kafka.pipeline = 'pairs') AS
	  SELECT l.id, l.weight::int AS weight, share(l.divisor) AS share FROM lefts l
	  JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '60 s';
	CREATE MATERIALIZED VIEW twins WITH (kafka.continuous, kafka.grace = '2 s', kafka.pipeline = 'pairs') AS
	  SELECT l.id FROM lefts l JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '60 s';
	CREATE MATERIALIZED VIEW shares WITH (kafka.continuous, kafka.pipeline = 'pairs') AS SELECT id, share(divisor) AS share FROM lefts;
	SELECT kafka.attach_sink('pairs', 'sink');
	COMMIT;
	SQL
$broker->produce('lefts', record(1, 0, ',"divisor":1'), record(2, 1, ',"divisor":2,"weight":200'), record(3, 1, ',"divisor":0'),
	record(4, 2, ',"divisor":0,"weight":400'), record(5, -200, ',"divisor":5,"weight":500'), record(6, 900, ',"divisor":6,"weight":600'), record(9, 30, ',"divisor":9'));
$broker->produce('rights', record(3, 29), record(9, 30));
wait_for_view($node, 'pairs');
is(query('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM pairs'), '9', 'one pair');
is(query('SELECT string_agg(concat_ws($$ $$, relation, view, "offset"), $$, $$ ORDER BY relation::text, "offset", view) FROM kafka.dead_letters'),
	'lefts 1, lefts shares 2, lefts 3, lefts 4, lefts 5, rights pairs 0', 'and dead letters of the topic and of both views');

# 3 and 4 are tried again, and while a share is computed the worker is killed
query('ALTER DOMAIN weight DROP CONSTRAINT weight_check');
query(<<~'SQL');
	CREATE OR REPLACE FUNCTION share(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
	BEGIN
	  IF a = 0 AND current_setting('test.slow', true) = 'on' THEN PERFORM pg_sleep(1000); END IF;
	  RETURN CASE WHEN a = 0 THEN 0 ELSE 100 / a END;
	END $$
	SQL
$node->append_conf('postgresql.conf', 'test.slow = on');
$node->reload;
query('SELECT kafka.retry_dead_letters(r) FROM unnest($${lefts,pairs,shares}$$::regclass[]) r');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'kafka_views worker pairs' AND wait_event = 'PgSleep'});
is(query('SELECT count(*) FROM kafka.dead_letters WHERE retry_requested IS NOT NULL'), 6, 'all are being tried');
is(query('SELECT count(*) FROM shares'), 2, 'nothing shows yet');
$node->append_conf('postgresql.conf', 'test.slow = off');
$node->reload;
crash();
wait_for_view($node, 'pairs');
is(query('SELECT count(*) FROM kafka.dead_letters'), 0, 'after kill -9 all are applied');
is(query('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM shares'), '1 2 3 4 5 6 9', 'in the view of one topic, once');
is(query('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM pairs'), '3 9', 'and where they joined');
is(query('SELECT late_rows FROM kafka.views WHERE view = $$pairs$$::regclass'), 1, 'one is late by the frontier');
is(join(',', sort(wait_for_sink($broker, 'sink', 2, format => '%v'))), '{"id":3,"weight":null,"share":0},{"id":9,"weight":null,"share":11}', 'each pair went out once');

# their rows are in the buffers after a crash as before it, and join
my $before = buffers();
is(query('SELECT string_agg(record_offset::text, $$ $$ ORDER BY record_offset) FROM kafka_state.retried WHERE record_offset <> 4'), '0 1 2 3 5', 'those that are not late are kept for reloads');
crash();
is(buffers(), $before, 'the buffers are what they were');
query('BEGIN; ALTER DOMAIN weight ADD CONSTRAINT weight_check CHECK (VALUE < 1000); COMMIT');
$broker->produce('rights', map { record($_, 35) } 1, 2, 4, 5);
wait_for_view($node, 'pairs');
is(query('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM pairs'), '1 2 3 4 9', 'they join what comes, but for the late one');

# one that could not be decoded, and then could not be borne by a view
query('ALTER DOMAIN weight DROP CONSTRAINT weight_check; ALTER DOMAIN weight ADD CONSTRAINT weight_check CHECK (VALUE <= 700) NOT VALID');
query(q{CREATE OR REPLACE FUNCTION share(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 100 / a; END $$});
$broker->produce('rights', record(8, 40));
$broker->produce('lefts', record(8, 40, ',"divisor":0,"weight":800'), record(10, 40, ',"divisor":10'));
wait_for_view($node, 'pairs');
query('ALTER DOMAIN weight DROP CONSTRAINT weight_check');
retry('lefts');
is(query('SELECT string_agg(concat_ws($$ $$, view, attempts), $$, $$ ORDER BY view) FROM kafka.dead_letters'), 'pairs 2, shares 2', 'it is a dead letter of the views then');
$before = buffers();
crash();
is(buffers(), $before, 'not in the buffers');
query(q{CREATE OR REPLACE FUNCTION share(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 100 / nullif(a, 0); END $$});
retry('pairs');
is(query('SELECT string_agg(concat_ws($$ $$, view, attempts), $$, $$ ORDER BY view) FROM kafka.dead_letters'), 'shares 2', 'and of the other one after that');
is(query('SELECT count(*) FROM pairs WHERE id = 8'), 1, 'it has joined');
$before = buffers();
crash();
is(buffers(), $before, 'and is in the buffer after a crash');

is(query('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM twins'), query('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM pairs'), 'a view that could bear all of it has each pair once');

# what is older than any buffer is forgotten, marks and all
$broker->produce($_, map { record(100 + $_, 100 * $_, ',"divisor":1') } 1 .. 20) for qw(lefts rights);
wait_for_view($node, 'pairs');
$broker->produce($_, record(200, 3000, ',"divisor":1')) for qw(lefts rights);
wait_for_view($node, 'pairs');
is(query('SELECT count(*) FROM kafka_state.retried') . ' ' . query('SELECT count(*) FROM kafka_state.skipped'), '0 0', 'what no reload needs is forgotten');

# the dead letter has the bytes, whatever has become of the topic
query(q{CREATE OR REPLACE FUNCTION share(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 0; END $$});
$broker->trim('lefts');
retry('shares');
is(query('SELECT share FROM shares WHERE id = 8'), 0, 'a record that the topic has deleted is applied');
is(query('SELECT count(*) FROM kafka.dead_letters'), 0, 'nothing is left');
done_testing();
