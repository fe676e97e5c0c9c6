-- kafka.retry_dead_letters (DESIGN.md 1.5, 2.6): what made a record a dead letter is mended, and it is applied once, as a record that comes
-- now, in the views and in their sinks; what fails again stays, with its new error.
SELECT no_plan();
SET timezone = 'UTC';
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('rdl_' || t, 1, 'retention.ms=-1') FROM unnest('{events,ratios,ratio_sink,sum_sink,lefts,rights}'::text[]) t \g /dev/null
CREATE FUNCTION letters() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', relation, view, "offset", attempts, retry_requested IS NOT NULL) COLLATE "default" FROM kafka.dead_letters ORDER BY 1
$$;
CREATE FUNCTION retry(relation regclass, ids bigint[] DEFAULT NULL) RETURNS bigint LANGUAGE sql AS 'SELECT kafka.retry_dead_letters(relation, ids)';

-- records that could not be decoded, for all views that read the topic; a domain is mended
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE FOREIGN TABLE events (id int, n small, at timestamptz) SERVER broker OPTIONS (topic 'rdl_events', event_time 'at');
BEGIN;
CREATE MATERIALIZED VIEW plain WITH (kafka.continuous, kafka.pipeline = 'events') AS SELECT id, n, at FROM events;
CREATE MATERIALIZED VIEW sums WITH (kafka.continuous, kafka.pipeline = 'events') AS SELECT id % 2 AS odd, count(*) AS n, sum(n::int) AS total FROM events GROUP BY id % 2;
CREATE MATERIALIZED VIEW per_minute WITH (kafka.continuous, kafka.pipeline = 'events', kafka.emit = 'final') AS
	SELECT kafka.tumble(at, '1 min') AS minute, count(*) AS n FROM events GROUP BY 1;
