-- The timelines with which Kafka Streams' documentation (developer guide, DSL API: aggregating) explains aggregates of a stream and of
-- a table, record by record: a count of words, and the lengths of the names of the users in each region.
--
-- Differences by design: a group whose last row leaves is deleted (E at second 4 is a tombstone, not 0), and a record without a key
-- is a dead letter of an upsert topic. What one record changes in several groups has no order, and is sorted here.
SELECT plan(14);
SELECT kafka_test.create_server('broker'), kafka_test.create_topic('ag_words', 1, 'retention.ms=-1'), kafka_test.create_topic('ag_users', 1, 'retention.ms=-1'),
	kafka_test.create_topic('ag_to_counts', 1, 'retention.ms=-1'), kafka_test.create_topic('ag_to_regions', 1, 'retention.ms=-1') \g /dev/null
CREATE FOREIGN TABLE words (word text OPTIONS (key 'true'), n int OPTIONS (path '$')) SERVER broker OPTIONS (topic 'ag_words');
CREATE FOREIGN TABLE users (name text OPTIONS (key 'true'), region text) SERVER broker OPTIONS (topic 'ag_users', format 'text', mode 'upsert');
CREATE MATERIALIZED VIEW counts WITH (kafka.continuous) AS SELECT word, sum(n) AS n FROM words GROUP BY word;
CREATE MATERIALIZED VIEW regions WITH (kafka.continuous) AS SELECT region, sum(length(name)) AS n FROM users GROUP BY region;
SELECT kafka.create_sink('counts', 'ag_to_counts', '{word}'), kafka.create_sink('regions', 'ag_to_regions', '{region}') \g /dev/null

CREATE TABLE timeline (at int, topic text, key text, value text, appears text);
INSERT INTO timeline VALUES
	(1, 'ag_words', 'hello',   '1',  'hello-1'),
	(2, 'ag_words', 'kafka',   '1',  'kafka-1'),
	(3, 'ag_words', 'streams', '1',  'streams-1'),
	(4, 'ag_words', 'kafka',   '1',  'kafka-2'),
	(5, 'ag_words', 'kafka',   '1',  'kafka-3'),
	(6, 'ag_words', 'streams', '1',  'streams-2'),
	(1, 'ag_users', 'alice',   'E',  'E-5'),
	(2, 'ag_users', 'bob',     'A',  'A-3'),
	(3, 'ag_users', 'charlie', 'A',  'A-10'),
	(4, 'ag_users', 'alice',   'A',  'A-15 E:null'),
	(5, 'ag_users', 'charlie', NULL, 'A-8'),
	(6, 'ag_users', NULL,      'E',  ''),
	(7, 'ag_users', 'bob',     'E',  'A-5 E-3');

CREATE FUNCTION play(t timeline) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	messages text;
BEGIN
	PERFORM kafka_test.step(t.topic, t.at, t.key, t.value);
	messages := concat_ws(' ', kafka_test.appeared('ag_to_counts', $e$(v->>'word') || '-' || (v->>'n')$e$),
		kafka_test.appeared('ag_to_regions', $e$(v->>'region') || '-' || (v->>'n')$e$));
	RETURN is((SELECT string_agg(m, ' ' ORDER BY m) FROM string_to_table(messages, ' ') m WHERE m <> ''), nullif(t.appears, ''),
		format('%s at %s: %s %s', t.topic, t.at, t.key, t.value));
END $$;
SELECT play(t) FROM timeline t ORDER BY topic DESC, at;
SELECT is((SELECT count(*) FROM kafka.dead_letters), 1::bigint, 'the record without a key is a dead letter');
SELECT * FROM finish();
