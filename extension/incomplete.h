/* incomplete.h: pipelines whose views are behind what has been published from them. */
#ifndef KV_INCOMPLETE_H
#define KV_INCOMPLETE_H

#include "kafka_views.h"

/* Installs the hook that refuses to read such views; called once by _PG_init. */
extern void kv_incomplete_init(void);

/* Makes every backend look again at commit; after a change of kafka_state.redo. */
extern void kv_incomplete_changed(void);

/* Has the publisher noted that the pipeline is behind what has been published from it? Runs: in a transaction. */
extern bool kv_incomplete_noted(int64 pipeline);

/* Is it, or is that not known since the server was promoted or restored? */
extern bool kv_incomplete_is(int64 pipeline);

/*
 * Raises an error unless the pipeline has all that has been published from it, which its publisher finds out
 * first after a start of the server. Runs: in a transaction without locks. Blocks: 10 s at most.
 */
extern void kv_incomplete_refuse(int64 pipeline, const char *view);

#endif							/* KV_INCOMPLETE_H */
