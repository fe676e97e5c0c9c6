-- What is shown of topics, views and pipelines, to whom; waiting, verifying, explaining, pausing.
CREATE SCHEMA view_inspect;
SET search_path = view_inspect;
SET timezone = 'UTC';
\getenv broker KAFKA_BROKER
\! kv_kafka create view_inspect_orders 2 retention.ms=-1
\! kv_kafka create view_inspect_customers 1 cleanup.policy=compact
CREATE SERVER view_inspect FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
CREATE FOREIGN TABLE orders (id bigint, customer int, amount numeric, at timestamptz)
  SERVER view_inspect OPTIONS (topic 'view_inspect_orders', event_time 'at');
CREATE FOREIGN TABLE customers (customer int OPTIONS (key 'true'), name text)
  SERVER view_inspect OPTIONS (topic 'view_inspect_customers', mode 'upsert');
CREATE FOREIGN TABLE sink (customer int OPTIONS (key 'true'), orders bigint, total numeric)
  SERVER view_inspect OPTIONS (topic 'view_inspect_sink', mode 'upsert');
\! printf 'partition=0 a\t{"id": 1, "customer": 1, "amount": 1.50, "at": 1000}\npartition=1 b\t{"id": 2, "customer": 2, "amount": 2, "at": 2000}\npartition=0 c\t{"id": 3, "cust\npartition=0 d\t{"id": 4, "customer": 1, "amount": 4, "at": 3000}\n' | kv_kafka produce view_inspect_orders
\! printf '1\t{"name": "Ada"}\n' | kv_kafka produce view_inspect_customers
\! kv_kafka create view_inspect_sink 1

BEGIN;
CREATE MATERIALIZED VIEW sums WITH (kafka.continuous, kafka.pipeline = 'view_inspect_sums') AS
  SELECT customer, count(*) AS orders, sum(amount) AS total FROM orders GROUP BY customer;
CREATE TRIGGER publish_insert AFTER INSERT ON sums REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
CREATE TRIGGER publish_update AFTER UPDATE ON sums REFERENCING OLD TABLE AS old NEW TABLE AS new
  FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
COMMIT;
CREATE MATERIALIZED VIEW listed WITH (kafka.continuous, kafka.pipeline = 'view_inspect_listed') AS
  SELECT customer, array_agg(id) AS ids, avg(amount::float8) AS average, max(at) AS latest FROM orders GROUP BY customer;
CREATE MATERIALIZED VIEW last_only WITH (kafka.continuous, kafka.pipeline = 'view_inspect_last_only') AS
  SELECT customer FROM orders GROUP BY customer HAVING kafka.last(id, at) > 3;
CREATE MATERIALIZED VIEW named WITH (kafka.continuous, kafka.pipeline = 'view_inspect_named') AS
  SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.customer = o.customer;
SELECT kafka.wait_for_view('sums'), kafka.wait_for_view('named');
SELECT * FROM sums ORDER BY customer;
SELECT * FROM named ORDER BY id;
-- a Kafka transaction is committed a moment before its markers let consumers see it
SELECT kafka_test.poll('sum(orders) = 3 FROM view_inspect.sink');
SELECT * FROM sink ORDER BY customer;

-- Verify: nothing to say; and what it says when something is wrong. A stream-table view has no oracle.
SELECT * FROM kafka.verify('sums');
BEGIN;
SET LOCAL session_replication_role = replica;	-- passes the trigger that refuses writes; superusers only
UPDATE sums SET total = 0 WHERE customer = 1;
RESET session_replication_role;
SELECT * FROM kafka.verify('sums') ORDER BY 1;
ROLLBACK;
SELECT * FROM kafka.verify('named');
-- What depends on the order of the rows is left out, or nothing is left.
SELECT kafka.wait_for_view('listed');
SELECT * FROM kafka.verify('listed');
SELECT * FROM kafka.verify('last_only');
DROP MATERIALIZED VIEW listed, last_only;
SELECT * FROM kafka.verify('orders');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM kafka.verify('sums');
ROLLBACK;

