-- Records that cannot be applied are dead letters, with the bytes as they came, and their neighbours are applied (DESIGN.md 2.6).
SELECT plan(24);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 1, 'max.message.bytes=8000000') FROM unnest('{bad_events,bad_table,bad_ratios,bad_parts}'::text[]) t \g /dev/null
-- by hex digits: bytes that are no text
CREATE FUNCTION produce_hex(topic text, key bytea, value bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT %L::text, %L::text) TO PROGRAM %L', encode(key, 'hex'), encode(value, 'hex'), 'kv_kafka produce --hex ' || topic);
END $$;

CREATE FOREIGN TABLE events (id int, amount numeric(6,2), small smallint, at timestamptz, deep jsonb) SERVER broker OPTIONS (topic 'bad_events');
CREATE MATERIALIZED VIEW applied WITH (kafka.continuous) AS SELECT id, amount, small, at FROM events;
SELECT kafka_test.produce('bad_events', $$VALUES
	('good', '{"id": 1, "amount": 1.5, "small": 1, "at": "2024-01-01T00:00:00Z"}'),
	('truncated', '{"id": 2, "amount": 1.5'),
	('good', '{"id": 3}'),
	('type', '{"id": "four"}'),
	('range', '{"id": 5, "small": 40000}'),
	('good', '{"id": 6, "amount": "9999.99", "extra": {"a": [1, 2]}}'),
	('precision', '{"id": 7, "amount": 10000}'),
	('huge', '{"id": 8000000000000000000000000000000}'),
	('time', '{"id": 9, "at": "yesterday-ish"}'),
	('none', 'no JSON at all'),
	('empty', ''),
	('array', '[1, 2]')$$) \g /dev/null
