-- Every view whose windows cannot close as its options ask for: why, and what to write instead. No broker is asked.
CREATE SCHEMA view_refused_windows;
SET search_path = view_refused_windows, public;
SET timezone = 'UTC';
CREATE SERVER view_refused_windows FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (order_id bigint, customer_id bigint, amount numeric(12,2), size interval, zone text, created_at timestamptz, due_at timestamptz)
	SERVER view_refused_windows OPTIONS (topic 'orders', event_time 'created_at');
CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz) SERVER view_refused_windows OPTIONS (topic 'payments', event_time 'paid_at');
CREATE FOREIGN TABLE refunds (order_id bigint, refunded_at timestamp) SERVER view_refused_windows OPTIONS (topic 'refunds', event_time 'refunded_at');

-- options without effect
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT order_id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT customer_id, count(*) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT count(*) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.event_time = 'latest') AS SELECT customer_id, max(created_at) AS latest FROM orders GROUP BY customer_id;

-- windows of something else than the time of the streams
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT kafka.tumble(due_at, '1 hour') AS due, count(*) FROM orders GROUP BY due;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS
	SELECT due, count(*) FROM orders, LATERAL kafka.hop(created_at + interval '1 hour', '1 hour', '5 min') AS due GROUP BY due;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS
	SELECT due, count(*) FROM orders LEFT JOIN LATERAL kafka.hop(created_at, '1 hour', '5 min') AS due ON order_id > 3 GROUP BY due;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT date_trunc('day', due_at) AS due, count(*) FROM orders GROUP BY due;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT kafka.tumble(refunded_at, '1 hour') AS w, count(*) FROM refunds GROUP BY w;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS
	SELECT kafka.tumble(refunded_at AT TIME ZONE 'Europe/Berlin', '1 hour') AS w, count(*) FROM refunds GROUP BY w;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS
	SELECT date_trunc('day', created_at AT TIME ZONE zone) AS day, count(*) FROM orders GROUP BY day;


-- windows whose end cannot be told from the key
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT lower(kafka.tumble(created_at, size)) AS since, count(*) FROM orders GROUP BY since;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT date_bin(size, created_at, '2000-01-01') AS since, count(*) FROM orders GROUP BY since;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT date_trunc(zone, created_at) AS since, count(*) FROM orders GROUP BY since;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT date_trunc('day', created_at, zone) AS since, count(*) FROM orders GROUP BY since;

-- more than one
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS
	SELECT date_trunc('day', created_at) AS day, date_trunc('hour', created_at) AS hour, count(*) FROM orders GROUP BY day, hour;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS
	SELECT since, count(*) FROM (SELECT date_trunc('hour', created_at) AS since FROM orders UNION ALL SELECT date_trunc('day', paid_at) FROM payments) u GROUP BY since;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS
	SELECT since, count(*) FROM (SELECT date_trunc('hour', created_at) AS since FROM orders UNION ALL SELECT paid_at FROM payments) u GROUP BY since;

-- emit = final
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final') AS SELECT order_id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final') AS SELECT customer_id, count(*) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final') AS SELECT count(*) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final') AS SELECT kafka.tumble(due_at, '1 hour') AS due, count(*) FROM orders GROUP BY due;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final') AS
	SELECT p.order_id, count(*) FROM orders o JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour' GROUP BY p.order_id;
CREATE VIEW v WITH (kafka.continuous, kafka.emit = 'final') AS SELECT kafka.tumble(created_at, '1 hour') AS w, count(*) FROM orders GROUP BY w;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'last') AS SELECT kafka.tumble(created_at, '1 hour') AS w, count(*) FROM orders GROUP BY w;
-- the time of its rows
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final', kafka.event_time = 'newest') AS
	SELECT kafka.tumble(created_at, '1 hour') AS w, max(created_at) AS newest FROM orders GROUP BY w;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final', kafka.event_time = 'w') AS SELECT kafka.tumble(created_at, '1 hour') AS w, count(*) FROM orders GROUP BY w;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final', kafka.event_time = 'day') AS
	SELECT date_trunc('day', created_at AT TIME ZONE 'Asia/Tokyo') AS day, count(*) FROM orders GROUP BY day;
BEGIN;
CREATE MATERIALIZED VIEW per_hour WITH (kafka.continuous, kafka.emit = 'final') AS SELECT kafka.tumble(created_at, '1 hour') AS w, count(*) FROM orders GROUP BY w;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT * FROM per_hour;
ROLLBACK;

-- retention
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 day') AS SELECT customer_id, count(*) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 day') AS SELECT count(*) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 day') AS SELECT kafka.tumble(due_at, '1 hour') AS due, count(*) FROM orders GROUP BY due;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 day') AS SELECT customer_id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 month') AS SELECT customer_id, created_at FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 min', kafka.grace = '2 min') AS SELECT kafka.tumble(created_at, '1 hour') AS w, count(*) FROM orders GROUP BY w;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 hour') AS
	SELECT o.order_id, p.paid_at FROM orders o JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 day', kafka.event_time = 'due_at') AS
	SELECT o.order_id, o.due_at FROM orders o JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour';
CREATE VIEW v WITH (kafka.continuous, kafka.retention = '1 day') AS SELECT customer_id, created_at FROM orders;
CREATE FOREIGN TABLE customers (customer_id bigint OPTIONS (key 'true'), since timestamptz) SERVER view_refused_windows OPTIONS (topic 'customers', mode 'upsert');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = '1 day') AS SELECT customer_id, since FROM customers;

-- sessions
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, kafka.session(created_at, '5 min') AS during FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT kafka.session(created_at, '5 min') AS during, kafka.last(order_id, to_jsonb(zone)::json) FROM orders GROUP BY during;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT lower(kafka.session(created_at, '5 min')) AS since, count(*) FROM orders GROUP BY since;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT during, count(*) FROM (SELECT kafka.session(created_at, '5 min') AS during FROM orders) o GROUP BY during;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, max(upper(kafka.session(created_at, '5 min'))) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT kafka.session(due_at, '5 min') AS during, count(*) FROM orders GROUP BY during;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT kafka.session(created_at, size) AS during, count(*) FROM orders GROUP BY during;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT kafka.session(created_at, '5 min') AS during, kafka.session(created_at, '1 hour') AS longer, count(*) FROM orders GROUP BY during, longer;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT kafka.session(created_at, '5 min') AS during, date_trunc('day', created_at) AS day, count(*) FROM orders GROUP BY during, day;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.emit = 'final', kafka.event_time = 'since') AS
	SELECT kafka.session(created_at, '5 min') AS during, lower(kafka.session(created_at, '5 min')) AS since, count(*) FROM orders GROUP BY during;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT kafka.session(o.created_at, '5 min') AS during, count(p.paid_at) FROM orders o
	LEFT JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour' GROUP BY during;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT kafka.session(created_at, '5 min') AS during, max(upper(kafka.session(created_at, '5 min'))) AS till FROM orders GROUP BY during;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT DISTINCT ON (kafka.session(created_at, '5 min')) kafka.session(created_at, '5 min') AS during, amount FROM orders ORDER BY kafka.session(created_at, '5 min');

DROP SCHEMA view_refused_windows CASCADE;
DROP SERVER view_refused_windows;
