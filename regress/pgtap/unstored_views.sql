-- Views whose rows are not stored: what reaches their sinks, attached before, while and after they run, and the views over them
-- (DESIGN.md 1.3). Every sink must hold each row once, in the order of its key.
SELECT plan(43);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 2, 'retention.ms=-1') FROM unnest('{un_orders,un_payments}'::text[]) t \g /dev/null
SELECT kafka_test.create_topic(t, 1) FROM unnest('{un_customers,un_first,un_late,un_none,un_paid,un_named,un_again,un_bad,un_over,un_made,un_left,un_left_2,un_left_over,un_calls,un_answers}'::text[]) t \g /dev/null

-- the values in a topic, once there are that many
CREATE FUNCTION sink(topic text, expected int) RETURNS SETOF jsonb LANGUAGE sql AS $$
	SELECT value::jsonb FROM kafka_test.await(topic, expected) ORDER BY "offset"
$$;
-- orders from one to another, one a minute
CREATE FUNCTION orders(first int, last int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at('un_orders', format($q$SELECT NULL, 1700000000000 + i * 60000, i %% 5, jsonb_build_object('id', i, 'customer', i %% 5,
		'amount', i * 10, 'parts', CASE WHEN i %% 7 = 0 THEN 0 ELSE 1 END, 'at', 1700000000000 + i * 60000) FROM generate_series(%s, %s) i$q$, first, last))
$$;
CREATE FUNCTION payments(first int, last int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at('un_payments', format($q$SELECT NULL, 1700000000000 + i * 60000, i, jsonb_build_object('order_id', i,
		'at', 1700000000000 + i * 60000 + 1000) FROM generate_series(%s, %s) i$q$, first, last))
$$;

CREATE FOREIGN TABLE orders (id int, customer int, amount numeric(12,2), parts int, at timestamptz) SERVER broker OPTIONS (topic 'un_orders', event_time 'at');
CREATE FOREIGN TABLE payments (order_id int, at timestamptz) SERVER broker OPTIONS (topic 'un_payments', event_time 'at');
CREATE FOREIGN TABLE customers (customer int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'un_customers', mode 'upsert');
CREATE FOREIGN TABLE first (customer int OPTIONS (key 'true'), id int, amount numeric, at timestamptz) SERVER broker OPTIONS (topic 'un_first');
CREATE FOREIGN TABLE late (customer int OPTIONS (key 'true'), id int) SERVER broker OPTIONS (topic 'un_late');
CREATE FOREIGN TABLE "none" (id int) SERVER broker OPTIONS (topic 'un_none');
CREATE FOREIGN TABLE paid_sink (id int OPTIONS (key 'true'), amount numeric, paid_at timestamptz) SERVER broker OPTIONS (topic 'un_paid');
CREATE FOREIGN TABLE named_sink (id int, name text) SERVER broker OPTIONS (topic 'un_named');
CREATE FOREIGN TABLE again_sink (id int, name text) SERVER broker OPTIONS (topic 'un_again');
CREATE FOREIGN TABLE bad_sink (id int, each_part numeric) SERVER broker OPTIONS (topic 'un_bad');
CREATE FOREIGN TABLE over_sink (id int) SERVER broker OPTIONS (topic 'un_over');

-- a filter and projection; its sink attached in the transaction that creates it
SELECT orders(1, 50) \g /dev/null
BEGIN;
CREATE VIEW large WITH (kafka.continuous) AS SELECT id, customer, amount, at FROM orders WHERE amount > 100;
SELECT kafka.attach_sink('large', 'first') \g /dev/null
COMMIT;
SELECT ok(kafka.wait_for_view('large', '60s'), 'a projection catches up');
SELECT results_eq('SELECT sink(''un_first'', 40)', $$SELECT jsonb_build_object('id', id, 'customer', customer, 'amount', amount, 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) FROM large ORDER BY id$$,
	'its sink has every row, in processing order, as the query gives them');
SELECT is((SELECT count(*)::int FROM large), 40, 'SELECT on the view runs its query over the topic');
SELECT is((SELECT count(*)::int FROM pg_class WHERE relname ~ '^(definition|lookup|buffer)_\d+' AND relnamespace = 'kafka_state'::regnamespace), 0, 'nothing is stored for it');

-- attached while it runs: with and without the rows so far
SELECT kafka.attach_sink('large', 'late') \g /dev/null
SELECT kafka.attach_sink('large', 'none', snapshot => false) \g /dev/null
SELECT orders(51, 60) \g /dev/null
SELECT ok(kafka.wait_for_view('large', '60s'), 'goes on');
SELECT results_eq($$SELECT (v->>'id')::int FROM sink('un_late', 50) v WHERE (v->>'customer')::int = 3$$, 'SELECT id FROM large WHERE customer = 3 ORDER BY id',
	'a sink attached later has the rows so far and those since, of a key in its order');
SELECT bag_eq($$SELECT (v->>'id')::int FROM sink('un_late', 50) v$$, 'SELECT id FROM large', 'each once');
SELECT bag_eq($$SELECT (v->>'id')::int FROM sink('un_none', 10) v$$, 'SELECT generate_series(51, 60)', 'without snapshot it has those since');
SELECT bag_eq($$SELECT (v->>'id')::int FROM sink('un_first', 50) v$$, 'SELECT id FROM large', 'the first sink has all');
SELECT kafka.detach_sink('large', 'late') \g /dev/null
SELECT orders(61, 65) \g /dev/null
SELECT ok(kafka.wait_for_view('large', '60s'), 'a sink is detached');
SELECT is((SELECT count(*)::int FROM sink('un_first', 55)), 55, 'the others go on');
SELECT is((SELECT count(*)::int FROM sink('un_late', 50)), 50, 'it gets nothing more');

-- streams joined
BEGIN;
CREATE VIEW paid WITH (kafka.continuous, kafka.event_time = 'paid_at') AS
SELECT o.id, o.amount, p.at AS paid_at FROM orders o JOIN payments p ON p.order_id = o.id AND p.at BETWEEN o.at AND o.at + interval '1 hour';
SELECT kafka.attach_sink('paid', 'paid_sink') \g /dev/null
COMMIT;
SELECT payments(1, 30) \g /dev/null
SELECT ok(kafka.wait_for_view('paid', '60s'), 'streams are joined');
SELECT bag_eq($$SELECT (v->>'id')::int, (v->>'amount')::numeric FROM sink('un_paid', 30) v$$, 'SELECT id, amount FROM paid', 'the sink of a join has what its query gives');
SELECT kafka.create_sink('paid', 'un_made', '{id}') \g /dev/null
SELECT payments(31, 40) \g /dev/null
SELECT ok(kafka.wait_for_view('paid', '60s'), 'with another sink, made while it runs');
SELECT bag_eq($$SELECT (v->>'id')::int FROM sink('un_made', 40) v$$, 'SELECT generate_series(1, 40)', 'which has every row once');
SELECT bag_eq($$SELECT (v->>'id')::int FROM sink('un_paid', 40) v$$, 'SELECT generate_series(1, 40)', 'as has the first');

-- a view over it, created while it runs: stored, aggregated, and read on
CREATE MATERIALIZED VIEW daily WITH (kafka.continuous) AS SELECT date_trunc('day', paid_at) AS day, count(*) AS n, sum(amount) AS total FROM paid GROUP BY 1;
SELECT payments(41, 45) \g /dev/null
SELECT ok(kafka.wait_for_view('daily', '60s'), 'a view over a running unstored view');
SELECT is((SELECT sum(n)::int FROM daily), 45, 'has the rows from before it and those since');
SELECT is_empty($$SELECT * FROM kafka.verify('daily')$$, 'and equals its query');
BEGIN;
CREATE VIEW early WITH (kafka.continuous) AS SELECT id, paid_at FROM paid WHERE id <= 43;
SELECT kafka.attach_sink('early', 'over_sink') \g /dev/null
COMMIT;
SELECT payments(46, 50) \g /dev/null
SELECT ok(kafka.wait_for_view('early', '60s'), 'an unstored view over an unstored view');
SELECT bag_eq($$SELECT (v->>'id')::int FROM sink('un_over', 43) v$$, 'SELECT generate_series(1, 43)', 'writes its first rows to its sink, once');

-- a stream with a table; a view over that, made in the same transaction
SELECT kafka_test.produce('un_customers', $$SELECT i, jsonb_build_object('name', 'name ' || i) FROM generate_series(0, 3) i$$) \g /dev/null
BEGIN;
CREATE VIEW named WITH (kafka.continuous) AS SELECT o.id, c.name, o.at FROM orders o LEFT JOIN customers c USING (customer);
CREATE MATERIALIZED VIEW names WITH (kafka.continuous) AS SELECT name, count(*) AS n FROM named GROUP BY name;
SELECT kafka.attach_sink('named', 'named_sink') \g /dev/null
COMMIT;
SELECT ok(kafka.wait_for_view('names', '60s'), 'a stream enriched from a table');
SELECT bag_eq($$SELECT (v->>'id')::int, v->>'name' FROM sink('un_named', 65) v$$, 'SELECT id, name FROM named', 'the sink has the names');
SELECT bag_eq('SELECT name, n FROM names', 'SELECT name, count(*) FROM named GROUP BY name', 'and so has the view over it');
SELECT throws_like($$SELECT kafka.attach_sink('named', 'again_sink')$$, 'cannot publish the rows that continuous view "named" has given already',
	'what such a view has given cannot be told again');
SELECT throws_like($$SELECT kafka.verify('names')$$, 'continuous view "names" cannot be verified', 'nor can its query say what a view over it has');
SELECT kafka.attach_sink('named', 'again_sink', snapshot => false) \g /dev/null
SELECT kafka_test.produce('un_customers', $$VALUES ('4', '{"name": "name 4"}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('named', '60s'), 'the table changes');
SELECT orders(66, 70) \g /dev/null
SELECT ok(kafka.wait_for_view('named', '60s'), 'and later rows find that');
SELECT bag_eq($$SELECT (v->>'id')::int, v->>'name' FROM sink('un_again', 5) v$$, $$SELECT i, 'name ' || i % 5 FROM generate_series(66, 70) i$$, 'without snapshot it has those since');

-- over a view that removes old rows: what it has given is gone from there
BEGIN;
CREATE MATERIALIZED VIEW recent WITH (kafka.continuous, kafka.retention = '1 hour') AS SELECT id, at FROM orders;
CREATE VIEW recent_even WITH (kafka.continuous) AS SELECT id, at FROM recent WHERE id % 2 = 0;
COMMIT;
SELECT ok(kafka.wait_for_view('recent_even', '60s'), 'a view over one with retention');
SELECT throws_like($$SELECT kafka.create_sink('recent_even', 'un_recent')$$, 'cannot publish the rows that continuous view "recent_even" has given already',
	'cannot tell what it has given either');

-- a record whose expression fails is the view's dead letter, with sinks and before any
CREATE VIEW parts WITH (kafka.continuous) AS SELECT id, amount / parts AS each_part, at FROM orders;
SELECT ok(kafka.wait_for_view('parts', '60s'), 'divisions by zero do not stop it');
SELECT kafka.attach_sink('parts', 'bad_sink') \g /dev/null
SELECT orders(71, 80) \g /dev/null
SELECT ok(kafka.wait_for_view('parts', '60s'), 'nor do they with a sink');
SELECT bag_eq($$SELECT (v->>'id')::int FROM sink('un_bad', 69) v$$, 'SELECT i FROM generate_series(1, 80) i WHERE i % 7 <> 0', 'the sink has all others, from before it too');
SELECT is((SELECT dead_letters FROM kafka.views WHERE view = 'parts'::regclass), 11::bigint, 'the failing ones are dead letters');

-- streams joined left: a row without a match is given when its time is over, once, and to a sink attached before that as well
CREATE FOREIGN TABLE calls (id int, at timestamptz) SERVER broker OPTIONS (topic 'un_calls', event_time 'at');
CREATE FOREIGN TABLE answers (id int, at timestamptz) SERVER broker OPTIONS (topic 'un_answers', event_time 'at');
CREATE FOREIGN TABLE left_sink (id int, answered timestamptz) SERVER broker OPTIONS (topic 'un_left');
CREATE FOREIGN TABLE left_sink_2 (id int, answered timestamptz) SERVER broker OPTIONS (topic 'un_left_2');
CREATE FOREIGN TABLE left_over_sink (id int) SERVER broker OPTIONS (topic 'un_left_over');
CREATE FUNCTION calls(topic text, ids int[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at(topic, format($q$SELECT NULL, 1700000000000 + i * 60000, i, jsonb_build_object('id', i, 'at', 1700000000000 + i * 60000)
		FROM unnest(%L::int[]) i$q$, ids)) $$;
BEGIN;
CREATE VIEW answered WITH (kafka.continuous, kafka.grace = '0 s', kafka.event_time = 'at') AS
SELECT c.id, c.at, a.at AS answered FROM calls c LEFT JOIN answers a ON a.id = c.id AND a.at BETWEEN c.at AND c.at + interval '10 minutes';
SELECT kafka.attach_sink('answered', 'left_sink') \g /dev/null
COMMIT;
SELECT calls('un_answers', '{2}'), calls('un_calls', '{1,2,3}'), calls('un_calls', '{14,15}'), calls('un_answers', '{14}') \g /dev/null
SELECT ok(kafka.wait_for_view('answered', '60s'), 'streams are joined left');
SELECT kafka.attach_sink('answered', 'left_sink_2') \g /dev/null
BEGIN;
CREATE VIEW unanswered WITH (kafka.continuous) AS SELECT id, at FROM answered WHERE answered IS NULL;
SELECT kafka.attach_sink('unanswered', 'left_over_sink') \g /dev/null
COMMIT;
SELECT calls('un_answers', '{15}'), calls('un_calls', '{40,41}'), calls('un_answers', '{41,60}'), calls('un_calls', '{60}') \g /dev/null
SELECT ok(kafka.wait_for_view('answered', '60s') AND kafka.wait_for_view('unanswered', '60s'), 'time goes on');
SELECT bag_eq($$SELECT (v->>'id')::int, v->>'answered' IS NOT NULL FROM sink('un_left', 8) v$$,
	$$VALUES (1, false), (2, true), (3, false), (14, true), (15, true), (40, false), (41, true), (60, true)$$, 'each call once, with or without its answer');
SELECT bag_eq($$SELECT v FROM sink('un_left_2', 8) v$$, $$SELECT v FROM sink('un_left', 8) v$$, 'in a sink attached in between too');
SELECT bag_eq($$SELECT (v->>'id')::int FROM sink('un_left_over', 3) v$$, 'VALUES (1), (3), (40)', 'and in a view over it created in between');

-- paused and resumed
SELECT kafka.pause('large'::regclass) \g /dev/null
SELECT is((SELECT state FROM kafka.pipelines WHERE pipeline = 'large'), 'paused', 'its pipeline is paused');
SELECT kafka.resume('large'::regclass) \g /dev/null
SELECT ok(kafka.wait_for_view('large', '60s') AND (SELECT count(*) = 70 FROM sink('un_first', 70)), 'and goes on where it was');
SELECT * FROM finish();
