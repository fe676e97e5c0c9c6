/*
 * kafka_views.h: names and settings that every room may use.
 *
 * Times are int64 microseconds in Postgres' epoch (TimestampTz) unless a name
 * says otherwise (_ms: milliseconds; Kafka's record timestamps are Unix ms).
 */
#ifndef KAFKA_VIEWS_H
#define KAFKA_VIEWS_H

#include "compat.h"
#include "utils/timestamp.h"

#define KV_EXTENSION "kafka_views"
#define KV_FDW "kafka"
#define KV_SCHEMA "kafka"
#define KV_STATE_SCHEMA "kafka_state"
#define KV_REFUSE_TRIGGER "kafka_refuse_write"	/* on every result table and unstored view */
#define KV_OPTION_NAMESPACE "kafka"

/* Columns that every delta has behind the topic's own (delta.c fills them). */
#define KV_COL_TIME "kv_time"	/* timestamptz: event time of the row, never null */
#define KV_COL_BEFORE "kv_before"	/* timestamptz: stream time of its partition
									 * before the row; -infinity at first */
#define KV_COL_ROW "kv_row"		/* bigint: place in processing order within the batch */
#define KV_COL_DELETED "kv_deleted" /* boolean, of tables only: the key is gone, the other columns are null */

/* Unix time 0 lies this much before Postgres' epoch. */
#define KV_UNIX_EPOCH_US ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* Settings (module.c defines them; units as named). */
extern int	kv_batch_rows;
extern int	kv_batch_interval_ms;
extern int	kv_idle_timeout_ms;
extern bool kv_idle_advance;
extern int	kv_default_grace_ms;
extern int	kv_default_bound_ms;	/* -1: none */
extern int	kv_max_ahead_ms;
extern int	kv_commit_interval_ms;	/* offsets go to Kafka at least this often while they move: 5 s */
extern int	kv_idle_commit_interval_ms;	/* and so often while they stand still, because Kafka forgets them */
extern int	kv_buffer_limit_kb;	/* polled or fetched records of a pipeline: buffer_share.c divides it */
extern int	kv_outbox_limit_mb;
extern int	kv_transaction_size_kb; /* a Kafka transaction is full with so much */
extern int	kv_max_workers;
extern bool kv_allow_incomplete_reads;
extern char *kv_instance;		/* "" means the stored one */

#endif							/* KAFKA_VIEWS_H */
