-- Unions, WITH, subqueries and DISTINCT: the view equals its query over the topics, whatever form it is written in.
SELECT plan(22);
SET client_min_messages = warning;
CREATE SCHEMA shapes;
SET search_path = shapes, public;
SET timezone = 'UTC';
ALTER SYSTEM SET kafka.batch_rows = 7;
SELECT pg_reload_conf() \gset
SELECT kafka_test.create_server('shapes') \gset
SELECT kafka_test.create_topic('shapes_orders', 2), kafka_test.create_topic('shapes_refunds', 1), kafka_test.create_topic('shapes_customers', 1) \gset
CREATE FOREIGN TABLE orders (id bigint, customer int, amount numeric, state varchar(10), at timestamptz) SERVER shapes OPTIONS (topic 'shapes_orders', event_time 'at');
CREATE FOREIGN TABLE refunds (id int, order_id bigint, amount int, reason text, at timestamptz) SERVER shapes OPTIONS (topic 'shapes_refunds', event_time 'at');
CREATE FOREIGN TABLE customers (customer int OPTIONS (key 'true'), name text) SERVER shapes OPTIONS (topic 'shapes_customers', mode 'upsert');
SELECT kafka_test.produce('shapes_customers', $$SELECT i, jsonb_build_object('name', 'c' || i % 3) FROM generate_series(0, 5) i$$) \gset

BEGIN;
-- members of different types and lengths; the same stream twice; a filter of its own
CREATE MATERIALIZED VIEW united WITH (kafka.continuous) AS
SELECT id, amount, state AS what, at FROM orders WHERE amount > 10
UNION ALL SELECT order_id, amount, reason, at FROM refunds
UNION ALL (SELECT id, 0, 'again', at FROM orders UNION ALL SELECT -1, 1.50, NULL, at FROM refunds);
CREATE MATERIALIZED VIEW merged WITH (kafka.continuous) AS SELECT customer % 2 AS odd, state FROM orders UNION SELECT order_id % 2, reason FROM refunds;
CREATE MATERIALIZED VIEW under_aggregate WITH (kafka.continuous) AS
SELECT what, count(*) AS n, sum(amount) AS total, avg(amount) AS mean
FROM (SELECT id, amount, 'order' AS what FROM orders UNION ALL SELECT id, -amount, reason FROM refunds) moves GROUP BY what HAVING count(*) <> 13;
-- a union joined: every member is
CREATE MATERIALIZED VIEW united_join WITH (kafka.continuous) AS
WITH moves AS (SELECT id AS order_id, amount, at FROM orders UNION ALL SELECT order_id, -amount, at FROM refunds)
SELECT m.order_id, m.amount, r.reason, r.at FROM moves m JOIN refunds r ON r.order_id = m.order_id AND r.at BETWEEN m.at - interval '1 day' AND m.at + interval '1 day';
-- WITH in WITH, in a subquery, used twice, and hiding one of the same name
CREATE MATERIALIZED VIEW with_twice WITH (kafka.continuous) AS
WITH o AS (SELECT id, customer, at FROM orders WHERE amount > 5), o2 AS MATERIALIZED (SELECT id, customer AS who, at FROM o)
SELECT a.id, b.id AS other FROM o a JOIN (WITH o AS (SELECT id, who, at FROM o2 WHERE id % 2 = 0) SELECT * FROM o) b
	ON b.who = a.customer AND b.at BETWEEN a.at AND a.at + interval '2 minutes';
CREATE MATERIALIZED VIEW distinct_rows WITH (kafka.continuous) AS SELECT DISTINCT state, customer FROM orders;
CREATE MATERIALIZED VIEW distinct_groups WITH (kafka.continuous) AS SELECT DISTINCT state, count(*) AS n FROM orders GROUP BY state;
CREATE MATERIALIZED VIEW counted WITH (kafka.continuous) AS SELECT count(*) AS n FROM (SELECT FROM orders UNION ALL SELECT FROM refunds) both_kinds;
CREATE MATERIALIZED VIEW enriched WITH (kafka.continuous) AS
SELECT u.id, c.name FROM (SELECT id, customer FROM orders UNION ALL SELECT id, 3 FROM refunds) u LEFT JOIN customers c USING (customer);
-- conditions and expressions of what may have no match are those of the outer join, not of the view
CREATE MATERIALIZED VIEW left_join WITH (kafka.continuous, kafka.grace = '1 day') AS
SELECT o.id, r.why, r.amount FROM orders o
LEFT JOIN (SELECT order_id, upper(reason) AS why, amount, at FROM (SELECT * FROM refunds WHERE reason IS NOT NULL) not_null WHERE amount < 20) r
	ON r.order_id = o.id AND r.at BETWEEN o.at - interval '1 day' AND o.at + interval '1 day';
