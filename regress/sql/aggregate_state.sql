-- Transition states of aggregates as values: made of rows, combined, continued, finished; who may make one, and what is refused.
CREATE SCHEMA aggregate_state;
SET search_path = aggregate_state, kafka_state;
CREATE TABLE price (day int, article text, price numeric(8,2));
INSERT INTO price VALUES (1, 'nut', 1.10), (1, 'nut', 1.30), (1, 'bolt', NULL), (2, 'nut', 1.20), (2, 'pin', 7), (3, 'bolt', 2.50);

-- rows to states, states to one, one to a result
CREATE TABLE per_day AS
SELECT day, agg_partial('stddev(numeric)', price) AS spread, agg_partial('max(text)', article) AS last_name, agg_partial('count()') AS n FROM price GROUP BY day;
SELECT agg_final('stddev(numeric)', agg_merge('stddev(numeric)', spread), NULL::numeric) AS stddev,
	agg_final('max(text)', agg_merge('max(text)', last_name), NULL::text) AS max, agg_final('count()', agg_merge('count()', n), NULL::bigint) AS count FROM per_day;
SELECT stddev(price), max(article), count(*) FROM price;

-- what an upsert does
SELECT agg_final('stddev(numeric)', agg_combine('stddev(numeric)', one.spread, other.spread), NULL::numeric) FROM per_day one, per_day other WHERE one.day = 1 AND other.day = 2;
SELECT stddev(price) FROM price WHERE day < 3;

-- no row is a null, a row that does not count is not
SELECT agg_partial('stddev(numeric)', price) IS NULL AS of_no_row FROM price WHERE false;
SELECT agg_partial('stddev(numeric)', price) IS NULL AS of_a_null, agg_final('stddev(numeric)', agg_partial('stddev(numeric)', price), NULL::numeric) FROM price WHERE price IS NULL;
SELECT agg_final('count()', NULL, NULL::bigint), agg_final('max(text)', NULL, NULL::text);
SELECT agg_combine('count()', NULL, NULL) IS NULL AS still_none, agg_final('count()', agg_combine('count()', NULL, n), NULL::bigint) FROM per_day WHERE day = 1;

-- without a combine function the rows go through the transition function, in order
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric);
SELECT agg_final('product(numeric)', agg_continue('product(numeric)',
		(SELECT agg_continue('product(numeric)', NULL, array_agg(ROW(price) ORDER BY price)) FROM price WHERE day = 1),
		array_agg(ROW(price) ORDER BY price)), NULL::numeric) FROM price WHERE day > 1;
SELECT product(price) FROM price;

-- a polymorphic aggregate wants nulls of its argument types
CREATE AGGREGATE list(anycompatible) (SFUNC = array_append, STYPE = anycompatiblearray);
SELECT agg_final('list(anycompatible)', agg_continue('list(anycompatible)', NULL, array_agg(ROW(article) ORDER BY price)), NULL::text[], NULL::text) FROM price;
SELECT agg_final('list(anycompatible)', NULL, NULL::text[]);

-- types are checked, and whose state it is
SELECT agg_partial('stddev(numeric)', article) FROM price;
SELECT agg_partial('stddev(numeric)', price, price) FROM price;
SELECT agg_partial('stddev(numeric)') FROM price;
SELECT agg_final('stddev(numeric)', spread, NULL::text) FROM per_day;
SELECT agg_final('avg(bigint)', spread, NULL::numeric) FROM per_day;
SELECT agg_final('max(text)', spread, NULL::text) FROM per_day;
SELECT agg_continue('product(numeric)', NULL, ARRAY[ROW('a'::text)]);
SELECT agg_continue('product(numeric)', NULL, ARRAY[ROW(1.0, 2.0)]);
SELECT agg_continue('product(numeric)', NULL, ARRAY[ROW(1.0), ROW(2)]);

-- what cannot be kept
SELECT agg_partial('string_agg(text,text)', article, ',') FROM price;
SELECT agg_partial('mode(anyelement)', article) FROM price;
SELECT agg_merge('product(numeric)', agg_partial) FROM (SELECT agg_partial('product(numeric)', price) FROM price) x;
SELECT agg_continue('stddev(numeric)', NULL, array_agg(ROW(price))) FROM price;
SELECT agg_partial('kafka.first(anyelement,anycompatible)', article, price) FROM price;
SELECT agg_partial('lower(text)', article) FROM price;

-- Nobody but a superuser makes a state of bytes, because deserialisation functions believe them; and nobody runs an aggregate he may not execute.
CREATE ROLE aggregate_state_user;
GRANT USAGE ON SCHEMA aggregate_state TO aggregate_state_user;
GRANT SELECT ON price, per_day TO aggregate_state_user;
REVOKE EXECUTE ON FUNCTION product(numeric) FROM PUBLIC;
SET ROLE aggregate_state_user;
SELECT '01000f0000000000'::agg_state;
SELECT agg_final('stddev(numeric)', agg_merge('stddev(numeric)', spread), NULL::numeric) FROM per_day;
SELECT agg_partial('product(numeric)', price) FROM price;
RESET ROLE;
SELECT agg_final('stddev(numeric)', spread::text::agg_state, NULL::numeric) FROM per_day WHERE day = 1;
SELECT 'no bytes'::agg_state;
SELECT '0200'::agg_state;

-- another major version of Postgres may keep other things
SELECT agg_final('stddev(numeric)', overlay(spread::text PLACING '0e' FROM 5)::agg_state, NULL::numeric) FROM per_day WHERE day = 1;

-- kafka.first and kafka.last: of equal ones the first and the last row, rows without sort do not count
SELECT kafka.first(article, day), kafka.last(article, day), kafka.first(article, price), kafka.last(price, article COLLATE "C") FROM price;
SELECT kafka.first(price, day), kafka.last(price, day) FROM price WHERE article = 'bolt';
SELECT kafka.first(article, NULL::int), kafka.last(article, day) FILTER (WHERE day > 3) FROM price;
SELECT kafka.first(article, point(1, 2)) FROM price;
SELECT kafka.session(now(), '1 minute');

SET client_min_messages = warning;
DROP SCHEMA aggregate_state CASCADE;
DROP ROLE aggregate_state_user;
