-- Keyed views as inputs: of views that tables drive, views over views over views, and looked up by a stream. Each equals its query over the
-- views it reads, with NULL groups, groups that fail HAVING and come back, first rows of views made later; and a row of a stream meets
-- a keyed view of another stream as the records before it have left it, however they lie in the batch.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('kv_' || t, 1, 'retention.ms=-1') FROM unnest('{sales,visits,shops}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE sales (shop int, part text, amount numeric, at timestamptz) SERVER broker OPTIONS (topic 'kv_sales', event_time 'at');
CREATE FOREIGN TABLE visits (id int, shop int, at timestamptz) SERVER broker OPTIONS (topic 'kv_visits', event_time 'at');
CREATE FOREIGN TABLE shops (shop int OPTIONS (key 'true'), city text) SERVER broker OPTIONS (topic 'kv_shops', mode 'upsert');
ALTER SYSTEM SET kafka.batch_rows = 4;
SELECT pg_reload_conf() \g /dev/null

BEGIN;
CREATE MATERIALIZED VIEW per_shop WITH (kafka.continuous, kafka.pipeline = 'keyed') AS SELECT shop, count(*) AS n, sum(amount) AS amount FROM sales GROUP BY shop;
CREATE MATERIALIZED VIEW per_part WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT shop, part, avg(amount) AS mean FROM sales GROUP BY shop, part HAVING count(*) < 4;
CREATE MATERIALIZED VIEW large WITH (kafka.continuous) AS SELECT shop, n, amount * 2 AS twice FROM per_shop WHERE n > 2 OR shop IS NULL;
CREATE MATERIALIZED VIEW matched WITH (kafka.continuous) AS SELECT p.shop, p.part, p.mean, s.n FROM per_part p LEFT JOIN per_shop s ON s.shop = p.shop;
CREATE MATERIALIZED VIEW placed WITH (kafka.continuous) AS SELECT s.shop, t.city, s.amount FROM per_shop s LEFT JOIN shops t ON t.shop = s.shop;
CREATE MATERIALIZED VIEW per_city WITH (kafka.continuous) AS SELECT city, count(*) AS shops, sum(amount) AS amount FROM placed GROUP BY city;
CREATE MATERIALIZED VIEW parts WITH (kafka.continuous) AS SELECT part, array_agg(shop ORDER BY shop) AS shops, min(mean) AS least FROM per_part GROUP BY part;
CREATE MATERIALIZED VIEW best WITH (kafka.continuous) AS SELECT c.city, c.shops FROM per_city c WHERE c.shops > 1;
CREATE MATERIALIZED VIEW seen WITH (kafka.continuous) AS SELECT v.id, s.n, s.amount FROM visits v LEFT JOIN per_shop s ON s.shop = v.shop;
COMMIT;
CREATE TABLE views AS SELECT unnest('{large,matched,placed,per_city,parts,best}'::text[]) AS view;

-- waits for all of it, and gives what differs of every view from its query over the views as they stand
CREATE FUNCTION differences() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	v text;
BEGIN
	IF NOT kafka.wait_for_view('seen', '60s') THEN
		RETURN NEXT 'does not catch up';
	END IF;
	FOR v IN SELECT view FROM views LOOP
		RETURN QUERY EXECUTE format('SELECT %L || '': '' || d::text FROM kafka.verify(%L) d', v, v);
	END LOOP;
END $$;
CREATE FUNCTION sell(count int, seed int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce('kv_sales', format($q$SELECT 'k', jsonb_build_object('shop', CASE WHEN h %% 5 > 0 THEN h %% 5 END, 'part', CASE WHEN h / 5 %% 4 > 0 THEN 'p' || h / 5 %% 4 END,
		'amount', (h / 20 %% 900) / 100.0, 'at', timestamptz '2026-01-01Z' + (%1$s * 1000 + i) * interval '1 s') FROM (SELECT i, abs(hashint4(%1$s * 1000 + i)) AS h FROM generate_series(1, %2$s) i) x$q$, seed, count))
$$;
SELECT sell(3, 1) \g /dev/null
SELECT is_empty('SELECT differences()', 'a few sales');
SELECT kafka_test.produce('kv_shops', $$SELECT i, jsonb_build_object('city', CASE WHEN i < 3 THEN 'Bern' WHEN i = 3 THEN 'Oslo' END) FROM generate_series(1, 4) i$$), sell(20, 2) \g /dev/null
SELECT is_empty('SELECT differences()', 'shops, and more sales');
SELECT kafka_test.produce('kv_shops', $$VALUES (1, '{"city": "Oslo"}'), (2, null)$$), sell(40, 3) \g /dev/null
SELECT is_empty('SELECT differences()', 'shops that move and go');
SELECT isnt((SELECT count(*) FROM per_city), 0::bigint, 'there are rows');
-- made later, over views at work
CREATE MATERIALIZED VIEW later WITH (kafka.continuous) AS SELECT b.shop, b.part, l.twice FROM matched b LEFT JOIN large l ON l.shop = b.shop;
CREATE MATERIALIZED VIEW later_sums WITH (kafka.continuous) AS SELECT part, sum(twice) AS twice, count(*) AS n FROM later GROUP BY part;
INSERT INTO views VALUES ('later'), ('later_sums');
SELECT ok(kafka.wait_for_view('later') AND kafka.wait_for_view('later_sums'), 'views over running views get their first rows');
SELECT is_empty('SELECT differences()', 'which are those of their queries');
SELECT sell(30, 4) \g /dev/null
SELECT is_empty('SELECT differences()', 'and follow');
ALTER SYSTEM SET kafka.batch_rows = 100000;
SELECT pg_reload_conf() \g /dev/null
SELECT sell(200, 5), kafka_test.produce('kv_shops', $$VALUES (2, '{"city": "Bern"}'), (4, '{"city": "Bern"}')$$) \g /dev/null
SELECT is_empty('SELECT differences()', 'a large batch');

-- sales and visits in turns, in one batch: each visit meets the sales before it
SELECT kafka.pause('keyed') \g /dev/null
SELECT kafka_test.produce('kv_sales', $$SELECT 'k', jsonb_build_object('shop', 9, 'part', 'x', 'amount', i, 'at', timestamptz '2026-02-01Z' + i * interval '2 s') FROM generate_series(1, 20) i$$),
	kafka_test.produce('kv_visits', $$SELECT 'k', jsonb_build_object('id', i, 'shop', 9, 'at', timestamptz '2026-02-01Z' + i * interval '2 s' + interval '1 s') FROM generate_series(0, 20) i$$) \g /dev/null
SELECT kafka.resume('keyed') \g /dev/null
SELECT ok(kafka.wait_for_view('seen', '60s'), 'caught up');
SELECT is((SELECT string_agg(id || ':' || coalesce(n, 0), ' ' ORDER BY id) FROM seen), (SELECT string_agg(i || ':' || i, ' ' ORDER BY i) FROM generate_series(0, 20) i), 'each visit meets the sales before it');
SELECT is_empty('SELECT differences()', 'the others follow as well');
SELECT throws_ok($$SELECT * FROM kafka.verify('seen')$$, 'continuous view "seen" cannot be verified', 'which has no oracle');

-- time closes windows of both in one batch: what the keyed view gets by that is there before the rows of the stream look it up
BEGIN;
CREATE MATERIALIZED VIEW ended_sales WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'closing') AS
	SELECT shop, kafka.tumble(at, '10 s') AS during, upper(kafka.tumble(at, '10 s')) AS until, sum(amount) AS amount FROM sales WHERE shop = 10 GROUP BY shop, during;
CREATE MATERIALIZED VIEW ended_visits WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'closing') AS
	SELECT shop, kafka.tumble(at, '10 s') AS during, upper(kafka.tumble(at, '10 s')) AS until, count(*) AS n FROM visits WHERE shop = 10 GROUP BY shop, during;
