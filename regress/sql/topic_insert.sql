-- INSERT, COPY and DELETE on a topic: messages that commit or roll back with the transaction, and what is refused.
\getenv broker KAFKA_BROKER
CREATE SCHEMA topic_insert;
SET search_path = topic_insert, public;
SET timezone = 'UTC';
CREATE SERVER topic_insert FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
\! kv_kafka create topic_insert_stream 1
\! kv_kafka create topic_insert_table 1
\! kv_kafka create topic_insert_pair 1
\! kv_kafka create topic_insert_last 1
CREATE FOREIGN TABLE stream (
	id int OPTIONS (key 'true'), name text, amount numeric DEFAULT 1.50, happened timestamptz, during tstzrange, tags text[],
	at timestamptz OPTIONS (metadata 'timestamp'), headers jsonb OPTIONS (metadata 'headers'), part int OPTIONS (metadata 'partition')
) SERVER topic_insert OPTIONS (topic 'topic_insert_stream');
CREATE FOREIGN TABLE latest (id int OPTIONS (key 'true'), name varchar(10)) SERVER topic_insert OPTIONS (topic 'topic_insert_table', mode 'upsert');
CREATE FOREIGN TABLE pair (a int OPTIONS (key 'true'), b text OPTIONS (key 'true'), n int) SERVER topic_insert OPTIONS (topic 'topic_insert_pair', mode 'upsert');
-- written last; when it is there, all of a server is
CREATE FOREIGN TABLE last (n int) SERVER topic_insert OPTIONS (topic 'topic_insert_last');

-- one record each; defaults, RETURNING, the columns that can be written
INSERT INTO stream (id, name, happened, during, tags, at, headers) VALUES
	(1, 'one', '2026-01-01T00:00:00.25Z', '[2026-01-01, 2026-01-02)', '{a,b}', '2026-01-01T00:00:01Z', '{"trace": "x", "none": null}');
INSERT INTO stream (id, name, at) SELECT i, 'n' || i, '2026-01-01Z' FROM generate_series(2, 3) i RETURNING id, name, amount;
COPY stream (id, name, at) FROM stdin;
4	copied	2026-01-01Z
\.
-- nothing of a transaction or a savepoint that is rolled back
BEGIN;
INSERT INTO stream (id, at) VALUES (5, '2026-01-01Z');
SAVEPOINT s;
INSERT INTO stream (id, at) VALUES (6, '2026-01-01Z');
ROLLBACK TO s;
INSERT INTO stream (id, at) VALUES (7, '2026-01-01Z');
COMMIT;
BEGIN;
INSERT INTO stream (id, at) VALUES (8, '2026-01-01Z');
ROLLBACK;
DO $$
BEGIN
	INSERT INTO topic_insert.stream (id, at) VALUES (9, '2026-01-01Z');
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
	NULL;
END $$;

-- DELETE by key writes a tombstone, whether the key is there or not
INSERT INTO latest VALUES (1, 'a'), (2, 'b'), (3, 'c');
DELETE FROM latest WHERE id = 1;
DELETE FROM latest WHERE 2::bigint = id;
PREPARE remove(int) AS DELETE FROM latest WHERE id = $1 + 1;
EXECUTE remove(98);
DELETE FROM latest WHERE id = NULL::int;
EXPLAIN (COSTS OFF) DELETE FROM latest WHERE id = 1;
EXPLAIN (COSTS OFF) INSERT INTO latest VALUES (1, 'a');
INSERT INTO pair VALUES (1, 'x', 10), (1, 'y', 11);
DELETE FROM pair WHERE b = 'x' AND a = 1;
INSERT INTO last VALUES (1);
SELECT kafka_test.poll('EXISTS (SELECT FROM last WHERE n = 1)');
-- of an upsert topic only the last message of a key is sure to be there: those of one batch become one
SELECT key, value, timestamp_ms, headers FROM kafka_test.consume('topic_insert_stream');
SELECT DISTINCT ON (key) key, value FROM kafka_test.consume('topic_insert_table') ORDER BY key, "offset" DESC;
SELECT DISTINCT ON (key) key, value FROM kafka_test.consume('topic_insert_pair') ORDER BY key, "offset" DESC;
SELECT * FROM latest;
SELECT * FROM pair;
SELECT id, name, amount, happened, during, tags, at, headers, part FROM stream ORDER BY id;

