/*
 * combine.h: the SQL by which the states of groups are combined.
 */
#ifndef KV_COMBINE_H
#define KV_COMBINE_H

#include "aggregate.h"

/*
 * SQL: the column's new value from the stored row "t" and the partial result in the row named by delta; names are the columns' as they are stored,
 * in their order.
 */
extern char *kv_combine_partial(List *columns, int column, List *names, const char *delta);
/* SQL: the state of several groups that become one, as an aggregate over the column with their states; of aggregates that merge (kv_aggregate_merges). */
extern char *kv_combine_merge(const StateColumn *column, const char *name);

#endif							/* KV_COMBINE_H */
