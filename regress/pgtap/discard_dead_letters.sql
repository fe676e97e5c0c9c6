-- kafka.discard_dead_letters: those that nobody wants are forgotten, all or some, by the owner of the topic table or of the view; their records stay
-- left out of the views, of what unstored views have given, and count for nothing where an older one of a table is tried again.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('ddl_' || t, 1, 'retention.ms=-1') FROM unnest('{events,parts,sink}'::text[]) t \g /dev/null
CREATE FUNCTION letters() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', relation, view, "offset", attempts, retry_requested IS NOT NULL) COLLATE "default" FROM kafka.dead_letters ORDER BY 1
$$;
CREATE FUNCTION discard(relation regclass, ids bigint[] DEFAULT NULL) RETURNS bigint LANGUAGE sql AS 'SELECT kafka.discard_dead_letters(relation, ids)';
CREATE FUNCTION id_of(place bigint) RETURNS bigint[] LANGUAGE sql AS 'SELECT array_agg(id) FROM kafka.dead_letters WHERE "offset" = place';

CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE FUNCTION share(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 60 / n; END';
CREATE FOREIGN TABLE events (id int, n small, at timestamptz) SERVER broker OPTIONS (topic 'ddl_events', event_time 'at');
CREATE FOREIGN TABLE sink (id int, n int) SERVER broker OPTIONS (topic 'ddl_sink');
BEGIN;
CREATE MATERIALIZED VIEW shares WITH (kafka.continuous, kafka.pipeline = 'events') AS SELECT id, share(n) AS share FROM events;
CREATE MATERIALIZED VIEW counts WITH (kafka.continuous, kafka.pipeline = 'events') AS SELECT count(*) AS n, sum(n::int) AS total FROM events;
CREATE VIEW given WITH (kafka.continuous, kafka.pipeline = 'events') AS SELECT id, n::int AS n FROM events;
COMMIT;
SELECT kafka_test.produce('ddl_events', $$SELECT 'k', jsonb_build_object('id', i, 'n', n, 'at', timestamptz '2026-01-01Z' + i * interval '1 s')
	FROM (VALUES (0, 1), (1, 200), (2, 300), (3, 400), (4, 0), (5, 0), (6, 6)) v (i, n)$$) \g /dev/null
SELECT ok(kafka.wait_for_view('counts', '60s'), 'bad records');
SELECT results_eq('SELECT * FROM letters()', $$VALUES ('events 1 1 f'), ('events 2 1 f'), ('events 3 1 f'), ('events shares 4 1 f'), ('events shares 5 1 f')$$, 'are dead letters of the topic and of a view');
SELECT is(discard('events', id_of(2) || id_of(4)), 1::bigint, 'one of the topic is discarded, and none of the view with it');
SELECT is(discard('events', ARRAY[-1]), 0::bigint, 'an id that no dead letter has');
SELECT is(discard('events', '{}'), 0::bigint, 'no id');
SELECT is(discard('counts'), 0::bigint, 'a view that has none');
SELECT is(kafka.discard_dead_letters(NULL), NULL, 'of nothing');
SELECT results_eq('SELECT * FROM letters()', $$VALUES ('events 1 1 f'), ('events 3 1 f'), ('events shares 4 1 f'), ('events shares 5 1 f')$$, 'the others stay');
BEGIN;
SELECT is(discard('shares'), 2::bigint, 'those of the view, in a transaction');
ROLLBACK;
SELECT is((SELECT count(*)::int FROM kafka.dead_letters), 4, 'that is rolled back');
SELECT throws_ok($$SELECT kafka.discard_dead_letters('pg_class')$$, '42809', NULL, 'another table has no dead letters');

CREATE ROLE discard_other;
SET ROLE discard_other;
SELECT throws_ok($$SELECT kafka.discard_dead_letters('public.events')$$, '42501', 'must be owner of foreign table events', 'another role may not discard those of the topic');
SELECT throws_ok($$SELECT kafka.discard_dead_letters('public.shares')$$, '42501', 'must be owner of materialized view shares', 'nor those of the view');
RESET ROLE;
DROP ROLE discard_other;

-- what is mended afterwards does not bring a discarded one back
SELECT kafka.pause('events') \g /dev/null
SELECT is(kafka.retry_dead_letters('events') + kafka.retry_dead_letters('shares'), 4::bigint, 'the others are to be tried again');
SELECT is(discard('shares', id_of(5)), 1::bigint, 'one of them is discarded before it is');
ALTER DOMAIN small DROP CONSTRAINT small_check;
CREATE OR REPLACE FUNCTION share(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 60 / nullif(n, 0); END';
SELECT kafka.resume('events') \g /dev/null
SELECT ok(kafka.wait_for_view('counts', '60s'), 'the rest is tried');
SELECT is_empty('SELECT * FROM letters()', 'and applied');
SELECT results_eq('SELECT id FROM shares ORDER BY id', 'VALUES (0), (1), (3), (4), (6)', 'without the discarded ones');
SELECT results_eq('SELECT n, total FROM counts', 'VALUES (6::bigint, 607::bigint)', 'in both views');
SELECT kafka.attach_sink('given', 'sink') \g /dev/null
SELECT ok(kafka.wait_for_view('given', '60s'), 'a sink gets the rows that a view has given');
SELECT results_eq($$SELECT value::jsonb ->> 'id' FROM kafka_test.await('ddl_sink', 6) ORDER BY 1$$, $$VALUES ('0'), ('1'), ('3'), ('4'), ('5'), ('6')$$, 'without the discarded one of the topic');

-- a table: what was discarded was not applied, so an older record of its key may be
ALTER DOMAIN small ADD CONSTRAINT small_check CHECK (VALUE < 100) NOT VALID;
CREATE FOREIGN TABLE parts (id int OPTIONS (key 'true'), n small) SERVER broker OPTIONS (topic 'ddl_parts', mode 'upsert');
CREATE MATERIALIZED VIEW stock WITH (kafka.continuous, kafka.pipeline = 'parts') AS SELECT id, n::int AS n FROM parts;
SELECT kafka_test.produce('ddl_parts', $$VALUES ('1', '{"n": 1}'), ('1', '{"n": 101}'), ('2', '{"n": 102}'), ('1', '{"n": 201}'), ('2', '{"n": 2}'), ('3', '{"n": 103}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('stock', '60s'), 'a table with bad records');
SELECT results_eq('SELECT * FROM letters()', $$VALUES ('parts 1 1 f'), ('parts 2 1 f'), ('parts 3 1 f'), ('parts 5 1 f')$$, 'two of one key');
SELECT is(discard('parts', id_of(3) || id_of(5)), 2::bigint, 'the newer one is discarded');
ALTER DOMAIN small DROP CONSTRAINT small_check;
SELECT is(kafka.retry_dead_letters('parts'), 2::bigint, 'the older one is tried again');
SELECT ok(kafka.wait_for_view('stock', '60s'), 'with one that has a newer record');
SELECT results_eq('SELECT id, n FROM stock ORDER BY id', 'VALUES (1, 101), (2, 2)', 'and applied');
SELECT results_eq('SELECT * FROM letters()', $$VALUES ('parts 2 2 f')$$, 'while the other one stays');
SELECT is(discard('parts'), 1::bigint, 'until it is discarded');
SELECT is_empty('SELECT * FROM letters()', 'nothing is left');
SELECT * FROM finish();
