-- ALTER and COMMENT on a continuous view and on topics under it: what works as on any table, and what is refused.
CREATE SCHEMA view_alter;
SET search_path = view_alter;
CREATE SERVER view_alter FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE t (id bigint, k int, at timestamptz, unused text)
  SERVER view_alter OPTIONS (topic 'view_alter_t', event_time 'at');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = 'view_alter') AS SELECT k, count(*) AS n FROM t GROUP BY k WITH NO DATA;

-- As a materialized view to its user ...
COMMENT ON MATERIALIZED VIEW v IS 'counts';
SELECT obj_description('v'::regclass);
ALTER MATERIALIZED VIEW v SET (autovacuum_enabled = false);
ALTER MATERIALIZED VIEW v ALTER COLUMN n SET STATISTICS 500;
ALTER MATERIALIZED VIEW v RENAME TO counts;
CREATE SCHEMA view_alter_2;
ALTER MATERIALIZED VIEW counts SET SCHEMA view_alter_2;
SELECT view, pipeline FROM kafka.views WHERE pipeline = 'view_alter';
ALTER MATERIALIZED VIEW view_alter_2.counts SET SCHEMA view_alter;
ALTER MATERIALIZED VIEW counts RENAME TO v;
-- ... and a table to Postgres: indexes, constraints, row security, AFTER triggers
CREATE INDEX ON v (n);
ALTER TABLE v ADD CONSTRAINT positive CHECK (n > 0);
ALTER TABLE v DROP CONSTRAINT positive;
ALTER TABLE v ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON v USING (k = 1);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER after_row AFTER INSERT OR UPDATE ON v FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE v DISABLE TRIGGER after_row;

-- What would break the maintenance.
ALTER TABLE v ADD COLUMN c int;
ALTER TABLE v DROP COLUMN n;
ALTER TABLE v ALTER COLUMN n TYPE text;
ALTER TABLE v ALTER COLUMN n SET DEFAULT 1;
ALTER TABLE v SET UNLOGGED;
ALTER TABLE v FORCE ROW LEVEL SECURITY;
ALTER TABLE v DROP CONSTRAINT v_k_key;
ALTER TABLE v INHERIT t;
ALTER MATERIALIZED VIEW v RENAME COLUMN n TO m;
ALTER TABLE v RENAME COLUMN n TO m;
ALTER TABLE v DISABLE TRIGGER kafka_refuse_write;
ALTER TABLE v DISABLE TRIGGER ALL;
ALTER TRIGGER kafka_refuse_write ON v RENAME TO harmless;
CREATE TRIGGER before_row BEFORE INSERT ON v FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE RULE r AS ON INSERT TO v DO INSTEAD NOTHING;
-- rows written to a parent would be written to the view
CREATE TABLE parent (LIKE v) PARTITION BY LIST (k);
ALTER TABLE parent ATTACH PARTITION v DEFAULT;
CREATE TABLE child (LIKE v);
ALTER TABLE child INHERIT v;
CREATE TABLE heir () INHERITS (v);
CREATE TABLE part PARTITION OF v DEFAULT;
CREATE FOREIGN TABLE heir () INHERITS (v) SERVER view_alter OPTIONS (topic 'heir');

-- Owner: what belongs to the view follows.
CREATE ROLE view_alter_user;
GRANT ALL ON SCHEMA view_alter TO view_alter_user;
ALTER MATERIALIZED VIEW v OWNER TO view_alter_user;
SELECT regexp_replace(c.relname, '\d+', 'N') AS relation, c.relowner::regrole
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.refobjid = 'v'::regclass AND d.deptype = 'i' AND d.classid = 'pg_class'::regclass AND c.relnamespace = 'kafka_state'::regnamespace
ORDER BY 1;
REASSIGN OWNED BY view_alter_user TO CURRENT_USER;
SELECT DISTINCT c.relowner::regrole = current_user::regrole AS mine
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.refobjid = 'v'::regclass AND d.deptype = 'i' AND d.classid = 'pg_class'::regclass AND c.relnamespace = 'kafka_state'::regnamespace;

