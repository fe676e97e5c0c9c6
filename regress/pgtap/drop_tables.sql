-- DROP of what is none of the extension's looks at none of its state but for one row of the list of views, however much there is; that of a view forgets its own.
SELECT plan(13);
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('drop_tables') \g /dev/null
CREATE FOREIGN TABLE events (id int) SERVER broker OPTIONS (topic 'drop_tables');
CREATE FOREIGN TABLE unread (id int) SERVER broker OPTIONS (topic 'drop_tables');
CREATE MATERIALIZED VIEW v WITH (kafka.continuous) AS SELECT 1 / id AS x FROM events;
CREATE VIEW w WITH (kafka.continuous) AS SELECT id FROM events;
SELECT kafka_test.produce('drop_tables', $$VALUES ('k', '{"id": 0}'), ('k', '{"id": 1}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('v', '60s'), 'a record becomes a dead letter');
SELECT is((SELECT count(*) FROM kafka_state.dead_letter), 1::bigint, 'of the view');

-- how often the tables have been read: a transaction's numbers stand still but for what it does itself
CREATE FUNCTION looks(OUT views bigint, OUT others bigint) LANGUAGE sql AS $$
	SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)) FILTER (WHERE relname = 'view'), 0), coalesce(sum(seq_scan + coalesce(idx_scan, 0)) FILTER (WHERE relname <> 'view'), 0)
	FROM pg_stat_xact_all_tables WHERE schemaname = 'kafka_state'
$$;
CREATE FUNCTION looks_of(statement text, OUT views bigint, OUT others bigint) LANGUAGE plpgsql AS $$
DECLARE
	before record;
	after record;
BEGIN
	SELECT * INTO before FROM looks();
	EXECUTE statement;
	SELECT * INTO after FROM looks();
	views := after.views - before.views;
	others := after.others - before.others;
END $$;

CREATE TABLE elsewhere (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES elsewhere);
CREATE VIEW plain AS SELECT id FROM elsewhere;
CREATE TEMPORARY TABLE passing (id int);
CREATE FUNCTION idle() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT results_eq('SELECT * FROM looks_of(''DROP TABLE passing'')', 'VALUES (1::bigint, 0::bigint)', 'a temporary table is dropped with a look at the list of views and at nothing else');
SELECT results_eq('SELECT * FROM looks_of(''DROP FUNCTION idle'')', 'VALUES (0::bigint, 0::bigint)', 'a function without that');
SELECT is((SELECT others FROM looks_of('DROP TABLE elsewhere CASCADE')), 0::bigint, 'tables and views are with no more than the first');
SELECT is((SELECT others FROM looks_of('DROP TABLE child')), 0::bigint, 'those with foreign keys too');
SELECT ok(others > 0, 'a topic table is looked for everywhere') FROM looks_of('DROP FOREIGN TABLE unread');
SELECT ok(others > 0, 'and a view') FROM looks_of('DROP MATERIALIZED VIEW v');
SELECT is((SELECT count(*) FROM kafka_state.dead_letter), 0::bigint, 'its dead letters go with it');
SELECT bag_eq('SELECT relation FROM kafka_state.view', 'VALUES (''w''::regclass)', 'and it does');
DROP VIEW w;
SELECT is_empty('SELECT FROM kafka_state.view', 'an unstored view goes too');
SELECT is_empty('SELECT FROM kafka_state.pipeline', 'and the pipelines of both');
SELECT is_empty('SELECT FROM kafka_state.position', 'with all that was theirs');
SELECT * FROM finish();
