-- Every record of a batch is bad for a view over a view: what the attempts to find them need of memory is given back.
SELECT no_plan();
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
CREATE TABLE rss (at timestamptz DEFAULT clock_timestamp(), kb int);
CREATE TEMP TABLE x (kb int);
DO $$ BEGIN
	FOR i IN 1..200 LOOP
		DELETE FROM x;
		COPY x FROM PROGRAM 'grep -l "[k]afka_views worker rvstorm" /proc/[0-9]*/cmdline 2>/dev/null | while read f; do grep VmRSS ${f%cmdline}status; done | grep -o "[0-9]*" || true';
		INSERT INTO rss (kb) SELECT max(kb) FROM x;
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN kafka.wait_for_view('b', '300ms');
	END LOOP;
END $$;
SELECT ok(kafka.wait_for_view('b', '60s'), 'x');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters), 10000, 'all bad');
SELECT diag(format('min %s max %s kB in %s', min(kb), max(kb), max(at) - min(at))) FROM rss;
SELECT cmp_ok(max(kb), '<', 200000) FROM rss;
SELECT * FROM finish();
