/* outbox_limit.h: how much of a pipeline may wait to be published. */
#ifndef KV_OUTBOX_LIMIT_H
#define KV_OUTBOX_LIMIT_H

#include "pipeline.h"

/* Waits while more than kafka.outbox_limit waits, which the slot says meanwhile. Runs: outside a transaction. Blocks: until that is published. */
extern void kv_outbox_limit_wait(Pipeline *pipeline);

#endif							/* KV_OUTBOX_LIMIT_H */
