-- Rows of a group put into sessions, against a slow reference that takes row by row (DESIGN.md 2.3). SEED in the environment repeats a run.
\set seed -1
\getenv seed SEED
SELECT no_plan() \g /dev/null
SELECT CASE WHEN :seed < 0 THEN floor(random() * 1000000)::int ELSE :seed END AS seed \gset
SELECT diag('seed ' || :seed);
SELECT setseed(:seed / 1000000.0) \g /dev/null

CREATE FUNCTION at(minutes float8) RETURNS timestamptz LANGUAGE sql IMMUTABLE RETURN timestamptz '2024-01-01 00:00+00' + minutes * interval '1 minute';
CREATE FUNCTION during(first float8, last float8) RETURNS tstzrange LANGUAGE sql IMMUTABLE RETURN tstzrange(at(first), at(last), '[]');
CREATE FUNCTION answers(stored tstzrange[], rows text, gap interval, grace interval) RETURNS SETOF kafka_state.session_answer LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT a.* FROM (SELECT kafka_state.sessionize($1, n, at, reached, $2, $3 ORDER BY n) AS answers FROM (%s) r(n, at, reached)) s, unnest(answers) a', rows)
		USING stored, gap, grace;
END $$;

SELECT results_eq($$SELECT * FROM answers(NULL, 'VALUES (1::bigint, at(0), NULL::timestamptz), (2, at(10), NULL), (3, at(20.1), NULL)', '10 minutes', NULL)$$,
	$$VALUES (1::bigint, NULL::tstzrange, during(0, 10), false), (2, NULL, during(0, 10), false), (3, NULL, during(20.1, 20.1), false)$$,
	'rows belong together up to the gap, and not beyond it');
SELECT results_eq($$SELECT * FROM answers(NULL, 'VALUES (1::bigint, at(30), NULL::timestamptz), (2, at(10), NULL), (3, at(20), NULL)', '10 minutes', NULL)$$,
	$$VALUES (1::bigint, NULL::tstzrange, during(10, 30), false), (2, NULL, during(10, 30), false), (3, NULL, during(10, 30), false)$$,
	'a row between two sessions makes them one, for the rows before it too');
SELECT results_eq($$SELECT * FROM answers(ARRAY[during(50, 60), during(0, 5), during(20, 30)], 'VALUES (7::bigint, at(12), NULL::timestamptz)', '10 minutes', NULL)$$,
	$$VALUES (7::bigint, NULL::tstzrange, during(0, 30), false), (NULL, during(0, 5), during(0, 30), false), (NULL, during(20, 30), during(0, 30), false)$$,
	'stored sessions that are bridged are named with what they have become, others are not');
SELECT results_eq($$SELECT * FROM answers(ARRAY[during(0, 5)], 'VALUES (1::bigint, at(3), NULL::timestamptz)', '10 minutes', NULL)$$,
	$$VALUES (1::bigint, NULL::tstzrange, during(0, 5), false)$$, 'a row within a session does not change it');
SELECT results_eq($$SELECT * FROM answers(ARRAY[during(0, 5)], 'VALUES (1::bigint, at(6), at(20)), (2, at(6), at(19.9)), (3, at(7), at(20)), (4, at(30), at(20))', '10 minutes', '4 minutes')$$,
	$$VALUES (1::bigint, NULL::tstzrange, NULL::tstzrange, true), (2, NULL, during(6, 6), false), (3, NULL, during(7, 7), false), (4, NULL, during(30, 30), false)$$,
	'late: end + gap + grace at or before what was reached; a session that has closed for the row is left as it is');
SELECT results_eq($$SELECT * FROM answers(ARRAY[during(5, 5), during(8, 11)], 'VALUES (1::bigint, at(4), at(11)), (2, at(5), at(5))', '5 minutes', '0')$$,
	$$VALUES (1::bigint, NULL::tstzrange, during(4, 11), false), (2, NULL, during(4, 11), false), (NULL, during(5, 5), during(4, 11), false), (NULL, during(8, 11), during(4, 11), false)$$,
	'an open session may lie around one that has closed for its row, and merge with it by a row for which both are open');
SELECT results_eq($$SELECT * FROM answers(NULL, 'VALUES (1::bigint, NULL::timestamptz, at(20))', '10 minutes', '0')$$,
	$$VALUES (1::bigint, NULL::tstzrange, NULL::tstzrange, false)$$, 'a row without time is in no session and not late');
SELECT is((SELECT kafka_state.sessionize(NULL, 1, NULL, NULL, '1 min', NULL) FROM generate_series(1, 0)), NULL, 'no rows');
SELECT results_eq($$SELECT * FROM answers(NULL, 'VALUES (1::bigint, timestamptz ''294276-12-31'', timestamptz ''294276-12-31''), (2, ''4714-11-24 BC'', NULL)', '200000 hours', '999999 hours')$$,
	$$VALUES (1::bigint, NULL::tstzrange, tstzrange('294276-12-31', '294276-12-31', '[]'), false), (2, NULL, tstzrange('4714-11-24 BC', '4714-11-24 BC', '[]'), false)$$,
	'the ends of time');
