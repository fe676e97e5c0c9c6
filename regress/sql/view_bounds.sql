-- Time bounds that a query leaves out: what kafka.bound and kafka.default_bound add to it, where it stands in the stored query, and where they cannot.
CREATE SCHEMA view_bounds;
SET search_path = view_bounds, public;
SET timezone = 'UTC';
CREATE SERVER view_bounds FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (id int, customer int, at timestamptz) SERVER view_bounds OPTIONS (topic 'orders', event_time 'at');
CREATE FOREIGN TABLE payments (id int, order_id int, "paid at" timestamptz) SERVER view_bounds OPTIONS (topic 'payments', event_time 'paid at');
CREATE FOREIGN TABLE parcels (id int, order_id int, at timestamptz) SERVER view_bounds OPTIONS (topic 'parcels', event_time 'at');
CREATE FOREIGN TABLE local_times (id int, at timestamp) SERVER view_bounds OPTIONS (topic 'local_times', event_time 'at');
CREATE FOREIGN TABLE customers (customer int OPTIONS (key 'true'), name text) SERVER view_bounds OPTIONS (topic 'customers', mode 'upsert');
CREATE FUNCTION shown(view regclass) RETURNS text LANGUAGE sql AS $$
	SELECT v.definition FROM kafka.views v WHERE v.view = shown.view
$$;

-- one side, or none
CREATE MATERIALIZED VIEW later WITH (kafka.continuous, kafka.bound = '1 hour') AS
	SELECT o.id, p.id AS payment FROM orders o JOIN payments p ON p.order_id = o.id AND p."paid at" >= o.at WITH NO DATA;
SELECT shown('later');
CREATE MATERIALIZED VIEW around WITH (kafka.continuous, kafka.bound = '90 s') AS SELECT o.id, p.id AS payment FROM orders o, payments p WHERE p.order_id = o.id WITH NO DATA;
SELECT shown('around');
CREATE MATERIALIZED VIEW merged WITH (kafka.continuous, kafka.bound = '1 day') AS SELECT id, o.at FROM orders o JOIN parcels p USING (id) WHERE p.at < o.at WITH NO DATA;
SELECT shown('merged');
-- in ON of an outer join, behind a table too; the bound of WHERE is none there
CREATE MATERIALIZED VIEW maybe_later WITH (kafka.continuous, kafka.bound = '1 hour') AS
	SELECT o.id, p.id AS payment, c.name FROM orders o LEFT JOIN customers c ON c.customer = o.customer LEFT JOIN payments p ON p.order_id = o.id AND p."paid at" >= o.at WITH NO DATA;
SELECT shown('maybe_later');
CREATE MATERIALIZED VIEW both_sides WITH (kafka.continuous, kafka.bound = '1 hour') AS
	SELECT o.id, p.id AS payment FROM payments p FULL JOIN orders o ON p.order_id = o.id WHERE p."paid at" >= o.at WITH NO DATA;
SELECT shown('both_sides');
-- several pairs: those that are compared first, and nothing twice
CREATE MATERIALIZED VIEW in_a_chain WITH (kafka.continuous, kafka.bound = '1 hour') AS
	SELECT o.id, p.id AS payment, c.id AS parcel FROM orders o JOIN payments p ON p.order_id = o.id JOIN parcels c ON c.order_id = o.id
	WHERE p."paid at" >= o.at AND c.at > p."paid at" WITH NO DATA;
