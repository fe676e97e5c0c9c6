-- The maintenance statements of views that tables drive, as kafka.explain shows them. Nothing is committed, so nothing starts.
CREATE SCHEMA view_explain_tables;
SET search_path = view_explain_tables, public;
SET timezone = 'UTC';
CREATE SERVER view_explain_tables FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (order_id bigint OPTIONS (key 'true'), customer_id bigint, amount numeric(12,2), state text, tags text[])
	SERVER view_explain_tables OPTIONS (topic 'orders', mode 'upsert');
CREATE FOREIGN TABLE customers (customer_id bigint OPTIONS (key 'true'), name text, region text) SERVER view_explain_tables OPTIONS (topic 'customers', mode 'upsert');
CREATE FOREIGN TABLE items (order_id bigint OPTIONS (key 'true'), line int OPTIONS (key 'true'), product text) SERVER view_explain_tables OPTIONS (topic 'items', mode 'upsert');
CREATE FOREIGN TABLE regions (region text OPTIONS (key 'true'), country text) SERVER view_explain_tables OPTIONS (topic 'regions', mode 'upsert');
-- numbers of views differ from run to run
CREATE FUNCTION explained(view regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format(E'-- %s: %s\n%s\n', phase, title, regexp_replace(statement, '(lookup|rows|groups)_\d+', '\1_N', 'g')) FROM kafka.explain(view)
$$;
CREATE FUNCTION key_of(view regclass) RETURNS text LANGUAGE sql AS $$ SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = view AND contype = 'u' $$;
\pset format unaligned
\pset tuples_only on

BEGIN;
-- one table
CREATE MATERIALIZED VIEW large WITH (kafka.continuous) AS SELECT order_id, upper(state) AS state, amount FROM orders WHERE amount > 100;
SELECT key_of('large');
SELECT explained('large');

-- a foreign key: a customer fans out to its orders
CREATE MATERIALIZED VIEW named WITH (kafka.continuous) AS
SELECT o.order_id, c.name, o.amount FROM orders o JOIN customers c ON c.customer_id = o.customer_id WHERE o.state = 'OPEN';
SELECT key_of('named');
SELECT explained('named');

-- outer joins: one row per order at most, several lines
CREATE MATERIALIZED VIEW listed WITH (kafka.continuous) AS
SELECT o.order_id, i.line, i.product, r.country FROM regions r RIGHT JOIN (orders o JOIN customers c ON c.customer_id = o.customer_id) ON r.region = c.region
LEFT JOIN items i ON i.order_id = o.order_id AND i.product <> r.country;
SELECT key_of('listed');
SELECT explained('listed');

-- a full join: two arms, the second for rows of customers without a match
CREATE MATERIALIZED VIEW everybody WITH (kafka.continuous) AS SELECT customer_id, o.order_id, c.name FROM orders o FULL JOIN customers c USING (customer_id);
SELECT key_of('everybody');
SELECT explained('everybody');

-- aggregates that are corrected: the table of rows, its changes, the state, the result
CREATE MATERIALIZED VIEW totals WITH (kafka.continuous) AS
SELECT customer_id, count(*) AS orders, sum(amount) FILTER (WHERE state <> 'OPEN') AS amount, max(order_id) AS last FROM orders GROUP BY customer_id HAVING count(*) > 1;
SELECT explained('totals');
-- and one that is computed again, over a join and an expression
CREATE MATERIALIZED VIEW per_region WITH (kafka.continuous) AS
SELECT upper(c.region) AS region, string_agg(DISTINCT o.state, ',' ORDER BY o.state) AS states, round(avg(o.amount)) AS mean FROM orders o JOIN customers c USING (customer_id) GROUP BY 1;
SELECT explained('per_region');
-- rows that stand: of those at the same place, the one whose values come first
CREATE MATERIALIZED VIEW dearest WITH (kafka.continuous) AS SELECT DISTINCT ON (customer_id) customer_id, order_id, state FROM orders ORDER BY customer_id, amount DESC;
SELECT key_of('dearest');
SELECT explained('dearest');
CREATE MATERIALIZED VIEW last_states WITH (kafka.continuous) AS SELECT customer_id, kafka.last(state, order_id) AS state FROM orders GROUP BY customer_id;
SELECT explained('last_states');
-- without GROUP BY
CREATE MATERIALIZED VIEW everything WITH (kafka.continuous) AS SELECT count(*) AS n, avg(amount) AS mean, min(amount) AS least FROM orders;
SELECT explained('everything');
SELECT * FROM everything;
CREATE MATERIALIZED VIEW listing WITH (kafka.continuous) AS SELECT string_agg(state, ',' ORDER BY order_id) AS states FROM orders;
SELECT explained('listing');
SELECT * FROM listing;
ROLLBACK;

DROP SCHEMA view_explain_tables CASCADE;
DROP SERVER view_explain_tables;
