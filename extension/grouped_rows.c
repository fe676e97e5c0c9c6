/*
 * grouped_rows.c: the rows under an aggregate of tables.
 *
 * Each arm has a table of its rows: the keys of their groups, what the aggregates use, and the anchor by which a change finds
 * them. Invariant: after a batch the tables hold the rows that the arms' queries give over the tables as they are, and what was taken
 * from a group is exactly what was once put into it.
 *
 * Where an anchor has one row at most, only rows that differ are exchanged; else all rows of the anchor are.
 */
#include "grouped_rows.h"

#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "affected.h"
#include "closure.h"
#include "equality.h"
#include "layers.h"
#include "normalize.h"
#include "result_rows.h"

/* One arm's table while its statements are made. */
typedef struct RowsTable
{
	GroupedRows *rows;
	ViewArm    *arm;
	Affected   *affected;
	List	   *anchor_names;	/* columns of the table, char * */
	List	   *column_names;	/* all columns of the table, char *: what is kept, and the others of the anchor */
	List	   *own_columns;	/* of AnchorColumn *: those of the anchor that are not kept anyway */
	char	   *capture;		/* rows of affected anchors as they are now, where an anchor has one row at most */
} RowsTable;

static bool keep_walker(Node *node, GroupedRows *rows);
static Node *exchange_mutator(Node *node, GroupedRows *rows);
static void name_anchor(RowsTable *table);
static MaintenanceStatement *compute_rows(RowsTable *table);
static List *row_targets(RowsTable *table);
static MaintenanceStatement *take_old(RowsTable *table);
static MaintenanceStatement *take_gone(RowsTable *table);
static MaintenanceStatement *put_new(RowsTable *table);
static MaintenanceStatement *take_all(RowsTable *table);
static MaintenanceStatement *put_all(RowsTable *table);
static char *changes(RowsTable *table, const char *prefix, bool new);
static void capture_changes(RowsTable *table, MaintenanceStatement *statement);
static char *title(RowsTable *table, const char *text);
static char *match(RowsTable *table, const char *other, List *names);
static List *changing_columns(RowsTable *table);
static char *difference(RowsTable *table, const char *fresh);

/* Lists what is kept of a row; see grouped_rows.h. */
GroupedRows *
kv_grouped_rows(ViewDef *view)
{
	GroupedRows *rows = palloc0(sizeof(GroupedRows));
	Query	   *groups = view->groups;

	rows->view = view;
	rows->kept = get_sortgrouplist_exprs(groups->groupClause, groups->targetList);
	rows->nkeys = list_length(rows->kept);
	rows->names = kv_result_key_names(view);
	keep_walker((Node *) list_make2(groups->targetList, groups->havingQual), rows);
	return rows;
}

/* Adds the row columns that a tree uses besides the keys. */
static bool
keep_walker(Node *node, GroupedRows *rows)
{
	if (node == NULL || (!IsA(node, List) && list_member(rows->kept, node)))
		return false;
	if (IsA(node, Var))
	{
		rows->kept = lappend(rows->kept, node);
		rows->names = lappend(rows->names, kv_unique_name(list_nth(rows->view->row_names, ((Var *) node)->varattno - 1), rows->names));
		return false;
	}
	return expression_tree_walker(node, keep_walker, rows);
}

/* Exchanges what is kept for its columns; see grouped_rows.h. */
Node *
kv_grouped_rows_exchange(GroupedRows *rows, Node *node)
{
	return exchange_mutator(node, rows);
}

static Node *
exchange_mutator(Node *node, GroupedRows *rows)
{
	ListCell   *cell;

	if (node == NULL)
		return NULL;
	if (!IsA(node, List) && !IsA(node, TargetEntry))
	{
		foreach(cell, rows->kept)
			if (equal(lfirst(cell), node))
				return (Node *) makeVar(1, foreach_current_index(cell) + 1, exprType(node), exprTypmod(node), exprCollation(node), 0);
	}
	return expression_tree_mutator(node, exchange_mutator, rows);
}

/* Compiles the statements of an arm; see grouped_rows.h. */
void
kv_grouped_rows_statements(GroupedRows *rows, ViewArm *arm, List **statements)
{
	RowsTable	table = {.rows = rows,.arm = arm};
	bool		only = rows->view->narms == 1;

	name_anchor(&table);
	table.affected = kv_affected_statements(arm, only ? "kv_affected" : psprintf("kv_affected_%d", arm->number), table.anchor_names, statements);
	table.capture = only ? "kv_rows" : psprintf("kv_rows_%d", arm->number);
	if (!arm->anchor_is_row)
	{
		*statements = lappend(*statements, take_all(&table));
		*statements = lappend(*statements, put_all(&table));
		return;
	}
	*statements = lappend(*statements, compute_rows(&table));
	if (changing_columns(&table) != NIL)
		*statements = lappend(*statements, take_old(&table));
	*statements = lappend(*statements, take_gone(&table));
	*statements = lappend(*statements, put_new(&table));
}

