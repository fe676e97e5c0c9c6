-- Code of users that a worker, which is superuser, runs outside of statements: what a type or a domain brings along for reading a record,
-- and what is folded when definitions are loaded. All of it runs as the owner of the pipeline, restricted as maintenance is.
SELECT plan(9);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t) FROM unnest('{role_of_types_events,role_of_types_other,role_of_types_sink}'::text[]) t \g /dev/null
CREATE ROLE role_of_types_owner;
GRANT USAGE ON FOREIGN SERVER broker TO role_of_types_owner;
CREATE SCHEMA AUTHORIZATION role_of_types_owner;
SET ROLE role_of_types_owner;
SET search_path = role_of_types_owner, public;
CREATE TABLE seen (place text, role name, path text, outcome text);

-- what a thief would do; the outcome says what came of it
CREATE FUNCTION try_to_rise(place text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	outcome text := 'refused';
BEGIN
	BEGIN
		ALTER ROLE role_of_types_owner SUPERUSER;
		outcome := 'superuser';
	EXCEPTION WHEN insufficient_privilege THEN
	END;
	BEGIN
		SET ROLE NONE;
		outcome := 'another role';
	EXCEPTION WHEN insufficient_privilege THEN
	END;
	PERFORM set_config('work_mem', '7MB', false);
	INSERT INTO role_of_types_owner.seen SELECT place, current_user, current_setting('search_path'), outcome WHERE pg_backend_pid() <> (SELECT pid FROM role_of_types_owner.me);
	RETURN true;
END $$;
CREATE TABLE me AS SELECT pg_backend_pid() AS pid;

CREATE DOMAIN plain AS text CHECK (role_of_types_owner.try_to_rise('column'));
CREATE DOMAIN inner_one AS int CHECK (role_of_types_owner.try_to_rise('composite'));
CREATE TYPE pair AS (a int, b inner_one);
CREATE DOMAIN element AS int CHECK (role_of_types_owner.try_to_rise('array'));
CREATE DOMAIN key AS int CHECK (role_of_types_owner.try_to_rise('key'));
CREATE DOMAIN bound AS int CHECK (role_of_types_owner.try_to_rise('range'));
CREATE TYPE bounds AS RANGE (subtype = bound);
CREATE FOREIGN TABLE events (id int, name plain, two pair, many element[], stretch bounds) SERVER broker OPTIONS (topic 'role_of_types_events');
CREATE FOREIGN TABLE other (k key OPTIONS (key 'true'), v int) SERVER broker OPTIONS (topic 'role_of_types_other', mode 'upsert');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id, name, two, many, stretch FROM events;
CREATE MATERIALIZED VIEW w WITH (kafka.continuous) AS SELECT k, v FROM other;
SELECT kafka_test.produce('role_of_types_events', $$VALUES ('k', '{"id": 1, "name": "a", "two": {"a": 1, "b": 2}, "many": [1, 2], "stretch": {"start": 1, "end": 5}}')$$) \g /dev/null
SELECT kafka_test.produce('role_of_types_other', $$VALUES ('1', '{"v": 1}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v', '60s') AND kafka.wait_for_view('w', '60s'), 'the records are read');
SELECT is((SELECT v::text FROM v), '(1,a,"(1,2)","{1,2}","[1,5)")', 'as rows');
SELECT set_eq('SELECT DISTINCT place FROM seen', '{column,composite,array,range,key}'::text[], 'every check has been asked by a worker');
SELECT set_eq('SELECT DISTINCT role, path, outcome FROM seen', $$VALUES ('role_of_types_owner'::name, 'pg_catalog, pg_temp', 'refused')$$,
	'as the owner, restricted, with a safe search_path');
RESET ROLE;
SELECT ok(NOT rolsuper, 'the owner has not become superuser') FROM pg_roles WHERE rolname = 'role_of_types_owner';

-- what the type of a sink's column brings along is folded when the definitions are loaded
SET ROLE role_of_types_owner;
TRUNCATE seen;
CREATE FUNCTION folded() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM role_of_types_owner.try_to_rise('fold');
	RETURN 1;
END $$;
CREATE DOMAIN checked AS int CHECK (value > role_of_types_owner.folded());
CREATE FOREIGN TABLE sink (id int, t checked) SERVER broker OPTIONS (topic 'role_of_types_sink');
BEGIN;
CREATE VIEW u WITH (kafka.continuous) AS SELECT id, id + 4 AS t FROM events;
SELECT kafka.attach_sink('u', 'sink') \g /dev/null
COMMIT;
SELECT ok(kafka.wait_for_view('u', '60s'), 'an unstored view writes to a sink with a domain');
SELECT is((SELECT array_agg(value::jsonb) FROM kafka_test.await('role_of_types_sink', 1)), '{"{\"t\": 5, \"id\": 1}"}'::jsonb[], 'with its rows');
SELECT set_eq('SELECT DISTINCT role, outcome FROM seen WHERE place = ''fold''', $$VALUES ('role_of_types_owner'::name, 'refused')$$, 'folded as the owner');
RESET ROLE;
SELECT ok(NOT rolsuper, 'who still is not superuser') FROM pg_roles WHERE rolname = 'role_of_types_owner';

DROP OWNED BY role_of_types_owner CASCADE;
DROP ROLE role_of_types_owner;
SELECT * FROM finish();
