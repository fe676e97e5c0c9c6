/*
 * group_statements.h: the statements of an aggregate view. Printing must have begun
 * (delta_query.h).
 */
#ifndef KV_GROUP_STATEMENTS_H
#define KV_GROUP_STATEMENTS_H

#include "group_state.h"

/* Aggregates the new rows (group_rows.h) and brings the groups and the view up to date. */
extern List *kv_groups_statements(GroupCompiler *groups);
/* SELECT of the view's rows from captured groups, HAVING as its WHERE. */
extern Query *kv_groups_final_query(GroupCompiler *groups);
/* CREATE TABLE / INDEX statements (char *) for the companion; INSERT statements for the first rows of it and the view. */
extern List *kv_groups_tables(ViewDef *view);
extern List *kv_groups_first_rows(ViewDef *view);

#endif							/* KV_GROUP_STATEMENTS_H */
