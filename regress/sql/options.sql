-- Options of servers, user mappings, topics and columns: who may set what, and the words in which a wrong one is refused.
CREATE SCHEMA options;
SET search_path = options, public;
\set VERBOSITY default

-- servers: librdkafka checks name and value, its words are the DETAIL
CREATE SERVER options_none FOREIGN DATA WRAPPER kafka;
CREATE SERVER options_name FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', bootstrap_serves 'h:1');
CREATE SERVER options_value FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', linger_ms 'soon');
CREATE SERVER options_range FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', "socket.timeout.ms" '1');
CREATE SERVER options_word FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', compression_codec 'rar');
CREATE SERVER options_twice FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', "bootstrap.servers" 'h:2');

-- what nobody may set: it loads code, or the engine owns it
CREATE SERVER options_code FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', plugin_library_paths 'evil');
CREATE SERVER options_shell FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', sasl_kerberos_kinit_cmd 'touch /tmp/x');
CREATE SERVER options_engine FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', ssl_engine_location 'evil.so');
CREATE SERVER options_mock FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', test_mock_num_brokers '3');
CREATE SERVER options_callback FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', error_cb '1');
CREATE SERVER options_group FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', group_id 'mine');
CREATE SERVER options_txn FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', transactional_id 'mine');
CREATE SERVER options_isolation FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', isolation_level 'read_uncommitted');
CREATE SERVER options_auto FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', enable_auto_commit 'true');
CREATE SERVER options_reset FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', auto_offset_reset 'earliest');

-- secrets stand in user mappings only, and are in no message
CREATE SERVER options_secret FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', sasl_password 'hidden');
CREATE SERVER options_key FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', ssl_key_password 'hidden');
CREATE SERVER options FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', security_protocol 'sasl_plaintext', "sasl.mechanism" 'PLAIN');
CREATE USER MAPPING FOR CURRENT_USER SERVER options OPTIONS (linger_ms '7');
CREATE USER MAPPING FOR CURRENT_USER SERVER options OPTIONS (sasl_username 'me', sasl_password 'hidden');
ALTER USER MAPPING FOR CURRENT_USER SERVER options OPTIONS (ADD ssl_key_pem 'not a key: hidden');
ALTER SERVER options OPTIONS (ADD batch_num_messages '0');
ALTER SERVER options OPTIONS (ADD linger_ms '7', SET bootstrap_servers 'h:1,h:2');

-- a role that is no superuser: the allowlist, and no file of the server machine
CREATE ROLE options_user;
GRANT USAGE ON FOREIGN DATA WRAPPER kafka TO options_user;
GRANT ALL ON SCHEMA options TO options_user;
SET ROLE options_user;
CREATE SERVER options_user FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'h:1', client_id 'mine', compression_codec 'zstd');
ALTER SERVER options_user OPTIONS (ADD debug 'all');
ALTER SERVER options_user OPTIONS (ADD ssl_ca_location '/etc/passwd');
ALTER SERVER options_user OPTIONS (ADD enable_ssl_certificate_verification 'false');
CREATE USER MAPPING FOR CURRENT_USER SERVER options_user OPTIONS (ssl_key_location '/etc/shadow');
CREATE USER MAPPING FOR CURRENT_USER SERVER options_user OPTIONS (sasl_username 'me', sasl_password 'hidden');
RESET ROLE;
ALTER SERVER options_user OPTIONS (ADD enable_ssl_certificate_verification 'false');

-- topics
CREATE FOREIGN TABLE t (a int) SERVER options;
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topics 't');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 'a topic');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', format 'xml');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', format 'avro');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', format 'protobuf');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', format 'csv');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', envelope 'debezium');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', registry 'http://r');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', mode 'compact');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', key_format 'long');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', on_error 'ignore');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', start 'yesterday');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', start '2026-01-01 00:00:00');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', start '2026-99-01T00:00:00Z');
CREATE FOREIGN DATA WRAPPER options_other VALIDATOR kafka.fdw_validator OPTIONS (a '1');

-- columns
CREATE FOREIGN TABLE t (a int OPTIONS (kee 'true')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (key 'perhaps')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (path 'a..b')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (metadata 'topic')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (metadata 'partition', key 'true')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a text OPTIONS (metadata 'key', path 'a')) SERVER options OPTIONS (topic 't');

-- the table as a whole: checked at CREATE and ALTER
CREATE FOREIGN TABLE t (a bigint OPTIONS (metadata 'partition')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (metadata 'offset')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a date OPTIONS (metadata 'timestamp')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a json OPTIONS (metadata 'headers')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (metadata 'value')) SERVER options OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', event_time 'at');
CREATE FOREIGN TABLE t (a int) SERVER options OPTIONS (topic 't', event_time 'a');
CREATE FOREIGN TABLE t (a text OPTIONS (path 'a')) SERVER options OPTIONS (topic 't', format 'text');
CREATE FOREIGN TABLE t (a int OPTIONS (key 'true'), b int OPTIONS (key 'true')) SERVER options OPTIONS (topic 't', key_format 'kafka');
CREATE FOREIGN TABLE t (a numeric OPTIONS (key 'true')) SERVER options OPTIONS (topic 't', key_format 'kafka');
CREATE FOREIGN TABLE t (a int, at timestamptz) SERVER options OPTIONS (topic 't', event_time 'at', start '2026-01-01T00:00:00+02:00');
ALTER FOREIGN TABLE t DROP COLUMN at;
ALTER FOREIGN TABLE t ALTER COLUMN at TYPE text;
ALTER FOREIGN TABLE t RENAME COLUMN at TO happened;
ALTER FOREIGN TABLE t ALTER COLUMN a OPTIONS (ADD metadata 'offset');
ALTER FOREIGN TABLE t ALTER COLUMN a OPTIONS (ADD key 'true');
ALTER FOREIGN TABLE t OPTIONS (DROP topic);
-- what a later ALTER may add is missed at first use
CREATE FOREIGN TABLE u (a int, b text) SERVER options OPTIONS (topic 'u', mode 'upsert');
EXPLAIN SELECT * FROM u;
CREATE FOREIGN TABLE x (a text, b text) SERVER options OPTIONS (topic 'x', format 'text');
EXPLAIN SELECT * FROM x;
CREATE FOREIGN TABLE y (a text) SERVER options OPTIONS (topic 'y', format 'bytea');
EXPLAIN SELECT * FROM y;
-- a change of options is seen at once
ALTER FOREIGN TABLE u ALTER COLUMN a OPTIONS (ADD key 'true');
EXPLAIN (COSTS OFF) SELECT * FROM u;
ALTER FOREIGN TABLE u OPTIONS (SET topic 'u2');
EXPLAIN (COSTS OFF) SELECT * FROM u;

SET client_min_messages = warning;
DROP SCHEMA options CASCADE;
DROP SERVER options, options_user CASCADE;
DROP OWNED BY options_user;
DROP ROLE options_user;
