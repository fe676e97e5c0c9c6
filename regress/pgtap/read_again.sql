-- What is kept for records that are read a second time (kafka_state.skipped, mark, retried): nothing for topics that nobody reads again, though others in
-- the pipeline are; what was kept for a buffer goes with it, and the place of a discarded dead letter with the last one that asks for it.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('ra_' || t, 1, CASE t WHEN 'parts' THEN 'cleanup.policy=compact' ELSE 'retention.ms=-1' END) FROM unnest('{lefts,rights,events,parts}'::text[]) t \g /dev/null
CREATE FUNCTION kept(tables text[] DEFAULT '{mark,retried,skipped}') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY tables LOOP
		RETURN QUERY EXECUTE format('SELECT concat_ws($q$ $q$, %L, relation) COLLATE "default" FROM kafka_state.%I GROUP BY relation ORDER BY 1', name, name);
	END LOOP;
END $$;
CREATE FUNCTION send(topic text, ids int[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce(topic, format($q$SELECT i, jsonb_build_object('id', i, 'n', CASE WHEN i %% 5 = 0 THEN 'x' ELSE i::text END, 'at', timestamptz '2026-01-01Z' + i * interval '1 s')
		FROM unnest(%L::int[]) i$q$, ids))
$$;
CREATE FUNCTION bear(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 60 / (n % 3); END';
CREATE FOREIGN TABLE lefts (id int, n int, at timestamptz) SERVER broker OPTIONS (topic 'ra_lefts', event_time 'at');
CREATE FOREIGN TABLE rights (id int, n int, at timestamptz) SERVER broker OPTIONS (topic 'ra_rights', event_time 'at');
CREATE FOREIGN TABLE events (id int, n int, at timestamptz) SERVER broker OPTIONS (topic 'ra_events', event_time 'at');
CREATE FOREIGN TABLE parts (id int OPTIONS (key 'true'), n int) SERVER broker OPTIONS (topic 'ra_parts', mode 'upsert');
BEGIN;
CREATE VIEW given WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id FROM rights;
CREATE MATERIALIZED VIEW borne WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id, bear(n) AS n FROM events;
CREATE MATERIALIZED VIEW also_borne WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id, bear(n) AS n FROM rights;
CREATE MATERIALIZED VIEW stock WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT id, n FROM parts;
COMMIT;
SELECT send('ra_' || t, ARRAY(SELECT generate_series(1, 30))) FROM unnest('{rights,events,parts}'::text[]) t \g /dev/null
SELECT ok(kafka.wait_for_view(v, '60s'), 'bad records') FROM unnest('{given,borne,also_borne,stock}'::text[]) v;
SELECT results_eq($$SELECT relation::text, view::text, count(*)::int FROM kafka.dead_letters GROUP BY relation, view ORDER BY relation::text, view::text$$,
	$$VALUES ('events', 'borne', 8), ('events', NULL, 6), ('parts', NULL, 6), ('rights', 'also_borne', 8), ('rights', NULL, 6)$$, 'are dead letters of three topics');
SELECT results_eq('SELECT * FROM kept()', $$VALUES ('skipped rights')$$, 'the one that an unstored view reads is read again');
SELECT is((SELECT count(*)::int FROM kafka_state.skipped), 6, 'by that view alone');
DROP VIEW given;
SELECT ok(kafka_test.poll('NOT EXISTS (SELECT FROM kept())'), 'until it is dropped');

-- the places of discarded ones
SELECT is(kafka.discard_dead_letters('parts', ARRAY(SELECT id FROM kafka.dead_letters WHERE relation = 'parts'::regclass AND "offset" > 10)), 4::bigint, 'some of a table are discarded');
SELECT is((SELECT count(*)::int FROM kafka_state.skipped), 4, 'their places are kept for the others');
SELECT is(kafka.discard_dead_letters('parts', ARRAY(SELECT id FROM kafka.dead_letters WHERE relation = 'parts'::regclass ORDER BY id LIMIT 1)), 1::bigint, 'as is another one');
SELECT is((SELECT count(*)::int FROM kafka_state.skipped), 5, 'for the last one');
SELECT is(kafka.discard_dead_letters('parts'), 1::bigint, 'which is discarded');
SELECT is_empty('SELECT * FROM kept()', 'so nobody asks for them');

-- buffers of a join, beside a view without; dead letters of both
BEGIN;
CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.pipeline = 'pairs', kafka.grace = '0') AS
	SELECT l.id, l.n FROM lefts l JOIN rights r ON r.id = l.id AND r.at BETWEEN l.at AND l.at + interval '5 s';
CREATE MATERIALIZED VIEW counts WITH (kafka.continuous, kafka.pipeline = 'pairs') AS SELECT count(*) AS n FROM lefts;
COMMIT;
SELECT send('ra_lefts', ARRAY(SELECT generate_series(1, 30))) \g /dev/null
SELECT ok(kafka.wait_for_view(v, '60s'), 'records of a join') FROM unnest('{pairs,counts}'::text[]) v;
SELECT results_eq($$SELECT * FROM kept('{mark,skipped}')$$, $$VALUES ('mark lefts'), ('mark rights'), ('skipped lefts')$$, 'are read again');
DROP MATERIALIZED VIEW pairs;
SELECT ok(kafka_test.poll('NOT EXISTS (SELECT FROM kept())'), 'until the join is dropped');
SELECT send('ra_lefts', ARRAY(SELECT generate_series(31, 60))) \g /dev/null
SELECT ok(kafka.wait_for_view('counts', '60s'), 'while the pipeline goes on');
SELECT results_eq('SELECT n FROM counts', 'VALUES (54::bigint)', 'with its other view, which can read all of them');
SELECT is_empty('SELECT * FROM kept()', 'for which nothing is kept');
SELECT * FROM finish();
