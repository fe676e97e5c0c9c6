-- Every record of a batch is bad for a view over a view: what it takes to find them is given back at once, not when the batch commits. Where
-- Postgres keeps it, the batch is run in parts.
SELECT plan(8);
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 1, 'retention.ms=-1') FROM unnest('{rst_t,rst_u}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE t (id int, at timestamptz) SERVER broker OPTIONS (topic 'rst_t', event_time 'at');
CREATE FOREIGN TABLE u (id int, at timestamptz) SERVER broker OPTIONS (topic 'rst_u', event_time 'at');

-- private memory of a worker in kB, until a view has all; what it has touched of shared buffers does not count
CREATE TABLE memory (pipeline text, kb int);
CREATE FUNCTION watch(pipeline text, view text) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE
	worker int;
BEGIN
	FOR i IN 1..600 LOOP
		SELECT pid INTO worker FROM pg_stat_activity WHERE application_name = 'kafka_views worker ' || pipeline;
		IF FOUND THEN
			EXECUTE format('COPY memory (kb) FROM PROGRAM %L', format($p$sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' /proc/%s/status 2>/dev/null || true$p$, worker));
		END IF;
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN kafka.wait_for_view(view::regclass, '100ms');
	END LOOP;
	UPDATE memory m SET pipeline = watch.pipeline WHERE m.pipeline IS NULL;
END $f$;

BEGIN;
CREATE MATERIALIZED VIEW quiet WITH (kafka.continuous, kafka.pipeline = 'quiet') AS SELECT id, at FROM t;
CREATE MATERIALIZED VIEW over_quiet WITH (kafka.continuous, kafka.pipeline = 'quiet') AS SELECT id, 1 / (id - id) AS f, at FROM quiet;
COMMIT;
BEGIN;
CREATE MATERIALIZED VIEW noisy WITH (kafka.continuous, kafka.pipeline = 'noisy') AS SELECT id, at FROM u;
CREATE MATERIALIZED VIEW over_noisy WITH (kafka.continuous, kafka.pipeline = 'noisy') AS SELECT id, 1 / (id - id) AS f, at FROM noisy;
CREATE FUNCTION notify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('noise', new.id::text); RETURN NULL; END $$;
CREATE TRIGGER notify AFTER INSERT ON noisy FOR EACH ROW EXECUTE FUNCTION notify();
COMMIT;
SELECT kafka.pause(p) FROM unnest('{quiet,noisy}'::text[]) p \g /dev/null
SELECT kafka_test.produce(t, format($$SELECT 'k', jsonb_build_object('id', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 ms') FROM generate_series(1, %s) i$$, n))
	FROM (VALUES ('rst_t', 10000), ('rst_u', 5000)) v (t, n) \g /dev/null

SELECT kafka.resume('quiet') \g /dev/null
SELECT watch('quiet', 'over_quiet') \g /dev/null
SELECT ok(kafka.wait_for_view('over_quiet', '60s'), 'a storm passes');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters), 10000, 'all were bad');
SELECT cmp_ok((SELECT max(kb) FROM memory WHERE pipeline = 'quiet'), '<', 50000, 'the worker did with 50 MB');

SELECT kafka.resume('noisy') \g /dev/null
SELECT watch('noisy', 'over_noisy') \g /dev/null
SELECT ok(kafka.wait_for_view('over_noisy', '60s'), 'one with notifications does');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters WHERE view = 'over_noisy'::regclass), 5000, 'all were bad');
SELECT results_eq('SELECT count(*), count(DISTINCT id) FROM noisy', 'VALUES (5000::bigint, 5000::bigint)', 'the view below has them once');
SELECT cmp_ok((SELECT max(kb) FROM memory WHERE pipeline = 'noisy'), '<', 38000, 'the worker did with 38 MB');
SELECT results_eq('SELECT pipeline, count(*) > 5 FROM memory GROUP BY 1 ORDER BY 1', $$VALUES ('noisy', true), ('quiet', true)$$, 'they were watched');
SELECT diag(format('%s: %s to %s kB', pipeline, min(kb), max(kb))) FROM memory GROUP BY pipeline;
SELECT * FROM finish();
