/*
 * default_bound.h: time bounds between streams that a query leaves out.
 */
#ifndef KV_DEFAULT_BOUND_H
#define KV_DEFAULT_BOUND_H

#include "kafka_views.h"
#include "nodes/parsenodes.h"

/*
 * Adds conditions to an analysed query that is refused as it stands, so that streams which it joins in one FROM are no further apart than
 * bound_us; gives them as text (char *). hidden: a FROM got none, because what bounds it has cannot be told.
 */
extern List *kv_default_bound(Query *query, int64 bound_us, bool *hidden);

#endif							/* KV_DEFAULT_BOUND_H */
