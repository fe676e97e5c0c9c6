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
/* Should positions go to Kafka now though there is no message? */
extern bool kv_batch_offsets_due(Pipeline *pipeline, TimestampTz now);
/* Forgets a batch that ended in an error; the transaction has been aborted. */
extern void kv_batch_failed(Pipeline *pipeline);
/* Computes the first rows of views over views that were added while the pipeline ran. */
extern void kv_batch_initialize_views(Pipeline *pipeline);

/* For dead_letter.c: the statements of all views, or of one, over the current deltas. */
extern void kv_batch_apply_views(Pipeline *pipeline);
extern void kv_batch_apply_view(Pipeline *pipeline, PipelineView *view);
/* For advance.c and reload.c */
extern void kv_batch_evict_view(Pipeline *pipeline, PipelineView *view);
extern void kv_batch_reload_view(Pipeline *pipeline, PipelineView *view, TopicInput *input);
extern TimestampTz kv_batch_reload_bound(Pipeline *pipeline, const TopicInput *input);

extern TopicInput *kv_batch_topic(Pipeline *pipeline, Oid relid);
extern PipelineView *kv_batch_view(Pipeline *pipeline, Oid relid);

#endif							/* KV_BATCH_H */
