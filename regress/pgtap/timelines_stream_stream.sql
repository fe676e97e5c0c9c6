-- The timeline with which ksqlDB's documentation (joins: semantics of stream-stream joins; a join window of 15 seconds, a grace of 5)
-- and Kafka Streams' (developer guide, DSL API: KStream-KStream join) explain joins of two streams, record by record. A row without
-- a match is there once, when its last match can no longer arrive.
--
-- Differences by design:
-- - E, of second 40, is emitted there at second 60, after window and grace. Here at 75: its last match, of second 55, may itself still
--   meet a row of second 70, so it is late at 75 only. F comes at 95 therefore, f at 115; at 74, 94 and 114 they do not come yet.
-- - Time goes on with the slower of the two topics, not with the faster, so from second 40 on a record of another key, tick, goes
--   before each step, on the other side; what comes of these is left out.
-- - RIGHT is what it is in SQL. What one record makes appear has no order among itself, and is sorted here.
SELECT plan(28);
SELECT kafka_test.create_server('broker'), kafka_test.create_topic('ss_left', 1, 'retention.ms=-1'), kafka_test.create_topic('ss_right', 1, 'retention.ms=-1') \g /dev/null
SELECT kafka_test.create_topic('ss_to_' || kind, 1, 'retention.ms=-1') FROM unnest('{inner,left,right,full}'::text[]) kind \g /dev/null
CREATE FOREIGN TABLE left_stream (k text OPTIONS (key 'true'), v text, at timestamptz OPTIONS (metadata 'timestamp'))
	SERVER broker OPTIONS (topic 'ss_left', format 'text', event_time 'at');
CREATE FOREIGN TABLE right_stream (k text OPTIONS (key 'true'), v text, at timestamptz OPTIONS (metadata 'timestamp'))
	SERVER broker OPTIONS (topic 'ss_right', format 'text', event_time 'at');
SELECT kafka.create_view(kind || '_join', format('SELECT l.v AS l, r.v AS r FROM left_stream l %s JOIN right_stream r
	ON r.k = l.k AND r.at BETWEEN l.at - interval ''15 seconds'' AND l.at + interval ''15 seconds''', kind), '{"grace": "5 seconds"}'),
	kafka.create_sink((kind || '_join')::regclass, 'ss_to_' || kind)
FROM unnest('{inner,left,right,full}'::text[]) kind \g /dev/null

CREATE TABLE timeline (at int, l text, r text, "inner" text, "left" text, "right" text, "full" text);
INSERT INTO timeline VALUES
	(  1, 'null', '',     '',                '',                '',                ''),
	(  2, '',     'null', '',                '',                '',                ''),
	(  3, 'A',    '',     '',                '',                '',                ''),
	(  4, '',     'a',    'A-a',             'A-a',             'A-a',             'A-a'),
	(  5, 'B',    '',     'B-a',             'B-a',             'B-a',             'B-a'),
	(  6, '',     'b',    'A-b B-b',         'A-b B-b',         'A-b B-b',         'A-b B-b'),
	(  7, 'null', '',     '',                '',                '',                ''),
	(  8, '',     'null', '',                '',                '',                ''),
	(  9, 'C',    '',     'C-a C-b',         'C-a C-b',         'C-a C-b',         'C-a C-b'),
	( 10, '',     'c',    'A-c B-c C-c',     'A-c B-c C-c',     'A-c B-c C-c',     'A-c B-c C-c'),
	( 11, '',     'null', '',                '',                '',                ''),
	( 12, 'null', '',     '',                '',                '',                ''),
	( 13, '',     'null', '',                '',                '',                ''),
	( 14, '',     'd',    'A-d B-d C-d',     'A-d B-d C-d',     'A-d B-d C-d',     'A-d B-d C-d'),
	( 15, 'D',    '',     'D-a D-b D-c D-d', 'D-a D-b D-c D-d', 'D-a D-b D-c D-d', 'D-a D-b D-c D-d'),
	( 40, 'E',    '',     '',                '',                '',                ''),
	( 60, 'F',    '',     '',                '',                '',                ''),
	( 74, 'tick', '',     '',                '',                '',                ''),
	( 75, 'tick', '',     '',                'E-null',          '',                'E-null'),
	( 80, '',     'f',    '',                '',                '',                ''),
	( 94, '',     'tick', '',                '',                '',                ''),
	( 95, '',     'tick', '',                'F-null',          '',                'F-null'),
	(100, 'G',    '',     '',                '',                '',                ''),
	(114, 'tick', '',     '',                '',                '',                ''),
	(115, 'tick', '',     '',                '',                'null-f',          'null-f');

-- the messages of a sink since the last step, sorted
CREATE FUNCTION new_rows(kind text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(r, ' ' ORDER BY r), '')
	FROM string_to_table(kafka_test.appeared('ss_to_' || kind, $e$coalesce(v->>'l', 'null') || '-' || coalesce(v->>'r', 'null')$e$), ' ') r
	WHERE r !~ 'tick';
$$;
CREATE FUNCTION play(t timeline) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	topic text = CASE WHEN t.l = '' THEN 'ss_right' ELSE 'ss_left' END;
BEGIN
	IF t.at >= 40 THEN
		PERFORM kafka_test.step(CASE topic WHEN 'ss_right' THEN 'ss_left' ELSE 'ss_right' END, t.at, 'tick', 'tick');
	END IF;
	PERFORM kafka_test.step(topic, t.at, CASE WHEN 'tick' IN (t.l, t.r) THEN 'tick' ELSE 'k' END, nullif(t.l || t.r, 'null'));
	RETURN is(array[new_rows('inner'), new_rows('left'), new_rows('right'), new_rows('full')],
		array[t."inner", t."left", t."right", t."full"], format('at %s: left %s, right %s', t.at, t.l, t.r));
END $$;
SELECT play(t) FROM timeline t ORDER BY at;
SELECT is((SELECT count(*) FROM inner_join WHERE l <> 'tick'), 16::bigint, 'the inner join has a row for each pair');
SELECT is((SELECT count(*) FROM full_join WHERE l IS DISTINCT FROM 'tick' AND r IS DISTINCT FROM 'tick'), 19::bigint, 'the full join those and the three without a match');
SELECT is((SELECT sum(late_rows) FROM kafka.views), 0::numeric, 'nothing was late');
SELECT * FROM finish();
