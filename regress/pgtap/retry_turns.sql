-- Records that come while many dead letters are tried again have their turn between the batches of these.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rs_t', 1, 'retention.ms=-1') \g /dev/null
ALTER SYSTEM SET kafka.batch_rows = 100;
SELECT pg_reload_conf() \g /dev/null
CREATE FUNCTION fa(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1 / (CASE WHEN n < 3000 THEN 0 ELSE 1 END); END';
CREATE FOREIGN TABLE t (id int, at timestamptz) SERVER broker OPTIONS (topic 'rs_t', event_time 'at');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id, fa(id) AS f, at FROM t;
SELECT kafka_test.produce('rs_t', $$SELECT 'k', jsonb_build_object('id', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 s') FROM generate_series(1, 2000) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v', '60s'), 'x');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters), 2000, 'all bad');
CREATE OR REPLACE FUNCTION fa(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM sum(i) FROM generate_series(1, 10000) i; RETURN 1; END';
SELECT kafka.retry_dead_letters('v');
SELECT kafka_test.produce('rs_t', $$SELECT 'k', jsonb_build_object('id', 5000, 'at', timestamptz '2026-01-02Z')$$) \g /dev/null
SELECT ok(kafka_test.poll('(SELECT count(*) < 1900 FROM kafka.dead_letters)'), 'retries have begun');
SELECT count(*) AS left_at_record FROM kafka.dead_letters \gset
SELECT ok(kafka_test.poll('EXISTS (SELECT FROM v WHERE id = 5000)'), 'the record');
SELECT count(*) AS left_when_applied FROM kafka.dead_letters \gset
\echo :left_at_record :left_when_applied
SELECT ok(:left_when_applied > 0, format('a record has its turn between batches of dead letters (%s, %s)', :left_at_record, :left_when_applied));
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT * FROM finish();