-- what the engine keeps of a view is the owner's by name only
GRANT USAGE ON FOREIGN SERVER view_alter TO view_alter_user;
GRANT SELECT ON t TO view_alter_user;
GRANT ALL ON SCHEMA view_alter TO view_alter_user;
SET ROLE view_alter_user;
CREATE MATERIALIZED VIEW his WITH (kafka.continuous, kafka.pipeline = 'view_alter_his') AS SELECT k, avg(id) AS mean FROM t GROUP BY k WITH NO DATA;
SELECT oid::regclass AS state FROM pg_class WHERE relnamespace = 'kafka_state'::regnamespace AND relowner = 'view_alter_user'::regrole AND relkind = 'r' \gset
SELECT oid::regclass AS definition FROM pg_class WHERE relnamespace = 'kafka_state'::regnamespace AND relowner = 'view_alter_user'::regrole AND relkind = 'v' \gset
SELECT indexrelid::regclass AS index FROM pg_index WHERE indrelid = :'state'::regclass \gset
\set VERBOSITY sqlstate
ALTER TABLE :state DISABLE TRIGGER ALL;
ALTER TABLE :state ADD COLUMN more int;
ALTER TABLE :state SET SCHEMA view_alter;
ALTER TABLE :state RENAME COLUMN k TO l;
ALTER VIEW :definition RENAME COLUMN mean TO median;
ALTER VIEW :definition SET (security_barrier = true);
CREATE RULE r AS ON INSERT TO :state DO INSTEAD NOTHING;
CREATE TRIGGER t BEFORE INSERT ON :state FOR EACH ROW EXECUTE FUNCTION nothing();
DROP TRIGGER kafka_refuse_write ON :state;
DROP INDEX :index;
CREATE TABLE heir () INHERITS (:state);
\set VERBOSITY default
ALTER TABLE his RENAME TO hers;
DROP MATERIALIZED VIEW hers;
RESET ROLE;
-- Topics under a view: what they are cannot change, how they are read can; names in the definition follow.
ALTER FOREIGN TABLE t OPTIONS (SET topic 'another');
ALTER FOREIGN TABLE t OPTIONS (ADD mode 'upsert');
ALTER FOREIGN TABLE t OPTIONS (DROP event_time);
ALTER FOREIGN TABLE t OPTIONS (ADD on_error 'skip');
ALTER FOREIGN TABLE t DROP COLUMN unused;
ALTER FOREIGN TABLE t DROP COLUMN k;
\set VERBOSITY sqlstate
ALTER FOREIGN TABLE t ALTER COLUMN k TYPE bigint;
\set VERBOSITY default
ALTER FOREIGN TABLE t ADD COLUMN more text;
ALTER FOREIGN TABLE t ADD COLUMN inner_one text OPTIONS (path 'a.b'), ADD COLUMN place bigint OPTIONS (metadata 'offset');
ALTER FOREIGN TABLE t RENAME COLUMN k TO k2;
ALTER FOREIGN TABLE t ALTER COLUMN k OPTIONS (ADD path 'other');
ALTER FOREIGN TABLE t ALTER COLUMN k OPTIONS (ADD path 'k');
ALTER FOREIGN TABLE t RENAME COLUMN k TO k2;
ALTER FOREIGN TABLE t RENAME TO t2;
SELECT definition FROM kafka.views WHERE view = 'v'::regclass;
-- keys and event times that the view does not select are what its rows were told apart by and put in order
CREATE FOREIGN TABLE u (a int OPTIONS (key 'true'), b int OPTIONS (key 'true'), name text, at timestamptz, x int OPTIONS (path 'b'))
  SERVER view_alter OPTIONS (topic 'view_alter_u', mode 'upsert', event_time 'at');
CREATE MATERIALIZED VIEW w WITH (kafka.continuous, kafka.pipeline = 'view_alter_w') AS SELECT t2.id, u.name, u.x FROM t2 JOIN u ON u.b = t2.k2 WITH NO DATA;
ALTER FOREIGN TABLE u DROP COLUMN a;
ALTER FOREIGN TABLE u ALTER COLUMN a TYPE bigint;
ALTER FOREIGN TABLE u ALTER COLUMN at TYPE timestamp;
ALTER FOREIGN TABLE u ADD COLUMN c int OPTIONS (key 'true');
ALTER FOREIGN TABLE u RENAME COLUMN a TO c;
ALTER FOREIGN TABLE u ALTER COLUMN a OPTIONS (ADD path 'a');
ALTER FOREIGN TABLE u RENAME COLUMN x TO y;
\set VERBOSITY sqlstate
ALTER FOREIGN TABLE u ALTER COLUMN name TYPE varchar;
\set VERBOSITY default
-- rows of children are none of the topic's records
CREATE TABLE heir () INHERITS (u);
CREATE FOREIGN TABLE heir () INHERITS (u) SERVER view_alter OPTIONS (topic 'heir');
CREATE TABLE heir (LIKE u);
ALTER TABLE heir INHERIT u;
-- a parent's columns are those of the topics among its partitions
CREATE TABLE records (k int, v text, kind int) PARTITION BY LIST (kind);
CREATE FOREIGN TABLE part (k int OPTIONS (key 'true'), v text, kind int) SERVER view_alter OPTIONS (topic 'view_alter_part', mode 'upsert');
ALTER TABLE records ATTACH PARTITION part DEFAULT;
CREATE MATERIALIZED VIEW of_part WITH (kafka.continuous, kafka.pipeline = 'view_alter_part') AS SELECT p.v, t2.id FROM t2 LEFT JOIN part p ON p.kind = t2.k2 WITH NO DATA;
ALTER TABLE records RENAME COLUMN v TO w;
ALTER TABLE records DROP COLUMN k;
ALTER TABLE records ALTER COLUMN k TYPE bigint;
ALTER TABLE records ADD COLUMN more int;
ALTER TABLE records DETACH PARTITION part;
ALTER TABLE records RENAME COLUMN v TO w;
-- what has no use for the name of its key field may rename it
CREATE FOREIGN TABLE named (k int OPTIONS (key 'true'), v text) SERVER view_alter OPTIONS (topic 'view_alter_named', mode 'upsert');
CREATE MATERIALIZED VIEW x WITH (kafka.continuous, kafka.pipeline = 'view_alter_x') AS SELECT k, v FROM named WITH NO DATA;
ALTER FOREIGN TABLE named ALTER COLUMN k OPTIONS (ADD path 'k');
ALTER FOREIGN TABLE named RENAME COLUMN k TO id;
-- in a session that replays changes a dropped view is forgotten as well
SET session_replication_role = replica;
DROP MATERIALIZED VIEW x;
RESET session_replication_role;
SELECT count(*) FROM kafka_state.pipeline WHERE name = 'view_alter_x';
-- an option that does not go with the others is refused at once, in a table that nobody reads
CREATE FOREIGN TABLE free (id bigint, at timestamptz) SERVER view_alter OPTIONS (topic 'view_alter_free', event_time 'at');
ALTER FOREIGN TABLE free OPTIONS (SET event_time 'nope');
ALTER FOREIGN TABLE free OPTIONS (SET topic 'another');


SET client_min_messages = warning;
DROP SCHEMA view_alter CASCADE;
DROP SCHEMA view_alter_2;
DROP SERVER view_alter;
DROP ROLE view_alter_user;
