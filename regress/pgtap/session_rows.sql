-- Sessions whose states cannot be merged: DISTINCT, DISTINCT ON, kafka.first and kafka.last, aggregates in processing order, with ORDER BY of
-- their own, without a combine function (DESIGN.md 2.3, 2.5). Each is what the query gives over all rows of the session in their order.
SELECT plan(30);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, n, 'retention.ms=-1') FROM (VALUES ('session_rows', 1), ('session_rows_many', 1), ('session_rows_sides', 1), ('session_rows_late', 1), ('session_rows_out', 1)) topics(t, n) \g /dev/null
CREATE FOREIGN TABLE events (who text, what text, n int, at timestamptz) SERVER broker OPTIONS (topic 'session_rows', event_time 'at');
CREATE FUNCTION send(topic text, who text, variadic events text[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at(topic, format('SELECT 0, 1000000000000 + n, NULL, jsonb_build_object(''who'', %L::text, ''what'', split_part(e, '' '', 2), ''n'', nullif(split_part(e, '' '', 3), ''''), ''at'', to_timestamp(split_part(e, '' '', 1)::numeric * 60)) FROM unnest(%L::text[]) WITH ORDINALITY u(e, n) ORDER BY n',
		who, events))
$$;
CREATE FUNCTION mins(tstzrange) RETURNS text LANGUAGE sql AS $$
	SELECT (extract(epoch FROM lower($1)) / 60)::int || '-' || (extract(epoch FROM upper($1)) / 60)::int
$$;
CREATE FUNCTION step(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT right($1 || '<' || $2, 20)$$;
CREATE AGGREGATE trail(text) (sfunc = step, stype = text, initcond = '');

-- one group, event by event
BEGIN;
CREATE MATERIALIZED VIEW collected WITH (kafka.continuous, kafka.pipeline = 'events') AS
	SELECT kafka.session(at, '5 minutes') AS during, who, array_agg(what) AS whats, string_agg(what, '' ORDER BY what DESC) AS sorted, count(DISTINCT what) AS kinds, trail(what) AS trail,
		kafka.first(what, at) AS first, kafka.last(what, at) AS last, percentile_disc(0.5) WITHIN GROUP (ORDER BY n) AS median, sum(n) FILTER (WHERE n > 1) AS n, upper(kafka.session(at, '5 minutes')) AS till
	FROM events GROUP BY during, who;
CREATE MATERIALIZED VIEW standing WITH (kafka.continuous, kafka.pipeline = 'events') AS
	SELECT DISTINCT ON (who, kafka.session(at, '5 minutes')) who, kafka.session(at, '5 minutes') AS during, what FROM events ORDER BY who, kafka.session(at, '5 minutes'), n DESC NULLS LAST;
CREATE MATERIALIZED VIEW busy WITH (kafka.continuous, kafka.pipeline = 'events') AS
	SELECT kafka.session(at, '5 minutes') AS during, who, count(DISTINCT what) AS kinds FROM events GROUP BY during, who HAVING count(DISTINCT what) BETWEEN 2 AND 3 AND (array_agg(what))[1] <> 'z';
COMMIT;
SELECT send('session_rows', 'alice', '1 b 1', '6 a 3', '12 c 2'), kafka.wait_for_view('collected', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), whats, sorted, kinds, trail, first, last, median, n FROM collected ORDER BY during',
	$$VALUES ('1-6', '{b,a}'::text[], 'ba', 2::bigint, '<b<a', 'b', 'a', 1, 3::bigint), ('12-12', '{c}', 'c', 1, '<c', 'c', 'c', 2, 2)$$, 'two sessions');
SELECT results_eq('SELECT mins(during), what FROM standing ORDER BY during', $$VALUES ('1-6', 'a'), ('12-12', 'c')$$, 'and the row of each that stands');
SELECT results_eq('SELECT mins(during), kinds FROM busy', $$VALUES ('1-6', 2::bigint)$$, 'HAVING leaves one out');
SELECT send('session_rows', 'alice', '3 b'), kafka.wait_for_view('collected', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), whats, sorted, kinds, trail, last, median FROM collected ORDER BY during LIMIT 1',
	$$VALUES ('1-6', '{b,a,b}'::text[], 'bba', 2::bigint, '<b<a<b', 'a', 1)$$, 'an event within a session comes behind the others, whatever its time');
SELECT send('session_rows', 'alice', '9 c 3'), kafka.wait_for_view('collected', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), whats, sorted, kinds, trail, first, last, median, n FROM collected',
	$$VALUES ('1-12', '{b,a,c,b,c}'::text[], 'ccbba', 3::bigint, '<b<a<c<b<c', 'b', 'c', 2, 8::bigint)$$, 'one that bridges two merges their rows in processing order');
SELECT results_eq('SELECT mins(during), what FROM standing', $$VALUES ('1-12', 'a')$$, 'of rows at the same place the one processed first stands');
SELECT results_eq('SELECT mins(during), kinds FROM busy', $$VALUES ('1-12', 3::bigint)$$, 'the bridged ones have gone from the view with HAVING, too');
SELECT send('session_rows', 'alice', '9 d 9'), kafka.wait_for_view('busy', '60s') \g /dev/null
SELECT is_empty('SELECT FROM busy', 'a session that fails HAVING is deleted');
SELECT send('session_rows', 'alice', '20 e', '30 f', '25 g', '15 h'), kafka.wait_for_view('collected', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), array_to_string(whats, ''''), kinds FROM collected', $$VALUES ('1-30', 'bacbcdefgh', 8::bigint)$$, 'several merges in one batch');
SELECT send('session_rows', 'bob', '9 z 1', '9 y 1', '10 x'), kafka.wait_for_view('collected', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), first, last, kinds FROM collected WHERE who = ''bob''', $$VALUES ('9-10', 'z', 'x', 3::bigint)$$, 'first keeps the earlier of two at one time; sessions of others are apart');
SELECT is_empty('SELECT mins(during) FROM busy', 'HAVING may ask for the order of the rows');
SELECT results_eq($$SELECT (c.relname ~ '^session_rows_')::text, count(*) FROM pg_class c WHERE relnamespace = 'kafka_state'::regnamespace AND relkind = 'r' AND relname ~ 'session_rows' AND relpersistence = 'p' GROUP BY 1$$,
	$$VALUES ('true', 3::bigint)$$, 'the rows are in logged tables');

-- many groups, null keys, small batches and large ones
CREATE FOREIGN TABLE many (who int, part text, n int, at timestamptz) SERVER broker OPTIONS (topic 'session_rows_many', event_time 'at');
CREATE FOREIGN TABLE sides (who int, n int, at timestamptz) SERVER broker OPTIONS (topic 'session_rows_sides', event_time 'at');
CREATE TABLE expected (who int, part text, during tstzrange, ns int[]);
BEGIN;
CREATE MATERIALIZED VIEW ordered WITH (kafka.continuous, kafka.pipeline = 'many') AS
	SELECT who, kafka.session(at, '30 seconds') AS during, part, array_agg(n) AS ns, string_agg(n::text, ',') FILTER (WHERE n % 2 = 0) AS even FROM many GROUP BY who, during, part;
CREATE MATERIALIZED VIEW distinct_values WITH (kafka.continuous, kafka.pipeline = 'many') AS
	SELECT who, kafka.session(at, '20 seconds') AS during, count(DISTINCT part) AS parts, sum(DISTINCT n % 10) AS tens, count(DISTINCT (part, n % 2)) AS pairs FROM many GROUP BY who, during HAVING count(DISTINCT part) > 1;
CREATE MATERIALIZED VIEW one_each WITH (kafka.continuous, kafka.pipeline = 'many') AS
	SELECT DISTINCT ON (part, kafka.session(at, '5 seconds')) part, kafka.session(at, '5 seconds') AS during, n, who FROM many ORDER BY part, kafka.session(at, '5 seconds'), at DESC, n;
CREATE MATERIALIZED VIEW joined WITH (kafka.continuous, kafka.pipeline = 'joined') AS
	SELECT kafka.session(greatest(a.at, b.at), '20 seconds') AS during, a.who, count(DISTINCT b.n) AS ns, max(a.n) AS most
	FROM sides a JOIN sides b ON b.who = a.who AND b.at BETWEEN a.at AND a.at + interval '10 seconds' GROUP BY during, a.who;
COMMIT;
SELECT setseed(0.4) \g /dev/null
DO $$ BEGIN FOR i IN 1 .. 8 LOOP
	PERFORM kafka_test.produce('session_rows_many', format($q$SELECT 1, jsonb_build_object('who', nullif(i %% 5, 0), 'part', (ARRAY['a', 'b', NULL])[1 + i %% 3], 'n', %s * 1000 + i,
		'at', timestamptz '2024-01-01' + %s * interval '100 seconds' + (hashint4(i * 7 + %s) %% 20000) * interval '0.1 second') FROM generate_series(1, %s) i ORDER BY i$q$, i, i, i, CASE WHEN i % 2 = 0 THEN 300 ELSE 3 END));
	PERFORM kafka_test.produce('session_rows_sides', format($q$SELECT 1, jsonb_build_object('who', i %% 5, 'n', i %% 17,
		'at', timestamptz '2024-01-01' + %s * interval '10 seconds' + (hashint4(i * 7 + %s) %% 100) * interval '1 second') FROM generate_series(1, 20) i ORDER BY i$q$, i, i));
	PERFORM kafka.wait_for_view('ordered', '60s') AND kafka.wait_for_view('joined', '60s');
END LOOP; END $$;
SELECT ok(kafka.wait_for_view('ordered', '60s') AND kafka.wait_for_view('distinct_values', '60s') AND kafka.wait_for_view('one_each', '60s'), 'many rows are applied');
SELECT cmp_ok((SELECT max(cardinality(ns)) FROM ordered), '>', 8, 'some sessions are long');
INSERT INTO expected
	SELECT who, part, tstzrange(min(at), max(at), '[]'), array_agg(n ORDER BY n) FROM (
		SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY who, part ORDER BY at ROWS UNBOUNDED PRECEDING) AS island FROM (
			SELECT *, (at - lag(at) OVER (PARTITION BY who, part ORDER BY at) > '30 seconds') IS NOT FALSE AS begins FROM many) r) r GROUP BY who, part, island;
SELECT is_empty('SELECT who, part, during, ns FROM ordered EXCEPT ALL SELECT * FROM expected', 'array_agg has the rows in the order of the topic');
SELECT is_empty('SELECT * FROM expected EXCEPT ALL SELECT who, part, during, ns FROM ordered', 'all of them');
SELECT is_empty($$SELECT FROM ordered WHERE even IS DISTINCT FROM (SELECT string_agg(n::text, ',' ORDER BY n) FROM unnest(ns) n WHERE n % 2 = 0)$$, 'and FILTER leaves its own out');
SELECT is_empty('SELECT * FROM kafka.verify(''distinct_values'')', 'DISTINCT values with HAVING equal their query');
SELECT is_empty('SELECT * FROM kafka.verify(''one_each'')', 'so does DISTINCT ON');
SELECT is_empty('SELECT * FROM kafka.verify(''joined'')', 'and a join of streams');

-- closing: rows leave with their session
CREATE FOREIGN TABLE acts (who text, what text, n int, at timestamptz) SERVER broker OPTIONS (topic 'session_rows_late', event_time 'at');
CREATE FOREIGN TABLE out (during tstzrange, whats text) SERVER broker OPTIONS (topic 'session_rows_out');
BEGIN;
CREATE MATERIALIZED VIEW graced WITH (kafka.continuous, kafka.grace = '2 minutes', kafka.retention = '30 minutes', kafka.pipeline = 'acts') AS
	SELECT kafka.session(at, '5 minutes') AS during, who, string_agg(what, '') AS whats FROM acts GROUP BY during, who;
CREATE MATERIALIZED VIEW finals WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '2 minutes', kafka.pipeline = 'acts') AS
	SELECT kafka.session(at, '5 minutes') AS during, upper(kafka.session(at, '5 minutes')) AS till, who, string_agg(what, '') AS whats, count(DISTINCT what) AS kinds FROM acts GROUP BY during, who HAVING count(DISTINCT what) > 1;
CREATE MATERIALIZED VIEW last_finals WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '2 minutes', kafka.pipeline = 'acts') AS
	SELECT DISTINCT ON (kafka.session(at, '5 minutes'), who) kafka.session(at, '5 minutes') AS during, who, what FROM acts ORDER BY kafka.session(at, '5 minutes'), who, at DESC;
CREATE MATERIALIZED VIEW inverses WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'acts') AS
	SELECT kafka.session(at, '5 minutes') AS during, array_agg(60 / n) AS parts FROM acts WHERE who = 'dora' GROUP BY during;
CREATE MATERIALIZED VIEW per_hour WITH (kafka.continuous) AS SELECT kafka.tumble(till, '1 hour') AS hour, sum(kinds) AS kinds FROM finals GROUP BY hour;
CREATE TRIGGER out AFTER INSERT ON finals REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('out');
COMMIT;
SELECT send('session_rows_late', 'alice', '1 b', '7 a', '4 b', '13.9 c'), kafka.wait_for_view('finals', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), whats FROM graced ORDER BY during', $$VALUES ('1-7', 'bab'), ('14-14', 'c')$$, 'emit = changes shows open sessions');
SELECT is_empty('SELECT FROM finals', 'final results are not there yet');
SELECT send('session_rows_late', 'alice', '14 d'), kafka.wait_for_view('finals', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), whats, kinds FROM finals', $$VALUES ('1-7', 'bab', 2::bigint)$$, 'the session has closed');
SELECT results_eq('SELECT mins(during), what FROM last_finals', $$VALUES ('1-7', 'a')$$, 'with the row that stands');
SELECT send('session_rows_late', 'alice', '2 x', '10 e', '6 f'), kafka.wait_for_view('finals', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), whats FROM graced ORDER BY during', $$VALUES ('1-7', 'bab'), ('6-14', 'cdef')$$, 'a closed session is not touched, and its rows are late');
SELECT send('session_rows_late', 'dora', '41 k 2', '42 k 0', '42 k 6'), send('session_rows_late', 'alice', '42 k'), kafka.wait_for_view('per_hour', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), whats FROM finals ORDER BY during', $$VALUES ('1-7', 'bab'), ('6-14', 'cdef')$$, 'final results');
SELECT results_eq('SELECT mins(hour), kinds FROM per_hour', $$VALUES ('0-60', 6::numeric)$$, 'are a stream by their last event');
SELECT results_eq('SELECT mins(during), whats FROM graced WHERE who = ''alice'' ORDER BY during', $$VALUES ('6-14', 'cdef'), ('42-42', 'k')$$, 'retention counts from the end of the session');
CREATE FUNCTION rows_kept(view regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM kafka_state.session_rows_%s', (SELECT v.view FROM kafka_state.view v WHERE v.relation = rows_kept.view)) INTO n;
	RETURN n;
END $$;
SELECT results_eq('SELECT rows_kept(''graced''), rows_kept(''finals''), rows_kept(''last_finals'')', 'VALUES (4::bigint, 4::bigint, 4::bigint)', 'the rows of closed sessions are gone');
SELECT send('session_rows_late', 'alice', '60 l'), kafka.wait_for_view('inverses', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), parts FROM inverses', $$VALUES ('41-42', '{30,10}'::int[])$$, 'a row that an aggregate cannot take is a dead letter when it comes, not when the session closes');
SELECT * FROM finish();
