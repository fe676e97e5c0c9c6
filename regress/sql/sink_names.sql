-- The topic table of a trigger, or of an unstored view, while it is renamed, moved and dropped; and what is lost with a server or a pipeline. No broker is needed.
CREATE SCHEMA sink_names;
SET search_path = sink_names;
CREATE SERVER sink_names FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE emails (id int) SERVER sink_names OPTIONS (topic 'sink_names_emails');
CREATE FOREIGN TABLE orders (id int) SERVER sink_names OPTIONS (topic 'sink_names_orders');
CREATE TABLE t (id int) PARTITION BY LIST (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
CREATE TRIGGER publish AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION kafka.publish('emails');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = 'sink_names_v') AS SELECT id FROM orders;
SELECT kafka.attach_sink('v', 'emails');
CREATE VIEW u WITH (kafka.continuous, kafka.pipeline = 'sink_names_u') AS SELECT id FROM orders;
SELECT kafka.attach_sink('u', 'emails');
CREATE FUNCTION sinks() RETURNS TABLE (relation regclass, topic regclass, arguments text) LANGUAGE sql AS $$
	SELECT s.relation, s.topic, (SELECT encode(tgargs, 'escape') FROM pg_trigger WHERE tgrelid = s.relation AND tgname = s.trigger)
	FROM kafka.sinks s ORDER BY s.relation::text COLLATE "C" $$;

-- a name, a schema, the name of a schema
ALTER FOREIGN TABLE emails RENAME TO "e-mails";
SELECT * FROM sinks();
CREATE SCHEMA sink_names_2;
ALTER FOREIGN TABLE "e-mails" SET SCHEMA sink_names_2;
SELECT * FROM sinks();
ALTER SCHEMA sink_names_2 RENAME TO sink_names_3;
SELECT * FROM sinks();
ALTER TABLE sink_names_3."e-mails" RENAME TO mails;
CREATE FOREIGN TABLE emails (id int) SERVER sink_names OPTIONS (topic 'sink_names_others');
INSERT INTO t VALUES (1);
SELECT position('sink_names_emails'::bytea in messages) > 0 AS to_emails FROM kafka_state.transaction_outbox WHERE server = 'sink_names';
BEGIN;
ALTER FOREIGN TABLE sink_names_3.mails RENAME TO letters;
INSERT INTO t VALUES (1);
ROLLBACK;
SELECT * FROM sinks();

-- DROP: what publishes to it stands in the way
DROP FOREIGN TABLE sink_names_3.mails;
BEGIN;
DROP FOREIGN TABLE sink_names_3.mails CASCADE;
ROLLBACK;
SELECT kafka.detach_sink('u', 'sink_names_3.mails');
\set VERBOSITY terse
DROP FOREIGN TABLE sink_names_3.mails CASCADE;
SELECT * FROM sinks();
INSERT INTO t VALUES (1);
-- a trigger that is replaced depends on its new topic only
CREATE FOREIGN TABLE other (id int) SERVER sink_names OPTIONS (topic 'sink_names_other');
CREATE TRIGGER publish AFTER INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION kafka.publish('emails');
CREATE OR REPLACE TRIGGER publish AFTER INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION kafka.publish('other');
DROP FOREIGN TABLE emails;
DROP FOREIGN TABLE other;
DROP TABLE t;
DROP FOREIGN TABLE other;

-- what was not published yet goes with its server, and with its pipeline
\set VERBOSITY default
CREATE FOREIGN TABLE facts (id int) SERVER sink_names OPTIONS (topic 'sink_names_facts');
SELECT format('INSERT INTO kafka_state.outbox_%s (batch, seq, messages) SELECT g, g, '''' FROM generate_series(1, 3) g', pipeline) AS command
FROM kafka_state.pipeline WHERE name = 'sink_names_v' \gset
:command;
BEGIN;
DROP MATERIALIZED VIEW v;
ROLLBACK;
INSERT INTO kafka_state.published (pipeline, batch, part, at) SELECT pipeline, 1, 0, now() FROM kafka_state.pipeline WHERE name = 'sink_names_v';
DROP MATERIALIZED VIEW v;
DROP VIEW u;
INSERT INTO facts VALUES (1);
\set VERBOSITY terse
DROP SERVER sink_names CASCADE;
SELECT count(*) FROM kafka_state.transaction_outbox WHERE server = 'sink_names';
CREATE SERVER sink_names FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
DROP SERVER sink_names;
DROP SCHEMA sink_names_3;
DROP SCHEMA sink_names CASCADE;
