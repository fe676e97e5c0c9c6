/* fetching.h: how far ahead a pipeline fetches, and of which partitions. */
#ifndef KV_FETCHING_H
#define KV_FETCHING_H

#include "pipeline.h"

/* Begins with an empty queue and empty rings. */
extern void kv_fetching_begin(Pipeline *pipeline);
/* Starts fetching a partition at offset. */
extern void kv_fetching_start(Pipeline *pipeline, Partition *partition, int64 offset);
/* Ends fetching a partition, before the queue goes. */
extern void kv_fetching_end(Pipeline *pipeline, Partition *partition);
/* How many messages may be moved to the rings now; parks partitions, or goes on with them. */
extern int	kv_fetching_room(Pipeline *pipeline);
/* Has the ring of a partition no room for a message that was polled? Then it is fetched again later. */
extern bool kv_fetching_refuses(Pipeline *pipeline, Partition *partition);
/* To be told after messages were moved; drained: there were no more. */
extern void kv_fetching_polled(Pipeline *pipeline, bool drained);
/* To be told before sleeping: nothing can be done until something comes. */
extern void kv_fetching_wait(Pipeline *pipeline);

#endif							/* KV_FETCHING_H */
