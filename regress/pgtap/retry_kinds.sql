-- Dead letters that are tried again (kafka.retry_dead_letters) in views that depend on time and order: sessions, outer joins, the row that comes
-- first or last, a table that is looked up; and while their pipeline is paused, changed, or fails for another reason than theirs.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rk_' || t, 1, 'retention.ms=-1') FROM unnest('{visits,lefts,rights,steps}'::text[]) t \g /dev/null
SELECT kafka_test.create_topic('rk_kinds', 1, 'cleanup.policy=compact') \g /dev/null
CREATE DOMAIN number AS int CHECK (VALUE < 100);
CREATE FUNCTION retry(relation regclass) RETURNS bigint LANGUAGE sql AS 'SELECT kafka.retry_dead_letters(relation)';
CREATE FUNCTION row_at(n int, id text, at int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', id, 'n', n, 'at', timestamptz '2026-01-01Z' + at * interval '1 s')
$$;

CREATE FOREIGN TABLE visits (id text, n number, at timestamptz) SERVER broker OPTIONS (topic 'rk_visits', event_time 'at');
CREATE FOREIGN TABLE kinds (n int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'rk_kinds', mode 'upsert');
BEGIN;
CREATE MATERIALIZED VIEW sessions WITH (kafka.continuous, kafka.pipeline = 'visits', kafka.grace = '1 hour') AS
	SELECT id, kafka.session(at, '10 s') AS session, count(*) AS n FROM visits GROUP BY id, kafka.session(at, '10 s');
CREATE MATERIALIZED VIEW lasts WITH (kafka.continuous, kafka.pipeline = 'visits') AS SELECT id, kafka.last(n::int, 1) AS last, kafka.first(n::int, 1) AS first FROM visits GROUP BY id;
CREATE MATERIALIZED VIEW chosen WITH (kafka.continuous, kafka.pipeline = 'visits') AS SELECT DISTINCT ON (id) id, n::int AS n, at FROM visits ORDER BY id, at DESC;
CREATE MATERIALIZED VIEW listed WITH (kafka.continuous, kafka.pipeline = 'visits') AS SELECT id, array_agg(n::int) AS n FROM visits GROUP BY id;
CREATE MATERIALIZED VIEW named WITH (kafka.continuous, kafka.pipeline = 'visits') AS SELECT v.id, v.n::int AS n, k.name FROM visits v LEFT JOIN kinds k ON k.n = v.n::int;
COMMIT;
SELECT kafka_test.produce('rk_kinds', $$VALUES ('1', '{"name": "one"}'), ('100', '{"name": "hundred"}')$$) \g /dev/null
SELECT kafka_test.produce('rk_visits', $$SELECT 'k', row_at(n, id, at) FROM (VALUES (1, 'a', 0), (100, 'a', 8), (2, 'a', 16), (200, 'b', 20), (3, 'b', 20)) v (n, id, at)$$) \g /dev/null
SELECT ok(kafka.wait_for_view('named', '60s'), 'two records that cannot be decoded');
SELECT results_eq($$SELECT id, extract(epoch FROM upper(session) - lower(session))::int, n FROM sessions ORDER BY id, session$$, 'VALUES (''a'', 0, 1::bigint), (''a'', 0, 1), (''b'', 0, 1)', 'two sessions of one key');

SELECT kafka.pause('visits') \g /dev/null
ALTER DOMAIN number DROP CONSTRAINT number_check;
SELECT is(retry('visits'), 2::bigint, 'retried while the pipeline is paused');
SELECT is(retry('visits'), 2::bigint, 'and once more');
SELECT ok(NOT kafka.wait_for_view('named', '200ms'), 'they wait');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters WHERE retry_requested IS NOT NULL AND attempts = 1), 2, 'and can be seen to');
ALTER FOREIGN TABLE visits ADD COLUMN more text;
DROP MATERIALIZED VIEW listed;
SELECT kafka.resume('visits') \g /dev/null
SELECT ok(kafka.wait_for_view('named', '60s'), 'when it goes on, with another column and without one view, they are tried');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters), 0, 'and applied');
SELECT results_eq($$SELECT id, extract(epoch FROM upper(session) - lower(session))::int, n FROM sessions ORDER BY id$$, 'VALUES (''a'', 16, 3::bigint), (''b'', 0, 2)', 'one merges the sessions');
SELECT results_eq('SELECT id, last, first FROM lasts ORDER BY id', 'VALUES (''a'', 100, 1), (''b'', 200, 3)', 'among equals they are the last ones');
SELECT results_eq('SELECT id, n FROM chosen ORDER BY id', 'VALUES (''a'', 2), (''b'', 3)', 'so the row of a key stays where its time is the same, or greater');
SELECT results_eq('SELECT n, name FROM named ORDER BY n', 'VALUES (1, ''one''), (2, NULL), (3, NULL), (100, ''hundred''), (200, NULL)', 'a table is looked up as it is now');
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', v), v || ' equals its query') FROM unnest('{sessions,chosen}'::text[]) v;

