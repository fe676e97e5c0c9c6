-- First rows of views that are added to a pipeline at work and look a keyed view up, so that its tables are read again before streams are: each is what
-- it would be without the look-up, and what its query gives, though time has closed much of it, and though time closes more while tables are read.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('first_visits', 2, 'retention.ms=-1'), kafka_test.create_topic('first_shops', 1, 'retention.ms=-1') \g /dev/null
CREATE FOREIGN TABLE visits (id int, shop int, at timestamptz) SERVER broker OPTIONS (topic 'first_visits', event_time 'at');
CREATE FOREIGN TABLE shops (shop int OPTIONS (key 'true'), city text) SERVER broker OPTIONS (topic 'first_shops', mode 'upsert');

-- a visit a second; shops in their cities
CREATE FUNCTION visit(partition int, first int, last int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at('first_visits', format('SELECT %s, NULL, NULL, jsonb_build_object(''id'', i, ''shop'', i %% 3, ''at'', to_timestamp(i)) FROM generate_series(%s, %s) i', partition, first, last))
$$;
CREATE FUNCTION place(first int, last int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce('first_shops', format('SELECT i, jsonb_build_object(''city'', ''c'' || i) FROM generate_series(%s, %s) i', first, last))
$$;
CREATE FUNCTION caught_up() RETURNS boolean LANGUAGE sql AS $$ SELECT bool_and(kafka.wait_for_view(view, '60s')) FROM kafka.views $$;

-- no partition is idle yet; all is there before it is read, so nothing is late
SELECT place(0, 2), visit(0, 1, 100), visit(1, 95, 95) \g /dev/null
ALTER SYSTEM SET kafka.idle_timeout = 0;
SELECT pg_reload_conf() \g /dev/null
BEGIN;
CREATE MATERIALIZED VIEW seen WITH (kafka.continuous, kafka.pipeline = 'first') AS SELECT id, shop, at FROM visits;
CREATE MATERIALIZED VIEW known WITH (kafka.continuous, kafka.pipeline = 'first') AS SELECT shop, city FROM shops;
CREATE MATERIALIZED VIEW ended WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'first') AS
	SELECT shop, kafka.tumble(at, '10 s') AS during, upper(kafka.tumble(at, '10 s')) AS until, count(*) AS n FROM visits GROUP BY shop, during;
COMMIT;
SELECT ok(caught_up(), 'a pipeline is at work');

-- while no view of the same run looks anything up, it gets its first rows at once
CREATE MATERIALIZED VIEW alone WITH (kafka.continuous, kafka.emit = 'final') AS SELECT shop, kafka.tumble(at, '10 s') AS during, count(*) AS n FROM seen GROUP BY shop, during;
SELECT ok(caught_up(), 'caught up');
BEGIN;
CREATE MATERIALIZED VIEW final WITH (kafka.continuous, kafka.emit = 'final') AS
	SELECT shop, kafka.tumble(at, '10 s') AS during, upper(kafka.tumble(at, '10 s')) AS until, city, count(*) AS n FROM seen JOIN known USING (shop) GROUP BY shop, during, city;
CREATE MATERIALIZED VIEW graced WITH (kafka.continuous, kafka.grace = '1 s') AS
	SELECT shop, kafka.tumble(at, '10 s') AS during, city, count(*) AS n FROM seen JOIN known USING (shop) GROUP BY shop, during, city;
CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '1 s') AS
	SELECT a.id, b.id AS other, k.city, a.at FROM seen a JOIN seen b ON b.shop = a.shop AND b.at BETWEEN a.at AND a.at + interval '5 s' JOIN known k ON k.shop = a.shop;
CREATE MATERIALIZED VIEW beside WITH (kafka.continuous, kafka.emit = 'final') AS SELECT shop, kafka.tumble(at, '10 s') AS during, count(*) AS n FROM seen GROUP BY shop, during;
CREATE MATERIALIZED VIEW over WITH (kafka.continuous) AS SELECT during, k.city, n FROM final f JOIN known k USING (shop);
COMMIT;
SELECT ok(caught_up(), 'views are added');
SELECT isnt_empty('TABLE alone', 'time has closed windows');
SELECT is_empty($$SELECT kafka_test.differences('SELECT shop, during, n FROM final', 'TABLE alone')$$, 'closed windows of a view that looks a keyed view up');
SELECT is_empty($$SELECT kafka_test.differences('TABLE beside', 'TABLE alone')$$, 'and of one beside it that does not');
SELECT is_empty($$SELECT kafka_test.differences('SELECT during, city, n FROM over', 'SELECT during, ''c'' || shop, n FROM alone')$$, 'what is over it');
SELECT is_empty($$SELECT kafka_test.differences('TABLE graced', 'SELECT shop, kafka.tumble(at, ''10 s''), city, count(*) FROM seen JOIN known USING (shop) GROUP BY 1, 2, 3')$$, 'windows with grace');
SELECT is_empty($$SELECT kafka_test.differences('SELECT id, other FROM pairs', 'SELECT a.id, b.id FROM seen a JOIN seen b ON b.shop = a.shop AND b.at BETWEEN a.at AND a.at + interval ''5 s''')$$,
	'a join of streams');
SELECT is_empty('SELECT view, late_rows FROM kafka.views WHERE late_rows > 0', 'nothing is late');
SELECT visit(0, 101, 150), visit(1, 145, 145) \g /dev/null
SELECT ok(caught_up(), 'more visits');
SELECT is_empty($$SELECT kafka_test.differences('SELECT shop, during, n FROM final', 'TABLE alone')$$, 'they go on alike');
SELECT is_empty($$SELECT kafka_test.differences('SELECT during, city, n FROM over', 'SELECT during, ''c'' || shop, n FROM alone')$$, 'and what is over it');

-- tables are read in many batches; meanwhile a partition is found to be idle, and what it held back is closed: its reader has it once
SELECT kafka.pause('first') \g /dev/null
ALTER SYSTEM SET kafka.idle_timeout = '1ms';
ALTER SYSTEM SET kafka.batch_rows = 1;
SELECT pg_reload_conf() \g /dev/null
SELECT place(3, 300), visit(0, 151, 300) \g /dev/null
CREATE MATERIALIZED VIEW counted WITH (kafka.continuous) AS SELECT e.shop, k.city, sum(e.n) AS n, count(*) AS windows FROM ended e LEFT JOIN known k USING (shop) GROUP BY e.shop, k.city;
SELECT kafka.resume('first') \g /dev/null
SELECT ok(caught_up(), 'caught up');
SELECT is_empty($$SELECT kafka_test.differences('TABLE counted', 'SELECT e.shop, k.city, sum(e.n), count(*) FROM ended e LEFT JOIN known k USING (shop) GROUP BY 1, 2')$$, 'what time closed meanwhile');
SELECT is_empty($$SELECT view, late_rows FROM kafka.views WHERE view = 'counted'::regclass AND late_rows > 0$$, 'nothing is late');
ALTER SYSTEM RESET kafka.idle_timeout;
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT * FROM finish();
