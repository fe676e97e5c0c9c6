-- DROP in all its forms: what goes with a continuous view, and what a view goes with. No broker is needed.
CREATE SCHEMA view_drop;
SET search_path = view_drop;
CREATE SERVER view_drop FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE a (id bigint, at timestamptz) SERVER view_drop OPTIONS (topic 'view_drop_a', event_time 'at');
CREATE FOREIGN TABLE b (id bigint, at timestamptz) SERVER view_drop OPTIONS (topic 'view_drop_b', event_time 'at');
CREATE FUNCTION state() RETURNS TABLE (views bigint, pipelines bigint, relations bigint) LANGUAGE sql AS $$
  SELECT (SELECT count(*) FROM kafka_state.view WHERE relation::text LIKE 'view_drop.%' OR relation::text ~ '^v\d'),
         (SELECT count(*) FROM kafka_state.pipeline WHERE name LIKE 'view_drop%'),
         (SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'kafka_state'::regnamespace AND c.relkind IN ('r', 'v')
          AND c.relname ~ '\d$' AND NOT EXISTS (SELECT FROM kafka_state.pipeline p WHERE c.relname = 'outbox_' || p.pipeline AND p.name NOT LIKE 'view_drop%')
          AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_class r ON r.oid = d.refobjid WHERE d.objid = c.oid AND d.deptype = 'i'
                          AND d.refclassid = 'pg_class'::regclass AND r.relnamespace <> 'view_drop'::regnamespace))
$$;
CREATE FUNCTION make() RETURNS void LANGUAGE sql AS $$
  SELECT kafka.create_view('view_drop.v1', 'SELECT a.id, b.at FROM view_drop.a JOIN view_drop.b ON a.id = b.id AND b.at BETWEEN a.at AND a.at + interval ''1 hour''',
                           '{"pipeline": "view_drop_1"}', false);
  SELECT kafka.create_view('view_drop.v2', 'SELECT id, count(*) AS n FROM view_drop.b GROUP BY id', '{"pipeline": "view_drop_2"}', false);
$$;

SELECT make();
SELECT * FROM state();
DROP MATERIALIZED VIEW v1;
SELECT * FROM state();
DROP TABLE v2;
SELECT * FROM state();

-- a list of both kinds, and one that is missing
SELECT make();
CREATE MATERIALIZED VIEW plain AS SELECT 1 AS one;
DROP MATERIALIZED VIEW v1, plain, v2;
SELECT * FROM state();
DROP MATERIALIZED VIEW v1;
DROP MATERIALIZED VIEW IF EXISTS v1;

-- rolled back, and in a subtransaction
SELECT make();
BEGIN;
DROP MATERIALIZED VIEW v1;
ROLLBACK;
BEGIN;
SAVEPOINT s;
DROP MATERIALIZED VIEW v1, v2;
SELECT * FROM state();
ROLLBACK TO s;
COMMIT;
SELECT * FROM state();

-- a topic under a view: only with CASCADE, which takes the view
DROP FOREIGN TABLE b;
\set VERBOSITY terse
DROP FOREIGN TABLE a CASCADE;
\set VERBOSITY default
SELECT * FROM state();
SELECT relation FROM kafka_state.view WHERE relation::text LIKE 'v_';
-- parts of a view cannot be dropped alone
SELECT format('DROP VIEW %s', definition) AS command FROM kafka_state.view WHERE relation = 'v2'::regclass \gset
\set VERBOSITY sqlstate
:command;
\set VERBOSITY default
DROP TRIGGER kafka_refuse_write ON v2;
SELECT format('DROP TABLE kafka_state.outbox_%s', pipeline) AS command FROM kafka_state.view WHERE relation = 'v2'::regclass \gset
:command;

-- a view under a view, a reader, a dropped schema, a dropped role
CREATE MATERIALIZED VIEW v3 WITH (kafka.continuous, kafka.pipeline = 'view_drop_3') AS SELECT id, at FROM b WITH NO DATA;
CREATE MATERIALIZED VIEW v4 WITH (kafka.continuous) AS SELECT id FROM v3;
CREATE VIEW reader AS SELECT * FROM v3;
DROP MATERIALIZED VIEW v3;
\set VERBOSITY terse
DROP MATERIALIZED VIEW v3 CASCADE;
\set VERBOSITY default
SELECT relation FROM kafka_state.view WHERE relation::text LIKE 'v_';
CREATE ROLE view_drop_user;
GRANT ALL ON SCHEMA view_drop TO view_drop_user;
GRANT ALL ON b TO view_drop_user;
GRANT USAGE ON FOREIGN SERVER view_drop TO view_drop_user;
SET ROLE view_drop_user;
CREATE MATERIALIZED VIEW v5 WITH (kafka.continuous, kafka.pipeline = 'view_drop_5') AS SELECT id, at FROM b WITH NO DATA;
RESET ROLE;
DROP OWNED BY view_drop_user;
DROP ROLE view_drop_user;
SELECT * FROM state();
CREATE MATERIALIZED VIEW v6 WITH (kafka.continuous, kafka.pipeline = 'view_drop_6') AS SELECT id, at FROM b WITH NO DATA;
-- the place that says how a pipeline's output fares is given back with it, also where its publisher goes too
SELECT kafka_test.poll($$EXISTS (SELECT FROM kafka_state.processes() WHERE kind = 'output')$$);
SET client_min_messages = warning;
DROP SCHEMA view_drop CASCADE;
SELECT count(*) FROM kafka_state.pipeline WHERE name LIKE 'view_drop%';
DROP SERVER view_drop;
SELECT kafka_test.poll($$NOT EXISTS (SELECT FROM kafka_state.processes() WHERE kind = 'output')$$);
SELECT id FROM kafka_state.processes() WHERE kind = 'output';
