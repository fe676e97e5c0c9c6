-- Windows that close: grace, late rows, the closed frontier, emit = final (DESIGN.md 2.3).
SELECT plan(33);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, n, 'retention.ms=-1') FROM (VALUES ('close_clicks', 1), ('close_two', 2), ('close_done', 1), ('close_visits', 1), ('close_facts', 1), ('close_last', 1), ('close_bad', 1)) topics(t, n) \g /dev/null
CREATE FOREIGN TABLE clicks (page text, at timestamptz) SERVER broker OPTIONS (topic 'close_clicks', event_time 'at');
CREATE FOREIGN TABLE done (page text, done_at timestamptz) SERVER broker OPTIONS (topic 'close_done', event_time 'done_at');
CREATE FOREIGN TABLE two (page text, at timestamptz) SERVER broker OPTIONS (topic 'close_two', event_time 'at');
-- seconds of event time, in this order, into a partition
CREATE FUNCTION seconds(topic text, field text, partition int, VARIADIC seconds numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_times(topic, '{"page": "p"}', field, partition, VARIADIC seconds)
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
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM graced ORDER BY during', $$VALUES ('0-10', 2::bigint), ('10-20', 3), ('20-30', 1)$$,
	'a row is in time until its window ended grace before the stream time before it');
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM hopped ORDER BY during',
	$$VALUES ('-5-5', 1::bigint), ('0-10', 1), ('5-15', 1), ('10-20', 3), ('15-25', 1), ('20-30', 1), ('25-35', 1)$$, 'of a row in two windows one may be closed');
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM kept_open ORDER BY during', $$VALUES ('0-10', 3::bigint), ('10-20', 4), ('20-30', 1)$$,
	'nothing is late where no option asks for it');
SELECT results_eq('SELECT view::text, late_rows FROM kafka.views WHERE view::text IN (''graced'', ''hopped'', ''kept_open'') ORDER BY 1',
	$$VALUES ('graced', 2::bigint), ('hopped', 7), ('kept_open', 0)$$, 'every late row and window is counted');
SELECT results_eq('SELECT difference, row_data->''n'' FROM kafka.verify(''graced'') ORDER BY 1, 2',
	$$VALUES ('missing', '3'::jsonb), ('missing', '4'), ('unexpected', '2'), ('unexpected', '3')$$, 'and kafka.verify shows what they would have made');

-- two partitions: the frontier is the lesser of them, and a partition far ahead is late by its own time
SELECT seconds('close_two', 'at', 0, 30, 5), seconds('close_two', 'at', 1, 2, 8) \g /dev/null
CREATE MATERIALIZED VIEW of_two WITH (kafka.continuous, kafka.grace = '0') AS
	SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n FROM two GROUP BY during;
SELECT ok(kafka.wait_for_view('of_two', '60s'), 'two partitions are applied');
SELECT seconds('close_two', 'at', 1, 9, 21), kafka.wait_for_view('of_two', '60s') \g /dev/null
SELECT seconds('close_two', 'at', 1, 6), kafka.wait_for_view('of_two', '60s') \g /dev/null
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM of_two ORDER BY during', $$VALUES ('0-10', 3::bigint), ('20-30', 1), ('30-40', 1)$$,
	'the partition behind is in time where the one ahead is late');

-- over a join the frontier lags by its time bound
CREATE MATERIALIZED VIEW finished WITH (kafka.continuous, kafka.grace = '0') AS
	SELECT kafka.tumble(c.at, '10 s') AS during, count(*) AS n FROM clicks c JOIN done d ON d.page = c.page AND d.done_at BETWEEN c.at AND c.at + interval '20 s' GROUP BY during;
SELECT seconds('close_done', 'done_at', 0, 20, 26) \g /dev/null
SELECT ok(kafka.wait_for_view('finished', '60s'), 'a join is applied');
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM finished ORDER BY during', $$VALUES ('0-10', 3::bigint), ('10-20', 8), ('20-30', 1)$$, 'and its windows are open as long as it may find pairs');

