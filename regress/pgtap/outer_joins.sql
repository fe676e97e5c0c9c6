-- Outer joins of streams (DESIGN.md 2.4): each row of a kept side is in the view once, matched, or without a match from the moment
-- on at which its last match can no longer come; a late one at once. First one timeline step by step, over 1970; then many rows in
-- small batches through every form, each of which must equal its query once all is closed, and before it but for what is open.
SELECT plan(65);
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('outer_lefts', 1, 'retention.ms=-1'), kafka_test.create_topic('outer_rights', 1, 'retention.ms=-1'),
	kafka_test.create_topic('outer_kinds', 1), kafka_test.create_topic('outer_sink', 1, 'retention.ms=-1') \g /dev/null
CREATE FOREIGN TABLE lefts (k text, name text, at timestamptz) SERVER broker OPTIONS (topic 'outer_lefts', event_time 'at');
CREATE FOREIGN TABLE rights (k text, label text, at timestamptz) SERVER broker OPTIONS (topic 'outer_rights', event_time 'at');
CREATE FOREIGN TABLE kinds (k text OPTIONS (key 'true'), kind text) SERVER broker OPTIONS (topic 'outer_kinds', mode 'upsert');
CREATE FOREIGN TABLE sink (name text, label text, at timestamptz OPTIONS (metadata 'timestamp')) SERVER broker OPTIONS (topic 'outer_sink');

