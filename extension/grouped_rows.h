/*
 * grouped_rows.h: the rows under an aggregate of tables, kept in a table per arm, and what a
 * batch changes of them.
 */
#ifndef KV_GROUPED_ROWS_H
#define KV_GROUPED_ROWS_H

#include "view_def.h"
#include "statement.h"

/* Rows that a batch took away from the tables or put into them: what is kept of a row, and KV_COL_NEW. */
#define KV_CAPTURE_CHANGES "kv_changes"
#define KV_COL_NEW "kv_new"
/* The groups they belong to. */
#define KV_CAPTURE_TOUCHED "kv_touched"
/* Name for the rows that kv_grouped_rows_select gives. */
#define KV_TOUCHED_ROWS "touched_rows"

/* What a table of rows keeps: the keys of the groups, and the row columns that aggregates and HAVING use. */
typedef struct GroupedRows
{
	ViewDef    *view;
	List	   *kept;			/* of Node *: expressions over the row columns, the keys first */
	List	   *names;			/* their names, char * */
	int			nkeys;
	bool		by_group;		/* rows are looked up by group: the tables need an index for it */
} GroupedRows;

extern GroupedRows *kv_grouped_rows(ViewDef *view);
/* Gives a tree over the row columns as one over what is kept, which are Vars of entry 1. */
extern Node *kv_grouped_rows_exchange(GroupedRows *rows, Node *node);
/* Appends the statements that bring an arm's table up to date and capture what changes. */
extern void kv_grouped_rows_statements(GroupedRows *rows, ViewArm *arm, List **statements);
/*
 * SELECT of what is kept from the tables of all arms: of all rows, or of those of the group that a row named touched has
 * under the key's names; from: FROM item with that row, NULL: it is outside.
 */
extern char *kv_grouped_rows_select(GroupedRows *rows, const char *from, const char *touched);
/* SELECT of the keys of any one row of the group that a row named touched, outside, has under the key's names; however large the group is, its cost is the same. */
extern char *kv_grouped_rows_one(GroupedRows *rows, const char *touched);
/* The condition that rows of these names, which have the key under its names, are of the same group. */
extern char *kv_grouped_rows_match(GroupedRows *rows, const char *one, const char *other);
/* May equal keys differ in their bytes, so that a group's are to be those of a row that it has? */
extern bool kv_grouped_rows_spell_keys(const GroupedRows *rows);
/* CREATE TABLE / INDEX statements (char *) for an arm's table. */
extern List *kv_grouped_rows_tables(GroupedRows *rows, ViewArm *arm);

#endif							/* KV_GROUPED_ROWS_H */
