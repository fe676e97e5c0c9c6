/*
 * group_statements.h: the statements of an aggregate view. Printing must have begun
 * (delta_query.h).
 */
#ifndef KV_GROUP_STATEMENTS_H
#define KV_GROUP_STATEMENTS_H

#include "view_def.h"
#include "statement.h"

typedef struct GroupCompiler
{
	ViewDef    *view;
	List	   *key_exprs;		/* GROUP BY expressions, over the row columns */
	List	   *key_names;		/* columns in the result table, char * */
	List	   *columns;		/* StateColumn * of the companion; NIL with own_state */
} GroupCompiler;

/* Name under which groups are captured: keys and state, as the companion has them. */
#define KV_CAPTURE_GROUPS "kv_groups"

extern GroupCompiler *kv_groups_begin(ViewDef *view);
/* Aggregates the new rows (group_rows.h) and brings the groups and the view up to date. */
extern List *kv_groups_statements(GroupCompiler *groups);
/* Has the statement's RETURNING, which gives the companion's columns, captured. */
extern void kv_groups_capture_groups(GroupCompiler *groups, MaintenanceStatement *statement);
/* SELECT of the view's rows from captured groups, HAVING as its WHERE. */
extern Query *kv_groups_final_query(GroupCompiler *groups);
/* CREATE TABLE / INDEX statements (char *) for the companion; INSERT statements for the first rows of it and the view. */
extern List *kv_groups_tables(ViewDef *view);
extern List *kv_groups_first_rows(ViewDef *view);

#endif							/* KV_GROUP_STATEMENTS_H */