CREATE MATERIALIZED VIEW over_plain WITH (kafka.continuous, kafka.pipeline = 'events') AS SELECT count(*) AS n, sum(n::int) AS total FROM plain;
CREATE FOREIGN TABLE sum_sink (odd int OPTIONS (key 'true'), n bigint, total bigint) SERVER broker OPTIONS (topic 'rdl_sum_sink', mode 'upsert');
SELECT kafka.attach_sink('sums', 'sum_sink') \g /dev/null
COMMIT;
SELECT kafka_test.produce('rdl_events', $$VALUES ('k', '{"id": 1, "n": 1, "at": "2026-01-01T00:00:10Z"}'), ('k', '{"id": 2, "n": 200, "at": "2026-01-01T00:00:20Z"}'),
	('k', '{"id": 3, "n": 3, "at": "2026-01-01T00:05:00Z"}'), ('k', '{"id": 4, "n": 400, "at": "2026-01-01T00:05:10Z"}'), ('k', '{"id": 5, "n": "x", "at": "2026-01-01T00:05:20Z"}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('over_plain', '60s'), 'bad records');
SELECT results_eq('SELECT * FROM letters()', $$VALUES ('events 1 1 f'), ('events 3 1 f'), ('events 4 1 f')$$, 'are dead letters of the topic');
SELECT is(retry('events'), 3::bigint, 'retried before anything is mended');
SELECT ok(kafka.wait_for_view('over_plain', '60s'), 'it is tried');
SELECT results_eq('SELECT * FROM letters()', $$VALUES ('events 1 2 f'), ('events 3 2 f'), ('events 4 2 f')$$, 'and fails again');
SELECT is((SELECT count(*)::int FROM plain), 2, 'nothing of it is applied');
ALTER DOMAIN small DROP CONSTRAINT small_check;
SELECT is(retry('events', ARRAY[-1]), 0::bigint, 'an id that no dead letter has');
SELECT is(retry('plain'), 0::bigint, 'the view has none of its own');
SELECT is(retry('events', ARRAY(SELECT id FROM kafka.dead_letters WHERE "offset" = 3)), 1::bigint, 'one by its id');
SELECT ok(kafka.wait_for_view('over_plain', '60s'), 'is tried');
SELECT results_eq('SELECT id, n::int FROM plain ORDER BY id', 'VALUES (1, 1), (3, 3), (4, 400)', 'and applied');
BEGIN;
SELECT is(retry('events'), 2::bigint, 'the others, in a transaction');
ROLLBACK;
SELECT is((SELECT count(*)::int FROM kafka.dead_letters WHERE retry_requested IS NOT NULL), 0, 'that is rolled back');
SELECT is(retry('events'), 2::bigint, 'the others');
SELECT ok(kafka.wait_for_view('over_plain', '60s'), 'are tried');
SELECT results_eq('SELECT id, n::int FROM plain ORDER BY id', 'VALUES (1, 1), (2, 200), (3, 3), (4, 400)', 'what can be decoded now is in the view');
SELECT results_eq('SELECT odd, n, total FROM sums ORDER BY odd', 'VALUES (0, 2::bigint, 600::bigint), (1, 2, 4)', 'and in the aggregate');
SELECT results_eq('SELECT n, total FROM over_plain', 'VALUES (4::bigint, 604::bigint)', 'and in the view over the view');
SELECT is((SELECT late_rows FROM kafka.views WHERE view = 'per_minute'::regclass), 1::bigint, 'for a closed window it is late, which is counted');
SELECT results_eq('SELECT lower(minute)::text, n FROM per_minute', $$VALUES ('2026-01-01 00:00:00+00', 1::bigint)$$, 'what is closed stays closed');
SELECT results_eq('SELECT * FROM letters()', $$VALUES ('events 4 3 f')$$, 'what cannot stays a dead letter');
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', v), v || ' equals its query') FROM unnest('{plain,sums,over_plain}'::text[]) v;
SELECT is_empty($$SELECT kafka_test.differences('SELECT * FROM sum_sink', 'SELECT * FROM sums')$$, 'so does the sink');
SELECT is((SELECT count(*)::int FROM kafka_test.consume('rdl_sum_sink', 'read_committed')), 3, 'each change went out once');
SELECT is((SELECT count(*)::int FROM kafka_state.skipped) + (SELECT count(*)::int FROM kafka_state.retried), 0, 'without buffers nothing is kept for reloads');
SELECT kafka_test.produce('rdl_events', $$VALUES ('k', '{"id": 6, "n": 6, "at": "2026-01-01T00:10:00Z"}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('over_plain', '60s'), 'time goes on');
SELECT results_eq('SELECT lower(minute)::text, n FROM per_minute ORDER BY 1', $$VALUES ('2026-01-01 00:00:00+00', 1::bigint), ('2026-01-01 00:05:00+00', 2)$$, 'what was open when it was retried has it');

-- records that a view could not bear: a function is replaced, then a row of a table changes; for this view and those over it only
CREATE FUNCTION share(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN a / b; END';
CREATE FOREIGN TABLE ratios (a int, b int, at timestamptz) SERVER broker OPTIONS (topic 'rdl_ratios', event_time 'at');
CREATE FOREIGN TABLE ratio_sink (a int, share int) SERVER broker OPTIONS (topic 'rdl_ratio_sink');
CREATE TABLE factors (a int PRIMARY KEY, factor int);
INSERT INTO factors VALUES (3, 0), (4, 1);
BEGIN;
CREATE MATERIALIZED VIEW shares WITH (kafka.continuous, kafka.pipeline = 'ratios') AS SELECT a, share(a, b) AS share, at FROM ratios;
CREATE MATERIALIZED VIEW totals WITH (kafka.continuous, kafka.pipeline = 'ratios') AS SELECT count(*) AS n, sum(a) AS total FROM ratios;
CREATE MATERIALIZED VIEW by_share WITH (kafka.continuous, kafka.pipeline = 'ratios') AS SELECT share, count(*) AS n FROM shares GROUP BY share;
CREATE MATERIALIZED VIEW inverse WITH (kafka.continuous, kafka.pipeline = 'ratios') AS SELECT a, 60 / share AS inverse FROM shares;
CREATE MATERIALIZED VIEW weighted WITH (kafka.continuous, kafka.pipeline = 'ratios') AS SELECT r.a, 12 / f.factor AS weight FROM ratios r JOIN factors f ON f.a = r.a;
SELECT kafka.attach_sink('shares', 'ratio_sink') \g /dev/null
COMMIT;
SELECT kafka_test.produce('rdl_ratios', $$SELECT 'k', jsonb_build_object('a', a, 'b', b, 'at', timestamptz '2026-01-01Z' + a * interval '1 s') FROM (VALUES (1, 1), (2, 0), (3, 0), (4, 5), (5, 1)) v (a, b)$$) \g /dev/null
SELECT ok(kafka.wait_for_view('weighted', '60s'), 'divisions by zero');
SELECT results_eq('SELECT * FROM letters() l WHERE l LIKE ''ratios%''', $$VALUES ('ratios inverse 3 1 f'), ('ratios shares 1 1 f'), ('ratios shares 2 1 f'), ('ratios weighted 2 1 f')$$, 'are dead letters of views');
CREATE OR REPLACE FUNCTION share(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN a / nullif(b, 0); END';
UPDATE factors SET factor = 3 WHERE a = 3;
SELECT is(retry('shares') + retry('weighted') + retry('inverse'), 4::bigint, 'mended and retried');
SELECT ok(kafka.wait_for_view('weighted', '60s'), 'all is tried');
SELECT results_eq('SELECT a, share FROM shares ORDER BY a', 'VALUES (1, 1), (2, NULL), (3, NULL), (4, 0), (5, 5)', 'the view has them');
SELECT results_eq('SELECT n, total FROM totals', 'VALUES (5::bigint, 15::bigint)', 'the view that had them has them once');
SELECT results_eq('SELECT share, n FROM by_share ORDER BY share', 'VALUES (0, 1::bigint), (1, 1), (5, 1), (NULL, 2)', 'the view over the view got them');
SELECT results_eq('SELECT a, inverse FROM inverse ORDER BY a', 'VALUES (1, 60), (2, NULL), (3, NULL), (5, 12)', 'as did the one that has a dead letter of its own');
SELECT results_eq('SELECT a, weight FROM weighted ORDER BY a', 'VALUES (3, 4), (4, 12)', 'a join with a table sees the row of now');
SELECT results_eq($$SELECT (value::jsonb->>'a')::int, value::jsonb->>'share' FROM kafka_test.await('rdl_ratio_sink', 5) ORDER BY 1$$,
	$$VALUES (1, '1'), (2, NULL), (3, NULL), (4, '0'), (5, '5')$$, 'and each went out once');
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', v), v || ' equals its query') FROM unnest('{shares,totals,by_share}'::text[]) v;

SELECT results_eq($$SELECT sqlstate, message, attempts FROM kafka.dead_letters WHERE view = 'inverse'::regclass$$,
	$$VALUES ('22012', 'division by zero', 2)$$, 'one of a view over views was tried, and failed');

-- views over views: they get the rows again that these had made, those of keyed views as they are now, and nobody else gets them
SELECT kafka_test.create_topic('rdl_' || t, 1, 'retention.ms=-1') FROM unnest('{sales,chain_sink}'::text[]) t \g /dev/null
CREATE FUNCTION bear(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS 'BEGIN IF n IN (3, 30, 33) THEN RAISE ''not %'', n USING ERRCODE = ''22000''; END IF; RETURN n; END';
CREATE FOREIGN TABLE sales (shop text, n int, at timestamptz) SERVER broker OPTIONS (topic 'rdl_sales', event_time 'at');
CREATE FOREIGN TABLE chain_sink (shop text, n bigint) SERVER broker OPTIONS (topic 'rdl_chain_sink');
BEGIN;
CREATE MATERIALIZED VIEW sold WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT shop, n, n * 0.1::float8 AS tenth, at, interval '1 day' * n AS days FROM sales;
CREATE MATERIALIZED VIEW per_shop WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT shop, sum(n) AS n FROM sales GROUP BY shop;
CREATE VIEW passed WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT shop, n::bigint AS n, at FROM sold WHERE n < 1000;
CREATE MATERIALIZED VIEW borne WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT shop, bear(n) AS n, tenth, days, at FROM sold;
CREATE MATERIALIZED VIEW borne_shops WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT shop, bear(n) AS n FROM per_shop;
CREATE MATERIALIZED VIEW borne_sums WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT count(*) AS n, sum(bear(n)) AS total FROM passed;
CREATE MATERIALIZED VIEW other_sums WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT count(*) AS n, sum(n) AS total FROM sold;
CREATE MATERIALIZED VIEW over_borne WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT count(*) AS n, sum(tenth) AS total FROM borne;
CREATE MATERIALIZED VIEW all_borne WITH (kafka.continuous, kafka.pipeline = 'sales') AS SELECT count(*) AS n, sum(n) AS total FROM borne_shops;
SELECT kafka.attach_sink('borne', 'chain_sink') \g /dev/null
COMMIT;
SELECT kafka_test.produce('rdl_sales', $$VALUES ('k', '{"shop": "a", "n": 1, "at": "2026-01-01T00:00:00Z"}'), ('k', '{"shop": "a, \"b\"", "n": 3, "at": "2026-01-01T00:00:01Z"}'),
	('k', '{"shop": "c", "n": 30, "at": "2026-01-01T00:00:02Z"}'), ('k', '{"shop": null, "n": 33, "at": "2026-01-01T00:00:03Z"}'), ('k', '{"shop": "d", "n": 3, "at": "2026-01-01T00:00:04Z"}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('borne', '60s'), 'rows that views over views cannot bear');
SELECT kafka_test.produce('rdl_sales', $$VALUES ('k', '{"shop": "c", "n": 5, "at": "2026-01-01T00:00:05Z"}'), ('k', '{"shop": "d", "n": 30, "at": "2026-01-01T00:00:06Z"}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('borne', '60s'), 'and more for two of them');
SELECT results_eq($$SELECT view::text COLLATE "default", count(*)::int FROM kafka.dead_letters WHERE relation = 'sales'::regclass GROUP BY 1 ORDER BY 1$$,
	$$VALUES ('borne', 5), ('borne_shops', 5), ('borne_sums', 5)$$, 'all are dead letters of the views that could not');
CREATE OR REPLACE FUNCTION bear(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN n; END';
SELECT is(retry('borne') + retry('borne_shops') + retry('borne_sums'), 15::bigint, 'mended and retried');
SELECT ok(kafka.wait_for_view('borne', '60s'), 'all are tried');
SELECT is((SELECT count(*)::int FROM kafka.dead_letters WHERE relation = 'sales'::regclass), 0, 'and applied');
SELECT results_eq('SELECT shop, n, tenth, days, at FROM borne ORDER BY at', 'SELECT shop, n::bigint, tenth, days, at FROM sold ORDER BY at', 'rows of a stored view');
SELECT results_eq('SELECT shop, n FROM borne_shops ORDER BY shop', $$VALUES ('a', 1::bigint), ('a, "b"', 3), ('c', 35), ('d', 33), (NULL, 33)$$, 'rows of a keyed view, as they are now');
SELECT results_eq('SELECT n, total FROM all_borne', 'VALUES (5::bigint, 105::numeric)', 'and what is made of them');
SELECT results_eq('SELECT n, total FROM borne_sums', 'VALUES (7::bigint, 105::numeric)', 'rows of an unstored view');
SELECT results_eq('SELECT n, total FROM other_sums', 'VALUES (7::bigint, 105::bigint)', 'another reader has them once');
SELECT results_eq('SELECT n, round(total::numeric, 6) FROM over_borne', 'VALUES (7::bigint, 10.5::numeric)', 'the view over the view got them');
SELECT is((SELECT count(*)::int FROM kafka_test.await('rdl_chain_sink', 7)), 7, 'and the sink, each once');
SELECT is_empty(format('SELECT * FROM kafka.verify(%L)', v), v || ' equals its query') FROM unnest('{sold,per_shop,borne,borne_shops,borne_sums,other_sums,all_borne}'::text[]) v;

-- tables: what has a newer record of its key is of no use any more, whether that is a row or a deletion; a newer dead letter does not count
SELECT kafka_test.create_topic('rdl_' || t, 1, 'cleanup.policy=compact') FROM unnest('{parts,part_sink}'::text[]) t \g /dev/null
CREATE DOMAIN size AS int CHECK (VALUE < 100);
CREATE FOREIGN TABLE parts (id int OPTIONS (key 'true'), size size, n int) SERVER broker OPTIONS (topic 'rdl_parts', mode 'upsert');
CREATE FOREIGN TABLE part_sink (id int OPTIONS (key 'true'), size int, share int) SERVER broker OPTIONS (topic 'rdl_part_sink', mode 'upsert');
BEGIN;
CREATE MATERIALIZED VIEW part_shares WITH (kafka.continuous, kafka.pipeline = 'parts') AS SELECT id, size::int AS size, share(100, n) / (n + 1) AS share FROM parts;
CREATE MATERIALIZED VIEW part_sizes WITH (kafka.continuous, kafka.pipeline = 'parts') AS SELECT id, size::int AS size FROM parts;
SELECT kafka.attach_sink('part_shares', 'part_sink') \g /dev/null
COMMIT;
SELECT kafka_test.produce('rdl_parts', $$VALUES ('1', '{"size": 1, "n": 1}'), ('2', '{"size": 2, "n": 2}'), ('3', '{"size": 3, "n": 3}'), ('4', '{"size": 4, "n": 4}'),
	('1', '{"size": 100, "n": 1}'), ('2', '{"size": 200, "n": 2}'), ('3', '{"size": 300, "n": 3}'), ('5', '{"size": 500, "n": 5}'),
	('2', '{"size": 22, "n": 2}'), ('3', NULL), ('4', '{"size": 44, "n": -1}'), ('4', '{"size": 400, "n": 4}'), ('6', '{"size": 6, "n": -1}'), ('6', '{"size": 66, "n": -1}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('part_sizes', '60s'), 'good and bad records of a table');
SELECT results_eq($$SELECT * FROM letters() l WHERE l LIKE 'parts%'$$, $$VALUES ('parts 11 1 f'), ('parts 4 1 f'), ('parts 5 1 f'), ('parts 6 1 f'), ('parts 7 1 f'),
	('parts part_shares 10 1 f'), ('parts part_shares 12 1 f'), ('parts part_shares 13 1 f')$$, 'the bad ones are dead letters');
ALTER DOMAIN size DROP CONSTRAINT size_check;
SELECT is(retry('parts'), 5::bigint, 'mended and retried');
SELECT ok(kafka.wait_for_view('part_sizes', '60s'), 'all are tried');
SELECT results_eq('SELECT id, size FROM part_sizes ORDER BY id', 'VALUES (1, 100), (2, 22), (4, 400), (5, 500), (6, 66)', 'those that are the last of their key are applied');
SELECT results_eq('SELECT id, size FROM part_shares ORDER BY id', 'VALUES (1, 100), (2, 22), (4, 400), (5, 500)', 'to every view');
SELECT results_eq($$SELECT "offset", message FROM kafka.dead_letters WHERE relation = 'parts'::regclass AND view IS NULL ORDER BY 1$$,
	$$VALUES (5::bigint, 'a newer record of the same key has been applied'), (6, 'a newer record of the same key has been applied')$$, 'the others stay, and say why');
CREATE OR REPLACE FUNCTION share(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN b = -1 THEN 1 / 0 ELSE a / b END; END';
SELECT is(retry('part_shares', ARRAY(SELECT id FROM kafka.dead_letters WHERE "offset" = 12)), 1::bigint, 'the older of two dead letters of a view');
SELECT ok(kafka.wait_for_view('part_sizes', '60s'), 'is tried');
SELECT results_eq($$SELECT "offset", attempts FROM kafka.dead_letters WHERE view = 'part_shares'::regclass ORDER BY 1$$, 'VALUES (10::bigint, 1), (12, 2), (13, 1)', 'and fails');
ALTER FOREIGN TABLE parts OPTIONS (ADD on_error 'stop');
SELECT is(retry('part_shares'), 3::bigint, 'where records stop a pipeline now');
SELECT ok(kafka.wait_for_view('part_sizes', '60s'), 'those that are retried do not');
SELECT results_eq($$SELECT "offset", attempts FROM kafka.dead_letters WHERE view = 'part_shares'::regclass ORDER BY 1$$, 'VALUES (10::bigint, 2), (12, 3), (13, 2)', 'all three fail or are too late');
SELECT is_empty($$SELECT * FROM kafka.verify('part_sizes')$$, 'the view that could bear them equals its query');
SELECT is_empty($$SELECT kafka_test.differences('SELECT * FROM part_sink', 'SELECT * FROM part_shares')$$, 'the sink, folded, is the view');

-- an unstored view: what was tried again is among the rows that it has given, once
SELECT kafka_test.create_topic('rdl_' || t, 1, 'retention.ms=-1') FROM unnest('{given,given_sink,late_sink}'::text[]) t \g /dev/null
CREATE DOMAIN given_number AS int CHECK (VALUE < 100);
CREATE FOREIGN TABLE given (id int, n given_number, at timestamptz) SERVER broker OPTIONS (topic 'rdl_given', event_time 'at');
CREATE FOREIGN TABLE given_sink (id int, share int) SERVER broker OPTIONS (topic 'rdl_given_sink');
CREATE FOREIGN TABLE late_sink (id int, share int) SERVER broker OPTIONS (topic 'rdl_late_sink');
CREATE FUNCTION part(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 100 / n; END';
BEGIN;
CREATE VIEW parted WITH (kafka.continuous, kafka.pipeline = 'parted') AS SELECT id, part(n) AS share, at FROM given;
SELECT kafka.attach_sink('parted', 'given_sink') \g /dev/null
COMMIT;
SELECT kafka_test.produce('rdl_given', $$SELECT 'k', jsonb_build_object('id', i, 'n', CASE i WHEN 2 THEN 0 WHEN 3 THEN 300 WHEN 4 THEN 0 ELSE i END, 'at', timestamptz '2026-01-01Z') FROM generate_series(1, 5) i$$) \g /dev/null
SELECT ok(kafka.wait_for_view('parted', '60s'), 'bad records of an unstored view');
ALTER DOMAIN given_number DROP CONSTRAINT given_number_check;
CREATE OR REPLACE FUNCTION part(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 100 / nullif(n, 0); END';
SELECT is(retry('given') + retry('parted', ARRAY(SELECT id FROM kafka.dead_letters WHERE "offset" = 1)), 2::bigint, 'two of three');
SELECT ok(kafka.wait_for_view('parted', '60s'), 'are tried again');
SELECT kafka.attach_sink('parted', 'late_sink') \g /dev/null
SELECT ok(kafka.wait_for_view('parted', '60s'), 'a sink that comes later');
SELECT results_eq($$SELECT (value::jsonb->>'id')::int FROM kafka_test.await($$ || quote_literal(t) || $$, 4) ORDER BY 1$$, 'VALUES (1), (2), (3), (5)', t || ' has what the view has given') FROM unnest('{rdl_given_sink,rdl_late_sink}'::text[]) t;

-- who may: the owner, who sees the dead letters
CREATE ROLE rdl_stranger;
GRANT SELECT ON shares, events TO rdl_stranger;
SET ROLE rdl_stranger;
SELECT throws_ok($$SELECT kafka.retry_dead_letters('shares')$$, '42501', 'must be owner of materialized view shares', 'a view''s dead letters are its owner''s');
SELECT throws_ok($$SELECT kafka.retry_dead_letters('events')$$, '42501', 'must be owner of foreign table events', 'a topic''s are its owner''s');
RESET ROLE;
SELECT throws_ok($$SELECT kafka.retry_dead_letters('factors')$$, '42809', NULL, 'a table has none');
SELECT is(kafka.retry_dead_letters(NULL), NULL, 'nothing of nothing');
DROP OWNED BY rdl_stranger;
DROP ROLE rdl_stranger;
SELECT * FROM finish();
