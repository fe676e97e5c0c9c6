-- An event time at the beginning of all times is a bad record, for from the times of records others are computed, by subtracting how long rows are kept. As
-- the first of its topic it would be the time that views have reached.
SELECT plan(8);
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 1, 'retention.ms=-1') FROM unnest('{edge_one,edge_other}'::text[]) t \g /dev/null
CREATE FOREIGN TABLE one (id int, at timestamptz) SERVER broker OPTIONS (topic 'edge_one', event_time 'at');
CREATE FOREIGN TABLE other (id int, at timestamptz) SERVER broker OPTIONS (topic 'edge_other', event_time 'at');
BEGIN;
CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.pipeline = 'edge') AS
	SELECT o.id, p.at FROM one o LEFT JOIN other p ON p.id = o.id AND p.at BETWEEN o.at - interval '1000 years' AND o.at + interval '1000 years';
CREATE MATERIALIZED VIEW final WITH (kafka.continuous, kafka.emit = 'final', kafka.pipeline = 'edge') AS SELECT kafka.tumble(at, '1 hour') AS during, count(*) AS n FROM one GROUP BY during;
CREATE MATERIALIZED VIEW kept WITH (kafka.continuous, kafka.retention = '366000 days', kafka.pipeline = 'edge') AS SELECT id, at FROM one;
CREATE MATERIALIZED VIEW visits WITH (kafka.continuous, kafka.grace = '366000 days', kafka.pipeline = 'edge') AS SELECT kafka.session(at, '1 hour') AS during, count(*) AS n FROM one GROUP BY during;
COMMIT;
CREATE FUNCTION caught_up() RETURNS boolean LANGUAGE sql AS $$ SELECT bool_and(kafka.wait_for_view(view, '60s')) FROM kafka.views $$;
SELECT kafka_test.produce(t, $$VALUES ('k', '{"id": 1, "at": "4714-11-24 00:00:00+00 BC"}'), ('k', '{"id": 2, "at": "4000-01-01 00:00:00+00 BC"}')$$)
	FROM unnest('{edge_one,edge_other}'::text[]) t \g /dev/null
SELECT ok(caught_up(), 'nobody stands still');
SELECT results_eq('SELECT topic, record_offset, sqlstate FROM kafka_state.dead_letter ORDER BY topic, record_offset',
	$$VALUES ('edge_one', 0::bigint, '22004'), ('edge_one', 1, '22004'), ('edge_other', 0, '22004'), ('edge_other', 1, '22004')$$, 'they are bad records');
-- as early as may be, and all that rows are kept for
SELECT kafka_test.produce(t, $$VALUES ('k', '{"id": 3, "at": "1000-01-01 00:00:00+00 BC"}')$$) FROM unnest('{edge_one,edge_other}'::text[]) t \g /dev/null
SELECT ok(caught_up(), 'the first times that are good');
SELECT set_eq('SELECT id FROM kept', '{3}'::int[], 'are applied');
SELECT kafka_test.produce(t, $$VALUES ('k', '{"id": 4, "at": "2024-01-01 00:00:00+00"}')$$) FROM unnest('{edge_one,edge_other}'::text[]) t \g /dev/null
SELECT ok(caught_up(), 'and those of now');
SELECT set_eq('SELECT id FROM pairs', '{3,4}'::int[], 'pairs are found');
SELECT is((SELECT sum(n) FROM final), 1::numeric, 'what is closed is closed');
SELECT throws_ok('CREATE MATERIALIZED VIEW v WITH (kafka.continuous, kafka.retention = ''366001 days'') AS SELECT id, at FROM one',
	'option "kafka.retention" cannot be "366001 days"', 'none is kept longer');
SELECT * FROM finish();
