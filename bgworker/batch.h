/* batch.h: one batch: statements, positions and outbox in one transaction. */
#ifndef KV_BATCH_H
#define KV_BATCH_H

#include "pipeline.h"

/*
 * Applies what is polled as one transaction; must_run: even without records, for
 * frontiers, eviction and offsets. Returns false if there was nothing to do. On an
 * error the caller aborts and rewinds (kv_batch_failed).
 */
extern bool kv_batch_run(Pipeline *pipeline, bool must_run);
/* Tries dead letters again that wait for it, as one transaction; false: none does. On an error: as above. */
extern bool kv_batch_retry(Pipeline *pipeline);
/* Should positions go to Kafka now though there is no message? */
extern bool kv_batch_offsets_due(Pipeline *pipeline, TimestampTz now);
/* Forgets a batch that ended in an error; the transaction has been aborted. */
extern void kv_batch_failed(Pipeline *pipeline);
/* Computes the first rows of views over views that were added while the pipeline ran. */
extern void kv_batch_initialize_views(Pipeline *pipeline);

#endif							/* KV_BATCH_H */