SELECT shown('in_a_chain');
CREATE MATERIALIZED VIEW in_a_row WITH (kafka.continuous, kafka.bound = '10 min') AS SELECT a.id, b.id AS again FROM orders a JOIN orders b ON b.customer = a.customer AND b.at > a.at WITH NO DATA;
SELECT shown('in_a_row');
-- in subqueries and unions, each for itself; as a function, for a view over views, unstored
SELECT kafka.create_view('united', 'WITH paid AS (SELECT o.id, p."paid at" AS at FROM orders o JOIN payments p ON p.order_id = o.id)
	SELECT id, at FROM paid UNION ALL SELECT o.id, p.at FROM (orders o JOIN parcels p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval ''1 min'')', '{"bound": "1 hour"}', false);
SELECT shown('united');
BEGIN;
CREATE MATERIALIZED VIEW first_orders WITH (kafka.continuous) AS SELECT id, at FROM orders WHERE customer = 1;
CREATE VIEW over_views WITH (kafka.continuous, kafka.bound = '1 hour') AS SELECT f.id, o.customer FROM first_orders f JOIN orders o ON o.id = f.id AND o.at >= f.at;
SELECT pg_get_viewdef('over_views');
ROLLBACK;
-- a setting for all that a session creates
SET kafka.default_bound = '5 min';
CREATE MATERIALIZED VIEW by_default WITH (kafka.continuous) AS SELECT o.id, p.id AS payment FROM orders o JOIN payments p ON p.order_id = o.id AND p."paid at" <= o.at WITH NO DATA;
SELECT shown('by_default');
CREATE MATERIALIZED VIEW bounded WITH (kafka.continuous) AS SELECT o.id, p.id AS payment FROM orders o JOIN payments p ON p.order_id = o.id AND p."paid at" = o.at WITH NO DATA;
CREATE MATERIALIZED VIEW alone WITH (kafka.continuous) AS SELECT id FROM orders WITH NO DATA;
-- what a WITH query or a condition around a subquery bounds is not made narrower
CREATE MATERIALIZED VIEW bounded_beside WITH (kafka.continuous) AS
	WITH paid AS (SELECT order_id, "paid at" AS at FROM payments)
	SELECT o.id, c.id AS parcel FROM orders o JOIN paid ON paid.order_id = o.id AND paid.at BETWEEN o.at AND o.at + interval '1 hour'
		JOIN parcels c ON c.order_id = o.id AND c.at BETWEEN paid.at AND paid.at + interval '1 hour' WITH NO DATA;
CREATE MATERIALIZED VIEW bounded_around WITH (kafka.continuous) AS
	SELECT x.id FROM (SELECT o.id, o.at, c.at AS sent FROM orders o JOIN parcels c ON c.order_id = o.id) x WHERE x.sent BETWEEN x.at AND x.at + interval '1 hour' WITH NO DATA;
RESET kafka.default_bound;

-- where there is nothing to add, or no place for it
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.id FROM orders o JOIN payments p ON p.order_id = o.id AND p."paid at" >= o.at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 hour') AS SELECT o.id FROM orders o JOIN payments p ON p.order_id = o.id AND p."paid at" = o.at;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 hour') AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 hour') AS SELECT id, o.at FROM orders o LEFT JOIN parcels p USING (id);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 hour') AS SELECT o.id FROM orders o JOIN local_times l ON l.id = o.id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 hour') AS SELECT o.id FROM orders o JOIN (SELECT order_id FROM payments) p ON p.order_id = o.id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 hour') AS
	SELECT o.id FROM orders o JOIN parcels c ON c.order_id = o.id JOIN (SELECT order_id FROM payments) p ON p.order_id = o.id;
CREATE VIEW paid AS SELECT order_id, "paid at" AS at FROM payments;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 hour') AS
	SELECT o.id FROM orders o JOIN paid p ON p.order_id = o.id AND p.at <= o.at + interval '2 hours' JOIN parcels c ON c.order_id = o.id AND c.at <= p.at + interval '2 hours';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 hour') AS
	WITH sent AS (SELECT o.id, o.at, c.at AS sent FROM orders o JOIN parcels c ON c.order_id = o.id) SELECT id FROM sent WHERE sent <= at + interval '2 hours';
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '1 month') AS SELECT o.id FROM orders o JOIN payments p ON p.order_id = o.id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bound = '-1 hour') AS SELECT o.id FROM orders o JOIN payments p ON p.order_id = o.id;

SET client_min_messages = warning;
DROP SCHEMA view_bounds CASCADE;
DROP SERVER view_bounds CASCADE;
