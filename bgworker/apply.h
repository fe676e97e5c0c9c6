/* apply.h: the statements of one view over the deltas of a (sub)batch. Everything here runs in a transaction. */
#ifndef KV_APPLY_H
#define KV_APPLY_H

#include "pipeline.h"

/* Run the statements of all views, or of one, over the current deltas. */
extern void kv_apply_views(Pipeline *pipeline);
extern void kv_apply_view(Pipeline *pipeline, PipelineView *view);
/* Runs the CLOSE statements of a view whose next_frontier is beyond its frontier; behind kv_apply_view. */
extern void kv_apply_close(Pipeline *pipeline, PipelineView *view);
/* Deletes what no probe of the view can see any more after this batch. */
extern void kv_apply_evict(Pipeline *pipeline, PipelineView *view);
/* Puts the current delta of a topic into the buffer of one of the view's inputs that reads it, by its statement for reloads. */
extern void kv_apply_reload(Pipeline *pipeline, PipelineView *view, const MaintenanceStatement *statement);

#endif							/* KV_APPLY_H */