-- emit = final: a row when the window closes, and never again
CREATE FUNCTION sink(topic text, expected int) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', key, coalesce(value::jsonb->>'n', '(null)')) FROM kafka_test.await(topic, expected) ORDER BY "offset"
$$;
CREATE FOREIGN TABLE visits (page text, at timestamptz) SERVER broker OPTIONS (topic 'close_visits', event_time 'at');
CREATE FOREIGN TABLE facts (since timestamptz, n bigint) SERVER broker OPTIONS (topic 'close_facts');
CREATE FOREIGN TABLE last_facts (during tstzrange OPTIONS (key 'true'), page text OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'close_last', mode 'upsert');
BEGIN;
CREATE MATERIALIZED VIEW final_visits WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '5 s') AS
	SELECT kafka.tumble(at, '10 s') AS during, upper(kafka.tumble(at, '10 s')) AS until, lower(kafka.tumble(at, '10 s')) AS since, page, count(*) AS n
	FROM visits GROUP BY during, page HAVING count(*) < 3;
CREATE TRIGGER facts AFTER INSERT ON final_visits REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
CREATE TRIGGER last_facts AFTER INSERT ON final_visits REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('last_facts');
-- a view over it, with windows of the windows' ends
CREATE MATERIALIZED VIEW final_minutes WITH (kafka.continuous, kafka.emit = 'final') AS
	SELECT kafka.tumble(until, '30 s') AS half_minute, sum(n) AS n, count(*) AS windows FROM final_visits GROUP BY half_minute;
COMMIT;
SELECT seconds('close_visits', 'at', 0, 1, 12, 3, 14.9), kafka.wait_for_view('final_visits', '60s') \g /dev/null
SELECT is_empty('SELECT FROM final_visits', 'no row before the window has closed');
SELECT is_empty('SELECT * FROM kafka.verify(''final_visits'')', 'and kafka.verify asks for none');
SELECT seconds('close_visits', 'at', 0, 15), kafka.wait_for_view('final_visits', '60s') \g /dev/null
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM final_visits', $$VALUES ('0-10', 2::bigint)$$, 'a window closes when its end + grace is reached');
SELECT seconds('close_visits', 'at', 0, 4, 31), kafka.wait_for_view('final_visits', '60s') \g /dev/null
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM final_visits', $$VALUES ('0-10', 2::bigint)$$, 'a late row does not change it; one that fails HAVING gives no row');
SELECT is((SELECT late_rows FROM kafka.views WHERE view = 'final_visits'::regclass), 1::bigint, 'but is counted');
SELECT results_eq('SELECT difference, row_data->''n'' FROM kafka.verify(''final_visits'') ORDER BY 1', $$VALUES ('unexpected', '2'::jsonb)$$,
	'kafka.verify knows nothing of lateness: three rows would have failed HAVING');
SELECT seconds('close_visits', 'at', 0, 52, 75), kafka.wait_for_view('final_minutes', '60s') \g /dev/null
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM final_visits ORDER BY during', $$VALUES ('0-10', 2::bigint), ('30-40', 1), ('50-60', 1)$$, 'several close at once');
SELECT results_eq('SELECT kafka_test.seconds(half_minute), n, windows FROM final_minutes ORDER BY half_minute', $$VALUES ('0-30', 2::numeric, 1::bigint), ('30-60', 1, 1)$$,
	'the windows of the view over it close when no window that belongs there can come');
SELECT results_eq('SELECT sink(''close_facts'', 3)', $$VALUES ('2'), ('1'), ('1')$$, 'each row is published once, to an append topic');
SELECT results_eq('SELECT sink(''close_last'', 3)', $$SELECT format('{"during":{"start":"1970-01-01T00:00:%sZ","end":"1970-01-01T00:%sZ"},"page":"p"} %s', since, until, n)
	FROM (VALUES ('00', '00:10', 2), ('30', '00:40', 1), ('50', '01:00', 1)) w(since, until, n)$$,
	'and to an upsert topic by its key');
SELECT is((SELECT count(*)::int FROM final_visits WHERE until = upper(during) AND since = lower(during)), 3, 'the bounds are columns like others');
SELECT throws_ok('CREATE TRIGGER t AFTER INSERT ON final_visits FOR EACH ROW EXECUTE FUNCTION kafka.publish(''last_visits'')', NULL, 'a sink that is none is refused');
-- created later, a view has closed what time has passed
CREATE MATERIALIZED VIEW final_hopped WITH (kafka.continuous, kafka.emit = 'final', kafka.event_time = 'since') AS
	SELECT lower(w) AS since, count(*) AS n FROM visits, LATERAL kafka.hop(at, '40 s', '20 s') AS w GROUP BY since;
