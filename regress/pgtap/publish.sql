-- Output: kafka.publish on ordinary tables and on views, row by row and by statement, tombstones, and the fate of messages
-- whose transaction or savepoint rolls back (DESIGN.md 1.4, 5.3).
SELECT plan(20);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic(t, 1) FROM unnest('{publish_large,publish_all,publish_state,publish_in,publish_counts,publish_alarms,publish_touched}'::text[]) t \g /dev/null
-- whatever a database says of its sessions, the triggers of views fire in the workers
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica', current_database()); END $$;

-- what a sink holds, once it has that many messages
CREATE FUNCTION sink(topic text, expected int) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', coalesce(key, '(no key)'), coalesce(value::jsonb::text, '(null)')) FROM kafka_test.await(topic, expected) ORDER BY "offset"
$$;

CREATE TABLE stock (article text PRIMARY KEY, pieces int, shelf text);
CREATE FOREIGN TABLE large (article text OPTIONS (key 'true'), pieces int) SERVER broker OPTIONS (topic 'publish_large');
CREATE FOREIGN TABLE everything (article text, pieces int, shelf text) SERVER broker OPTIONS (topic 'publish_all');
CREATE FOREIGN TABLE state (article text OPTIONS (key 'true'), pieces int) SERVER broker OPTIONS (topic 'publish_state', mode 'upsert');

CREATE TRIGGER large AFTER INSERT OR UPDATE ON stock FOR EACH ROW WHEN (new.pieces > 100) EXECUTE FUNCTION kafka.publish('large');
CREATE TRIGGER everything AFTER INSERT ON stock REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('everything');
CREATE TRIGGER state_new AFTER INSERT ON stock REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('state');
CREATE TRIGGER state_changed AFTER UPDATE ON stock REFERENCING OLD TABLE AS old NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('state');
CREATE TRIGGER state_gone AFTER DELETE ON stock REFERENCING OLD TABLE AS old FOR EACH STATEMENT EXECUTE FUNCTION kafka.publish('state');

INSERT INTO stock VALUES ('nut', 7, 'A'), ('bolt', 700, 'B');
SELECT results_eq($$SELECT sink('publish_all', 2)$$,
	$$VALUES ('(no key) {"shelf": "A", "pieces": 7, "article": "nut"}'), ('(no key) {"shelf": "B", "pieces": 700, "article": "bolt"}')$$,
	'a statement trigger on an ordinary table publishes every row');
SELECT results_eq($$SELECT sink('publish_large', 1)$$, $$VALUES ('bolt {"pieces": 700, "article": "bolt"}')$$, 'a row trigger publishes where WHEN holds; the key is in key and value');
SELECT is((SELECT count(*)::int FROM sink('publish_state', 2)), 2, 'the upsert sink has both');

BEGIN;
INSERT INTO stock VALUES ('washer', 1000, 'C');
ROLLBACK;
BEGIN;
INSERT INTO stock VALUES ('pin', 1001, 'C');
SAVEPOINT here;
INSERT INTO stock VALUES ('nail', 1002, 'C');
ROLLBACK TO here;
INSERT INTO stock VALUES ('screw', 1003, 'C');
COMMIT;
SELECT results_eq($$SELECT split_part(m, ' ', 1) FROM sink('publish_large', 3) m$$, $$VALUES ('bolt'), ('pin'), ('screw')$$,
	'nothing of a transaction or a savepoint that rolled back, everything else in order');

-- a loop that goes on after errors: what was written before each of them goes at once, not when the transaction ends
BEGIN;
DO $$ BEGIN
	FOR i IN 1..2000 LOOP
		BEGIN
			INSERT INTO public.everything VALUES ('lost', i, 'D');
			RAISE EXCEPTION 'again';
		EXCEPTION WHEN raise_exception THEN
		END;
	END LOOP;
END $$;
SELECT cmp_ok((SELECT sum(total_bytes)::int FROM pg_backend_memory_contexts WHERE name LIKE 'kv outbox%'), '<', 50000, 'savepoints that rolled back leave no memory behind');
ROLLBACK;

-- one at a time: of messages that go out together an upsert sink gets the last of a key
UPDATE stock SET pieces = pieces + 1 WHERE article = 'nut';
SELECT count(*) FROM sink('publish_state', 5) \g /dev/null
UPDATE stock SET article = 'hexnut' WHERE article = 'nut';
DELETE FROM stock WHERE article = 'pin';
SELECT results_eq($$SELECT m FROM sink('publish_state', 8) WITH ORDINALITY s(m, n) WHERE n > 4$$,
	$$VALUES ('nut {"pieces": 8, "article": "nut"}'), ('nut (null)'), ('hexnut {"pieces": 8, "article": "hexnut"}'), ('pin (null)')$$,
	'an upsert sink gets a tombstone for the old key of a changed row and for a deleted one');
SELECT set_eq('SELECT article, pieces FROM state', 'SELECT article, pieces FROM stock', 'read as a table, the topic is the table it came from');
UPDATE stock SET article = CASE article WHEN 'bolt' THEN 'rivet' ELSE 'bolt' END WHERE article IN ('bolt', 'screw');
SELECT results_eq($$SELECT split_part(m, ' {', 1) FROM sink('publish_state', 11) WITH ORDINALITY s(m, n) WHERE n > 8 AND m LIKE '%(null)'$$,
	$$VALUES ('screw (null)')$$, 'a key that another row takes over in the same statement gets no tombstone');
