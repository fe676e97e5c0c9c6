/* applied.h: queries over exactly what a pipeline has applied of its topics. The caller holds the pipeline's row. */
#ifndef KV_APPLIED_H
#define KV_APPLIED_H

#include "catalog.h"
#include "utils/tuplestore.h"

/* Bounds every scan of a topic in this backend by the pipeline's positions until kv_applied_end; under PG_TRY. */
extern void kv_applied_begin(int64 pipeline);
extern void kv_applied_end(void);

extern bool kv_applied_any(int64 pipeline);
/*
 * Puts the rows that an unstored view's query gives over what has been applied into rows, as its owner, with its
 * settings. Records that it skipped, or a view under it, are left out. Rows of one partition come in its order.
 */
extern void kv_applied_rows(const ViewRow *row, Tuplestorestate *rows);

#endif							/* KV_APPLIED_H */
