-- Windows that close: grace, late rows, the closed frontier (DESIGN.md 2.3).
SELECT plan(10);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, n, 'retention.ms=-1') FROM (VALUES ('close_clicks', 1), ('close_two', 2), ('close_done', 1)) topics(t, n) \g /dev/null
CREATE FOREIGN TABLE clicks (page text, at timestamptz) SERVER broker OPTIONS (topic 'close_clicks', event_time 'at');
CREATE FOREIGN TABLE done (page text, done_at timestamptz) SERVER broker OPTIONS (topic 'close_done', event_time 'done_at');
CREATE FOREIGN TABLE two (page text, at timestamptz) SERVER broker OPTIONS (topic 'close_two', event_time 'at');
-- seconds of event time, in this order, into a partition
CREATE FUNCTION seconds(topic text, field text, partition int, variadic seconds numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at(topic, format('SELECT %s, 1000000000000 + n, NULL, jsonb_build_object(''page'', ''p'', %L, to_timestamp(s)) FROM unnest(%L::numeric[]) WITH ORDINALITY u(s, n) ORDER BY n',
		partition, field, seconds))
$$;
-- views by seconds: [0,10) as '0-10'
CREATE FUNCTION secs(tstzrange) RETURNS text LANGUAGE sql AS $$
	SELECT extract(epoch FROM lower($1))::int || '-' || extract(epoch FROM upper($1))::int
$$;

-- one partition: late is what the stream has passed by grace, however the records are cut into batches
CREATE MATERIALIZED VIEW graced WITH (kafka.continuous, kafka.grace = '5 s') AS
	SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM clicks GROUP BY during;
CREATE MATERIALIZED VIEW hopped WITH (kafka.continuous, kafka.grace = '0') AS
	SELECT during, count(*) AS n FROM clicks, LATERAL kafka.hop(at, '10 s', '5 s') AS during GROUP BY during;
CREATE MATERIALIZED VIEW kept_open WITH (kafka.continuous) AS
	SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM clicks GROUP BY during;
SELECT seconds('close_clicks', 'at', 0, 1, 14.9, 3, 15, 4, 14, 26, 19) \g /dev/null
SELECT ok(kafka.wait_for_view('graced', '60s') AND kafka.wait_for_view('hopped', '60s') AND kafka.wait_for_view('kept_open', '60s'), 'events out of order are applied');
SELECT results_eq('SELECT secs(during), n FROM graced ORDER BY during', $$VALUES ('0-10', 2::bigint), ('10-20', 3), ('20-30', 1)$$,
	'a row is in time until its window ended grace before the stream time before it');
SELECT results_eq('SELECT secs(during), n FROM hopped ORDER BY during',
	$$VALUES ('-5-5', 1::bigint), ('0-10', 1), ('5-15', 1), ('10-20', 3), ('15-25', 1), ('20-30', 1), ('25-35', 1)$$, 'of a row in two windows one may be closed');
SELECT results_eq('SELECT secs(during), n FROM kept_open ORDER BY during', $$VALUES ('0-10', 3::bigint), ('10-20', 4), ('20-30', 1)$$,
	'nothing is late where no option asks for it');
SELECT results_eq('SELECT view::text, late_rows FROM kafka.views WHERE view::text IN (''graced'', ''hopped'', ''kept_open'') ORDER BY 1',
	$$VALUES ('graced', 2::bigint), ('hopped', 7), ('kept_open', 0)$$, 'every late row and window is counted');
SELECT results_eq('SELECT difference, row_data->''n'' FROM kafka.verify(''graced'') ORDER BY 1, 2',
	$$VALUES ('missing', '3'::jsonb), ('missing', '4'), ('unexpected', '2'), ('unexpected', '3')$$, 'and kafka.verify shows what they would have made');

-- two partitions: the frontier is the lesser of them, and a partition far ahead is late by its own time
CREATE MATERIALIZED VIEW of_two WITH (kafka.continuous, kafka.grace = '0') AS
	SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM two GROUP BY during;
SELECT seconds('close_two', 'at', 0, 30, 5), seconds('close_two', 'at', 1, 2, 8) \g /dev/null
SELECT ok(kafka.wait_for_view('of_two', '60s'), 'two partitions are applied');
SELECT seconds('close_two', 'at', 1, 9, 21), kafka.wait_for_view('of_two', '60s') \g /dev/null
SELECT seconds('close_two', 'at', 1, 6), kafka.wait_for_view('of_two', '60s') \g /dev/null
SELECT results_eq('SELECT secs(during), n FROM of_two ORDER BY during', $$VALUES ('0-10', 3::bigint), ('20-30', 1), ('30-40', 1)$$,
	'the partition behind is in time where the one ahead is late');

-- over a join the frontier lags by its time bound
CREATE MATERIALIZED VIEW finished WITH (kafka.continuous, kafka.grace = '0') AS
	SELECT kafka.tumble(c.at, '10 s') AS during, count(*) AS n FROM clicks c JOIN done d ON d.page = c.page AND d.done_at BETWEEN c.at AND c.at + interval '20 s' GROUP BY during;
SELECT seconds('close_done', 'done_at', 0, 20, 26) \g /dev/null
SELECT ok(kafka.wait_for_view('finished', '60s'), 'a join is applied');
SELECT results_eq('SELECT secs(during), n FROM finished ORDER BY during', $$VALUES ('0-10', 3::bigint), ('10-20', 8), ('20-30', 1)$$, 'and its windows are open as long as it may find pairs');
SELECT * FROM finish();
