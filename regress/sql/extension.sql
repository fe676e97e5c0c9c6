-- The extension as a whole: what it consists of, what it grants, how it goes and comes back, and a database that has it.

-- Every object has a comment.
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'kafka_views')
  AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass, 'pg_foreign_data_wrapper'::regclass,
                    'pg_event_trigger'::regclass)
  AND NOT EXISTS (SELECT FROM pg_class c WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'S')
  AND obj_description(d.objid, d.classid::regclass::name) IS NULL
ORDER BY 1;

-- Users may look at the views and nothing else; the engine's tables are nobody's.
SELECT c.oid::regclass AS relation, c.relkind
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
WHERE c.relnamespace IN ('kafka'::regnamespace, 'kafka_state'::regnamespace) AND a.grantee = 0
ORDER BY c.oid::regclass::text;

-- Sessions may not change what the engine does, only what they create; reloads may change most of it.
SELECT name, context, unit, vartype FROM pg_settings WHERE name LIKE 'kafka.%' ORDER BY name;
SET kafka.no_such_setting = 1;

-- What pg_dump carries: all state but the sentinel, which is about this cluster's crashes.
SELECT c.oid::regclass AS without_dump
FROM pg_class c
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'kafka_views'
WHERE c.relkind IN ('r', 'S') AND NOT c.oid = ANY (e.extconfig)
ORDER BY 1;

-- The commands are refused clearly where the extension is not installed; DROP and CREATE DATABASE work beside running processes.
\set database :DBNAME
CREATE DATABASE extension_regress;
\c extension_regress
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT 1 AS one;
CREATE EXTENSION kafka_views;
CREATE SERVER s FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE t (a int, at timestamptz) SERVER s OPTIONS (topic 'extension_t', event_time 'at');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT a, at FROM t WITH NO DATA;
SELECT view, pipeline, paused FROM kafka.views;
DROP EXTENSION kafka_views;
\set VERBOSITY terse
DROP EXTENSION kafka_views CASCADE;
\set VERBOSITY default
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'kafka%';
CREATE EXTENSION kafka_views;
CREATE SERVER s FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE t (a int, at timestamptz) SERVER s OPTIONS (topic 'extension_t', event_time 'at');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT a, at FROM t WITH NO DATA;
\c :database
ALTER DATABASE extension_regress RENAME TO extension_regress2;
CREATE DATABASE extension_copy TEMPLATE extension_regress2;
\c extension_copy
-- A copy is not the original: it starts nothing until somebody decides.
SELECT (SELECT database FROM kafka_state.identity) = (SELECT oid FROM pg_database WHERE datname = current_database()) AS is_me;
SELECT token AS before FROM kafka_state.pipeline \gset
SELECT kafka.fork();
SELECT (SELECT database FROM kafka_state.identity) = (SELECT oid FROM pg_database WHERE datname = current_database()) AS is_me,
       (SELECT token FROM kafka_state.pipeline) <> :'before' AS is_another_pipeline;
DROP MATERIALIZED VIEW v;
SELECT count(*) FROM kafka_state.pipeline;
\c :database
DROP DATABASE extension_copy;
DROP DATABASE extension_regress2;
