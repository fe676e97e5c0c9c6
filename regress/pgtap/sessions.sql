-- Session windows: a row extends, bridges or begins a session of its group; replaced ones are tombstoned; late rows, closing, retention
-- (DESIGN.md 2.3). The first part is the timeline of session windows in the documentation of Kafka Streams.
SELECT plan(25);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, n, 'retention.ms=-1') FROM (VALUES ('session_events', 1), ('session_counts', 1), ('session_many', 2), ('session_late', 1), ('session_facts', 1), ('session_acts', 1)) topics(t, n) \g /dev/null
CREATE FOREIGN TABLE events (who text, what int, at timestamptz) SERVER broker OPTIONS (topic 'session_events', event_time 'at');
CREATE FOREIGN TABLE counts (during tstzrange OPTIONS (key 'true'), who text OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'session_counts', mode 'upsert');
CREATE FUNCTION events(topic text, who text, variadic minutes numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at(topic, format('SELECT 0, 1000000000000 + n, NULL, jsonb_build_object(''who'', %L::text, ''what'', n, ''at'', to_timestamp(m * 60)) FROM unnest(%L::numeric[]) WITH ORDINALITY u(m, n) ORDER BY n',
		who, minutes))
$$;
CREATE FUNCTION mins(tstzrange) RETURNS text LANGUAGE sql AS $$
	SELECT (extract(epoch FROM lower($1)) / 60)::int || '-' || (extract(epoch FROM upper($1)) / 60)::int
$$;
CREATE FUNCTION messages(topic text, expected int) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s %s', m.key::jsonb->>'who', mins(tstzrange((m.key::jsonb#>>'{during,start}')::timestamptz, (m.key::jsonb#>>'{during,end}')::timestamptz, '[]')),
		coalesce(m.value::jsonb->>'n', 'gone')) FROM kafka_test.await(topic, expected) m ORDER BY m."offset"
$$;

CREATE MATERIALIZED VIEW counted WITH (kafka.continuous) AS
	SELECT kafka.session(at, '5 minutes') AS during, who, count(*) AS n, avg(what) AS mean, min(what) AS least FROM events GROUP BY during, who;
SELECT kafka.attach_sink('counted', 'counts') \g /dev/null
-- alice: 1 and 6 belong together; 12 does not; an out-of-order 9 bridges them
SELECT events('session_events', 'alice', 1), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM counted', $$VALUES ('1-1', 1::bigint)$$, 'the first event is a session of its own, from itself to itself');
SELECT events('session_events', 'alice', 6), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM counted', $$VALUES ('1-6', 2::bigint)$$, 'an event the gap away extends it');
SELECT events('session_events', 'alice', 12), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM counted ORDER BY during', $$VALUES ('1-6', 2::bigint), ('12-12', 1)$$, 'one further away begins another');
SELECT events('session_events', 'bob', 9), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT results_eq('SELECT who, mins(during), n FROM counted ORDER BY 1, 2', $$VALUES ('alice', '1-6', 2::bigint), ('alice', '12-12', 1), ('bob', '9-9', 1)$$, 'sessions of others are apart');
SELECT events('session_events', 'alice', 9), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT results_eq('SELECT who, mins(during), n FROM counted ORDER BY 1, 2', $$VALUES ('alice', '1-12', 4::bigint), ('bob', '9-9', 1)$$, 'an event out of order bridges two');
SELECT results_eq('SELECT messages(''session_counts'', 8)',
	$$VALUES ('alice 1-1 1'), ('alice 1-1 gone'), ('alice 1-6 2'), ('alice 12-12 1'), ('bob 9-9 1'), ('alice 1-6 gone'), ('alice 12-12 gone'), ('alice 1-12 4')$$,
	'replaced sessions are tombstoned, then the new one follows');
SELECT events('session_events', 'alice', -4), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM counted WHERE who = ''alice''', $$VALUES ('-4-12', 5::bigint)$$, 'an event before it extends it as well, before 1970 too');
SELECT events('session_events', 'alice', 3), kafka.wait_for_view('counted', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM counted WHERE who = ''alice''', $$VALUES ('-4-12', 6::bigint)$$, 'one within it changes its value only');
SELECT is_empty('SELECT * FROM kafka.verify(''counted'')', 'and all is as gaps and islands would have it');

-- many groups, null keys, several in a batch, HAVING, a union, a view over a view; whatever the order
CREATE FOREIGN TABLE many (who int, part text, at timestamptz) SERVER broker OPTIONS (topic 'session_many', event_time 'at');
BEGIN;
CREATE MATERIALIZED VIEW sessions WITH (kafka.continuous, kafka.pipeline = 'many') AS
	SELECT who, part, kafka.session(at, '30 seconds') AS during, count(*) AS n, upper(kafka.session(at, '30 seconds')) - lower(kafka.session(at, '30 seconds')) AS length
	FROM many GROUP BY who, during, part HAVING count(*) <> 3;
CREATE MATERIALIZED VIEW all_together WITH (kafka.continuous, kafka.pipeline = 'many') AS SELECT kafka.session(at, '1 second') AS during, count(*) AS n FROM many GROUP BY during;
CREATE MATERIALIZED VIEW united WITH (kafka.continuous, kafka.pipeline = 'many') AS
	SELECT kafka.session(at, '5 seconds') AS during, who, max(at) AS last_at, sum(who) AS whos FROM (SELECT who, at FROM many UNION ALL SELECT who + 1, at FROM many WHERE part = 'a') u GROUP BY 1, 2;
