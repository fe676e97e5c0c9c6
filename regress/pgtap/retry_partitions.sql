-- A dead letter of a table whose key has gone to another partition since: the newer record there is not overwritten.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rp_t', 2, 'cleanup.policy=compact') \g /dev/null
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE FOREIGN TABLE t (id int OPTIONS (key 'true'), n small) SERVER broker OPTIONS (topic 'rp_t', mode 'upsert');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT id, n::int AS n FROM t;
SELECT kafka_test.produce_at('rp_t', $$VALUES (0, NULL, '2', '{"n": 1}'), (0, NULL, '1', '{"n": 100}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v', '60s'), 'x');
-- as after the topic got a second partition, to which the key belongs now
SELECT kafka_test.produce_at('rp_t', $$VALUES (1, NULL, '1', '{"n": 7}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v', '60s'), 'x');
SELECT results_eq('SELECT id, n FROM v ORDER BY id', 'VALUES (1, 7), (2, 1)', 'the newer record');
ALTER DOMAIN small DROP CONSTRAINT small_check;
SELECT kafka.retry_dead_letters('t');
SELECT ok(kafka.wait_for_view('v', '60s'), 'x');
SELECT results_eq('SELECT id, n FROM v ORDER BY id', 'VALUES (1, 7), (2, 1)', 'the newer record is not overwritten');
SELECT message FROM kafka.dead_letters;
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', v), v || ' equals its query') FROM unnest('{v}'::text[]) v;
SELECT * FROM finish();
