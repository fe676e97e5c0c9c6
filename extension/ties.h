/*
 * ties.h: which of the rows of a group of tables comes first where the query leaves it open.
 */
#ifndef KV_TIES_H
#define KV_TIES_H

#include "grouped_rows.h"

/* Makes a query over KV_TOUCHED_ROWS, whose targets are those of the view's groups, one for the rows that stand by DISTINCT ON. */
extern void kv_ties_distinct_on(GroupedRows *rows, Query *query);
/* Gives a tree with calls of kafka.first and kafka.last that take rows of the same sort in the order of their values. */
extern Node *kv_ties_settle(Node *tree);

#endif							/* KV_TIES_H */
