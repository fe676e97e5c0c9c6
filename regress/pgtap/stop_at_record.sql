-- on_error 'stop' (DESIGN.md 1.2): the records before the bad one are applied and committed, though they came in one batch with it; then the pipeline
-- stops with an error that names the record, at which its position stands. It goes on by itself when the cause is mended.
SELECT no_plan();
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('sar_' || t, 1, 'retention.ms=-1') FROM unnest('{ratios,bad}'::text[]) t \g /dev/null
CREATE FUNCTION share(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN a / b; END';
CREATE FOREIGN TABLE ratios (a int, b int) SERVER broker OPTIONS (topic 'sar_ratios', on_error 'stop');
CREATE FOREIGN TABLE bad (a int) SERVER broker OPTIONS (topic 'sar_bad', on_error 'stop');
CREATE FUNCTION stands(name text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', l.position, l.partition, p.error, p.error_detail) FROM kafka.pipelines p JOIN kafka.lag l USING (pipeline) WHERE p.pipeline = name
$$;
CREATE MATERIALIZED VIEW shares WITH (kafka.continuous) AS SELECT a, share(a, b) AS share FROM ratios WITH NO DATA;
SELECT kafka_test.produce('sar_ratios', $$SELECT 'k', jsonb_build_object('a', i, 'b', CASE WHEN i IN (38, 71) THEN 0 ELSE 1 END) FROM generate_series(1, 100) i$$) \g /dev/null
SELECT kafka.resume('shares') \g /dev/null
SELECT ok(kafka_test.poll($$error IS NOT NULL FROM kafka.pipelines WHERE pipeline = 'shares'$$), 'a record that the view cannot bear stops the pipeline');
SELECT results_eq('SELECT count(*), max(a) FROM shares', 'VALUES (37::bigint, 37)', 'what comes before it is applied');
SELECT is(stands('shares'), '37 0 division by zero It is record 37 of topic "sar_ratios" partition 0, in continuous view public.shares.', 'the position stands at it, and the error names it');
CREATE OR REPLACE FUNCTION share(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN a = 38 THEN 0 ELSE a / b END; END';
SELECT ok(kafka_test.poll($$position = 70 FROM kafka.lag WHERE pipeline = 'shares'$$), 'mended, it goes on to the next one');
SELECT results_eq('SELECT count(*), max(a) FROM shares', 'VALUES (70::bigint, 70)', 'with what comes before that');
CREATE OR REPLACE FUNCTION share(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN b = 0 THEN 0 ELSE a / b END; END';
SELECT ok(kafka.wait_for_view('shares', '60s'), 'and to the end');
SELECT results_eq('SELECT count(*), count(DISTINCT a) FROM shares', 'VALUES (100::bigint, 100::bigint)', 'each record once');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters), 0, 'none is a dead letter');

CREATE MATERIALIZED VIEW read WITH (kafka.continuous) AS SELECT a FROM bad WITH NO DATA;
SELECT kafka_test.produce('sar_bad', $$SELECT 'k', CASE WHEN i = 5 THEN '{"a": "x"}' ELSE jsonb_build_object('a', i)::text END FROM generate_series(1, 10) i$$) \g /dev/null
SELECT kafka.resume('read') \g /dev/null
SELECT ok(kafka_test.poll($$error IS NOT NULL FROM kafka.pipelines WHERE pipeline = 'read'$$), 'a record that cannot be decoded');
SELECT is(stands('read'), '4 0 record 4 of topic "sar_bad" partition 0 is bad: could not read column "a" of public.bad from the value invalid input syntax for type integer: "x"', 'is named with its column');
SELECT results_eq('SELECT count(*), max(a) FROM read', 'VALUES (4::bigint, 4)', 'what comes before it is applied');
ALTER FOREIGN TABLE bad OPTIONS (SET on_error 'dead_letter');
SELECT ok(kafka.wait_for_view('read', '60s'), 'told so, it goes on');
SELECT results_eq('SELECT count(*), max(a) FROM read', 'VALUES (9::bigint, 10)', 'without it');
SELECT * FROM finish();
