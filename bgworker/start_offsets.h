/* start_offsets.h: where the partitions of a pipeline are read from. */
#ifndef KV_START_OFFSETS_H
#define KV_START_OFFSETS_H

#include "pipeline.h"
#include "position.h"

/* The stored position of a partition, or NULL. */
extern const PositionRow *kv_start_stored(List *positions, Oid relation, int partition);
/* Raises an error where the topic is not the one that the positions are of. */
extern void kv_start_check(Pipeline *pipeline, const TopicInput *input, List *positions, int count);
extern void kv_start_check_offset(Pipeline *pipeline, const TopicInput *input, int partition, int64 next_offset);
/* Sets where partitions without a position begin, by options of views and topic; a list of Partition *. */
extern List *kv_start_resolve(Pipeline *pipeline, TopicInput *input, List *positions);
/* Takes Kafka's positions where they are before those. */
extern void kv_start_by_group(Pipeline *pipeline, List *created);
extern void kv_start_store(Pipeline *pipeline, List *created);

#endif							/* KV_START_OFFSETS_H */
