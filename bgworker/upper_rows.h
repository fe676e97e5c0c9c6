/* upper_rows.h: the rows of the views that a view reads, kept with a dead letter of its own. */
#ifndef KV_UPPER_ROWS_H
#define KV_UPPER_ROWS_H

#include "pipeline.h"

/* Gives the rows that a view got of views in the current sub-batch as JSON; NULL: none. */
extern char *kv_upper_rows_pack(Pipeline *pipeline, const PipelineView *view);
/*
 * Has the views give such rows again in the sub-batches from now on, of keyed views those that they have now; kv_upper_rows_end ends it. Gives the error
 * if some cannot be read or found any more, with nothing of it left; NULL: none.
 */
extern ErrorData *kv_upper_rows_give(Pipeline *pipeline, const char *json);
extern void kv_upper_rows_end(Pipeline *pipeline);

#endif							/* KV_UPPER_ROWS_H */
