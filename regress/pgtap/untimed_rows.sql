-- A row of a view without an event time has no place in the time of views over it. Where no record is there to blame, because it is among their first
-- rows or time made it, it is set aside for each of them, and the others are applied: the pipeline does not stand still.
SELECT plan(9);
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 1, 'retention.ms=-1') FROM unnest('{untimed_calls,untimed_answers}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE calls (id int, ended timestamptz, at timestamptz) SERVER broker OPTIONS (topic 'untimed_calls', event_time 'at');
CREATE FOREIGN TABLE answers (id int, at timestamptz) SERVER broker OPTIONS (topic 'untimed_answers', event_time 'at');

-- a call a minute; every third one has not ended
CREATE FUNCTION call(first int, last int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce('untimed_calls', format('SELECT i, jsonb_build_object(''id'', i, ''at'', to_timestamp(i * 60), ''ended'', CASE WHEN i %% 3 > 0 THEN to_timestamp(i * 60 + 30) END)'
		' FROM generate_series(%s, %s) i', first, last))
$$;
CREATE FUNCTION caught_up() RETURNS boolean LANGUAGE sql AS $$ SELECT bool_and(kafka.wait_for_view(view, '60s')) FROM kafka.views $$;
CREATE VIEW aside AS SELECT view::text, relation::text AS source, (convert_from(value, 'UTF8')::jsonb->>'id')::int AS id, sqlstate, record_offset FROM kafka_state.dead_letter;

BEGIN;
CREATE MATERIALIZED VIEW seen WITH (kafka.continuous, kafka.event_time = 'ended') AS SELECT id, ended FROM calls;
CREATE MATERIALIZED VIEW unanswered WITH (kafka.continuous, kafka.pipeline = 'seen', kafka.grace = '0s', kafka.event_time = 'ended') AS
	SELECT c.id, c.ended, a.at FROM calls c LEFT JOIN answers a ON a.id = c.id AND a.at BETWEEN c.at AND c.at + interval '1 minute';
COMMIT;
SELECT call(1, 9) \g /dev/null
SELECT ok(caught_up(), 'a view whose time may be null');
CREATE MATERIALIZED VIEW long WITH (kafka.continuous) AS SELECT id, ended FROM seen WHERE id > 1;
CREATE MATERIALIZED VIEW counted WITH (kafka.continuous) AS SELECT count(*) AS n FROM seen;
CREATE MATERIALIZED VIEW lost WITH (kafka.continuous) AS SELECT id, ended FROM unanswered;
SELECT ok(caught_up(), 'the first rows of views over it do not stop the pipeline');
SELECT set_eq('SELECT id FROM long', '{2,4,5,7,8}'::int[], 'they are all that have a time');
SELECT is((SELECT n FROM counted), 6::bigint, 'in each of the views');
SELECT set_eq('TABLE aside', $$SELECT v, 'seen' AS source, i, '22004' AS state, NULL::bigint AS at FROM unnest('{3,6,9}'::int[]) i, unnest('{long,counted}'::text[]) v$$, 'the others are set aside for each');

-- time makes rows
DELETE FROM kafka_state.dead_letter;
SELECT kafka_test.produce('untimed_answers', $$SELECT 0, jsonb_build_object('id', 0, 'at', to_timestamp(3600))$$), call(60, 60) \g /dev/null
SELECT ok(caught_up(), 'time makes some without');
SELECT set_eq('SELECT id FROM lost', '{1,2,4,5,7,8}'::int[], 'the view over it has those with a time');
SELECT set_eq($$SELECT id, record_offset FROM aside WHERE source = 'unanswered'$$, 'VALUES (3, NULL::bigint), (6, NULL), (9, NULL)', 'the others are set aside');
SELECT set_eq($$SELECT view, record_offset FROM aside WHERE source <> 'unanswered'$$, $$VALUES ('long', 9::bigint), ('counted', 9)$$, 'of a record that comes now, it is the record');
SELECT * FROM finish();
