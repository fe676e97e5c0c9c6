-- Records are decoded with the rights of the owner of the views: a domain's CHECK may call a function of the one who made it, which must not run
-- as the superuser that the worker is, neither when a record comes nor when it is tried again.
SELECT no_plan();
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('decode_role', 1) \g /dev/null
SELECT kafka_test.create_topic('decode_role_table', 1, 'cleanup.policy=compact') \g /dev/null
CREATE ROLE decode_role;
GRANT USAGE ON FOREIGN SERVER broker TO decode_role;
CREATE SCHEMA decode_role AUTHORIZATION decode_role;
SET ROLE decode_role;
SET search_path = decode_role;
CREATE FUNCTION is_mine(v int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF v > 10 THEN RETURN false; END IF;
	RETURN current_user = 'decode_role';
END $$;
CREATE DOMAIN checked AS int CHECK (decode_role.is_mine(VALUE));
CREATE FOREIGN TABLE events (id checked) SERVER broker OPTIONS (topic 'decode_role');
CREATE FOREIGN TABLE names (id checked OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'decode_role_table', mode 'upsert');
CREATE MATERIALIZED VIEW seen WITH (kafka.continuous) AS SELECT id::int AS id FROM events;
CREATE MATERIALIZED VIEW named WITH (kafka.continuous) AS SELECT id::int AS id, 1 / length(name) AS x FROM names;
RESET ROLE;
SET search_path = public, decode_role;
SELECT kafka_test.produce('decode_role', $$VALUES ('k', '{"id": 1}'), ('k', '{"id": 20}'), ('k', '{"id": 2}')$$) \g /dev/null
SELECT kafka_test.produce('decode_role_table', $$VALUES ('1', '{"name": "one"}'), ('2', '{"name": ""}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('seen', '60s') AND kafka.wait_for_view('named', '60s'), 'records whose columns have a CHECK');
SELECT set_eq('SELECT id FROM seen', ARRAY[1, 2], 'are checked as the owner');
SELECT set_eq('SELECT id FROM named', ARRAY[1], 'those of a table, too');
CREATE OR REPLACE FUNCTION decode_role.is_mine(v int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN current_user = 'decode_role'; END $$;
SELECT is(kafka.retry_dead_letters('events') + kafka.retry_dead_letters('named'), 2::bigint, 'and tried again');
SELECT ok(kafka.wait_for_view('seen', '60s') AND kafka.wait_for_view('named', '60s'), 'as');
SELECT set_eq('SELECT id FROM seen', ARRAY[1, 2, 20], 'the owner');
SELECT results_eq('SELECT message, attempts FROM kafka.dead_letters', $$VALUES ('division by zero', 2)$$, 'where keys are looked for, too');
DROP OWNED BY decode_role CASCADE;
DROP ROLE decode_role;
SELECT * FROM finish();
