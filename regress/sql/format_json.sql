-- JSON of a record to columns: what each type takes, what makes a bad record, and that a document is checked to its end.
\getenv broker KAFKA_BROKER
CREATE SCHEMA format_json;
SET search_path = format_json, public;
SET timezone = 'Europe/Berlin';
CREATE SERVER format_json FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
\! kv_kafka create format_json_values 1
\! kv_kafka create format_json_documents 1
\! kv_kafka create format_json_paths 1

-- the same values into every type; the rows that are missing are bad records
CREATE TABLE cases (n serial, v text);
INSERT INTO cases (v) VALUES ('1'), ('-1'), ('1.0'), ('1e3'), ('1.5'), ('0.1e1'), ('32768'), ('9223372036854775807'), ('9223372036854775808'),
	('-9223372036854775808'), ('1e30'), ('1e309'), ('1e-400'), ('123456789012345678901234567890.12'), ('1234.5678'), ('-0.00'), ('0.30000000000000004'),
	('"12"'), ('" 7 "'), ('"1.5"'), ('"NaN"'), ('"-Infinity"'), ('"x"'), ('""'), ('true'), ('"t"'), ('null'),
	('"2026-01-02T03:04:05.678Z"'), ('"2026-07-02T03:04:05"'), ('"2026-01-02 03:04:05.1234567+05:30"'), ('"2026-01-02"'), ('"2026-02-30"'),
	('"2026-01-02T24:00:00Z"'), ('1767322800123.4567'), ('"infinity"'), ('"now"'), ('"P1DT2H"'), ('"1 day"'),
	('"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'), ('"\\x00ff"'), ('"\u00e4\n\ud83d\ude00\/"'), ('"\u0000"'), ('"\ud800"'), ('"\q"'), ('"äöü"'), ('"äöü!"'),
	('[]'), ('[1, null, "3"]'), ('[[1,2],[3,4]]'), ('[[1,2],[3]]'), ('[1,[2]]'), ('{"a":1,"b":"x","c":1}'), ('{"b":"x","a":"y"}'),
	('{"start": 1, "end": 5}'), ('{"start":1,"end":5,"bounds":"[]"}'), ('{"start":5,"end":1}'), ('{"end":7}'), ('"[2,4)"'), ('"sad"'), ('{"a": 1, "a": 2}');
SELECT kafka_test.produce_at('format_json_values', $$SELECT 0, 1767225600000, '', '{"v": ' || v || '}' FROM format_json.cases ORDER BY n$$);
CREATE TYPE pair AS (a int, b text);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE FUNCTION show(type text) RETURNS TABLE (json text, value text) LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE one (v %s, off bigint OPTIONS (metadata ''offset'')) SERVER format_json OPTIONS (topic ''format_json_values'', on_error ''skip'')', type);
	RETURN QUERY SELECT c.v, o.v::text FROM one o JOIN cases c ON n = off + 1 WHERE o.v IS NOT NULL ORDER BY n;
	DROP FOREIGN TABLE one;
END $$;
SELECT * FROM show('smallint');
SELECT * FROM show('bigint');
SELECT * FROM show('real');
SELECT * FROM show('double precision');
SELECT * FROM show('numeric');
SELECT * FROM show('numeric(6,2)');
SELECT * FROM show('boolean');
SELECT * FROM show('varchar(3)');
SELECT * FROM show('char(3)');
SELECT count(*), min(value) FILTER (WHERE json LIKE '%u00e4%') AS escapes, min(value) FILTER (WHERE json LIKE '{"a": 1, %') AS object FROM show('text');
SELECT * FROM show('timestamptz');
SELECT * FROM show('timestamp(3)');
SELECT * FROM show('date');
SELECT * FROM show('interval');
SELECT * FROM show('uuid');
SELECT value FROM show('bytea') WHERE json LIKE '%x00ff%';
SELECT * FROM show('int[]');
SELECT * FROM show('timestamptz[]');
SELECT * FROM show('pair');
SELECT * FROM show('int4range');
SELECT * FROM show('mood');
SELECT * FROM show('positive');
SELECT * FROM show('json') WHERE json <> value;
SELECT * FROM show('jsonb') WHERE json <> value;
SELECT (SELECT count(*) FROM show('json')) AS json, (SELECT count(*) FROM show('jsonb')) AS jsonb, count(*) - 1 AS cases FROM cases;

-- numeric is built directly: it must be the number numeric_in gives, with its scale
SELECT setseed(0.5);
CREATE TABLE numbers AS
	SELECT i, (CASE WHEN random() < 0.5 THEN '-' ELSE '' END || floor(random() * 10 ^ (random() * 18)::int)::bigint
		|| CASE WHEN random() < 0.7 THEN '.' || lpad(floor(random() * 10 ^ 9)::bigint::text, 1 + (random() * 20)::int, '0') ELSE '' END)::numeric AS v
	FROM generate_series(1, 5000) i;
\! kv_kafka create format_json_numbers 1
SELECT kafka_test.produce('format_json_numbers', 'SELECT i, json_build_object(''i'', i, ''v'', v) FROM format_json.numbers');
CREATE FOREIGN TABLE decoded (i int, v numeric) SERVER format_json OPTIONS (topic 'format_json_numbers');
SELECT count(*), bool_and(numeric_send(d.v) = numeric_send(n.v)), sum(d.v) = sum(n.v) AS sums FROM decoded d JOIN numbers n USING (i);

