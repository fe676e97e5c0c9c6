-- What tests of every kind may call inside the database: schema kafka_test, loaded into template1 by regress/run.
-- Why it exists: isolation specs and pgTAP files have no shell; these functions let the server run kv_kafka (regress/tools),
-- which is on its PATH, with COPY ... PROGRAM.
\set ON_ERROR_STOP on
\set QUIET on
\getenv broker KAFKA_BROKER
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS kafka_test CASCADE;
CREATE SCHEMA kafka_test;
GRANT USAGE ON SCHEMA kafka_test TO PUBLIC;

CREATE FUNCTION kafka_test.broker() RETURNS text LANGUAGE sql IMMUTABLE RETURN :'broker';
COMMENT ON FUNCTION kafka_test.broker() IS 'address of the broker the tests use';

CREATE FUNCTION kafka_test.run(command text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	EXECUTE format('COPY (SELECT WHERE false) TO PROGRAM %L', command);
END $$;
COMMENT ON FUNCTION kafka_test.run(text) IS 'runs a shell command as the server; an exit status other than 0 is an error';

CREATE FUNCTION kafka_test.create_topic(topic text, partitions int DEFAULT 1, configs text DEFAULT '') RETURNS void
LANGUAGE sql AS $$ SELECT kafka_test.run(format('kv_kafka create %s %s %s', topic, partitions, configs)) $$;
COMMENT ON FUNCTION kafka_test.create_topic(text, int, text) IS 'makes a topic; configs: name=value name=value';

CREATE FUNCTION kafka_test.produce(topic text, query text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	EXECUTE format('COPY (%s) TO PROGRAM %L', query, 'kv_kafka produce --copy ' || topic);
END $$;
COMMENT ON FUNCTION kafka_test.produce(text, text) IS 'produces the rows of a query: key, value';

CREATE FUNCTION kafka_test.produce_at(topic text, query text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	EXECUTE format('COPY (%s) TO PROGRAM %L', query, 'kv_kafka produce --copy --full ' || topic);
END $$;
COMMENT ON FUNCTION kafka_test.produce_at(text, text) IS 'produces the rows of a query: partition, timestamp in ms, key, value; a null partition or timestamp is the default';

CREATE FUNCTION kafka_test.consume(topic text, isolation text DEFAULT 'read_committed')
RETURNS TABLE (partition int, "offset" bigint, timestamp_ms bigint, key text, value text, headers text)
LANGUAGE plpgsql SECURITY DEFINER SET client_min_messages = warning AS $$
BEGIN
	DROP TABLE IF EXISTS pg_temp.kafka_test_records;
	CREATE TEMP TABLE kafka_test_records (partition int, "offset" bigint, timestamp_ms bigint, key text, value text, headers text);
	EXECUTE format('COPY pg_temp.kafka_test_records FROM PROGRAM %L', format('kv_kafka consume --copy --isolation %s %s', isolation, topic));
	RETURN QUERY SELECT * FROM pg_temp.kafka_test_records r ORDER BY r.partition, r."offset";
END $$;
COMMENT ON FUNCTION kafka_test.consume(text, text) IS 'reads a whole topic, as any other consumer would';

CREATE FUNCTION kafka_test.create_server(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers %L)', name, kafka_test.broker());
END $$;
COMMENT ON FUNCTION kafka_test.create_server(text) IS 'CREATE SERVER for the tests'' broker';
