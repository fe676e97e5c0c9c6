/* kafka_views 1.0: everything a user calls is in schema kafka, everything the engine owns in kafka_state (DESIGN.md 1). */
\echo Use "CREATE EXTENSION kafka_views" to load this file. \quit

CREATE SCHEMA kafka_state;
COMMENT ON SCHEMA kafka_state IS 'kafka_views: what the engine owns; do not write here';
GRANT USAGE ON SCHEMA kafka_state TO PUBLIC;	-- buffers belong to the owners of their views; every table guards itself

CREATE FUNCTION kafka_state.check_preloaded() RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'kafka_check_preloaded';
COMMENT ON FUNCTION kafka_state.check_preloaded() IS 'Raises an error unless kafka_views is in shared_preload_libraries';
REVOKE ALL ON FUNCTION kafka_state.check_preloaded() FROM PUBLIC;
SELECT kafka_state.check_preloaded();

CREATE SCHEMA kafka;
COMMENT ON SCHEMA kafka IS 'kafka_views: everything a user calls';
GRANT USAGE ON SCHEMA kafka TO PUBLIC;

-------------------------------------------------------------------------------------------------------------- engine state (DESIGN.md 5)

CREATE TABLE kafka_state.identity (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	instance text NOT NULL,			-- kafka.instance, or the system identifier
	system_identifier text NOT NULL,
	data_directory text NOT NULL,
	database oid NOT NULL,
	kafka_instance text NOT NULL,		-- prefix of every group.id and transactional.id: kafka.adopt() leaves it
	kafka_database oid NOT NULL,		-- what comes behind it in them: kafka.adopt() leaves it too
	adoptions bigint NOT NULL DEFAULT 0	-- kafka.adopt() since then: who has fewer than Kafka knows of has been replaced
);
COMMENT ON TABLE kafka_state.identity IS 'Who this database is to Kafka; where the fingerprint does not match, nothing starts until kafka.adopt() or kafka.fork()';

-- No table refers to another by a foreign key: pg_restore --jobs fills them in any order, and each batch would search the row that it has
-- locked, among all its dead versions. Whoever writes rows of a pipeline without its lock reads its row FOR KEY SHARE instead, or has locked
-- its dead letters, which go first when it is dropped.
CREATE TABLE kafka_state.pipeline (
	pipeline bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,	-- never reused
	token text NOT NULL,			-- 8 random hex digits: part of the Kafka names, so that a re-created pipeline is another one
	name text NOT NULL UNIQUE,
	paused boolean NOT NULL DEFAULT false,
	batch bigint NOT NULL DEFAULT 0,	-- number of the last batch that was committed with this row locked
	resumed bigint NOT NULL DEFAULT 0,	-- how often kafka.resume was called: what has stopped for a person goes on
	cluster text,				-- id of the Kafka cluster that it has read; null: not known yet
	compared text NOT NULL			-- timeline and data directory on which this was made, or last compared with Kafka: elsewhere it may be behind what was published
);
COMMENT ON TABLE kafka_state.pipeline IS 'One row a pipeline; whoever writes to its outbox locks the row first and takes the next batch number';

