/*
 * scan_bounds.h: conditions on the metadata columns partition, offset and
 * timestamp as places to seek to. Part of the room fdw_scan.c.
 */
#ifndef KV_SCAN_BOUNDS_H
#define KV_SCAN_BOUNDS_H

#include "topic.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

typedef enum BoundKind
{
	BOUND_PARTITION, BOUND_OFFSET, BOUND_TIMESTAMP
} BoundKind;

/* What the planner found; the lists are parallel and can be copied as plan nodes. */
typedef struct PlannedBounds
{
	List	   *kinds;			/* BoundKind, as integers */
	List	   *strategies;		/* btree strategy of column op value, as integers; 0: column = ANY (value) */
	List	   *values;			/* expressions without columns: bigint, timestamptz or an array of integers */
	List	   *clauses;		/* as written, for EXPLAIN */
} PlannedBounds;

/* What a scan reads, once the values are known. Rows outside are filtered again by the executor. */
typedef struct ScanBounds
{
	bool		empty;			/* no row can qualify */
	int64		min_partition,	/* closed */
				max_partition;	/* closed */
	bool		has_partition_set;
	Bitmapset  *partition_set;
	int64		min_offset;		/* closed */
	int64		end_offset;		/* open */
	TimestampTz min_time;		/* closed, us; DT_NOBEGIN: none */
} ScanBounds;

extern void kv_bounds_find(const TopicDef *topic, Index relid, List *clauses, PlannedBounds *bounds);
extern void kv_bounds_init(ScanBounds *bounds);
extern void kv_bounds_add(ScanBounds *bounds, BoundKind kind, int strategy, Datum value, bool isnull);
extern bool kv_bounds_partition(const ScanBounds *bounds, int partition);

#endif							/* KV_SCAN_BOUNDS_H */
