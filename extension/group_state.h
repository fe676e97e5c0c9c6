/*
 * group_state.h: the state of a view's groups in its companion table. Printing must have begun
 * (delta_query.h).
 */
#ifndef KV_GROUP_STATE_H
#define KV_GROUP_STATE_H

#include "statement.h"
#include "view_def.h"

typedef struct GroupCompiler
{
	ViewDef    *view;
	List	   *key_exprs;		/* GROUP BY expressions, over the row columns */
	List	   *key_names;		/* columns in the result table, char * */
	List	   *columns;		/* StateColumn * of the companion; NIL with own_state */
	List	   *computed;		/* StateColumn * of sessions whose rows are kept: their values; the companion has none of them */
	List	   *distinct;		/* DistinctSet * */
} GroupCompiler;

/* Name of the capture of touched groups: keys and state columns. */
#define KV_CAPTURE_GROUPS "kv_groups"

extern GroupCompiler *kv_group_state_begin(ViewDef *view);
/* Takes the new rows into the companion; the last statement captures the groups they touch. */
extern List *kv_group_state_statements(GroupCompiler *groups);
/* Expressions over the row columns of the captured groups' columns, of a view with DISTINCT ON or kept rows; otherwise those of the keys. */
extern List *kv_group_state_exprs(GroupCompiler *groups);
/* Names (char *) of the captured groups' columns behind the keys. */
extern List *kv_group_state_names(GroupCompiler *groups);
/* Makes a statement that returns the columns of the companion capture the groups. */
extern void kv_group_state_capture(GroupCompiler *groups, MaintenanceStatement *statement);
/* CREATE statements (char *) for the companion and the tables of distinct values; INSERT of the one group without GROUP BY. */
extern List *kv_group_state_tables(GroupCompiler *groups);
extern char *kv_group_state_first_row(GroupCompiler *groups);

#endif							/* KV_GROUP_STATE_H */
