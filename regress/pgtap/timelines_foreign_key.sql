-- The timelines with which ksqlDB's documentation (joins: semantics of foreign-key table-table joins) and Kafka Streams' (developer
-- guide, DSL API: KTable-KTable foreign-key join) explain a join in which many rows of one table refer to a row of another.
--
-- Difference by design: what has no row gets no tombstone, where Kafka Streams may send one again (offsets 2 and 3 of its timeline).
SELECT plan(27);
SELECT kafka_test.create_server('broker'), kafka_test.create_topic('fk_left', 1, 'retention.ms=-1'), kafka_test.create_topic('fk_right', 1, 'retention.ms=-1'),
	kafka_test.create_topic('fk_to_inner', 1, 'retention.ms=-1'), kafka_test.create_topic('fk_to_left', 1, 'retention.ms=-1') \g /dev/null
CREATE FOREIGN TABLE left_table (k text OPTIONS (key 'true'), fk text, v text) SERVER broker OPTIONS (topic 'fk_left', mode 'upsert');
CREATE FOREIGN TABLE right_table (k text OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'fk_right', mode 'upsert');
SELECT kafka.create_view(kind || '_join', format('SELECT l.k, l.fk, l.v AS l, r.v AS r FROM left_table l %s JOIN right_table r ON r.k = l.fk', kind)),
	kafka.create_sink((kind || '_join')::regclass, 'fk_to_' || kind, '{k}')
FROM unnest('{inner,left}'::text[]) kind \g /dev/null

-- a record of a table is its key and its columns, or its key and null for a tombstone
CREATE TABLE timeline (at int, l text[], r text[], "inner" text, "left" text);
INSERT INTO timeline VALUES
	( 1, '{A,null}', NULL,       '',                    ''),
	( 2, NULL,       '{a,null}', '',                    ''),
	( 3, '{A,a,1}',  NULL,       '',                    'A-a-1-null'),
	( 4, NULL,       '{a,10}',   'A-a-1-10',            'A-a-1-10'),
	( 5, NULL,       '{a,11}',   'A-a-1-11',            'A-a-1-11'),
	( 6, '{A,a,2}',  NULL,       'A-a-2-11',            'A-a-2-11'),
	( 7, '{B,a,3}',  NULL,       'B-a-3-11',            'B-a-3-11'),
	( 8, NULL,       '{a,12}',   'A-a-2-12 B-a-3-12',   'A-a-2-12 B-a-3-12'),
	( 9, NULL,       '{c,13}',   '',                    ''),
	(10, '{C,c,4}',  NULL,       'C-c-4-13',            'C-c-4-13'),
	(11, '{C,null}', NULL,       'C:null',              'C:null'),
	(12, NULL,       '{c,null}', '',                    ''),
	(13, NULL,       '{a,null}', 'A:null B:null',       'A-a-2-null B-a-3-null'),
	(14, '{B,null}', NULL,       '',                    'B:null'),
	-- and Kafka Streams' timeline; what stands for a left record there is its foreign key alone
	(20, NULL,       '{1,foo}',  '',                    ''),
	(21, '{k,1,-}',  NULL,       'k-1---foo',           'k-1---foo'),
	(22, '{k,2,-}',  NULL,       'k:null',              'k-2---null'),
	(23, '{k,3,-}',  NULL,       '',                    'k-3---null'),
	(24, NULL,       '{3,bar}',  'k-3---bar',           'k-3---bar'),
	(25, '{k,NULL,-}', NULL,     'k:null',              'k-null---null'),
	(26, '{k,1,-}',  NULL,       'k-1---foo',           'k-1---foo'),
	(27, '{q,10,-}', NULL,       '',                    'q-10---null'),
	(28, '{r,10,-}', NULL,       '',                    'r-10---null'),
	(29, NULL,       '{10,baz}', 'q-10---baz r-10---baz', 'q-10---baz r-10---baz');

-- the messages of a sink since the last step, sorted: one record may change many rows, in no order
CREATE FUNCTION new_rows(kind text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(r, ' ' ORDER BY r), '') FROM string_to_table(kafka_test.appeared('fk_to_' || kind,
		$e$concat_ws('-', v->>'k', coalesce(v->>'fk', 'null'), v->>'l', coalesce(v->>'r', 'null'))$e$), ' ') r;
$$;
CREATE FUNCTION play(t timeline) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF t.l IS NOT NULL THEN
		PERFORM kafka_test.step('fk_left', t.at, t.l[1], CASE WHEN t.l[3] IS NOT NULL THEN jsonb_build_object('fk', t.l[2], 'v', t.l[3]) END::text);
	ELSE
		PERFORM kafka_test.step('fk_right', t.at, t.r[1], CASE WHEN t.r[2] <> 'null' THEN jsonb_build_object('v', t.r[2]) END::text);
	END IF;
	RETURN is(array[new_rows('inner'), new_rows('left')], array[t."inner", t."left"], format('at %s: left %s, right %s', t.at, t.l, t.r));
END $$;
SELECT play(t) FROM timeline t ORDER BY at;
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', kind || '_join'), kind || ': as its query says') FROM unnest('{inner,left}'::text[]) kind;
SELECT is((SELECT count(*) FROM left_join), 4::bigint, 'each row of the left table is there once');
SELECT * FROM finish();
