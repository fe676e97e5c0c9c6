-- Every reason why a query over tables cannot be a continuous view: what, why, and what to write instead. Nothing is committed.
CREATE SCHEMA view_refused_tables;
SET search_path = view_refused_tables, public;
CREATE SERVER view_refused_tables FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE orders (order_id bigint OPTIONS (key 'true'), customer_id bigint, amount numeric(12,2), tags text[])
	SERVER view_refused_tables OPTIONS (topic 'orders', mode 'upsert');
CREATE FOREIGN TABLE customers (customer_id bigint OPTIONS (key 'true'), name text, favourite text) SERVER view_refused_tables OPTIONS (topic 'customers', mode 'upsert');
CREATE FOREIGN TABLE items (order_id bigint OPTIONS (key 'true'), line int OPTIONS (key 'true'), product text) SERVER view_refused_tables OPTIONS (topic 'items', mode 'upsert');
CREATE FOREIGN TABLE clicks (page text, at timestamptz) SERVER view_refused_tables OPTIONS (topic 'clicks', event_time 'at');
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE FOREIGN TABLE words (word text OPTIONS (key 'true') COLLATE any_case, order_id bigint) SERVER view_refused_tables OPTIONS (topic 'words', mode 'upsert');
CREATE FOREIGN TABLE plain (word text OPTIONS (key 'true'), order_id bigint) SERVER view_refused_tables OPTIONS (topic 'plain', mode 'upsert');
CREATE TABLE regions (region text PRIMARY KEY, title text);

-- aggregates
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT customer_id, kafka.last(order_id, to_jsonb(tags)::json) FROM orders GROUP BY customer_id;

-- the key: what tells the rows apart must be selected as it is
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT amount FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id::text, amount FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT c.customer_id, o.amount FROM orders o JOIN customers c ON c.customer_id = o.customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, i.product FROM orders o LEFT JOIN items i ON i.order_id = o.order_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, c.customer_id FROM orders o FULL JOIN customers c ON c.customer_id = coalesce(o.order_id, 0);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, line, a.product FROM items a FULL JOIN items b USING (order_id, line);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT c.customer_id, o.order_id FROM (orders o FULL JOIN items i USING (order_id)) FULL JOIN customers c ON c.customer_id = o.customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT amount FROM orders WHERE order_id = 5;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT DISTINCT ON (customer_id) customer_id, amount FROM orders ORDER BY customer_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, tag FROM orders o CROSS JOIN LATERAL unnest(o.tags) AS tag;
-- equal is not the same: of 1.0 and 1.00 follow two texts, and of one word several that another collation tells apart
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.amount FROM orders o JOIN plain p ON p.word = o.amount::text AND p.order_id = o.order_id;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT w.word FROM words w JOIN plain p ON p.word = w.word;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT p.word FROM plain p JOIN plain q ON q.word = p.word COLLATE any_case;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT word, w.order_id FROM words w FULL JOIN plain p USING (word);
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT 'w' AS source, word FROM words UNION ALL SELECT 'p', word FROM plain;
-- arms of a union
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id FROM orders UNION ALL SELECT customer_id FROM customers;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT 'a' AS source, order_id FROM orders UNION ALL SELECT 'a', customer_id FROM customers;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT order_id, NULL::bigint AS customer FROM orders UNION ALL SELECT order_id, customer_id FROM orders WHERE customer_id IS NOT NULL;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT name FROM customers UNION ALL SELECT page FROM clicks;
-- joins that cannot be followed back
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, c.name FROM orders o JOIN customers c ON c.name = o.tags::text;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, c.customer_id FROM orders o CROSS JOIN LATERAL unnest(o.tags) AS tag JOIN customers c ON c.favourite = tag;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, c.customer_id FROM orders o CROSS JOIN customers c;
CREATE FOREIGN TABLE changes (change int OPTIONS (key 'true'), made_by xid) SERVER view_refused_tables OPTIONS (topic 'changes', mode 'upsert');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT a.change, b.change AS other FROM changes a JOIN changes b ON b.made_by = a.made_by;
-- inputs and options
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT o.order_id, r.title FROM orders o JOIN regions r ON r.region = o.tags[1];
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.event_time = 'order_id') AS SELECT order_id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bootstrap = false) AS SELECT order_id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.start = 'latest') AS SELECT order_id FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.grace = '1 min') AS SELECT order_id FROM orders;
CREATE VIEW v WITH (kafka.continuous) AS SELECT order_id, amount FROM orders;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.bootstrap = false) AS SELECT c.page FROM clicks c;
BEGIN;
CREATE MATERIALIZED VIEW pages WITH (kafka.continuous) AS SELECT page, count(*) AS n FROM clicks GROUP BY page;
CREATE MATERIALIZED VIEW everything WITH (kafka.continuous) AS SELECT count(*) AS n FROM clicks;
CREATE MATERIALIZED VIEW visits WITH (kafka.continuous) AS SELECT page, at FROM clicks;
SAVEPOINT s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT n FROM everything;
ROLLBACK TO s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT k.page, p.n FROM clicks k JOIN pages p ON p.page = k.page;
ROLLBACK TO s;
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT k.page, p.n FROM visits k LEFT JOIN pages p ON p.page = k.page;
ROLLBACK;

DROP SCHEMA view_refused_tables CASCADE;
DROP SERVER view_refused_tables;
