/* consumer.h: polled records of all partitions of a pipeline, kept until their batch has committed. */
#ifndef KV_CONSUMER_H
#define KV_CONSUMER_H

#include "pipeline.h"

/* Opens the handle and finds the partitions and their positions; to be called outside a transaction. */
extern void kv_consumer_open(Pipeline *pipeline);
/* Moves what the client has fetched into the rings, without waiting; true if anything came. */
extern bool kv_consumer_poll(Pipeline *pipeline);
/* Sleeps until messages or a wake-up arrive, at most timeout_ms. */
extern void kv_consumer_wait(Pipeline *pipeline, long timeout_ms);
/* Frees the records that merge has given out; their batch has committed. */
extern void kv_consumer_release(Pipeline *pipeline);
/* Gives memory back that was needed and is not any more. */
extern void kv_consumer_trim(Pipeline *pipeline);
/* Goes back to the committed state: merge will give the same records again. */
extern void kv_consumer_rewind(Pipeline *pipeline);
/* Number of polled records that merge has not given out. */
extern int64 kv_consumer_pending(Pipeline *pipeline);
/* Has a topic got more partitions than this run reads? *error: why the broker does not answer, or NULL. */
extern bool kv_consumer_partitions_changed(Pipeline *pipeline, char **error);
/* A partition that no broker served then; NULL: all are. */
extern const Partition *kv_consumer_leaderless(Pipeline *pipeline);

#endif							/* KV_CONSUMER_H */
