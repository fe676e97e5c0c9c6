/*
 * outbox.h: messages on their way out. kafka.publish, INSERT and DELETE on a
 * topic append encoded messages to a buffer in memory, packed into rows of some
 * 8 kB, written when full and before commit, so that they commit or roll back with what
 * caused them (DESIGN.md 5.3).
 */
#ifndef KV_OUTBOX_H
#define KV_OUTBOX_H

#include "nodes/pg_list.h"
#include "packed_row.h"
#include "topic.h"

/* Appends a message of the topic to the outbox this backend writes to now. */
extern void kv_outbox_append(const TopicDef *topic, const OutboxMessage *message);

/*
 * Directs this backend's messages to a pipeline's own outbox as batch (the
 * worker's batch, attach_sink); the caller holds the pipeline's row lock. Ends at (sub)transaction end or by
 * kv_outbox_end_batch, which flushes and, if messages were written, returns true.
 */
extern void kv_outbox_begin_batch(int64 pipeline, int64 batch);
extern bool kv_outbox_end_batch(void);
extern bool kv_outbox_in_batch(void);
/* While held back, kafka.publish and INSERTs into topics by this backend write nothing (DESIGN.md 5.1, 5.4). */
extern bool kv_outbox_held_back;
/* Event time of the rows that are being written now, for messages without a time of their own; DT_NOBEGIN: none. */
extern TimestampTz kv_outbox_default_time;

/* Raises an error for a sink that a pipeline cannot write to: one on another server. */
extern void kv_outbox_check_server(int64 pipeline, const TopicDef *topic);

/* SQL: is row o of kafka_state.transaction_outbox in batch b of kafka_state.transaction_batch? */
#define KV_IN_BATCH \
	"pg_catalog.pg_visible_in_snapshot(o.xid, b.snapshot)" \
	" AND (b.previous IS NULL OR NOT pg_catalog.pg_visible_in_snapshot(o.xid, b.previous))"

/* Creates kafka_state.outbox_N of a pipeline; kv_catalog_forget drops it. */
extern void kv_outbox_create(int64 pipeline);

/* A pipeline that has views, with what its Kafka transactions need to know. */
typedef struct OutboxPipeline
{
	int64		pipeline;
	char	   *name;
	char	   *token;
	bool		paused;
	int64		resumed;		/* how often a person let it go on */
	Oid			serverid;		/* of the topics it reads, and of its sinks */
	Oid			owner;			/* of its views: whose user mapping is used */
} OutboxPipeline;

/* Lists them by id (pipeline 0: all) in CurrentMemoryContext. Runs: in a transaction. */
extern List *kv_outbox_pipelines(int64 pipeline);

/* Registers transaction callbacks; called once by _PG_init. */
extern void kv_outbox_init(void);

#endif							/* KV_OUTBOX_H */
