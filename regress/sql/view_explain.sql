-- The maintenance statements of each shape of view, as kafka.explain shows them. Nothing is committed, so nothing starts.
CREATE SCHEMA view_explain;
SET search_path = view_explain, public;
SET timezone = 'UTC';
CREATE SERVER view_explain FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (order_id bigint, customer_id bigint, amount numeric(12,2), state text, created_at timestamptz)
	SERVER view_explain OPTIONS (topic 'orders', event_time 'created_at');
CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz) SERVER view_explain OPTIONS (topic 'payments', event_time 'paid_at');
CREATE FOREIGN TABLE customers (customer_id bigint OPTIONS (key 'true'), name text, email text) SERVER view_explain OPTIONS (topic 'customers', mode 'upsert');
CREATE TABLE regions (region int PRIMARY KEY, title text);
-- numbers of views differ from run to run
CREATE FUNCTION explained(view regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format(E'-- %s: %s\n%s\n', phase, title, regexp_replace(statement, '(buffer|lookup|groups)_\d+', '\1_N', 'g')) FROM kafka.explain(view)
$$;
\pset format unaligned
\pset tuples_only on

BEGIN;
-- the example at the head of DESIGN.md
CREATE MATERIALIZED VIEW order_emails WITH (kafka.continuous) AS
SELECT o.order_id, o.amount, c.name, c.email, p.paid_at
FROM orders o
JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour'
JOIN customers c ON c.customer_id = o.customer_id
WHERE o.state = 'CREATED';
SELECT explained('order_emails');

-- a projection, under a setting that would print intervals and names otherwise
SET LOCAL intervalstyle = iso_8601;
CREATE MATERIALIZED VIEW big WITH (kafka.continuous) AS SELECT order_id AS "Order", amount * 2 AS twice, created_at + interval '1 day' AS due FROM orders WHERE amount > 100;
SELECT explained('big');
RESET intervalstyle;

-- an aggregate that is its own state, and one that is not
CREATE MATERIALIZED VIEW per_minute WITH (kafka.continuous) AS
SELECT kafka.tumble(created_at, '1 minute') AS minute, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY minute;
SELECT explained('per_minute');
CREATE MATERIALIZED VIEW good_customers WITH (kafka.continuous) AS
SELECT customer_id, state, round(avg(amount), 2) AS average, max(amount) FILTER (WHERE state = 'PAID') AS most FROM orders GROUP BY customer_id, state HAVING count(*) > 3;
SELECT explained('good_customers');
SELECT format(E'-- %s: %s\n%s\n', phase, title, regexp_replace(plan, '(buffer|lookup|groups)_\d+', '\1_N', 'g')) FROM kafka.explain('good_customers', plans => true);

-- an aggregate over a join, with a lookup that may find nothing, and without GROUP BY
CREATE MATERIALIZED VIEW paid_by_name WITH (kafka.continuous) AS
SELECT c.name, count(*) AS n FROM orders o
JOIN payments p ON p.order_id = o.order_id AND p.paid_at - o.created_at <= interval '10 min' AND p.paid_at > o.created_at
LEFT JOIN customers c ON c.customer_id = o.customer_id
GROUP BY c.name;
SELECT explained('paid_by_name');
CREATE MATERIALIZED VIEW total WITH (kafka.continuous) AS SELECT count(*) AS n, sum(amount) AS amount FROM orders;
SELECT explained('total');
SELECT * FROM total;

-- a topic with itself; a table of the database; a function; grace of its own
CREATE MATERIALIZED VIEW twice WITH (kafka.continuous, kafka.grace = '1 min') AS
SELECT a.customer_id, a.order_id, b.order_id AS again, r.title FROM orders a JOIN orders b USING (customer_id) JOIN regions r ON r.region = a.customer_id
WHERE b.created_at > a.created_at AND b.created_at <= a.created_at + interval '5 min';
SELECT explained('twice');
CREATE MATERIALIZED VIEW hops WITH (kafka.continuous) AS
SELECT w, min(amount) AS least FROM orders CROSS JOIN LATERAL kafka.hop(created_at, '10 min', '5 min') AS w GROUP BY w;
SELECT explained('hops');
-- outer joins of streams: which conditions keep a row out of a buffer; rows without a match when time closes them, or late; under an aggregate
CREATE MATERIALIZED VIEW maybe_paid WITH (kafka.continuous, kafka.grace = '1 min') AS
SELECT o.order_id, o.amount, p.payment_id, c.name, o.created_at FROM orders o
LEFT JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour' AND o.amount > 3 AND p.payment_id > 5
LEFT JOIN customers c USING (customer_id) WHERE o.state = 'CREATED' AND p.payment_id IS DISTINCT FROM 7;
SELECT explained('maybe_paid');
CREATE MATERIALIZED VIEW either WITH (kafka.continuous, kafka.grace = '1 min') AS
SELECT coalesce(o.order_id, p.order_id) AS id, count(*) AS n, sum(p.payment_id) AS paid FROM orders o
FULL JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour' WHERE coalesce(o.amount, p.payment_id) > 1 GROUP BY 1;
SELECT explained('either');
-- WHERE rejects the null rows: lesser joins
CREATE MATERIALIZED VIEW lesser WITH (kafka.continuous) AS
SELECT o.order_id, p.payment_id, c.name FROM orders o FULL JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour'
LEFT JOIN customers c ON c.customer_id = o.customer_id WHERE c.name > 'M' AND p.payment_id > 1;
SELECT title FROM kafka.explain('lesser');
-- unions: of streams, under a join and an aggregate, and without duplicates; WITH
CREATE MATERIALIZED VIEW happened WITH (kafka.continuous) AS
SELECT order_id, 'order' AS what, amount, created_at AS at FROM orders WHERE amount > 10
UNION ALL SELECT order_id, state, 1, created_at FROM orders
UNION ALL SELECT order_id, 'payment', NULL, paid_at FROM payments;
SELECT explained('happened');
CREATE MATERIALIZED VIEW known WITH (kafka.continuous) AS
WITH both_kinds AS (SELECT order_id, customer_id, created_at AS at FROM orders UNION ALL SELECT order_id, -1, paid_at FROM payments)
SELECT c.name, count(*), max(b.at) AS last_at FROM both_kinds b JOIN customers c USING (customer_id) GROUP BY c.name;
SELECT explained('known');
CREATE MATERIALIZED VIEW ids WITH (kafka.continuous) AS SELECT order_id FROM orders UNION SELECT order_id FROM payments;
SELECT explained('ids');
ROLLBACK;

DROP SCHEMA view_explain CASCADE;
DROP SERVER view_explain;
