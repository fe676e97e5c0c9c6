-- Every aggregate of DESIGN.md 2.5 over streams, in batches of a few rows, with the worker killed in between: what a view has is what its
-- query gives over the topic. Floats may differ in the last digits. {by} and {tie} in a query are where its order stands in the query that it is
-- compared with: a view takes rows as they are processed.
SELECT no_plan() \g /dev/null
ALTER SYSTEM SET kafka.batch_rows = 13;
SELECT pg_reload_conf() \g /dev/null
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('aggregates_one', 1, 'retention.ms=-1'), kafka_test.create_topic('aggregates_two', 2, 'retention.ms=-1'), kafka_test.create_topic('aggregates_ticks', 1, 'retention.ms=-1') \g /dev/null
CREATE FOREIGN TABLE one (g int, i int, x int, n numeric, f float8, r float4, t text, day date, pair int[], at timestamptz, place bigint OPTIONS (metadata 'offset')) SERVER broker OPTIONS (topic 'aggregates_one', event_time 'at');
CREATE FOREIGN TABLE two (g int, i int, x int, n numeric, f float8, r float4, t text, day date, pair int[], at timestamptz) SERVER broker OPTIONS (topic 'aggregates_two', event_time 'at');
CREATE FOREIGN TABLE ticks (g int, step int, at timestamptz) SERVER broker OPTIONS (topic 'aggregates_ticks', event_time 'at');

