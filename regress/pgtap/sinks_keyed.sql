-- Sinks of keyed views (DESIGN.md 1.4, 2.5): whatever the key and its format, the topic folded to the last value per key is the
-- view; a group that leaves is a tombstone, and one whose row stays as it is is not published again.
-- The topics are read by kv_kafka, which shares no code with the extension.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('sinks_keyed_' || t, 2, 'retention.ms=-1') FROM unnest('{in,warm,ends,bin,range,range_json,hop,session,session_text,session_json,image,
	int2,int4,int8,text,uuid,bytea,time,number,json,json_time,wide,wide_row,row,total,late,no_null,Made,made_pair}'::text[]) t \g /dev/null

-- a whole topic, keys as bytes
CREATE FUNCTION messages(topic text) RETURNS TABLE ("offset" bigint, ms bigint, key bytea, value jsonb) LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE records (partition int, "offset" bigint, ms bigint, key text, value text);
	EXECUTE format('COPY records FROM PROGRAM %L', 'kv_kafka consume sinks_keyed_' || topic || ' --hex --format ''%p\t%o\t%t\t%k\t%v''');
	RETURN QUERY SELECT r."offset", r.ms, decode(r.key, 'hex'), convert_from(decode(r.value, 'hex'), 'UTF8')::jsonb FROM records r ORDER BY r.partition, r."offset";
	DROP TABLE records;
END $$;
-- the last value of each key that is not a tombstone
CREATE FUNCTION folded(topic text) RETURNS TABLE (key bytea, value jsonb, ms bigint) LANGUAGE sql AS $$
	SELECT l.key, l.value, l.ms FROM (SELECT DISTINCT ON (m.key) m.key, m.value, m.ms FROM messages(topic) m ORDER BY m.key, m."offset" DESC) l WHERE l.value IS NOT NULL
$$;
-- the sinks, with the key that a row of the view must have there as an expression, and the columns that are compared by their text
CREATE TABLE sinks (topic text, view text, key text, columns text[]);
CREATE FUNCTION sinks_differ() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT s.topic || ': ' || d FROM sinks s, LATERAL kafka_test.differences(
		format('SELECT key, (SELECT array_agg(value->>c) FROM unnest(%L::text[]) c) FROM folded(%L)', s.columns, s.topic),
		format('SELECT %s, (SELECT array_agg(to_jsonb(v)->>c) FROM unnest(%L::text[]) c) FROM %I v', s.key, s.columns, s.view)) d
