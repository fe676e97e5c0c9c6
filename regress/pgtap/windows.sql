-- Windows of event time: half-open, aligned to 1970-01-01 UTC, before it too; hops that do not divide the size; times so far
-- ahead that they would carry the stream with them (DESIGN.md 2.2, 2.3).
SELECT plan(19);

SELECT is(kafka.tumble('2024-03-31 02:30:00+02', '1 hour'), '["2024-03-31 00:00+00","2024-03-31 01:00+00")', 'tumble');
SELECT is(kafka.tumble('2024-01-01 00:10:00+00', '10 minutes'), '["2024-01-01 00:10+00","2024-01-01 00:20+00")', 'a window owns its start');
SELECT is(kafka.tumble('1969-12-31 23:59:59.999999+00', '1 minute'), '["1969-12-31 23:59+00","1970-01-01 00:00+00")', 'tumble before 1970 goes down');
SELECT is(kafka.tumble('1960-01-01 00:00:00+00', '7 seconds') @> timestamptz '1960-01-01 00:00+00', true, 'and holds its time');
SELECT is(extract(epoch FROM lower(kafka.tumble('1960-01-01 00:00:00+00', '7 seconds')))::bigint % 7, 0::bigint, 'on the same grid');
SELECT throws_ok($$SELECT kafka.tumble(now(), '0')$$, NULL, 'a window without a size');
SELECT throws_ok($$SELECT kafka.tumble(now(), '-1 minute')$$, NULL, 'a negative size');
SELECT throws_ok($$SELECT kafka.tumble(now(), '1 month')$$, NULL, 'a month is not a fixed size');
SELECT results_eq($$SELECT w FROM kafka.hop('1970-01-01 00:01:00+00', '1 minute', '25 seconds') w ORDER BY w$$,
	$$VALUES (tstzrange('1970-01-01 00:00:25+00', '1970-01-01 00:01:25+00')), (tstzrange('1970-01-01 00:00:50+00', '1970-01-01 00:01:50+00'))$$,
	'hops that do not divide the size: now two windows');
SELECT results_eq($$SELECT w FROM kafka.hop('1970-01-01 00:00:55+00', '1 minute', '25 seconds') w ORDER BY w$$,
	$$VALUES (tstzrange('1970-01-01 00:00:00+00', '1970-01-01 00:01:00+00')), (tstzrange('1970-01-01 00:00:25+00', '1970-01-01 00:01:25+00')),
		(tstzrange('1970-01-01 00:00:50+00', '1970-01-01 00:01:50+00'))$$, 'now three');
SELECT is_empty($$SELECT w FROM kafka.hop('1970-01-01 00:00:15+00', '10 seconds', '20 seconds') w$$, 'hops longer than the size leave gaps');
SELECT results_eq($$SELECT w FROM kafka.hop('1969-12-31 23:59:58+00', '5 seconds', '3 seconds') w ORDER BY w$$,
	$$VALUES (tstzrange('1969-12-31 23:59:54+00', '1969-12-31 23:59:59+00')), (tstzrange('1969-12-31 23:59:57+00', '1970-01-01 00:00:02+00'))$$,
	'hops before 1970');

SELECT kafka_test.create_topic('windows_seen', 2, 'retention.ms=-1'), kafka_test.create_server('broker') \g /dev/null
CREATE FOREIGN TABLE seen (place text, at timestamptz) SERVER broker OPTIONS (topic 'windows_seen', event_time 'at');
CREATE MATERIALIZED VIEW tumbled WITH (kafka.continuous) AS
	SELECT kafka.tumble(at, '10 seconds') AS during, place, count(*) AS n FROM seen GROUP BY during, place;
CREATE MATERIALIZED VIEW hopped WITH (kafka.continuous) AS
	SELECT during, count(*) AS n FROM seen, LATERAL kafka.hop(at, '10 seconds', '4 seconds') AS during GROUP BY during;
SELECT kafka_test.produce('windows_seen', $$SELECT i, jsonb_build_object('place', i % 3, 'at', timestamptz '1969-12-31 23:58:20+00' + i * interval '0.7 seconds')
	FROM generate_series(1, 300) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('tumbled', '60s') AND kafka.wait_for_view('hopped', '60s'), 'events around 1970 are applied');
SELECT is_empty('SELECT * FROM kafka.verify(''tumbled'')', 'tumbling windows equal their query');
SELECT is_empty('SELECT * FROM kafka.verify(''hopped'')', 'hopping windows equal their query');
SELECT is((SELECT sum(n) FROM tumbled), 300::numeric, 'every event is in one tumbling window');

-- its record's timestamp is now, and its event time two hours after that
SELECT kafka_test.produce('windows_seen', $$SELECT i, jsonb_build_object('place', 'ahead', 'at',
	CASE WHEN i = 2 THEN now() + interval '2 hours' ELSE timestamptz '1970-01-01 00:10+00' END) FROM generate_series(1, 3) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('tumbled', '60s'), 'an event two hours ahead of the clock does not stop the view');
SELECT results_eq($$SELECT during, n FROM tumbled WHERE place = 'ahead'$$,
	$$VALUES (tstzrange('1970-01-01 00:10:00+00', '1970-01-01 00:10:10+00'), 2::bigint)$$, 'its neighbours are counted, it is not');
SELECT results_eq($$SELECT DISTINCT topic, convert_from(value, 'UTF8')::jsonb->>'place' FROM kafka_state.dead_letter$$,
	$$VALUES ('windows_seen', 'ahead')$$, 'it is a dead letter');
SELECT * FROM finish();
