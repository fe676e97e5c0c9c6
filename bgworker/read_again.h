/* read_again.h: records that are read a second time: into buffers after a crash, or by the query of an unstored view. */
#ifndef KV_READ_AGAIN_H
#define KV_READ_AGAIN_H

#include "pipeline.h"

/* Are records of a topic read again for a view, with view 0 for any? */
extern bool kv_read_again(Pipeline *pipeline, const TopicInput *input, int64 view);
/* Forgets what is kept for that of records that no reload needs any more. Runs: in the batch's transaction. */
extern void kv_read_again_prune(Pipeline *pipeline);
/* Forgets what is kept for topics that nobody reads again any more, with this run's definitions. Runs: in a transaction. */
extern void kv_read_again_prune_unread(Pipeline *pipeline);

#endif							/* KV_READ_AGAIN_H */
