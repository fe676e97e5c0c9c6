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

CREATE FUNCTION kafka_test.poll(condition text, timeout interval DEFAULT '60 s') RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	deadline timestamptz = clock_timestamp() + timeout;
	holds boolean;
BEGIN
	LOOP
		PERFORM pg_stat_clear_snapshot();
		EXECUTE 'SELECT ' || condition INTO holds;
		IF holds THEN RETURN true; END IF;
		IF clock_timestamp() > deadline THEN RETURN false; END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
END $$;
COMMENT ON FUNCTION kafka_test.poll(text, interval) IS 'waits until an SQL expression is true; whether it was in time';

CREATE FUNCTION kafka_test.await(topic text, messages bigint, timeout interval DEFAULT '60 s')
RETURNS TABLE (partition int, "offset" bigint, timestamp_ms bigint, key text, value text, headers text)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.poll(format('count(*) >= %s FROM kafka_test.consume(%L)', messages, topic), timeout);
	RETURN QUERY SELECT * FROM kafka_test.consume(topic);
END $$;
COMMENT ON FUNCTION kafka_test.await(text, bigint, interval) IS 'what a topic holds once that many messages can be read in it, or after the timeout';

CREATE FUNCTION kafka_test.differences(one text, other text, timeout interval DEFAULT '60 s') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	differences text = format('FROM (WITH one AS MATERIALIZED (%s), other AS MATERIALIZED (%s)
		(TABLE one EXCEPT ALL TABLE other) UNION ALL (TABLE other EXCEPT ALL TABLE one)) difference', one, other);
BEGIN
	IF NOT kafka_test.poll('count(*) = 0 ' || differences, timeout) THEN
		RETURN QUERY EXECUTE 'SELECT difference::text ' || differences;
	END IF;
END $$;
COMMENT ON FUNCTION kafka_test.differences(text, text, interval) IS 'waits until two queries give the same rows; after the timeout, the rows that only one gives';

CREATE FUNCTION kafka_test.produce_times(topic text, record jsonb, field text, partition int, VARIADIC seconds numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at(topic, format('SELECT %s, 1000000000000 + n, NULL, %L::jsonb || jsonb_build_object(%L, to_timestamp(s))
		FROM unnest(%L::numeric[]) WITH ORDINALITY u(s, n) ORDER BY n', partition, record, field, seconds))
$$;
COMMENT ON FUNCTION kafka_test.produce_times(text, jsonb, text, int, numeric[]) IS
	'produces a record for each time, in this order: that object with the time, given in seconds after 1970, as one more field';

CREATE FUNCTION kafka_test.seconds(during tstzrange) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT extract(epoch FROM lower(during))::int || '-' || extract(epoch FROM upper(during))::int
$$;
COMMENT ON FUNCTION kafka_test.seconds(tstzrange) IS 'a range as short text, in seconds after 1970: 0-10';

CREATE FUNCTION kafka_test.create_server(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers %L)', name, kafka_test.broker());
END $$;
COMMENT ON FUNCTION kafka_test.create_server(text) IS 'CREATE SERVER for the tests'' broker';

CREATE FUNCTION kafka_test.settle() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
	view_ regclass;
	topics text = (SELECT string_agg(DISTINCT topic, ' ') FROM kafka.topics);
BEGIN
	IF NOT kafka_test.poll('NOT EXISTS (SELECT FROM kafka_state.transaction_outbox)') THEN
		RAISE 'messages of transactions are not published';
	END IF;
	IF topics IS NULL THEN
		RETURN;
	END IF;
	PERFORM kafka_test.run('kv_kafka settle ' || topics);
	FOR view_ IN SELECT v.view FROM kafka.views v WHERE NOT v.paused LOOP
		IF NOT kafka.wait_for_view(view_, '60 s') THEN
			RAISE 'view % does not catch up: %', view_, (SELECT string_agg(p::text, ' ') FROM kafka.pipelines p);
		END IF;
	END LOOP;
	PERFORM kafka_test.run('kv_kafka settle ' || topics);
END $$;
COMMENT ON FUNCTION kafka_test.settle() IS 'waits until all that was produced or committed is in the topics, applied to all views, and readable in their sinks';

-- what timelines_*.sql share: a step is a record, and what it makes appear in sinks
CREATE FUNCTION kafka_test.step(topic text, second numeric, key text, value text) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_test.produce_at(topic, format('SELECT 0, %s::bigint, %L, %L', 1750000000000 + second * 1000, key, value));
	SELECT kafka_test.settle();
$$;
COMMENT ON FUNCTION kafka_test.step(text, numeric, text, text) IS 'produces a record at a second after some moment, and waits until all is settled';

CREATE FUNCTION kafka_test.appeared(topic text, show text) RETURNS text LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
	seen bigint = coalesce(nullif(current_setting('kafka_test.seen_' || topic, true), ''), '-1');
	messages text;
BEGIN
	EXECUTE format($q$SELECT string_agg(CASE WHEN value IS NULL THEN coalesce(key || ':', '') || 'null' ELSE %s END, ' ' ORDER BY "offset"), coalesce(max("offset"), $1)
		FROM (SELECT "offset", key, value, value::jsonb AS v FROM kafka_test.consume(%L)) m WHERE "offset" > $1$q$, show, topic) INTO messages, seen USING seen;
	PERFORM set_config('kafka_test.seen_' || topic, seen::text, false);
	RETURN messages;
END $$;
COMMENT ON FUNCTION kafka_test.appeared(text, text) IS
	'messages of a topic since the last call, in one text: each as the expression gives it of its jsonb value v, a tombstone as null';