-- The statements.
SELECT phase, title FROM kafka.explain('sums');
SELECT phase, title FROM kafka.explain('named');

-- The views.
SELECT * FROM kafka.topics WHERE relation::text IN ('orders', 'customers', 'sink') ORDER BY relation::text;
SELECT view, pipeline, owner = current_user::regrole AS mine, options, paused, late_rows, dead_letters FROM kafka.views
WHERE pipeline LIKE 'view_inspect%' ORDER BY pipeline;
-- positions without messages go to Kafka some seconds later
SELECT kafka_test.poll('count(published_batch) = 2 FROM kafka.pipelines WHERE pipeline LIKE ''view_inspect%''');
SELECT pipeline, views, state, pid IS NOT NULL AS runs, batch > 0 AS has_batch, batch >= published_batch AS published, records,
       null_values, late_rows, dead_letters, failures, error, publish_error
FROM kafka.pipelines WHERE pipeline LIKE 'view_inspect%' ORDER BY pipeline;
SELECT pipeline, topic, partition, position, end_offset, lag FROM kafka.lag WHERE pipeline LIKE 'view_inspect%' ORDER BY pipeline, topic::text, partition;
SELECT relation, trigger, topic, enabled, pipeline, publisher IS NOT NULL AS runs, error FROM kafka.sinks WHERE pipeline LIKE 'view_inspect%'
ORDER BY trigger;
SELECT pipeline, relation, view, topic, partition, "offset", encode(key, 'escape') AS key, encode(value, 'escape') AS value, sqlstate
FROM kafka.dead_letters WHERE pipeline LIKE 'view_inspect%' ORDER BY pipeline;

-- Who sees what: a reader of one view sees it, its pipeline and lag, but no dead letter; others see nothing.
CREATE ROLE view_inspect_reader;
GRANT USAGE ON SCHEMA view_inspect TO view_inspect_reader;
SET ROLE view_inspect_reader;
SELECT count(*) FROM kafka.views;
SELECT count(*) FROM kafka.pipelines;
SELECT count(*) FROM kafka.lag;
SELECT count(*) FROM kafka.sinks;
SELECT count(*) FROM kafka.topics;
SELECT count(*) FROM kafka_state.processes();
SELECT kafka.wait_for_view('sums');
SELECT * FROM kafka.explain('sums');
SELECT * FROM kafka.verify('sums');
SELECT kafka.pause('sums'::regclass);
RESET ROLE;
GRANT SELECT ON sums TO view_inspect_reader;
SET ROLE view_inspect_reader;
SELECT view FROM kafka.views;
SELECT pipeline FROM kafka.pipelines;
SELECT topic::oid::regclass, partition, lag FROM kafka.lag ORDER BY partition;
SELECT relation, topic FROM kafka.sinks ORDER BY trigger;
SELECT count(*) FROM kafka.dead_letters;
SELECT kafka.wait_for_view('sums');
SELECT kafka.pause('view_inspect_sums');
SELECT * FROM kafka_state.dead_letter;
RESET ROLE;

-- Pause: the view stands still and the wait ends without it; resume: it goes on.
SELECT kafka.pause('sums'::regclass);
\! printf 'e\t{"id": 5, "customer": 2, "amount": 5, "at": 4000}\n' | kv_kafka produce view_inspect_orders
SELECT kafka.wait_for_view('sums', '200 ms');
SELECT state, phase FROM kafka.pipelines WHERE pipeline = 'view_inspect_sums';
SELECT kafka.resume('view_inspect_sums');
-- decisions about nothing
SELECT kafka.resume('view_inspect_sums', published => -1);
SELECT kafka.resume_transactions('view_inspect', published => true);
SELECT kafka.wait_for_view('sums');
SELECT * FROM sums ORDER BY customer;
SELECT kafka.pause('no such pipeline');
SELECT kafka.pause('orders'::regclass);
SELECT kafka.wait_for_view('orders');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT kafka.wait_for_view('sums');
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA view_inspect CASCADE;
DROP SERVER view_inspect;
DROP ROLE view_inspect_reader;
