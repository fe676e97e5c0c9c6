-- Stored states of aggregates: for random rows, split at random, the result from combined states is that of the aggregate itself
-- (DESIGN.md 2.5, 3). SEED in the environment repeats a run; floats may differ in the last digits, as they do between two plans.
\set seed -1
\getenv seed SEED
SELECT no_plan() \g /dev/null
SELECT CASE WHEN :seed < 0 THEN floor(random() * 1000000)::int ELSE :seed END AS seed \gset
SELECT diag('seed ' || :seed);
SELECT setseed(:seed / 1000000.0) \g /dev/null
CREATE COLLATION backwards (provider = icu, locale = 'en-u-kf-upper', deterministic = true);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');

-- p: the part of the split; parts follow each other in the order of i. Group 3 is small, group 4 all null.
CREATE TABLE d AS
SELECT i, 1 + width_bucket(i, cut) AS p, g, CASE WHEN g < 4 THEN i1 END AS i1, CASE WHEN g < 4 THEN i2 END AS i2, CASE WHEN g < 4 THEN b END AS b,
	CASE WHEN g < 4 THEN n END AS n, CASE WHEN g < 4 THEN f END AS f, CASE WHEN g < 4 THEN f2 END AS f2, CASE WHEN g < 4 THEN t END AS t,
	i % 2 = 0 AS bo, i % 2 = 0 AS odd
FROM (SELECT array_agg(c ORDER BY c) AS cut FROM (SELECT DISTINCT (1 + random() * 400)::int AS c FROM generate_series(1, 1 + (random() * 5)::int)) c) cuts,
LATERAL (
	SELECT i, CASE WHEN i % 100 = 7 THEN 3 WHEN i % 10 = 4 THEN 4 ELSE (random() * 2)::int END AS g,
		CASE WHEN random() < 0.9 THEN (random() * 2000 - 1000)::int END AS i1,
		CASE WHEN random() < 0.9 THEN (random() * 200 - 100)::smallint END AS i2,
		CASE WHEN random() < 0.9 THEN (random() * 9e18)::bigint END AS b,
		CASE WHEN random() < 0.9 THEN round((random() * 1e6)::numeric, (random() * 12)::int) END AS n,
		CASE WHEN random() < 0.9 THEN random() * 1000 END AS f,
		CASE WHEN random() < 0.9 THEN random() * 10 END AS f2,
		CASE WHEN random() < 0.9 THEN (ARRAY['a', 'B', 'b', 'A', 'é', 'z', '', '☃'])[1 + (random() * 7)::int] || (random() * 20)::int END AS t
	FROM generate_series(1, 400) i) r;
-- group 0 has what numbers can be besides numbers
CREATE TABLE special AS
SELECT d.* FROM d WHERE g = 0 UNION ALL
SELECT -i, 1, 0, i1, i2, b, 'NaN'::numeric, 'NaN'::float8, f2, t, bo, odd FROM d WHERE i = 40 UNION ALL
SELECT -i, 1, 1, i1, i2, b, CASE WHEN i % 2 = 0 THEN 'Infinity' ELSE '-Infinity' END::numeric, 'Infinity'::float8, f2, t, bo, odd FROM d WHERE i IN (50, 350) UNION ALL
SELECT * FROM d WHERE g <> 0;

