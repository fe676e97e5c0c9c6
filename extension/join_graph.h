/*
 * join_graph.h: what the conditions of a join say: which columns are compared for
 * equality (so buffers can be indexed), and how far apart in time its streams' rows may be
 * (so buffers can end).
 */
#ifndef KV_JOIN_GRAPH_H
#define KV_JOIN_GRAPH_H

#include "view_def.h"
#include "probes.h"
#include "refuse.h"

#define KV_UNBOUNDED PG_INT64_MAX

/* The ANDed conditions of an arm (List of JoinCondition *), constants folded. */
extern List *kv_join_conditions(const ViewArm *arm);
/*
 * Fills lateness_us, retain_us and probes of the arm's inputs. Refuses joins
 * without an equality and streams joined without a time bound.
 */
extern Refusal *kv_join_graph(ViewArm *arm);
/* Least upper bound of time of input j minus time of input i of the arm in any of its rows, us; KV_UNBOUNDED: none. */
extern int64 kv_join_time_bound(const ViewArm *arm, int i, int j);

/* Begins without bounds between the arm's inputs, of which the driving ones must be known by their columns. */
extern void kv_join_begin_bounds(ViewArm *arm);
/* Takes the bounds from one condition, if it compares event times. */
extern void kv_join_read_bounds(ViewArm *arm, Node *condition);
/* Adds the bounds that follow. */
extern void kv_join_close_bounds(ViewArm *arm);

#endif							/* KV_JOIN_GRAPH_H */