/* Names the columns of the anchor in an arm's table; one that is kept anyway is not stored twice. */
static void
name_anchor(RowsTable *table)
{
	List	   *values = (List *) kv_layers_row_values((Node *) copyObject(table->rows->kept), table->arm->query->targetList);
	ListCell   *cell;

	foreach(cell, table->arm->anchor)
	{
		AnchorColumn *column = lfirst(cell);
		Var		   *var = castNode(Var, column->source);
		char	   *name = NULL;
		ListCell   *value;

		foreach(value, values)
			if (equal(lfirst(value), var))
				name = list_nth(table->rows->names, foreach_current_index(value));
		if (name == NULL)
		{
			name = kv_unique_name(get_attname(kv_arm_input(table->arm, var->varno)->relid, var->varattno, false),
								  list_concat_copy(table->rows->names, table->anchor_names));
			table->own_columns = lappend(table->own_columns, column);
			table->column_names = lappend(table->column_names, name);
		}
		table->anchor_names = lappend(table->anchor_names, name);
	}
	table->column_names = list_concat_copy(table->rows->names, table->column_names);
}

/* Captures the rows of affected anchors as they are now. */
static MaintenanceStatement *
compute_rows(RowsTable *table)
{
	List	   *targets = row_targets(table);
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, title(table, "compute the rows that are reached"),
												   kv_affected_rows(table->affected, targets, table->anchor_names), -1);

	statement->reads = table->affected->capture;
	statement->captures = table->capture;
	statement->capture_desc = ExecTypeFromTL(targets);
	statement->null_safe = list_member_int(table->affected->nullable, true);
	return statement;
}

/* Makes the targets of a row of the table over the arm's inputs: what is kept, and the anchor. */
static List *
row_targets(RowsTable *table)
{
	List	   *values = copyObject(table->rows->kept);
	List	   *targets = NIL;
	ListCell   *cell;

	values = (List *) kv_layers_row_values((Node *) values, table->arm->query->targetList);
	foreach(cell, table->own_columns)
		values = lappend(values, copyObject(((AnchorColumn *) lfirst(cell))->source));
	foreach(cell, values)
		targets = lappend(targets, makeTargetEntry(lfirst(cell), list_length(targets) + 1, list_nth(table->column_names, foreach_current_index(cell)), false));
	return targets;
}

/* Captures, as taken away, the rows that will be others. */
static MaintenanceStatement *
take_old(RowsTable *table)
{
	char	   *sql = psprintf("SELECT %s\n   FROM %s AS fresh JOIN %s AS t ON %s\n  WHERE %s", changes(table, "t.", false), table->capture,
							   table->arm->rows_name, match(table, "fresh", table->anchor_names), difference(table, "fresh"));
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, title(table, "take away rows that change, as they were"), sql, -1);

	capture_changes(table, statement);
	statement->reads = table->capture;
	return statement;
}

/* Deletes the rows of affected anchors that are no more. */
static MaintenanceStatement *
take_gone(RowsTable *table)
{
	char	   *names = kv_statement_columns(table->anchor_names, "");
	char	   *sql = psprintf("DELETE FROM %s AS t\n  USING (SELECT %s FROM %s\n        EXCEPT\n        SELECT %s FROM %s) AS gone (%s)\n  WHERE %s\nRETURNING %s",
							   table->arm->rows_name, kv_statement_columns(table->affected->names, ""), table->affected->capture, names, table->capture,
							   names, match(table, "gone", table->anchor_names), changes(table, "t.", false));
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, title(table, "take away rows that are gone"), sql, -1);

	capture_changes(table, statement);
	statement->reads = table->affected->capture;
	statement->reads_also = table->capture;
	return statement;
}

