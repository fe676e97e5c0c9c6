-- CREATE MATERIALIZED VIEW ... WITH (kafka.continuous) and kafka.create_view: what is made, for whom, with which options.
-- The broker of these topics is not there: no statement here needs it.
CREATE SCHEMA view_create;
SET search_path = view_create;
CREATE SERVER view_create FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE SERVER view_create_other FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (id bigint, customer int, amount numeric(12,2), state text, at timestamptz)
  SERVER view_create OPTIONS (topic 'view_create_orders', event_time 'at');
CREATE FOREIGN TABLE payments (id bigint, order_id bigint, at timestamptz)
  SERVER view_create OPTIONS (topic 'view_create_payments', event_time 'at');
CREATE FOREIGN TABLE elsewhere (id bigint, at timestamptz)
  SERVER view_create_other OPTIONS (topic 'view_create_elsewhere', event_time 'at');

-- Types, type modifiers, collations and given names of columns; a key for groups; the user's storage options.
CREATE MATERIALIZED VIEW rows (order_id, how_much) WITH (kafka.continuous) AS
  SELECT id, amount, state COLLATE "C" AS state, at FROM orders WHERE amount > 0 WITH NO DATA;
\d+ rows
CREATE MATERIALIZED VIEW sums WITH (kafka.continuous, fillfactor = 60) AS
  SELECT customer, count(*) AS orders, sum(amount) AS total FROM orders GROUP BY customer WITH NO DATA;
\d+ sums
CREATE MATERIALIZED VIEW one_row WITH (kafka.continuous) AS SELECT count(*) AS orders FROM orders WITH NO DATA;
SELECT * FROM one_row;
CREATE MATERIALIZED VIEW joined WITH (kafka.continuous, kafka.grace = '1 minute') AS
  SELECT o.id, p.at FROM orders o JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour' WITH NO DATA;
SELECT v.relation, v.options, c.relname ~ '^definition_\d+$' AS definition_name, c.relowner = r.relowner AS same_owner
FROM kafka_state.view v JOIN pg_class c ON c.oid = v.definition JOIN pg_class r ON r.oid = v.relation
WHERE r.relnamespace = 'view_create'::regnamespace ORDER BY v.view;
-- the joined view's buffers are unlogged tables of its owner that go with it
SELECT regexp_replace(c.relname, '\d+_', 'N_') AS relation, c.relpersistence, d.deptype
FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refobjid = 'joined'::regclass AND d.deptype = 'i' AND c.relkind = 'r' ORDER BY 1;

-- Direct writes are refused.
INSERT INTO sums VALUES (1, 2, 3);
UPDATE sums SET total = 0;
DELETE FROM sums;
TRUNCATE sums;
REFRESH MATERIALIZED VIEW sums;
-- So are those to a view's state, whether a crash empties it or not.
SELECT d.objid::regclass AS buffer FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refobjid = 'joined'::regclass AND d.deptype = 'i' AND c.relpersistence = 'u' ORDER BY c.relname LIMIT 1 \gset
\set VERBOSITY sqlstate
INSERT INTO :buffer SELECT * FROM :buffer;
UPDATE :buffer SET kv_time = NULL;
DELETE FROM :buffer;
TRUNCATE :buffer;
\set VERBOSITY default

-- Names.
CREATE MATERIALIZED VIEW sums WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW IF NOT EXISTS sums WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v (a, b) WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW nowhere.v WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id, id FROM orders;

-- Options: each is checked, none is ignored.
CREATE MATERIALIZED VIEW v WITH (kafka.continuos) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.nonsense = 1) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.grace = '1 minute') AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous = false) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous = perhaps) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.continuous) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 month') AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '-1 s') AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = 'soon') AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = final) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = sometimes) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 day') AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.start = 'infinity') AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = '') AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.event_time = 'nope') AS SELECT id, at FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, no_such_option = 1) AS SELECT id FROM orders;

-- Other forms of the statement.
EXPLAIN CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW plain AS SELECT 1 AS one;
REFRESH MATERIALIZED VIEW plain;
DROP MATERIALIZED VIEW plain;