-- user-defined: without combine function, with one, over null, polymorphic, with a composite state, variadic, without arguments
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric);
CREATE FUNCTION add_or_null(int, int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 + $2;
CREATE AGGREGATE poisoned_sum(int) (SFUNC = add_or_null, STYPE = int, INITCOND = '0', COMBINEFUNC = add_or_null);
CREATE FUNCTION null_below(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT RETURN CASE WHEN $2 < -45 THEN NULL ELSE $1 + $2 END;
CREATE AGGREGATE stuck_sum(int) (SFUNC = null_below, STYPE = int);
CREATE AGGREGATE list_of(anycompatible) (SFUNC = array_append, STYPE = anycompatiblearray);
CREATE TYPE span AS (least text, greatest text);
CREATE FUNCTION widen(state span, t text) RETURNS span LANGUAGE sql IMMUTABLE RETURN ROW(least((state).least, t), greatest((state).greatest, t))::span;
CREATE FUNCTION show(state span, t text) RETURNS text LANGUAGE sql IMMUTABLE RETURN (state).least || '..' || (state).greatest;
CREATE AGGREGATE span_of(text) (SFUNC = widen, STYPE = span, FINALFUNC = show, FINALFUNC_EXTRA);
CREATE FUNCTION add_all(int, VARIADIC int[]) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 + coalesce((SELECT sum(x) FROM unnest($2) x), 0);
CREATE AGGREGATE total(VARIADIC int[]) (SFUNC = add_all, STYPE = int, INITCOND = '0');
CREATE FUNCTION one_more(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 + 1;
CREATE AGGREGATE times(*) (SFUNC = one_more, STYPE = int, INITCOND = '0');

CREATE TABLE queries (name text PRIMARY KEY, query text NOT NULL, inexact text[] NOT NULL DEFAULT '{}', verifiable boolean NOT NULL DEFAULT true, as_set text[] NOT NULL DEFAULT '{}');
INSERT INTO queries (name, query, inexact, verifiable, as_set) VALUES
	('combined', 'SELECT g, count(*) AS c, stddev(x) AS a, stddev_pop(n) AS b, variance(x::bigint) AS d, var_pop(n) AS e, avg(n) AS h, avg(x * interval ''1 s'') AS j,
		max(t COLLATE "C") AS k, bit_xor(x) AS l, range_agg(int4range(x, x + 2)) AS m, range_intersect_agg(int4range(x - 200, x + 200)) AS o, regr_count(f, x) AS p, sum(x * interval ''2 h'') AS q FROM two GROUP BY g', '{}', true, '{}'),
	('floats', 'SELECT g, corr(f, x) AS a, covar_samp(f, n) AS b, regr_slope(f, x) AS c, stddev(f) AS d, var_pop(r) AS e, avg(f) AS h, sum(r) AS j, regr_r2(f, x) AS k FROM two GROUP BY g', '{a,b,c,d,e,h,j,k}', false, '{}'),
	('filtered', 'SELECT g, stddev(n) FILTER (WHERE x > 0) AS a, poisoned_sum(x) FILTER (WHERE i % 7 = 0) AS b, count(*) FILTER (WHERE x IS NULL) AS c, product(1 + x / 1000.0) FILTER (WHERE x % 2 = 0) AS d FROM one GROUP BY g', '{}', false, '{}'),
	('seldom', 'SELECT g, variance(n) - 1 AS a, stddev(n) IS NULL AS b FROM two WHERE x > 30 GROUP BY g HAVING count(*) BETWEEN 3 AND 12 AND stddev(x) < 12', '{}', true, '{}'),
	('whole', 'SELECT stddev(n) AS a, product(1 + x / 1000.0) AS b, count(DISTINCT x) AS c, array_agg(x{by}) AS d, kafka.last(t, at) AS e, poisoned_sum(i) AS f FROM one', '{}', false, '{}'),
	('never', 'SELECT stddev(n) AS a, regr_count(f, x) AS b, poisoned_sum(x) AS c, span_of(t) AS d, count(DISTINCT x) AS e, string_agg(t, '''') AS f, times(*) AS h FROM one WHERE i < 0', '{}', false, '{}'),
	('mine', 'SELECT g, product(1 + x / 1000.0) AS a, poisoned_sum(x) AS b, poisoned_sum(i) AS c, stuck_sum(x{by}) AS d, list_of(t{by}) AS e, list_of(n{by}) AS f, span_of(t) AS h, total(x, i) AS j, times(*) AS k FROM one GROUP BY g', '{}', false, '{}'),
	('collected', 'SELECT g, array_agg(x{by}) AS a, array_agg(pair{by}) AS b, string_agg(t, ''; ''{by}) AS c, string_agg(t, NULL{by}) AS d, string_agg(t::bytea, ''\x00''{by}) AS e, jsonb_agg(n{by}) AS f,
		jsonb_object_agg(i % 5, t{by}) AS h, json_agg(x{by}) AS j, json_agg(CASE WHEN x > 0 THEN pair END{by}) AS k, json_object_agg(i, t{by}) AS l FROM one GROUP BY g', '{}', false, '{}'),
	('own', 'SELECT g, array_agg(x{by}) AS a, string_agg(t, '',''{by}) FILTER (WHERE x > 0) AS b, jsonb_agg(n{by}) FILTER (WHERE false) AS c, count(*) AS n, range_agg(daterange(day, day + 3)) AS r FROM one GROUP BY g', '{}', false, '{}'),
	('standing', 'SELECT g, kafka.first(t, at) AS a, kafka.last(t, at) AS b, kafka.first(n, i) FILTER (WHERE x > 0) AS c, kafka.last(x, nullif(i, 200)) AS d, kafka.last(i, t COLLATE "C") AS e FROM one GROUP BY g', '{}', true, '{}'),
	('distinct_values', 'SELECT g, count(DISTINCT x) AS a, sum(DISTINCT x) AS b, avg(DISTINCT x) AS c, count(DISTINCT t) FILTER (WHERE x > 0) AS d, stddev(DISTINCT x) AS e, max(DISTINCT n) AS f, count(DISTINCT (x, day)) AS h, regr_count(DISTINCT f, x) AS j, count(*) AS k FROM two GROUP BY g', '{}', true, '{}'),
	('distinct_only', 'SELECT g, count(DISTINCT day) AS a, bit_xor(DISTINCT x) AS b FROM two GROUP BY g', '{}', true, '{}'),
	('distinct_whole', 'SELECT count(DISTINCT x) AS a, sum(DISTINCT x) AS b FROM two WHERE x > 10', '{}', true, '{}'),
	('distinct_two_keys', 'SELECT g, day, count(DISTINCT x) AS a FROM two GROUP BY g, day HAVING count(DISTINCT x) > 1', '{}', true, '{}'),
	('distinct_rows', 'SELECT DISTINCT g, day FROM two', '{}', true, '{}'),
	('latest', 'SELECT DISTINCT ON (g) g, i, t, at FROM one ORDER BY g, at DESC, i', '{}', true, '{}'),
	('hidden_sort', 'SELECT DISTINCT ON (g, x % 3) g, t, x % 3 AS m FROM one ORDER BY g, x % 3, n DESC, t NULLS FIRST, i DESC', '{}', true, '{}'),
	('nulls_first', 'SELECT DISTINCT ON (day) day, x, i FROM one ORDER BY day, x NULLS FIRST, i', '{}', true, '{}'),
	('earliest_of_equal', 'SELECT DISTINCT ON (g) g, x / 20 AS y, i FROM one ORDER BY g, y{tie}', '{}', false, '{}'),
	('of_join', 'SELECT o.g, stddev(o.n) AS a, count(DISTINCT t.step) AS b, product(t.step) AS c, array_agg(o.i * 100 + t.step{both}) AS d, kafka.last(t.step, o.at) AS e
		FROM one o JOIN ticks t ON t.g = o.g AND t.at BETWEEN o.at AND o.at + interval ''20 s'' GROUP BY o.g', '{}', false, '{d}'),
	('windows', 'SELECT g, kafka.tumble(at, ''1 min'') AS w, stddev(n) AS a, count(DISTINCT x) AS b, product(1 + x / 1000.0) AS c FROM one GROUP BY g, w', '{}', false, '{}');
SELECT kafka.create_view(name, regexp_replace(query, '\{\w+\}', '', 'g')) FROM queries \g /dev/null
SELECT count(*) = 3 AS extensions FROM pg_available_extensions WHERE name IN ('hll', 'tdigest', 'first_last_agg') \gset
\if :extensions
CREATE EXTENSION hll;
CREATE EXTENSION tdigest;
CREATE EXTENSION first_last_agg;
INSERT INTO queries (name, query, inexact, verifiable) VALUES
	('others', 'SELECT g, hll_add_agg(hll_hash_integer(x)) AS a, last(t{by}) AS b, first(n{by}) AS c, round(hll_cardinality(hll_add_agg(hll_hash_text(t)))) AS d, tdigest_count(tdigest(f, 100)) AS e FROM one GROUP BY g', '{}', false);
SELECT kafka.create_view(name, regexp_replace(query, '\{\w+\}', '', 'g')) FROM queries WHERE name = 'others' \g /dev/null
\endif
-- emit = final: what a window's groups keep goes when it closes
CREATE MATERIALIZED VIEW closed WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '30 s') AS
	SELECT g, kafka.tumble(at, '1 min') AS w, stddev(n) AS a, count(DISTINCT x) AS b, product(1 + x / 1000.0) AS c, kafka.first(t, i) AS d FROM one GROUP BY g, w;
CREATE MATERIALIZED VIEW closed_latest WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '30 s') AS
	SELECT DISTINCT ON (w, g) g, kafka.tumble(at, '1 min') AS w, t, i FROM one ORDER BY w, g, x DESC NULLS LAST, i;
-- and what was removed because it is old takes its values along
CREATE MATERIALIZED VIEW kept WITH (kafka.continuous, kafka.grace = '30 s', kafka.retention = '2 min') AS SELECT g, kafka.tumble(at, '1 min') AS w, count(DISTINCT x) AS b FROM one GROUP BY g, w;

CREATE FUNCTION produce(first int, last int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce(topic, format($q$SELECT i, jsonb_strip_nulls(jsonb_build_object('g', CASE WHEN i %% 10 > 0 THEN i %% 5 END, 'i', i, 'x', CASE WHEN i %% 13 > 0 THEN (i * 7919) %% 101 - 50 END,
		'n', CASE WHEN i %% 11 > 0 THEN ((i * 104729) %% 10007) / (10 ^ (i %% 4))::numeric END, 'f', CASE WHEN i %% 17 > 0 THEN (i * 31) %% 977 / 7.0 END, 'r', (i * 13) %% 89 / 4.0,
		't', CASE WHEN i %% 12 > 0 THEN chr(97 + (i * 7) %% 26) || CASE WHEN i %% 3 = 0 THEN 'É' ELSE (i %% 30)::text END END, 'day', date '2024-01-01' + (i * i) %% 6,
		'pair', ARRAY[i, i * 2], 'at', timestamptz '2024-01-01' + i * interval '1 s' - (i %% 4) * interval '7 s')) FROM generate_series(%s, %s) i$q$, first, last))
	FROM unnest('{aggregates_one,aggregates_two}'::text[]) topic;
	SELECT kafka_test.produce('aggregates_ticks', format($q$SELECT i, jsonb_build_object('g', i %% 5, 'step', 1 + i %% 3, 'at', timestamptz '2024-01-01' + i * interval '1 s')
		FROM generate_series(%s, %s, 9) i$q$, first, last));
$$;
-- what a view lacks of its query, and has beyond; inexact columns are rounded, as_set ones sorted
CREATE FUNCTION differences(view_name text, query text, inexact text[], as_set text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	columns text := (SELECT string_agg(CASE WHEN attname = ANY (inexact) THEN format('round(%I::numeric, 9)::text', attname)
		WHEN attname = ANY (as_set) THEN format('(SELECT array_agg(e ORDER BY e) FROM unnest(%I) e)::text', attname) ELSE format('%I::text', attname) END, ', ' ORDER BY attnum)
		FROM pg_attribute WHERE attrelid = view_name::regclass AND attnum > 0 AND NOT attisdropped);
BEGIN
	query := replace(replace(replace(query, '{by}', ' ORDER BY place'), '{tie}', ', place'), '{both}', '');
	RETURN QUERY EXECUTE format('WITH q AS MATERIALIZED (SELECT %1$s FROM (%2$s) x), v AS MATERIALIZED (SELECT %1$s FROM %3$I)
		SELECT ''missing '' || d::text FROM (SELECT * FROM q EXCEPT ALL SELECT * FROM v) d UNION ALL SELECT ''unexpected '' || d::text FROM (SELECT * FROM v EXCEPT ALL SELECT * FROM q) d',
		columns, query, view_name);
END $$;
CREATE FUNCTION waits() RETURNS SETOF regclass LANGUAGE sql AS $$ SELECT view FROM kafka.views WHERE NOT kafka.wait_for_view(view, '60 s') $$;
CREATE FUNCTION kill_workers() RETURNS bigint LANGUAGE sql AS $$ SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'kafka_views worker' AND datname = current_database() $$;

SELECT is_empty(format('SELECT differences(%L, %L, %L, %L)', name, query, inexact, as_set), name || ' before any record') FROM queries WHERE name IN ('whole', 'never', 'distinct_whole');
SELECT produce(1, 90) \g /dev/null
SELECT is_empty('SELECT waits()', 'the first records are applied');
SELECT is_empty(format('SELECT differences(%L, %L, %L, %L)', name, query, inexact, as_set), name) FROM queries ORDER BY name;
SELECT ok(kill_workers() > 0, 'workers are killed');
SELECT produce(91, 250), produce(251, 400) \g /dev/null
SELECT is_empty('SELECT waits()', 'the others are applied');
SELECT is_empty(format('SELECT differences(%L, %L, %L, %L)', name, query, inexact, as_set), name || ' after a restart') FROM queries ORDER BY name;
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', name), name || ' is verified') FROM queries WHERE verifiable ORDER BY name;
SELECT lives_ok($$SELECT kafka.verify('collected')$$, 'the columns that do not depend on the order are verified where others do');
SELECT is_empty('SELECT * FROM kafka_state.dead_letter', 'no record was given up');
SELECT throws_ok(format('UPDATE kafka_state.groups_%s SET state_count = 0', view), '42809', NULL, 'nobody writes to the state of a view') FROM kafka_state.view WHERE relation = 'combined'::regclass;
SELECT throws_ok(format('DELETE FROM kafka_state.distinct_%s_1', view), '42809', NULL, 'nor to the values it has had') FROM kafka_state.view WHERE relation = 'distinct_only'::regclass;

SELECT is_empty($$SELECT differences('closed', 'SELECT g, kafka.tumble(at, ''1 min'') AS w, stddev(n) AS a, count(DISTINCT x) AS b, product(1 + x / 1000.0) AS c, kafka.first(t, i) AS d FROM one
	WHERE upper(kafka.tumble(at, ''1 min'')) + interval ''30 s'' <= (SELECT frontier FROM kafka.views WHERE view = ''closed''::regclass) GROUP BY g, w', '{}', '{}')$$, 'closed windows have what their query gives');
SELECT is_empty($$SELECT differences('closed_latest', 'SELECT DISTINCT ON (w, g) g, kafka.tumble(at, ''1 min'') AS w, t, i FROM one
	WHERE upper(kafka.tumble(at, ''1 min'')) + interval ''30 s'' <= (SELECT frontier FROM kafka.views WHERE view = ''closed''::regclass) ORDER BY w, g, x DESC NULLS LAST, i', '{}', '{}')$$, 'DISTINCT ON in closed windows');
SELECT is_empty(format('SELECT FROM kafka_state.distinct_%s_1 d JOIN closed c ON c.w = d.w', view), 'values of closed windows are forgotten') FROM kafka_state.view WHERE relation = 'closed'::regclass;
SELECT isnt_empty(format('SELECT FROM kafka_state.distinct_%s_1', view), 'those of open ones are kept') FROM kafka_state.view WHERE relation = 'closed'::regclass;
SELECT is_empty(format('SELECT DISTINCT g, w FROM kafka_state.distinct_%s_1 EXCEPT SELECT g, w FROM kept', view), 'nor are values of removed rows kept') FROM kafka_state.view WHERE relation = 'kept'::regclass;
SELECT is_empty($$SELECT g, w, b FROM kept EXCEPT SELECT g, kafka.tumble(at, '1 min') AS w, count(DISTINCT x) FROM one GROUP BY g, w$$, 'those of others are whole');

ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT * FROM finish();
