/*
 * outer_join.h: the outer join of two streams that an arm may have: which side is kept, which
 * may be null, where it stands in the query.
 */
#ifndef KV_OUTER_JOIN_H
#define KV_OUTER_JOIN_H

#include "refuse.h"
#include "view_def.h"

/*
 * Marks the inputs of an outer join of streams as preserved and nullable. Refuses those that cannot be maintained: with
 * more streams, with tables in ON, of a table with a stream, and full ones of tables.
 */
extern Refusal *kv_outer_join_mark(ViewArm *arm);
/* Finds the outer join of two streams in a query of the arm, or in a copy of it; NULL: there is none. */
extern JoinExpr *kv_outer_join_find(const ViewArm *arm, Query *query);
/* Makes it another join. */
extern void kv_outer_join_set_type(Query *query, JoinExpr *join, JoinType type);
/* The input on the other side of it. */
extern ViewInput *kv_outer_join_partner(const ViewArm *arm, const ViewInput *input);

#endif							/* KV_OUTER_JOIN_H */
