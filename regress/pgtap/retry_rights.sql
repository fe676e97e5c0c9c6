-- A right that is gone when dead letters are tried again: that is their answer, and records that come after them are not read without it either.
SELECT no_plan();
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rr_t', 1, 'retention.ms=-1') \g /dev/null
CREATE ROLE rr_owner;
CREATE ROLE rr_group;
GRANT rr_group TO rr_owner;
GRANT CREATE ON SCHEMA public TO rr_owner;
CREATE FUNCTION fa(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN n / (n - 2); END';
CREATE FOREIGN TABLE t (id int, at timestamptz) SERVER broker OPTIONS (topic 'rr_t', event_time 'at');
GRANT USAGE ON FOREIGN SERVER broker TO rr_owner;
GRANT SELECT ON t TO rr_group;
SET ROLE rr_owner;
CREATE MATERIALIZED VIEW a WITH (kafka.continuous) AS SELECT id, fa(id) AS f, at FROM t;
RESET ROLE;
SELECT kafka_test.produce('rr_t', $$SELECT 'k', jsonb_build_object('id', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 s') FROM generate_series(1, 3) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('a', '60s'), 'x');
BEGIN;
REVOKE rr_group FROM rr_owner;
SELECT kafka.retry_dead_letters('a');
COMMIT;
SELECT ok(kafka_test.poll($$EXISTS (SELECT FROM kafka.dead_letters WHERE attempts = 2) OR EXISTS (SELECT FROM kafka.pipelines WHERE error IS NOT NULL)$$), 'tried');
SELECT sqlstate, message, attempts FROM kafka.dead_letters;
SELECT error FROM kafka.pipelines;
SELECT kafka_test.produce('rr_t', $$SELECT 'k', jsonb_build_object('id', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 s') FROM generate_series(4, 6) i$$) \g /dev/null
SELECT ok(kafka_test.poll($$EXISTS (SELECT FROM kafka.pipelines WHERE error ~ 'permission denied') OR (SELECT count(*) > 2 FROM a)$$), 'something comes of it');
SELECT is((SELECT count(*)::int FROM a), 2, 'nothing is read without the right');
SELECT id FROM a;
SELECT error FROM kafka.pipelines;
SELECT * FROM finish();
DROP MATERIALIZED VIEW a;
DROP OWNED BY rr_owner, rr_group;
DROP ROLE rr_owner, rr_group;
