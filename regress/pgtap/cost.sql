-- The work of a batch is in proportion to its records, however large buffers, tables and views have grown (DESIGN.md 3): views of every form
-- get 20,000 rows, then a few more. For those no table is scanned; the index entries, rows and blocks that are touched are counted.
SELECT no_plan();
SET timezone = 'UTC';
-- its scans would be counted
ALTER SYSTEM SET autovacuum = off;
SELECT pg_reload_conf() \g /dev/null
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('cost_' || t, 2, 'retention.ms=-1') FROM unnest('{orders,payments,parcels,customers,shops}'::text[]) t \g /dev/null

CREATE FOREIGN TABLE orders (id int, customer int, part text, amount numeric, at timestamptz) SERVER broker OPTIONS (topic 'cost_orders', event_time 'at');
CREATE FOREIGN TABLE payments (id int, order_id int, at timestamptz) SERVER broker OPTIONS (topic 'cost_payments', event_time 'at');
CREATE FOREIGN TABLE parcels (id int, order_id int, at timestamptz) SERVER broker OPTIONS (topic 'cost_parcels', event_time 'at');
CREATE FOREIGN TABLE customers (customer int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'cost_customers', mode 'upsert');
CREATE FOREIGN TABLE shops (customer int OPTIONS (key 'true'), part text OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'cost_shops', mode 'upsert');
CREATE TABLE regions (customer int PRIMARY KEY, title text);
INSERT INTO regions SELECT i, 'region ' || i FROM generate_series(1, 20000) i;

CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric);
CREATE TABLE forms (number serial, view text, query text, options text DEFAULT '', stored boolean DEFAULT true);
INSERT INTO forms (view, query) VALUES
	('filtered', 'SELECT id, customer, at FROM orders WHERE amount > 0'),
	('bare', 'SELECT id FROM orders WHERE amount > 0'),
	('joined', $$SELECT o.id, p.id AS payment, p.at FROM orders o JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour'$$),
	('joined_three', $$SELECT o.id, p.id AS payment, c.id AS parcel FROM orders o JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour'
		JOIN parcels c ON c.order_id = o.id AND c.at BETWEEN o.at AND o.at + interval '1 hour'$$),
	('joined_self', $$SELECT a.id, b.id AS again FROM orders a JOIN orders b ON b.customer = a.customer AND b.at > a.at AND b.at <= a.at + interval '1 hour'$$),
	('looked_up', 'SELECT o.id, c.name, o.at FROM orders o JOIN customers c ON c.customer = o.customer'),
	('looked_up_left', 'SELECT o.id, s.name, o.at FROM orders o LEFT JOIN shops s ON s.customer = o.customer AND s.part = o.part'),
	('looked_up_part', 'SELECT o.id, s.name, o.at FROM orders o LEFT JOIN shops s ON s.customer = o.customer'),
	('related', 'SELECT o.id, r.title, o.at FROM orders o LEFT JOIN regions r ON r.customer = o.customer'),
	('totals', 'SELECT customer, count(*) AS n, sum(amount) AS amount FROM orders GROUP BY customer'),
	('greatest_of', 'SELECT customer, part, max(amount) AS amount FROM orders GROUP BY customer, part'),
	('averages', 'SELECT customer, avg(amount) AS amount FROM orders GROUP BY customer'),
	('having_few', 'SELECT customer, part, sum(amount) AS amount FROM orders GROUP BY customer, part HAVING sum(amount) < 1000'),
	('having_null', 'SELECT CASE WHEN customer % 2 = 0 THEN customer END AS even, CASE WHEN customer % 2 = 1 THEN customer END AS odd, sum(amount) AS amount FROM orders GROUP BY 1, 2 HAVING sum(amount) < 1000'),
	('only_one', 'SELECT count(*) AS n, avg(amount) AS amount FROM orders'),
	('joined_totals', $$SELECT o.customer, count(*) AS n FROM orders o JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour' GROUP BY o.customer$$),
	('windows', $$SELECT kafka.tumble(at, '10 ms') AS during, count(*) AS n FROM orders GROUP BY 1$$),
	('united', 'SELECT id, at FROM orders UNION ALL SELECT order_id, at FROM payments'),
	('united_groups', 'SELECT id, count(*) AS n FROM (SELECT id FROM orders UNION ALL SELECT order_id FROM payments) u GROUP BY id'),
	('different', 'SELECT DISTINCT customer, part FROM orders'),
	('spread', 'SELECT customer, part, stddev(amount) AS amount FROM orders GROUP BY customer, part'),
	('grown', 'SELECT CASE WHEN customer % 2 = 0 THEN customer END AS even, CASE WHEN customer % 2 = 1 THEN customer END AS odd, product(amount) AS amount FROM orders GROUP BY 1, 2'),
	('variety', 'SELECT customer, count(DISTINCT part) AS parts, sum(DISTINCT amount) FILTER (WHERE part = ''a'') AS amounts FROM orders GROUP BY customer'),
	('first_part', 'SELECT customer, kafka.first(part, at) AS part FROM orders GROUP BY customer'),
	('collected', 'SELECT customer, array_agg(id) AS ids FROM orders GROUP BY customer'),
	('latest', 'SELECT DISTINCT ON (customer) customer, id, at FROM orders ORDER BY customer, at DESC'),
	('least', 'SELECT DISTINCT ON (customer) customer, id FROM orders ORDER BY customer, amount, at DESC'),
	('sessions', $$SELECT customer, kafka.session(at, '1 s') AS during, count(*) AS n, avg(amount) AS amount FROM orders GROUP BY customer, during$$),
	('sessions_null', $$SELECT CASE WHEN customer % 2 = 0 THEN customer END AS even, CASE WHEN customer % 2 = 1 THEN customer END AS odd, kafka.session(at, '1 us') AS during, max(id) AS id
		FROM orders GROUP BY 1, 2, during HAVING max(amount) < 1000$$),
	('sessions_rows', $$SELECT customer, kafka.session(at, '1 s') AS during, array_agg(id) AS ids, count(DISTINCT part) AS parts FROM orders GROUP BY customer, during$$),
	('sessions_joined', $$SELECT o.customer, kafka.session(greatest(o.at, p.at), '1 s') AS during, kafka.last(p.id, p.at) AS id FROM orders o
		JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour' GROUP BY o.customer, during$$),
	('table_filtered', $$SELECT customer, name FROM customers WHERE name <> ''$$),
	('tables_united', $$SELECT 'as it is' AS kind, customer, name FROM customers UNION ALL SELECT 'large', customer, upper(name) FROM customers$$),
	('tables_united_null', $$SELECT 'customer' AS kind, customer, '' AS part, name FROM customers UNION ALL SELECT 'shop', customer, part, name FROM shops$$),
	('tables_united_totals', 'SELECT customer, count(*) AS n, max(name) AS name FROM (SELECT customer, name FROM customers UNION ALL SELECT customer, name FROM shops) u GROUP BY customer'),
	('tables_joined', 'SELECT s.customer, s.part, s.name AS shop, c.name FROM shops s JOIN customers c ON c.customer = s.customer'),
	('tables_left', 'SELECT s.customer, s.part, s.name AS shop, c.name FROM shops s LEFT JOIN customers c ON c.customer = s.customer'),
	('tables_on_expression', 'SELECT c.customer, s.customer AS shop, s.part FROM customers c JOIN shops s ON lower(s.name) = lower(c.name) AND s.part <> '''''),
	('tables_left_on_expression', 'SELECT s.customer, s.part, c.name FROM shops s LEFT JOIN customers c ON c.customer = s.customer + 0'),
	('joined_on_expression', $$SELECT o.id, p.id AS payment FROM orders o JOIN payments p ON p.order_id::text = o.id::text AND p.at BETWEEN o.at AND o.at + interval '1 hour'$$),
	('looked_up_by_expression', $$SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.customer::text = o.customer::text AND c.name <> ''$$),
	('table_totals', 'SELECT customer, count(*) AS n FROM shops GROUP BY customer'),
	('table_greatest', 'SELECT customer % 2000 AS k, max(name) AS name, count(*) AS n FROM customers GROUP BY 1'),
	('table_spelled', 'SELECT (customer % 100)::numeric AS k, count(*) AS n FROM customers GROUP BY 1'),
	('table_total', 'SELECT count(*) AS n, sum(customer) AS s FROM customers'),
	('tables_totals', 'SELECT c.customer % 2000 AS k, count(s.name) AS n FROM customers c LEFT JOIN shops s ON s.customer = c.customer GROUP BY 1'),
	('table_latest', 'SELECT DISTINCT ON (customer % 2000) customer % 2000 AS k, name FROM customers ORDER BY customer % 2000, name DESC'),
	('over_keyed_latest', 'SELECT DISTINCT ON (customer % 2000) customer % 2000 AS k, customer, amount FROM totals ORDER BY customer % 2000, amount DESC'),
	('over_keyed', 'SELECT customer, amount FROM totals WHERE amount > 0'),
	('over_keyed_totals', 'SELECT customer % 2000 AS k, sum(amount) AS amount, count(*) AS n FROM totals GROUP BY 1'),
	('over', 'SELECT id, customer, at FROM filtered WHERE id % 2 = 0'),
	('over_totals', 'SELECT customer, count(*) AS n FROM filtered GROUP BY customer');
INSERT INTO forms (view, query, options) VALUES
	('outer_left', $$SELECT o.id, p.id AS payment, o.at FROM orders o LEFT JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour'$$, ''),
	('outer_full', $$SELECT o.id, p.id AS payment FROM orders o FULL JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour'$$, ''),
	('windows_grace', $$SELECT kafka.tumble(at, '1 ms') AS during, count(*) AS n FROM orders GROUP BY 1$$, $$, kafka.grace = '1 hour'$$),
	('windows_kept', $$SELECT kafka.tumble(at, '1 ms') AS during, avg(amount) AS amount FROM orders GROUP BY 1$$, $$, kafka.retention = '1 hour'$$),
	('rows_kept', 'SELECT id, at FROM orders', $$, kafka.retention = '1 hour'$$),
	('sessions_grace', $$SELECT customer, kafka.session(at, '1 s') AS during, string_agg(part, ',') AS parts FROM orders GROUP BY customer, during$$, $$, kafka.grace = '1 hour'$$),
	('sessions_final', $$SELECT customer, kafka.session(at, '1 s') AS during, count(*) AS n FROM orders GROUP BY customer, during$$, $$, kafka.emit = 'final', kafka.grace = '1 hour'$$),
	('sessions_rows_final', $$SELECT customer, kafka.session(at, '1 s') AS during, kafka.first(part, at) AS part FROM orders GROUP BY customer, during$$, $$, kafka.emit = 'final', kafka.grace = '1 hour'$$),
	('windows_final', $$SELECT kafka.tumble(at, '1 ms') AS during, count(*) AS n FROM orders GROUP BY 1$$, $$, kafka.emit = 'final', kafka.grace = '1 hour'$$),
	('values_final', $$SELECT kafka.tumble(at, '1 ms') AS during, count(DISTINCT customer) AS n FROM orders GROUP BY 1$$, $$, kafka.emit = 'final', kafka.grace = '1 hour'$$);
INSERT INTO forms (view, query, stored) VALUES ('given', 'SELECT o.id, c.name FROM orders o JOIN customers c ON c.customer = o.customer', false);
DO $$
DECLARE
	form forms;
BEGIN
	FOR form IN SELECT * FROM forms ORDER BY number LOOP
		EXECUTE format('CREATE %s %I WITH (kafka.continuous, kafka.pipeline = ''cost''%s) AS %s', CASE WHEN form.stored THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, form.view, form.options, form.query);
	END LOOP;
END $$;

-- orders first .. last: a millisecond each, five to a customer, paid and sent at once; customers and shops
CREATE FUNCTION write_orders(first int, last int, amount numeric, part text DEFAULT 'a') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.produce('cost_orders', format($q$SELECT i, jsonb_build_object('id', i, 'customer', 1 + i %% 4000, 'part', %L::text, 'amount', %s, 'at', timestamptz '2024-01-01Z' + i * interval '1 ms')
		FROM generate_series(%s, %s) i$q$, part, amount, first, last));
	PERFORM kafka_test.produce('cost_payments', format($q$SELECT i, jsonb_build_object('id', i, 'order_id', i, 'at', timestamptz '2024-01-01Z' + i * interval '1 ms') FROM generate_series(%s, %s) i$q$, first, last));
	PERFORM kafka_test.produce('cost_parcels', format($q$SELECT i, jsonb_build_object('id', i, 'order_id', i, 'at', timestamptz '2024-01-01Z' + i * interval '1 ms') FROM generate_series(%s, %s) i$q$, first, last));
END $$;
CREATE FUNCTION write_tables(first int, last int, name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.produce('cost_customers', format($q$SELECT i, jsonb_build_object('name', %L::text || i) FROM generate_series(%s, %s) i$q$, name, first, last));
	PERFORM kafka_test.produce('cost_shops', format($q$SELECT jsonb_build_object('customer', i, 'part', CASE WHEN i %% 100 > 0 THEN 'a' END), jsonb_build_object('name', %L::text || i) FROM generate_series(%s, %s) i$q$, name, first, last));
END $$;
CREATE FUNCTION delete_from_tables(first int, last int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.produce('cost_customers', format($q$SELECT i, NULL FROM generate_series(%s, %s) i$q$, first, last));
	PERFORM kafka_test.produce('cost_shops', format($q$SELECT jsonb_build_object('customer', i, 'part', CASE WHEN i %% 100 > 0 THEN 'a' END), NULL FROM generate_series(%s, %s) i$q$, first, last));
END $$;

-- the tables of each view, the ordinary tables it reads among them
CREATE TABLE tables AS
	SELECT f.view, c.oid, c.relname FROM forms f JOIN kafka_state.view v ON v.relation = f.view::regclass
	JOIN pg_class c ON c.relkind = 'r' AND (c.oid = v.relation OR c.relname = 'regions' AND f.view = 'related'
		OR c.relnamespace = 'kafka_state'::regnamespace AND c.relname ~ ('^[a-z_]+_' || v.view || '(_|$)') AND c.relname !~ '^outbox');
CREATE VIEW work AS
	SELECT t.view, sum(u.seq_tup_read) AS scanned, sum(i.entries) AS entries, sum(coalesce(u.idx_tup_fetch, 0)) AS fetched, sum(u.n_tup_ins + u.n_tup_upd + u.n_tup_del) AS changed,
		sum(b.heap_blks_hit + b.heap_blks_read + coalesce(b.idx_blks_hit + b.idx_blks_read, 0)) AS blocks
	FROM tables t JOIN pg_stat_all_tables u ON u.relid = t.oid JOIN pg_statio_all_tables b ON b.relid = t.oid,
		LATERAL (SELECT coalesce(sum(idx_tup_read), 0) AS entries FROM pg_stat_all_indexes WHERE relid = t.oid) i
	GROUP BY t.view;
-- waits until the worker has reported what it did, which it does once a second: a report has all up to the last change
CREATE FUNCTION reported(OUT still int) LANGUAGE plpgsql AS $$
DECLARE
	before numeric := -1;
	now numeric;
BEGIN
	still := 0;
	WHILE still < 11 LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT sum(n_tup_ins + n_tup_upd + n_tup_del + coalesce(idx_tup_fetch, 0)) INTO now FROM pg_stat_user_tables WHERE relid IN (SELECT oid FROM tables);
		still := CASE WHEN now = before THEN still + 1 ELSE 0 END;
		before := now;
		PERFORM pg_sleep(0.2);
	END LOOP;
END $$;

ANALYZE forms, tables, pg_class, pg_index, pg_namespace;
SELECT write_tables(1, 20000, 'first '), write_orders(1, 20000, 10) \g /dev/null
SELECT ok(kafka.wait_for_view('over_totals', '300s'), '20,000 rows are applied');
CREATE TABLE done (round text, number int, view text, scanned numeric, entries numeric, fetched numeric, changed numeric, blocks numeric);
CREATE TABLE before AS TABLE work;
CREATE FUNCTION measure(round text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF NOT kafka.wait_for_view('over_totals', '60s') THEN
		RETURN false;
	END IF;
	PERFORM reported();
	INSERT INTO done SELECT round, f.number, view, w.scanned - b.scanned, w.entries - b.entries, w.fetched - b.fetched, w.changed - b.changed, w.blocks - b.blocks
		FROM forms f JOIN work w USING (view) JOIN before b USING (view);
	TRUNCATE before;
	INSERT INTO before TABLE work;
	RETURN true;
END $$;
SELECT measure('load') \g /dev/null
-- with plans that know nothing of the tables, and with those that know all
SELECT write_orders(20001, 20010, 10), delete_from_tables(191, 200) \g /dev/null
SELECT measure('ten orders, and ten deleted rows of tables that were never analysed') \g /dev/null
VACUUM ANALYZE;
SELECT measure('load') \g /dev/null
SELECT write_orders(20011, 20020, 5000), write_orders(20021, 20030, 10, 'b'), write_tables(291, 300, 'second ') \g /dev/null
SELECT measure('ten large orders, ten of another part, and ten changed rows of tables') \g /dev/null
SELECT delete_from_tables(391, 400) \g /dev/null
SELECT measure('ten deleted rows of tables') \g /dev/null
SELECT is_empty($$SELECT round, view, scanned FROM done WHERE round <> 'load' AND view NOT IN ('only_one', 'table_total') AND scanned > 0$$, 'no table was scanned');
SELECT is_empty($$SELECT round, view, entries, fetched, blocks FROM done WHERE round <> 'load' AND (entries > 200 OR fetched > 200 OR blocks > 1000)$$, 'few index entries and rows were read, and few blocks touched');
SELECT is_empty($$SELECT view FROM forms WHERE view NOT IN (SELECT view FROM done WHERE round <> 'load' AND changed > 0)$$, 'every view had something to do');
-- an eviction reads its buffer as a whole, each time the frontier has moved by an eighth of what is kept: a row is read some eight times in its life
SELECT is_empty($$SELECT f.view, e.title, e.plan FROM forms f, kafka.explain(f.view, plans => true) e WHERE phase <> 'evict' AND view NOT IN ('only_one', 'table_total') AND e.plan ~ 'Seq Scan'$$,
	'nor is a scan in any plan for a few rows');
SELECT * FROM finish();
ALTER SYSTEM RESET autovacuum;
SELECT pg_reload_conf() \g /dev/null
