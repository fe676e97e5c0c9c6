/*
 * position.h: how far a pipeline has read, in kafka_state. One function per
 * statement, as in catalog.h.
 */
#ifndef KV_POSITION_H
#define KV_POSITION_H

#include "kafka_views.h"
#include "nodes/pg_list.h"

typedef struct PositionRow
{
	Oid			relation;
	int32		partition;
	int64		start_offset;
	int64		next_offset;
	TimestampTz stream_time;	/* DT_NOBEGIN: no record yet */
} PositionRow;

/* A place in a topic from which buffers can be reloaded. */
typedef struct MarkRow
{
	Oid			relation;
	int32		partition;
	int64		offset;
	TimestampTz stream_time;	/* of all records before it */
} MarkRow;

extern List *kv_position_list(int64 pipeline);	/* PositionRow * by relation, partition */
extern void kv_position_insert(int64 pipeline, const PositionRow *position);
/* One statement for all changed partitions. */
extern void kv_position_update(int64 pipeline, PositionRow *positions, int npositions);
extern void kv_mark_insert(int64 pipeline, List *marks);	/* MarkRow * */
extern void kv_mark_prune(int64 pipeline, Oid relation, int32 partition, TimestampTz before);	/* keeps the last one below */
extern void kv_mark_prune_others(int64 pipeline, Datum topics);
extern bool kv_mark_find(int64 pipeline, Oid relation, int32 partition, TimestampTz before, int64 *offset, TimestampTz *stream_time);

/* Are the unlogged buffers those that the pipeline filled (after a crash they are empty, and so is the sentinel). */
extern bool kv_sentinel_present(int64 pipeline);
extern void kv_sentinel_set(int64 pipeline);

#endif							/* KV_POSITION_H */
