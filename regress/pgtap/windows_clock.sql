-- Windows that follow the clock of a time zone, on the two days of the year when it is changed: a day of 23 hours, one of 25, an hour that comes
-- twice; they close when they end there (DESIGN.md 2.3). Hops that do not divide their windows, across 1970.
SELECT plan(17);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('clock_' || t, 1, 'retention.ms=-1') FROM unnest('{events,old}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE events (n int, at timestamptz) SERVER broker OPTIONS (topic 'clock_events', event_time 'at');
CREATE FOREIGN TABLE old (n int, at timestamptz) SERVER broker OPTIONS (topic 'clock_old', event_time 'at');
CREATE FUNCTION send(topic text, VARIADIC moments timestamptz[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.produce(topic, format($q$SELECT NULL::text, jsonb_build_object('n', n, 'at', m) FROM unnest(%L::timestamptz[]) WITH ORDINALITY u(m, n) ORDER BY n$q$, moments));
	RETURN (SELECT bool_and(kafka.wait_for_view(view, '60s')) FROM kafka.views);
END $$;
-- a moment in UTC, as text
CREATE FUNCTION utc(timestamptz) RETURNS text LANGUAGE sql AS $$SELECT to_char($1 AT TIME ZONE 'UTC', 'MM-DD HH24:MI')$$;

SET timezone = 'Europe/Berlin';
BEGIN;
CREATE MATERIALIZED VIEW days WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'clock') AS SELECT date_trunc('day', at) AS day, count(*) AS n FROM events GROUP BY day;
CREATE MATERIALIZED VIEW graced WITH (kafka.continuous, kafka.grace = '30 minutes', kafka.pipeline = 'clock') AS SELECT date_trunc('day', at) AS day, count(*) AS n FROM events GROUP BY day;
CREATE MATERIALIZED VIEW months WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'clock') AS SELECT date_trunc('month', at) AS month, count(*) AS n FROM events GROUP BY month;
CREATE MATERIALIZED VIEW elsewhere WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'clock') AS SELECT date_trunc('day', at, 'America/New_York') AS day, count(*) AS n FROM events GROUP BY day;
CREATE MATERIALIZED VIEW hours WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'clock') AS SELECT date_trunc('hour', at) AS hour, count(*) AS n FROM events GROUP BY hour;
CREATE MATERIALIZED VIEW local_hours WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'clock') AS SELECT date_trunc('hour', at AT TIME ZONE 'Europe/Berlin') AS hour, count(*) AS n FROM events GROUP BY hour;
CREATE MATERIALIZED VIEW bins WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'clock') AS SELECT date_bin('1 day', at, '2024-03-30 00:00 Europe/Berlin') AS bin, count(*) AS n FROM events GROUP BY bin;
CREATE MATERIALIZED VIEW hops WITH (kafka.continuous, kafka.emit = 'final') AS SELECT h AS during, count(*) AS n, array_agg(n) AS ns FROM old, LATERAL kafka.hop(at, '1 hour', '25 minutes') AS h GROUP BY during;
COMMIT;
RESET timezone;

