-- kafka.retention: rows are removed when the frontier has passed their time by it, without a word to anybody, and do not come
-- again (DESIGN.md 1.3, 2.3).
SELECT plan(27);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 1, 'retention.ms=-1') FROM unnest('{kept_clicks,kept_counts,kept_log,kept_rows,kept_asks,kept_pages}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE clicks (page text, took int, at timestamptz) SERVER broker OPTIONS (topic 'kept_clicks', event_time 'at');
CREATE FOREIGN TABLE counts (during tstzrange OPTIONS (key 'true'), page text OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'kept_counts', mode 'upsert');
CREATE FOREIGN TABLE removals (at timestamptz) SERVER broker OPTIONS (topic 'kept_log');
CREATE FOREIGN TABLE asks (page text, at timestamptz) SERVER broker OPTIONS (topic 'kept_asks', event_time 'at');
CREATE FOREIGN TABLE pages (page text OPTIONS (key 'true'), windows bigint, n numeric) SERVER broker OPTIONS (topic 'kept_pages', mode 'upsert');
CREATE FOREIGN TABLE sink (page text, at timestamptz) SERVER broker OPTIONS (topic 'kept_rows');
CREATE FUNCTION clicks(VARIADIC seconds numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_times('kept_clicks', '{"page": "p", "took": 1}', 'at', 0, VARIADIC seconds)
$$;
CREATE FUNCTION messages(topic text, expected int) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT coalesce(value, '(null)') FROM kafka_test.await(topic, expected) ORDER BY "offset"
$$;

CREATE FUNCTION groups(view regclass) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	found int;
BEGIN
	EXECUTE format('SELECT count(*) FROM kafka_state.groups_%s', (SELECT v.view FROM kafka_state.view v WHERE v.relation = $1)) INTO found;
	RETURN found;
END $$;

CREATE TABLE removed (at timestamptz);
CREATE FUNCTION note_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO removed VALUES (old.at);
	INSERT INTO removals VALUES (old.at);
	RETURN NULL;
END $$;
-- in one transaction: a view over one that is at work has what stands there when it is taken in, and old rows go
BEGIN;
CREATE MATERIALIZED VIEW counted WITH (kafka.continuous, kafka.grace = '5 s', kafka.retention = '20 s') AS
	SELECT kafka.tumble(at, '10 s') AS during, page, count(*) AS n FROM clicks GROUP BY during, page;
CREATE MATERIALIZED VIEW averages WITH (kafka.continuous, kafka.grace = '5 s', kafka.retention = '20 s') AS
	SELECT kafka.tumble(at, '10 s') AS during, page, avg(took) AS took FROM clicks GROUP BY during, page HAVING count(*) > 1;
CREATE MATERIALIZED VIEW finals WITH (kafka.continuous, kafka.emit = 'final', kafka.retention = '20 s') AS
	SELECT kafka.tumble(at, '10 s') AS during, upper(kafka.tumble(at, '10 s')) AS until, count(*) AS n FROM clicks GROUP BY during;
CREATE MATERIALIZED VIEW recent WITH (kafka.continuous, kafka.retention = '20 s') AS SELECT page, at FROM clicks WHERE took > 0;
CREATE MATERIALIZED VIEW of_recent WITH (kafka.continuous) AS SELECT page, count(*) AS n FROM recent GROUP BY page;
CREATE MATERIALIZED VIEW of_finals WITH (kafka.continuous) AS SELECT until, n FROM finals;
CREATE MATERIALIZED VIEW of_counted WITH (kafka.continuous) AS SELECT page, count(*) AS windows, sum(n) AS n FROM counted GROUP BY page;
CREATE MATERIALIZED VIEW copied WITH (kafka.continuous) AS SELECT during, page, n FROM counted;
CREATE MATERIALIZED VIEW above_copied WITH (kafka.continuous) AS SELECT page, count(*) AS windows FROM copied WHERE lower(during) < to_timestamp(10) GROUP BY page;
CREATE MATERIALIZED VIEW answers WITH (kafka.continuous) AS
	SELECT a.at, c.n FROM asks a LEFT JOIN counted c ON c.page = a.page AND lower(c.during) = to_timestamp(0);
CREATE TRIGGER noted AFTER DELETE ON recent FOR EACH ROW EXECUTE FUNCTION note_removed();
COMMIT;
SELECT kafka.attach_sink('counted', 'counts'), kafka.attach_sink('recent', 'sink'), kafka.attach_sink('of_counted', 'pages') \g /dev/null

SELECT clicks(1, 5, 14, 24), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM counted ORDER BY during', $$VALUES ('0-10', 2::bigint), ('10-20', 1), ('20-30', 1)$$, 'all windows are there');
SELECT results_eq('SELECT page, windows, n FROM of_counted', $$VALUES ('p', 3::bigint, 4::numeric)$$, 'in a view over their groups as well');
SELECT kafka_test.produce_at('kept_asks', 'SELECT 0, 1000000000000, NULL, ''{"page": "p", "at": 24000}'''), kafka.wait_for_view('answers', '60s') \g /dev/null
SELECT clicks(29.9), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT is((SELECT count(*)::int FROM counted), 3, 'up to the moment');
SELECT clicks(30), kafka.wait_for_view('counted', '60s'), kafka.wait_for_view('averages', '60s'), kafka.wait_for_view('of_finals', '60s'), kafka.wait_for_view('of_recent', '60s') \g /dev/null
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM counted ORDER BY during', $$VALUES ('10-20', 1::bigint), ('20-30', 2), ('30-40', 1)$$, 'at which the oldest has ended for 20 s');
SELECT results_eq('SELECT kafka_test.seconds(during) FROM averages', $$VALUES ('20-30')$$, 'with its group, where groups are kept apart');
SELECT is(groups('averages'), 3, 'which is gone, too');
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM finals ORDER BY during', $$VALUES ('10-20', 1::bigint), ('20-30', 2)$$, 'of final results, those are kept that closed less than 20 s ago');
SELECT results_eq('SELECT extract(epoch FROM at)::int FROM recent ORDER BY at', $$VALUES (14), (24), (30), (30)$$, 'of rows that are only added, those less than 20 s old');
SELECT results_eq('SELECT extract(epoch FROM at)::int FROM removed ORDER BY at', $$VALUES (1), (5)$$, 'a trigger of one''s own sees them go');
SELECT results_eq('SELECT n FROM of_recent', 'VALUES (6::bigint)', 'views over it keep what they made of them');
SELECT results_eq('SELECT page, windows, n FROM of_counted', $$VALUES ('p', 3::bigint, 4::numeric)$$, 'but of a keyed view the row is deleted for the views over it');
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM copied ORDER BY during', 'SELECT kafka_test.seconds(during), n FROM counted ORDER BY during', 'which have the rows that it has');
SELECT is_empty('TABLE above_copied', 'and tell those over them in turn');
SELECT kafka_test.produce_at('kept_asks', 'SELECT 0, 1000000000000, NULL, ''{"page": "p", "at": 30000}'''), kafka.wait_for_view('answers', '60s') \g /dev/null
SELECT results_eq('SELECT n FROM answers ORDER BY at', 'VALUES (2::bigint), (NULL)', 'a stream that looks it up does not find the row any more');
SELECT is_empty('SELECT * FROM kafka.verify(''of_counted'') UNION ALL SELECT * FROM kafka.verify(''copied'') UNION ALL SELECT * FROM kafka.verify(''above_copied'')',
	'so they equal their queries');
SELECT results_eq('SELECT n FROM of_finals ORDER BY until', 'VALUES (2::bigint), (1), (2)', 'and what they have copied');
SELECT is_empty('SELECT * FROM kafka.verify(''counted'') UNION ALL SELECT * FROM kafka.verify(''averages'')', 'kafka.verify compares what is not too old');
SELECT is_empty('SELECT * FROM kafka.verify(''finals'') UNION ALL SELECT * FROM kafka.verify(''recent'')', 'of final results and of rows that are only added as well');
SELECT throws_like('SELECT * FROM kafka.verify(''of_recent'')', '%cannot be verified', 'a view over one that forgets has nothing to be compared with');

SELECT clicks(9, 10, 31), kafka.wait_for_view('counted', '60s'), kafka.wait_for_view('recent', '60s') \g /dev/null
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM counted ORDER BY during', $$VALUES ('10-20', 1::bigint), ('20-30', 2), ('30-40', 2)$$, 'a late row brings no window back');
SELECT results_eq('SELECT extract(epoch FROM at)::int FROM recent ORDER BY at', $$VALUES (14), (24), (30), (30), (31)$$, 'nor is a row kept that came too late');
SELECT results_eq('SELECT late_rows FROM kafka.views WHERE view::text IN (''counted'', ''recent'') ORDER BY view::text', 'VALUES (2::bigint), (2)', 'both are counted');

-- everything goes when time does
SELECT clicks(1000), kafka.wait_for_view('counted', '60s'), kafka.wait_for_view('recent', '60s') \g /dev/null
SELECT results_eq('SELECT kafka_test.seconds(during), n FROM counted', $$VALUES ('1000-1010', 1::bigint)$$, 'later all others go');
SELECT set_eq('SELECT kafka_test.seconds(during), n FROM counts', $$VALUES ('0-10', 2::bigint), ('10-20', 1), ('20-30', 2), ('30-40', 2), ('1000-1010', 1)$$, 'the upsert topic has them for ever');
SELECT results_eq('SELECT page, windows, n FROM pages', $$VALUES ('p', 1::bigint, 1::numeric)$$, 'that of a view over the groups follows them');
SELECT is((SELECT count(*)::int FROM messages('kept_counts', 5) m WHERE m = '(null)'), 0, 'no removal is published');
SELECT is((SELECT array_agg(extract(epoch FROM at)::int ORDER BY at) FROM sink) || (SELECT count(*)::int FROM messages('kept_log', 0)), '{1,5,14,24,30,30,31,1000,0}',
	'nor what a trigger of one''s own writes of it; a row too old to be kept is not published');
SELECT * FROM finish();