CREATE MATERIALIZED VIEW varied WITH (kafka.continuous, kafka.pipeline = 'many') AS
	SELECT part, kafka.session(at, '2 seconds') AS during, round(stddev(who), 6) AS spread, max(who) FILTER (WHERE who < 3) AS most, bit_or(who) AS bits, avg(who) AS mean, var_pop(who::numeric) AS variance
	FROM many GROUP BY part, during;
CREATE MATERIALIZED VIEW parts WITH (kafka.continuous, kafka.pipeline = 'many') AS SELECT who, at FROM many WHERE part IS NOT NULL;
CREATE MATERIALIZED VIEW of_some WITH (kafka.continuous) AS SELECT who, kafka.session(at, '10 seconds') AS during, bool_or(who > 2) AS above FROM parts GROUP BY who, during;
COMMIT;
SELECT setseed(0.3) \g /dev/null
DO $$ BEGIN FOR i IN 1 .. 5 LOOP
	PERFORM kafka_test.produce('session_many', format($q$SELECT i, jsonb_build_object('who', nullif(i %% 5, 0), 'part', (ARRAY['a', 'b', NULL])[1 + i %% 3],
		'at', timestamptz '2024-01-01' + %s * interval '100 seconds' + (hashint4(i * 7 + %s) %% 20000) * interval '0.1 second') FROM generate_series(1, 400) i$q$, i, i));
	PERFORM kafka.wait_for_view('sessions', '60s');
END LOOP; END $$;
SELECT ok(kafka.wait_for_view('of_some', '60s') AND kafka.wait_for_view('united', '60s') AND kafka.wait_for_view('varied', '60s') AND kafka.wait_for_view('all_together', '60s'), 'many rows are applied');
SELECT is_empty('SELECT * FROM kafka.verify(''sessions'')', 'sessions of groups with null keys and HAVING equal their query');
SELECT is_empty('SELECT * FROM kafka.verify(''all_together'')', 'and without another key');
SELECT is_empty('SELECT * FROM kafka.verify(''united'')', 'of a union');
SELECT is_empty('SELECT * FROM kafka.verify(''of_some'')', 'and of a view');
SELECT is_empty('SELECT * FROM kafka.verify(''varied'')', 'states of aggregates that have a combine function are merged, too');
SELECT cmp_ok((SELECT count(*) FROM sessions), '>', 50::bigint, 'there are many');

-- closing: late rows, final results, retention
CREATE FOREIGN TABLE acts (who text, what int, at timestamptz) SERVER broker OPTIONS (topic 'session_late', event_time 'at');
CREATE FOREIGN TABLE facts (during tstzrange, n bigint) SERVER broker OPTIONS (topic 'session_facts');
BEGIN;
CREATE MATERIALIZED VIEW graced WITH (kafka.continuous, kafka.grace = '2 minutes', kafka.retention = '30 minutes', kafka.pipeline = 'acts') AS
	SELECT kafka.session(at, '5 minutes') AS during, who, count(*) AS n FROM acts GROUP BY during, who;
CREATE MATERIALIZED VIEW finals WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '2 minutes', kafka.pipeline = 'acts') AS
	SELECT kafka.session(at, '5 minutes') AS during, upper(kafka.session(at, '5 minutes')) AS last_at, who, count(*) AS n FROM acts GROUP BY during, who;
CREATE MATERIALIZED VIEW per_hour WITH (kafka.continuous) AS SELECT kafka.tumble(last_at, '1 hour') AS hour, sum(n) AS acts, count(*) AS sessions FROM finals GROUP BY hour;
CREATE TRIGGER facts AFTER INSERT ON finals REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('facts');
COMMIT;
SELECT events('session_late', 'alice', 1, 7, 4, 13.9), kafka.wait_for_view('finals', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM graced ORDER BY during', $$VALUES ('1-7', 3::bigint), ('14-14', 1)$$, 'a session is open until its last event + gap + grace');
SELECT is_empty('SELECT FROM finals', 'and its final result is not there before');
SELECT events('session_late', 'alice', 14), kafka.wait_for_view('finals', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM finals', $$VALUES ('1-7', 3::bigint)$$, 'then it is');
SELECT events('session_late', 'alice', 2, 10, 6), kafka.wait_for_view('finals', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM graced ORDER BY during', $$VALUES ('1-7', 3::bigint), ('6-14', 4)$$,
	'one that has closed is not touched any more: its own rows are late, others make a session beside it or around it');
SELECT is((SELECT late_rows FROM kafka.views WHERE view = 'graced'::regclass), 1::bigint, 'the late row is counted');
SELECT events('session_late', 'alice', 42), kafka.wait_for_view('per_hour', '60s') \g /dev/null
SELECT results_eq('SELECT mins(during), n FROM finals ORDER BY during', $$VALUES ('1-7', 3::bigint), ('6-14', 4)$$, 'final results');
SELECT results_eq('SELECT mins(hour), acts, sessions FROM per_hour', $$VALUES ('0-60', 7::numeric, 2::bigint)$$, 'are a stream by their last event');
SELECT results_eq('SELECT mins(during), n FROM graced ORDER BY during', $$VALUES ('6-14', 4::bigint), ('42-42', 1)$$, 'retention counts from the end of the session');
SELECT is((SELECT count(*)::int FROM kafka_test.consume('session_facts')), 2, 'each final result is published once');
SELECT * FROM finish();