SELECT set_eq('SELECT article, pieces FROM state', 'SELECT article, pieces FROM stock', 'and has its new value');

-- a trigger that changes the row again: what comes before it by name publishes the row as it was, then the row as it is
CREATE TABLE touched (id int PRIMARY KEY, pieces int);
CREATE FOREIGN TABLE touched_sink (id int OPTIONS (key 'true'), pieces int) SERVER broker OPTIONS (topic 'publish_touched', mode 'upsert');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.touched SET pieces = pieces + 1 WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER touch AFTER INSERT ON touched FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER before_touch AFTER INSERT OR UPDATE OR DELETE ON touched FOR EACH ROW EXECUTE FUNCTION kafka.publish('touched_sink');
INSERT INTO touched SELECT i, 1 FROM generate_series(1, 3) i;
SELECT is((SELECT count(*)::int FROM sink('publish_touched', 3)), 3, 'each row is in the topic');
SELECT set_eq('SELECT * FROM touched_sink', 'SELECT * FROM touched', 'as it is in its table');

-- INSERT and DELETE on the topics themselves
BEGIN;
INSERT INTO state VALUES ('cog', 1), ('gear', 2);
DELETE FROM state WHERE article = 'hexnut';
COMMIT;
SELECT is((SELECT array_agg(m) FROM sink('publish_state', 14) WITH ORDINALITY s(m, n) WHERE n > 11),
	'{"cog {\"pieces\": 1, \"article\": \"cog\"}","gear {\"pieces\": 2, \"article\": \"gear\"}","hexnut (null)"}', 'INSERT and DELETE on a topic produce');

-- a view with an upsert sink and a PL/pgSQL trigger of the user's own
CREATE FOREIGN TABLE incoming (machine text, heat int) SERVER broker OPTIONS (topic 'publish_in');
CREATE FOREIGN TABLE counts (machine text OPTIONS (key 'true'), n bigint, hottest int) SERVER broker OPTIONS (topic 'publish_counts', mode 'upsert');
CREATE FOREIGN TABLE alarms (machine text OPTIONS (key 'true'), text text) SERVER broker OPTIONS (topic 'publish_alarms');
CREATE FUNCTION alarm() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.alarms VALUES (new.machine, 'at ' || new.hottest);
	RETURN NULL;
END $$;
BEGIN;
CREATE MATERIALIZED VIEW machines WITH (kafka.continuous) AS
	SELECT machine, count(*) AS n, max(heat) AS hottest FROM incoming GROUP BY machine HAVING sum(heat) < 1000;
SELECT kafka.attach_sink('machines', 'counts') \g /dev/null
CREATE TRIGGER alarm AFTER INSERT OR UPDATE ON machines FOR EACH ROW WHEN (new.hottest > 90) EXECUTE FUNCTION alarm();
COMMIT;
SELECT kafka_test.produce('publish_in', $$VALUES ('k', '{"machine": "m1", "heat": 20}'), ('k', '{"machine": "m2", "heat": 95}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('machines', '60s'), 'the view is caught up and published');
SELECT results_eq($$SELECT sink('publish_counts', 2) ORDER BY 1$$,
	$$VALUES ('m1 {"n": 1, "hottest": 20, "machine": "m1"}'), ('m2 {"n": 1, "hottest": 95, "machine": "m2"}')$$, 'its sink has each group once');
SELECT results_eq($$SELECT sink('publish_alarms', 1)$$, $$VALUES ('m2 {"text": "at 95", "machine": "m2"}')$$, 'a PL/pgSQL trigger INSERTs into a topic');
SELECT kafka_test.produce('publish_in', $$VALUES ('k', '{"machine": "m1", "heat": 990}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('machines', '60s'), 'a group grows beyond HAVING');
SELECT results_eq($$SELECT sink('publish_counts', 3)$$ || ' OFFSET 2', $$VALUES ('m1 (null)')$$, 'which is a tombstone on the sink');
SELECT set_eq('SELECT machine FROM machines', $$VALUES ('m2')$$, 'and a DELETE on the view');

-- checked when the trigger is made
CREATE FOREIGN TABLE misfit (machine text OPTIONS (key 'true'), colour text) SERVER broker OPTIONS (topic 'publish_alarms');
SELECT throws_ok($$CREATE TRIGGER misfit AFTER INSERT ON machines FOR EACH ROW EXECUTE FUNCTION kafka.publish('misfit')$$, NULL,
	'a topic column that the view lacks is refused at CREATE TRIGGER');
CREATE FOREIGN TABLE by_heat (hottest int OPTIONS (key 'true'), machine text) SERVER broker OPTIONS (topic 'publish_alarms', mode 'upsert');
SELECT throws_ok($$CREATE TRIGGER by_heat AFTER INSERT ON machines FOR EACH ROW EXECUTE FUNCTION kafka.publish('by_heat')$$, NULL,
	'and so is an upsert sink whose key is not a key of the view');
SELECT * FROM finish();
