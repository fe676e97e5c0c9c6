-- Upsert topics as inputs (DESIGN.md 1.2, 2.4): whatever the key's format, SELECT gives the topic folded to the last value per key, and a
-- stream that looks keys up meets the same; tombstones, keys that come back, several versions in one batch, keys in the value too, no key.
-- What the topics hold is folded from what kv_kafka reads, which shares no code with the extension.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('upsert_inputs_' || t, 2, 'cleanup.policy=compact retention.ms=-1') FROM unnest('{big,path,pair,json,solo,timed}'::text[]) t \g /dev/null
SELECT kafka_test.create_topic('upsert_inputs_' || t, 1, 'retention.ms=-1') FROM unnest('{asked,asked_timed,plain}'::text[]) t \g /dev/null

-- the last value of each key that is not a tombstone; keys as bytes
CREATE FUNCTION folded(topic text) RETURNS TABLE (k bytea, value jsonb) LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE records (partition int, "offset" bigint, k text, value text);
	EXECUTE format('COPY records FROM PROGRAM %L', 'kv_kafka consume upsert_inputs_' || topic || ' --hex --format ''%p\t%o\t%k\t%v''');
	RETURN QUERY SELECT l.k, l.value FROM (SELECT DISTINCT ON (r.k) decode(r.k, 'hex') AS k, convert_from(decode(r.value, 'hex'), 'UTF8')::jsonb AS value
		FROM records r ORDER BY r.k, r."offset" DESC) l WHERE l.k IS NOT NULL AND l.value IS NOT NULL;
	DROP TABLE records;
