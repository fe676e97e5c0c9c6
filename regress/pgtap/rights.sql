-- A view is maintained with the rights that its owner has now, not with those he had when he created it: whatever he loses, the
-- pipeline fails with Postgres' own words, nothing is applied, and with the right back it goes on where it stood.
SELECT no_plan();
SET client_min_messages = warning;
CREATE ROLE rights_owner;
CREATE ROLE rights_other;
CREATE ROLE rights_group;
GRANT rights_group TO rights_owner;
GRANT CREATE ON SCHEMA public TO rights_owner, rights_other;
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rights_' || t, 1) FROM unnest('{orders,customers,sink,given}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE orders (id int, customer int, at timestamptz OPTIONS (metadata 'timestamp')) SERVER broker OPTIONS (topic 'rights_orders');
CREATE FOREIGN TABLE customers (customer int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'rights_customers', mode 'upsert');
CREATE FOREIGN TABLE sink (id int) SERVER broker OPTIONS (topic 'rights_sink');
CREATE FOREIGN TABLE given_sink (id int) SERVER broker OPTIONS (topic 'rights_given');
CREATE TABLE regions (customer int, title text);
INSERT INTO regions VALUES (1, 'north');
CREATE FUNCTION same(value int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT value';
REVOKE EXECUTE ON FUNCTION same FROM PUBLIC;
GRANT EXECUTE ON FUNCTION same TO rights_owner;
GRANT USAGE ON FOREIGN SERVER broker TO rights_owner, rights_other;
GRANT SELECT ON orders TO rights_group;
GRANT SELECT ON customers, regions TO rights_owner;
GRANT INSERT ON sink, given_sink TO rights_owner;
SELECT kafka_test.produce('rights_customers', $$SELECT 1, '{"name": "n"}'$$) \g /dev/null

BEGIN;
SET ROLE rights_owner;
CREATE MATERIALIZED VIEW paid WITH (kafka.continuous) AS
	SELECT o.id, c.name, r.title, same(o.customer) AS customer, o.at FROM orders o JOIN customers c ON c.customer = o.customer JOIN regions r ON r.customer = o.customer;
CREATE TRIGGER publish AFTER INSERT ON paid REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('sink');
CREATE MATERIALIZED VIEW above WITH (kafka.continuous) AS SELECT id FROM paid;
COMMIT;
RESET ROLE;
BEGIN;
SET ROLE rights_owner;
CREATE VIEW given WITH (kafka.continuous) AS SELECT id FROM orders;
SELECT kafka.attach_sink('given', 'given_sink') \g /dev/null
COMMIT;
RESET ROLE;

\set goes_on 'DO $$ BEGIN PERFORM kafka.resume(''paid''::regclass), kafka.resume(''given''::regclass); END $$; SELECT goes_on();'
CREATE SEQUENCE orders_made;
CREATE FUNCTION make_order() RETURNS void LANGUAGE sql AS $$ SELECT kafka_test.produce('rights_orders', format('SELECT 1, jsonb_build_object(''id'', %s, ''customer'', 1)', nextval('orders_made'))) $$;
CREATE FUNCTION fails(error text, detail text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT ok(kafka_test.poll(format('EXISTS (SELECT FROM kafka.pipelines p WHERE p.error = %L AND coalesce(p.error_detail, '''') ~ %L)', error, detail)), 'the pipeline fails: ' || error)
$$;
-- all orders so far are in the views and in the sinks, each once
CREATE FUNCTION goes_on() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	made int[] := (SELECT array_agg(i ORDER BY i) FROM generate_series(1, (SELECT last_value FROM orders_made)) i);
	found text;
BEGIN
	PERFORM kafka_test.settle();
	SELECT format('%s %s %s %s', (SELECT array_agg(id ORDER BY id) FROM paid), (SELECT array_agg(id ORDER BY id) FROM above),
		(SELECT array_agg(id ORDER BY id) FROM sink), (SELECT array_agg(id ORDER BY id) FROM given_sink)) INTO found;
	RETURN is(found, format('%1$s %1$s %1$s %1$s', made), 'it goes on with the right');
END $$;

SELECT make_order() \g /dev/null
:goes_on

REVOKE SELECT ON customers FROM rights_owner;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for foreign table customers', 'Continuous view "paid" .* role "rights_owner"');
SELECT is(count(*)::int, 1, 'nothing is applied meanwhile') FROM paid;
GRANT SELECT ON customers TO rights_owner;
:goes_on

REVOKE rights_group FROM rights_owner;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for foreign table orders', 'Continuous view "paid"');
SELECT fails('permission denied for foreign table orders', 'Continuous view "given"');
GRANT rights_group TO rights_owner;
:goes_on

REVOKE SELECT ON regions FROM rights_owner;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for table regions');
GRANT SELECT ON regions TO rights_owner;
:goes_on

REVOKE EXECUTE ON FUNCTION same FROM rights_owner;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for function same');
GRANT EXECUTE ON FUNCTION same TO rights_owner;
:goes_on

REVOKE USAGE ON FOREIGN SERVER broker FROM rights_owner;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for foreign server broker', 'Continuous view "paid"');
GRANT USAGE ON FOREIGN SERVER broker TO rights_owner;
:goes_on

-- of his own view too
REVOKE SELECT ON paid FROM rights_owner;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for table paid', 'Continuous view "above" .* role "rights_owner"');
GRANT SELECT ON paid TO rights_owner;
:goes_on

REVOKE INSERT ON sink, given_sink FROM rights_owner;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for topic table public.sink');
SELECT fails('permission denied for topic table public.given_sink');
GRANT INSERT ON sink, given_sink TO rights_owner;
:goes_on

-- a right to write that comes from a role
REVOKE INSERT ON sink, given_sink FROM rights_owner;
GRANT INSERT ON sink, given_sink TO rights_group;
SELECT make_order() \g /dev/null
:goes_on
GRANT SELECT ON orders TO rights_owner;
REVOKE rights_group FROM rights_owner;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for topic table public.sink');
SELECT fails('permission denied for topic table public.given_sink');
GRANT rights_group TO rights_owner;
:goes_on

-- the new owner has other rights
ALTER MATERIALIZED VIEW above OWNER TO rights_other;
ALTER MATERIALIZED VIEW paid OWNER TO rights_other;
SELECT make_order() \g /dev/null
SELECT fails('permission denied for foreign table orders', 'Continuous view "paid" .* role "rights_other"');
GRANT SELECT ON orders, customers, regions TO rights_other;
GRANT INSERT ON sink TO rights_other;
GRANT EXECUTE ON FUNCTION same TO rights_other;
:goes_on

SELECT * FROM finish();
DROP VIEW given;
DROP MATERIALIZED VIEW above, paid;
DROP OWNED BY rights_owner, rights_other, rights_group;
DROP ROLE rights_owner, rights_other, rights_group;
