-- Views over views over views, diamonds (a view joined with its own source), and a topic beside a view: made in one
-- transaction they see every record once, whatever the batches; so each equals its query over the topics.
SELECT plan(9);
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('graphs_orders', 1), kafka_test.create_topic('graphs_payments', 2) \g /dev/null
CREATE FOREIGN TABLE orders (id int, customer int, amount numeric, at timestamptz) SERVER broker OPTIONS (topic 'graphs_orders', event_time 'at');
CREATE FOREIGN TABLE payments (order_id int, paid numeric, paid_at timestamptz) SERVER broker OPTIONS (topic 'graphs_payments', event_time 'paid_at');
ALTER SYSTEM SET kafka.batch_rows = 3;
SELECT pg_reload_conf() \g /dev/null

BEGIN;
CREATE MATERIALIZED VIEW large WITH (kafka.continuous) AS SELECT id, customer, amount, at FROM orders WHERE amount > 20;
-- a view with its own source, and with a topic its source does not read
CREATE MATERIALIZED VIEW diamond WITH (kafka.continuous) AS
	SELECT l.id, o.id AS earlier, l.at FROM large l JOIN orders o ON o.customer = l.customer AND o.at BETWEEN l.at - interval '1 minute' AND l.at;
CREATE MATERIALIZED VIEW large_paid WITH (kafka.continuous) AS
	SELECT l.id, p.paid, p.paid_at FROM large l JOIN payments p ON p.order_id = l.id AND p.paid_at BETWEEN l.at AND l.at + interval '1 hour';
-- three storeys, and a diamond of views
CREATE MATERIALIZED VIEW late_paid WITH (kafka.continuous) AS SELECT id, paid, paid_at FROM large_paid WHERE paid > 25;
CREATE MATERIALIZED VIEW both_ways WITH (kafka.continuous) AS
	SELECT a.id, a.paid, b.paid AS again, a.paid_at FROM large_paid a JOIN late_paid b ON b.id = a.id AND b.paid_at BETWEEN a.paid_at - interval '1 hour' AND a.paid_at + interval '1 hour';
CREATE MATERIALIZED VIEW totals WITH (kafka.continuous) AS SELECT id % 2 AS odd, count(*) AS n, sum(paid + again) AS paid FROM both_ways GROUP BY 1;
COMMIT;
SELECT kafka_test.produce('graphs_orders', $$SELECT i, jsonb_build_object('id', i, 'customer', i % 4, 'amount', i, 'at', timestamptz '2026-01-01 00:00Z' + i * interval '5 seconds')
	FROM generate_series(1, 50) i$$) \g /dev/null
SELECT kafka_test.produce('graphs_payments', $$SELECT i, jsonb_build_object('order_id', i % 50, 'paid', i, 'paid_at', timestamptz '2026-01-01 00:01Z' + i * interval '4 seconds')
	FROM generate_series(1, 80) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('totals') AND kafka.wait_for_view('diamond'), 'caught up');
SELECT bag_eq('SELECT id, earlier FROM diamond', $$SELECT l.id, o.id AS earlier FROM orders l JOIN orders o ON o.customer = l.customer AND o.at BETWEEN l.at - interval '1 minute' AND l.at
	WHERE l.amount > 20$$, 'a diamond');
SELECT is((SELECT count(*) FROM diamond), 120::bigint, 'each pair once');
SELECT is_empty($$SELECT * FROM kafka.verify('large_paid')$$, 'a view and a topic');
SELECT is_empty($$SELECT * FROM kafka.verify('both_ways')$$, 'a diamond of views');
SELECT is_empty($$SELECT * FROM kafka.verify('totals')$$, 'an aggregate four storeys up');
SELECT isnt((SELECT sum(n) FROM totals), 0::numeric, 'which has rows');
-- one of them at work already: its topic is read beyond what a new reader would need
SELECT throws_ok($$CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS
	SELECT l.id FROM large l JOIN orders o ON o.customer = l.customer AND o.at BETWEEN l.at - interval '1 minute' AND l.at$$,
	'continuous view "v" cannot read a topic and a view that is at work', 'a topic beside a view that is at work');
SELECT is((SELECT sum(late_rows) FROM kafka.views), 0::numeric, 'nothing was late');
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT * FROM finish();
