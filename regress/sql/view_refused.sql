-- Every query that cannot be a continuous view: where, why, and what to write instead. No broker is asked.
CREATE SCHEMA view_refused;
SET search_path = view_refused, public;
SET timezone = 'UTC';
CREATE SERVER view_refused FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (order_id bigint, customer_id bigint, amount numeric(12,2), state text, qty int, created_at timestamptz, where_to point)
	SERVER view_refused OPTIONS (topic 'orders', event_time 'created_at');
CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz, booked_at timestamptz)
	SERVER view_refused OPTIONS (topic 'payments', event_time 'paid_at');
CREATE FOREIGN TABLE clicks (order_id bigint, page text) SERVER view_refused OPTIONS (topic 'clicks');
CREATE FOREIGN TABLE customers (customer_id bigint OPTIONS (key 'true'), name text) SERVER view_refused OPTIONS (topic 'customers', mode 'upsert');
CREATE TABLE regions (region int PRIMARY KEY, title text);
CREATE VIEW per_customer AS SELECT customer_id, count(*) FROM orders GROUP BY customer_id;
CREATE VIEW top AS SELECT order_id FROM orders LIMIT 10;
CREATE VIEW guarded WITH (security_barrier) AS SELECT * FROM orders;

-- the shape of the query
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders EXCEPT ALL SELECT order_id FROM payments;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders UNION ALL (SELECT order_id FROM orders INTERSECT SELECT order_id FROM payments);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders UNION SELECT order_id FROM payments UNION ALL SELECT order_id FROM payments;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT * FROM (SELECT order_id FROM orders UNION SELECT order_id FROM payments) x;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders UNION ALL SELECT customer_id FROM customers;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders UNION ALL SELECT max(order_id) FROM payments;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS WITH RECURSIVE x AS (SELECT order_id FROM orders UNION ALL SELECT order_id + 1 FROM x) SELECT * FROM x;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS WITH x AS (SELECT customer_id, count(*) FROM orders GROUP BY 1) SELECT * FROM x;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT * FROM (SELECT DISTINCT customer_id FROM orders) x;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT DISTINCT customer_id, count(*) FROM orders GROUP BY customer_id, state;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT DISTINCT ON (customer_id) customer_id, amount FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT DISTINCT ON (customer_id) customer_id, amount FROM orders ORDER BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT DISTINCT ON (customer_id) amount FROM orders ORDER BY customer_id, created_at DESC;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT DISTINCT ON (customer_id) customer_id, state, count(*) FROM orders GROUP BY customer_id, state ORDER BY customer_id, state;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT * FROM (SELECT DISTINCT ON (customer_id) customer_id, amount FROM orders ORDER BY customer_id, created_at) x;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders LIMIT 10;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders OFFSET 10;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders ORDER BY amount;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders FOR UPDATE;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, row_number() OVER (ORDER BY amount) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, (SELECT max(region) FROM regions) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders WHERE customer_id IN (SELECT customer_id FROM customers);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, (SELECT sum(o.qty) + x FROM generate_series(1, 1) x) AS more FROM orders o GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id AND (SELECT c.name <> 'x');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, x FROM orders o, unnest(ARRAY(SELECT region FROM regions)) x;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT generate_series(1, qty) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM orders o JOIN regions r TABLESAMPLE system (10) ON r.region = o.qty;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT FROM orders;

-- functions that do not give the same result whenever they run
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, random() FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, clock_timestamp() FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders WHERE created_at > now() - interval '1 day';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, current_date FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, age(created_at) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders WHERE state = current_user;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, count(*) FROM orders GROUP BY customer_id HAVING count(*) > random();
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, current_setting('timezone') FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, current_schemas(true) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, pg_current_xact_id_if_assigned() FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders WHERE qty = pg_backend_pid();
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, inet_client_addr() FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, statement_timestamp() FROM orders;
CREATE FUNCTION title_of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT title FROM view_refused.regions WHERE region = $1';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, title_of(qty) FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, has_table_privilege(state, 'SELECT') FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, state::regclass::oid AS o FROM orders;
-- a function that changes after the creation of its view
CREATE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 2 * $1; END';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, twice(qty) FROM orders WITH NO DATA;
ALTER FUNCTION twice(int) VOLATILE;
SELECT kafka.explain('v');
ALTER FUNCTION twice(int) STABLE;
SELECT kafka.explain('v');
SET client_min_messages = warning;
DROP MATERIALIZED VIEW v;
RESET client_min_messages;

-- columns
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, order_id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o FROM orders o;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT tableoid, order_id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT row(order_id, amount) AS r FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.event_time = 'amount') AS SELECT order_id, amount FROM orders;

-- what is in FROM
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT name FROM customers;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT title FROM regions;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders UNION ALL VALUES (1), (2);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT x + 1 AS y FROM (SELECT 1 AS x) one;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT g FROM generate_series(1, 3) g;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT c.name FROM (SELECT 1 AS x) one LEFT JOIN customers c ON c.customer_id = x;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, s.n FROM orders o, LATERAL (SELECT count(*) AS n FROM regions r WHERE r.region = o.qty) s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, s.n FROM orders o, LATERAL (SELECT o.order_id + random() AS n) s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM orders o JOIN per_customer c ON c.customer_id = o.customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT * FROM top;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM guarded;

CREATE FOREIGN TABLE orders_again (order_id bigint, created_at timestamptz) SERVER view_refused OPTIONS (topic 'orders', event_time 'created_at');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT a.order_id FROM orders a JOIN orders_again b ON b.order_id = a.order_id AND b.created_at BETWEEN a.created_at AND a.created_at + interval '1 hour';
CREATE SERVER view_refused_other FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE refunds_there (order_id bigint, at timestamptz) SERVER view_refused_other OPTIONS (topic 'refunds', event_time 'at');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o JOIN refunds_there r ON r.order_id = o.order_id AND r.at BETWEEN o.created_at AND o.created_at + interval '1 hour';

