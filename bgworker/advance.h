/* advance.h: watermarks of topics and views, closed frontiers, eviction (DESIGN.md 2.2, 2.3). */
#ifndef KV_ADVANCE_H
#define KV_ADVANCE_H

#include "pipeline.h"

/* Notes partitions that are at their ends with nothing new, by the worker's clock. */
extern void kv_advance_note_idle(Pipeline *pipeline, TimestampTz now);
/* Would a partition be idle if its leader confirmed that it has nothing new? */
extern bool kv_advance_waits_for_leader(Pipeline *pipeline, TimestampTz now);
/* Finds a partition that would be, if a transaction were not open in it, and holds something up; NULL: there is none. */
extern const Partition *kv_advance_held_open(Pipeline *pipeline, TimestampTz now);
/* Computes watermarks and every view's next_frontier from what merge has given out. */
extern void kv_advance_frontiers(Pipeline *pipeline, TimestampTz now);
/* Leaves every frontier where it is, in the place of the two above: of a batch of dead letters, which is no place for what closing may raise. */
extern void kv_advance_hold(Pipeline *pipeline);
/* Has a frontier moved that decides anything, though no record came? It is state, so it has to be stored. */
extern bool kv_advance_frontier_due(Pipeline *pipeline);
/* Runs what the moves of the frontiers ask for, views in order, after all else of the batch. Runs: in its transaction. */
extern void kv_advance_close(Pipeline *pipeline);
/* The same of one view, between begin and end of deltas and views' rows. */
extern void kv_advance_close_view(Pipeline *pipeline, PipelineView *view);
/* Has a frontier moved so far that rows should be evicted, though no record came? */
extern bool kv_advance_eviction_due(Pipeline *pipeline);
/* Evicts where a frontier has moved far enough, and forgets marks nobody will reload from. Runs: in the batch's transaction. */
extern void kv_advance_evict(Pipeline *pipeline);
/* The batch has committed: its frontiers are the closed ones; or it failed. */
extern void kv_advance_commit(Pipeline *pipeline);
extern void kv_advance_rewind(Pipeline *pipeline);
/* Longest time that an input of the view is buffered (us); 0: none is. */
extern int64 kv_advance_retain(const PipelineView *view);

#endif							/* KV_ADVANCE_H */
