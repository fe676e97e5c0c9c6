-- Errors that no record is to blame for, while dead letters are tried again: they are the answer to who asked for it, and hold up nothing else. A request
-- that the worker is at can be cancelled, and outlives the worker. What closing raises meanwhile is no answer, and rows that one cannot have again are not the others'.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rt_' || t, 1, 'retention.ms=-1') FROM unnest('{t,closing,sold}'::text[]) t \g /dev/null
CREATE FUNCTION letters(of_view regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', "offset", sqlstate, message, attempts, retry_requested IS NOT NULL) COLLATE "default" FROM kafka.dead_letters WHERE view = of_view ORDER BY 1
$$;
CREATE FUNCTION send(topic text, VARIADIC ids int[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce(topic, format($q$SELECT 'k', jsonb_build_object('id', i, 'at', timestamptz '2026-01-01Z' + i * interval '1 s') FROM unnest(%L::int[]) i$q$, ids))
$$;
-- what bear() does with 2 and 3 from now on
CREATE FUNCTION bear_by(action text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE FUNCTION bear(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS %L', format('BEGIN IF n IN (2, 3) THEN %s; END IF; RETURN n; END', action));
END $$;
CREATE FUNCTION worker_waits() RETURNS int LANGUAGE sql AS $$SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted$$;

SELECT bear_by($$RAISE 'not %', n USING ERRCODE = '22000'$$);
CREATE FOREIGN TABLE t (id int, at timestamptz) SERVER broker OPTIONS (topic 'rt_t', event_time 'at');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = 'v') AS SELECT bear(id) AS id FROM t;
SELECT send('rt_t', 1, 2, 3) \g /dev/null
SELECT ok(kafka.wait_for_view('v', '60s'), 'records that the view cannot bear');
SELECT results_eq($$SELECT * FROM letters('v')$$, $$VALUES ('1 22000 not 2 1 f'), ('2 22000 not 3 1 f')$$, 'are dead letters');

CREATE TABLE codes AS SELECT code, row_number() OVER () AS number FROM unnest('{08006,40001,53100,53200,55P03,57014,57P03,58030,XX000}'::text[]) code;
SELECT format($$SELECT bear_by($q$RAISE 'trouble' USING ERRCODE = %L$q$)$$, code),
	format($$SELECT is(kafka.retry_dead_letters('v'), 2::bigint, 'tried again with error %s')$$, code),
	format($$SELECT send('rt_t', %s)$$, 100 + number),
	format($$SELECT ok(kafka_test.poll('EXISTS (SELECT FROM v WHERE id = %s) AND NOT EXISTS (SELECT FROM kafka.dead_letters WHERE retry_requested IS NOT NULL)', '20 s'),
		'they are answered, and a record that comes then is applied')$$, 100 + number),
	format($$SELECT results_eq($q$SELECT * FROM letters('v')$q$, $q$VALUES ('1 %1$s trouble %2$s f'), ('2 %1$s trouble %2$s f')$q$, 'the error is the dead letters''')$$, code, number + 1)
	FROM codes ORDER BY number \gexec

-- the worker stands in the middle of it
SELECT pg_advisory_lock(1);
SELECT bear_by('PERFORM pg_advisory_xact_lock(1)');
SELECT is(kafka.retry_dead_letters('v', ARRAY(SELECT id FROM kafka.dead_letters WHERE "offset" = 1)), 1::bigint, 'a function that takes its time');
SELECT ok(kafka_test.poll('worker_waits() IS NOT NULL'), 'the worker is at it');
SELECT ok(pg_cancel_backend(worker_waits()), 'and is cancelled');
SELECT ok(kafka_test.poll('NOT EXISTS (SELECT FROM kafka.dead_letters WHERE retry_requested IS NOT NULL)'), 'which takes the request back');
SELECT results_eq($$SELECT * FROM letters('v')$$, $$VALUES ('1 57014 canceling statement due to user request 11 f'), ('2 XX000 trouble 10 f')$$, 'with that as the error');
SELECT is(kafka.retry_dead_letters('v'), 2::bigint, 'again');
SELECT ok(kafka_test.poll('worker_waits() IS NOT NULL'), 'the worker is at it');
SELECT worker_waits() AS worker \gset
SELECT ok(pg_terminate_backend(:worker), 'and is ended');
SELECT ok(kafka_test.poll('worker_waits() <> ' || :worker), 'the next one tries them');
SELECT pg_advisory_unlock(1);
SELECT ok(kafka.wait_for_view('v', '60s'), 'to the end');
SELECT is_empty('SELECT FROM kafka.dead_letters', 'they are applied');
SELECT is_empty($$SELECT * FROM kafka.verify('v')$$, 'and the view equals its query');
DROP MATERIALIZED VIEW v;

-- time goes on while they are tried, and a window cannot be closed: with on_error 'stop' that stops the pipeline, and is not their error
SELECT bear_by($$RAISE 'not %', n USING ERRCODE = '22000'$$);
CREATE FOREIGN TABLE closing (id int, at timestamptz) SERVER broker OPTIONS (topic 'rt_closing', event_time 'at');
ALTER SYSTEM SET kafka.idle_timeout = 0;
ALTER SYSTEM SET kafka.idle_advance = on;
SELECT pg_reload_conf() \g /dev/null
CREATE FUNCTION share_by(divisor text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE FUNCTION share(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS %L', format('BEGIN RETURN 60 / (%s); END', divisor));
END $$;
SELECT share_by('n - 2') \g /dev/null
BEGIN;
CREATE MATERIALIZED VIEW borne WITH (kafka.continuous, kafka.pipeline = 'closing') AS SELECT bear(id) AS id FROM closing;
CREATE MATERIALIZED VIEW windows WITH (kafka.continuous, kafka.pipeline = 'closing', kafka.emit = 'final') AS
	SELECT kafka.tumble(at, '100 ms') AS during, share(count(*)) AS share FROM closing GROUP BY 1;
COMMIT;
SELECT send('rt_closing', VARIADIC ARRAY[1] || array_fill(2, ARRAY[600]) || ARRAY[4, 4]) \g /dev/null
SELECT ok(kafka.wait_for_view('windows', '60s'), 'dead letters, and windows of which one is open');
SELECT results_eq($$SELECT DISTINCT sqlstate, attempts, count(*) OVER () FROM kafka.dead_letters$$, $$VALUES ('22000', 1, 600::bigint)$$, 'the dead letters');
ALTER FOREIGN TABLE closing OPTIONS (ADD on_error 'stop');
SELECT bear_by('NULL');
ALTER SYSTEM SET kafka.batch_rows = 1;
SELECT pg_reload_conf() \g /dev/null
SELECT is(kafka.retry_dead_letters('borne'), 600::bigint, 'are tried again, one by one');
SELECT ok(kafka_test.poll('(SELECT count(*) < 600 FROM kafka.dead_letters)'), 'which begins');
ALTER SYSTEM SET kafka.idle_timeout = 1;
SELECT pg_reload_conf() \g /dev/null
SELECT ok(kafka_test.poll($$(SELECT error = 'division by zero' AND error_hint ~ 'on_error' FROM kafka.pipelines)$$), 'time goes on, and what cannot be closed stops the pipeline');
SELECT is_empty('SELECT FROM kafka.dead_letters WHERE attempts > 1 OR retry_requested IS NULL', 'no dead letter has a part in that');
SELECT is((SELECT count(*) FROM windows WHERE upper(during) > '2026-01-01 00:00:04'), 0::bigint, 'the window is not closed');
SELECT share_by('n') \g /dev/null
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT ok(kafka_test.poll('EXISTS (SELECT FROM windows WHERE share = 30) AND NOT EXISTS (SELECT FROM kafka.dead_letters)'), 'mended, it closes, and they are applied');
SELECT is((SELECT count(*) FROM borne), 603::bigint, 'each once');
ALTER SYSTEM RESET kafka.idle_timeout;
ALTER SYSTEM RESET kafka.idle_advance;
SELECT pg_reload_conf() \g /dev/null
DROP MATERIALIZED VIEW windows, borne;

-- rows that a view over a view has had, which cannot be read any more: of one dead letter, and by nobody's fault
CREATE DOMAIN amount AS int;
CREATE FOREIGN TABLE sold (id int, at timestamptz) SERVER broker OPTIONS (topic 'rt_sold', event_time 'at');
SELECT bear_by($$RAISE 'not %', n USING ERRCODE = '22000'$$);
BEGIN;
CREATE MATERIALIZED VIEW below WITH (kafka.continuous, kafka.pipeline = 'sold') AS SELECT id::amount AS id, at FROM sold;
CREATE MATERIALIZED VIEW above WITH (kafka.continuous, kafka.pipeline = 'sold') AS SELECT bear(id) AS id FROM below;
COMMIT;
SELECT send('rt_sold', 1, 2, 3) \g /dev/null
SELECT ok(kafka.wait_for_view('above', '60s'), 'rows that a view over a view cannot bear');
SELECT results_eq($$SELECT * FROM letters('above')$$, $$VALUES ('1 22000 not 2 1 f'), ('2 22000 not 3 1 f')$$, 'are dead letters');
ALTER DOMAIN amount ADD CONSTRAINT not_two CHECK (VALUE <> 2) NOT VALID;
SELECT bear_by('NULL');
SELECT is(kafka.retry_dead_letters('above'), 2::bigint, 'one of them cannot be had again');
SELECT ok(kafka.wait_for_view('above', '60s'), 'they are tried');
SELECT results_eq($$SELECT * FROM letters('above')$$, $$VALUES ('1 23514 value for domain amount violates check constraint "not_two" 2 f')$$, 'which is its own error');
SELECT results_eq('SELECT id FROM above ORDER BY id', 'VALUES (1), (3)', 'the other one is applied');
ALTER DOMAIN amount DROP CONSTRAINT not_two;
SELECT is(kafka.retry_dead_letters('above'), 1::bigint, 'mended');
SELECT ok(kafka.wait_for_view('above', '60s'), 'and tried');
SELECT results_eq('SELECT id FROM above ORDER BY id', 'VALUES (1), (2), (3)', 'it is applied');
SELECT * FROM finish();
