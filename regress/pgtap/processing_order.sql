-- The rows of a view come to those that read it in the order of the records that made them, wherever batches end (DESIGN.md 2.2): unions, joins
-- with tables, views whose rows are not stored. The readers show the order: an array, the last of equal times, the row that stands, a topic.
SELECT plan(10);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 1, 'retention.ms=-1') FROM unnest('{order_a,order_b,order_names,order_sink,order_named_sink}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE a (n int, k int, at timestamptz) SERVER broker OPTIONS (topic 'order_a', event_time 'at');
CREATE FOREIGN TABLE b (n int, k int, at timestamptz) SERVER broker OPTIONS (topic 'order_b', event_time 'at');
CREATE FOREIGN TABLE names (k int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'order_names', mode 'upsert');
CREATE FOREIGN TABLE sink (n int) SERVER broker OPTIONS (topic 'order_sink');
CREATE FOREIGN TABLE named_sink (n int) SERVER broker OPTIONS (topic 'order_named_sink');
SELECT kafka_test.produce('order_names', $$SELECT i::text, jsonb_build_object('k', i, 'name', 'name ' || i) FROM generate_series(0, 2) i$$) \g /dev/null

BEGIN;
CREATE MATERIALIZED VIEW united WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT n, k, at FROM a UNION ALL SELECT n, k, at FROM b;
CREATE VIEW united_unstored WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT n, k, at FROM a UNION ALL SELECT n, k, at FROM b;
CREATE MATERIALIZED VIEW named WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT a.n, names.name, a.at FROM a JOIN names ON names.k = a.k;
CREATE MATERIALIZED VIEW in_order WITH (kafka.continuous) AS SELECT array_agg(n) AS ns, kafka.last(n, date_trunc('day', at)) AS last, kafka.first(n, date_trunc('day', at)) AS first FROM united;
CREATE MATERIALIZED VIEW in_order_unstored WITH (kafka.continuous) AS SELECT array_agg(n) AS ns FROM united_unstored;
CREATE MATERIALIZED VIEW per_k WITH (kafka.continuous) AS SELECT DISTINCT ON (k) k, n FROM united ORDER BY k, date_trunc('day', at);
CREATE MATERIALIZED VIEW sessions WITH (kafka.continuous) AS SELECT kafka.session(at, '1 hour') AS during, array_agg(n) AS ns FROM united GROUP BY during;
CREATE MATERIALIZED VIEW names_in_order WITH (kafka.continuous) AS SELECT array_agg(n) AS ns FROM named;
-- only topics see the order of these
CREATE MATERIALIZED VIEW sunk WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT n FROM a UNION ALL SELECT n FROM b;
CREATE MATERIALIZED VIEW named_sunk WITH (kafka.continuous, kafka.pipeline = 'p') AS SELECT a.n FROM a JOIN names ON names.k = a.k;
SELECT kafka.attach_sink('sunk', 'sink'), kafka.attach_sink('named_sunk', 'named_sink') \g /dev/null
COMMIT;
-- n rises with the time; a has the numbers divisible by 3, so the topics take turns
CREATE FUNCTION send(first int, last int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce(t, format('SELECT NULL::text, jsonb_build_object(''n'', n, ''k'', n / 2 %% 3, ''at'', timestamptz ''2024-01-01 00:00'' + n * interval ''1 second'') FROM generate_series(%s, %s) n WHERE (n %% 3 = 0) = (%L = ''order_a'') ORDER BY n', first, last, t))
	FROM unnest('{order_a,order_b}'::text[]) t;
$$;
CREATE FUNCTION caught_up() RETURNS bool LANGUAGE sql AS $$
	SELECT bool_and(kafka.wait_for_view(v, '60s')) FROM unnest('{in_order,in_order_unstored,per_k,sessions,names_in_order}'::regclass[]) v
$$;
SELECT kafka.pause('p') \g /dev/null
SELECT send(1, 60) \g /dev/null
SELECT kafka.resume('p') \g /dev/null
SELECT ok(caught_up(), 'a batch of two topics');
CREATE VIEW all_n AS SELECT array_agg(n) AS ns FROM generate_series(1, 60) n;
SELECT results_eq('SELECT ns FROM in_order', 'SELECT ns FROM all_n', 'the rows of a union are in the order of the records, not arm by arm');
SELECT results_eq('SELECT last, first FROM in_order', 'VALUES (60, 1)', 'of equal sorts the later and the earlier record');
SELECT results_eq('SELECT ns FROM in_order_unstored', 'SELECT ns FROM all_n', 'so are those of a view that is not stored');
SELECT results_eq('SELECT k, n FROM per_k ORDER BY k', 'VALUES (0, 1), (1, 2), (2, 4)', 'DISTINCT ON keeps the row of the earliest record');
SELECT results_eq('SELECT ns FROM sessions', 'SELECT ns FROM all_n', 'and sessions');
SELECT results_eq('SELECT ns FROM names_in_order', 'SELECT array_agg(n) FROM generate_series(3, 60, 3) n', 'rows that meet a table are in the order of the stream');
SELECT results_eq($$SELECT (value::jsonb->>'n')::int FROM kafka_test.await('order_sink', 60) ORDER BY "offset"$$, 'SELECT generate_series(1, 60)',
	'the messages of a stored union that no view reads are in the order of the records');
SELECT results_eq($$SELECT (value::jsonb->>'n')::int FROM kafka_test.await('order_named_sink', 20) ORDER BY "offset"$$, 'SELECT generate_series(3, 60, 3)',
	'and those of a stored join with a table');
SELECT send(61, 61), caught_up(), send(62, 62), caught_up() \g /dev/null
SELECT kafka.pause('p') \g /dev/null
SELECT send(63, 70) \g /dev/null
SELECT kafka.resume('p') \g /dev/null
SELECT caught_up() \g /dev/null
SELECT results_eq('SELECT ns FROM in_order', 'SELECT array_agg(n) FROM generate_series(1, 70) n', 'small batches go on where the large one ended');
SELECT * FROM finish();