CREATE FUNCTION moment(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE RETURN timestamptz '1969-12-31 23:58:21+00' + seconds * interval '1 second';
-- produces one row: seconds, key, name or label
CREATE FUNCTION put(side text, seconds numeric, k text, v text) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce('outer_' || side, format('SELECT %L, %L::jsonb', k, jsonb_build_object('k', k, CASE side WHEN 'lefts' THEN 'name' ELSE 'label' END, v, 'at', moment(seconds))))
$$;
CREATE FUNCTION rows_of(view text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	IF NOT kafka.wait_for_view(view::regclass, '60s') THEN RETURN 'timeout'; END IF;
	EXECUTE format('SELECT string_agg(coalesce(name, ''-'') || coalesce(label, ''-''), '' '' ORDER BY coalesce(name, ''-'') || coalesce(label, ''-'')) FROM %I', view) INTO result;
	RETURN coalesce(result, '');
END $$;

-- a left row is closed 12 s after its time: a match comes up to 10 s later and 2 s out of order
BEGIN;
CREATE MATERIALIZED VIEW left_joined WITH (kafka.continuous, kafka.grace = '2 s') AS
	SELECT l.k, l.name, r.label, l.at FROM lefts l LEFT JOIN rights r ON r.k = l.k AND r.at BETWEEN l.at AND l.at + interval '10 s' AND l.name <> 'N';
CREATE TRIGGER publish AFTER INSERT ON left_joined REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
COMMIT;
CREATE MATERIALIZED VIEW full_joined WITH (kafka.continuous, kafka.grace = '2 s') AS
	SELECT coalesce(l.k, r.k) AS k, l.name, r.label, greatest(l.at, r.at) AS at FROM lefts l FULL JOIN rights r ON r.k = l.k AND r.at BETWEEN l.at AND l.at + interval '10 s';
-- here it is 17 s: a right row may also lie 5 s before, so one that lies behind may come that much later
CREATE MATERIALIZED VIEW around WITH (kafka.continuous, kafka.grace = '2 s') AS
	SELECT l.k, l.name, r.label, l.at FROM lefts l LEFT JOIN rights r ON r.k = l.k AND r.at BETWEEN l.at - interval '5 s' AND l.at + interval '10 s';

SELECT put('lefts', 100, 'a', 'A') \g /dev/null
SELECT put('lefts', 100, 'b', 'B') \g /dev/null
SELECT put('lefts', 100, NULL, 'X') \g /dev/null
SELECT put('lefts', 100, 'n', 'N') \g /dev/null
SELECT put('rights', 100, NULL, 'x') \g /dev/null
SELECT put('rights', 100, 'n', 'n') \g /dev/null
SELECT is(rows_of('left_joined'), '', 'nothing has a match, nothing is closed');
SELECT is(rows_of('full_joined'), 'Nn', 'a match is there at once');
SELECT put('rights', 105, 'a', 'a') \g /dev/null
SELECT is(rows_of('left_joined'), 'Aa', 'a match that comes later');
SELECT put('rights', 108, 'c', 'c') \g /dev/null
SELECT put('lefts', 107, 'c', 'C') \g /dev/null
SELECT is(rows_of('left_joined'), 'Aa Cc', 'a match that was there before');
SELECT put('rights', 106.5, 'a', 'aa') \g /dev/null
SELECT is(rows_of('left_joined'), 'Aa Aaa Cc', 'a second match, out of order within grace');
SELECT is_empty($$SELECT * FROM kafka.verify('left_joined')$$, 'verify knows what is open');
SELECT put('lefts', 111.999, 'z', 'Z') \g /dev/null
SELECT put('rights', 111.999, 'y', 'y') \g /dev/null
SELECT is(rows_of('left_joined'), 'Aa Aaa Cc', 'just before the last match can come');
SELECT put('lefts', 112, 'z', 'Z2') \g /dev/null
SELECT is(rows_of('left_joined'), 'Aa Aaa Cc', 'one side alone does not close');
SELECT is((SELECT frontier FROM kafka.views WHERE view = 'left_joined'::regclass), moment(111.999), 'the frontier is the side that is behind');
SELECT put('rights', 112, 'y', 'y2') \g /dev/null
SELECT is(rows_of('left_joined'), 'Aa Aaa B- Cc N- X-', 'closed: without a match, with a null key, and the one that ON''s own condition leaves alone');
SELECT is(rows_of('full_joined'), '-x Aa Aaa B- Cc Nn X-', 'in a full join a row of the right side too, closed when no left row can come any more');
SELECT is_empty($$SELECT * FROM kafka.verify('left_joined')$$, 'verify: left join');
SELECT is_empty($$SELECT * FROM kafka.verify('full_joined')$$, 'verify: full join');

-- late: the right row that would have matched, and a left row
SELECT put('rights', 109, 'b', 'late') \g /dev/null
SELECT is(rows_of('left_joined'), 'Aa Aaa B- Cc N- X-', 'a late match is no match');
SELECT put('lefts', 99, 'a', 'L') \g /dev/null
SELECT is(rows_of('left_joined'), 'Aa Aaa B- Cc L- N- X-', 'a late row of the kept side is there at once, and finds nobody');
SELECT is((SELECT late_rows FROM kafka.views WHERE view = 'left_joined'::regclass), 2::bigint, 'both are counted');
SELECT is(rows_of('full_joined'), '-late -x Aa Aaa B- Cc L- Nn X-', 'in a full join both are kept');
-- the last moment of a match
SELECT put('lefts', 116.9, NULL, 'W'), put('rights', 116.9, NULL, 'w') \g /dev/null
SELECT is(rows_of('around'), 'Aa Aaa Blate Cc L- Nn', 'a row is open until its last match would be late');
SELECT put('rights', 110, 'b', 'edge') \g /dev/null
SELECT put('lefts', 117, NULL, 'W'), put('rights', 117, NULL, 'w') \g /dev/null
SELECT is(rows_of('around'), 'Aa Aaa Bedge Blate Cc L- Nn X-', 'which may come in the last moment');
-- two hours ahead of its record's timestamp, which is now
SELECT kafka_test.produce('outer_' || side, $$SELECT 'f', jsonb_build_object('k', 'f', 'at', now() + interval '2 hours')$$) FROM unnest('{lefts,rights}'::text[]) side \g /dev/null
SELECT is(rows_of('around'), 'Aa Aaa Bedge Blate Cc L- Nn X-', 'a record far in the future closes nothing');
SELECT ok(kafka.wait_for_view('left_joined') AND kafka.wait_for_view('full_joined'), 'in no view');
SELECT is((SELECT count(*) FROM kafka.dead_letters WHERE view IS NULL), 6::bigint, 'it is a dead letter of every pipeline');
SELECT results_eq($$SELECT value::jsonb->>'name', (timestamp_ms - 1000 * extract(epoch FROM moment(0)))::int FROM kafka_test.consume('outer_sink')
	WHERE value::jsonb->>'label' IS NULL AND value::jsonb->>'name' <> 'L' ORDER BY 1$$, $$VALUES ('B', 100000), ('N', 100000), ('X', 100000)$$,
	'the sink has them as events of their own time');

-- what fails when time closes a row is that row's fault: a dead letter of the view, and the others are there
CREATE FUNCTION shown(name text, label text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF label IS NULL AND name IN ('B', 'X') THEN RAISE 'nothing to show'; END IF;
	RETURN coalesce(label, 'none');
END $$;
CREATE FUNCTION refuse_b() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = 'B' AND NEW.label IS NULL THEN RAISE 'no B'; END IF; RETURN NULL; END $$;
BEGIN;
CREATE MATERIALIZED VIEW shown_labels WITH (kafka.continuous, kafka.grace = '2 s', kafka.pipeline = 'shown') AS
	SELECT l.name, shown(l.name, r.label) AS label FROM lefts l LEFT JOIN rights r ON r.k = l.k AND r.at BETWEEN l.at AND l.at + interval '10 s';
CREATE MATERIALIZED VIEW label_lengths WITH (kafka.continuous, kafka.grace = '2 s', kafka.pipeline = 'shown') AS
	SELECT count(l.name) AS lefts, count(r.label) AS rights, sum(length(shown(l.name, r.label))) AS length
	FROM lefts l FULL JOIN rights r ON r.k = l.k AND r.at BETWEEN l.at AND l.at + interval '10 s';
CREATE MATERIALIZED VIEW guarded WITH (kafka.continuous, kafka.grace = '2 s', kafka.pipeline = 'shown') AS
	SELECT l.name, r.label FROM lefts l LEFT JOIN rights r ON r.k = l.k AND r.at BETWEEN l.at AND l.at + interval '10 s';
CREATE TRIGGER refuse_b AFTER INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION refuse_b();
COMMIT;
SELECT ok(kafka.wait_for_view('shown_labels', '60s'), 'errors at closing do not stop the pipeline');
SELECT is((SELECT string_agg(name, '' ORDER BY name) FROM shown_labels WHERE label = 'none'), 'L', 'a closed row whose expression fails is not there, others are');
SELECT is((SELECT string_agg(name, '' ORDER BY name) FROM guarded WHERE label IS NULL), 'LX', 'nor is one that a trigger refuses');
SELECT results_eq('SELECT lefts, rights, length FROM label_lengths', $$SELECT count(name), count(label), sum(length(coalesce(label, 'none'))) FROM full_joined
	WHERE label IS NOT NULL OR name NOT IN ('B', 'X')$$, 'an aggregate has the rows that it can bear');
SELECT results_eq($$SELECT relation::text, view::text, convert_from(value, 'UTF8')::jsonb->>'name', sqlstate, message FROM kafka_state.dead_letter WHERE pipeline IN
	(SELECT pipeline FROM kafka_state.pipeline WHERE name = 'shown') AND view IS NOT NULL ORDER BY 2, 3$$,
	$$VALUES ('lefts', 'guarded', 'B', 'P0001', 'no B'), ('lefts', 'label_lengths', 'B', 'P0001', 'nothing to show'), ('lefts', 'label_lengths', 'X', 'P0001', 'nothing to show'),
	('lefts', 'shown_labels', 'B', 'P0001', 'nothing to show'), ('lefts', 'shown_labels', 'X', 'P0001', 'nothing to show')$$, 'the rows that failed are dead letters, with their topic');
-- with on_error = 'stop' the pipeline says so and stands, and goes on when told otherwise
CREATE FOREIGN TABLE strict_lefts (k text, name text, at timestamptz) SERVER broker OPTIONS (topic 'outer_lefts', event_time 'at', on_error 'stop');
CREATE MATERIALIZED VIEW strict_labels WITH (kafka.continuous, kafka.grace = '2 s') AS
	SELECT l.name, shown(l.name, r.label) AS label FROM strict_lefts l LEFT JOIN rights r ON r.k = l.k AND r.at BETWEEN l.at AND l.at + interval '10 s';
SELECT ok(kafka_test.poll($$error IS NOT NULL FROM kafka.pipelines WHERE pipeline = 'strict_labels'$$), 'an error at closing where the topic says stop');
SELECT results_eq($$SELECT error, error_hint ~ 'on_error ''stop''' FROM kafka.pipelines WHERE pipeline = 'strict_labels'$$,
	$$VALUES ('nothing to show', true)$$, 'says what to do about it');
SELECT is((SELECT count(*) FROM strict_labels), 0::bigint, 'and nothing of the batch');
ALTER FOREIGN TABLE strict_lefts OPTIONS (SET on_error 'skip');
SELECT ok(kafka.wait_for_view('strict_labels', '60s'), 'the pipeline goes on by itself');
SELECT is((SELECT string_agg(name, '' ORDER BY name) FROM strict_labels WHERE label = 'none'), 'L', 'without the rows that failed');

-- every form, in small batches, over the same rows
ALTER SYSTEM SET kafka.batch_rows = 7;
SELECT pg_reload_conf() \g /dev/null
SELECT kafka_test.create_topic('outer_orders', 2, 'retention.ms=-1'), kafka_test.create_topic('outer_payments', 2, 'retention.ms=-1') \g /dev/null
SELECT kafka_test.produce('outer_kinds', $$SELECT k, jsonb_build_object('kind', 'kind ' || k % 2) FROM generate_series(1, 6) k$$) \g /dev/null
CREATE FOREIGN TABLE orders (id int, k text, amount int, at timestamptz) SERVER broker OPTIONS (topic 'outer_orders', event_time 'at');
CREATE FOREIGN TABLE payments (id int, k text, paid int, at timestamptz) SERVER broker OPTIONS (topic 'outer_payments', event_time 'at');
CREATE FUNCTION put_orders(first int, last int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce('outer_orders', format('SELECT i, jsonb_build_object(''id'', i, ''k'', nullif(i * 7 %% 9, 8)::text, ''amount'', i * 13 %% 71,
		''at'', moment(i * 0.5 - i * i %% 35 * 0.1)) FROM generate_series(%s, %s) i', first, last));
	SELECT kafka_test.produce('outer_payments', format('SELECT i, jsonb_build_object(''id'', i, ''k'', nullif(i * 5 %% 13, 8)::text, ''paid'', i * 17 %% 61,
		''at'', moment(i * 0.5 - i * i %% 33 * 0.1)) FROM generate_series(%s, %s) i', first, last))
$$;
-- one row for each partition, which nobody matches: the first so that none is silent, the last to close all others
CREATE FUNCTION put_all(seconds int, id int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at(topic, format('SELECT p, NULL, NULL, jsonb_build_object(''id'', %s, ''at'', moment(%s)) FROM generate_series(0, 1) p', id, seconds))
	FROM unnest('{outer_orders,outer_payments}'::text[]) topic
$$;
SELECT put_all(-60, 0) \g /dev/null
CREATE TABLE forms (name text PRIMARY KEY, query text, verifiable boolean DEFAULT true);
INSERT INTO forms VALUES
	('kept_left', 'SELECT o.id, o.k, p.id AS payment, o.at FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at - interval ''3 s'' AND o.at + interval ''8 s'''),
	('kept_right', 'SELECT o.id, p.id AS payment, p.at FROM orders o RIGHT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' AND o.amount > 30 AND p.paid > 20'),
	('kept_both', 'SELECT o.id, p.id AS payment, coalesce(o.at, p.at) AS at FROM orders o FULL JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at - interval ''3 s'' AND o.at + interval ''8 s'' AND o.amount > p.paid'),
	('later', 'SELECT o.id, p.id AS payment FROM orders o FULL JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at + interval ''2 s'' AND o.at + interval ''5 s'''),
	('unpaid', 'SELECT o.id, o.at FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' WHERE p.id IS NULL AND o.amount > 10'),
	('paid', 'SELECT o.id, p.id AS payment FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' WHERE p.paid > 20'),
	('half', 'SELECT o.id, p.id AS payment FROM orders o FULL JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' WHERE o.amount > 20'),
	('either', 'SELECT o.id, p.id AS payment FROM orders o FULL JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' WHERE coalesce(o.amount, p.paid) > 40'),
	('itself', 'SELECT a.id, b.id AS next FROM orders a LEFT JOIN orders b ON b.k = a.k AND b.at > a.at AND b.at <= a.at + interval ''6 s'''),
	('never', 'SELECT o.id, p.id AS payment FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at < o.at - interval ''5 s'' AND p.at > o.at + interval ''1 s'''),
	('items', 'SELECT o.id, item, p.id AS payment FROM orders o CROSS JOIN LATERAL generate_series(1, o.amount % 3) AS item LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''4 s'''),
	('united', 'SELECT o.id, p.id AS payment FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''4 s'' UNION ALL SELECT id, NULL FROM payments WHERE id >= 0'),
	('per_key', 'SELECT coalesce(o.k, p.k) AS k, count(*) AS n, count(o.id) AS orders, count(p.id) AS payments, sum(coalesce(p.paid, -1)) AS paid FROM orders o FULL JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' GROUP BY 1'),
	('unpaid_keys', 'SELECT o.k, avg(o.amount) AS mean FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' WHERE p.id IS NULL GROUP BY o.k HAVING count(*) > 2'),
	('kinds_left', 'SELECT o.id, p.id AS payment, c.kind FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' LEFT JOIN kinds c ON c.k = coalesce(p.k, ''2'')'),
	('kinds_inner', 'SELECT o.id, p.id AS payment, c.kind FROM kinds c JOIN orders o ON o.k = c.k LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'''),
	('kinds_both', 'SELECT o.id, p.id AS payment, c.kind FROM orders o FULL JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval ''8 s'' LEFT JOIN kinds c ON c.k = o.k');
UPDATE forms SET verifiable = false WHERE query LIKE '%kinds%';
DO $$
DECLARE f record;
BEGIN
	FOR f IN SELECT * FROM forms LOOP
		EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (kafka.continuous, kafka.grace = ''4 s'', kafka.pipeline = ''forms'') AS %s', f.name, f.query);
	END LOOP;
END $$;
-- views over one: what it closes is new to them, and closed there in turn
CREATE MATERIALIZED VIEW over_left WITH (kafka.continuous) AS SELECT k, count(*) AS n, count(payment) AS paid FROM kept_left GROUP BY k;
CREATE MATERIALIZED VIEW outer_over WITH (kafka.continuous, kafka.grace = '4 s') AS
	SELECT a.id, b.payment FROM kept_left a LEFT JOIN kept_both b ON b.id = a.id AND b.at BETWEEN a.at - interval '20 s' AND a.at + interval '20 s';
-- windows that close, over rows that time closes before them; and a view that is not stored, whose open rows a view over it must not have
CREATE MATERIALIZED VIEW final_counts WITH (kafka.continuous, kafka.grace = '4 s', kafka.emit = 'final') AS
	SELECT kafka.tumble(greatest(o.at, p.at), '10 s') AS during, count(*) AS n, count(o.id) AS orders, count(p.id) AS payments
	FROM orders o FULL JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval '8 s' GROUP BY 1;
BEGIN;
CREATE VIEW given WITH (kafka.continuous, kafka.grace = '4 s') AS
	SELECT o.id, p.id AS payment, o.at FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval '8 s';
CREATE MATERIALIZED VIEW over_given WITH (kafka.continuous) AS SELECT id, payment, at FROM given;
COMMIT;

CREATE SCHEMA closed;
CREATE FUNCTION differences() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s: %s %s', name, difference, row_data) FROM forms, LATERAL kafka.verify(name::regclass) WHERE verifiable
$$;
CREATE FUNCTION count_rows(view text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE result bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM %I', view) INTO result;
	RETURN result;
END $$;
SELECT put_orders(1, 70), put_orders(71, 80), put_orders(81, 120) \g /dev/null
SELECT ok(kafka.wait_for_view('kept_left', '60s'), 'rows');
SELECT is_empty('SELECT differences()', 'every view is its query but for what is open');
SELECT ok(kafka.wait_for_view('final_counts', '60s') AND kafka.wait_for_view('over_given', '60s'), 'the other pipelines too');
SELECT is_empty($$SELECT * FROM kafka.verify('final_counts')$$, 'verify: windows that close over an outer join');
SELECT is_empty($$SELECT * FROM kafka.verify('over_given')$$, 'verify: a view over one that is not stored');
SELECT put_all(10000, -1) \g /dev/null
SELECT ok(kafka.wait_for_view('kept_left', '60s'), 'all are closed');
SELECT is_empty('SELECT differences()', 'every view is its query');
CREATE TABLE closed.orders AS SELECT * FROM orders WHERE id >= 0;
CREATE TABLE closed.payments AS SELECT * FROM payments WHERE id >= 0;
SET search_path = closed, public;
SELECT bag_eq('SELECT * FROM ' || name, query, name || ' is its query over the topics') FROM forms ORDER BY name;
SELECT ok(kafka.wait_for_view('final_counts', '60s') AND kafka.wait_for_view('over_given', '60s'), 'all are closed there');
SELECT bag_eq('SELECT * FROM final_counts', $$SELECT kafka.tumble(greatest(o.at, p.at), '10 s') AS during, count(*) AS n, count(o.id) AS orders, count(p.id) AS payments
	FROM orders o FULL JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval '8 s' GROUP BY 1$$, 'closed windows over an outer join');
SELECT bag_eq('SELECT id, payment FROM over_given', $$SELECT o.id, p.id AS payment FROM orders o LEFT JOIN payments p ON p.k = o.k AND p.at BETWEEN o.at AND o.at + interval '8 s'$$,
	'a view over an outer join that is not stored');
RESET search_path;
SELECT is_empty('SELECT name FROM forms WHERE count_rows(name) = 0', 'none is empty');
SELECT bag_eq('SELECT k, n, paid FROM over_left', 'SELECT k, count(*) AS n, count(payment) AS paid FROM kept_left GROUP BY k', 'an aggregate over an outer join');
SELECT bag_eq('SELECT * FROM outer_over', 'SELECT a.id, b.payment FROM kept_left a LEFT JOIN kept_both b ON b.id = a.id AND b.at BETWEEN a.at - interval ''20 s'' AND a.at + interval ''20 s''',
	'an outer join of views that are outer joins');
SELECT is((SELECT sum(late_rows) FROM kafka.views WHERE pipeline = 'forms'), 0::numeric, 'nothing was late');
SELECT results_eq($$SELECT count(*), sum(seq_tup_read)::bigint, min(idx_scan) > 0 FROM pg_stat_all_tables JOIN kafka_state.view v
	ON relname IN ('buffer_' || v.view || '_0', 'buffer_' || v.view || '_1') WHERE v.relation = 'kept_both'::regclass$$,
	'VALUES (2::bigint, 0::bigint, true)', 'rows that close, their matches, and rows to be evicted are found by indexes');
ALTER SYSTEM RESET kafka.batch_rows;
SELECT pg_reload_conf() \g /dev/null
SELECT * FROM finish();
