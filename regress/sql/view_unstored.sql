-- CREATE VIEW ... WITH (kafka.continuous): a continuous view whose rows are not stored. What it is, what is refused, what
-- becomes of it. The broker of these topics is not there: no statement here needs it, but for the section that says so.
CREATE SCHEMA view_unstored;
SET search_path = view_unstored;
CREATE SERVER view_unstored FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE SERVER view_unstored_other FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (id bigint, customer int, amount numeric(12,2), state text, at timestamptz)
  SERVER view_unstored OPTIONS (topic 'view_unstored_orders', event_time 'at');
CREATE FOREIGN TABLE payments (id bigint, order_id bigint, at timestamptz)
  SERVER view_unstored OPTIONS (topic 'view_unstored_payments', event_time 'at');
CREATE FOREIGN TABLE customers (customer int OPTIONS (key 'true'), name text)
  SERVER view_unstored OPTIONS (topic 'view_unstored_customers', mode 'upsert');
CREATE FOREIGN TABLE sink (id bigint OPTIONS (key 'true'), amount numeric, at timestamptz) SERVER view_unstored OPTIONS (topic 'view_unstored_sink');
CREATE FOREIGN TABLE sink_2 (id bigint OPTIONS (key 'true')) SERVER view_unstored OPTIONS (topic 'view_unstored_sink_2');