-- The function does the same; positions point into its argument.
SELECT kafka.create_view('view_create.by_function', 'SELECT id, at FROM orders', '{"start": "latest"}', false);
SELECT options FROM kafka.views WHERE view = 'by_function'::regclass;
SELECT kafka.create_view('v', 'SELECT id FROM orders LIMIT 1');
SELECT kafka.create_view('v', 'SELECT id FROM');
SELECT kafka.create_view('v', 'SELECT 1; SELECT 2');
SELECT kafka.create_view('v', 'DELETE FROM orders');
SELECT kafka.create_view('v', 'SELECT id FROM orders', '[1]');
SELECT kafka.create_view('v', 'SELECT id FROM orders', '{"grace": 1}');

-- Pipelines: shared by name within one transaction; views over views join their pipeline; one server, one owner.
BEGIN;
CREATE MATERIALIZED VIEW shared_1 WITH (kafka.continuous, kafka.pipeline = 'view_create_shared') AS SELECT id, at FROM orders WITH NO DATA;
CREATE MATERIALIZED VIEW shared_2 WITH (kafka.continuous, kafka.pipeline = 'view_create_shared') AS SELECT id, at FROM payments WITH NO DATA;
SAVEPOINT s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = 'view_create_shared') AS SELECT id FROM elsewhere WITH NO DATA;
ROLLBACK TO s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = 'view_create_rolled_back') AS SELECT id FROM elsewhere WITH NO DATA;
ROLLBACK TO s;
CREATE MATERIALIZED VIEW over_1 WITH (kafka.continuous) AS SELECT id, at FROM shared_1 WHERE id > 5;
COMMIT;
SELECT pipeline, views, state FROM kafka.pipelines WHERE pipeline LIKE 'view_create%' ORDER BY pipeline;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = 'view_create_shared') AS SELECT id FROM orders;
-- where a topic is read from is the pipeline's business, and that of the view which reads it
BEGIN;
CREATE MATERIALIZED VIEW start_1 WITH (kafka.continuous, kafka.pipeline = 'view_create_start', kafka.start = 'latest') AS SELECT id, at FROM orders WITH NO DATA;
CREATE MATERIALIZED VIEW start_2 WITH (kafka.continuous, kafka.pipeline = 'view_create_start', kafka.start = 'latest') AS SELECT id FROM orders WITH NO DATA;
CREATE MATERIALIZED VIEW start_3 WITH (kafka.continuous, kafka.pipeline = 'view_create_start') AS SELECT id FROM payments WITH NO DATA;
SAVEPOINT s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.start = 'latest') AS SELECT id FROM start_1 WITH NO DATA;
ROLLBACK TO s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = 'view_create_start') AS SELECT id FROM orders WITH NO DATA;
ROLLBACK;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.pipeline = 'another') AS SELECT id FROM shared_1;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM shared_1 WITH NO DATA;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
  SELECT s.id FROM shared_1 s JOIN by_function b ON b.id = s.id AND b.at = s.at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
  SELECT s.id FROM shared_1 s JOIN payments p ON p.order_id = s.id AND p.at = s.at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
  SELECT o.id FROM orders o JOIN elsewhere e ON e.id = o.id AND e.at = o.at;

-- Rights: those of whoever creates the view, and of the owners of plain views it reads.
CREATE ROLE view_create_user;
CREATE VIEW opened AS SELECT id, at FROM payments;
GRANT SELECT ON opened TO view_create_user;
GRANT USAGE ON SCHEMA view_create TO view_create_user;
SET ROLE view_create_user;
CREATE MATERIALIZED VIEW view_create.v WITH (kafka.continuous) AS SELECT id FROM view_create.orders;
RESET ROLE;
GRANT CREATE ON SCHEMA view_create TO view_create_user;
SET ROLE view_create_user;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM opened;
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER view_create TO view_create_user;
SET ROLE view_create_user;
CREATE MATERIALIZED VIEW theirs WITH (kafka.continuous) AS SELECT id, at FROM opened WITH NO DATA;
SELECT view, owner FROM kafka.views;
SELECT pipeline FROM kafka.pipelines;
RESET ROLE;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id FROM theirs;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA view_create CASCADE;
DROP SERVER view_create CASCADE;
DROP SERVER view_create_other CASCADE;
DROP ROLE view_create_user;
SELECT count(*) FROM kafka_state.pipeline WHERE name LIKE 'view_create%';
