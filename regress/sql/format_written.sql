-- What INSERT writes reads back as the same row, for every kind of type, whatever the session's settings; and how it looks to others.
\getenv broker KAFKA_BROKER
CREATE SCHEMA format_written;
SET search_path = format_written, public;
SET timezone = 'UTC';
CREATE SERVER format_written FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
\! kv_kafka create format_written_types 1
\! kv_kafka create format_written_paths 1
\! kv_kafka create format_written_kafka 1
\! kv_kafka create format_written_lines 1
\! kv_kafka create format_written_bytes 1
CREATE TYPE pair AS (a int, b text);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE rows (
	n int, i2 int2, i8 int8, f4 float4, f8 float8, nu numeric, nu2 numeric(10, 2), t text, vc varchar(5), bc char(5), tz timestamptz, tz3 timestamptz(3),
	ts timestamp, d date, ti time, iv interval, u uuid, j json, jb jsonb, ba bytea, ia int[], ia2 int[], ta text[], tza timestamptz[], co pair, coa pair[],
	jba jsonb[], tr tstzrange, ir int4range, nr numrange, p positive, m mood, ip inet, bo boolean, bx box);
INSERT INTO rows VALUES
	(1, -32768, -9223372036854775808, 1.1, 1e300, 123456789012345678901234567890.1234567890, -0.05, E'q"b\\ \n\t\r\x01 ü😀', 'abc', 'ab',
	 '2026-01-02 03:04:05.678901Z', '2026-01-02 03:04:05.678Z', '2026-01-02 03:04:05', '2026-01-02', '12:34:56.789', '1 mon 2 days 03:04:05.6',
	 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, 2],  "b":"\u00e4"}', '{"z":1e3,"y":[null,true]}', '\x00ff5c', '{1,NULL,3}', '{{1,2},{3,4}}',
	 '{a,NULL,"b\"c",""}', '{2026-01-01Z,infinity}', (1, 'x'), ARRAY[(1, 'x')::pair, NULL, (NULL, 'é')::pair], ARRAY['{"a":1}', '[1,2]']::jsonb[],
	 '[2026-01-01Z,2026-01-02Z)', '[1,5]', '(1.5,2.5]', 7, 'happy', '10.0.0.1/8', true, '(1,2),(3,4)'),
	(2, 0, 0, 'NaN', '-Infinity', 'NaN', 0, '', '', '', 'infinity', '4713-01-01 00:00:00Z BC', '-infinity', 'infinity', '00:00', '-1 year',
	 '00000000-0000-0000-0000-000000000000', '"x"', '"x"', '', '{}', '{}', '{}', NULL, (NULL, NULL), '{}', '{}', 'empty', '(,5)', '(,)', 1, 'sad', '::1', false, '(1,2),(3,4)'),
	(3, NULL, NULL, 1e-40, 0.1, 'Infinity', 99999999.99, 'äöü', 'äöüäö', 'äöüäö', '294276-12-31 23:59:59.999999Z', NULL, '0044-03-15 01:02:03 BC', '0044-03-15 BC',
	 '24:00', NULL, NULL, NULL, NULL, '\xc3', '{{{1}},{{2}}}', NULL, '{""}', '{}', NULL, NULL, NULL, '[2026-01-01Z,2026-01-02Z]', '[3,)', '[1,infinity)', 5, NULL, NULL, NULL, NULL),
	(4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum) AS columns
	FROM pg_attribute WHERE attrelid = 'rows'::regclass AND attnum > 0 \gset
CREATE FOREIGN TABLE types (:columns) SERVER format_written OPTIONS (topic 'format_written_types');
INSERT INTO types SELECT * FROM rows;
SELECT kafka_test.poll('count(*) = 4 FROM types');
SELECT value FROM kafka_test.consume('format_written_types');
-- box has no btree equality: rows are compared as text
CREATE VIEW differences AS SELECT r AS written, x AS read FROM rows r FULL JOIN types x USING (n) WHERE r::text IS DISTINCT FROM x::text;
SELECT count(*) AS rows_read FROM types;
SELECT * FROM differences;
-- written under other settings
SET timezone = 'Asia/Kolkata';
SET datestyle = 'german';
SET intervalstyle = 'sql_standard';
SET extra_float_digits = -5;
SET bytea_output = 'escape';
INSERT INTO types SELECT * FROM rows WHERE n < 3;
RESET ALL;
SET search_path = format_written, public;
SET timezone = 'UTC';
SELECT kafka_test.poll('count(*) = 6 FROM types');
SELECT count(*) AS rows_read FROM types;
SELECT * FROM differences;
SELECT count(DISTINCT value) FROM kafka_test.consume('format_written_types');

-- paths make objects; a key column stands in the value, too; an assignment as in any INSERT
CREATE FOREIGN TABLE paths (
	id bigint OPTIONS (key 'true'), name text OPTIONS (path 'order.who.name'), z boolean, amount numeric(6, 2) OPTIONS (path 'order.amount'), mail text OPTIONS (path 'order.who.mail')
) SERVER format_written OPTIONS (topic 'format_written_paths');
INSERT INTO paths VALUES (1, 'a', true, 1.005, 'a@b'), (2, NULL, NULL, NULL, NULL);
SELECT kafka_test.poll('count(*) = 2 FROM paths');
SELECT key, value FROM kafka_test.consume('format_written_paths');
SELECT * FROM paths ORDER BY id;
INSERT INTO paths VALUES (3, 'a', true, 123456, 'a@b');
CREATE FOREIGN TABLE clash (a jsonb, b int OPTIONS (path 'a.b')) SERVER format_written OPTIONS (topic 'format_written_paths');
INSERT INTO clash VALUES ('{}', 1);

-- keys as Java writes them; text and bytea values
CREATE FOREIGN TABLE keys (k int OPTIONS (key 'true'), v text) SERVER format_written OPTIONS (topic 'format_written_kafka', key_format 'kafka', format 'text');
INSERT INTO keys VALUES (-2, 'minus two'), (258, 'ü'), (NULL, '');
SELECT kafka_test.poll('count(*) = 3 FROM keys');
\! kv_kafka consume format_written_kafka --hex --format '%k %v'
SELECT * FROM keys ORDER BY k;
INSERT INTO keys VALUES (1, NULL);
CREATE FOREIGN TABLE lines (v jsonb, h jsonb OPTIONS (metadata 'headers')) SERVER format_written OPTIONS (topic 'format_written_lines', format 'text');
INSERT INTO lines VALUES ('{"b":1,"a":[2]}', '{"n": null, "t": "x", "o": {"a": 1}, "e": ""}'), ('"s"', NULL);
SELECT kafka_test.poll('count(*) = 2 FROM lines');
SELECT value, headers FROM kafka_test.consume('format_written_lines');
SELECT * FROM lines ORDER BY v;
INSERT INTO lines VALUES ('1', '["not an object"]');
CREATE FOREIGN TABLE bytes (v bytea) SERVER format_written OPTIONS (topic 'format_written_bytes', format 'bytea');
INSERT INTO bytes VALUES ('\x00ff'), ('');
SELECT kafka_test.poll('count(*) = 2 FROM bytes');
\! kv_kafka consume format_written_bytes --hex --format '%v'
SELECT * FROM bytes ORDER BY v;

-- a null key of a table can be written as JSON only
CREATE FOREIGN TABLE table_text (k text OPTIONS (key 'true'), v int) SERVER format_written OPTIONS (topic 'format_written_paths', mode 'upsert');
INSERT INTO table_text VALUES (NULL, 1);

DROP SCHEMA format_written CASCADE;
DROP SERVER format_written CASCADE;