CREATE MATERIALIZED VIEW over_hopped WITH (kafka.continuous) AS SELECT n, count(*) AS windows FROM final_hopped GROUP BY n;
SELECT ok(kafka.wait_for_view('over_hopped', '60s'), 'a final view of hops is applied');
SELECT results_eq('SELECT extract(epoch FROM since)::int, n FROM final_hopped ORDER BY since',
	$$VALUES (-20, 6::bigint), (0, 7), (20, 2)$$, 'with all its windows that have ended');

-- what cannot be written when a window closes is set aside, and the others are written
CREATE FOREIGN TABLE bad (page text, at timestamptz) SERVER broker OPTIONS (topic 'close_bad', event_time 'at');
BEGIN;
CREATE MATERIALIZED VIEW ratios WITH (kafka.continuous, kafka.emit = 'final') AS
	SELECT kafka.tumble(at, '10 s') AS during, upper(kafka.tumble(at, '10 s')) AS until, count(*) AS n, 12 / (count(*) - 2) AS ratio FROM bad GROUP BY during;
CREATE MATERIALIZED VIEW of_ratios WITH (kafka.continuous) AS SELECT until, 1 / (n - 3) AS r FROM ratios;
CREATE MATERIALIZED VIEW counted_ratios WITH (kafka.continuous) AS SELECT n, count(*) AS windows FROM ratios GROUP BY n;
COMMIT;
SELECT seconds('close_bad', 'at', 0, 1, 11, 11, 21, 21, 21, 31, 41, 41, 51, 51, 51, 51, 61) \g /dev/null
SELECT ok(kafka.wait_for_view('of_ratios', '60s'), 'a view goes on where groups cannot be written');
SELECT results_eq('SELECT kafka_test.seconds(during), n, ratio FROM ratios ORDER BY during',
	$$VALUES ('0-10', 1::bigint, -12::bigint), ('20-30', 3, 12), ('30-40', 1, -12), ('50-60', 4, 6)$$, 'with all others');
SELECT results_eq('SELECT extract(epoch FROM until)::int, r FROM of_ratios ORDER BY until', $$VALUES (10, 0::bigint), (40, 0), (60, 1)$$,
	'so does a view over it');
SELECT results_eq('SELECT n, windows FROM counted_ratios ORDER BY n', $$VALUES (1::bigint, 2::bigint), (3, 1), (4, 1)$$, 'while another one takes every row');
SELECT results_eq($$SELECT relation::text, view::text, topic, (convert_from(value, 'UTF8')::jsonb #>> '{during}')::tstzrange, message FROM kafka.dead_letters WHERE view::text = 'ratios' ORDER BY id$$,
	$$SELECT 'ratios', 'ratios', NULL, kafka.tumble(to_timestamp(s), '10 s'), 'division by zero' FROM (VALUES (10), (40)) u(s)$$, 'the groups are dead letters');
SELECT results_eq($$SELECT relation::text, convert_from(value, 'UTF8')::jsonb - '{during,until}'::text[], message FROM kafka.dead_letters WHERE view::text = 'of_ratios'$$,
	$$VALUES ('ratios', '{"n": 3, "ratio": 12}'::jsonb, 'division by zero')$$, 'and the row that the view over it could not bear');
SELECT is((SELECT dead_letters FROM kafka.pipelines WHERE 'ratios'::regclass = ANY (views)), 3::bigint, 'which are counted');
-- or the pipeline stops, where a topic asks for it
CREATE FOREIGN TABLE strict (page text, at timestamptz) SERVER broker OPTIONS (topic 'close_bad', event_time 'at', on_error 'stop');
CREATE MATERIALIZED VIEW strict_ratios WITH (kafka.continuous, kafka.emit = 'final') AS
	SELECT kafka.tumble(at, '10 s') AS during, 12 / (count(*) - 2) AS ratio FROM strict GROUP BY during;
SELECT ok(kafka_test.poll($$EXISTS (SELECT FROM kafka.pipelines WHERE pipeline = 'strict_ratios' AND error IS NOT NULL)$$), 'a pipeline has an error');
SELECT alike((SELECT error || ': ' || error_hint FROM kafka.pipelines WHERE pipeline = 'strict_ratios'), 'division by zero: A topic of the pipeline says on_error ''stop''%', 'with on_error stop the pipeline stops, and says what can be done');
DROP MATERIALIZED VIEW strict_ratios;
SELECT * FROM finish();
