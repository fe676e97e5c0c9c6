/* ring.h: the records of a partition that were polled, oldest first. */
#ifndef KV_RING_H
#define KV_RING_H

#include "pipeline.h"

/* Makes the empty ring of a partition. */
extern void kv_ring_init(Pipeline *pipeline, Partition *partition);
/* Puts a message at the end, or a copy in its place; what it takes, or -1 where there is no memory for it. */
extern int64 kv_ring_add(Partition *partition, rd_kafka_message_t *msg, bool copy);
/* Frees the records that merge has given out; what they took. */
extern int64 kv_ring_release(Partition *partition);
/* Gives back what is the client's, and frees the records. Raises nothing. */
extern void kv_ring_end(Partition *partition);

/* The record at a place from the oldest on. */
#define RING_AT(p, i) ((p)->fifo[((p)->fifo_head + (i)) & ((p)->fifo_size - 1)])

#endif							/* KV_RING_H */
