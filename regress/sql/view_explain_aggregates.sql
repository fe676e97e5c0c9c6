-- The maintenance statements of aggregates whose state is more than their result, as kafka.explain shows them. Nothing is committed, so nothing starts.
CREATE SCHEMA view_explain_aggregates;
SET search_path = view_explain_aggregates, public;
SET timezone = 'UTC';
CREATE SERVER view_explain_aggregates FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (order_id bigint, customer_id bigint, qty int, amount numeric(12,2), state text, created_at timestamptz)
	SERVER view_explain_aggregates OPTIONS (topic 'orders', event_time 'created_at');
CREATE FOREIGN TABLE payments (payment_id bigint, order_id bigint, paid_at timestamptz) SERVER view_explain_aggregates OPTIONS (topic 'payments', event_time 'paid_at');
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric);
CREATE FUNCTION explained(view regclass, pattern text DEFAULT '') RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format(E'-- %s: %s\n%s\n', phase, title, regexp_replace(statement, '(\.buffer|\.lookup|\.groups|\.distinct)_\d+', '\1_N', 'g')) FROM kafka.explain(view) WHERE title ~ pattern
$$;
\pset format unaligned
\pset tuples_only on

BEGIN;
-- by the combine function, whose state is of no SQL type and of one
CREATE MATERIALIZED VIEW combined WITH (kafka.continuous) AS SELECT customer_id, stddev(amount) AS spread, corr(qty, amount) FILTER (WHERE qty > 1) FROM orders GROUP BY customer_id;
SELECT explained('combined');

-- by the transition function: rows in order, from the stored state on
CREATE MATERIALIZED VIEW continued WITH (kafka.continuous) AS SELECT customer_id, state, product(qty) FROM orders GROUP BY customer_id, state;
SELECT explained('continued', 'combine');
CREATE MATERIALIZED VIEW continued_whole WITH (kafka.continuous) AS SELECT product(amount) FROM orders;
SELECT explained('continued_whole');

-- collected, in processing order; each is its own state
CREATE MATERIALIZED VIEW collected WITH (kafka.continuous) AS
	SELECT customer_id, array_agg(order_id) AS ids, string_agg(state, ', ') AS states, jsonb_agg(amount) AS amounts, json_agg(ARRAY[qty]) AS qtys FROM orders GROUP BY customer_id;
SELECT explained('collected');

-- value and sort of the standing row
CREATE MATERIALIZED VIEW standing WITH (kafka.continuous) AS SELECT customer_id, kafka.first(state, created_at), kafka.last(state, created_at) FROM orders GROUP BY customer_id;
SELECT explained('standing', 'combine');

-- values that a group has had; max needs none
CREATE MATERIALIZED VIEW values_had WITH (kafka.continuous) AS
	SELECT customer_id, count(DISTINCT state), avg(DISTINCT qty) FILTER (WHERE state <> 'NEW') AS average, count(DISTINCT (qty, state)) AS pairs, max(DISTINCT qty) FROM orders GROUP BY customer_id;
SELECT explained('values_had');
CREATE MATERIALIZED VIEW values_had_ever WITH (kafka.continuous) AS SELECT count(DISTINCT state) FROM orders;
SELECT explained('values_had_ever');

-- DISTINCT ON: every sort selected, and not
CREATE MATERIALIZED VIEW latest WITH (kafka.continuous) AS SELECT DISTINCT ON (customer_id) customer_id, state, created_at FROM orders ORDER BY customer_id, created_at DESC;
SELECT explained('latest');
CREATE MATERIALIZED VIEW largest WITH (kafka.continuous) AS SELECT DISTINCT ON (customer_id) customer_id, order_id FROM orders ORDER BY customer_id, amount DESC NULLS LAST, created_at;
SELECT explained('largest');

-- rows of a join keep the place of the one that came last
CREATE MATERIALIZED VIEW of_join WITH (kafka.continuous) AS
	SELECT o.customer_id, array_agg(p.payment_id) AS payments FROM orders o JOIN payments p ON p.order_id = o.order_id AND p.paid_at BETWEEN o.created_at AND o.created_at + interval '1 hour'
	GROUP BY o.customer_id;
SELECT explained('of_join', 'join|combine');

-- a window that has closed takes along what its groups have had
CREATE MATERIALIZED VIEW closed WITH (kafka.continuous, kafka.emit = 'final') AS
	SELECT kafka.tumble(created_at, '1 hour') AS hour, state, count(DISTINCT customer_id), stddev(amount) FROM orders GROUP BY hour, state;
SELECT explained('closed');
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA view_explain_aggregates CASCADE;
DROP SERVER view_explain_aggregates;
