-- Functions of a view run as its owner, wherever it is compiled: in CREATE, by whoever explains it, in the worker. What Postgres folds
-- while it plans is called too, so a constant call must not be made by a superuser on the owner's behalf.
CREATE SCHEMA view_rights;
SET search_path = view_rights;
\getenv broker KAFKA_BROKER
\! kv_kafka create view_rights_orders 1
\! kv_kafka create view_rights_payments 1
\! printf '1\t{"id": 1, "state": "new", "at": 1000}\n1\t{"id": 1, "state": "sent", "at": 2000}\n' | kv_kafka produce view_rights_orders
\! printf '1\t{"id": 1, "at": 1500}\n' | kv_kafka produce view_rights_payments
CREATE SERVER view_rights FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
CREATE FOREIGN TABLE orders (id bigint, state text, at timestamptz) SERVER view_rights OPTIONS (topic 'view_rights_orders', event_time 'at');
CREATE FOREIGN TABLE payments (id bigint, at timestamptz) SERVER view_rights OPTIONS (topic 'view_rights_payments', event_time 'at');
CREATE ROLE view_rights_user;
GRANT USAGE, CREATE ON SCHEMA view_rights TO view_rights_user;
GRANT USAGE ON FOREIGN SERVER view_rights TO view_rights_user;
GRANT SELECT ON orders, payments TO view_rights_user;
SET ROLE view_rights_user;
CREATE FUNCTION as_superuser() RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user';
CREATE FUNCTION spy(value anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF view_rights.as_superuser() THEN
		RAISE EXCEPTION 'run by a superuser';
	END IF;
	RETURN value;
END $$;
-- an SQL function is inlined where the role may execute what it calls
CREATE FUNCTION inner_spy(value bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT value + view_rights.spy(1)';
REVOKE EXECUTE ON FUNCTION inner_spy FROM PUBLIC, view_rights_user;
GRANT EXECUTE ON FUNCTION inner_spy TO view_rights_user;
CREATE FUNCTION outer_spy(value bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT view_rights.inner_spy(value)';

CREATE MATERIALIZED VIEW texts WITH (kafka.continuous) AS
  SELECT id, string_agg(state, spy(','::text)) AS states FROM orders GROUP BY id HAVING count(*) > spy(0);
CREATE MATERIALIZED VIEW paid WITH (kafka.continuous) AS
  SELECT o.id, o.state, p.at FROM orders o
  JOIN payments p ON outer_spy(p.id) = outer_spy(o.id) AND p.at BETWEEN o.at AND o.at + spy(interval '1 hour')
  WHERE spy(true) AND o.state <> spy('none'::text);
CREATE MATERIALIZED VIEW visits WITH (kafka.continuous) AS
  SELECT kafka.session(at, spy(interval '5 minutes')) AS during, string_agg(state, spy(';'::text)) AS states, string_agg(state, id::text) AS told FROM orders GROUP BY during;
RESET ROLE;
SELECT count(*) > 0 AS explained FROM kafka.explain('texts', true);
SELECT count(*) > 0 AS explained FROM kafka.explain('paid', true);
SELECT count(*) > 0 AS explained FROM kafka.explain('visits', true);
SELECT kafka.wait_for_view('texts', '60 s'), kafka.wait_for_view('paid', '60 s'), kafka.wait_for_view('visits', '60 s');
SELECT * FROM texts;
SELECT id, state FROM paid;
SELECT states, told FROM visits;
SELECT pipeline, error FROM kafka.pipelines WHERE pipeline ~ '(texts|paid|visits)' AND error IS NOT NULL;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA view_rights CASCADE;
DROP SERVER view_rights CASCADE;
DROP OWNED BY view_rights_user;
DROP ROLE view_rights_user;
\! kv_kafka delete view_rights_orders view_rights_payments
