-- Values that are equal and not the same (1.0 and 1.00, 0 and -0, what a nondeterministic collation does not tell apart): a join and a group find
-- them equal, and what is written is always the value of a row that is there. Compared with the queries to the text of every value.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('ev_' || t, 1, 'retention.ms=-1') FROM unnest('{prices,words,plain,refs,events,price_sink,latest_sink}'::text[]) t \g /dev/null
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE FOREIGN TABLE prices (k numeric OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'ev_prices', mode 'upsert');
CREATE FOREIGN TABLE words (word text OPTIONS (key 'true') COLLATE any_case, n int) SERVER broker OPTIONS (topic 'ev_words', mode 'upsert');
CREATE FOREIGN TABLE plain (word text OPTIONS (key 'true'), n int) SERVER broker OPTIONS (topic 'ev_plain', mode 'upsert');
CREATE FOREIGN TABLE refs (id int OPTIONS (key 'true'), k numeric, word text COLLATE any_case, f float8) SERVER broker OPTIONS (topic 'ev_refs', mode 'upsert');
CREATE FOREIGN TABLE events (id int, k numeric, at timestamptz) SERVER broker OPTIONS (topic 'ev_events', event_time 'at');
CREATE FOREIGN TABLE price_sink (k numeric OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'ev_price_sink', mode 'upsert');
CREATE FOREIGN TABLE latest_sink (k numeric OPTIONS (key 'true'), id int) SERVER broker OPTIONS (topic 'ev_latest_sink', mode 'upsert');
ALTER SYSTEM SET kafka.batch_rows = 1;
SELECT pg_reload_conf() \g /dev/null

-- what the query says to the letter, and groups, of whose equal keys the query shows one
CREATE TABLE views (view text, query text, key text);
INSERT INTO views VALUES
	('by_k', 'SELECT k, name FROM prices', 'k'),
	('spelled', 'SELECT k, k::text AS spelled, scale(k) AS scale, name FROM prices', 'k'),
	('priced', 'SELECT r.id, r.k AS mine, p.k, p.name FROM refs r LEFT JOIN prices p ON p.k = r.k', 'id'),
	('worded', 'SELECT r.id, r.word AS mine, w.word, w.n FROM refs r JOIN words w ON w.word = r.word', 'id'),
	('exactly', 'SELECT w.word, p.word AS plain, p.n FROM words w JOIN plain p ON p.word = w.word COLLATE "C"', 'word'),
	('alike', 'SELECT w.word, p.word AS plain, p.n FROM words w JOIN plain p ON p.word = w.word', 'plain'),
	('either', 'SELECT COALESCE(p.word, w.word) AS either, w.word, p.word AS plain FROM words w FULL JOIN plain p ON p.word = w.word', 'word, plain'),
	('both', 'SELECT coalesce(b.k, a.k) AS one, a.k, b.k AS again, a.id, b.name FROM refs a FULL JOIN prices b ON b.k = a.k', 'id, again');
CREATE TABLE groups (view text, query text, key text, source text);
INSERT INTO groups VALUES
	('counts', 'SELECT k, k::text AS spelled, count(*) AS n, sum(id) AS ids FROM refs GROUP BY k', 'k', 'refs'),
	('having_two', 'SELECT k, k::text AS spelled, count(*) AS n FROM refs GROUP BY k HAVING count(*) > 1', 'k', 'refs'),
	('listed', 'SELECT k, k::text AS spelled, string_agg(id::text, '','' ORDER BY id) AS ids FROM refs GROUP BY k', 'k', 'refs'),
	('greatest_of', 'SELECT word, word || ''!'' AS spelled, max(id) AS last, count(*) AS n FROM refs GROUP BY word', 'word', 'refs'),
	('floats', 'SELECT f, f::text AS spelled, count(*) AS n FROM refs GROUP BY f', 'f', 'refs'),
	('different', 'SELECT DISTINCT k, word FROM refs', 'k', 'refs'),
	('of_events', 'SELECT k, k::text AS spelled, count(*) AS n, avg(id) AS mean FROM events GROUP BY k', 'k', 'events');