-- refused
INSERT INTO stream (id, part) VALUES (1, 0);
INSERT INTO latest (id, name) VALUES (NULL, 'x');
INSERT INTO latest (id, name) VALUES (1, 'longer than ten');
INSERT INTO latest VALUES (1, 'x') ON CONFLICT DO NOTHING;
DELETE FROM latest;
DELETE FROM latest WHERE id > 1;
DELETE FROM latest WHERE id = 1 AND name = 'a';
DELETE FROM latest WHERE id = 1 RETURNING *;
DELETE FROM latest USING pair WHERE latest.id = pair.a;
DELETE FROM pair WHERE a = 1;
DELETE FROM stream WHERE id = 1;
UPDATE latest SET name = 'x' WHERE id = 1;
UPDATE stream SET name = 'x';
TRUNCATE latest;
MERGE INTO latest USING (VALUES (1)) v(id) ON latest.id = v.id WHEN MATCHED THEN DELETE;
SELECT table_name, is_insertable_into FROM information_schema.tables WHERE table_schema = 'topic_insert' ORDER BY table_name;

-- a role needs the right to write
CREATE ROLE topic_insert_user;
GRANT USAGE ON SCHEMA topic_insert TO topic_insert_user;
SET ROLE topic_insert_user;
INSERT INTO latest VALUES (4, 'd');
RESET ROLE;
GRANT INSERT, DELETE, SELECT ON latest TO topic_insert_user;
SET ROLE topic_insert_user;
INSERT INTO latest VALUES (4, 'd');
DELETE FROM latest WHERE id = 5;
RESET ROLE;
INSERT INTO last VALUES (2);
SELECT kafka_test.poll('EXISTS (SELECT FROM last WHERE n = 2)');
SELECT DISTINCT ON (key) key, value FROM kafka_test.consume('topic_insert_table') ORDER BY key, "offset" DESC;

-- a server is renamed together with what waits to be published to it
SELECT kafka_test.poll($$NOT EXISTS (SELECT FROM kafka_state.transaction_outbox)
	AND NOT EXISTS (SELECT FROM kafka_state.transaction_batch WHERE server = 'topic_insert' AND NOT published)$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
ALTER SERVER topic_insert RENAME TO topic_insert_2;
ROLLBACK;
CREATE SERVER topic_insert_taken FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
ALTER SERVER topic_insert RENAME TO topic_insert_taken;
DROP SERVER topic_insert_taken;
BEGIN;
INSERT INTO last SELECT 3 FROM generate_series(1, 10);
INSERT INTO stream (id, at) SELECT i, '2026-01-01Z' FROM generate_series(10, 2009) i;
SELECT count(*) > 0 AS outbox_has_rows FROM kafka_state.transaction_outbox WHERE server = 'topic_insert';
ALTER SERVER topic_insert RENAME TO topic_insert_2;
COMMIT;
SELECT kafka_test.poll('EXISTS (SELECT FROM last WHERE n = 3)');
SELECT count(*) FROM last WHERE n = 3;
SELECT count(*) FROM stream WHERE id BETWEEN 10 AND 2009;
SELECT server, batch > 1 AS goes_on FROM kafka_state.transaction_batch WHERE server LIKE 'topic\_insert%';
INSERT INTO last VALUES (4);
SELECT kafka_test.poll('EXISTS (SELECT FROM last WHERE n = 4)');

-- what a transaction has written to a server that it drops goes with it
CREATE SERVER topic_insert_gone FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE gone (n int) SERVER topic_insert_gone OPTIONS (topic 'topic_insert_gone');
BEGIN;
INSERT INTO last VALUES (5);
INSERT INTO gone VALUES (1);
DROP FOREIGN TABLE gone;
DROP SERVER topic_insert_gone;
COMMIT;
SELECT kafka_test.poll('EXISTS (SELECT FROM last WHERE n = 5)');

SET client_min_messages = warning;
DROP SCHEMA topic_insert CASCADE;
DROP SERVER topic_insert_2;
DROP ROLE topic_insert_user;
