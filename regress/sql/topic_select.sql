-- SELECT from a topic: every record of a stream, the last row per key of a table, seeks, bad records, a broker that is away.
\getenv broker KAFKA_BROKER
CREATE SCHEMA topic_select;
SET search_path = topic_select, public;
SET timezone = 'UTC';
CREATE SERVER topic_select FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
\! kv_kafka create topic_select_stream 3
\! kv_kafka create topic_select_table 2
\! kv_kafka create topic_select_bad 1
\! kv_kafka create topic_select_empty 2

-- 300 records, one a second from 2026-01-01, round the partitions
SELECT kafka_test.produce_at('topic_select_stream', $$
	SELECT i % 3, 1767225600000 + i * 1000, 'k' || i, json_build_object('id', i, 'who', json_build_object('name', 'n' || i), 'amount', i || '.50')
	FROM generate_series(0, 299) i$$);
CREATE FOREIGN TABLE stream (
	id int, name text OPTIONS (path 'who.name'), amount numeric(8, 2), everything jsonb OPTIONS (path '$'),
	part int OPTIONS (metadata 'partition'), off bigint OPTIONS (metadata 'offset'), at timestamptz OPTIONS (metadata 'timestamp'),
	raw_key text OPTIONS (metadata 'key'), raw_value bytea OPTIONS (metadata 'value'), headers jsonb OPTIONS (metadata 'headers')
) SERVER topic_select OPTIONS (topic 'topic_select_stream');
SELECT count(*), count(DISTINCT id), sum(amount), min(at), max(at) FROM stream;
SELECT id, name, amount, everything, part, off, at, raw_key, headers FROM stream WHERE id IN (7, 200) ORDER BY id;
SELECT convert_from(raw_value, 'UTF8') FROM stream WHERE id = 7;
SELECT tableoid::regclass, s FROM stream s WHERE id = 3;

-- conditions on the metadata become seeks; Records Read tells what was fetched
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT id FROM stream WHERE part = 1 AND off >= 90;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT id FROM stream WHERE part IN (0, 2) AND off BETWEEN 10 AND 14;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT id FROM stream WHERE part > 0 AND 2 > part AND off = 5::smallint;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT id FROM stream WHERE at >= '2026-01-01 00:04:50Z' AND at < '2026-01-01 00:04:55Z';
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT id FROM stream WHERE part = 7 OR id < 0;
EXPLAIN (COSTS OFF) SELECT id FROM stream WHERE part <> 1 AND id > 3 AND off < id;
SELECT id FROM stream WHERE at > '2026-01-01 00:04:57Z' ORDER BY id;
SELECT count(*) FROM stream WHERE at >= 'infinity';
SELECT count(*) FROM stream WHERE at >= '-infinity' AND off > -9223372036854775808 AND off <= 9223372036854775807;
SELECT count(*) FROM stream WHERE part = NULL::int;
SELECT count(*) FROM stream WHERE part = ANY (ARRAY[0, NULL, 99]);
-- values that are known only when the scan begins
PREPARE by_offset(int, bigint) AS SELECT id FROM stream WHERE part = $1 AND off >= $2 AND off < $2 + 2 ORDER BY id;
SET plan_cache_mode = force_generic_plan;
EXECUTE by_offset(0, 20);
EXECUTE by_offset(2, 99);
EXPLAIN (COSTS OFF) EXECUTE by_offset(0, 20);
RESET plan_cache_mode;
SELECT id FROM stream WHERE part = (SELECT 1) AND off = (SELECT max(v) FROM (VALUES (3), (4)) x(v));
SELECT p, n FROM generate_series(0, 2) p, LATERAL (SELECT count(*) AS n FROM stream WHERE part = p AND off < 10 * (p + 1)) s ORDER BY p;