-- 2024-03-31 in Berlin: from 23:00 to 22:00 UTC
SELECT send('clock_events', '2024-03-30 22:59Z', '2024-03-30 23:00Z', '2024-03-31 00:59Z', '2024-03-31 01:00Z', '2024-03-31 21:59:59Z') \g /dev/null
SELECT results_eq('SELECT utc(day), n FROM days', $$VALUES ('03-29 23:00', 1::bigint)$$, 'the day of 23 hours is open while its last second is');
SELECT send('clock_events', '2024-03-31 22:00Z') \g /dev/null
SELECT results_eq('SELECT utc(day), n FROM days ORDER BY day', $$VALUES ('03-29 23:00', 1::bigint), ('03-30 23:00', 4)$$, 'and closes after 23 hours');
SELECT results_eq('SELECT utc(month), n FROM months', $$VALUES ('02-29 23:00', 5::bigint)$$, 'as does its month');
SELECT results_eq('SELECT utc(bin), n FROM bins ORDER BY bin', $$VALUES ('03-29 23:00', 1::bigint)$$, 'while date_bin counts 24 hours');
SELECT send('clock_events', '2024-03-31 22:29:59Z', '2024-03-31 12:00Z', '2024-03-31 22:30Z', '2024-03-31 12:01Z') \g /dev/null
SELECT results_eq('SELECT utc(day), n FROM graced ORDER BY day', $$VALUES ('03-29 23:00', 1::bigint), ('03-30 23:00', 5), ('03-31 22:00', 3)$$, 'grace begins with the end of that day');
SELECT is((SELECT late_rows FROM kafka.views WHERE view = 'graced'::regclass), 1::bigint, 'a row after it is late');
SELECT is((SELECT late_rows FROM kafka.views WHERE view = 'days'::regclass), 2::bigint, 'without grace two are');
SELECT send('clock_events', '2024-03-31 23:00Z') \g /dev/null
SELECT results_eq('SELECT utc(bin), n FROM bins ORDER BY bin', $$VALUES ('03-29 23:00', 1::bigint), ('03-30 23:00', 9)$$, 'the bin an hour later');

-- 2024-10-27 in Berlin: from 22:00 to 23:00 UTC, and two hours after 02:00
SELECT send('clock_events', '2024-10-26 22:00Z', '2024-10-27 00:30Z', '2024-10-27 00:59:59Z', '2024-10-27 01:00Z') \g /dev/null
SELECT results_eq($$SELECT utc(hour), n FROM hours WHERE hour > '2024-10-26 23:00Z'$$, $$VALUES ('10-27 00:00', 2::bigint)$$, 'the first hour after two closes when the second begins');
SELECT is_empty($$SELECT FROM local_hours WHERE hour = '2024-10-27 02:00'$$, 'in local time without zone they are one, which is open');
SELECT send('clock_events', '2024-10-27 01:30Z', '2024-10-27 02:00Z') \g /dev/null
SELECT results_eq($$SELECT n FROM local_hours WHERE hour = '2024-10-27 02:00'$$, 'VALUES (4::bigint)', 'until both are over');
SELECT results_eq($$SELECT utc(hour), n FROM hours WHERE hour > '2024-10-26 23:00Z' ORDER BY hour$$, $$VALUES ('10-27 00:00', 2::bigint), ('10-27 01:00', 2)$$, 'with zone they are two');
SELECT send('clock_events', '2024-10-27 22:59:59Z') \g /dev/null
SELECT is_empty($$SELECT FROM days WHERE day = '2024-10-26 22:00Z'$$, 'the day of 25 hours is open in its last one');
SELECT send('clock_events', '2024-10-27 23:00Z', '2024-11-04 04:59:59Z') \g /dev/null
SELECT results_eq($$SELECT utc(day), n FROM days WHERE day > '2024-10-01' ORDER BY day$$, $$VALUES ('10-26 22:00', 7::bigint), ('10-27 23:00', 1)$$, 'and closes after it');
SELECT results_eq($$SELECT utc(day), n FROM elsewhere WHERE day > '2024-10-01' ORDER BY day$$, $$VALUES ('10-26 04:00', 6::bigint), ('10-27 04:00', 2)$$, 'in another zone the days are others');

-- hops of 25 minutes, windows of an hour; minutes from 1970 on
SELECT send('clock_old', '1969-12-31 23:50Z', '1970-01-01 00:05Z', '1970-01-01 00:40Z') \g /dev/null
SELECT results_eq('SELECT utc(lower(during)), utc(upper(during)), ns FROM hops ORDER BY during', $$VALUES ('12-31 23:10', '01-01 00:10', '{1,2}'::int[]), ('12-31 23:35', '01-01 00:35', '{1,2}')$$,
	'windows that began before 1970 close after it');
SELECT send('clock_old', '1970-01-01 01:01Z') \g /dev/null
SELECT results_eq('SELECT utc(lower(during)), utc(upper(during)), ns FROM hops ORDER BY during DESC LIMIT 1', $$VALUES ('01-01 00:00', '01-01 01:00', '{2,3}'::int[])$$, 'each has the events of the hops that fall into it');
SELECT * FROM finish();
