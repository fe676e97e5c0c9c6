/*
 * subselect.h: WITH and set operations taken apart.
 */
#ifndef KV_SUBSELECT_H
#define KV_SUBSELECT_H

#include "refuse.h"

/* Makes every reference to a WITH query a subquery of its own, at all levels. Refuses WITH RECURSIVE and what writes. */
extern Refusal *kv_inline_with(Query *query);
/*
 * Gives copies of the SELECTs that a query with set operations unites (List of Query *), with their columns
 * cast to the common types. Refuses the other operations.
 */
extern Refusal *kv_union_members(Query *query, List **members);
/* Gives SELECT of all columns from a query with set operations; kv_wrap_distinct_union: SELECT DISTINCT, every UNION in it made UNION ALL. */
extern Query *kv_wrap_union(Query *query);
extern Query *kv_wrap_distinct_union(Query *query);

#endif							/* KV_SUBSELECT_H */