CREATE MATERIALIZED VIEW totals WITH (kafka.continuous) AS SELECT shop, sum(amount) AS amount, count(*) AS n FROM ended_sales GROUP BY shop;
CREATE MATERIALIZED VIEW compared WITH (kafka.continuous) AS SELECT v.during, v.n, t.amount FROM ended_visits v LEFT JOIN totals t ON t.shop = v.shop;
COMMIT;
SELECT ok(kafka.wait_for_view('compared', '60s'), 'caught up');
SELECT kafka.pause('closing') \g /dev/null
SELECT kafka_test.produce('kv_sales', $$SELECT 'k', jsonb_build_object('shop', 10, 'part', 'x', 'amount', s, 'at', timestamptz '2026-03-01Z' + s * interval '1 s') FROM unnest('{1,2,30}'::int[]) s$$),
	kafka_test.produce('kv_visits', $$SELECT 'k', jsonb_build_object('id', s, 'shop', 10, 'at', timestamptz '2026-03-01Z' + s * interval '1 s') FROM unnest('{3,30}'::int[]) s$$) \g /dev/null
SELECT kafka.resume('closing') \g /dev/null
SELECT ok(kafka.wait_for_view('compared', '60s'), 'caught up');
SELECT results_eq('SELECT n, amount FROM compared', 'VALUES (1::bigint, 3::numeric)', 'a row that closing gives meets what the same closing gives a keyed view');
SELECT is((SELECT sum(dead_letters) FROM kafka.views), 0::numeric, 'no dead letters');

-- a key that is not selected, and is not among the first columns of the view it comes from
BEGIN;
CREATE MATERIALIZED VIEW turned WITH (kafka.continuous, kafka.pipeline = 'turned') AS SELECT city, shop + 1 AS next, shop FROM shops;
CREATE MATERIALIZED VIEW cities WITH (kafka.continuous) AS SELECT b.city, count(*) AS n, max(a.next) AS most FROM turned a LEFT JOIN turned b ON b.next = a.shop GROUP BY b.city;
-- columns of a single table by which DISTINCT ON sorts, and others of the result with their names
CREATE MATERIALIZED VIEW renamed WITH (kafka.continuous) AS SELECT DISTINCT ON (t.city) t.city AS next, t.next AS shop, t.shop AS city FROM turned t ORDER BY t.city, t.shop DESC;
COMMIT;
SELECT ok(kafka.wait_for_view('cities', '60s'), 'caught up');
SELECT isnt_empty('TABLE cities', 'there are some');
SELECT is_empty('SELECT * FROM kafka.verify(''cities'') UNION ALL SELECT * FROM kafka.verify(''renamed'')', 'they equal their queries');
SELECT set_eq('TABLE renamed', 'SELECT DISTINCT ON (city) city, shop + 1, shop FROM turned ORDER BY city, shop DESC', 'whatever their columns are called');
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT * FROM finish();
