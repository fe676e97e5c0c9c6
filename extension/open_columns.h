/* open_columns.h: columns of a view whose values its query leaves open, because they depend on the order in which rows are aggregated. */
#ifndef KV_OPEN_COLUMNS_H
#define KV_OPEN_COLUMNS_H

#include "nodes/bitmapset.h"
#include "view_def.h"

/* Result columns of which the query says nothing: another order of the rows gives other values. */
extern Bitmapset *kv_open_columns(const ViewDef *view);
/* Those (TargetEntry *) that are kafka.first or kafka.last as such: the order decides between the rows with the same sort only. */
extern List *kv_tied_columns(const ViewDef *view);
/* Does HAVING leave open which rows there are? */
extern bool kv_having_is_open(const ViewDef *view);

#endif							/* KV_OPEN_COLUMNS_H */
