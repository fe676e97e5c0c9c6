-- What a view's query calls by a name keeps its meaning when the name is changed while it runs: labels of enums, attributes of row types, configurations of
-- text search, relations in constants. Its statements are read again now and then; a label that is none any more is no fault of records.
SELECT plan(8);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('renamed_events', 1) \g /dev/null
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a int, b int);
CREATE TABLE here ();
CREATE TABLE there ();
CREATE TEXT SEARCH CONFIGURATION terse (COPY = simple);
CREATE TEXT SEARCH CONFIGURATION stems (COPY = english);
CREATE FOREIGN TABLE events (id int) SERVER broker OPTIONS (topic 'renamed_events');
CREATE MATERIALIZED VIEW moods WITH (kafka.continuous) AS SELECT id, CASE WHEN id > 0 THEN 'good'::mood ELSE 'bad' END AS mood FROM events;
CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous) AS SELECT id, ((id, -id)::pair).a AS first FROM events;
CREATE MATERIALIZED VIEW places WITH (kafka.continuous) AS SELECT id, ('here'::regclass)::oid::bigint AS place FROM events;
CREATE MATERIALIZED VIEW words WITH (kafka.continuous) AS SELECT id, to_tsvector('terse', 'houses') AS word FROM events;

-- each time as many as there were, so that statements are read again, one by one
CREATE PROCEDURE feed(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first .. last LOOP
		PERFORM kafka_test.produce('renamed_events', format('SELECT 1, jsonb_build_object(''id'', %s)', i));
		COMMIT;
		PERFORM kafka.wait_for_view(v) FROM unnest('{moods,pairs,places,words}'::regclass[]) v;
		COMMIT;
	END LOOP;
END $$;
CALL feed(1, 2);
SELECT is((SELECT count(*) FROM moods), 2::bigint, 'a view with a label');
ALTER TYPE mood RENAME VALUE 'good' TO 'better';
BEGIN;
ALTER TYPE pair RENAME ATTRIBUTE a TO c;
ALTER TYPE pair RENAME ATTRIBUTE b TO a;
ALTER TYPE pair RENAME ATTRIBUTE c TO b;
ALTER TABLE here RENAME TO elsewhere;
ALTER TABLE there RENAME TO here;
ALTER TABLE elsewhere RENAME TO there;
ALTER TEXT SEARCH CONFIGURATION terse RENAME TO other;
ALTER TEXT SEARCH CONFIGURATION stems RENAME TO terse;
ALTER TEXT SEARCH CONFIGURATION other RENAME TO stems;
COMMIT;
CALL feed(3, 8);
SELECT is((SELECT count(*) FROM moods WHERE mood = 'better'), 8::bigint, 'a label is the one that it was');
SELECT is((SELECT count(*) FROM pairs WHERE first = id), 8::bigint, 'so is an attribute');
SELECT is((SELECT count(*) FROM places WHERE place = 'there'::regclass), 8::bigint, 'and a relation');
SELECT is((SELECT count(*) FROM words WHERE word = '''houses'':1'), 8::bigint, 'and a configuration of text search');
SELECT is_empty('SELECT * FROM kafka_state.dead_letter', 'no record is to blame');
-- a label more is none of theirs
ALTER TYPE mood ADD VALUE 'none';
CALL feed(9, 10);
SELECT is((SELECT count(*) FROM moods), 10::bigint, 'a new label changes nothing');
SELECT is_empty('SELECT pipeline, error FROM kafka.pipelines WHERE error IS NOT NULL', 'and nobody has trouble');
SELECT * FROM finish();