SELECT produce_hex('bad_events', 'utf8', '{"id": 10, "extra": "' || '\xc3'::bytea || '"}') \g /dev/null
SELECT produce_hex('bad_events', 'nested', convert_to('{"id": 11, "deep": ' || repeat('[', 1000000) || repeat(']', 1000000) || '}', 'UTF8')) \g /dev/null
SELECT kafka_test.produce('bad_events', $$VALUES ('good', '{"id": 12}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('applied', '60s'), 'bad records do not stop the view');
SELECT set_eq('SELECT id FROM applied', '{1,3,6,12}'::int[], 'their neighbours are applied');
SELECT set_eq('SELECT convert_from(key, ''UTF8'') FROM kafka_state.dead_letter',
	'{truncated,type,range,precision,huge,time,none,empty,array,utf8,nested}'::text[], 'all of them are dead letters, once');
SELECT is((SELECT count(*)::int FROM kafka_state.dead_letter), 11, 'and nothing else is');
SELECT is((SELECT value FROM kafka_state.dead_letter WHERE key = 'utf8'), '{"id": 10, "extra": "' || '\xc3'::bytea || '"}', 'invalid UTF-8 is kept byte by byte');
SELECT is((SELECT length(value) FROM kafka_state.dead_letter WHERE key = 'nested'), 2000020, 'so are 2 MB of nesting');
SELECT is((SELECT convert_from(value, 'UTF8') FROM kafka_state.dead_letter WHERE key = 'truncated'), '{"id": 2, "amount": 1.5', 'and a truncated value');
SELECT is((SELECT count(*)::int FROM kafka_state.dead_letter WHERE topic = 'bad_events' AND relation = 'events'::regclass AND view IS NULL
	AND partition = 0 AND record_time IS NOT NULL AND sqlstate ~ '^(22|54)' AND message <> ''), 11, 'each with topic, position, time, code and message');
SELECT is((SELECT array_agg(record_offset ORDER BY record_offset) FROM kafka_state.dead_letter), '{1,3,4,6,7,8,9,10,11,12,13}', 'at the right offsets');

-- keys of a table
CREATE FOREIGN TABLE articles (id int OPTIONS (key 'true'), name text) SERVER broker OPTIONS (topic 'bad_table', mode 'upsert');
SELECT kafka_test.produce('bad_table', $$VALUES ('1', '{"name": "one"}'), ('uno', '{"name": "wrong key"}'), (NULL, '{"name": "no key"}'), ('2', '{"name": "two"}')$$) \g /dev/null
CREATE MATERIALIZED VIEW named WITH (kafka.continuous) AS SELECT e.id, a.name FROM events e LEFT JOIN articles a ON a.id = e.id;
SELECT ok(kafka.wait_for_view('named', '60s'), 'wrong and missing keys in a table do not stop the view');
SELECT results_eq('SELECT id, name FROM named WHERE id IN (1, 3, 6, 12) ORDER BY id', $$VALUES (1, 'one'), (3, NULL), (6, NULL), (12, NULL)$$, 'the other rows of the table are there');
SELECT set_eq($$SELECT convert_from(value, 'UTF8')::jsonb->>'name' FROM kafka_state.dead_letter WHERE topic = 'bad_table'$$, '{wrong key,no key}'::text[],
	'records with a wrong key, or with none, are dead letters');

-- expressions of the view: the record is the view's dead letter, another view of the topic applies it
CREATE FOREIGN TABLE ratios (a int, b int) SERVER broker OPTIONS (topic 'bad_ratios');
BEGIN;
CREATE MATERIALIZED VIEW quotients WITH (kafka.continuous, kafka.pipeline = 'ratios') AS SELECT a, b, a / b AS quotient FROM ratios;
CREATE MATERIALIZED VIEW sums WITH (kafka.continuous, kafka.pipeline = 'ratios') AS SELECT count(*) AS n, sum(a + b) AS total FROM ratios;
CREATE MATERIALIZED VIEW quotient_sums WITH (kafka.continuous) AS SELECT a % 2 AS odd, sum(a / b) AS total FROM ratios GROUP BY a % 2;
COMMIT;
SELECT kafka_test.produce('bad_ratios', $$SELECT i, jsonb_build_object('a', i, 'b', CASE WHEN i IN (7, 8, 50) THEN 0 ELSE 1 END) FROM generate_series(1, 60) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('quotients', '60s') AND kafka.wait_for_view('sums', '60s') AND kafka.wait_for_view('quotient_sums', '60s'),
	'divisions by zero do not stop a view');
SELECT set_eq('SELECT a FROM quotients', 'SELECT i FROM generate_series(1, 60) i WHERE i NOT IN (7, 8, 50)', 'all others are applied');
SELECT results_eq('SELECT n, total FROM sums', 'SELECT 60::bigint, (sum(i) + 57)::bigint FROM generate_series(1, 60) i', 'a view that can apply them does');
SELECT results_eq('SELECT odd, total FROM quotient_sums ORDER BY odd',
	'SELECT i % 2, sum(i)::bigint FROM generate_series(1, 60) i WHERE i NOT IN (7, 8, 50) GROUP BY 1 ORDER BY 1', 'an aggregate counts the others');
SELECT results_eq($$SELECT view::text, convert_from(value, 'UTF8')::jsonb->>'a', sqlstate FROM kafka_state.dead_letter WHERE topic = 'bad_ratios' ORDER BY 1, 2$$,
	$$SELECT v, a, '22012' FROM unnest('{quotient_sums,quotients}'::text[]) v, unnest('{7,8,50}'::text[]) a ORDER BY 1, 2$$, 'dead letters of the views that failed');

-- a view whose rows of one record need a temporary file, the first of its readers fails, the others go on with them
CREATE FOREIGN TABLE parts (id int, parts int[], at timestamptz) SERVER broker OPTIONS (topic 'bad_parts', event_time 'at');
BEGIN;
CREATE VIEW wide WITH (kafka.continuous, kafka.pipeline = 'parts') AS SELECT p.id, part, repeat('x', 1000000) AS text, p.at FROM parts p, unnest(p.parts) AS part;
CREATE MATERIALIZED VIEW inverse WITH (kafka.continuous) AS SELECT id, 1 / part AS inverse, at FROM wide;
CREATE MATERIALIZED VIEW lengths WITH (kafka.continuous) AS SELECT count(*) AS n, sum(length(text)) AS length FROM wide;
CREATE MATERIALIZED VIEW least WITH (kafka.continuous) AS SELECT min(part) AS part FROM wide WHERE text > 'w';
COMMIT;
SELECT kafka_test.produce('bad_parts', $$SELECT 'k', jsonb_build_object('id', 1, 'parts', jsonb_agg(i), 'at', timestamptz '2026-01-01Z') FROM generate_series(40, 0, -1) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('least', '60s'), 'rows that need a temporary file do not stop the pipeline');
SELECT is((SELECT count(*)::int FROM inverse), 0, 'the reader that fails goes without them');
SELECT is((SELECT format('%s %s', n, length) FROM lengths), '41 41000000', 'the next one has them');
SELECT is((SELECT part FROM least), 0, 'and the one after it');
SELECT is(kafka.retry_dead_letters('inverse'), 1::bigint, 'such rows are not kept with the dead letter');
SELECT ok(kafka.wait_for_view('least', '60s'), 'so trying it again');
SELECT results_eq($$SELECT message, attempts FROM kafka.dead_letters WHERE view = 'inverse'::regclass$$,
	$$VALUES ('the rows that the view could not bear are too large to be kept with a dead letter', 2)$$, 'is refused, with the reason');
SELECT * FROM finish();
