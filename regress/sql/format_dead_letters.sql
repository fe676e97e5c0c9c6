-- Bad records in a worker: types that only their input function knows, decoded outside and inside a transaction; each bad record a dead letter, its neighbours applied.
\getenv broker KAFKA_BROKER
CREATE SCHEMA format_dead_letters;
SET search_path = format_dead_letters, public;
SET timezone = 'UTC';
CREATE SERVER format_dead_letters FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers :'broker');
\! kv_kafka create format_dead_letters 1
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE FOREIGN TABLE events (n int, m mood, p positive, every interval, tags text[], at timestamptz) SERVER format_dead_letters OPTIONS (topic 'format_dead_letters');
CREATE MATERIALIZED VIEW moods WITH (kafka.continuous) AS SELECT n, m, p, every, tags, at FROM events WHERE n > 0;
SELECT kafka_test.produce_at('format_dead_letters', $$
	SELECT 0, 1767225600000 + n, 'k' || n, CASE n % 10
		WHEN 3 THEN '{"n":' || n || ',"m":"angry"}' WHEN 5 THEN '{"n":' || n || ',"p":0}' WHEN 7 THEN '{"n":' || n || ',"tags":[1,[2]]}'
		WHEN 9 THEN '{"n":' || n || ',"every":"x"}' WHEN 0 THEN '{"n":' || n
		ELSE '{"n":' || n || ',"m":"sad","p":' || n || ',"every":"P1D","tags":["a",' || n || '],"at":"2026-01-01T00:00:00"}' END
	FROM generate_series(1, 1000) n$$);
SELECT kafka.wait_for_view('moods', '60 s');
SELECT count(*), count(DISTINCT n), min(m) AS m, sum(p), min(every) AS every, min(tags) AS tags, min(at) AS at, max(at) AS at FROM moods;
SELECT count(*), sqlstate, regexp_replace(message, '"\d+"', '"n"') AS message, min("offset") AS first, max("offset") AS last
	FROM kafka.dead_letters WHERE relation = 'events'::regclass GROUP BY 2, 3 ORDER BY 3, 2;
SELECT count(*) FROM (SELECT n, m, p, every, tags, at FROM events WHERE n > 0 EXCEPT ALL SELECT n, m, p, every, tags, at FROM moods) d;
DROP MATERIALIZED VIEW moods;
DROP SCHEMA format_dead_letters CASCADE;
DROP SERVER format_dead_letters CASCADE;
