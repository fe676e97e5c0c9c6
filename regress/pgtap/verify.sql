-- kafka.verify where the order of the rows decides (DESIGN.md 2.1): ties count as equal, what the query leaves open is named and
-- left out, everything else is compared.
SELECT plan(19);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 2, 'retention.ms=-1') FROM unnest('{verify_clicks,verify_prices}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE clicks (n int, page text, note text, took float8, at timestamptz) SERVER broker OPTIONS (topic 'verify_clicks', event_time 'at');
CREATE FOREIGN TABLE prices (id text OPTIONS (key 'true'), page text, price float8, since int) SERVER broker OPTIONS (topic 'verify_prices', mode 'upsert');
BEGIN;
CREATE MATERIALIZED VIEW latest WITH (kafka.continuous) AS SELECT DISTINCT ON (page) page, n, note FROM clicks ORDER BY page, at DESC;
CREATE MATERIALIZED VIEW first_last WITH (kafka.continuous) AS
	SELECT page, kafka.first(n, at) AS first_n, kafka.last(note, at) FILTER (WHERE n < 9) AS last_note, count(*) AS rows FROM clicks GROUP BY page;
CREATE MATERIALIZED VIEW everything WITH (kafka.continuous) AS SELECT kafka.last(n, at) AS n, count(*) AS rows FROM clicks;
CREATE MATERIALIZED VIEW sums WITH (kafka.continuous) AS
	SELECT page, count(*) AS rows, sum(took) AS took, array_agg(n) AS ns, string_agg(note, ',') AS notes, max(took) AS most FROM clicks GROUP BY page;
CREATE MATERIALIZED VIEW having_last WITH (kafka.continuous) AS SELECT page, count(*) AS rows FROM clicks GROUP BY page HAVING kafka.last(n, at) > 2;
CREATE MATERIALIZED VIEW only_sum WITH (kafka.continuous) AS SELECT sum(took) AS took FROM clicks;
CREATE MATERIALIZED VIEW of_prices WITH (kafka.continuous) AS
	SELECT page, array_agg(id) AS ids, array_agg(id ORDER BY id) AS sorted, kafka.last(id, since) AS last_id, avg(price) AS price, count(DISTINCT since) AS times
	FROM prices GROUP BY page;
COMMIT;
-- ties everywhere, across partitions, with and without a page
SELECT kafka_test.produce_at('verify_clicks', $$SELECT n % 2, 1000000000000, NULL, jsonb_build_object('n', n, 'page', CASE WHEN n % 3 > 0 THEN 'p' || n % 3 END, 'note', 'n' || n,
	'took', n * 0.1, 'at', (n / 6) * 1000) FROM generate_series(1, 12) n$$) \g /dev/null
SELECT kafka_test.produce_at('verify_prices', $$SELECT n % 2, 1000000000000, 'i' || n, jsonb_build_object('page', 'p' || n % 2, 'price', n * 0.1, 'since', n / 4) FROM generate_series(1, 8) n$$) \g /dev/null
SELECT kafka.wait_for_view(v, '60s') FROM unnest('{latest,first_last,everything,sums,having_last,only_sum,of_prices}'::regclass[]) v \g /dev/null

-- what verify says of a view as it is after a statement that a superuser slipped in
CREATE FUNCTION after_change(statement text, view regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	SET LOCAL session_replication_role = replica;
	EXECUTE statement;
	SET LOCAL session_replication_role = origin;
	SELECT string_agg(difference, ',' ORDER BY difference) INTO found FROM kafka.verify(view);
	RAISE EXCEPTION USING errcode = 'ZZ000', message = coalesce(found, 'equal');
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
	RETURN sqlerrm;
END $$;

SELECT is_empty($$SELECT * FROM kafka.verify('latest')$$, 'DISTINCT ON: the view has one of the rows that may stand');
SELECT is(after_change($$UPDATE latest SET n = 10, note = 'n10' WHERE page = 'p1'$$, 'latest'), 'equal', 'any of them is right');
SELECT is(after_change($$UPDATE latest SET n = 4, note = 'n4' WHERE page = 'p1'$$, 'latest'), 'missing,unexpected', 'an earlier one is not');
SELECT is(after_change($$UPDATE latest SET n = 7, note = 'n10' WHERE page = 'p1'$$, 'latest'), 'missing,unexpected', 'nor a mixture of two');
SELECT is(after_change($$DELETE FROM latest WHERE page IS NULL$$, 'latest'), 'missing', 'a key that is missing is told, null is one');
SELECT is(after_change($$INSERT INTO latest VALUES ('x', 1, 'y')$$, 'latest'), 'unexpected', 'so is one that is too much');

SELECT is_empty($$SELECT * FROM kafka.verify('first_last')$$, 'kafka.first and kafka.last: the values are of rows that may stand');
SELECT is(after_change($$UPDATE first_last SET first_n = 4 WHERE page = 'p1'$$, 'first_last'), 'equal', 'of any');
SELECT is(after_change($$UPDATE first_last SET first_n = 10 WHERE page = 'p1'$$, 'first_last'), 'missing,unexpected', 'not of others');
SELECT is(after_change($$UPDATE first_last SET last_note = 'n10' WHERE page = 'p1'$$, 'first_last'), 'missing,unexpected', 'FILTER counts');
SELECT is(after_change($$UPDATE first_last SET last_note = NULL WHERE page IS NULL$$, 'first_last'), 'missing,unexpected', 'a null is compared, under a null key, too');
SELECT is(after_change($$UPDATE first_last SET rows = 0 WHERE page IS NULL$$, 'first_last'), 'missing,unexpected', 'and so are the columns beside them');
SELECT is(after_change($$UPDATE everything SET rows = 0$$, 'everything') || after_change($$UPDATE everything SET n = 1$$, 'everything') ||
	after_change($$UPDATE everything SET n = n$$, 'everything'), 'missing,unexpectedmissing,unexpectedequal', 'without GROUP BY as well');

SELECT is(after_change($$UPDATE sums SET took = took + 1e-9, ns = '{}', notes = ''$$, 'sums'), 'equal', 'sums of floating-point numbers and collected rows are left out');
SELECT is(after_change($$UPDATE sums SET most = 0 WHERE page = 'p1'$$, 'sums'), 'missing,unexpected', 'the other columns are compared');
SELECT throws_like($$SELECT * FROM kafka.verify('having_last')$$, '%cannot be verified', 'where the order decides which groups there are, nothing is');
SELECT throws_like($$SELECT * FROM kafka.verify('only_sum')$$, '%cannot be verified', 'nor where no column is left');
SELECT is_empty($$SELECT * FROM kafka.verify('of_prices')$$, 'groups of tables are read in any order');
SELECT is(after_change($$UPDATE of_prices SET ids = '{}', price = 0$$, 'of_prices') || after_change($$UPDATE of_prices SET sorted = '{}' WHERE page = 'p1'$$, 'of_prices'),
	'equalmissing,unexpected', 'what sorts its rows is compared');
SELECT * FROM finish();