DO $$
DECLARE
	v record;
BEGIN
	FOR v IN SELECT view, query FROM views UNION ALL SELECT view, query FROM groups LOOP
		EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (kafka.continuous, kafka.pipeline = ''equal'') AS %s', v.view, v.query);
	END LOOP;
END $$;
BEGIN;
CREATE MATERIALIZED VIEW latest WITH (kafka.continuous, kafka.pipeline = 'latest') AS SELECT DISTINCT ON (k) k, id FROM events ORDER BY k, at DESC;
CREATE MATERIALIZED VIEW latest_sorted WITH (kafka.continuous, kafka.pipeline = 'latest') AS SELECT DISTINCT ON (k) k, k::text AS spelled FROM events ORDER BY k, at DESC, id;
COMMIT;
SELECT kafka.attach_sink('by_k', 'price_sink'), kafka.attach_sink('latest', 'latest_sink') \g /dev/null

CREATE SCHEMA now;
CREATE TABLE now.prices AS TABLE prices;
CREATE TABLE now.words AS TABLE words;
CREATE TABLE now.plain AS TABLE plain;
CREATE TABLE now.refs AS TABLE refs;
CREATE TABLE now.events AS TABLE events;
CREATE FUNCTION differences(records text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	name text;
	v record;
BEGIN
	FOR name IN EXECUTE format('SELECT topic FROM (VALUES %s) r (topic, key, value) GROUP BY topic', records) LOOP
		PERFORM kafka_test.produce('ev_' || name, format('SELECT key, value FROM (VALUES %s) r (topic, key, value) WHERE topic = %L', records, name));
	END LOOP;
	IF NOT kafka.wait_for_view('by_k', '60s') OR NOT kafka.wait_for_view('latest', '60s') THEN
		RETURN NEXT 'does not catch up';
	END IF;
	FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'now'::regnamespace LOOP
		EXECUTE format('DELETE FROM now.%1$I; INSERT INTO now.%1$I TABLE public.%1$I', name);
	END LOOP;
	PERFORM set_config('search_path', 'now, public', true);
	FOR v IN SELECT view, query FROM views UNION ALL VALUES ('latest', 'SELECT DISTINCT ON (k) k, id FROM events ORDER BY k, at DESC'),
		('latest_sorted', 'SELECT DISTINCT ON (k) k, k::text AS spelled FROM events ORDER BY k, at DESC, id') LOOP
		RETURN QUERY EXECUTE format('SELECT %1$L || '': '' || d FROM (((SELECT t::text FROM %1$I t) EXCEPT ALL (SELECT q::text FROM (%2$s) q))
			UNION ALL ((SELECT q::text FROM (%2$s) q) EXCEPT ALL (SELECT t::text FROM %1$I t))) x (d)', v.view, v.query);
	END LOOP;
	-- the groups of the query, each with a spelling that a row has, the same in all its columns
	FOR v IN SELECT * FROM groups LOOP
		RETURN QUERY EXECUTE format('SELECT %1$L || '': '' || t::text FROM %1$I t WHERE t.%3$I IS NOT NULL AND NOT EXISTS (SELECT FROM %4$I s WHERE s.%3$I = t.%3$I AND s.%3$I::text = t.%3$I::text)',
			v.view, v.query, v.key, v.source);
		RETURN QUERY EXECUTE format('SELECT %1$L || '': '' || t::text FROM %1$I t WHERE to_jsonb(t)->>''spelled'' <> t.%2$I::text || CASE %2$L WHEN ''word'' THEN ''!'' ELSE '''' END', v.view, v.key);
		RETURN QUERY EXECUTE format('WITH q AS MATERIALIZED (SELECT q.%3$I, to_jsonb(q) - ''{k,word,f,spelled}''::text[] FROM (%2$s) q), t AS (SELECT t.%3$I, to_jsonb(t) - ''{k,word,f,spelled}''::text[] FROM %1$I t)
			SELECT %1$L || '': '' || d::text FROM ((TABLE q EXCEPT ALL TABLE t) UNION ALL (TABLE t EXCEPT ALL TABLE q)) d', v.view, v.query, v.key);
	END LOOP;
	PERFORM set_config('search_path', 'public', true);
END $$;
CREATE TABLE steps (step int GENERATED ALWAYS AS IDENTITY, what text, records text);
INSERT INTO steps (what, records) VALUES
	('rows', $$('prices', '1.0', '{"name": "one"}'), ('words', 'Bern', '{"n": 1}'), ('plain', 'BERN', '{"n": 2}'), ('refs', '1', '{"k": 1.0, "word": "Bern", "f": 0}'),
		('events', null, '{"id": 1, "k": 1.0, "at": "2024-01-01T12:00:00Z"}')$$),
	('equal ones', $$('plain', 'bern', '{"n": 3}'), ('refs', '2', '{"k": 1.00, "word": "BERN", "f": "-0"}'), ('events', null, '{"id": 2, "k": 1.00, "at": "2024-01-01T12:01:00Z"}')$$),
	('keys are spelled in another way', $$('prices', '1.00', '{"name": "one"}'), ('words', 'bern', '{"n": 1}')$$),
	('the first row of a group goes', $$('refs', '1', null)$$),
	('and returns', $$('refs', '1', '{"k": 1.0, "word": "bErn", "f": 0}')$$),
	('the second goes', $$('refs', '2', null)$$),
	('the only row of a group is spelled in another way', $$('refs', '1', '{"k": 1.000, "word": "berN", "f": "-0"}')$$),
	('it moves', $$('refs', '1', '{"k": 2, "word": "Rome", "f": 1}'), ('refs', '3', '{"k": 2.0, "word": "ROME", "f": 1}')$$),
	('nulls', $$('refs', '4', '{"k": null, "word": null, "f": null}'), ('refs', '5', '{"k": null, "word": "bern", "f": "NaN"}')$$),
	('one of two spellings changes', $$('refs', '1', '{"k": 2.00, "word": "rome", "f": 1}')$$),
	('a key is deleted by another spelling', $$('prices', '1', null), ('words', 'BERN', null)$$),
	('all go', $$('refs', '1', null), ('refs', '3', null), ('refs', '4', null), ('refs', '5', null), ('plain', 'bern', null)$$);
SELECT is_empty(format('SELECT * FROM differences(%L)', records), what) FROM steps ORDER BY step;
ALTER SYSTEM SET kafka.batch_rows = 100000;
SELECT pg_reload_conf() \g /dev/null
SELECT is_empty(format('SELECT * FROM differences(%L)', records), what || ', large batches') FROM steps ORDER BY step;
SELECT is_empty(format('SELECT * FROM differences(%L)', string_agg(records, ', ' ORDER BY step)), 'all but the last in one') FROM steps WHERE step < 11;
SELECT is((SELECT sum(dead_letters) FROM kafka.views), 0::numeric, 'no dead letters');
SELECT is((SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = view::regclass AND contype = 'u'), 'UNIQUE NULLS NOT DISTINCT (' || key || ')', 'key of ' || view) FROM views ORDER BY view;

-- a topic tells the spellings of a key apart: the old one gets a tombstone
CREATE FUNCTION folded(topic text) RETURNS TABLE (key text) LANGUAGE sql AS $$
	SELECT l.key FROM (SELECT DISTINCT ON (c.key) c.key, c.value FROM kafka_test.consume(topic) c ORDER BY c.key, c."offset" DESC) l WHERE l.value IS NOT NULL ORDER BY 1
$$;
SELECT results_eq($$SELECT key FROM folded('ev_price_sink')$$, $$SELECT k::text FROM by_k ORDER BY 1$$, 'the sink of a table has its key only');
SELECT results_eq($$SELECT key FROM folded('ev_latest_sink')$$, $$SELECT k::text FROM latest ORDER BY 1$$, 'nor has that of DISTINCT ON another than that of the row that stands');
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT * FROM finish();
