-- Dead letters of a view that reads a topic and also a view over that topic (UNION ALL): what the view below gives when its dead letter is tried again
-- cannot be borne, becomes a dead letter of its own, and is applied without the record, which the view has had.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rv_t', 1, 'retention.ms=-1') \g /dev/null
CREATE FUNCTION letters() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', relation, view, "offset", attempts, message) COLLATE "default" FROM kafka.dead_letters ORDER BY 1
$$;
CREATE FUNCTION fa(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN n / (n - 2); END';
CREATE FUNCTION fb(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN IF n >= 1000 THEN RAISE ''too great'' USING ERRCODE = ''22000''; END IF; RETURN n; END';
CREATE FOREIGN TABLE t (id int, at timestamptz) SERVER broker OPTIONS (topic 'rv_t', event_time 'at');
BEGIN;
CREATE MATERIALIZED VIEW a WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id + 1000 AS id, fa(id) AS f, at FROM t;
CREATE MATERIALIZED VIEW b WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT count(*) AS n, sum(fb(id)) AS total FROM (SELECT id FROM t UNION ALL SELECT id FROM a WHERE id = 1002) u;
CREATE MATERIALIZED VIEW c WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id, 't' AS from_what FROM t UNION ALL SELECT fb(id), 'a' FROM a WHERE id = 1002;
COMMIT;
SELECT kafka_test.produce('rv_t', $$SELECT 'k', jsonb_build_object('id', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 s') FROM generate_series(1, 3) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('c', '60s'), 'x');
SELECT results_eq('SELECT * FROM letters()', $$VALUES ('t a 1 1 division by zero')$$, 'a cannot bear the record');
SELECT results_eq('SELECT n, total FROM b', 'VALUES (3::bigint, 6::bigint)', 'b has all of t');
CREATE OR REPLACE FUNCTION fa(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN n / nullif(n - 2, 0); END';
SELECT kafka.retry_dead_letters('a');
SELECT ok(kafka.wait_for_view('c', '60s'), 'x');
SELECT * FROM letters();
CREATE OR REPLACE FUNCTION fb(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN n; END';
SELECT kafka.retry_dead_letters('b') + kafka.retry_dead_letters('c');
SELECT ok(kafka.wait_for_view('c', '60s'), 'x');
SELECT is_empty('SELECT * FROM letters()', 'all applied');
SELECT results_eq('SELECT n, total FROM b', 'VALUES (4::bigint, 1008::bigint)', 'b has the record once of t, once of a');
SELECT results_eq('SELECT id, from_what FROM c ORDER BY 1', $$VALUES (1, 't'), (2, 't'), (3, 't'), (1002, 'a')$$, 'c too');
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', v), v || ' equals its query') FROM unnest('{a,b,c}'::text[]) v;
SELECT * FROM finish();
