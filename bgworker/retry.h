/* retry.h: dead letters that are tried again, as the records of a batch (kafka.retry_dead_letters). */
#ifndef KV_RETRY_H
#define KV_RETRY_H

#include "pipeline.h"

/* Tells whether dead letters wait. Runs: outside a transaction. Blocks: no. */
extern bool kv_retry_more(Pipeline *pipeline);
/* Reads the dead letters of the next batch into pipeline->retry; false: none waits. Runs: outside a transaction. Blocks: while it reads topics of tables. */
extern bool kv_retry_prepare(Pipeline *pipeline);
/* Locks them, in the batch's transaction, behind the pipeline's row. */
extern void kv_retry_lock(Pipeline *pipeline);
/* Takes the next of them into the deltas of a sub-batch; gives how many, 0: no more. */
extern int64 kv_retry_collect(Pipeline *pipeline);
/* Stores what became of them. */
extern void kv_retry_store(Pipeline *pipeline);
/* Gives an error that no single record is to blame for to all of them as their new one, and goes on without. Runs: outside, after the abort. */
extern void kv_retry_give_up(Pipeline *pipeline, ErrorData *error);

#endif							/* KV_RETRY_H */