-- user-defined: without combine function, over null rows, with a composite, a polymorphic and a collated state
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric);
CREATE FUNCTION add_or_null(int, int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 + $2;
CREATE AGGREGATE poisoned_sum(int) (SFUNC = add_or_null, STYPE = int, INITCOND = '0', COMBINEFUNC = add_or_null);
CREATE FUNCTION null_below(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT RETURN CASE WHEN $2 < -900 THEN NULL ELSE $1 + $2 END;
CREATE AGGREGATE stuck_sum(int) (SFUNC = null_below, STYPE = int);
CREATE AGGREGATE list_of(anycompatible) (SFUNC = array_append, STYPE = anycompatiblearray);
CREATE AGGREGATE list_of_lists(anycompatible) (SFUNC = array_append, STYPE = anycompatiblearray, INITCOND = '{}', COMBINEFUNC = array_cat);
CREATE TYPE least_and_greatest AS (least text, greatest text);
CREATE FUNCTION widen(state least_and_greatest, t text) RETURNS least_and_greatest LANGUAGE sql IMMUTABLE
	RETURN ROW(least((state).least, t), greatest((state).greatest, t))::least_and_greatest;
CREATE FUNCTION widen(state least_and_greatest, other least_and_greatest) RETURNS least_and_greatest LANGUAGE sql IMMUTABLE
	RETURN ROW(least((state).least, (other).least), greatest((state).greatest, (other).greatest))::least_and_greatest;
CREATE FUNCTION show(state least_and_greatest, t text) RETURNS text LANGUAGE sql IMMUTABLE RETURN (state).least || '..' || (state).greatest;
CREATE AGGREGATE range_of(text) (SFUNC = widen, STYPE = least_and_greatest, COMBINEFUNC = widen, FINALFUNC = show, FINALFUNC_EXTRA);
CREATE FUNCTION later(mood, mood) RETURNS mood LANGUAGE sql IMMUTABLE RETURN greatest($1, $2);
CREATE AGGREGATE best(mood) (SFUNC = later, STYPE = mood, COMBINEFUNC = later);
CREATE AGGREGATE pairs(VARIADIC int[]) (SFUNC = array_cat, STYPE = int[]);

-- Compares one aggregate, over groups and over no row at all, merged, combined two by two and, where the state is of an SQL type,
-- continued row by row; gives what differs. types: nulls of argument types for polymorphic ones.
CREATE FUNCTION differences(aggregate regprocedure, call text, arguments text, result text, types text, inexact boolean) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	same text := CASE WHEN inexact THEN 'a IS NULL AND b IS NULL OR a = b OR abs(a - b) <= 1e-9 * greatest(abs(a), abs(b), 1e-9)' ELSE 'a IS NOT DISTINCT FROM b' END;
	sql_state boolean := (SELECT aggtranstype <> 'internal'::regtype AND aggkind = 'n' FROM pg_aggregate WHERE aggfnoid = aggregate);
	combines boolean := (SELECT aggcombinefn <> 0 FROM pg_aggregate WHERE aggfnoid = aggregate);
	kept text := format('%L::regprocedure', aggregate);
	source text;
	way text;
BEGIN
	FOREACH source IN ARRAY ARRAY['d', 'special', '(SELECT * FROM d WHERE false)'] LOOP
		IF combines THEN
			RETURN QUERY EXECUTE format(
				'WITH parts AS (SELECT g, p, kafka_state.agg_partial(%1$s%2$s ORDER BY i) AS state FROM %3$s x GROUP BY g, p),
				      merged AS (SELECT g, kafka_state.agg_final(%1$s, kafka_state.agg_merge(%1$s, state%5$s ORDER BY p), NULL::%4$s%5$s) AS b FROM parts GROUP BY g),
				      itself AS (SELECT g, %6$s AS a FROM %3$s x GROUP BY g)
				 SELECT format(''merged, group %%s of %3$s: %%s, not %%s'', g, b, a) FROM merged FULL JOIN itself USING (g) WHERE NOT (%7$s)',
				kept, arguments, source, result, types, call, same);
			RETURN QUERY EXECUTE format(
				'WITH RECURSIVE parts AS (SELECT g, p, kafka_state.agg_partial(%1$s%2$s ORDER BY i) FILTER (WHERE bo) AS state FROM %3$s x GROUP BY g, p),
				      chain AS (SELECT g, 0 AS p, (SELECT state FROM parts WHERE false) AS state FROM (SELECT DISTINCT g FROM parts) x
					UNION ALL SELECT g, c.p + 1, kafka_state.agg_combine(%1$s, c.state, (SELECT state FROM parts n WHERE n.g = c.g AND n.p = c.p + 1)%5$s)
						FROM chain c WHERE c.p < 12),
				      itself AS (SELECT g, %6$s FILTER (WHERE bo) AS a FROM %3$s x GROUP BY g)
				 SELECT format(''combined, group %%s of %3$s: %%s, not %%s'', g, b, a)
				 FROM (SELECT g, kafka_state.agg_final(%1$s, state, NULL::%4$s%5$s) AS b FROM chain WHERE p = 12) c FULL JOIN itself USING (g) WHERE NOT (%7$s)',
				kept, arguments, source, result, types, call, same);
		END IF;
		IF sql_state THEN
			RETURN QUERY EXECUTE format(
				'WITH RECURSIVE chain AS (SELECT g, 0 AS p, (SELECT kafka_state.agg_partial(%1$s%2$s) FROM d WHERE false) AS state FROM (SELECT DISTINCT g FROM %3$s x) x
					UNION ALL SELECT g, c.p + 1, kafka_state.agg_continue(%1$s, c.state, (SELECT array_agg(ROW(%8$s) ORDER BY i) FROM %3$s x WHERE x.g = c.g AND x.p = c.p + 1))
						FROM chain c WHERE c.p < 12),
				      itself AS (SELECT g, %6$s AS a FROM %3$s x GROUP BY g)
				 SELECT format(''continued, group %%s of %3$s: %%s, not %%s'', g, b, a)
				 FROM (SELECT g, kafka_state.agg_final(%1$s, state, NULL::%4$s%5$s) AS b FROM chain WHERE p = 12) c FULL JOIN itself USING (g) WHERE NOT (%7$s)',
				kept, arguments, source, result, types, call, same, substr(arguments, 3));
		END IF;
	END LOOP;
	-- no row at all
	RETURN QUERY EXECUTE format('SELECT format(''over no rows: %%s, not %%s'', b, a) FROM (SELECT %1$s AS a FROM d WHERE false) x,
		(SELECT kafka_state.agg_final(%2$s, NULL, NULL::%3$s%4$s) AS b) y WHERE a IS DISTINCT FROM b', call, kept, result, types);
END $$;

SELECT is_empty(format('SELECT differences(%L, %L, %L, %L, %L, %L)', aggregate,
		coalesce(call, format('%s(%s ORDER BY i)', regexp_replace(aggregate, '\(.*', ''), substr(arguments, 3))), arguments, result, types, result = 'float8'), aggregate)
FROM (VALUES
	('count("any")', ', i1', 'bigint', ', NULL::int', NULL),
	('sum(int2)', ', i2', 'bigint', '', NULL), ('sum(int4)', ', i1', 'bigint', '', NULL), ('sum(int8)', ', b', 'numeric', '', NULL),
	('sum(numeric)', ', n', 'numeric', '', NULL), ('sum(float8)', ', f', 'float8', '', NULL), ('sum(interval)', ', i1 * interval ''1.7 s''', 'interval', '', NULL),
	('avg(int2)', ', i2', 'numeric', '', NULL), ('avg(int4)', ', i1', 'numeric', '', NULL), ('avg(int8)', ', b', 'numeric', '', NULL),
	('avg(numeric)', ', n', 'numeric', '', NULL), ('avg(float8)', ', f', 'float8', '', NULL), ('avg(interval)', ', i1 * interval ''1 s''', 'interval', '', NULL),
	('min(int4)', ', i1', 'int', '', NULL), ('max(numeric)', ', n', 'numeric', '', NULL), ('max(float8)', ', f', 'float8', '', NULL),
	('min(text)', ', t', 'text', '', NULL), ('max(text)', ', t COLLATE "C"', 'text', '', NULL), ('min(text)', ', t COLLATE backwards', 'text', '', NULL),
	('max(timestamptz)', ', timestamptz ''2024-01-01'' + i1 * interval ''1 s''', 'timestamptz', '', NULL), ('max(anyarray)', ', ARRAY[i1, i2]', 'int[]', ', NULL::int[]', NULL),
	('min(anyenum)', ', (enum_range(NULL::mood))[1 + abs(i1) % 3]', 'mood', ', NULL::mood', NULL), ('max(inet)', ', inet ''10.0.0.1'' + i', 'inet', '', NULL),
	('stddev_samp(int4)', ', i1', 'numeric', '', NULL), ('stddev_pop(int8)', ', b', 'numeric', '', NULL), ('stddev(int2)', ', i2', 'numeric', '', NULL),
	('variance(numeric)', ', n', 'numeric', '', NULL), ('var_pop(numeric)', ', n', 'numeric', '', NULL), ('stddev(float8)', ', f', 'float8', '', NULL),
	('var_samp(float4)', ', f::float4', 'float8', '', NULL), ('corr(float8,float8)', ', f, f2', 'float8', '', NULL), ('covar_pop(float8,float8)', ', f, f2', 'float8', '', NULL),
	('covar_samp(float8,float8)', ', f, f2', 'float8', '', NULL), ('regr_avgx(float8,float8)', ', f, f2', 'float8', '', NULL), ('regr_avgy(float8,float8)', ', f, f2', 'float8', '', NULL),
	('regr_count(float8,float8)', ', f, f2', 'bigint', '', NULL), ('regr_sxx(float8,float8)', ', f, f2', 'float8', '', NULL), ('regr_syy(float8,float8)', ', f, f2', 'float8', '', NULL),
	('bool_and(boolean)', ', bo', 'boolean', '', NULL), ('bool_or(boolean)', ', bo', 'boolean', '', NULL), ('every(boolean)', ', i1 > 0', 'boolean', '', NULL),
	('bit_and(int4)', ', i1', 'int', '', NULL), ('bit_or(int8)', ', b', 'bigint', '', NULL), ('bit_xor(int2)', ', i2', 'smallint', '', NULL), ('bit_and(bit)', ', i1::bit(16)', 'bit', '', NULL),
	('range_intersect_agg(anyrange)', ', int4range(-abs(i), abs(i1) + abs(i))', 'int4range', ', NULL::int4range', NULL),
	('product(numeric)', ', (1 + i1 / 1e5)', 'numeric', '', NULL), ('poisoned_sum(int)', ', i1', 'int', '', NULL), ('poisoned_sum(int)', ', i', 'int', '', NULL),
	('stuck_sum(int)', ', i1', 'int', '', NULL), ('list_of(anycompatible)', ', t', 'text[]', ', NULL::text', NULL), ('list_of(anycompatible)', ', (enum_range(NULL::mood))[1 + abs(i1) % 3]', 'mood[]', ', NULL::mood', NULL),
	('list_of_lists(anycompatible)', ', n', 'numeric[]', ', NULL::numeric', NULL), ('range_of(text)', ', t', 'text', '', NULL),
	('best(mood)', ', (enum_range(NULL::mood))[1 + abs(i1) % 3]', 'mood', '', NULL), ('pairs(int[])', ', ARRAY[i1, i2::int]', 'int[]', '', 'pairs(i1, i2::int ORDER BY i)')
) a(aggregate, arguments, result, types, call);
-- "VARIADIC" and "*" cannot be written as an expression list
SELECT results_eq($$SELECT g, kafka_state.agg_final('count()', kafka_state.agg_partial('count()'), NULL::bigint) FROM d GROUP BY g ORDER BY g$$,
	$$SELECT g, count(*) FROM d GROUP BY g ORDER BY g$$, 'count(*)');
-- a text state is kept in the encoding of the database, whatever the client's
SET client_encoding = 'LATIN1';
CREATE TABLE texts AS SELECT kafka_state.agg_partial('max(text)', t) AS state FROM (VALUES ('a'), (U&'\2603')) v(t);
SET client_encoding = 'UTF8';
SELECT is(kafka_state.agg_final('max(text)', state, NULL::text), U&'\2603', 'a state does not depend on the client''s encoding') FROM texts;

-- aggregates of extensions nobody here wrote
SELECT count(*) = 3 AS extensions FROM pg_available_extensions WHERE name IN ('hll', 'tdigest', 'first_last_agg') \gset
\if :extensions
CREATE EXTENSION hll;
CREATE EXTENSION tdigest;
CREATE EXTENSION first_last_agg;
SELECT is_empty($$SELECT differences('hll_add_agg(hll_hashval)', 'hll_add_agg(hll_hash_integer(i1))', ', hll_hash_integer(i1)', 'hll', '', false)$$, 'hll_add_agg');
SELECT is_empty($$SELECT differences('hll_add_agg(hll_hashval,integer)', 'hll_add_agg(hll_hash_integer(i1), 10)', ', hll_hash_integer(i1), 10', 'hll', '', false)$$, 'hll_add_agg with precision');
SELECT is_empty($$SELECT differences('first(anyelement)', 'first(t ORDER BY i)', ', t', 'text', ', NULL::text', false)$$, 'first of first_last_agg');
SELECT is_empty($$SELECT differences('last(anyelement)', 'last(n ORDER BY i)', ', n', 'numeric', ', NULL::numeric', false)$$, 'last of first_last_agg');
-- a digest depends on the order of its rows and is an estimate: its count is exact, its median is near
SELECT is_empty($$WITH parts AS (SELECT g, p, kafka_state.agg_partial('tdigest(float8,int)', f, 100) AS state FROM d GROUP BY g, p),
	merged AS (SELECT g, kafka_state.agg_final('tdigest(float8,int)', kafka_state.agg_merge('tdigest(float8,int)', state), NULL::tdigest) AS b FROM parts GROUP BY g)
	SELECT * FROM merged JOIN (SELECT g, tdigest(f, 100) AS a, count(f) AS n FROM d GROUP BY g) x USING (g) WHERE tdigest_count(b) IS DISTINCT FROM tdigest_count(a)$$, 'tdigest');
SELECT is_empty($$WITH parts AS (SELECT p, kafka_state.agg_partial('tdigest_percentile(float8,int,float8)', f, 100, 0.5::float8) AS state FROM d GROUP BY p)
	SELECT kafka_state.agg_final('tdigest_percentile(float8,int,float8)', kafka_state.agg_merge('tdigest_percentile(float8,int,float8)', state), NULL::float8) - tdigest_percentile
	FROM parts, (SELECT tdigest_percentile(f, 100, 0.5) FROM d) x GROUP BY tdigest_percentile
	HAVING abs(kafka_state.agg_final('tdigest_percentile(float8,int,float8)', kafka_state.agg_merge('tdigest_percentile(float8,int,float8)', state), NULL::float8) - tdigest_percentile) > 50$$, 'tdigest_percentile');
\else
SELECT skip('hll, tdigest and first_last_agg are not installed here: scripts/deps does it', 6);
\endif
SELECT * FROM finish();
