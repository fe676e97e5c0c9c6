-- The timestamp of an output record is the event time of the record that caused it (DESIGN.md 1.2), unless the topic says otherwise:
-- of a row that of the input row, or of the last of the joined ones; of a group the greatest among the records of the batch that touched it.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('sinks_times_' || t, 1, 'retention.ms=-1') FROM unnest('{orders,payments,visits,timed,bare,bare_row,bare_when,joined,totals,totals_row,named,
	written,mine,pages,pages_all,unstored,late,late_bare,prices,cheap}'::text[]) t \g /dev/null

CREATE FUNCTION at(second numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT timestamptz '2024-01-01 00:00Z' + second * interval '1 s' $$;
-- what a topic holds once there is so much, with timestamps as seconds after that moment
CREATE FUNCTION times(topic text, expected int, path text) RETURNS TABLE (key text, field text, second numeric) LANGUAGE sql AS $$
	SELECT c.key, c.value::jsonb->>path, round((c.timestamp_ms - extract(epoch FROM at(0)) * 1000) / 1000, 1)
		FROM kafka_test.await('sinks_times_' || topic, expected) c ORDER BY c."offset"
$$;

CREATE FOREIGN TABLE orders (id int, customer int, amount int, at timestamptz) SERVER broker OPTIONS (topic 'sinks_times_orders', event_time 'at');
CREATE FOREIGN TABLE payments (id int, at timestamptz) SERVER broker OPTIONS (topic 'sinks_times_payments', event_time 'at');
CREATE FOREIGN TABLE visits (page text) SERVER broker OPTIONS (topic 'sinks_times_visits');

CREATE FOREIGN TABLE timed (id int, at timestamptz) SERVER broker OPTIONS (topic 'sinks_times_timed');
CREATE FOREIGN TABLE bare (customer int) SERVER broker OPTIONS (topic 'sinks_times_bare');
CREATE FOREIGN TABLE bare_row (customer int) SERVER broker OPTIONS (topic 'sinks_times_bare_row');
CREATE FOREIGN TABLE bare_when (customer int) SERVER broker OPTIONS (topic 'sinks_times_bare_when');
CREATE FOREIGN TABLE joined (id int) SERVER broker OPTIONS (topic 'sinks_times_joined');
CREATE FOREIGN TABLE totals (customer int OPTIONS (key 'true'), amount bigint) SERVER broker OPTIONS (topic 'sinks_times_totals', mode 'upsert');
CREATE FOREIGN TABLE totals_row (customer int OPTIONS (key 'true'), amount bigint) SERVER broker OPTIONS (topic 'sinks_times_totals_row', mode 'upsert');
CREATE FOREIGN TABLE named (id int OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'sinks_times_named', mode 'upsert');
CREATE FOREIGN TABLE mine (customer int) SERVER broker OPTIONS (topic 'sinks_times_mine');
CREATE FOREIGN TABLE pages (page text OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'sinks_times_pages', mode 'upsert');
CREATE FOREIGN TABLE pages_all (n bigint) SERVER broker OPTIONS (topic 'sinks_times_pages_all');
CREATE FOREIGN TABLE unstored (customer int) SERVER broker OPTIONS (topic 'sinks_times_unstored');
CREATE FOREIGN TABLE written (customer int OPTIONS (key 'true'), first timestamptz, amount bigint) SERVER broker OPTIONS (topic 'sinks_times_written', mode 'upsert', event_time 'first');

CREATE FUNCTION write_mine() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.mine VALUES (new.customer);
	RETURN NULL;
END $$;

BEGIN;
CREATE MATERIALIZED VIEW v_timed WITH (kafka.continuous, kafka.pipeline = 'times') AS SELECT id, at FROM orders;
SELECT kafka.attach_sink('v_timed', 'timed') \g /dev/null
CREATE MATERIALIZED VIEW v_bare WITH (kafka.continuous, kafka.pipeline = 'times') AS SELECT customer FROM orders WHERE amount > 0;
SELECT kafka.attach_sink('v_bare', 'bare') \g /dev/null
CREATE TRIGGER by_row AFTER INSERT ON v_bare FOR EACH ROW EXECUTE FUNCTION kafka.publish('bare_row');
CREATE TRIGGER some_rows AFTER INSERT ON v_bare FOR EACH ROW WHEN (new.customer <> 2) EXECUTE FUNCTION kafka.publish('bare_when');
CREATE TRIGGER mine AFTER INSERT ON v_bare FOR EACH ROW EXECUTE FUNCTION write_mine();
CREATE VIEW v_unstored WITH (kafka.continuous, kafka.pipeline = 'times') AS SELECT customer FROM orders WHERE amount > 0;
SELECT kafka.attach_sink('v_unstored', 'unstored') \g /dev/null
CREATE MATERIALIZED VIEW v_joined WITH (kafka.continuous, kafka.pipeline = 'times') AS
	SELECT o.id FROM orders o JOIN payments p ON p.id = o.id AND p.at BETWEEN o.at - interval '1 hour' AND o.at + interval '1 hour';
SELECT kafka.attach_sink('v_joined', 'joined') \g /dev/null
CREATE MATERIALIZED VIEW v_totals WITH (kafka.continuous, kafka.pipeline = 'times') AS
	SELECT customer, sum(amount) AS amount FROM orders GROUP BY customer HAVING sum(amount) < 100;
SELECT kafka.attach_sink('v_totals', 'totals') \g /dev/null
CREATE TRIGGER by_row AFTER INSERT OR UPDATE OR DELETE ON v_totals FOR EACH ROW EXECUTE FUNCTION kafka.publish('totals_row');
CREATE MATERIALIZED VIEW v_named WITH (kafka.continuous, kafka.pipeline = 'times') AS
	SELECT o.id, count(*) AS n FROM orders o JOIN payments p ON p.id = o.id AND p.at BETWEEN o.at - interval '1 hour' AND o.at + interval '1 hour' GROUP BY o.id;
SELECT kafka.attach_sink('v_named', 'named') \g /dev/null
CREATE MATERIALIZED VIEW v_written WITH (kafka.continuous, kafka.pipeline = 'times') AS
	SELECT customer, min(at) AS first, sum(amount) AS amount FROM orders GROUP BY customer HAVING sum(amount) < 100;
SELECT kafka.attach_sink('v_written', 'written') \g /dev/null
COMMIT;
BEGIN;
CREATE MATERIALIZED VIEW v_pages WITH (kafka.continuous, kafka.pipeline = 'pages') AS SELECT page, count(*) AS n FROM visits GROUP BY page;
SELECT kafka.attach_sink('v_pages', 'pages') \g /dev/null
CREATE MATERIALIZED VIEW v_pages_all WITH (kafka.continuous, kafka.pipeline = 'pages') AS SELECT count(*) AS n FROM visits;
SELECT kafka.attach_sink('v_pages_all', 'pages_all', false) \g /dev/null
COMMIT;

-- id, customer, amount, second: out of order
CREATE FUNCTION order_at(VARIADIC orders text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.produce('sinks_times_orders', format($q$SELECT 'k', jsonb_build_object('id', r[1], 'customer', r[2], 'amount', r[3], 'at', at(r[4]::numeric))
		FROM (SELECT string_to_array(x, ' ') r FROM unnest(%L::text[]) WITH ORDINALITY x(x, n) ORDER BY n) s$q$, orders));
	RETURN kafka.wait_for_view('v_timed', '60s');
END $$;
SELECT ok(order_at('1 1 10 10', '2 2 20 30', '3 1 5 20', '4 3 -5 50', '5 1 5 5', '6 2 1 40', '7 3 7 35'), 'orders');
SELECT results_eq($$SELECT field, second FROM times('timed', 7, 'id')$$, $$VALUES ('1', 10.0), ('2', 30.0), ('3', 20.0), ('4', 50.0), ('5', 5.0), ('6', 40.0), ('7', 35.0)$$,
	'a row with its event time in a column');
SELECT results_eq($$SELECT field, second FROM times('bare', 6, 'customer')$$, $$VALUES ('1', 10.0), ('2', 30.0), ('1', 20.0), ('1', 5.0), ('2', 40.0), ('3', 35.0)$$,
	'rows without it, by a statement trigger');
SELECT results_eq($$SELECT field, second FROM times('bare_row', 6, 'customer')$$, $$VALUES ('1', 10.0), ('2', 30.0), ('1', 20.0), ('1', 5.0), ('2', 40.0), ('3', 35.0)$$,
	'by a row trigger');
SELECT results_eq($$SELECT field, second FROM times('bare_when', 4, 'customer')$$, $$VALUES ('1', 10.0), ('1', 20.0), ('1', 5.0), ('3', 35.0)$$,
	'by a row trigger with a condition');
SELECT results_eq($$SELECT field, second FROM times('unstored', 6, 'customer')$$, $$VALUES ('1', 10.0), ('2', 30.0), ('1', 20.0), ('1', 5.0), ('2', 40.0), ('3', 35.0)$$,
	'of a view whose rows are not stored');
SELECT ok((SELECT bool_and(second IN (10, 30, 20, 50, 5, 40, 35)) AND count(*) = 6 FROM times('mine', 6, 'customer')), 'an INSERT by a trigger of one''s own has the greatest time of its batch');
SELECT results_eq($$SELECT DISTINCT ON (key) key, field, second FROM times('totals', 3, 'amount') ORDER BY key, second DESC$$, $$VALUES ('1', '20', 20.0), ('2', '21', 40.0), ('3', '2', 50.0)$$,
	'a group has the greatest time among the records that touched it');
SELECT ok(order_at('8 1 90 60', '9 2 1 55', '10 2 1 52'), 'a group leaves, another is touched');
SELECT results_eq($$SELECT key, field, second FROM times('totals', 5, 'amount') OFFSET 3$$, $$VALUES ('2', '23', 55.0), ('1', NULL, 60.0)$$, 'and so has a tombstone');
SELECT results_eq($$SELECT key, field, second FROM times('totals_row', 5, 'amount') ORDER BY 1, 3$$, $$SELECT key, field, second FROM times('totals', 5, 'amount') ORDER BY 1, 3$$, 'by row triggers too');
SELECT results_eq($$SELECT key, field, second FROM times('written', 5, 'amount') OFFSET 3$$, $$VALUES ('2', '23', 30.0), ('1', NULL, 60.0)$$,
	'the topic''s own event_time comes first, but says nothing about a tombstone');

-- groups that are inserted and updated by one statement are noted together
CREATE FUNCTION many(customers int) RETURNS boolean LANGUAGE sql AS $$
	SELECT order_at(VARIADIC array_agg(format('%s %s 1 %s', 1000 + i, 1000 + i, i))) FROM generate_series(1, customers) i
$$;
SELECT ok(many(40) AND many(100), 'many groups, some new and some not');
SELECT results_eq($$SELECT field, count(*) FROM times('totals', 145, 'amount') WHERE key::int > 1000 AND second = key::int - 1000 GROUP BY field ORDER BY field$$, $$VALUES ('1', 100::bigint), ('2', 40)$$,
	'each has its own time');

SELECT kafka_test.produce('sinks_times_payments', $$SELECT 'k', jsonb_build_object('id', id, 'at', at(second)) FROM (VALUES (1, 15), (2, 25), (3, 20), (1, 8), (4, 70)) p(id, second)$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v_joined', '60s'), 'payments');
SELECT results_eq($$SELECT field, second FROM times('joined', 5, 'id') ORDER BY 1, 2$$, $$VALUES ('1', 10.0), ('1', 15.0), ('2', 30.0), ('3', 20.0), ('4', 70.0)$$, 'a joined row has the greatest of its rows'' times');
SELECT results_eq($$SELECT DISTINCT ON (key) key, field, second FROM times('named', 4, 'n') ORDER BY key, second DESC$$, $$VALUES ('1', '2', 15.0), ('2', '1', 30.0), ('3', '1', 20.0), ('4', '1', 70.0)$$,
	'and a group of joined rows the greatest of theirs');

SELECT kafka_test.produce_at('sinks_times_visits', $$SELECT 0, extract(epoch FROM at(second))::bigint * 1000, 'k', jsonb_build_object('page', page) FROM (VALUES ('a', 3), ('b', 9), ('a', 5)) v(page, second)$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v_pages', '60s'), 'visits');
SELECT results_eq($$SELECT DISTINCT ON (key) key, field, second FROM times('pages', 2, 'n') ORDER BY key, second DESC$$, $$VALUES ('a', '2', 5.0), ('b', '1', 9.0)$$, 'without an event_time it is the record''s timestamp');
SELECT results_eq($$SELECT field, second FROM times('pages_all', 1, 'n') ORDER BY field DESC LIMIT 1$$, $$VALUES ('3', 9.0)$$, 'for the only row of a view, too');

-- rows that are there already have their event time where it is a column
CREATE FOREIGN TABLE late (id int, at timestamptz) SERVER broker OPTIONS (topic 'sinks_times_late');
SELECT kafka.attach_sink('v_timed', 'late') \g /dev/null
SELECT results_eq($$SELECT second FROM times('late', 10, 'id')$$, $$SELECT second FROM times('timed', 10, 'id')$$, 'rows that attach_sink publishes have their event times');
SELECT * FROM finish();