/* Writes the rows that are new or differ. */
static MaintenanceStatement *
put_new(RowsTable *table)
{
	List	   *names = table->column_names;
	List	   *changing = changing_columns(table);
	StringInfoData sql;
	MaintenanceStatement *statement;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\nSELECT %s\n   FROM %s\nON CONFLICT (%s) DO ", table->arm->rows_name, kv_statement_columns(names, ""),
					 kv_statement_columns(names, ""), table->capture, kv_statement_columns(table->anchor_names, ""));
	foreach(cell, changing)
		appendStringInfo(&sql, "%s%s = excluded.%s", foreach_current_index(cell) == 0 ? "UPDATE SET " : ", ",
						 quote_identifier(lfirst(cell)), quote_identifier(lfirst(cell)));
	if (changing == NIL)
		appendStringInfoString(&sql, "NOTHING");
	else
		appendStringInfo(&sql, "\n  WHERE %s", difference(table, "excluded"));
	appendStringInfo(&sql, "\nRETURNING %s", changes(table, "t.", true));
	statement = kv_statement(PHASE_COMPUTE, title(table, "put in rows that are new or differ"), sql.data, -1);
	capture_changes(table, statement);
	statement->reads = table->capture;
	return statement;
}

/* Deletes all rows of affected anchors. */
static MaintenanceStatement *
take_all(RowsTable *table)
{
	char	   *sql = psprintf("DELETE FROM %s AS t\n  USING %s\n  WHERE %s\nRETURNING %s", table->arm->rows_name, kv_affected_distinct(table->affected),
							   match(table, "affected", table->affected->names), changes(table, "t.", false));
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, title(table, "take away the rows that are reached, as they were"), sql, -1);

	capture_changes(table, statement);
	statement->reads = table->affected->capture;
	return statement;
}

/* Inserts all rows of affected anchors as they are now. */
static MaintenanceStatement *
put_all(RowsTable *table)
{
	List	   *names = table->column_names;
	char	   *sql = psprintf("INSERT INTO %s AS t (%s)\n%s\nRETURNING %s", table->arm->rows_name, kv_statement_columns(names, ""),
							   kv_affected_rows(table->affected, row_targets(table), table->anchor_names), changes(table, "t.", true));
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, title(table, "put them in as they are"), sql, -1);

	capture_changes(table, statement);
	statement->reads = table->affected->capture;
	return statement;
}

/* Gives the columns of a change. */
static char *
changes(RowsTable *table, const char *prefix, bool new)
{
	return psprintf("%s%s%s AS " KV_COL_NEW, kv_statement_columns(table->rows->names, prefix), table->rows->names == NIL ? "" : ", ", new ? "true" : "false");
}

/* Makes a statement capture what it gives as changes. */
static void
capture_changes(RowsTable *table, MaintenanceStatement *statement)
{
	List	   *targets = list_copy_head(row_targets(table), list_length(table->rows->kept));

	targets = lappend(targets, makeTargetEntry((Expr *) makeBoolConst(true, false), list_length(targets) + 1, KV_COL_NEW, false));
	statement->captures = KV_CAPTURE_CHANGES;
	statement->capture_desc = ExecTypeFromTL(targets);
	statement->null_safe = list_member_int(table->affected->nullable, true);
}

/* Says which arm a statement is about, where there are several. */
static char *
title(RowsTable *table, const char *text)
{
	return table->rows->view->narms == 1 ? pstrdup(text) : psprintf("%s, part %d", text, table->arm->number + 1);
}

/* Gives the condition that the row "t" of the table has the anchor that another row has under these names. */
static char *
match(RowsTable *table, const char *other, List *names)
{
	return kv_statement_match("t", table->anchor_names, other, names, table->affected->types, table->affected->nullable);
}

/* Gives the columns that rows of the same anchor may differ in: of those of the anchor none, unless equal values may have other digits. */
static List *
changing_columns(RowsTable *table)
{
	TupleDesc	desc = ExecTypeFromTL(row_targets(table));
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, table->rows->names)
	{
		Form_pg_attribute column = TupleDescAttr(desc, foreach_current_index(cell));

		if (!list_member_ptr(table->anchor_names, lfirst(cell)) || !kv_equality_is_identity(column->atttypid, column->attcollation))
			names = lappend(names, lfirst(cell));
	}
	return names;
}

/* Gives the condition that the row "t" of the table differs from a fresh one. */
static char *
difference(RowsTable *table, const char *fresh)
{
	TupleDesc	desc = ExecTypeFromTL(row_targets(table));
	List	   *changing = changing_columns(table);
	List	   *attnos = NIL;
	List	   *stored = NIL;
	List	   *new = NIL;
	ListCell   *cell;

	foreach(cell, table->rows->names)
	{
		if (!list_member_ptr(changing, lfirst(cell)))
			continue;
		attnos = lappend_int(attnos, foreach_current_index(cell) + 1);
		stored = lappend(stored, psprintf("t.%s", quote_identifier(lfirst(cell))));
		new = lappend(new, psprintf("%s.%s", fresh, quote_identifier(lfirst(cell))));
	}
	return kv_statement_difference(desc, attnos, stored, new);
}