$$;
-- produces readings (sensor room heat second, a hyphen for null) and waits until they are applied: one batch
CREATE FUNCTION read(VARIADIC readings text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.produce('sinks_keyed_in', format($q$SELECT 'k', jsonb_build_object('sensor', r[1], 'room', r[2], 'heat', r[3],
		'at', timestamptz '2024-01-01 00:00Z' + r[4]::int * interval '1 s') FROM (SELECT string_to_array(x, ' ', '-') r FROM unnest(%L::text[]) x) s$q$, readings));
	RETURN kafka.wait_for_view('warm', '60s');
END $$;
CREATE FUNCTION iso(timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') $$;
CREATE FUNCTION iso(tstzrange) RETURNS text LANGUAGE sql AS $$ SELECT format('{"start":"%s","end":"%s"%s}', iso(lower($1)), iso(upper($1)), CASE WHEN upper_inc($1) THEN ',"bounds":"[]"' END) $$;
CREATE FUNCTION bytes(text) RETURNS bytea LANGUAGE sql AS $$ SELECT convert_to($1, 'UTF8') $$;

CREATE FOREIGN TABLE readings (sensor int, room text, heat numeric, at timestamptz) SERVER broker OPTIONS (topic 'sinks_keyed_in', event_time 'at');

BEGIN;
CREATE MATERIALIZED VIEW warm WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT sensor, count(*) AS n, sum(heat) AS heat FROM readings WHERE sensor IS NOT NULL GROUP BY sensor HAVING sum(heat) BETWEEN 10 AND 20;
CREATE FOREIGN TABLE warm_sink (sensor int OPTIONS (key 'true'), n bigint, heat numeric) SERVER broker OPTIONS (topic 'sinks_keyed_warm', mode 'upsert');
SELECT kafka.attach_sink('warm', 'warm_sink') \g /dev/null
INSERT INTO sinks VALUES ('warm', 'warm', 'bytes(sensor::text)', '{sensor,n,heat}');

-- a window as key: its ends as columns, date_bin, the range itself in key formats text and json, alone and beside another column
CREATE MATERIALIZED VIEW by_ends WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT lower(kafka.tumble(at, '10 s')) AS from_time, upper(kafka.tumble(at, '10 s')) AS to_time, room, count(*) AS n FROM readings GROUP BY 1, 2, 3;
CREATE FOREIGN TABLE ends_sink (from_time timestamptz OPTIONS (key 'true'), to_time timestamptz OPTIONS (key 'true'), room text OPTIONS (key 'true'), n bigint)
	SERVER broker OPTIONS (topic 'sinks_keyed_ends', mode 'upsert');
SELECT kafka.attach_sink('by_ends', 'ends_sink') \g /dev/null
INSERT INTO sinks VALUES ('ends', 'by_ends',
	$$bytes(format('{"from_time":"%s","to_time":"%s","room":%s}', iso(from_time), iso(to_time), coalesce(to_json(room)::text, 'null')))$$, '{room,n}');
CREATE MATERIALIZED VIEW by_bin WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT date_bin('10 s', at, '2024-01-01Z') AS bin, count(*) AS n FROM readings GROUP BY 1;
CREATE FOREIGN TABLE bin_sink (bin timestamptz OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'sinks_keyed_bin', mode 'upsert');
SELECT kafka.attach_sink('by_bin', 'bin_sink') \g /dev/null
INSERT INTO sinks VALUES ('bin', 'by_bin', 'bytes(iso(bin))', '{n}');
CREATE MATERIALIZED VIEW by_range WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT kafka.tumble(at, '10 s') AS during, count(*) AS n, max(heat) AS heat FROM readings GROUP BY 1 HAVING count(*) < 6;
CREATE FOREIGN TABLE range_sink (during tstzrange OPTIONS (key 'true'), n bigint, heat numeric) SERVER broker OPTIONS (topic 'sinks_keyed_range', mode 'upsert');
CREATE FOREIGN TABLE range_json_sink (during tstzrange OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'sinks_keyed_range_json', mode 'upsert', key_format 'json');
SELECT kafka.attach_sink('by_range', 'range_sink'), kafka.attach_sink('by_range', 'range_json_sink') \g /dev/null
INSERT INTO sinks VALUES ('range', 'by_range', 'bytes(during::text)', '{n,heat}'), ('range_json', 'by_range', 'bytes(iso(during))', '{n}');
CREATE MATERIALIZED VIEW by_hop WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT during, sensor, count(*) AS n FROM readings, LATERAL kafka.hop(at, '10 s', '4 s') AS during GROUP BY during, sensor;
CREATE FOREIGN TABLE hop_sink (sensor int OPTIONS (key 'true'), during tstzrange OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'sinks_keyed_hop', mode 'upsert');
SELECT kafka.attach_sink('by_hop', 'hop_sink') \g /dev/null
INSERT INTO sinks VALUES ('hop', 'by_hop', $$bytes(format('{"sensor":%s,"during":%s}', coalesce(sensor::text, 'null'), iso(during)))$$, '{sensor,n}');
-- a session, which is deleted when it becomes another one; its value from states, and from its rows
CREATE MATERIALIZED VIEW by_session WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT sensor, kafka.session(at, '5 s') AS during, max(heat) AS heat, min(heat) > 0 AS warm FROM readings GROUP BY sensor, during;
CREATE FOREIGN TABLE session_sink (sensor int OPTIONS (key 'true'), during tstzrange OPTIONS (key 'true'), heat numeric, warm boolean) SERVER broker OPTIONS (topic 'sinks_keyed_session', mode 'upsert');
SELECT kafka.attach_sink('by_session', 'session_sink') \g /dev/null
INSERT INTO sinks VALUES ('session', 'by_session', $$bytes(format('{"sensor":%s,"during":%s}', coalesce(sensor::text, 'null'), iso(during)))$$, '{sensor,heat,warm}');
CREATE MATERIALIZED VIEW by_session_only WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT kafka.session(at, '1 s') AS during, count(DISTINCT room) AS rooms FROM readings GROUP BY during HAVING count(DISTINCT room) < 2;
CREATE FOREIGN TABLE session_text_sink (during tstzrange OPTIONS (key 'true'), rooms bigint) SERVER broker OPTIONS (topic 'sinks_keyed_session_text', mode 'upsert');
CREATE FOREIGN TABLE session_json_sink (during tstzrange OPTIONS (key 'true'), rooms bigint) SERVER broker OPTIONS (topic 'sinks_keyed_session_json', mode 'upsert', key_format 'json');
SELECT kafka.attach_sink('by_session_only', 'session_text_sink'), kafka.attach_sink('by_session_only', 'session_json_sink') \g /dev/null
INSERT INTO sinks VALUES ('session_text', 'by_session_only', 'bytes(during::text)', '{rooms}'), ('session_json', 'by_session_only', 'bytes(iso(during))', '{rooms}');

-- every key format with the types it takes
CREATE TABLE formats (name text, type text, format text, expression text, key text);
INSERT INTO formats VALUES
	('int2', 'smallint', 'kafka', '(sensor - 2)::smallint', 'int2send(k)'),
	('int4', 'int', 'kafka', 'sensor - 2', 'int4send(k)'),
	('int8', 'bigint', 'kafka', '(sensor - 2) * 1099511627776', 'int8send(k)'),
	('text', 'text', 'text', $$'é ' || sensor$$, 'bytes(k)'),
	('uuid', 'uuid', 'text', 'md5(sensor::text)::uuid', 'bytes(k::text)'),
	('bytea', 'bytea', 'text', $$decode(lpad(to_hex(sensor), 4, '0') || 'ff', 'hex')$$, 'k'),
	('time', 'timestamptz', 'text', $$timestamptz '2024-01-01Z' + sensor * interval '1 s'$$, 'bytes(iso(k))'),
	('number', 'numeric', 'text', 'sensor / 4::numeric', 'bytes(k::text)'),
	('json', 'text', 'json', $$'"' || sensor$$, 'bytes(to_json(k)::text)'),
	('json_time', 'timestamptz', 'json', $$timestamptz '2024-01-01Z' + sensor * interval '1 s'$$, $$bytes(coalesce('"' || iso(k) || '"', 'null'))$$);
DO $do$
DECLARE
	f formats;
BEGIN
	FOR f IN TABLE formats LOOP
		EXECUTE format($$CREATE MATERIALIZED VIEW by_%1$s WITH (kafka.continuous, kafka.pipeline = 'keyed') AS SELECT %4$s AS k, count(*) AS n FROM readings %5$s GROUP BY 1;
			CREATE FOREIGN TABLE %1$s_sink (k %2$s OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'sinks_keyed_%1$s', mode 'upsert', key_format '%3$s');
			SELECT kafka.attach_sink('by_%1$s', '%1$s_sink')$$, f.name, f.type, f.format, f.expression, CASE WHEN f.name = 'json_time' THEN '' ELSE 'WHERE sensor IS NOT NULL' END);
		INSERT INTO sinks VALUES (f.name, 'by_' || f.name, f.key, '{n}');
	END LOOP;
END $do$;

-- values of types without an equality
CREATE MATERIALIZED VIEW images WITH (kafka.continuous, kafka.pipeline = 'keyed') AS
	SELECT sensor, json_build_object('hottest', max(heat)) AS j, point(max(heat)::float8, 0) AS p, xmlelement(name hottest, max(heat)) AS x, avg(heat) < 100 AS cool
	FROM readings WHERE sensor IS NOT NULL GROUP BY sensor;
CREATE FOREIGN TABLE image_sink (sensor int OPTIONS (key 'true'), j json, p point, x xml, cool boolean) SERVER broker OPTIONS (topic 'sinks_keyed_image', mode 'upsert');
SELECT kafka.attach_sink('images', 'image_sink') \g /dev/null
INSERT INTO sinks VALUES ('image', 'images', 'bytes(sensor::text)', '{sensor,j,p,x,cool}');

-- a key with more columns than the view's: it changes, and the old one gets a tombstone; by statement and by row
CREATE FOREIGN TABLE wide_sink (sensor int OPTIONS (key 'true'), n bigint OPTIONS (key 'true'), heat numeric) SERVER broker OPTIONS (topic 'sinks_keyed_wide', mode 'upsert');
SELECT kafka.attach_sink('warm', 'wide_sink') \g /dev/null
CREATE FOREIGN TABLE wide_row_sink (sensor int OPTIONS (key 'true'), n bigint OPTIONS (key 'true'), heat numeric) SERVER broker OPTIONS (topic 'sinks_keyed_wide_row', mode 'upsert');
CREATE TRIGGER wide_row AFTER INSERT OR UPDATE OR DELETE ON warm FOR EACH ROW EXECUTE FUNCTION kafka.publish('wide_row_sink');
INSERT INTO sinks SELECT t, 'warm', $$bytes(format('{"sensor":%s,"n":%s}', sensor, n))$$, '{sensor,n,heat}' FROM unnest('{wide,wide_row}'::text[]) t;

-- rows of changes that a condition lets pass; and a view of one row
CREATE FOREIGN TABLE row_sink (sensor int OPTIONS (key 'true'), p point) SERVER broker OPTIONS (topic 'sinks_keyed_row');
CREATE TRIGGER rose AFTER UPDATE ON images FOR EACH ROW WHEN (old.p[0] < new.p[0]) EXECUTE FUNCTION kafka.publish('row_sink');
CREATE MATERIALIZED VIEW total WITH (kafka.continuous, kafka.pipeline = 'keyed') AS SELECT count(*) AS n, sum(heat) AS heat FROM readings;
CREATE FOREIGN TABLE total_sink (n bigint, heat numeric) SERVER broker OPTIONS (topic 'sinks_keyed_total');
SELECT kafka.attach_sink('total', 'total_sink', false) \g /dev/null
COMMIT;

SELECT ok(read('1 a 12 1', '2 a 9 2', '3 b 30 3', '- - 15 4'), 'readings of four sensors, one of them null');
SELECT results_eq('SELECT sensor, n, heat FROM warm ORDER BY 1', 'VALUES (1, 1::bigint, 12::numeric)', 'one group passes HAVING');
SELECT is_empty('SELECT sinks_differ()', 'every sink is its view');
SELECT ok(read('1 a 9 12', '2 a 3 11', '2 - 0 11', '3 b 29 5'), 'one group leaves, one comes');
SELECT results_eq('SELECT sensor, n, heat FROM warm ORDER BY 1', 'VALUES (2, 3::bigint, 12::numeric)', 'another group passes HAVING');
SELECT is_empty('SELECT sinks_differ()', 'every sink is its view');
SELECT results_eq($$SELECT encode(key, 'escape'), value->>'heat' FROM messages('warm') ORDER BY key, "offset"$$, $$VALUES ('1', '12'), ('1', NULL), ('2', '12')$$,
	'a value, its tombstone, and the other group''s value');
SELECT ok(read('1 a -2 13', '2 a 10 14'), 'the one comes back');
SELECT is_empty('SELECT sinks_differ()', 'every sink is its view');
SELECT results_eq($$SELECT encode(key, 'escape'), value->>'heat' FROM messages('warm') ORDER BY key, "offset"$$, $$VALUES ('1', '12'), ('1', NULL), ('1', '19'), ('2', '12'), ('2', NULL)$$,
	'a value again, and the other''s tombstone');
SELECT results_eq($$SELECT key, count(*) FROM messages('image') GROUP BY key ORDER BY key$$, $$VALUES (bytes('1'), 1::bigint), (bytes('2'), 2), (bytes('3'), 1)$$,
	'a group that was touched is published only when its row has changed, whatever the types of its columns');
SELECT results_eq($$SELECT encode(key, 'escape'), value->>'p' FROM messages('row')$$, $$VALUES ('2', '(10,0)')$$, 'a row trigger publishes the update that its condition lets pass');
SELECT results_eq($$SELECT value FROM messages('total')$$, $$VALUES ('{"n": 4, "heat": 66}'::jsonb), ('{"n": 8, "heat": 107}'), ('{"n": 10, "heat": 115}')$$,
	'the row of a view without GROUP BY goes out as it changes');

-- attached to a view that has rows: these in the order of the worker's batches, with the same keys whatever the session prefers
SET timezone = 'America/New_York';
SET datestyle = 'german';
CREATE FOREIGN TABLE late_sink (during tstzrange OPTIONS (key 'true'), n bigint, heat numeric) SERVER broker OPTIONS (topic 'sinks_keyed_late', mode 'upsert');
SELECT kafka.attach_sink('by_range', 'late_sink') \g /dev/null
RESET datestyle;
SET timezone = 'UTC';
INSERT INTO sinks VALUES ('late', 'by_range', 'bytes(during::text)', '{n,heat}');
SELECT ok(read('3 b 1 15', '3 b 1 16', '3 b 1 25'), 'a window leaves, another comes');
SELECT is_empty('SELECT sinks_differ()', 'every sink is its view, the one attached later too');
SELECT results_eq($$SELECT key, count(*) FROM messages('late') GROUP BY key HAVING count(*) > 1$$, $$VALUES (bytes('["2024-01-01 00:00:10+00","2024-01-01 00:00:20+00")'), 2::bigint)$$,
	'with a tombstone for the window that left');

-- made with the view's key: one column is text, several are JSON
SELECT kafka.create_sink('warm', 'sinks_keyed_Made'), kafka.create_sink('by_ends', 'sinks_keyed_made_pair') \g /dev/null
INSERT INTO sinks VALUES ('Made', 'warm', 'bytes(sensor::text)', '{sensor,n,heat}');
INSERT INTO sinks SELECT 'made_pair', view, key, columns FROM sinks WHERE topic = 'ends';
SELECT ok(read('1 a -5 26', '3 c 1 27'), 'more readings');
SELECT is_empty('SELECT sinks_differ()', 'every sink is its view, those made with the view''s key too');

-- of an append-only view, with the columns of a unique index: not of one that lets rows with the same key in
CREATE FUNCTION made(topic text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT mode FROM kafka.topics WHERE relation = $1::regclass), (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = $1::regclass AND attfdwoptions = '{key=true}'))
$$;
CREATE MATERIALIZED VIEW facts WITH (kafka.continuous) AS SELECT sensor, room, at FROM readings WITH NO DATA;
CREATE UNIQUE INDEX ON facts (at) WHERE room = 'a';
CREATE UNIQUE INDEX ON facts ((sensor + 1));
CREATE UNIQUE INDEX ON facts (sensor, at);
SELECT kafka.create_sink('facts', 'sinks_keyed_facts') \g /dev/null
SELECT is(made('sinks_keyed_facts'), 'append', 'part of the rows, an expression, nulls that are not equal: each is no key');
CREATE UNIQUE INDEX ON facts (sensor, at) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX ON facts (at);
SELECT kafka.create_sink('facts', 'sinks_keyed_facts_key') \g /dev/null
SELECT is(made('sinks_keyed_facts_key'), 'upsert sensor,at', 'the columns of an index that identifies all rows are');
SELECT kafka.create_sink('facts', 'sinks_keyed_facts_at', '{at}') \g /dev/null
SELECT is(made('sinks_keyed_facts_at'), 'upsert at', 'and those of another one, where they are asked for');

-- sessions of sensor 2: what was published of each, by its seconds
CREATE FUNCTION second_session() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s-%s %s', extract(second FROM (k#>>'{during,start}')::timestamptz)::int, extract(second FROM (k#>>'{during,end}')::timestamptz)::int, coalesce(value->>'heat', 'gone'))
	FROM (SELECT convert_from(key, 'UTF8')::jsonb AS k, value, "offset" FROM messages('session')) m WHERE k->>'sensor' = '2' ORDER BY (k#>>'{during,start}')::timestamptz, (k#>>'{during,end}')::timestamptz, "offset"
$$;
SELECT results_eq('SELECT second_session()', $$VALUES ('2-2 9'), ('11-11 3'), ('11-11 gone'), ('11-14 10')$$, 'a session goes out once a batch, with a tombstone when it is extended');
SELECT ok(read('2 a 1 13', '2 b 2 12', '2 a 10 14'), 'readings within a session');
SELECT results_eq('SELECT second_session()', $$VALUES ('2-2 9'), ('11-11 3'), ('11-11 gone'), ('11-14 10')$$, 'one that stays as it is is not published again');
SELECT ok(read('2 a 30 7'), 'a reading that bridges two sessions');
SELECT results_eq('SELECT second_session()', $$VALUES ('2-2 9'), ('2-2 gone'), ('2-14 30'), ('11-11 3'), ('11-11 gone'), ('11-14 10'), ('11-14 gone')$$, 'both go and one comes');
SELECT is_empty('SELECT sinks_differ()', 'every sink is its view');

-- a null cannot be written as the key of an upsert topic but in JSON: the record that makes it is a dead letter of the view
CREATE MATERIALIZED VIEW by_room WITH (kafka.continuous) AS SELECT room, count(*) AS n FROM readings GROUP BY room WITH NO DATA;
CREATE FOREIGN TABLE no_null_sink (room text OPTIONS (key 'true'), n bigint) SERVER broker OPTIONS (topic 'sinks_keyed_no_null', mode 'upsert');
SELECT kafka.attach_sink('by_room', 'no_null_sink'), kafka.resume('by_room'::regclass) \g /dev/null
INSERT INTO sinks VALUES ('no_null', 'by_room', 'bytes(room)', '{room,n}');
SELECT ok(kafka.wait_for_view('by_room', '60s'), 'a null key does not stop a view');
SELECT is_empty('SELECT sinks_differ()', 'the other groups are there');
SELECT results_eq($$SELECT sqlstate, count(*) FROM kafka.dead_letters WHERE view = 'by_room'::regclass GROUP BY sqlstate$$, $$VALUES ('23502', 2::bigint)$$, 'the records are dead letters');
SELECT * FROM finish();