END $$;
CREATE FUNCTION text_of(bytea) RETURNS text LANGUAGE sql AS $$ SELECT convert_from($1, 'UTF8') COLLATE "default" $$;
CREATE FUNCTION bytes(text) RETURNS bytea LANGUAGE sql AS $$ SELECT convert_to($1, 'UTF8') $$;
-- writes versions (key, value; a null value deletes) of one table in the encoding of each of the topics, so that all hold the same
CREATE FUNCTION write_versions(query text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	encoding record;
BEGIN
	FOR encoding IN SELECT * FROM (VALUES
		('plain', 'bytes(k::text)', $q$jsonb_build_object('v', v)$q$),
		('big', 'int8send(k)', $q$jsonb_build_object('v', v)$q$),
		('path', 'bytes(k::text)', $q$jsonb_build_object('v', v, 'id', jsonb_build_object('number', k))$q$),
		('json', 'bytes(k::text)', $q$jsonb_build_object('v', v)$q$),
		('solo', 'bytes(k::text)', $q$jsonb_build_object()$q$),
		('pair', $q$bytes(format('{"key":%s,"part":%s}', k, p))$q$, $q$jsonb_build_object('v', v || p)$q$)) e(topic, key, value)
	LOOP
		EXECUTE format('COPY (SELECT encode(%s, ''hex''), CASE WHEN v IS NOT NULL THEN encode(bytes(%s::text), ''hex'') END FROM (%s) versions(k, v) %s) TO PROGRAM %L',
			encoding.key, encoding.value, query, CASE encoding.topic WHEN 'pair' THEN $q$, LATERAL unnest('{"\"x\"",null}'::text[]) WITH ORDINALITY parts(x, n), LATERAL coalesce(x, 'null') p$q$ ELSE '' END,
			'kv_kafka produce --hex upsert_inputs_' || encoding.topic);
	END LOOP;
END $$;

CREATE FOREIGN TABLE asked (id int, key int, part text) SERVER broker OPTIONS (topic 'upsert_inputs_asked');
CREATE FOREIGN TABLE plain (key int OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'upsert_inputs_plain', mode 'upsert');
CREATE FOREIGN TABLE big (key bigint OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'upsert_inputs_big', mode 'upsert', key_format 'kafka');
CREATE FOREIGN TABLE path (key int OPTIONS (key 'true', path 'id.number'), v text) SERVER broker OPTIONS (topic 'upsert_inputs_path', mode 'upsert');
CREATE FOREIGN TABLE json (key int OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'upsert_inputs_json', mode 'upsert', key_format 'json');
CREATE FOREIGN TABLE pair (key int OPTIONS (key 'true'), part text OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'upsert_inputs_pair', mode 'upsert');
CREATE FOREIGN TABLE solo (key int OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'upsert_inputs_solo', mode 'upsert');

-- what each view must give for a question, by the folded topics; asked_now are the questions of the round
CREATE TABLE asked_now (id int, key int, part text);
CREATE TABLE expected (view text, id int, answer text);
CREATE VIEW answers AS
	SELECT 'plain' AS view, id, value->>'v' AS answer FROM asked_now LEFT JOIN folded('plain') ON text_of(k) = key::text
	UNION ALL SELECT 'inner', id, value->>'v' FROM asked_now JOIN folded('plain') ON text_of(k) = key::text
	UNION ALL SELECT 'big', id, value->>'v' FROM asked_now LEFT JOIN folded('big') ON k = int8send(key)
	UNION ALL SELECT 'path', id, value->>'v' FROM asked_now LEFT JOIN folded('path') ON (value->'id'->>'number')::int = key
	UNION ALL SELECT 'json', id, value->>'v' FROM asked_now LEFT JOIN folded('json') ON text_of(k) = key::text
	UNION ALL SELECT 'solo', id, text_of(k) FROM asked_now LEFT JOIN folded('solo') ON text_of(k) = key::text
	UNION ALL SELECT 'pair', id, value->>'v' FROM asked_now LEFT JOIN folded('pair') ON (text_of(k)::jsonb->>'key')::int = key AND text_of(k)::jsonb->>'part' = part
	UNION ALL SELECT 'part', id, value->>'v' FROM asked_now JOIN folded('pair') ON text_of(k)::jsonb->>'part' = part
	UNION ALL SELECT 'null_part', id, value->>'v' FROM asked_now JOIN folded('pair') ON (text_of(k)::jsonb->>'key')::int = key WHERE text_of(k)::jsonb->>'part' IS NULL;
-- asks for every key, of part x and of another one, once the tables are applied, and waits for the answers
CREATE SEQUENCE round;
CREATE FUNCTION ask() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka.wait_for_view('v_plain', '60s');
	TRUNCATE asked_now;
	INSERT INTO asked_now SELECT nextval('round'), i, part FROM generate_series(0, 7) i, unnest('{x,y}'::text[]) part;
	INSERT INTO expected TABLE answers;
	PERFORM kafka_test.produce('upsert_inputs_asked', 'SELECT id, to_jsonb(a) FROM asked_now a');
	PERFORM kafka.wait_for_view('v_plain', '60s');
	RETURN QUERY SELECT d::text FROM ((TABLE found EXCEPT ALL TABLE expected) UNION ALL (TABLE expected EXCEPT ALL TABLE found)) d;
END $$;
-- the topics as tables against their fold
CREATE FUNCTION topics_differ() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT d::text FROM (
		(SELECT 'plain', key::text, v FROM plain UNION ALL SELECT 'big', key::text, v FROM big UNION ALL SELECT 'path', key::text, v FROM path
			UNION ALL SELECT 'json', key::text, v FROM json UNION ALL SELECT 'solo', key::text, NULL FROM solo UNION ALL SELECT 'pair', concat_ws(' ', key, part), v FROM pair)
		EXCEPT ALL
		(SELECT t, text_of(k), value->>'v' FROM unnest('{plain,path,json,solo}'::text[]) t, folded(t) UNION ALL SELECT 'big', ('x' || encode(k, 'hex'))::bit(64)::bigint::text, value->>'v' FROM folded('big')
			UNION ALL SELECT 'pair', concat_ws(' ', text_of(k)::jsonb->>'key', text_of(k)::jsonb->>'part'), value->>'v' FROM folded('pair'))) d
$$;

-- before the views are there: versions that are replaced, deleted, and back again
SELECT write_versions($$VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (2, 'two again'), (3, NULL), (4, NULL), (4, 'four again'), (5, NULL)$$) \g /dev/null
SELECT is_empty('SELECT topics_differ()', 'SELECT gives the last value per key');
SELECT results_eq('SELECT key, v FROM plain ORDER BY key', $$VALUES (1, 'one'), (2, 'two again'), (4, 'four again')$$, 'three of them');

BEGIN;
CREATE MATERIALIZED VIEW v_plain WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.v FROM asked a LEFT JOIN plain t ON t.key = a.key;
CREATE MATERIALIZED VIEW v_inner WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.v FROM asked a JOIN plain t ON t.key = a.key;
CREATE MATERIALIZED VIEW v_big WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.v FROM asked a LEFT JOIN big t ON t.key = a.key;
CREATE MATERIALIZED VIEW v_path WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.v FROM asked a LEFT JOIN path t ON t.key = a.key;
CREATE MATERIALIZED VIEW v_json WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.v FROM asked a LEFT JOIN json t ON t.key = a.key;
CREATE MATERIALIZED VIEW v_solo WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.key::text AS v FROM asked a LEFT JOIN solo t ON t.key = a.key;
CREATE MATERIALIZED VIEW v_pair WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.v FROM asked a LEFT JOIN pair t ON t.key = a.key AND t.part = a.part;
-- the query does not use all columns of the key
CREATE MATERIALIZED VIEW v_part WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.v FROM asked a JOIN pair t ON t.part = a.part;
CREATE MATERIALIZED VIEW v_null_part WITH (kafka.continuous, kafka.pipeline = 'lookups') AS SELECT a.id, t.v FROM asked a JOIN pair t ON t.key = a.key WHERE t.part IS NULL;
COMMIT;
CREATE VIEW found AS SELECT 'plain' AS view, id, v AS answer FROM v_plain UNION ALL SELECT 'inner', id, v FROM v_inner UNION ALL SELECT 'big', id, v FROM v_big UNION ALL SELECT 'path', id, v FROM v_path
	UNION ALL SELECT 'json', id, v FROM v_json UNION ALL SELECT 'solo', id, v FROM v_solo UNION ALL SELECT 'pair', id, v FROM v_pair UNION ALL SELECT 'part', id, v FROM v_part UNION ALL SELECT 'null_part', id, v FROM v_null_part;

SELECT is_empty('SELECT ask()', 'every key is answered from the tables as they are');
SELECT results_eq('SELECT v FROM v_plain JOIN asked_now USING (id) WHERE part = ''x'' ORDER BY key', $$VALUES (NULL), ('one'), ('two again'), (NULL), ('four again'), (NULL), (NULL), (NULL)$$, 'that is so');
SELECT write_versions($$VALUES (1, NULL), (2, 'two, third'), (3, 'three again'), (6, 'six'), (6, NULL), (7, 'a'), (7, NULL), (7, 'b'), (7, 'c')$$) \g /dev/null
SELECT is_empty('SELECT ask()', 'deleted, changed, come back, come and gone, several versions at once');
SELECT is_empty('SELECT topics_differ()', 'SELECT gives the last value per key');
SELECT write_versions($$VALUES (1, 'one again'), (2, NULL), (6, 'six again'), (7, NULL), (0, '')$$) \g /dev/null
SELECT is_empty('SELECT ask()', 'once more');
SELECT results_eq('SELECT v FROM v_plain JOIN asked_now USING (id) WHERE part = ''x'' ORDER BY key', $$VALUES (''), ('one again'), (NULL), ('three again'), ('four again'), (NULL), ('six again'), (NULL)$$, 'that is so');
SELECT is_empty('SELECT topics_differ()', 'SELECT gives the last value per key');

-- a record without a key says nothing about a table, a deletion without a key neither
SELECT kafka_test.produce('upsert_inputs_plain', $$VALUES (NULL, '{"v": "nobody''s"}'), (NULL, NULL), ('1', '{"v": "one more"}')$$) \g /dev/null
SELECT is_empty('SELECT ask()', 'their neighbours are applied');
SELECT results_eq($$SELECT topic, sqlstate, count(*) FROM kafka.dead_letters GROUP BY 1, 2$$, $$VALUES ('upsert_inputs_plain', '23502', 2::bigint)$$, 'records without a key are dead letters');

-- with bootstrap a stream meets the tables as they are at the start, without it strictly by time
CREATE FOREIGN TABLE asked_timed (id int) SERVER broker OPTIONS (topic 'upsert_inputs_asked_timed');
CREATE FOREIGN TABLE timed (key int OPTIONS (key 'true'), v text) SERVER broker OPTIONS (topic 'upsert_inputs_timed', mode 'upsert');
SELECT kafka_test.produce_at('upsert_inputs_timed', $$VALUES (0, 10000, '1', '{"v": "a"}'), (0, 20000, '1', '{"v": "b"}'), (0, 30000, '1', NULL), (0, 40000, '1', '{"v": "c"}')$$) \g /dev/null
SELECT kafka_test.produce_at('upsert_inputs_asked_timed', $$SELECT 0, 5000 + i * 10000, 'k', jsonb_build_object('id', i) FROM generate_series(0, 4) i UNION ALL SELECT 0, 50000, 'k', '{"id": 6}'$$) \g /dev/null
CREATE MATERIALIZED VIEW as_it_is WITH (kafka.continuous) AS SELECT id, v FROM asked_timed LEFT JOIN timed ON key = 1;
CREATE MATERIALIZED VIEW as_it_was WITH (kafka.continuous, kafka.bootstrap = false) AS SELECT id, v FROM asked_timed LEFT JOIN timed ON key = 1;
SELECT ok(kafka.wait_for_view('as_it_is', '60s') AND kafka.wait_for_view('as_it_was', '60s'), 'both ways');
SELECT results_eq('SELECT id, v FROM as_it_is ORDER BY id', $$SELECT i, 'c' FROM unnest('{0,1,2,3,4,6}'::int[]) i$$, 'with bootstrap every row meets the last version');
SELECT results_eq('SELECT id, v FROM as_it_was ORDER BY id', $$VALUES (0, NULL), (1, 'a'), (2, 'b'), (3, NULL), (4, 'c'), (6, 'c')$$, 'without it each meets the version of its time');
-- a key is its columns, whatever bytes it is written in (folded() would tell these apart)
SELECT kafka_test.produce_at('upsert_inputs_pair', $$VALUES (0, NULL::bigint, '{"part": "z", "key": 5}', '{"v": "five"}'), (0, NULL, '{"key":5,"part":"z"}', '{"v": "five again"}'),
	(0, NULL, '{"key":4,"part":"z"}', '{"v": "four"}'), (0, NULL, '{"key": 4, "part": "z"}', NULL)$$) \g /dev/null
SELECT kafka_test.produce_at('upsert_inputs_plain', $$VALUES (0, NULL::bigint, ' 5', '{"v": "five"}'), (0, NULL, '+5', '{"v": "five again"}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v_plain', '60s'), 'other spellings of keys');
SELECT results_eq('SELECT key, v FROM plain WHERE key = 5', $$VALUES (5, 'five again')$$, 'SELECT gives one row for each key');
SELECT results_eq('SELECT key, v FROM pair WHERE part = ''z'' ORDER BY key', $$VALUES (5, 'five again')$$, 'so it does for several columns');
SELECT kafka_test.produce('upsert_inputs_asked', $$VALUES ('k', '{"id": 1005, "key": 5, "part": "z"}'), ('k', '{"id": 1004, "key": 4, "part": "z"}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v_plain', '60s'), 'asked for');
SELECT results_eq('SELECT p.id, v.v, p.v FROM v_pair p JOIN v_plain v USING (id) WHERE p.id > 1000 ORDER BY id', $$VALUES (1004, 'four again', NULL), (1005, 'five again', 'five again')$$, 'and a look-up meets it');
SELECT * FROM finish();
