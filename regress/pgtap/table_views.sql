-- Views that tables drive equal their queries, to the text of every value, after each step: upserts, tombstones of rows that are there
-- and that are not, re-inserts, references and keys that move, rows that many refer to, groups that empty and return. First record by
-- record, then in one batch. What only the last step would betray (a group that forgot a scale) is asked for by value.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('tv_' || t, 1, 'retention.ms=-1') FROM unnest('{orders,customers,cities,lines,notes}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE orders (id int OPTIONS (key 'true'), customer int, amount numeric, state text) SERVER broker OPTIONS (topic 'tv_orders', mode 'upsert');
CREATE FOREIGN TABLE customers (id int OPTIONS (key 'true'), name text, city text, mentor int) SERVER broker OPTIONS (topic 'tv_customers', mode 'upsert');
CREATE FOREIGN TABLE cities (city text OPTIONS (key 'true'), country text) SERVER broker OPTIONS (topic 'tv_cities', mode 'upsert');
-- whose key comes last
CREATE FOREIGN TABLE notes (body text, kind text, id int OPTIONS (key 'true')) SERVER broker OPTIONS (topic 'tv_notes', mode 'upsert');
CREATE FOREIGN TABLE lines (id int OPTIONS (key 'true'), line int OPTIONS (key 'true'), what text) SERVER broker OPTIONS (topic 'tv_lines', mode 'upsert');
ALTER SYSTEM SET kafka.batch_rows = 1;
SELECT pg_reload_conf() \g /dev/null

-- name, and the query it must equal
CREATE TABLE views (view text, query text, equals text);
INSERT INTO views VALUES
	-- of rows at the same place, the query leaves open which one comes first; the view does not
	('tied', 'SELECT DISTINCT ON (customer) customer, state FROM orders ORDER BY customer, amount DESC', 'SELECT DISTINCT ON (customer) customer, state FROM orders ORDER BY customer, amount DESC, state, amount::text'),
	('standing', 'SELECT customer, kafka.first(state, amount) AS first, kafka.last(state, amount) AS last, kafka.last(state, id) AS newest FROM orders GROUP BY customer',
		$$SELECT customer, (array_agg(state ORDER BY amount, state) FILTER (WHERE amount IS NOT NULL))[1] AS first,
			(array_agg(state ORDER BY amount DESC, state DESC) FILTER (WHERE amount IS NOT NULL))[1] AS last, (array_agg(state ORDER BY id DESC))[1] AS newest FROM orders GROUP BY customer$$);
INSERT INTO views (view, query) VALUES
	('kinds', 'SELECT kind, count(*) AS n FROM notes GROUP BY kind'),
	('kinds_of_city', 'SELECT c.city, n.kind, count(*) AS n FROM notes n JOIN customers c ON c.id = n.id GROUP BY c.city, n.kind'),
	('bodies', 'SELECT count(*) AS n FROM notes'),
	('newest', 'SELECT DISTINCT ON (customer) customer, id, amount, state FROM orders ORDER BY customer, id DESC'),
	('dearest', 'SELECT DISTINCT ON (state, customer) customer, state, amount * 2 AS twice FROM orders ORDER BY state NULLS FIRST, customer DESC, amount DESC NULLS LAST, id'),
	('cheapest', 'SELECT DISTINCT ON (t.country) t.country, c.name, o.id FROM orders o JOIN customers c ON c.id = o.customer LEFT JOIN cities t ON t.city = c.city ORDER BY t.country, o.amount NULLS FIRST, o.id'),
	('line_of', 'SELECT DISTINCT ON (o.customer % 2) o.customer % 2 AS odd, l.what FROM orders o LEFT JOIN lines l ON l.id = o.id ORDER BY o.customer % 2, l.line DESC NULLS LAST, o.id, l.what'),
	-- joined on expressions
	('on_number', 'SELECT o.id, c.id AS customer, c.name FROM orders o JOIN customers c ON c.id = o.customer % 10 + 0'),
	('on_texts', 'SELECT o.id, c.id AS customer, o.amount, c.city FROM orders o JOIN customers c ON upper(c.name) = upper(o.state)'),
	('left_on_texts', 'SELECT c.id, t.city, t.country, o.id AS order FROM customers c LEFT JOIN cities t ON lower(t.city) = lower(c.city) AND t.country IS NOT NULL LEFT JOIN orders o ON o.id::text = c.mentor::text'),
	('full_on_number', 'SELECT o.id, c.id AS customer, o.state FROM orders o FULL JOIN customers c ON c.id + 1 = o.customer + 1'),
	('groups_on_texts', 'SELECT upper(c.name) AS name, count(*) AS n, sum(o.amount) AS amount FROM orders o JOIN customers c ON upper(c.name) = upper(o.state) GROUP BY 1'),
	('first_of_all', $$SELECT DISTINCT ON (what) what, kind, id FROM (SELECT 'order' AS kind, id, state AS what FROM orders UNION ALL SELECT 'customer', id, name FROM customers) u ORDER BY what, id, kind$$),
	('open', $$SELECT id, customer, amount * 2 AS twice FROM orders WHERE state = 'open'$$),
	('named', $$SELECT o.id, o.amount, c.name, t.country FROM orders o JOIN customers c ON c.id = o.customer LEFT JOIN cities t ON t.city = c.city$$),
	('mentors', $$SELECT c.id, m.name AS mentor, mm.name AS their_mentor FROM customers c LEFT JOIN customers m ON m.id = c.mentor LEFT JOIN customers mm ON mm.id = m.mentor$$),
	('listed', $$SELECT o.id, l.line, l.what, o.state FROM orders o LEFT JOIN lines l ON l.id = o.id AND l.what <> 'hidden'$$),
	('without_lines', $$SELECT o.id, o.state FROM orders o LEFT JOIN lines l ON l.id = o.id WHERE l.id IS NULL$$),
	('of_customers', $$SELECT c.city, o.id FROM customers c JOIN orders o ON o.customer = c.id AND o.state = c.name$$),
	('per_customer', $$SELECT customer, count(*) AS n, count(state) AS states, sum(amount) AS total, avg(amount) AS mean FROM orders GROUP BY customer$$),
	('per_country', $$SELECT t.country, sum(o.amount) FILTER (WHERE o.state = 'open') AS open, min(o.id) AS first, max(o.id) AS last FROM orders o
		JOIN customers c ON c.id = o.customer LEFT JOIN cities t ON t.city = c.city GROUP BY t.country HAVING count(*) > 1$$),
	('names', $$SELECT city, array_agg(name ORDER BY id DESC) AS names, count(DISTINCT mentor) AS mentors FROM customers GROUP BY city$$),
	('total', $$SELECT count(*) AS n, sum(amount) AS total, max(amount) AS most, avg(customer) AS mean FROM orders$$),
	('states', $$SELECT DISTINCT state, customer FROM orders$$),
	('full_keys', $$SELECT id, o.amount, c.name FROM orders o FULL JOIN customers c USING (id)$$),
	('full_references', $$SELECT o.id, c.id AS customer, o.state, t.country FROM orders o FULL JOIN customers c ON c.id = o.customer AND o.state <> 'paid'
		LEFT JOIN cities t ON t.city = c.city$$),
	('full_rest', $$SELECT o.id, c.id AS customer, c.city FROM orders o FULL JOIN customers c ON c.id = o.id LEFT JOIN lines l ON l.id = o.id AND l.line = 1 WHERE c.mentor IS DISTINCT FROM 8 AND l.what IS NULL$$),
	('full_groups', $$SELECT coalesce(c.name, '-') AS name, count(o.id) AS orders, count(c.id) AS customers, sum(o.amount) AS total FROM orders o
		FULL JOIN customers c ON c.id = o.customer GROUP BY 1$$),
	('united', $$SELECT 'order' AS kind, id, state AS what FROM orders UNION ALL SELECT 'customer', id, name FROM customers WHERE city IS NOT NULL
		UNION ALL SELECT 'mentor', c.id, m.name FROM customers c JOIN customers m ON m.id = c.mentor$$),
	('united_groups', $$SELECT what, count(*) AS n, max(id) AS last FROM (SELECT id, state AS what FROM orders UNION ALL SELECT id, name FROM customers) u GROUP BY what$$);
DO $$
DECLARE
	v views;
BEGIN
	FOR v IN TABLE views LOOP
		EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (kafka.continuous, kafka.pipeline = ''tables'') AS %s', v.view, v.query);
	END LOOP;
END $$;

-- the tables as they are, for the queries: reading a topic once a step is enough
CREATE SCHEMA now;
CREATE TABLE now.orders AS TABLE orders;
CREATE TABLE now.customers AS TABLE customers;
CREATE TABLE now.cities AS TABLE cities;
CREATE TABLE now.lines AS TABLE lines;
CREATE TABLE now.notes AS TABLE notes;
-- produces records (topic, key, value) and gives what differs of every view then, as text
CREATE FUNCTION differences(records text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	name text;
	v views;
BEGIN
	FOR name IN EXECUTE format('SELECT topic FROM (VALUES %s) r (topic, key, value) GROUP BY topic', records) LOOP
		PERFORM kafka_test.produce('tv_' || name, format('SELECT key, value FROM (VALUES %s) r (topic, key, value) WHERE topic = %L', records, name));
	END LOOP;
	IF NOT kafka.wait_for_view('open', '60s') THEN
		RETURN NEXT 'does not catch up';
	END IF;
	FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'now'::regnamespace LOOP
		EXECUTE format('DELETE FROM now.%1$I; INSERT INTO now.%1$I TABLE public.%1$I', name);
	END LOOP;
	PERFORM set_config('search_path', 'now, public', true);
	FOR v IN TABLE views LOOP
		RETURN QUERY EXECUTE format('SELECT %1$L || '': '' || d FROM (((SELECT t::text FROM %1$I t) EXCEPT ALL (SELECT q::text FROM (%2$s) q))
			UNION ALL ((SELECT q::text FROM (%2$s) q) EXCEPT ALL (SELECT t::text FROM %1$I t))) x (d)', v.view, coalesce(v.equals, v.query));
	END LOOP;
	PERFORM set_config('search_path', 'public', true);
END $$;
CREATE TABLE steps (step int GENERATED ALWAYS AS IDENTITY, what text, records text);
INSERT INTO steps (what, records) VALUES
	('rows without partners', $$('orders', '1', '{"customer": 7, "amount": 1.50, "state": "open"}'), ('lines', '{"id": 9, "line": 1}', '{"what": "lost"}')$$),
	('notes', $$('notes', '7', '{"body": "x", "kind": "a"}'), ('notes', '8', '{"body": "x", "kind": "b"}'), ('notes', '9', '{"body": "y", "kind": "a"}')$$),
	('the partner', $$('customers', '7', '{"name": "Ann", "city": "Bern", "mentor": 7}')$$),
	('the partner''s partner', $$('cities', 'Bern', '{"country": "CH"}')$$),
	('two more of the customer', $$('orders', '2', '{"customer": 7, "amount": 2.1, "state": "paid"}'), ('orders', '3', '{"customer": 7, "amount": 3, "state": "open"}')$$),
	('all of them change', $$('customers', '7', '{"name": "open", "city": "Oslo", "mentor": 8}'), ('customers', '8', '{"name": "Bob", "city": "Bern", "mentor": null}')$$),
	('a note changes, and one goes', $$('notes', '9', '{"body": "y", "kind": "b"}'), ('notes', '8', null)$$),
	('a reference moves', $$('orders', '3', '{"customer": 8, "amount": 3, "state": "open"}')$$),
	('a scale goes', $$('orders', '1', null)$$),
	('and comes back', $$('orders', '1', '{"customer": 7, "amount": 1.50, "state": null}')$$),
	('lines, one hidden, one without a number', $$('lines', '{"id": 1, "line": 1}', '{"what": "pen"}'), ('lines', '{"id": 1, "line": 2}', '{"what": "hidden"}'),
		('lines', '{"id": 1, "line": null}', '{"what": "paper"}'), ('lines', '{"id": null, "line": null}', '{"what": "nobody''s"}')$$),
	('the hidden one shows', $$('lines', '{"id": 1, "line": 2}', '{"what": "ink"}')$$),
	('one without a number goes', $$('lines', '{"id": 1, "line": null}', null)$$),
	('not a number, and infinity', $$('orders', '4', '{"customer": 7, "amount": "NaN", "state": "open"}'), ('orders', '5', '{"customer": 7, "amount": "Infinity", "state": "open"}')$$),
	('infinity less', $$('orders', '4', null)$$),
	('both infinities', $$('orders', '6', '{"customer": 7, "amount": "-Infinity", "state": "open"}')$$),
	('numbers again', $$('orders', '5', null), ('orders', '6', '{"customer": null, "amount": null, "state": null}')$$),
	('the least and the greatest go', $$('orders', '1', null), ('orders', '6', null)$$),
	('the customers of all orders go', $$('customers', '7', null), ('customers', '8', null)$$),
	('a deletion of nothing', $$('customers', '99', null), ('lines', '{"id": 99, "line": 9}', null)$$),
	('and return', $$('customers', '8', '{"name": "paid", "city": null, "mentor": 7}'), ('customers', '7', '{"name": "Ann", "city": "Bern", "mentor": 8}')$$),
	('the same again', $$('customers', '7', '{"name": "Ann", "city": "Bern", "mentor": 8}'), ('orders', '2', '{"customer": 7, "amount": 2.1, "state": "paid"}')$$),
	('digits', $$('orders', '2', '{"customer": 7, "amount": 2.10, "state": "paid"}')$$),
	('there and back in one batch', $$('orders', '8', '{"customer": 7, "amount": 1, "state": "open"}'), ('orders', '8', null), ('customers', '7', null), ('customers', '7', '{"name": "Eve", "city": "Oslo", "mentor": 7}')$$),
	('everything goes', $$('orders', '2', null), ('orders', '3', null), ('customers', '7', null), ('customers', '8', null), ('cities', 'Bern', null), ('lines', '{"id": 1, "line": 1}', null)$$);

SELECT is_empty(format('SELECT * FROM differences(%L)', records), what) FROM steps ORDER BY step;
SELECT is((SELECT t::text FROM total t), '(0,,,)', 'an aggregate without GROUP BY keeps its row');
SELECT is((SELECT count(*) FROM per_customer), 0::bigint, 'groups without rows are gone');
ALTER SYSTEM SET kafka.batch_rows = 100000;
SELECT pg_reload_conf() \g /dev/null
SELECT is_empty(format('SELECT * FROM differences(%L)', records), what || ', large batches') FROM steps ORDER BY step;
SELECT is_empty(format('SELECT * FROM differences(%L)', string_agg(records, ', ' ORDER BY step)), 'all in one') FROM steps;
SELECT is_empty(format('SELECT * FROM differences(%L)', (SELECT string_agg(records, ', ' ORDER BY step) FROM steps WHERE step < 17)), 'and up to the middle');
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', view), 'verify ' || view) FROM views;
SELECT is((SELECT array_agg(total::text || ' ' || n) FROM per_customer WHERE customer = 7), '{NaN 4}', 'by value');
SELECT is((SELECT sum(dead_letters) FROM kafka.views), 0::numeric, 'no dead letters');

-- keys: what tells the rows apart
SELECT is((SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = view::regclass AND contype = 'u'), 'UNIQUE NULLS NOT DISTINCT (' || key || ')', 'key of ' || view)
	FROM (VALUES ('open', 'id'), ('named', 'id'), ('listed', 'id, line'), ('of_customers', 'id'), ('per_customer', 'customer'), ('states', 'state, customer'), ('full_keys', 'id'), ('full_references', 'id, customer'), ('newest', 'customer'), ('on_number', 'id'), ('on_texts', 'id, customer'), ('dearest', 'state, customer'),
	('united', 'kind, id')) k (view, key);
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT * FROM finish();