CREATE VIEW named AS SELECT customer + 1 AS next, name FROM customers WHERE name <> 'c1';
CREATE MATERIALIZED VIEW right_lookup WITH (kafka.continuous) AS SELECT o.id, n.next, n.name FROM named n RIGHT JOIN orders o ON n.next = o.customer;
CREATE MATERIALIZED VIEW over_union WITH (kafka.continuous) AS SELECT what, max(at) AS last_at, count(*) FROM united GROUP BY what;
COMMIT;

SELECT kafka_test.produce('shapes_orders', $$SELECT i % 7, jsonb_build_object('id', i, 'customer', i % 6, 'amount', i * 1.5, 'state', (ARRAY['NEW', 'PAID', NULL])[i % 3 + 1],
	'at', timestamptz '2026-01-01 00:00:00Z' + i * interval '7 seconds') FROM generate_series(1, 60) i$$) \gset
SELECT kafka_test.produce('shapes_refunds', $$SELECT i, jsonb_build_object('id', i, 'order_id', i * 2, 'amount', i, 'reason', (ARRAY['BROKEN', NULL, 'PAID'])[i % 3 + 1],
	'at', timestamptz '2026-01-01 00:00:05Z' + i * interval '13 seconds') FROM generate_series(1, 30) i$$) \gset

SELECT ok(kafka.wait_for_view('united') AND kafka.wait_for_view('merged') AND kafka.wait_for_view('under_aggregate') AND kafka.wait_for_view('united_join')
	AND kafka.wait_for_view('with_twice') AND kafka.wait_for_view('distinct_rows') AND kafka.wait_for_view('distinct_groups') AND kafka.wait_for_view('counted')
	AND kafka.wait_for_view('left_join') AND kafka.wait_for_view('right_lookup') AND kafka.wait_for_view('enriched') AND kafka.wait_for_view('over_union'), 'all caught up');
SELECT is_empty($$SELECT * FROM kafka.verify('united')$$, 'UNION ALL');
SELECT is_empty($$SELECT * FROM kafka.verify('merged')$$, 'UNION');
SELECT is_empty($$SELECT * FROM kafka.verify('under_aggregate')$$, 'an aggregate over UNION ALL');
SELECT is_empty($$SELECT * FROM kafka.verify('united_join')$$, 'a join with UNION ALL');
SELECT is_empty($$SELECT * FROM kafka.verify('with_twice')$$, 'WITH');
SELECT is_empty($$SELECT * FROM kafka.verify('distinct_rows')$$, 'SELECT DISTINCT');
SELECT is_empty($$SELECT * FROM kafka.verify('distinct_groups')$$, 'SELECT DISTINCT over groups');
SELECT is_empty($$SELECT * FROM kafka.verify('counted')$$, 'a count over UNION ALL without columns');
SELECT is_empty($$SELECT * FROM kafka.verify('over_union')$$, 'a view over UNION ALL');
SELECT set_eq($$SELECT id, name FROM enriched$$,
	$$SELECT u.id, c.name FROM (SELECT id, customer FROM orders UNION ALL SELECT id, 3 FROM refunds) u LEFT JOIN customers c USING (customer)$$, 'UNION ALL with a table looked up');
SELECT is((SELECT count(*) FROM united), 174::bigint, 'UNION ALL: all rows');
SELECT is((SELECT count(*) FROM merged), 7::bigint, 'UNION: distinct rows');
SELECT is((SELECT count(*) FROM united_join), 60::bigint, 'a join with UNION ALL: all rows');
SELECT isnt((SELECT count(*) FROM with_twice), 0::bigint, 'WITH: rows');
SELECT is((SELECT count(*) FROM distinct_rows), 6::bigint, 'SELECT DISTINCT: rows');
SELECT is((SELECT n FROM counted), 90::bigint, 'count');
-- a last record of each stream, two days later, closes all others
SELECT kafka_test.produce('shapes_orders', $$SELECT i, jsonb_build_object('id', 1000, 'at', timestamptz '2026-01-05 00:00:00Z') FROM generate_series(1, 20) i$$),
	kafka_test.produce('shapes_refunds', $$VALUES (1, '{"order_id": 2000, "at": "2026-01-05T00:00:00Z"}')$$) \gset
SELECT ok(kafka.wait_for_view('left_join'), 'time goes on');
SELECT is_empty($$SELECT * FROM kafka.verify('left_join')$$, 'a left join to a subquery');
SELECT results_eq($$SELECT count(*), count(why) FROM left_join WHERE id < 1000$$, $$VALUES (60::bigint, 12::bigint)$$, 'a left join to a subquery: all rows');
SELECT set_eq($$SELECT id, next, name FROM right_lookup WHERE id < 1000$$,
	$$SELECT o.id, n.next, n.name FROM orders o LEFT JOIN named n ON n.next = o.customer WHERE o.id < 1000$$, 'a plain view looked up');
SELECT is((SELECT sum(late_rows) FROM kafka.views WHERE view::text NOT LIKE '%join%'), 0::numeric, 'nothing was late');
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \gset
SELECT * FROM finish();
DROP SCHEMA shapes CASCADE;
DROP SERVER shapes;