CREATE TABLE kafka_state.view (
	view bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,	-- creation order, so inputs come before their readers
	pipeline bigint NOT NULL,
	relation regclass NOT NULL UNIQUE,	-- the result table; of an unstored view the real view itself
	definition regclass NOT NULL,		-- the real view with the defining query: kafka_state.definition_N; of an unstored view the relation
	options text[] NOT NULL,		-- name=value, as given, without the prefix kafka.
	settings text[] NOT NULL,		-- name=value: what a result depends on (TimeZone, DateStyle, search_path ...), as it was at creation
	initialized boolean NOT NULL DEFAULT false,	-- a view over views: its first rows have been computed; tables: bootstrapped
	frontier bigint,			-- closed frontier, microseconds since 2000-01-01 UTC (timestamptz), never goes back
	late_rows bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE kafka_state.view IS 'One row a continuous view';

CREATE TABLE kafka_state.sink (
	view bigint NOT NULL,
	topic_table regclass NOT NULL,
	PRIMARY KEY (view, topic_table)
);
COMMENT ON TABLE kafka_state.sink IS 'Sinks of unstored views, to which the worker writes; those of stored views are triggers';

CREATE TABLE kafka_state.position (
	pipeline bigint NOT NULL,
	relation regclass NOT NULL,		-- the topic's foreign table
	partition integer NOT NULL,
	start_offset bigint NOT NULL,		-- resolved once, at the first start
	next_offset bigint NOT NULL,		-- of the first record that is not applied yet
	stream_time bigint,			-- greatest event time applied, microseconds (timestamptz); null: no record yet
	PRIMARY KEY (pipeline, relation, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE kafka_state.position IS 'What each pipeline has applied of each partition, committed with the results';

CREATE TABLE kafka_state.mark (
	pipeline bigint NOT NULL,
	relation regclass NOT NULL,
	partition integer NOT NULL,
	record_offset bigint NOT NULL,
	stream_time bigint NOT NULL,		-- of the partition just before record_offset
	PRIMARY KEY (pipeline, relation, partition, record_offset)
);
COMMENT ON TABLE kafka_state.mark IS 'Places from which an unlogged buffer can be reloaded after a crash';

CREATE TABLE kafka_state.skipped (
	pipeline bigint NOT NULL,
	relation regclass NOT NULL,
	partition integer NOT NULL,
	record_offset bigint NOT NULL,
	view bigint,				-- null: for every view of the pipeline
	input integer,				-- place in the view's query, from 0; null: wherever the topic stands in it
	retried boolean NOT NULL DEFAULT false,	-- it has been applied since: kafka_state.retried has it for reloads
	UNIQUE NULLS NOT DISTINCT (pipeline, relation, partition, record_offset, view, input)
);
ALTER TABLE kafka_state.skipped REPLICA IDENTITY FULL;	-- a publication FOR ALL TABLES would keep the engine from deleting
COMMENT ON TABLE kafka_state.skipped IS 'Records that a reload of buffers must leave out: dead letters of a view, and rows that were late by the closed frontier only';

CREATE UNLOGGED TABLE kafka_state.sentinel (pipeline bigint PRIMARY KEY);
COMMENT ON TABLE kafka_state.sentinel IS 'A pipeline whose row is missing lost its unlogged buffers in a crash and must reload them';

CREATE TABLE kafka_state.published (
	pipeline bigint PRIMARY KEY,
	batch bigint NOT NULL,
	part bigint NOT NULL,			-- 0: all of the batch; otherwise its outbox rows up to this seq
	at timestamptz NOT NULL,
	decided boolean NOT NULL DEFAULT false	-- kafka.resume or kafka.fork has said so: holds without Kafka's metadata
);
COMMENT ON TABLE kafka_state.published IS 'The publisher''s own note of what it published last; Kafka''s metadata may be ahead of it by one transaction';

CREATE TABLE kafka_state.redo (
	pipeline bigint PRIMARY KEY,
	batch bigint NOT NULL,			-- the last one that Kafka has
	positions jsonb NOT NULL,		-- [{"topic":..,"partition":..,"offset":..}] that it has
	frontiers jsonb				-- {"clock": microseconds, "view id": microseconds or null}, without views that had no first rows yet; null: they did not fit there
);
COMMENT ON TABLE kafka_state.redo IS 'Pipelines of which Kafka has more than this database: up to there records are applied again and not published';

CREATE TABLE kafka_state.outbox_batch (
	pipeline bigint NOT NULL,
	batch bigint NOT NULL,
	positions jsonb NOT NULL,		-- [{"topic":..,"partition":..,"offset":..}] after this batch
	frontiers jsonb NOT NULL,		-- {"clock": microseconds, "view id": microseconds or null}, without views that have no first rows yet
	made_in text,				-- timeline and data directory, as in pipeline.compared, of one that has messages and moves no position; null: it does
	PRIMARY KEY (pipeline, batch)
);
COMMENT ON TABLE kafka_state.outbox_batch IS 'What the Kafka commit of a batch carries besides its messages; the messages are in kafka_state.outbox_N';

CREATE TABLE kafka_state.transaction_outbox (
	server text NOT NULL,			-- foreign server by name
	xid xid8 NOT NULL,
	seq bigint GENERATED ALWAYS AS IDENTITY,
	messages bytea NOT NULL,		-- packed, see extension/outbox.c
	PRIMARY KEY (server, seq)
) WITH (toast_tuple_target = 8160);	-- a full row fills a page
ALTER TABLE kafka_state.transaction_outbox ALTER COLUMN messages SET STORAGE EXTERNAL;
CREATE INDEX ON kafka_state.transaction_outbox (server, xid);
COMMENT ON TABLE kafka_state.transaction_outbox IS 'Messages of ordinary transactions, until they are published';

CREATE TABLE kafka_state.transaction_batch (
	server text PRIMARY KEY,
	token text NOT NULL,
	batch bigint NOT NULL,
	snapshot pg_snapshot,			-- batch = rows visible in snapshot and not in previous (null: nothing is); null: no batch yet
	previous pg_snapshot,
	published boolean NOT NULL,
	claimed boolean NOT NULL DEFAULT false,	-- false: cannot be out, because Kafka has not been told of it
	part bigint NOT NULL DEFAULT 0,		-- while published is false: rows up to this seq are out
	owner text NOT NULL DEFAULT '',		-- the process that publishes it, as Kafka's metadata has it: what another one has under this number is not this batch
	made_in text NOT NULL DEFAULT ''	-- timeline and data directory, as in pipeline.compared, where that was; '': elsewhere, or before kafka.adopt
);
COMMENT ON TABLE kafka_state.transaction_batch IS 'The last batch made of kafka_state.transaction_outbox, per server';

CREATE TABLE kafka_state.dead_letter (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	pipeline bigint NOT NULL,
	relation regclass NOT NULL,		-- the topic's foreign table; of a row that time made, the view it came from
	view regclass,				-- null: the record could not be decoded; else the view whose expression failed
	topic text,				-- this and the next two null: no record, but a row that time made, with its JSON as the value
	partition integer,
	record_offset bigint,
	record_time timestamptz,
	key bytea,
	value bytea,
	headers jsonb,
	upper_rows jsonb,			-- of a view over views: {"view id": [row as text, ...]} that it could not bear
	rows_only boolean NOT NULL DEFAULT false,	-- it got those alone, when the record was tried again for a view that it reads
	sqlstate text NOT NULL,
	message text NOT NULL,
	detail text,
	at timestamptz NOT NULL DEFAULT now(),
	attempts integer NOT NULL DEFAULT 1,	-- that have failed; the error is that of the last one
	retried_at timestamptz,			-- when that was, unless it was the first
	retry_requested timestamptz		-- kafka.retry_dead_letters: the pipeline's next batch takes it
);
CREATE INDEX ON kafka_state.dead_letter (pipeline, relation, partition, record_offset, id) WHERE retry_requested IS NOT NULL;
COMMENT ON TABLE kafka_state.dead_letter IS 'Records that could not be applied, as they came; groups and rows that could not be written when their windows closed';

CREATE TABLE kafka_state.retried (
	id bigint PRIMARY KEY,			-- it had as a dead letter
	pipeline bigint NOT NULL,
	relation regclass NOT NULL,
	view regclass,				-- null: it was applied to every view that reads the topic
	partition integer NOT NULL,
	record_offset bigint NOT NULL,
	record_time timestamptz,
	event_time bigint NOT NULL,		-- microseconds (timestamptz)
	key bytea,
	value bytea,
	headers jsonb
);
COMMENT ON TABLE kafka_state.retried IS 'Dead letters that have been applied since and are in buffers, for which a reload has them from here';

-------------------------------------------------------------------------------------------------------------- the wrapper (DESIGN.md 1.1, 1.2)

CREATE FUNCTION kafka.fdw_handler() RETURNS fdw_handler
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_fdw_handler';
COMMENT ON FUNCTION kafka.fdw_handler() IS 'Handler of the foreign data wrapper kafka';
REVOKE ALL ON FUNCTION kafka.fdw_handler() FROM PUBLIC;
CREATE FUNCTION kafka.fdw_validator(options text[], catalog oid) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_fdw_validator';
COMMENT ON FUNCTION kafka.fdw_validator(text[], oid) IS 'Checks options of servers, user mappings, topics and columns';
CREATE FOREIGN DATA WRAPPER kafka HANDLER kafka.fdw_handler VALIDATOR kafka.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER kafka IS 'Kafka topics as foreign tables; a server is a Kafka cluster';

-------------------------------------------------------------------------------------------------------------- continuous views (DESIGN.md 1.3)

CREATE FUNCTION kafka.create_view(name text, query text, options jsonb DEFAULT '{}', with_data boolean DEFAULT true) RETURNS regclass
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_create_view';
COMMENT ON FUNCTION kafka.create_view(text, text, jsonb, boolean) IS 'Creates a continuous view, like CREATE MATERIALIZED VIEW name WITH (kafka.continuous, kafka.option = value) AS query; {"stored": false}: like CREATE VIEW; with_data false: paused';

CREATE FUNCTION kafka_state.refuse_write() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_refuse_write';
COMMENT ON FUNCTION kafka_state.refuse_write() IS 'Trigger on result tables: refuses direct writes';

CREATE FUNCTION kafka_state.on_drop() RETURNS event_trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_on_drop';
COMMENT ON FUNCTION kafka_state.on_drop() IS 'Event trigger: forgets the state of dropped views and topics';
REVOKE ALL ON FUNCTION kafka_state.on_drop() FROM PUBLIC;
CREATE EVENT TRIGGER kafka_on_drop ON sql_drop EXECUTE FUNCTION kafka_state.on_drop();
ALTER EVENT TRIGGER kafka_on_drop ENABLE ALWAYS;	-- in a session that only replays changes too
COMMENT ON EVENT TRIGGER kafka_on_drop IS 'kafka_views: forgets the state of dropped views and topics';

-------------------------------------------------------------------------------------------------------------- windows (extension/window.c)

CREATE FUNCTION kafka.tumble(at timestamptz, size interval) RETURNS tstzrange
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1 AS 'MODULE_PATHNAME', 'kafka_tumble';
COMMENT ON FUNCTION kafka.tumble(timestamptz, interval) IS
	'The window [start, start + size) that holds a moment; windows are aligned to 1970-01-01 00:00 UTC and follow each other without gaps';

CREATE FUNCTION kafka.hop(at timestamptz, size interval, advance interval) RETURNS SETOF tstzrange
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 4 ROWS 4 AS 'MODULE_PATHNAME', 'kafka_hop';
COMMENT ON FUNCTION kafka.hop(timestamptz, interval, interval) IS
	'Every window [start, start + size) that holds a moment, of those that begin each advance, aligned to 1970-01-01 00:00 UTC; use it as CROSS JOIN LATERAL kafka.hop(...)';

CREATE FUNCTION kafka.session(at timestamptz, gap interval) RETURNS tstzrange
LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1 AS 'MODULE_PATHNAME', 'kafka_session';
COMMENT ON FUNCTION kafka.session(timestamptz, interval) IS
	'In GROUP BY of a continuous view: the session [first event, last event] of events no further apart than gap';

CREATE TYPE kafka_state.session_answer AS (
	kv_row bigint,			-- a new row; null: this is about a stored session
	stored tstzrange,		-- a stored session that has been extended or merged
	session tstzrange,		-- what row or stored session belongs to now; null: the row is late, or has no time
	late boolean
);
COMMENT ON TYPE kafka_state.session_answer IS 'What kafka_state.sessionize says about a row or a stored session';
CREATE FUNCTION kafka_state.sessionize_step(internal, tstzrange[], bigint, timestamptz, timestamptz, interval, interval) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_sessionize_step';
COMMENT ON FUNCTION kafka_state.sessionize_step(internal, tstzrange[], bigint, timestamptz, timestamptz, interval, interval) IS
	'Transition function of kafka_state.sessionize';
CREATE FUNCTION kafka_state.sessionize_final(internal) RETURNS kafka_state.session_answer[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_sessionize_final';
COMMENT ON FUNCTION kafka_state.sessionize_final(internal) IS 'Final function of kafka_state.sessionize';
CREATE AGGREGATE kafka_state.sessionize(stored tstzrange[], kv_row bigint, at timestamptz, reached timestamptz, gap interval, grace interval) (
	STYPE = internal, SFUNC = kafka_state.sessionize_step, FINALFUNC = kafka_state.sessionize_final, FINALFUNC_MODIFY = read_only, PARALLEL = safe);
COMMENT ON AGGREGATE kafka_state.sessionize(tstzrange[], bigint, timestamptz, timestamptz, interval, interval) IS
	'Puts the rows of one group, ORDER BY kv_row, into sessions, given its open ones; null grace: sessions never close';

-------------------------------------------------------------------------------------------------------------- aggregates (extension/first_last.c)

CREATE FUNCTION kafka_state.first_step(internal, anyelement, anycompatible) RETURNS internal
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_first_step';
COMMENT ON FUNCTION kafka_state.first_step(internal, anyelement, anycompatible) IS 'Transition function of kafka.first';
CREATE FUNCTION kafka_state.last_step(internal, anyelement, anycompatible) RETURNS internal
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_last_step';
COMMENT ON FUNCTION kafka_state.last_step(internal, anyelement, anycompatible) IS 'Transition function of kafka.last';
CREATE FUNCTION kafka_state.first_combine(internal, internal) RETURNS internal
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_first_combine';
COMMENT ON FUNCTION kafka_state.first_combine(internal, internal) IS 'Combine function of kafka.first';
CREATE FUNCTION kafka_state.last_combine(internal, internal) RETURNS internal
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_last_combine';
COMMENT ON FUNCTION kafka_state.last_combine(internal, internal) IS 'Combine function of kafka.last';
CREATE FUNCTION kafka_state.first_last_serialize(internal) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_first_last_serialize';
COMMENT ON FUNCTION kafka_state.first_last_serialize(internal) IS 'Serialisation function of kafka.first and kafka.last';
CREATE FUNCTION kafka_state.first_last_deserialize(bytea, internal) RETURNS internal
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_first_last_deserialize';
COMMENT ON FUNCTION kafka_state.first_last_deserialize(bytea, internal) IS 'Deserialisation function of kafka.first and kafka.last';
CREATE FUNCTION kafka_state.first_last_final(internal, anyelement, anycompatible) RETURNS anyelement
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_first_last_final';
COMMENT ON FUNCTION kafka_state.first_last_final(internal, anyelement, anycompatible) IS 'Final function of kafka.first and kafka.last';
CREATE AGGREGATE kafka.first(value anyelement, sort anycompatible) (
	STYPE = internal, SFUNC = kafka_state.first_step, FINALFUNC = kafka_state.first_last_final, FINALFUNC_EXTRA, FINALFUNC_MODIFY = read_only,
	COMBINEFUNC = kafka_state.first_combine, SERIALFUNC = kafka_state.first_last_serialize, DESERIALFUNC = kafka_state.first_last_deserialize,
	PARALLEL = safe);
COMMENT ON AGGREGATE kafka.first(anyelement, anycompatible) IS
	'Value of the row with the least sort, of several the first of them that came; rows without sort do not count';
CREATE AGGREGATE kafka.last(value anyelement, sort anycompatible) (
	STYPE = internal, SFUNC = kafka_state.last_step, FINALFUNC = kafka_state.first_last_final, FINALFUNC_EXTRA, FINALFUNC_MODIFY = read_only,
	COMBINEFUNC = kafka_state.last_combine, SERIALFUNC = kafka_state.first_last_serialize, DESERIALFUNC = kafka_state.first_last_deserialize,
	PARALLEL = safe);
COMMENT ON AGGREGATE kafka.last(anyelement, anycompatible) IS
	'Value of the row with the greatest sort, of several the last of them that came; rows without sort do not count';

-------------------------------------------------------------------------------------------------------------- aggregate state (extension/agg_state.c, agg_call.c)

CREATE TYPE kafka_state.agg_state;
CREATE FUNCTION kafka_state.agg_state_in(cstring) RETURNS kafka_state.agg_state
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_agg_state_in';
COMMENT ON FUNCTION kafka_state.agg_state_in(cstring) IS 'Input of kafka_state.agg_state: for superusers, who restore dumps';
CREATE FUNCTION kafka_state.agg_state_out(kafka_state.agg_state) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_agg_state_out';
COMMENT ON FUNCTION kafka_state.agg_state_out(kafka_state.agg_state) IS 'Output of kafka_state.agg_state';
CREATE FUNCTION kafka_state.agg_state_recv(internal) RETURNS kafka_state.agg_state
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_agg_state_recv';
COMMENT ON FUNCTION kafka_state.agg_state_recv(internal) IS 'Binary input of kafka_state.agg_state: for superusers';
CREATE FUNCTION kafka_state.agg_state_send(kafka_state.agg_state) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_agg_state_send';
COMMENT ON FUNCTION kafka_state.agg_state_send(kafka_state.agg_state) IS 'Binary output of kafka_state.agg_state';
CREATE TYPE kafka_state.agg_state (
	INPUT = kafka_state.agg_state_in, OUTPUT = kafka_state.agg_state_out,
	RECEIVE = kafka_state.agg_state_recv, SEND = kafka_state.agg_state_send,
	STORAGE = extended, COLLATABLE = true	-- an aggregate's functions compare by the collation of its arguments
);
COMMENT ON TYPE kafka_state.agg_state IS 'Transition state of an aggregate; null: that of no rows. Only functions of kafka_state make one';

CREATE FUNCTION kafka_state.agg_partial_step(internal, regprocedure) RETURNS internal
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_partial_step';
COMMENT ON FUNCTION kafka_state.agg_partial_step(internal, regprocedure) IS 'Transition function of kafka_state.agg_partial';
CREATE FUNCTION kafka_state.agg_partial_step(internal, regprocedure, VARIADIC "any") RETURNS internal
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_partial_step';
COMMENT ON FUNCTION kafka_state.agg_partial_step(internal, regprocedure, VARIADIC "any") IS 'Transition function of kafka_state.agg_partial';
CREATE FUNCTION kafka_state.agg_merge_step(internal, regprocedure, kafka_state.agg_state) RETURNS internal
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_merge_step';
COMMENT ON FUNCTION kafka_state.agg_merge_step(internal, regprocedure, kafka_state.agg_state) IS 'Transition function of kafka_state.agg_merge';
CREATE FUNCTION kafka_state.agg_merge_step(internal, regprocedure, kafka_state.agg_state, VARIADIC "any") RETURNS internal
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_merge_step';
COMMENT ON FUNCTION kafka_state.agg_merge_step(internal, regprocedure, kafka_state.agg_state, VARIADIC "any") IS
	'Transition function of kafka_state.agg_merge';
CREATE FUNCTION kafka_state.agg_keep(internal) RETURNS kafka_state.agg_state
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_keep';
COMMENT ON FUNCTION kafka_state.agg_keep(internal) IS 'Final function of kafka_state.agg_partial and agg_merge';

CREATE AGGREGATE kafka_state.agg_partial(aggregate regprocedure) (
	STYPE = internal, SFUNC = kafka_state.agg_partial_step, FINALFUNC = kafka_state.agg_keep, FINALFUNC_MODIFY = read_only);
COMMENT ON AGGREGATE kafka_state.agg_partial(regprocedure) IS 'State of an aggregate without arguments over rows';
CREATE AGGREGATE kafka_state.agg_partial(aggregate regprocedure, VARIADIC arguments "any") (
	STYPE = internal, SFUNC = kafka_state.agg_partial_step, FINALFUNC = kafka_state.agg_keep, FINALFUNC_MODIFY = read_only);
COMMENT ON AGGREGATE kafka_state.agg_partial(regprocedure, VARIADIC "any") IS 'State of an aggregate over rows';
CREATE AGGREGATE kafka_state.agg_merge(aggregate regprocedure, state kafka_state.agg_state) (
	STYPE = internal, SFUNC = kafka_state.agg_merge_step, FINALFUNC = kafka_state.agg_keep, FINALFUNC_MODIFY = read_only);
COMMENT ON AGGREGATE kafka_state.agg_merge(regprocedure, kafka_state.agg_state) IS 'States of an aggregate, combined';
CREATE AGGREGATE kafka_state.agg_merge(aggregate regprocedure, state kafka_state.agg_state, VARIADIC types "any") (
	STYPE = internal, SFUNC = kafka_state.agg_merge_step, FINALFUNC = kafka_state.agg_keep, FINALFUNC_MODIFY = read_only);
COMMENT ON AGGREGATE kafka_state.agg_merge(regprocedure, kafka_state.agg_state, VARIADIC "any") IS
	'States of a polymorphic aggregate, combined; types are nulls of its argument types';

CREATE FUNCTION kafka_state.agg_combine(aggregate regprocedure, one kafka_state.agg_state, other kafka_state.agg_state)
	RETURNS kafka_state.agg_state
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_combine';
COMMENT ON FUNCTION kafka_state.agg_combine(regprocedure, kafka_state.agg_state, kafka_state.agg_state) IS 'Two states of an aggregate, combined';
CREATE FUNCTION kafka_state.agg_combine(aggregate regprocedure, one kafka_state.agg_state, other kafka_state.agg_state, VARIADIC types "any")
	RETURNS kafka_state.agg_state
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_combine';
COMMENT ON FUNCTION kafka_state.agg_combine(regprocedure, kafka_state.agg_state, kafka_state.agg_state, VARIADIC "any") IS
	'Two states of a polymorphic aggregate, combined; types are nulls of its argument types';
CREATE FUNCTION kafka_state.agg_continue(aggregate regprocedure, state kafka_state.agg_state, further_rows record[]) RETURNS kafka_state.agg_state
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_continue';
COMMENT ON FUNCTION kafka_state.agg_continue(regprocedure, kafka_state.agg_state, record[]) IS
	'State of an aggregate after further rows, in their order; a row is the arguments of one call';
CREATE FUNCTION kafka_state.agg_final(aggregate regprocedure, state kafka_state.agg_state, result anyelement) RETURNS anyelement
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_final';
COMMENT ON FUNCTION kafka_state.agg_final(regprocedure, kafka_state.agg_state, anyelement) IS
	'Result of an aggregate in this state; result is a null of its type';
CREATE FUNCTION kafka_state.agg_final(aggregate regprocedure, state kafka_state.agg_state, result anyelement, VARIADIC types "any") RETURNS anyelement
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_agg_final';
COMMENT ON FUNCTION kafka_state.agg_final(regprocedure, kafka_state.agg_state, anyelement, VARIADIC "any") IS
	'Result of a polymorphic aggregate in this state; result is a null of its type, types are nulls of its argument types';

-------------------------------------------------------------------------------------------------------------- sums of numeric that are corrected (extension/number_kinds.c)

CREATE FUNCTION kafka_state.number_kinds_add(state internal, value numeric, added boolean) RETURNS internal
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_number_kinds_add';
COMMENT ON FUNCTION kafka_state.number_kinds_add(internal, numeric, boolean) IS 'Transition function of kafka_state.number_kinds';
CREATE FUNCTION kafka_state.number_kinds_result(state internal) RETURNS bigint[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_number_kinds_result';
COMMENT ON FUNCTION kafka_state.number_kinds_result(internal) IS 'Final function of kafka_state.number_kinds';
CREATE AGGREGATE kafka_state.number_kinds(value numeric, added boolean) (
	SFUNC = kafka_state.number_kinds_add, STYPE = internal, FINALFUNC = kafka_state.number_kinds_result, PARALLEL = SAFE);
COMMENT ON AGGREGATE kafka_state.number_kinds(numeric, boolean) IS
	'Counts numbers added less numbers taken away: NaN, infinity, minus infinity, then the finite ones by scale from 0 on';
CREATE FUNCTION kafka_state.number_kinds_sum(one bigint[], other bigint[]) RETURNS bigint[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_number_kinds_sum';
COMMENT ON FUNCTION kafka_state.number_kinds_sum(bigint[], bigint[]) IS 'Both counts of kafka_state.number_kinds together';
CREATE FUNCTION kafka_state.number_total(finite numeric, kinds bigint[]) RETURNS numeric
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'kafka_number_total';
COMMENT ON FUNCTION kafka_state.number_total(numeric, bigint[]) IS 'The sum of numbers, as sum() gives it, from the sum of the finite ones and their kafka_state.number_kinds';

-------------------------------------------------------------------------------------------------------------- output (DESIGN.md 1.4)

CREATE FUNCTION kafka.publish() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_publish';
COMMENT ON FUNCTION kafka.publish() IS 'Trigger function kafka.publish(''topic_table''): writes every changed row to the topic, by column name';

CREATE FUNCTION kafka_state.row_time("time" timestamptz, VARIADIC columns "any") RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_row_time';
COMMENT ON FUNCTION kafka_state.row_time(timestamptz, "any") IS 'In maintenance statements: notes the event time of a row or a group for its messages; always true';

CREATE FUNCTION kafka.attach_sink(view regclass, topic_table regclass, snapshot boolean DEFAULT true) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_attach_sink';
COMMENT ON FUNCTION kafka.attach_sink(regclass, regclass, boolean) IS 'Makes triggers that write the view''s changes to the topic, and publishes the rows already there unless snapshot is false';

CREATE FUNCTION kafka.create_sink(view regclass, topic text, key text[] DEFAULT NULL, server name DEFAULT NULL, snapshot boolean DEFAULT true)
	RETURNS regclass
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_create_sink';
COMMENT ON FUNCTION kafka.create_sink(regclass, text, text[], name, boolean) IS 'Creates a topic table with the view''s columns, by default with its key and on its server, and attaches it';

CREATE FUNCTION kafka.detach_sink(view regclass, topic_table regclass) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_detach_sink';
COMMENT ON FUNCTION kafka.detach_sink(regclass, regclass) IS 'Ends what attach_sink began: changes from now on are not written to the topic; what is under way still is';

-------------------------------------------------------------------------------------------------------------- seeing (DESIGN.md 1.5)

CREATE FUNCTION kafka_state.processes(
	OUT kind text, OUT id bigint, OUT pid integer, OUT phase text, OUT batches bigint, OUT records bigint,
	OUT dead_letters bigint, OUT null_values bigint, OUT published_messages bigint, OUT buffered_records bigint,
	OUT reload_done bigint, OUT reload_total bigint, OUT batch_ms double precision, OUT records_per_second double precision,
	OUT last_batch_at timestamptz, OUT failures integer, OUT retry_at timestamptz, OUT error_at timestamptz,
	OUT error text, OUT error_detail text, OUT error_hint text) RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kafka_processes';
COMMENT ON FUNCTION kafka_state.processes() IS 'Processes of this database, and outputs, and publishers that have no place for one: those of views that the role may read, all for pg_read_all_stats';

CREATE FUNCTION kafka_state.oldest_snapshot() RETURNS timestamptz
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT min(began) FROM (
			SELECT a.xact_start FROM pg_stat_activity a
				WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.datname = current_database() AND a.pid <> pg_backend_pid()
			UNION ALL
			SELECT p.prepared FROM pg_prepared_xacts p WHERE p.database = current_database()) held(began)
	$$;
COMMENT ON FUNCTION kafka_state.oldest_snapshot() IS
	'Begin of the oldest transaction of this database, prepared ones among them, for which dead rows are kept; null: none. Shown to who may not see whose it is';

CREATE FUNCTION kafka_state.partition_ends(
	OUT pipeline bigint, OUT relation regclass, OUT partition integer, OUT next_offset bigint, OUT end_offset bigint,
	OUT stream_time timestamptz) RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'kafka_partition_ends';
COMMENT ON FUNCTION kafka_state.partition_ends() IS 'Positions of the pipelines whose views the role may read, with the ends that the broker gives';

CREATE FUNCTION kafka_state.time_of(microseconds bigint) RETURNS timestamptz
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN timestamptz '2000-01-01 00:00:00+00' + microseconds * interval '1 microsecond';
COMMENT ON FUNCTION kafka_state.time_of(bigint) IS 'Microseconds of Postgres'' epoch, as kafka_state stores times, as a timestamptz';

CREATE VIEW kafka.topics WITH (security_barrier) AS
SELECT t.ftrelid::regclass AS relation,
	s.srvname AS server,
	o.topic,
	coalesce(o.format, 'json') AS format,
	coalesce(o.mode, 'append') AS mode,
	coalesce(o.event_time, 'record timestamp') AS event_time,
	coalesce(o.start, 'earliest') AS start,
	coalesce(o.on_error, 'dead_letter') AS on_error,
	(SELECT count(*) FROM kafka_state.dead_letter d WHERE d.relation = t.ftrelid::regclass) AS dead_letters,
	coalesce(p.error, u.error) AS publish_error,
	coalesce(p.error_detail, u.error_detail) AS publish_error_detail,
	coalesce(p.error_hint, u.error_hint) AS publish_error_hint
FROM pg_catalog.pg_foreign_table t
JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver
JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'kafka'
CROSS JOIN LATERAL (
	SELECT max(option_value) FILTER (WHERE option_name = 'topic') AS topic,
		max(option_value) FILTER (WHERE option_name = 'format') AS format,
		max(option_value) FILTER (WHERE option_name = 'mode') AS mode,
		max(option_value) FILTER (WHERE option_name = 'event_time') AS event_time,
		max(option_value) FILTER (WHERE option_name = 'start') AS start,
		max(option_value) FILTER (WHERE option_name = 'on_error') AS on_error
	FROM pg_catalog.pg_options_to_table(t.ftoptions)) o
LEFT JOIN kafka_state.processes() p ON p.kind = 'publisher' AND p.id = t.ftserver::bigint
LEFT JOIN kafka_state.processes() u ON u.kind = 'supervisor' AND p.pid IS NULL		-- why nobody publishes
WHERE has_table_privilege(t.ftrelid, 'SELECT, INSERT');
COMMENT ON VIEW kafka.topics IS 'Topic tables that the role may read or write, and what keeps back the messages that ordinary transactions write there';
GRANT SELECT ON kafka.topics TO PUBLIC;

CREATE VIEW kafka.views WITH (security_barrier) AS
SELECT v.relation AS view,
	p.name AS pipeline,
	c.relowner::regrole AS owner,
	v.relation <> v.definition AS stored,
	v.options,
	p.paused,
	kafka_state.time_of(v.frontier) AS frontier,
	v.late_rows,
	(SELECT count(*) FROM kafka_state.dead_letter d WHERE d.view = v.relation) AS dead_letters,
	pg_catalog.pg_get_viewdef(v.definition) AS definition
FROM kafka_state.view v
JOIN kafka_state.pipeline p USING (pipeline)
JOIN pg_catalog.pg_class c ON c.oid = v.relation
WHERE has_table_privilege(v.relation::oid, 'SELECT');
COMMENT ON VIEW kafka.views IS 'Continuous views that the role may read';
GRANT SELECT ON kafka.views TO PUBLIC;

CREATE VIEW kafka.pipelines WITH (security_barrier) AS
SELECT p.name AS pipeline,
	(SELECT array_agg(v.relation ORDER BY v.view) FROM kafka_state.view v WHERE v.pipeline = p.pipeline) AS views,
	CASE WHEN p.paused THEN 'paused' WHEN w.error IS NOT NULL AND w.phase <> 'waiting' THEN 'failed' WHEN w.pid IS NULL THEN 'waiting' ELSE 'running' END AS state,
	coalesce(w.phase, 'waiting') AS phase,
	w.pid,
	p.batch,
	n.batch AS published_batch,
	w.records,
	w.records_per_second,
	w.batch_ms,
	w.last_batch_at,
	w.buffered_records,
	w.null_values,
	(SELECT sum(v.late_rows) FROM kafka_state.view v WHERE v.pipeline = p.pipeline)::bigint AS late_rows,
	(SELECT count(*) FROM kafka_state.dead_letter d WHERE d.pipeline = p.pipeline) AS dead_letters,
	w.reload_done,
	w.reload_total,
	w.failures,
	coalesce(w.error_at, s.error_at) AS error_at,
	coalesce(w.retry_at, s.retry_at) AS retry_at,
	coalesce(w.error, s.error) AS error,
	coalesce(w.error_detail, s.error_detail) AS error_detail,
	coalesce(w.error_hint, s.error_hint) AS error_hint,
	o.published_messages,
	coalesce(o.error, l.error, u.error) AS publish_error,
	coalesce(o.error_detail, u.error_detail) AS publish_error_detail,
	coalesce(o.error_hint, l.error_hint, u.error_hint) AS publish_error_hint,
	(SELECT kafka_state.oldest_snapshot()) AS oldest_snapshot
FROM kafka_state.pipeline p
LEFT JOIN kafka_state.published n USING (pipeline)
LEFT JOIN kafka_state.processes() w ON w.kind = 'worker' AND w.id = p.pipeline
LEFT JOIN kafka_state.processes() s ON s.kind = 'supervisor' AND w.pid IS NULL		-- why it has no worker
LEFT JOIN kafka_state.processes() o ON o.kind = 'output' AND o.id = p.pipeline
CROSS JOIN LATERAL (
	SELECT min(f.ftserver)::bigint AS id FROM kafka_state.position x JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = x.relation::oid WHERE x.pipeline = p.pipeline) server
LEFT JOIN kafka_state.processes() u ON u.kind = 'publisher' AND u.id = server.id AND u.pid IS NULL		-- why nobody publishes for it
LEFT JOIN kafka_state.processes() l ON l.kind = 'no output' AND l.id = server.id AND o.kind IS NULL		-- or somebody does, but not for it
WHERE EXISTS (SELECT FROM kafka_state.view v WHERE v.pipeline = p.pipeline AND has_table_privilege(v.relation::oid, 'SELECT'));
COMMENT ON VIEW kafka.pipelines IS 'Pipelines whose views the role may read: what they do, how fast, and what is wrong';
GRANT SELECT ON kafka.pipelines TO PUBLIC;

CREATE VIEW kafka.lag AS
SELECT p.name AS pipeline,
	e.relation AS topic,
	e.partition,
	e.next_offset AS position,
	e.end_offset,
	greatest(e.end_offset - e.next_offset, 0) AS lag,
	e.stream_time
FROM kafka_state.partition_ends() e
JOIN kafka_state.pipeline p USING (pipeline);
COMMENT ON VIEW kafka.lag IS 'How far each pipeline is in each partition; asks the broker for the ends';
GRANT SELECT ON kafka.lag TO PUBLIC;

CREATE VIEW kafka.sinks WITH (security_barrier) AS
SELECT s.relation,
	s.trigger,
	s.topic,
	s.enabled,
	p.name AS pipeline,
	p.batch - n.batch AS unpublished_batches,
	w.pid AS publisher,
	o.published_messages,
	coalesce(o.error, l.error, m.error, u.error) AS error,
	coalesce(o.error_detail, m.error_detail, u.error_detail) AS error_detail,
	coalesce(o.error_hint, l.error_hint, m.error_hint, u.error_hint) AS error_hint
FROM (
	SELECT t.tgrelid::regclass AS relation, t.tgname AS trigger, to_regclass(a.topic_table) AS topic, t.tgenabled <> 'D' AS enabled
	FROM pg_catalog.pg_trigger t
	CROSS JOIN LATERAL (
		SELECT convert_from(rtrim(t.tgargs, '\x00'::bytea), getdatabaseencoding()) AS topic_table) a
	WHERE t.tgfoid = to_regprocedure('kafka.publish()')
	UNION ALL
	SELECT v.relation, NULL, k.topic_table, true
	FROM kafka_state.sink k
	JOIN kafka_state.view v USING (view)) s
LEFT JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = s.topic
LEFT JOIN kafka_state.view v ON v.relation = s.relation
LEFT JOIN kafka_state.pipeline p ON p.pipeline = v.pipeline
LEFT JOIN kafka_state.published n ON n.pipeline = v.pipeline
LEFT JOIN kafka_state.processes() w ON w.kind = 'publisher' AND w.id = f.ftserver::bigint
LEFT JOIN kafka_state.processes() m ON m.kind = 'publisher' AND m.id = w.id AND (v.view IS NULL OR m.pid IS NULL)		-- its own error is that of ordinary transactions
LEFT JOIN kafka_state.processes() u ON u.kind = 'supervisor' AND w.pid IS NULL
LEFT JOIN kafka_state.processes() o ON o.kind = 'output' AND o.id = v.pipeline
LEFT JOIN kafka_state.processes() l ON l.kind = 'no output' AND l.id = f.ftserver::bigint AND v.view IS NOT NULL AND o.kind IS NULL
WHERE has_table_privilege(s.relation::oid, 'SELECT');
COMMENT ON VIEW kafka.sinks IS 'Topics that follow the tables and views that the role may read: by triggers with kafka.publish, or, of unstored views, without';
GRANT SELECT ON kafka.sinks TO PUBLIC;

CREATE VIEW kafka.dead_letters WITH (security_barrier) AS
SELECT d.id,
	p.name AS pipeline,
	d.relation,
	d.view,
	d.topic,
	d.partition,
	d.record_offset AS "offset",
	d.record_time,
	d.key,
	d.value,
	d.headers,
	d.sqlstate,
	d.message,
	d.detail,
	d.at,
	d.attempts,
	d.retried_at,
	d.retry_requested
FROM kafka_state.dead_letter d
LEFT JOIN kafka_state.pipeline p USING (pipeline)
WHERE EXISTS (SELECT FROM pg_catalog.pg_class c
			  WHERE c.oid IN (d.relation, d.view) AND pg_has_role(c.relowner, 'USAGE'));
COMMENT ON VIEW kafka.dead_letters IS 'Records that could not be applied, for the owner of the topic table or of the view';
GRANT SELECT ON kafka.dead_letters TO PUBLIC;

-------------------------------------------------------------------------------------------------------------- steering (DESIGN.md 1.5)

CREATE FUNCTION kafka.wait_for_view(view regclass, timeout interval DEFAULT '1 minute') RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_wait_for_view';
COMMENT ON FUNCTION kafka.wait_for_view(regclass, interval) IS 'Waits until everything that is in the view''s topics now has been applied and published; false after the timeout';

CREATE FUNCTION kafka.verify(view regclass, OUT difference text, OUT row_data jsonb) RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_verify';
COMMENT ON FUNCTION kafka.verify(regclass) IS 'Compares the view with its query over what has been applied: rows that are missing and rows that are unexpected';

CREATE FUNCTION kafka.explain(view regclass, plans boolean DEFAULT false, OUT phase text, OUT title text, OUT statement text, OUT plan text)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_explain';
COMMENT ON FUNCTION kafka.explain(regclass, boolean) IS 'The statements that maintain the view, in the order in which a batch runs them, and its buffers of streams, logged or not; with plans: and how Postgres runs each for a few rows';

CREATE FUNCTION kafka.retry_dead_letters(relation regclass, ids bigint[] DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_retry_dead_letters';
COMMENT ON FUNCTION kafka.retry_dead_letters(regclass, bigint[]) IS
	'Has dead letters of a topic table (records that could not be decoded) or of a view tried again: all, or those with the given ids; gives how many';

CREATE FUNCTION kafka.discard_dead_letters(relation regclass, ids bigint[] DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_discard_dead_letters';
COMMENT ON FUNCTION kafka.discard_dead_letters(regclass, bigint[]) IS
	'Forgets dead letters of a topic table or of a view, whose records stay left out: all, or those with the given ids; gives how many';

CREATE FUNCTION kafka.pause(pipeline text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_pause_pipeline';
COMMENT ON FUNCTION kafka.pause(text) IS 'Pauses a pipeline';
CREATE FUNCTION kafka.pause(view regclass) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_pause_view';
COMMENT ON FUNCTION kafka.pause(regclass) IS 'Pauses the pipeline of a view';
CREATE FUNCTION kafka.resume(pipeline text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_resume_pipeline';
COMMENT ON FUNCTION kafka.resume(text) IS 'Lets a paused pipeline go on';
CREATE FUNCTION kafka.resume(view regclass) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_resume_view';
COMMENT ON FUNCTION kafka.resume(regclass) IS 'Lets the paused pipeline of a view go on';
CREATE FUNCTION kafka.resume(pipeline text, published bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_resume_published';
COMMENT ON FUNCTION kafka.resume(text, bigint) IS 'Where Kafka cannot tell which batch of a pipeline was published last: says so, and lets it go on';
CREATE FUNCTION kafka.resume_transactions(server text, published boolean) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_resume_transactions';
COMMENT ON FUNCTION kafka.resume_transactions(text, boolean) IS 'Where Kafka cannot tell whether a batch of ordinary transactions was published: says so, and lets them go on';

CREATE FUNCTION kafka.adopt(take_over boolean DEFAULT false) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_adopt';
COMMENT ON FUNCTION kafka.adopt(boolean) IS 'After a restore or a copy: goes on as the instance that this database was; take_over: also where another server has taken its place in Kafka, which is gone for good';
REVOKE ALL ON FUNCTION kafka.adopt(boolean) FROM PUBLIC;
CREATE FUNCTION kafka.fork() RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'kafka_fork';
COMMENT ON FUNCTION kafka.fork() IS 'After a restore or a copy: goes on as another instance, under new names in Kafka';
REVOKE ALL ON FUNCTION kafka.fork() FROM PUBLIC;

-------------------------------------------------------------------------------------------------------------- what pg_dump carries (DESIGN.md 5.5)
-- identity comes first: a restored database must not start before it is known to be a copy

SELECT pg_catalog.pg_extension_config_dump('kafka_state.identity', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.pipeline', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.pipeline_pipeline_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.view', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.view_view_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.sink', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.position', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.mark', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.skipped', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.published', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.redo', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.outbox_batch', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.transaction_outbox', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.transaction_outbox_seq_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.transaction_batch', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.retried', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('kafka_state.dead_letter_id_seq', '');
