-- Sinks of views of tables (DESIGN.md 2.4): the topic folded to the last value per key is the view, through changes of either side, rows whose
-- reference moves, deletions and keys that come back; a record that changes no row publishes nothing.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('sinks_tables_' || t, 2, 'retention.ms=-1') FROM unnest('{orders,customers,joined,wide,row,dearest}'::text[]) t \g /dev/null

CREATE FUNCTION at(second numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT timestamptz '2024-01-01 00:00Z' + second * interval '1 s' $$;
CREATE FUNCTION messages(topic text) RETURNS TABLE ("offset" bigint, second numeric, key text, value jsonb) LANGUAGE sql AS $$
	SELECT c."offset", round((c.timestamp_ms - extract(epoch FROM at(0)) * 1000) / 1000, 1), c.key, c.value::jsonb FROM kafka_test.consume('sinks_tables_' || topic) c
$$;
CREATE FUNCTION folded(topic text) RETURNS TABLE (key text, value jsonb) LANGUAGE sql AS $$
	SELECT l.key, l.value FROM (SELECT DISTINCT ON (m.key) m.key, m.value FROM messages(topic) m ORDER BY m.key, m."offset" DESC) l WHERE l.value IS NOT NULL
$$;
CREATE FUNCTION sinks_differ() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT t || ': ' || d FROM (VALUES ('joined', 'id::text'), ('row', 'id::text'), ('wide', $q$format('{"id":%s,"name":%s}', id, coalesce(to_json(name)::text, 'null'))$q$)) s(t, k), LATERAL kafka_test.differences(
		format('SELECT key, value->>''id'', value->>''amount'', value->>''name'' FROM folded(%L)', t), format('SELECT %s, id::text, amount::text, name FROM joined', k)) d
$$;
-- second, key, value
CREATE FUNCTION change(topic text, VARIADIC changes text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.produce_at('sinks_tables_' || topic, format($q$SELECT 0, extract(epoch FROM at(r[1]::numeric))::bigint * 1000, r[2], r[3] FROM (SELECT string_to_array(x, '|', '-') r FROM unnest(%L::text[]) x) s$q$, changes));
	RETURN kafka.wait_for_view('joined', '60s');
END $$;

CREATE FOREIGN TABLE orders (id int OPTIONS (key 'true'), customer int, amount numeric) SERVER broker OPTIONS (topic 'sinks_tables_orders', mode 'upsert');
CREATE FOREIGN TABLE customers (customer int OPTIONS (key 'true'), name text, mail text) SERVER broker OPTIONS (topic 'sinks_tables_customers', mode 'upsert');
CREATE FOREIGN TABLE joined_sink (id int OPTIONS (key 'true'), amount numeric, name text) SERVER broker OPTIONS (topic 'sinks_tables_joined', mode 'upsert');
CREATE FOREIGN TABLE wide_sink (id int OPTIONS (key 'true'), name text OPTIONS (key 'true'), amount numeric) SERVER broker OPTIONS (topic 'sinks_tables_wide', mode 'upsert');
CREATE FOREIGN TABLE row_sink (id int OPTIONS (key 'true'), amount numeric, name text) SERVER broker OPTIONS (topic 'sinks_tables_row', mode 'upsert');
CREATE FOREIGN TABLE dearest_sink (customer int OPTIONS (key 'true'), id int, amount numeric) SERVER broker OPTIONS (topic 'sinks_tables_dearest', mode 'upsert');
BEGIN;
CREATE MATERIALIZED VIEW joined WITH (kafka.continuous, kafka.pipeline = 'sinks') AS
	SELECT o.id, o.amount, c.name FROM orders o LEFT JOIN customers c ON c.customer = o.customer WHERE o.amount > 0;
CREATE MATERIALIZED VIEW dearest WITH (kafka.continuous, kafka.pipeline = 'sinks') AS
	SELECT DISTINCT ON (customer) customer, id, amount FROM orders ORDER BY customer, amount DESC, id;
SELECT kafka.attach_sink('dearest', 'dearest_sink'), kafka.attach_sink('joined', 'joined_sink'), kafka.attach_sink('joined', 'wide_sink') \g /dev/null
CREATE TRIGGER by_row AFTER INSERT OR UPDATE OR DELETE ON joined FOR EACH ROW EXECUTE FUNCTION kafka.publish('row_sink');
COMMIT;

SELECT ok(change('customers', '1|1|{"name":"Ann"}', '2|2|{"name":"Bob"}') AND change('orders', '3|10|{"customer":1,"amount":5.0}', '4|11|{"customer":1,"amount":7}', '5|12|{"customer":2,"amount":0}', '6|13|{"customer":3,"amount":1}'), 'orders and customers');
SELECT results_eq('SELECT * FROM joined ORDER BY id', $$VALUES (10, 5.0, 'Ann'), (11, 7, 'Ann'), (13, 1, NULL)$$, 'joined');
SELECT is_empty('SELECT sinks_differ()', 'every sink is the view');
SELECT ok(change('customers', '7|1|{"name":"Anna"}', '8|2|{"name":"Bob","mail":"b@"}', '9|3|{"name":"Cem"}'), 'names change, one row only in a column that nobody uses');
SELECT is_empty('SELECT sinks_differ()', 'every sink is the view');
SELECT ok(change('orders', '10|11|{"customer":2,"amount":7}', '11|12|{"customer":2,"amount":3}', '12|10|{"customer":1,"amount":5.0}', '13|13|{"customer":3,"amount":-1}'), 'a reference moves, rows come and go, one is written again');
SELECT is_empty('SELECT sinks_differ()', 'every sink is the view');
SELECT ok(change('customers', '14|2|-') AND change('orders', '15|10|-', '16|10|{"customer":3,"amount":9}', '17|12|-'), 'deletions, a key that comes back');
SELECT is_empty('SELECT sinks_differ()', 'every sink is the view');
SELECT results_eq('SELECT * FROM joined ORDER BY id', $$VALUES (10, 9::numeric, 'Cem'), (11, 7, NULL)$$, 'the last of them');
SELECT results_eq($$SELECT key, value->>'amount', value->>'name' FROM messages('joined') WHERE key <> '10' OR value IS NOT NULL ORDER BY key, "offset"$$, $$VALUES ('10', '5.0', 'Ann'), ('10', '5.0', 'Anna'), ('10', '9', 'Cem'),
	('11', '7', 'Ann'), ('11', '7', 'Anna'), ('11', '7', 'Bob'), ('11', '7', NULL), ('12', '3', 'Bob'), ('12', '3', NULL), ('12', NULL, NULL), ('13', '1', NULL), ('13', '1', 'Cem'), ('13', NULL, NULL)$$,
	'what does not change a row is not published');
SELECT results_eq('SELECT * FROM dearest ORDER BY customer', $$VALUES (2, 11, 7::numeric), (3, 10, 9)$$, 'DISTINCT ON: rows that went or moved to another key are replaced by the next, keys without a row are gone');
SELECT results_eq($$SELECT max(second) FROM messages('joined')$$, $$VALUES (17.0)$$, 'and times are those of the records');
SELECT * FROM finish();
