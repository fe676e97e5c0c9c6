/* dead_letter.h: records that cannot be applied: whose fault, which record, where they are kept. */
#ifndef KV_DEAD_LETTER_H
#define KV_DEAD_LETTER_H

#include "pipeline.h"

/* Deals with the partition's head, which could not be decoded, by its topic's on_error. */
extern void kv_dead_letter_head(Pipeline *pipeline, Partition *partition);
/* Is the partition's head the record that has stopped the last batch? */
extern bool kv_dead_letter_is_stop(Pipeline *pipeline, const Partition *partition);
/* Runs all views over the current (sub)batch; a record whose fault an error is becomes a dead letter, the rest is applied. */
extern void kv_dead_letter_apply(Pipeline *pipeline);

#endif							/* KV_DEAD_LETTER_H */
