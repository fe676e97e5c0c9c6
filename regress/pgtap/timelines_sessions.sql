-- The timeline with which Kafka Streams' documentation (developer guide, DSL API: session windows) explains sessions with a gap of five minutes,
-- record by record, and one of ours about grace. What appears in the topic of a view of counts, and in that of its final results.
--
-- Differences by design: a session's end + gap + grace at the stream time before a record is closed already (Kafka Streams: only beyond it), and a
-- record that belongs to no open session begins one of its own unless that would have closed, too.
SELECT plan(19);
SELECT kafka_test.create_server('broker'), kafka_test.create_topic('ts_in', 1, 'retention.ms=-1'), kafka_test.create_topic('ts_graced', 1, 'retention.ms=-1'),
	kafka_test.create_topic('ts_to_counts', 1, 'retention.ms=-1'), kafka_test.create_topic('ts_to_changes', 1, 'retention.ms=-1'), kafka_test.create_topic('ts_to_finals', 1, 'retention.ms=-1') \g /dev/null
CREATE FOREIGN TABLE records (k text OPTIONS (key 'true'), v text, at timestamptz OPTIONS (metadata 'timestamp')) SERVER broker OPTIONS (topic 'ts_in', event_time 'at', format 'text');
CREATE FOREIGN TABLE graced (k text OPTIONS (key 'true'), v text, at timestamptz OPTIONS (metadata 'timestamp')) SERVER broker OPTIONS (topic 'ts_graced', event_time 'at', format 'text');
BEGIN;
CREATE MATERIALIZED VIEW counts WITH (kafka.continuous) AS SELECT k, kafka.session(at, '5 minutes') AS during, count(*) AS n FROM records GROUP BY k, during;
SELECT kafka.create_sink('counts', 'ts_to_counts') \g /dev/null
CREATE MATERIALIZED VIEW changes WITH (kafka.continuous, kafka.grace = '2 minutes', kafka.pipeline = 'graced') AS
	SELECT k, kafka.session(at, '5 minutes') AS during, string_agg(v, '') AS n FROM graced GROUP BY k, during;
SELECT kafka.create_sink('changes', 'ts_to_changes') \g /dev/null
CREATE MATERIALIZED VIEW finals WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '2 minutes', kafka.pipeline = 'graced') AS
	SELECT k, kafka.session(at, '5 minutes') AS during, string_agg(v, '') AS n FROM graced GROUP BY k, during;
SELECT kafka.create_sink('finals', 'ts_to_finals', '{k,during}') \g /dev/null
COMMIT;

CREATE TABLE timeline (number serial, topic text, at int, k text, v text, appears text, final text);
INSERT INTO timeline (topic, at, k, v, appears) VALUES
	('ts_in', 0, 'green', '1', 'green 0-0 1'),
	('ts_in', 2, 'blue', '2', 'blue 2-2 1'),
	('ts_in', 6, 'green', '3', 'green 6-6 1'),
	-- three sessions; then a record out of order that merges the green ones, one that extends the blue one, and one that begins another
	('ts_in', 4, 'green', '4', 'green 0-0 gone, green 6-6 gone, green 0-6 3'),
	('ts_in', 5, 'blue', '5', 'blue 2-2 gone, blue 2-5 2'),
	('ts_in', 11, 'blue', '6', 'blue 11-11 1'),
	-- a record within a session changes its value alone; one before it extends it
	('ts_in', 3, 'green', '7', 'green 0-6 4'),
	('ts_in', -5, 'green', '8', 'green 0-6 gone, green -5-6 5');
INSERT INTO timeline (topic, at, k, v, appears, final) VALUES
	('ts_graced', 0, 'a', '1', 'a 0-0 1', NULL),
	('ts_graced', 4, 'a', '2', 'a 0-0 gone, a 0-4 12', NULL),
	-- the session is open for as long as its last event + gap + grace is not reached, and others go on meanwhile
	('ts_graced', 10, 'b', '3', 'b 10-10 3', NULL),
	('ts_graced', 2, 'a', '4', 'a 0-4 124', NULL),
	-- at 11 it closes: its final result
	('ts_graced', 12, 'b', '5', 'b 10-10 gone, b 10-12 35', 'a 0-4 124'),
	-- a record of the closed session is late, and so is one that would extend it no further
	('ts_graced', 3, 'a', '6', NULL, NULL),
	('ts_graced', 5, 'a', '7', NULL, NULL),
	-- one that is near it, but in time, begins another
	('ts_graced', 7, 'a', '8', 'a 7-7 8', NULL),
	('ts_graced', 20, 'b', '9', 'b 20-20 9', 'a 7-7 8, b 10-12 35'),
	('ts_graced', 40, 'c', '0', 'c 40-40 0', 'b 20-20 9');

-- messages since the last call: key, minutes of the session, value
CREATE FUNCTION appeared(topic text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	seen bigint = coalesce(nullif(current_setting('kafka_test.seen_' || topic, true), ''), '-1');
	shown text;
BEGIN
	SELECT string_agg(format('%s %s-%s %s', key::jsonb->>'k', minute(key::jsonb#>>'{during,start}'), minute(key::jsonb#>>'{during,end}'),
		coalesce(value::jsonb->>'n', 'gone')), ', ' ORDER BY "offset"), coalesce(max("offset"), seen) INTO shown, seen FROM kafka_test.consume(topic) WHERE "offset" > seen;
	PERFORM set_config('kafka_test.seen_' || topic, seen::text, false);
	RETURN shown;
END $$;
CREATE FUNCTION minute(text) RETURNS int LANGUAGE sql AS $$SELECT (extract(epoch FROM $1::timestamptz) - 1750000000)::int / 60$$;
CREATE FUNCTION play(t timeline) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.step(t.topic, t.at * 60, t.k, t.v);
	RETURN is(row(appeared(CASE t.topic WHEN 'ts_in' THEN 'ts_to_counts' ELSE 'ts_to_changes' END), appeared('ts_to_finals')), row(t.appears, t.final),
		format('%s at %s: %s', t.topic, t.at, t.k));
END $$;
SELECT play(t) FROM timeline t ORDER BY number;
SELECT is((SELECT sum(late_rows) FROM kafka.views WHERE view::text IN ('changes', 'finals')), 4::numeric, 'two late records, of both views');
SELECT * FROM finish();