/* Selects rows of groups; see grouped_rows.h. */
char *
kv_grouped_rows_select(GroupedRows *rows, const char *from, const char *touched)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < rows->view->narms; i++)
	{
		appendStringInfo(&sql, "%sSELECT %s\n   FROM %s%s%s AS r", i > 0 ? "\nUNION ALL\n" : "",
						 rows->names == NIL ? "true AS row" : kv_statement_columns(rows->names, "r."), from ? from : "", from ? ",\n    " : "",
						 rows->view->arms[i].rows_name);
		if (touched && rows->nkeys > 0)
			appendStringInfo(&sql, "\n  WHERE %s", kv_grouped_rows_match(rows, "r", touched));
	}
	return sql.data;
}

/*
 * Selects a row of a group; see grouped_rows.h. Groups with a null in their key have a query of their own: one condition for both
 * would have an index collect the group as a whole, and so might a query without a limit of its own.
 */
char *
kv_grouped_rows_one(GroupedRows *rows, const char *touched)
{
	List	   *keys = list_copy_head(rows->names, rows->nkeys);
	List	   *types = kv_result_key_types(rows->view);
	List	   *nullable = NIL;
	char	   *columns = kv_statement_columns(keys, "r.");
	StringInfoData sql;

	for (int i = 0; i < rows->nkeys; i++)
		nullable = lappend_int(nullable, false);
	initStringInfo(&sql);
	for (int i = 0; i < rows->view->narms; i++)
	{
		const char *table = rows->view->arms[i].rows_name;

		appendStringInfo(&sql, "%s(SELECT %s FROM %s AS r WHERE %s LIMIT 1)\n        UNION ALL\n        SELECT %s FROM (%s) AS found, %s AS r WHERE r.ctid = found.ctid AND num_nulls(%s) > 0",
						 i > 0 ? "\n        UNION ALL\n        " : "", columns, table, kv_statement_match("r", keys, touched, keys, types, nullable),
						 columns, kv_statement_find_with_nulls(table, keys, touched, types), table, kv_statement_columns(keys, psprintf("%s.", touched)));
	}
	appendStringInfoString(&sql, "\n         LIMIT 1");
	return sql.data;
}

/* Gives the condition that two rows have the same group; see grouped_rows.h. */
char *
kv_grouped_rows_match(GroupedRows *rows, const char *one, const char *other)
{
	List	   *keys = list_copy_head(rows->names, rows->nkeys);

	return kv_statement_match(one, keys, other, keys, kv_result_key_types(rows->view), kv_result_key_nullable(rows->view));
}

/* Tells whether equal keys may differ in their bytes; see grouped_rows.h. */
bool
kv_grouped_rows_spell_keys(const GroupedRows *rows)
{
	ListCell   *cell;

	foreach(cell, rows->view->keys)
	{
		Form_pg_attribute column = TupleDescAttr(rows->view->result, lfirst_int(cell) - 1);

		if (!kv_equality_is_identity(column->atttypid, column->attcollation))
			return true;
	}
	return false;
}

/* Gives what creates an arm's table; see grouped_rows.h. */
List *
kv_grouped_rows_tables(GroupedRows *rows, ViewArm *arm)
{
	RowsTable	table = {.rows = rows,.arm = arm};
	List	   *keys = list_copy_head(rows->names, rows->nkeys);
	List	   *statements;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	name_anchor(&table);
	foreach(cell, row_targets(&table))
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Node	   *value = (Node *) target->expr;

		appendStringInfo(&sql, "%s%s", sql.len > 0 ? ", " : "",
						 kv_statement_column_definition(target->resname, exprType(value), exprTypmod(value), exprCollation(value)));
	}
	statements = list_make1(psprintf("CREATE TABLE %s (%s) WITH (fillfactor = 80)", arm->rows_name, sql.data));
	statements = lappend(statements, psprintf("CREATE %sINDEX ON %s (%s)%s", arm->anchor_is_row ? "UNIQUE " : "", arm->rows_name,
											  kv_statement_columns(table.anchor_names, ""), arm->anchor_is_row ? " NULLS NOT DISTINCT" : ""));
	if (rows->by_group && keys != NIL)
		statements = lappend(statements, psprintf("CREATE INDEX ON %s (%s)", arm->rows_name, kv_statement_columns(keys, "")));
	return statements;
}