-- joins
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM orders o LEFT JOIN payments p ON p.order_id = o.order_id
	LEFT JOIN customers c ON c.customer_id = o.customer_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o LEFT JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour'
	LEFT JOIN orders again ON again.order_id = o.order_id AND again.created_at = o.created_at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o JOIN customers c ON c.customer_id = o.customer_id
	LEFT JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour' AND c.name <> '';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM (orders o JOIN customers c ON c.customer_id = o.customer_id) FULL JOIN payments p ON p.order_id = o.order_id AND p.paid_at = o.created_at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM (orders o LEFT JOIN customers c ON c.customer_id = o.customer_id) FULL JOIN payments p ON p.order_id = o.order_id AND p.paid_at = o.created_at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.event_time = 'paid_at') AS
	SELECT o.order_id, p.paid_at FROM orders o LEFT JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM orders o FULL JOIN customers c ON c.customer_id = o.customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o LEFT JOIN (customers c JOIN regions r ON r.title = c.name) ON c.customer_id = o.customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o LEFT JOIN (SELECT *, 'known' AS how FROM customers) c ON c.customer_id = o.customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM orders o JOIN payments p ON p.order_id = o.order_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM orders o LEFT JOIN payments p ON p.order_id = o.order_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o JOIN payments p ON p.order_id = o.order_id AND p.paid_at >= o.created_at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o JOIN payments p ON p.order_id = o.order_id AND p.booked_at BETWEEN o.created_at AND o.created_at + interval '1 hour';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM orders o JOIN clicks c ON c.order_id = o.order_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o JOIN payments p ON p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id FROM orders o CROSS JOIN regions r;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, c.name FROM orders o JOIN customers c ON c.customer_id > o.customer_id;
-- times with and without a zone
CREATE FOREIGN TABLE refunds (order_id bigint, refunded_at timestamp) SERVER view_refused OPTIONS (topic 'refunds', event_time 'refunded_at');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id FROM orders o JOIN refunds r ON r.order_id = o.order_id AND r.refunded_at BETWEEN o.created_at AND o.created_at + interval '1 hour';
-- a condition of a left join bounds nothing between the streams before it
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT o.order_id, c.name FROM orders o JOIN payments p ON p.order_id = o.order_id
	LEFT JOIN customers c ON c.customer_id = o.customer_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour';

-- groups and aggregates
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, count(*) FROM orders GROUP BY ROLLUP (customer_id);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT count(*) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT r.region, r.title, count(*) FROM orders o JOIN regions r ON r.region = o.qty GROUP BY r.region;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT count(*) FROM orders HAVING count(*) > 3;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT where_to::text::xid AS x, count(*) FROM orders GROUP BY 1;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, string_agg(state, ',' ORDER BY order_id) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY qty) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, rank(5) WITHIN GROUP (ORDER BY qty) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, array_agg(DISTINCT state) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, kafka.last(DISTINCT state, created_at) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, string_agg(state, qty::text) FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, kafka.last(state, where_to) FROM orders GROUP BY customer_id;
CREATE AGGREGATE collected(anynonarray) (SFUNC = array_agg_transfn, STYPE = internal, FINALFUNC = array_agg_finalfn, FINALFUNC_EXTRA);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, collected(state) FROM orders GROUP BY customer_id;
CREATE FUNCTION same(aclitem, text) RETURNS aclitem LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE AGGREGATE without_send(text) (SFUNC = same, STYPE = aclitem);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, without_send(state) IS NULL AS x FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, kafka_state.agg_partial('sum(int)', qty)::text FROM orders GROUP BY customer_id;

-- functions that the user may not execute, as which the view would be maintained
CREATE ROLE view_refused_user;
CREATE FUNCTION thrice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 3';
CREATE AGGREGATE product(int) (SFUNC = int4mul, STYPE = int);
REVOKE EXECUTE ON FUNCTION thrice(int), product(int) FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA view_refused TO view_refused_user;
GRANT SELECT ON orders TO view_refused_user;
GRANT USAGE ON FOREIGN SERVER view_refused TO view_refused_user;
SET ROLE view_refused_user;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders WHERE thrice(qty) > 5;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, product(qty) FROM orders GROUP BY customer_id;
RESET ROLE;

-- views over views
BEGIN;
CREATE MATERIALIZED VIEW timeless WITH (kafka.continuous) AS SELECT order_id FROM orders;
CREATE MATERIALIZED VIEW timed WITH (kafka.continuous) AS SELECT order_id, created_at FROM orders;
SAVEPOINT s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT * FROM timeless;
ROLLBACK TO s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM timed UNION ALL SELECT order_id FROM refunds_there;
ROLLBACK;

-- where it is
SELECT kafka.create_view('pg_temp.v', 'SELECT order_id FROM orders');

-- windows: sizes are exact lengths
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT kafka.tumble(created_at, '1 month') AS during, count(*) FROM orders GROUP BY during;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT date_bin('1 year', created_at, '2000-01-01') AS at, count(*) FROM orders GROUP BY at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT during, count(*) FROM orders, LATERAL kafka.hop(created_at, '1 hour', '0 min') AS during GROUP BY during;
SELECT kafka.tumble('2026-01-01', '1 month');
SELECT kafka.tumble('2026-01-01', '0 s');
SELECT kafka.hop('2026-01-01', '1 hour', '-5 min');
SELECT kafka.tumble('infinity', '1 hour');

DROP SCHEMA view_refused CASCADE;
DROP SERVER view_refused, view_refused_other;
DROP ROLE view_refused_user;
