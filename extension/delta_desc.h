/* delta_desc.h: the row types of deltas, which the worker fills and the statements read. */
#ifndef KV_DELTA_DESC_H
#define KV_DELTA_DESC_H

#include "view_def.h"

/* Row type of a delta, in context: columns, kv_time, kv_before, kv_row, and kv_deleted for tables. */
extern TupleDesc kv_delta_desc(MemoryContext context, TupleDesc columns, bool with_deleted);
/* A result table's columns without dropped ones. */
extern TupleDesc kv_delta_row_desc(MemoryContext context, TupleDesc columns);
/* Row type of an input's delta in CurrentMemoryContext; the input is no ordinary table. */
extern TupleDesc kv_delta_desc_of_input(const ViewInput *input);

#endif							/* KV_DELTA_DESC_H */
