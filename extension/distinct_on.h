/*
 * distinct_on.h: DISTINCT ON: of the rows of a key, the one that stands. Printing must have begun
 * (delta_query.h) for statements.
 */
#ifndef KV_DISTINCT_ON_H
#define KV_DISTINCT_ON_H

#include "group_state.h"
#include "refuse.h"

/* Checks the group layer of a view with DISTINCT ON, whose keys are known. */
extern Refusal *kv_distinct_on_check(ViewDef *view);
/* Takes new rows that stand before those of their keys; captures them, unless the result table is its own state or they wait for their window. */
extern MaintenanceStatement *kv_distinct_on_take(GroupCompiler *groups);

#endif							/* KV_DISTINCT_ON_H */
