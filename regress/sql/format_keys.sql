-- Record keys in each key_format, bare and as objects; values of format text and bytea.
\getenv broker KAFKA_BROKER
CREATE SCHEMA format_keys;
SET search_path = format_keys, public;
SET timezone = 'UTC';
CREATE SERVER format_keys FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
\! kv_kafka create format_keys_text 1
\! kv_kafka create format_keys_json 1
\! kv_kafka create format_keys_kafka 1
\! kv_kafka create format_keys_bytes 1

-- text: the input function of the column's type; no key is null, an empty key is empty
\! printf '7\t{"v":1}\nx\t{"v":2}\n{"v":3}\n\t{"v":4}\n 8 \t{"v":5}\n2026-01-02T03:04:05Z\t{"v":6}\n' | kv_kafka produce format_keys_text
CREATE FOREIGN TABLE key_bigint (k bigint OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_text');
CREATE FOREIGN TABLE key_text (k text OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_text');
CREATE FOREIGN TABLE key_time (k timestamptz OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_text', on_error 'skip');
SELECT * FROM key_bigint ORDER BY v;
SELECT *, k IS NULL AS is_null FROM key_text ORDER BY v;
SELECT * FROM key_time ORDER BY v;
-- a key that is mapped by nobody is not looked at; a table cannot do without one
SELECT v FROM key_bigint ORDER BY v;
CREATE FOREIGN TABLE key_upsert (k text OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_text', mode 'upsert');
SELECT * FROM key_upsert ORDER BY v;

-- json: bare or an object with the column's name; several columns are an object
\! printf '7\t{"v":1}\n"8"\t{"v":2}\n{"k":9}\t{"v":3}\nnull\t{"v":4}\n{"k":10,"l":"x"}\t{"v":5}\n[1]\t{"v":6}\n7x\t{"v":7}\n{"l":"y"}\t{"v":8}\n' | kv_kafka produce format_keys_json
CREATE FOREIGN TABLE json_one (k bigint OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_json', key_format 'json');
CREATE FOREIGN TABLE json_two (k bigint OPTIONS (key 'true'), l text OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_json');
CREATE FOREIGN TABLE json_object (k jsonb OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_json', key_format 'json', on_error 'skip');
SELECT * FROM json_one ORDER BY v;
SELECT * FROM json_two ORDER BY v;
SELECT * FROM json_object ORDER BY v;

-- kafka: big-endian integers
\! printf '0000000000000105\t7b2276223a317d\nffffffff\t7b2276223a327d\n0007\t7b2276223a337d\n' | kv_kafka produce format_keys_kafka --hex
CREATE FOREIGN TABLE kafka_bigint (k bigint OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_kafka', key_format 'kafka');
CREATE FOREIGN TABLE kafka_int (k int OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_kafka', key_format 'kafka', on_error 'skip');
CREATE FOREIGN TABLE kafka_smallint (k smallint OPTIONS (key 'true'), v int) SERVER format_keys OPTIONS (topic 'format_keys_kafka', key_format 'kafka', on_error 'skip');
SELECT * FROM kafka_bigint ORDER BY v;
SELECT * FROM kafka_int ORDER BY v;
SELECT * FROM kafka_smallint ORDER BY v;

-- a key column with a path is read from the value
CREATE FOREIGN TABLE key_in_value (k text OPTIONS (key 'true', path 'v'), raw text OPTIONS (metadata 'key')) SERVER format_keys OPTIONS (topic 'format_keys_json');
SELECT * FROM key_in_value ORDER BY k;

-- text and bytea values
\! printf '6b\t3132\n6b\tff00\n6b\t\n6b\t7b7d\n' | kv_kafka produce format_keys_bytes --hex
CREATE FOREIGN TABLE value_bytea (v bytea) SERVER format_keys OPTIONS (topic 'format_keys_bytes', format 'bytea');
CREATE FOREIGN TABLE value_text (v text) SERVER format_keys OPTIONS (topic 'format_keys_bytes', format 'text');
CREATE FOREIGN TABLE value_int (v int) SERVER format_keys OPTIONS (topic 'format_keys_bytes', format 'text', on_error 'skip');
CREATE FOREIGN TABLE value_jsonb (v jsonb) SERVER format_keys OPTIONS (topic 'format_keys_bytes', format 'text', on_error 'skip');
SELECT * FROM value_bytea ORDER BY v;
SELECT * FROM value_text ORDER BY v;
SELECT * FROM value_int ORDER BY v;
SELECT * FROM value_jsonb ORDER BY v;

DROP SCHEMA format_keys CASCADE;
DROP SERVER format_keys CASCADE;