-- LIMIT stops early, a cursor too; a self-join reads twice
SELECT count(*) FROM (SELECT id FROM stream LIMIT 5) s;
BEGIN;
DECLARE c CURSOR FOR SELECT id, off FROM stream WHERE part = 1;
FETCH 3 FROM c;
CLOSE c;
COMMIT;
SELECT count(*) FROM stream a JOIN stream b USING (id);
\! kv_kafka produce topic_select_empty </dev/null
CREATE FOREIGN TABLE empty (id int) SERVER topic_select OPTIONS (topic 'topic_select_empty');
SELECT * FROM empty;

-- an upsert topic: the last value per key, tombstones applied, bounds that keep it so
SELECT kafka_test.produce_at('topic_select_table', $$
	SELECT k % 2, NULL, k, CASE WHEN k = 3 AND v = 3 THEN NULL ELSE json_build_object('name', 'v' || v) END
	FROM generate_series(1, 3) v, generate_series(1, 4) k ORDER BY v, k$$);
CREATE FOREIGN TABLE latest (
	id int OPTIONS (key 'true'), name text, part int OPTIONS (metadata 'partition'), off bigint OPTIONS (metadata 'offset')
) SERVER topic_select OPTIONS (topic 'topic_select_table', mode 'upsert');
SELECT * FROM latest ORDER BY id;
SELECT * FROM latest WHERE off >= 5 ORDER BY id;
SELECT * FROM latest WHERE off < 5 ORDER BY id;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM latest WHERE part = 1 AND off >= 4 AND off <= 4;
SELECT v, count(l.id) FROM generate_series(1, 3) v LEFT JOIN latest l ON l.id <= v GROUP BY v ORDER BY v;

-- bad records: left out and counted, or an error; a null value is no row
SELECT kafka_test.produce_at('topic_select_bad', $$VALUES
	(0, 1000, 'a', '{"id": 1}'), (0, 1000, 'b', '{"id": 1'), (0, 1000, 'c', '{"id": "x"}'), (0, 1000, 'd', NULL),
	(0, 4102444800000, 'e', '{"id": 5}'), (0, 1000, 'f', '{"id": 6}')$$);
CREATE FOREIGN TABLE bad (id int) SERVER topic_select OPTIONS (topic 'topic_select_bad');
SELECT * FROM bad ORDER BY id;
ALTER FOREIGN TABLE bad OPTIONS (ADD on_error 'stop');
SELECT * FROM bad ORDER BY id;
-- text and bytea take the value as it is
CREATE FOREIGN TABLE lines (key text OPTIONS (key 'true'), line text) SERVER topic_select OPTIONS (topic 'topic_select_bad', format 'text');
SELECT * FROM lines WHERE key <> 'e' ORDER BY key;
CREATE FOREIGN TABLE bytes (payload bytea) SERVER topic_select OPTIONS (topic 'topic_select_bad', format 'bytea');
SELECT encode(payload, 'escape') FROM bytes LIMIT 1;

-- clear errors: no such topic, no broker
CREATE FOREIGN TABLE missing (id int) SERVER topic_select OPTIONS (topic 'topic_select_missing');
SELECT * FROM missing;
CREATE SERVER topic_select_down FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers '127.0.0.1:9');
CREATE FOREIGN TABLE down (id int) SERVER topic_select_down OPTIONS (topic 't');
\set VERBOSITY sqlstate
SELECT * FROM down;
SET statement_timeout = '1s';
SELECT * FROM down;
RESET statement_timeout;
\set VERBOSITY default

-- a role needs no password to be known, but its rights on the table
CREATE ROLE topic_select_user;
GRANT USAGE ON SCHEMA topic_select TO topic_select_user;
SET ROLE topic_select_user;
SELECT count(*) FROM stream;
RESET ROLE;
GRANT SELECT ON stream TO topic_select_user;
SET ROLE topic_select_user;
SELECT count(*) FROM stream;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA topic_select CASCADE;
DROP SERVER topic_select, topic_select_down;
DROP ROLE topic_select_user;
