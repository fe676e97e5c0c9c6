/* merge.h: the records of all partitions of a pipeline in processing order (DESIGN.md 2.2). */
#ifndef KV_MERGE_H
#define KV_MERGE_H

#include "pipeline.h"

typedef enum MergeResult
{
	MERGE_RECORD,				/* *partition has it at its head */
	MERGE_WAIT,					/* a partition that is not at its end has nothing polled: poll first */
	MERGE_EMPTY					/* everything polled was given out, all partitions are at their ends */
} MergeResult;

/*
 * Finds the next record. Its values are in the partition's head_* until
 * kv_merge_consume; nothing moves before that, so asking twice gives the same.
 */
extern MergeResult kv_merge_peek(Pipeline *pipeline, Partition **partition);
/* Would kv_merge_peek give a record, decoding aside? */
extern bool kv_merge_ready(Pipeline *pipeline);
/* Has every partition that is read now nothing polled and come to its end? */
extern bool kv_merge_at_end(Pipeline *pipeline);
/* Has every partition been at its end, with nothing far behind since? */
extern bool kv_merge_is_live(Pipeline *pipeline);
/* Are there ends behind control records that positions have not reached? */
extern bool kv_merge_end_moved(Pipeline *pipeline);
/* Has everything before the partition's limit been given out (redo.c)? */
extern bool kv_merge_at_limit(Partition *partition);
/* The record behind the head, until its batch has committed. */
extern const TopicRecord *kv_merge_record(const Partition *partition);
/* Moves past the head: offset, stream time. */
extern void kv_merge_consume(Partition *partition);
/* Makes a head ready to give out, for readers that need no order between partitions; false: nothing polled. */
extern bool kv_merge_decode_head(Pipeline *pipeline, Partition *partition);

#endif							/* KV_MERGE_H */
