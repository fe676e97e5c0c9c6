/* skipped.h: records that views have gone without. */
#ifndef KV_SKIPPED_H
#define KV_SKIPPED_H

#include "kafka_views.h"
#include "utils/hsearch.h"

/* In the place of an input: all of the view's. */
#define SKIPPED_EVERY_INPUT (-1)

/* Reads what the views of a pipeline have skipped, with retried also what has been applied since (a reload has it from kafka_state.retried). */
extern HTAB *kv_skipped_read(MemoryContext context, int64 pipeline, bool retried);
/* Has an input of a view, numbered from 0, gone without a record, alone or with others? view 0, input SKIPPED_EVERY_INPUT: has every one? */
extern bool kv_skipped_has(HTAB *skipped, Oid relation, int32 partition, int64 offset, int64 view, int input);
/* Has it gone without it by itself, not as every input or every view has? */
extern bool kv_skipped_by_itself(HTAB *skipped, Oid relation, int32 partition, int64 offset, int64 view, int input);
/* SQL: are there dead letters of the topic of a row of kafka_state.skipped? The places of discarded ones of a table are kept for them (newer_records.c). */
#define KV_HAS_DEAD_LETTERS(row) "EXISTS (SELECT FROM kafka_state.dead_letter d WHERE d.pipeline = " row ".pipeline AND d.relation = " row ".relation AND d.record_offset IS NOT NULL)"

/*
 * Forgets what was skipped of a partition before an offset, but for what those unstored views (bigint[]) need that read the topic, from the start; and for
 * records that a reload puts in though it does not come to their place: not every view has them.
 */
extern void kv_skipped_prune(int64 pipeline, Oid relation, int32 partition, int64 before, Datum unstored);
/* Forgets what was skipped of a topic without buffers, but for what such views need, and dead letters of a table. */
extern void kv_skipped_prune_unbuffered(int64 pipeline, Oid relation, Datum unstored, bool is_table);
/* Forgets what was skipped of other topics than these (oid[]). */
extern void kv_skipped_prune_others(int64 pipeline, Datum topics);

#endif							/* KV_SKIPPED_H */