-- It is a plain view, and a row of kafka.views.
CREATE VIEW big (order_id, amount) WITH (kafka.continuous, kafka.start = 'earliest', security_barrier) AS SELECT id, amount, at FROM orders WHERE amount > 100;
\d+ big
SELECT view, pipeline, stored, options, definition FROM kafka.views WHERE view = 'big'::regclass;
SELECT pipeline, views FROM kafka.pipelines WHERE pipeline = 'big';
SELECT kafka.create_view('view_unstored.paid', $$SELECT o.id, o.amount, p.at FROM orders o
  JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour'$$, '{"stored": false, "grace": "0 s"}', false);
SELECT view, stored, paused FROM kafka.views WHERE view = 'paid'::regclass;
SELECT kafka.create_view('view_unstored.v', 'SELECT id FROM orders', '{"stored": "perhaps"}');
SELECT regexp_replace(c.relname, '\d+_', 'N_') AS relation, c.relpersistence, d.deptype
FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refobjid = 'paid'::regclass AND d.deptype = 'i' AND c.relkind = 'r' ORDER BY 1;

-- Its statements give rows instead of writing them.
SELECT phase, title, regexp_replace(statement, '(buffer)_\d+', '\1_N', 'g') AS statement FROM kafka.explain('big');
SELECT phase, title, regexp_replace(statement, '(buffer)_\d+', '\1_N', 'g') AS statement FROM kafka.explain('paid') WHERE phase = 'compute';

-- Views over it, stored and not.
BEGIN;
CREATE VIEW named WITH (kafka.continuous) AS SELECT o.id, o.amount, o.at, c.name FROM orders o LEFT JOIN customers c USING (customer);
CREATE MATERIALIZED VIEW sums WITH (kafka.continuous) AS SELECT name, sum(amount) AS total FROM named GROUP BY name;
CREATE VIEW named_big WITH (kafka.continuous) AS SELECT id, amount, at FROM named WHERE amount > 1000;
COMMIT;
SELECT pipeline, views FROM kafka.pipelines WHERE pipeline = 'named';
SELECT title, regexp_replace(statement, '(groups)_\d+', '\1_N', 'g') AS statement FROM kafka.explain('named_big');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT name, count(*) AS n FROM named GROUP BY name;

-- What cannot be.
CREATE VIEW v WITH (kafka.continuous) AS SELECT customer, count(*) AS n FROM orders GROUP BY customer;
CREATE VIEW v WITH (kafka.continuous) AS SELECT sum(amount) AS total FROM orders;
CREATE VIEW v WITH (kafka.continuous) AS SELECT DISTINCT customer FROM orders;
CREATE VIEW v WITH (kafka.continuous) AS SELECT customer, name FROM customers;
CREATE VIEW v WITH (kafka.continuous) AS SELECT id FROM orders LIMIT 5;
CREATE VIEW v WITH (kafka.continuous) AS SELECT id FROM orders WHERE at > now();
CREATE VIEW v WITH (kafka.continuous) AS SELECT id FROM orders WITH CHECK OPTION;
CREATE VIEW v WITH (kafka.continuous, kafka.emit = final) AS SELECT id FROM orders;
CREATE VIEW v WITH (kafka.continuous, kafka.emit = final) AS SELECT date_trunc('hour', at) AS hour, count(*) AS n FROM orders GROUP BY 1;
CREATE VIEW v WITH (kafka.continuous, kafka.retention = '1 day') AS SELECT id, at FROM orders;
CREATE VIEW v WITH (kafka.grace = '1 day') AS SELECT id FROM orders;
CREATE VIEW v WITH (kafka.continuous, fillfactor = 50) AS SELECT id FROM orders;
CREATE VIEW v (a, b) WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE VIEW v WITH (kafka.continuous) AS WITH gone AS (DELETE FROM sink RETURNING id) SELECT id FROM gone;
CREATE VIEW big WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE TEMP VIEW v WITH (kafka.continuous) AS SELECT id FROM orders;
CREATE RECURSIVE VIEW v (id) WITH (kafka.continuous) AS SELECT id FROM orders UNION ALL SELECT id + 1 FROM v WHERE id < 5;
CREATE VIEW v WITH (kafka.continuous) AS WITH gone AS (DELETE FROM orders RETURNING id) SELECT id FROM gone;
CREATE OR REPLACE VIEW big AS SELECT id AS order_id, amount, at FROM orders;
CREATE OR REPLACE VIEW big WITH (kafka.continuous) AS SELECT id AS order_id, amount, at FROM orders;
INSERT INTO big VALUES (1, 2, now());
REFRESH MATERIALIZED VIEW big;
SELECT kafka.verify('big');
CREATE TRIGGER t AFTER INSERT ON big FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
CREATE TRIGGER t INSTEAD OF INSERT ON big FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE RULE r AS ON INSERT TO big DO INSTEAD NOTHING;
ALTER VIEW big RENAME COLUMN amount TO price;
ALTER VIEW big ALTER COLUMN amount SET DEFAULT 5;
ALTER TABLE big DISABLE TRIGGER ALL;
DROP TRIGGER kafka_refuse_write ON big;
DROP MATERIALIZED VIEW big;
DROP TABLE big;

-- Sinks.
SELECT kafka.attach_sink('paid', 'sink');
SELECT kafka.attach_sink('paid', 'sink', snapshot => false);
SELECT kafka.attach_sink('paid', 'sink_2', snapshot => false);
SELECT kafka.attach_sink('big', 'sink', snapshot => false);
SELECT kafka.create_sink('paid', 'view_unstored_made', ARRAY['id'], snapshot => false);
SELECT attname, attfdwoptions FROM pg_attribute WHERE attrelid = 'view_unstored_made'::regclass AND attnum > 0 ORDER BY attnum;
SELECT relation, trigger, topic, enabled, pipeline FROM kafka.sinks WHERE relation::text = 'paid' ORDER BY topic::text;
CREATE FOREIGN TABLE table_sink (id bigint OPTIONS (key 'true'), amount numeric) SERVER view_unstored OPTIONS (topic 'view_unstored_table', mode 'upsert');
SELECT kafka.attach_sink('paid', 'table_sink');
CREATE FOREIGN TABLE far_sink (id bigint) SERVER view_unstored_other OPTIONS (topic 'view_unstored_far');
SELECT kafka.attach_sink('paid', 'far_sink');
SELECT kafka.attach_sink('paid', 'orders');
SELECT kafka.detach_sink('paid', 'sink_2');
SELECT kafka.detach_sink('paid', 'sink_2');
DROP FOREIGN TABLE view_unstored_made;
SELECT kafka.detach_sink('paid', 'view_unstored_made');
DROP FOREIGN TABLE view_unstored_made;
SELECT topic FROM kafka.sinks WHERE relation::text = 'paid';

-- What a view that looks up a table has given nobody knows any more, once it has given something. This needs a broker.
\getenv broker KAFKA_BROKER
CREATE SERVER view_unstored_live FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
\! kv_kafka create view_unstored_clicks
\! kv_kafka create view_unstored_named
CREATE FOREIGN TABLE clicks (id int, at timestamptz) SERVER view_unstored_live OPTIONS (topic 'view_unstored_clicks');
CREATE FOREIGN TABLE clicks_named (id int, name text) SERVER view_unstored_live OPTIONS (topic 'view_unstored_named');
CREATE TABLE names (id int PRIMARY KEY, name text);
CREATE VIEW clicks_by_name WITH (kafka.continuous) AS SELECT c.id, c.at, n.name FROM clicks c LEFT JOIN names n USING (id);
SELECT kafka.attach_sink('clicks_by_name', 'clicks_named');
SELECT kafka.detach_sink('clicks_by_name', 'clicks_named');
\! printf '1\t{"id": 1}\n' | kv_kafka produce view_unstored_clicks
SELECT kafka.wait_for_view('clicks_by_name');
SELECT kafka.attach_sink('clicks_by_name', 'clicks_named');
SELECT kafka.attach_sink('clicks_by_name', 'clicks_named', snapshot => false);
DROP SERVER view_unstored_live CASCADE;

-- detach_sink takes the triggers of a stored view, and no others.
CREATE MATERIALIZED VIEW stored WITH (kafka.continuous) AS SELECT id, amount, at FROM orders WITH NO DATA;
SELECT kafka.attach_sink('stored', 'sink', snapshot => false), kafka.attach_sink('stored', 'sink_2', snapshot => false);
SELECT kafka.detach_sink('stored', 'sink');
SELECT relation, trigger, topic FROM kafka.sinks WHERE relation::text = 'stored';
SELECT kafka.detach_sink('stored', 'sink');
SELECT kafka.detach_sink('orders', 'sink');

-- Renamed, moved, commented, granted, given away: as any view; what belongs to it follows its owner.
CREATE ROLE view_unstored_user;
CREATE ROLE view_unstored_reader;
COMMENT ON VIEW paid IS 'orders that are paid';
GRANT SELECT ON paid TO view_unstored_reader;
ALTER VIEW paid RENAME TO settled;
CREATE SCHEMA view_unstored_2 AUTHORIZATION view_unstored_user;
ALTER VIEW settled SET SCHEMA view_unstored_2;
ALTER VIEW view_unstored_2.settled OWNER TO view_unstored_user;
SELECT view, owner, obj_description(view) FROM kafka.views WHERE view::text LIKE '%settled';
SELECT DISTINCT c.relowner::regrole FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refobjid = 'view_unstored_2.settled'::regclass AND d.deptype = 'i' AND c.relkind = 'r';
SET ROLE view_unstored_user;
SELECT kafka.attach_sink('view_unstored_2.settled', 'view_unstored.sink_2'::regclass::oid, snapshot => false);
RESET ROLE;
GRANT USAGE ON SCHEMA view_unstored TO view_unstored_user;
SET ROLE view_unstored_user;
SELECT kafka.attach_sink('view_unstored_2.settled', 'view_unstored.sink_2'::regclass, snapshot => false);
SELECT kafka.detach_sink('view_unstored_2.settled', 'view_unstored.sink'::regclass);
SELECT kafka.attach_sink('view_unstored.big', 'view_unstored.sink_2'::regclass, snapshot => false);
RESET ROLE;

-- Dropped: with what hangs on it, or with a topic, and nothing is left.
DROP VIEW named;
DROP VIEW named CASCADE;
DROP FOREIGN TABLE payments;
\set VERBOSITY terse
DROP FOREIGN TABLE payments CASCADE;
SELECT view FROM kafka.views WHERE view::text ~ 'settled|named';
DROP VIEW big;
SELECT count(*) FROM kafka_state.sink k WHERE NOT EXISTS (SELECT FROM kafka_state.view v WHERE v.view = k.view);

SET client_min_messages = warning;
DROP SCHEMA view_unstored CASCADE;
DROP SCHEMA view_unstored_2 CASCADE;
DROP SERVER view_unstored CASCADE;
DROP SERVER view_unstored_other CASCADE;
DROP ROLE view_unstored_user;
DROP ROLE view_unstored_reader;
SELECT count(*) FROM kafka_state.pipeline WHERE name ~ '^(big|named|paid)';