SELECT throws_ok($$SELECT * FROM answers(NULL, 'VALUES (1::bigint, timestamptz ''infinity'', NULL::timestamptz)', '1 minute', NULL)$$, '22008', NULL, 'an infinite time has no session');
SELECT throws_ok($$SELECT * FROM answers(NULL, 'VALUES (1::bigint, at(0), NULL::timestamptz)', '1 month', NULL)$$, '22023', NULL, 'a month is no length');
SELECT throws_ok($$SELECT kafka.session(now(), '1 minute')$$, '0A000', NULL, 'the marker means nothing outside of a view');

-- The reference: sessions in a table; each row looks at all of them.
CREATE TABLE new_rows (n bigint, at timestamptz, reached timestamptz);
CREATE TABLE open_sessions (id serial PRIMARY KEY, first timestamptz, last timestamptz, stored tstzrange[]);
CREATE TABLE row_sessions (n bigint, id int, late boolean);
CREATE FUNCTION reference(stored tstzrange[], gap interval, grace interval) RETURNS SETOF kafka_state.session_answer LANGUAGE plpgsql AS $$
DECLARE
	r new_rows;
	ids int[];
	f timestamptz;
	l timestamptz;
	s tstzrange[];
	new_id int;
BEGIN
	TRUNCATE open_sessions, row_sessions;
	INSERT INTO open_sessions (first, last, stored) SELECT lower(x), upper(x), ARRAY[x] FROM unnest(stored) x;
	FOR r IN SELECT * FROM new_rows ORDER BY n LOOP
		SELECT array_agg(id), least(min(first), r.at), greatest(max(last), r.at) INTO ids, f, l
		FROM open_sessions WHERE r.at >= first - gap AND r.at <= last + gap AND (last + gap + grace <= r.reached) IS NOT TRUE;
		l := coalesce(l, r.at);
		IF r.at IS NULL OR l + gap + grace <= r.reached THEN
			INSERT INTO row_sessions VALUES (r.n, NULL, r.at IS NOT NULL);
			CONTINUE;
		END IF;
		SELECT array_agg(x) INTO s FROM open_sessions o, unnest(o.stored) x WHERE id = ANY (ids);
		DELETE FROM open_sessions WHERE id = ANY (ids);
		INSERT INTO open_sessions (first, last, stored) VALUES (f, l, s) RETURNING id INTO new_id;
		UPDATE row_sessions SET id = new_id WHERE id = ANY (ids);
		INSERT INTO row_sessions VALUES (r.n, new_id, false);
	END LOOP;
	RETURN QUERY SELECT n, NULL::tstzrange, CASE WHEN id IS NOT NULL THEN tstzrange(first, last, '[]') END, late FROM row_sessions LEFT JOIN open_sessions USING (id);
	RETURN QUERY SELECT NULL::bigint, x, tstzrange(first, last, '[]'), false FROM open_sessions o, unnest(o.stored) x WHERE x <> tstzrange(first, last, '[]');
END $$;

-- One group over some batches: the sessions of a batch are stored, and those open at its frontier go into the next.
CREATE FUNCTION play(batches int, nrows int, minutes int, gap interval, grace interval) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	stored tstzrange[];
	frontier timestamptz;
	difference text;
BEGIN
	FOR batch IN 1 .. batches LOOP
		TRUNCATE new_rows;
		INSERT INTO new_rows SELECT i, CASE WHEN random() < 0.98 THEN at(batch * minutes / 2 + random() * minutes) END,
			greatest(frontier, at(batch * minutes / 2 + random() * minutes / 2)) FROM generate_series(1, nrows) i;
		FOR difference IN
			WITH a AS MATERIALIZED (SELECT * FROM answers(stored, 'SELECT n, at, reached FROM new_rows', gap, grace)),
				b AS MATERIALIZED (SELECT * FROM reference(stored, gap, grace))
			SELECT format('batch %s: %s %s', batch, what, x) FROM (
				SELECT 'unexpected' AS what, x FROM (SELECT * FROM a EXCEPT ALL SELECT * FROM b) x
				UNION ALL SELECT 'missing', x FROM (SELECT * FROM b EXCEPT ALL SELECT * FROM a) x) d
		LOOP
			RETURN NEXT difference;
		END LOOP;
		frontier := at(batch * minutes / 2);
		SELECT array_agg(tstzrange(first, last, '[]') ORDER BY random()) INTO stored FROM open_sessions WHERE (last + gap + grace <= frontier) IS NOT TRUE;
	END LOOP;
END $$;
SELECT is_empty(format('SELECT play(%s, %s, %s, %L, %L)', batches, nrows, minutes, gap, grace), format('%s batches of %s rows in %s minutes, gap %s, grace %s', batches, nrows, minutes, gap, grace))
FROM (VALUES (10, 20, 60, '2 minutes', NULL), (10, 40, 60, '1 minute', '5 minutes'), (20, 10, 100, '10 minutes', '0'), (10, 60, 30, '7 seconds', '1 minute'), (5, 60, 300, '1 minute', NULL)) v(batches, nrows, minutes, gap, grace);
SELECT * FROM finish();
