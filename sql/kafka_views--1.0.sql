/* kafka_views 1.0: everything a user calls is in schema kafka, everything the engine owns in kafka_state (DESIGN.md 1). */
\echo Use "CREATE EXTENSION kafka_views" to load this file. \quit

CREATE SCHEMA kafka;
COMMENT ON SCHEMA kafka IS 'kafka_views: everything a user calls';
GRANT USAGE ON SCHEMA kafka TO PUBLIC;
CREATE SCHEMA kafka_state;
COMMENT ON SCHEMA kafka_state IS 'kafka_views: what the engine owns; do not write here';
GRANT USAGE ON SCHEMA kafka_state TO PUBLIC;	-- buffers belong to the owners of their views; every table guards itself

-------------------------------------------------------------------------------------------------------------- engine state (DESIGN.md 5)

CREATE TABLE kafka_state.identity (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	instance text NOT NULL,			-- prefix of every group.id and transactional.id
	system_identifier text NOT NULL,
	data_directory text NOT NULL,
	database oid NOT NULL
);
COMMENT ON TABLE kafka_state.identity IS 'Who this database is to Kafka; where the fingerprint does not match, nothing starts until kafka.adopt() or kafka.fork()';

CREATE TABLE kafka_state.pipeline (
	pipeline bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,	-- never reused
	token text NOT NULL,			-- 8 random hex digits: part of the Kafka names, so that a re-created pipeline is another one
	name text NOT NULL UNIQUE,
	paused boolean NOT NULL DEFAULT false,
	batch bigint NOT NULL DEFAULT 0		-- number of the last batch that was committed with this row locked
);
COMMENT ON TABLE kafka_state.pipeline IS 'One row a pipeline; whoever writes to its outbox locks the row first and takes the next batch number';