-- an outer join: a row that is not late joins, one that is late comes out unmatched at once
ALTER DOMAIN number ADD CONSTRAINT number_check CHECK (VALUE < 100);
CREATE FOREIGN TABLE lefts (id text, n number, at timestamptz) SERVER broker OPTIONS (topic 'rk_lefts', event_time 'at');
CREATE FOREIGN TABLE rights (id text, n number, at timestamptz) SERVER broker OPTIONS (topic 'rk_rights', event_time 'at');
BEGIN;
CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.pipeline = 'pairs', kafka.grace = '0 s') AS
	SELECT l.id, l.n::int AS l, r.n::int AS r FROM lefts l LEFT JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '60 s';
CREATE MATERIALIZED VIEW left_ids WITH (kafka.continuous, kafka.pipeline = 'pairs') AS SELECT id FROM lefts;
COMMIT;
SELECT kafka_test.produce('rk_lefts', $$SELECT 'k', row_at(n, id, at) FROM (VALUES (1, 'a', 0), (100, 'old', 1), (100, 'b', 200), (4, 'c', 200), (5, 'd', 210)) v (n, id, at)$$) \g /dev/null
SELECT kafka_test.produce('rk_rights', $$SELECT 'k', row_at(n, id, at) FROM (VALUES (11, 'old', 5), (12, 'b', 205), (100, 'c', 215), (13, 'e', 210)) v (n, id, at)$$) \g /dev/null
SELECT ok(kafka.wait_for_view('pairs', '60s'), 'rows of an outer join');
SELECT results_eq('SELECT id, l, r FROM pairs ORDER BY id', 'VALUES (''a'', 1, NULL::int)', 'one has been closed without a match');
ALTER DOMAIN number DROP CONSTRAINT number_check;
SELECT is(retry('lefts') + retry('rights'), 3::bigint, 'bad ones are retried');
SELECT ok(kafka.wait_for_view('pairs', '60s'), 'all are tried');
SELECT results_eq('SELECT id, l, r FROM pairs ORDER BY id', 'VALUES (''a'', 1, NULL::int), (''b'', 100, 12), (''c'', 4, 100), (''old'', 100, NULL)', 'they join where time lets them');
SELECT is((SELECT late_rows FROM kafka.views WHERE view = 'pairs'::regclass), 1::bigint, 'and are late where it does not');
SELECT results_eq('SELECT DISTINCT relation::text COLLATE "default" FROM kafka_state.retried ORDER BY 1', $$VALUES ('lefts'), ('rights')$$, 'what of them is in buffers is kept for reloads');
DROP MATERIALIZED VIEW pairs;
SELECT ok(kafka_test.poll('NOT EXISTS (SELECT FROM kafka_state.retried)'), 'until the last view with a buffer is gone, though its pipeline goes on');
SELECT kafka_test.produce('rk_lefts', $$SELECT 'k', row_at(6, 'f', 220)$$) \g /dev/null
SELECT ok(kafka.wait_for_view('left_ids', '60s'), 'as it does');
SELECT is((SELECT count(*)::int FROM left_ids), 6, 'with every record once');

-- what no record is to blame for answers the request; the pipeline goes on
CREATE FUNCTION stepped(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 10 / n; END';
CREATE FOREIGN TABLE steps (n int) SERVER broker OPTIONS (topic 'rk_steps');
CREATE MATERIALIZED VIEW stairs WITH (kafka.continuous) AS SELECT n, stepped(n) AS step FROM steps;
SELECT kafka_test.produce('rk_steps', $$VALUES ('k', '{"n": 1}'), ('k', '{"n": 0}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('stairs', '60s'), 'a bad record');
CREATE OR REPLACE FUNCTION stepped(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
	'BEGIN IF n = 0 THEN RAISE ''the shop is closed'' USING ERRCODE = ''55000''; END IF; RETURN 10 / n; END';
SELECT is(retry('stairs'), 1::bigint, 'retried when another error is in its way');
SELECT ok(kafka.wait_for_view('stairs', '60s'), 'it is answered');
SELECT results_eq('SELECT sqlstate, message, attempts FROM kafka.dead_letters WHERE view = ''stairs''::regclass', 'VALUES (''55000'', ''the shop is closed'', 2)', 'by that error');
SELECT kafka_test.produce('rk_steps', $$VALUES ('k', '{"n": 2}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('stairs', '60s'), 'records that come');
SELECT results_eq('SELECT n, step FROM stairs ORDER BY n', 'VALUES (1, 10), (2, 5)', 'are applied');
SELECT is((SELECT error FROM kafka.pipelines WHERE pipeline = 'stairs'), NULL, 'and the pipeline has no error');
SELECT * FROM finish();