-- documents: complete to the last byte or bad, whatever is mapped
CREATE TABLE documents (n serial, d text);
INSERT INTO documents (d) VALUES ('{"a":1}'), (' { "a" : 1 , "b" : [ { "c" : [ ] } , null , -0.5e-3 ] } '), ('{}'), ('{"a":1,"a":2}'), ('{"\u0061":3}'), ('{"A":4}'),
	(''), ('   '), ('{'), ('{"a":1'), ('{"a":1,'), ('{"a":1}}'), ('{"a":1}x'), ('{"a":1} 2'), ('{"a" 1}'), ('{"a":1,"b":{}'), ('{"a":1,"b":[1,2}}'),
	('{"a":1,"b":[1,2,]}'), ('{"a":1,}'), ('{,}'), ('{"a":1 "b":2}'), ('{"b":tru,"a":1}'), ('{"b":01,"a":1}'), ('{"a":1,"b":"x}'), (E'{"a":1,"b":"\t"}'),
	('{a:1}'), ('{"b":"x"y,"a":1}'), ('[1]'), ('1'), ('null'), ('{"a":{"a":1}}'),
	('{"b":' || repeat('[', 999) || repeat(']', 999) || ',"a":5}'), ('{"b":' || repeat('[', 1000) || repeat(']', 1000) || ',"a":5}');
SELECT kafka_test.produce_at('format_json_documents', $$SELECT 0, 1767225600000, '', d FROM format_json.documents ORDER BY n$$);
-- 2 MB of nesting cannot be produced with the broker's default limit of 1 MB: 0.9 MB; and bytes that are not UTF-8
SELECT kafka_test.produce_at('format_json_documents', $$SELECT 0, 1767225600000, '', repeat(x, 900000 / length(x)) FROM (VALUES (1, '['), (2, '{"a":')) v (n, x) ORDER BY n$$);
\! printf '6b\t7b2261223a317dff\n6b\t7b2261223a312c2262223a22c3227d\n' | kv_kafka produce format_json_documents --hex
CREATE FOREIGN TABLE documents_read (a int, off bigint OPTIONS (metadata 'offset')) SERVER format_json OPTIONS (topic 'format_json_documents', on_error 'skip');
SELECT left(d, 70) AS document, a FROM documents_read r JOIN documents c ON n = off + 1 ORDER BY n;
SELECT count(*) FROM documents_read;
-- the reason of each
ALTER FOREIGN TABLE documents_read OPTIONS (SET on_error 'stop');
CREATE FUNCTION reason(at bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; state text;
BEGIN
	PERFORM a FROM documents_read WHERE off = at;
	RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, state = RETURNED_SQLSTATE;
	RETURN state || ' ' || regexp_replace(detail, '^Topic.*?, offset \d+\. ', '');
END $$;
SELECT n, left(d, 40) AS document, reason(n - 1) FROM generate_series(1, 37) n LEFT JOIN documents USING (n) WHERE reason(n - 1) <> 'fine' ORDER BY n;

-- paths: nested fields, two columns of one object, a name with dots and escapes in the document, $
SELECT kafka_test.produce_at('format_json_paths', $$VALUES
	(0, 1767225600000, '', '{"order":{"id":1,"who":{"name":"a"}},"z":true}'), (0, 1767225600000, '', '{"order":{"who":null,"id":2}}'),
	(0, 1767225600000, '', '{"order":null}'), (0, 1767225600000, '', '{"z":false,"\u006frder":{"who":{"n\u0061me":"e"},"id":5}}'),
	(0, 1767225600000, '', '{"order":{"id":6,"who":{"name":"f"}},"order":{"id":7}}'), (0, 1767225600000, '', '{"order":{"id":8,"who":"g"}}')$$);
CREATE FOREIGN TABLE paths (
	id int OPTIONS (path 'order.id'), name text OPTIONS (path 'order.who.name'), who jsonb OPTIONS (path 'order.who'), z boolean, "order" json,
	whole jsonb OPTIONS (path '$'), off bigint OPTIONS (metadata 'offset')
) SERVER format_json OPTIONS (topic 'format_json_paths');
SELECT * FROM paths ORDER BY off;
ALTER FOREIGN TABLE paths DROP who;
SELECT id, name, off FROM paths ORDER BY off;

-- event time: a column that is null, infinite or far ahead of its record makes a bad record
\! kv_kafka create format_json_times 1
SELECT kafka_test.produce_at('format_json_times', $$VALUES
	(0, 1767225600000, '', '{"t":"2026-01-01T00:59:59Z","n":1}'), (0, 1767225600000, '', '{"t":"2026-01-01T01:00:01Z","n":2}'),
	(0, 1767225600000, '', '{"t":null,"n":3}'), (0, 1767225600000, '', '{"t":"infinity","n":4}'), (0, 1767225600000, '', '{"n":5}'),
	(0, 1767225600000, '', '{"t":-1,"n":6}'), (0, 32503680000000, '', '{"t":0,"n":7}')$$);
CREATE FOREIGN TABLE times (n int, t timestamptz) SERVER format_json OPTIONS (topic 'format_json_times', event_time 't');
SELECT n FROM times ORDER BY n;
SELECT n, t FROM times ORDER BY n;

DROP SCHEMA format_json CASCADE;
DROP SERVER format_json CASCADE;
