-- Views at work, over tables and over each other, are renamed, moved to other schemas, given to other owners and dropped, and so are the
-- topics under them; after each change records are applied, and what is left of the views equals its queries and goes to its sinks.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('change_' || t, 2, 'retention.ms=-1') FROM unnest('{orders,customers,counts,names}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE orders (id int OPTIONS (key 'true'), customer int, amount int) SERVER broker OPTIONS (topic 'change_orders', mode 'upsert');
CREATE FOREIGN TABLE customers (id int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'change_customers', mode 'upsert');
CREATE FOREIGN TABLE counts (n bigint OPTIONS (key 'true'), names bigint) SERVER broker OPTIONS (topic 'change_counts', mode 'upsert');
CREATE FOREIGN TABLE names (id int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'change_names', mode 'upsert');
BEGIN;
CREATE MATERIALIZED VIEW named WITH (kafka.continuous, kafka.pipeline = 'change') AS
	SELECT o.id, o.amount, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer;
CREATE MATERIALIZED VIEW per_name WITH (kafka.continuous) AS SELECT name, count(*) AS n, sum(amount) AS amount, array_agg(id ORDER BY id) AS ids FROM named GROUP BY name;
CREATE MATERIALIZED VIEW by_count WITH (kafka.continuous) AS SELECT n, count(*) AS names FROM per_name GROUP BY n;
SELECT kafka.attach_sink('by_count', 'counts'), kafka.attach_sink('named', 'names') \g /dev/null
COMMIT;

-- applies changes of a hundred orders and of some customers, and gives what is wrong then, of all views there are
CREATE SEQUENCE rounds;
CREATE FUNCTION wrong() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	round int = nextval('public.rounds');
	v record;
BEGIN
	PERFORM kafka_test.produce('change_orders', format($q$SELECT i, CASE WHEN (i * 7 + %1$s) %% 10 > 0 THEN jsonb_build_object('customer', (i * 3 + %1$s) %% 11, 'amount', i * %1$s) END
		FROM generate_series(1, 100) i$q$, round));
	PERFORM kafka_test.produce('change_customers', format($q$SELECT i, CASE WHEN (i + %1$s) %% 4 > 0 THEN jsonb_build_object('name', chr(65 + (i * %1$s) %% 5)) END
		FROM generate_series(0, 9) i$q$, round));
	FOR v IN SELECT view, quote_ident(nspname) || '.' || quote_ident(relname) AS name FROM kafka.views JOIN pg_class c ON c.oid = view JOIN pg_namespace n ON n.oid = relnamespace LOOP
		IF NOT kafka.wait_for_view(v.view, '60s') THEN
			RETURN NEXT v.view || ' does not catch up: ' || (SELECT string_agg(p::text, ' ') FROM kafka.pipelines p);
		END IF;
		RETURN QUERY SELECT v.name || ': ' || d FROM kafka.verify(v.view) d;
		IF v.name ~ 'count' THEN
			RETURN QUERY SELECT 'counts: ' || d FROM kafka_test.differences('SELECT (value::jsonb->>''n'')::bigint, (value::jsonb->>''names'')::bigint FROM (SELECT DISTINCT ON (key) value
				FROM kafka_test.consume(''change_counts'') ORDER BY key, "offset" DESC) l WHERE value IS NOT NULL', 'SELECT n, names FROM ' || v.name) d;
		END IF;
	END LOOP;
END $$;
SELECT is_empty('SELECT public.wrong()', 'at first');

-- names
ALTER MATERIALIZED VIEW named RENAME TO "named by name";
SELECT is_empty('SELECT public.wrong()', 'the lowest view has another name');
CREATE SCHEMA elsewhere;
ALTER MATERIALIZED VIEW per_name SET SCHEMA elsewhere;
SELECT is_empty('SELECT public.wrong()', 'the one in the middle another schema');
ALTER MATERIALIZED VIEW by_count RENAME TO counted;
ALTER TABLE counted SET SCHEMA elsewhere;
ALTER SCHEMA elsewhere RENAME TO "else where";
SELECT is_empty('SELECT public.wrong()', 'the uppermost both, and the schema another name');
CREATE TABLE named (id int, name text);
CREATE TABLE orders_2 AS SELECT 1 AS id;
SELECT is_empty('SELECT public.wrong()', 'what has the old name is something else');
ALTER FOREIGN TABLE customers RENAME TO people;
ALTER FOREIGN TABLE people SET SCHEMA "else where";
ALTER FOREIGN TABLE orders ALTER COLUMN amount OPTIONS (ADD path 'amount');
ALTER FOREIGN TABLE orders RENAME COLUMN amount TO price;
ALTER FOREIGN TABLE orders ADD COLUMN more text;
SELECT is_empty('SELECT public.wrong()', 'topics have other names, and a column');
SELECT throws_ok('ALTER FOREIGN TABLE orders DROP COLUMN customer', '2BP01', NULL, 'but keep the columns that are read');
BEGIN;
ALTER MATERIALIZED VIEW "named by name" RENAME TO for_a_moment;
DROP MATERIALIZED VIEW "else where".per_name CASCADE;
ROLLBACK;
SELECT is_empty('SELECT public.wrong()', 'what is rolled back has not been');

-- owners
CREATE ROLE change_views_one;
CREATE ROLE change_views_two;
GRANT ALL ON SCHEMA public, "else where" TO change_views_one, change_views_two;
GRANT SELECT ON "named by name", "else where".per_name TO change_views_one, change_views_two;
ALTER MATERIALIZED VIEW "else where".per_name OWNER TO change_views_one;
SELECT is_empty('SELECT public.wrong()', 'the one in the middle has another owner');
REASSIGN OWNED BY change_views_one TO change_views_two;
SELECT is_empty('SELECT public.wrong()', 'who gives all to somebody else');
ALTER MATERIALIZED VIEW "else where".counted OWNER TO change_views_two;
SELECT is((SELECT count(*)::int FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'i' AND d.refclassid = 'pg_class'::regclass
	JOIN pg_class v ON v.oid = d.refobjid JOIN kafka_state.view k ON k.relation = v.oid WHERE d.classid = 'pg_class'::regclass AND c.relowner <> v.relowner), 0,
	'what belongs to a view has its owner');
SELECT kafka_test.produce('change_orders', $$SELECT i, NULL FROM generate_series(1, 90) i$$) \g /dev/null
SELECT ok(kafka_test.poll($$error = 'permission denied for topic table public.counts' FROM kafka.pipelines WHERE pipeline = 'change'$$), 'who may not write to the sink of a view stops it');
GRANT INSERT ON counts TO change_views_two;
SELECT is_empty('SELECT public.wrong()', 'until it is granted');

-- dropping
SELECT throws_ok('DROP MATERIALIZED VIEW "else where".per_name', '2BP01', NULL, 'a view that is read stays');
DROP OWNED BY change_views_one, change_views_two CASCADE;
DROP ROLE change_views_one, change_views_two;
SELECT results_eq('SELECT view::text FROM kafka.views', $$VALUES ('"named by name"')$$, 'a role takes its views along');
SELECT is_empty('SELECT public.wrong()', 'and the one below them goes on');
BEGIN;
CREATE MATERIALIZED VIEW again WITH (kafka.continuous) AS SELECT name, count(*) AS n FROM "named by name" GROUP BY name;
CREATE MATERIALIZED VIEW again_count WITH (kafka.continuous) AS SELECT n, count(*) AS names FROM again GROUP BY n;
SAVEPOINT s;
DROP MATERIALIZED VIEW again CASCADE;
ROLLBACK TO s;
COMMIT;
SELECT kafka_test.poll($$bool_and(initialized) FROM kafka_state.view$$) \g /dev/null
SELECT is((SELECT sum(names * n)::int FROM again_count), (SELECT count(*)::int FROM "named by name"), 'views over it begin with its rows');
SELECT kafka_test.produce('change_orders', $$SELECT 1000, '{"customer": 1, "amount": 1}'$$) \g /dev/null
SELECT ok(kafka.wait_for_view('again_count', '60s'), 'and follow it');
SELECT is((SELECT sum(names * n)::int FROM again_count), (SELECT count(*)::int FROM "named by name"), 'exactly');
DROP FOREIGN TABLE "else where".people CASCADE;
SELECT is((SELECT count(*)::int FROM kafka_state.view) + (SELECT count(*)::int FROM kafka_state.pipeline) + (SELECT count(*)::int FROM kafka_state.position), 0, 'a topic takes all of them along');
SELECT is((SELECT count(*)::int FROM pg_class WHERE relnamespace = 'kafka_state'::regnamespace AND relname ~ '_\d+(_|$)'), 0, 'with what belonged to them');
SELECT ok(kafka_test.poll($$NOT EXISTS (SELECT FROM kafka_state.processes() WHERE kind = 'worker' AND pid <> 0)$$), 'and their worker ends');
SELECT * FROM finish();
