-- Every record of a batch is bad for a view over a view: what it takes to find them is given back at once, not when the batch commits.
SELECT plan(4);
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rst_t', 1, 'retention.ms=-1') \g /dev/null
CREATE FOREIGN TABLE t (id int, at timestamptz) SERVER broker OPTIONS (topic 'rst_t', event_time 'at');
BEGIN;
CREATE MATERIALIZED VIEW rvstorm WITH (kafka.continuous, kafka.pipeline = 'rvstorm') AS SELECT id, at FROM t;
CREATE MATERIALIZED VIEW b WITH (kafka.continuous, kafka.pipeline = 'rvstorm') AS SELECT id, 1 / (id - id) AS f, at FROM rvstorm;
COMMIT;
SELECT kafka.pause('rvstorm') \g /dev/null
SELECT kafka_test.produce('rst_t', $$SELECT 'k', jsonb_build_object('id', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 ms') FROM generate_series(1, 10000) i$$) \g /dev/null
SELECT kafka.resume('rvstorm') \g /dev/null

-- private memory of the worker; what it has touched of shared buffers does not count
CREATE TABLE memory (kb int);
DO $$
DECLARE
	worker int;
BEGIN
	FOR i IN 1..600 LOOP
		SELECT pid INTO worker FROM pg_stat_activity WHERE application_name = 'kafka_views worker rvstorm';
		IF FOUND THEN
			EXECUTE format('COPY memory FROM PROGRAM %L', format($p$sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' /proc/%s/status 2>/dev/null || true$p$, worker));
		END IF;
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN kafka.wait_for_view('b', '100ms');
	END LOOP;
END $$;
SELECT ok(kafka.wait_for_view('b', '60s'), 'a storm passes');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters), 10000, 'all were bad');
SELECT cmp_ok((SELECT count(*)::int FROM memory), '>', 5, 'it was watched');
SELECT cmp_ok((SELECT max(kb) FROM memory), '<', 50000, 'a worker does with 50 MB');
SELECT diag(format('%s to %s kB', min(kb), max(kb))) FROM memory;
SELECT * FROM finish();
