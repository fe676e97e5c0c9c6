-- The timeline with which Kafka Streams' documentation (developer guide, DSL API: KStream-KTable join) and ksqlDB's (joins) explain
-- joins of a stream with a table, record by record: only records of the stream give rows, with what the table held before.
-- No difference: a null value on the stream's side is no row here either, and a tombstone deletes.
SELECT plan(16);
SELECT kafka_test.create_server('broker'), kafka_test.create_topic('st_left', 1, 'retention.ms=-1'), kafka_test.create_topic('st_right', 1, 'retention.ms=-1'),
	kafka_test.create_topic('st_inner', 1, 'retention.ms=-1'), kafka_test.create_topic('st_outer', 1, 'retention.ms=-1') \g /dev/null
CREATE FOREIGN TABLE left_stream (k text OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'st_left', format 'text');
CREATE FOREIGN TABLE right_table (k text OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'st_right', format 'text', mode 'upsert');
CREATE MATERIALIZED VIEW inner_join WITH (kafka.continuous) AS SELECT l.v AS l, r.v AS r FROM left_stream l JOIN right_table r ON r.k = l.k;
CREATE MATERIALIZED VIEW left_join WITH (kafka.continuous) AS SELECT l.v AS l, r.v AS r FROM left_stream l LEFT JOIN right_table r ON r.k = l.k;
SELECT kafka.create_sink('inner_join', 'st_inner'), kafka.create_sink('left_join', 'st_outer') \g /dev/null

CREATE TABLE timeline (at int, l text, r text, "inner" text, "left" text);
INSERT INTO timeline VALUES
	( 1, 'null', '',     '',    ''),
	( 2, '',     'null', '',    ''),
	( 3, 'A',    '',     '',    'A-null'),
	( 4, '',     'a',    '',    ''),
	( 5, 'B',    '',     'B-a', 'B-a'),
	( 6, '',     'b',    '',    ''),
	( 7, 'null', '',     '',    ''),
	( 8, '',     'null', '',    ''),
	( 9, 'C',    '',     '',    'C-null'),
	(10, '',     'c',    '',    ''),
	(11, '',     'null', '',    ''),
	(12, 'null', '',     '',    ''),
	(13, '',     'null', '',    ''),
	(14, '',     'd',    '',    ''),
	(15, 'D',    '',     'D-d', 'D-d');

CREATE FUNCTION play(t timeline) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	show text = $e$coalesce(v->>'l', 'null') || '-' || coalesce(v->>'r', 'null')$e$;
BEGIN
	PERFORM kafka_test.step(CASE WHEN t.l = '' THEN 'st_right' ELSE 'st_left' END, t.at, 'k', nullif(t.l || t.r, 'null'));
	RETURN is(format('%s | %s', kafka_test.appeared('st_inner', show), kafka_test.appeared('st_outer', show)), t."inner" || ' | ' || t."left",
		format('at %s: left %s, right %s', t.at, t.l, t.r));
END $$;
SELECT play(t) FROM timeline t ORDER BY at;
SELECT is((SELECT count(*) FROM left_join), 4::bigint, 'the view has a row for each record of the stream');
SELECT * FROM finish();