CREATE TABLE kafka_state.view (
	view bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,	-- creation order, so inputs come before their readers
	pipeline bigint NOT NULL REFERENCES kafka_state.pipeline,
	relation regclass NOT NULL UNIQUE,	-- the result table
	definition regclass NOT NULL,		-- the real view kafka_state.definition_N with the defining query
	options text[] NOT NULL,		-- name=value, as given, without the prefix kafka.
	settings text[] NOT NULL,		-- name=value: TimeZone, DateStyle, IntervalStyle, search_path, lc_* at creation
	initialized boolean NOT NULL DEFAULT false,	-- a view over views: its first rows have been computed; tables: bootstrapped
	frontier bigint,			-- closed frontier, microseconds since 2000-01-01 UTC (timestamptz), never goes back
	late_rows bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE kafka_state.view IS 'One row a continuous view';

CREATE TABLE kafka_state.position (
	pipeline bigint NOT NULL REFERENCES kafka_state.pipeline,
	relation regclass NOT NULL,		-- the topic's foreign table
	partition integer NOT NULL,
	start_offset bigint NOT NULL,		-- resolved once, at the first start
	next_offset bigint NOT NULL,		-- of the first record that is not applied yet
	stream_time bigint,			-- greatest event time applied, microseconds (timestamptz); null: no record yet
	PRIMARY KEY (pipeline, relation, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE kafka_state.position IS 'What each pipeline has applied of each partition, committed with the results';

CREATE TABLE kafka_state.mark (
	pipeline bigint NOT NULL REFERENCES kafka_state.pipeline,
	relation regclass NOT NULL,
	partition integer NOT NULL,
	record_offset bigint NOT NULL,
	stream_time bigint NOT NULL,		-- of the partition just before record_offset
	PRIMARY KEY (pipeline, relation, partition, record_offset)
);
COMMENT ON TABLE kafka_state.mark IS 'Places from which an unlogged buffer can be reloaded after a crash';

CREATE TABLE kafka_state.skipped (
	pipeline bigint NOT NULL REFERENCES kafka_state.pipeline,
	relation regclass NOT NULL,
	partition integer NOT NULL,
	record_offset bigint NOT NULL,
	view bigint,				-- null: for every view of the pipeline
	UNIQUE NULLS NOT DISTINCT (pipeline, relation, partition, record_offset, view)
);
COMMENT ON TABLE kafka_state.skipped IS 'Records that a reload of buffers must leave out: dead letters of a view, and rows that were late by the closed frontier only';

CREATE UNLOGGED TABLE kafka_state.sentinel (pipeline bigint PRIMARY KEY);
COMMENT ON TABLE kafka_state.sentinel IS 'A pipeline whose row is missing lost its unlogged buffers in a crash and must reload them';

CREATE TABLE kafka_state.published (
	pipeline bigint PRIMARY KEY REFERENCES kafka_state.pipeline,
	batch bigint NOT NULL,
	part integer NOT NULL DEFAULT 0,
	at timestamptz NOT NULL
);
COMMENT ON TABLE kafka_state.published IS 'The publisher''s own note of the last batch it published; Kafka''s metadata may be ahead of it by one';

CREATE TABLE kafka_state.outbox_batch (
	pipeline bigint NOT NULL REFERENCES kafka_state.pipeline,
	batch bigint NOT NULL,
	positions jsonb NOT NULL,		-- [{"topic":..,"partition":..,"offset":..}] after this batch
	frontiers jsonb NOT NULL,		-- {"view id": microseconds}
	PRIMARY KEY (pipeline, batch)
);
COMMENT ON TABLE kafka_state.outbox_batch IS 'What the Kafka commit of a batch carries besides its messages; the messages are in kafka_state.outbox_N';

CREATE TABLE kafka_state.transaction_outbox (
	server text NOT NULL,			-- foreign server by name
	xid xid8 NOT NULL,
	seq bigint GENERATED ALWAYS AS IDENTITY,
	messages bytea NOT NULL			-- packed, see extension/outbox.c
);
ALTER TABLE kafka_state.transaction_outbox ALTER COLUMN messages SET STORAGE EXTERNAL;
CREATE INDEX ON kafka_state.transaction_outbox (server, seq);
COMMENT ON TABLE kafka_state.transaction_outbox IS 'Messages of ordinary transactions, until they are published';

CREATE TABLE kafka_state.transaction_batch (
	server text PRIMARY KEY,
	token text NOT NULL,
	batch bigint NOT NULL,
	snapshot pg_snapshot NOT NULL,		-- batch = rows visible in snapshot and not in previous
	previous pg_snapshot,
	published boolean NOT NULL
);
COMMENT ON TABLE kafka_state.transaction_batch IS 'The last batch made of kafka_state.transaction_outbox, per server';

CREATE TABLE kafka_state.dead_letter (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	pipeline bigint NOT NULL,
	relation regclass NOT NULL,		-- the topic's foreign table
	view regclass,				-- null: the record could not be decoded; else the view whose expression failed
	topic text NOT NULL,
	partition integer NOT NULL,
	record_offset bigint NOT NULL,
	record_time timestamptz,
	key bytea,
	value bytea,
	headers jsonb,
	sqlstate text NOT NULL,
	message text NOT NULL,
	detail text,
	at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE kafka_state.dead_letter IS 'Records that could not be applied, as they came';

-------------------------------------------------------------------------------------------------------------- windows (extension/window.c)

CREATE FUNCTION kafka.tumble(at timestamptz, size interval) RETURNS tstzrange
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1 AS 'MODULE_PATHNAME', 'kafka_tumble';
COMMENT ON FUNCTION kafka.tumble(timestamptz, interval) IS
	'The window [start, start + size) that holds a moment; windows are aligned to 1970-01-01 00:00 UTC and follow each other without gaps';

CREATE FUNCTION kafka.hop(at timestamptz, size interval, advance interval) RETURNS SETOF tstzrange
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 4 ROWS 4 AS 'MODULE_PATHNAME', 'kafka_hop';
COMMENT ON FUNCTION kafka.hop(timestamptz, interval, interval) IS
	'Every window [start, start + size) that holds a moment, of those that begin each advance, aligned to 1970-01-01 00:00 UTC; use it as CROSS JOIN LATERAL kafka.hop(...)';
