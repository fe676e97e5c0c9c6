-- The timeline with which ksqlDB's documentation (joins: semantics of primary-key table-table joins) and Kafka Streams' (developer
-- guide, DSL API: KTable-KTable equi-join) explain joins of two tables, record by record. Here null is a tombstone on either side,
-- and in the result.
--
-- Difference by design: a result that does not change is not published again (second 17), and what has no row gets no tombstone.
SELECT plan(20);
SELECT kafka_test.create_server('broker'), kafka_test.create_topic('tt_left', 1, 'retention.ms=-1'), kafka_test.create_topic('tt_right', 1, 'retention.ms=-1') \g /dev/null
SELECT kafka_test.create_topic('tt_to_' || kind, 1, 'retention.ms=-1') FROM unnest('{inner,left,right,full}'::text[]) kind \g /dev/null
CREATE FOREIGN TABLE left_table (k text OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'tt_left', format 'text', mode 'upsert');
CREATE FOREIGN TABLE right_table (k text OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'tt_right', format 'text', mode 'upsert');
SELECT kafka.create_view(kind || '_join', format('SELECT k, l.v AS l, r.v AS r FROM left_table l %s JOIN right_table r USING (k)', kind)),
	kafka.create_sink((kind || '_join')::regclass, 'tt_to_' || kind, '{k}')
FROM unnest('{inner,left,right,full}'::text[]) kind \g /dev/null

CREATE TABLE timeline (at int, l text, r text, "inner" text, "left" text, "right" text, "full" text);
INSERT INTO timeline VALUES
	( 1, 'null', '',     '',       '',       '',       ''),
	( 2, '',     'null', '',       '',       '',       ''),
	( 3, 'A',    '',     '',       'A-null', '',       'A-null'),
	( 4, '',     'a',    'A-a',    'A-a',    'A-a',    'A-a'),
	( 5, 'B',    '',     'B-a',    'B-a',    'B-a',    'B-a'),
	( 6, '',     'b',    'B-b',    'B-b',    'B-b',    'B-b'),
	( 7, 'null', '',     'k:null', 'k:null', 'null-b', 'null-b'),
	( 8, '',     'null', '',       '',       'k:null', 'k:null'),
	( 9, 'C',    '',     '',       'C-null', '',       'C-null'),
	(10, '',     'c',    'C-c',    'C-c',    'C-c',    'C-c'),
	(11, '',     'null', 'k:null', 'C-null', 'k:null', 'C-null'),
	(12, 'null', '',     '',       'k:null', '',       'k:null'),
	(13, '',     'null', '',       '',       '',       ''),
	(14, '',     'd',    '',       '',       'null-d', 'null-d'),
	(15, 'D',    '',     'D-d',    'D-d',    'D-d',    'D-d'),
	(17, '',     'd',    '',       '',       '',       '');

CREATE FUNCTION new_rows(kind text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(kafka_test.appeared('tt_to_' || kind, $e$coalesce(v->>'l', 'null') || '-' || coalesce(v->>'r', 'null')$e$), '');
$$;
CREATE FUNCTION play(t timeline) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.step(CASE WHEN t.l = '' THEN 'tt_right' ELSE 'tt_left' END, t.at, 'k', nullif(t.l || t.r, 'null'));
	RETURN is(array[new_rows('inner'), new_rows('left'), new_rows('right'), new_rows('full')],
		array[t."inner", t."left", t."right", t."full"], format('at %s: left %s, right %s', t.at, t.l, t.r));
END $$;
SELECT play(t) FROM timeline t ORDER BY at;
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', kind || '_join'), kind || ': as its query says') FROM unnest('{inner,left,right,full}'::text[]) kind;
SELECT * FROM finish();
