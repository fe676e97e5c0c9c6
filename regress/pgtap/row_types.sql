-- A composite type that a topic's column has is altered while a view reads the topic: what comes afterwards is read as the type is now, inner types,
-- arrays and domains included, and not as it was when the worker began.
SELECT no_plan();
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('row_types', 1, 'retention.ms=-1') \g /dev/null
CREATE TYPE spot AS (x int, y int);
CREATE TYPE track AS (points spot[]);
CREATE DOMAIN way AS track;
CREATE FOREIGN TABLE moves (id int, at spot, path way) SERVER broker OPTIONS (topic 'row_types');
CREATE MATERIALIZED VIEW moved WITH (kafka.continuous) AS SELECT id, at, path FROM moves;
CREATE FUNCTION move(n int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.produce('row_types', format('SELECT ''k'', %L', jsonb_build_object('id', n, 'at', '{"x": 1, "y": 2, "z": 3}'::jsonb,
		'path', '{"points": [{"x": 1, "y": 2, "z": 3}], "name": "a"}'::jsonb)));
	RETURN kafka.wait_for_view('moved', '60s');
END $$;
SELECT ok(move(1), 'a record is read as the types are');
ALTER TYPE spot ADD ATTRIBUTE z int;
SELECT ok(move(2), 'another after one has a new attribute');
ALTER TYPE track ADD ATTRIBUTE name text;
SELECT ok(move(3), 'a third after the outer one has');
SELECT results_eq('SELECT id, at::text, path::text FROM moved ORDER BY id', $$VALUES
	(1, '(1,2,)', '("{""(1,2,)""}",)'), (2, '(1,2,3)', '("{""(1,2,3)""}",)'), (3, '(1,2,3)', '("{""(1,2,3)""}",a)')$$, 'each has the attributes of its time');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters), 0, 'none is a dead letter');

-- what a session publishes is written by the type of now, too
SELECT kafka_test.create_topic('row_types_out', 1, 'retention.ms=-1') \g /dev/null
CREATE TABLE places (gone int, id int, at spot);
ALTER TABLE places DROP COLUMN gone;
CREATE FOREIGN TABLE told (id int, at spot) SERVER broker OPTIONS (topic 'row_types_out');
CREATE TRIGGER tell AFTER INSERT ON places FOR EACH ROW EXECUTE FUNCTION kafka.publish('told');
INSERT INTO places VALUES (1, ROW(1, 2, 3));
ALTER TYPE spot ADD ATTRIBUTE w int;
SELECT lives_ok('INSERT INTO places VALUES (2, ROW(1, 2, 3, 4))', 'a row is published after its type was altered');
SELECT ok(kafka_test.poll($$count(*) = 2 FROM told$$), 'and goes out');
SELECT results_eq('SELECT id, at::text FROM told ORDER BY id', $$VALUES (1, '(1,2,3,)'), (2, '(1,2,3,4)')$$, 'each with the attributes of its time');
SELECT * FROM finish();
