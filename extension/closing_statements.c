/*
 * closing_statements.c: emit = 'final': one row a group, when its window closes (DESIGN.md 2.3). Sessions whose rows are kept are
 * forgotten then, whatever the view emits.
 *
 * Open groups are in the companion alone. When the frontier moves, those whose windows have ended grace before it are taken
 * out, by an index on the window, so that closing costs what closes and not what is open; their rows are inserted into the view, in the order in which their
 * windows end, where HAVING lets them. Invariant: a group that was taken out does not come again, because every
 * later row of it is late (window_statements.c). So rows of the view are only ever inserted, and views over it read it as a stream.
 */
#include "closing_statements.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "delta_query.h"
#include "distinct_values.h"
#include "note_times.h"
#include "session_rows.h"
#include "window_end.h"

#define CAPTURE_CLOSED "kv_closed"

static MaintenanceStatement *take_closed(GroupCompiler *groups);
static MaintenanceStatement *insert_closed(GroupCompiler *groups);
static MaintenanceStatement *forget_values(GroupCompiler *groups, const DistinctSet *set);
static void sort_by(Query *query, Node *expr);

/* Compiles the statements; see closing_statements.h. */
List *
kv_closing_statements(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	List	   *statements = list_make1(take_closed(groups));
	ListCell   *cell;

	if (view->keeps_rows && view->final)
		statements = lappend(statements, kv_session_rows_compute(groups, PHASE_CLOSE, CAPTURE_CLOSED));
	if (view->final)
		statements = lappend(statements, insert_closed(groups));
	if (view->keeps_rows)
		statements = lappend(statements, kv_session_rows_forget(groups, CAPTURE_CLOSED));
	foreach(cell, groups->distinct)
		statements = lappend(statements, forget_values(groups, lfirst(cell)));
	return statements;
}

/* Indexes the companion by its windows; see closing_statements.h. */
List *
kv_closing_indexes(ViewDef *view)
{
	char	   *column = kv_window_index(view->window, get_attname(view->relid, view->window->key, false));	/* the companion has the same names */
	List	   *statements;
	ListCell   *cell;

	/* the index on the keys will do where they begin with the window */
	if (kv_window_state_attno(view) == 1 && view->window->kind != WINDOW_RANGE && view->window->kind != WINDOW_SESSION)
		return NIL;
	/* so will that by which sessions are found (session_statements.c) */
	if (view->sessions && list_length(view->keys) == 1)
		return NIL;
	statements = list_make1(psprintf("CREATE INDEX ON %s (%s)", view->groups_name, column));
	foreach(cell, kv_distinct_table_names(view))
		statements = lappend(statements, psprintf("CREATE INDEX ON %s (%s)", (char *) lfirst(cell), column));
	return statements;
}

/* Deletes the groups of windows that have closed from the companion and captures them. */
static MaintenanceStatement *
take_closed(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	Oid			companion = kv_delta_table(view->groups_name);
	List	   *stored = kv_statement_relation_columns(companion, list_length(groups->key_names) + list_length(groups->columns));
	char	   *closed = kv_window_ended(view->window, companion, kv_window_state_attno(view), 2, view->window_grace_us + view->window->delay_us);
	MaintenanceStatement *statement;

	statement = kv_statement(PHASE_CLOSE, "take out the groups of windows that have closed",
							 psprintf("DELETE FROM %s AS t\n  WHERE %s\nRETURNING %s", view->groups_name, closed, kv_statement_columns(stored, "t.")), -1);
	kv_group_state_capture(groups, statement);
	if (view->keeps_rows)
		statement->captures = CAPTURE_CLOSED;
	return statement;
}

/* Inserts the rows of captured groups, in the order of their windows' ends and then of the other keys; the end is the time of the message about one. */
static MaintenanceStatement *
insert_closed(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	Query	   *query = kv_groups_final_query(groups);
	Node	   *end = kv_window_end(view->window, (Node *) get_tle_by_resno(query->targetList, view->window->key)->expr);
	char	   *rows;
	MaintenanceStatement *statement;
	ListCell   *cell;

	sort_by(query, end);
	foreach(cell, view->keys)
		if (lfirst_int(cell) != view->window->key)
			sort_by(query, (Node *) get_tle_by_resno(query->targetList, lfirst_int(cell))->expr);
	rows = kv_note_times_of_rows(view) ? kv_note_row_times(view, query, end) : kv_delta_print(query);
	statement = kv_statement(PHASE_CLOSE, "write the rows of these groups",
							 psprintf("INSERT INTO %s AS t (%s)\n%s", view->name, kv_statement_columns(columns, ""), rows), -1);
	statement->reads = KV_CAPTURE_GROUPS;
	statement->by_row = true;
	kv_statement_return_rows(view, statement, false);
	return statement;
}

/* Deletes the values that groups of windows that have closed have had. */
static MaintenanceStatement *
forget_values(GroupCompiler *groups, const DistinctSet *set)
{
	ViewDef    *view = groups->view;
	char	   *closed = kv_window_ended(view->window, kv_delta_table(set->table_name), kv_window_state_attno(view), 2, view->window_grace_us + view->window->delay_us);

	return kv_statement(PHASE_CLOSE, "forget the values of windows that have closed", psprintf("DELETE FROM %s AS t\n  WHERE %s", set->table_name, closed), -1);
}

/* Appends to a query's ORDER BY. */
static void
sort_by(Query *query, Node *expr)
{
	TargetEntry *target = tlist_member((Expr *) expr, query->targetList);
	SortGroupClause *clause = makeNode(SortGroupClause);
	TypeCacheEntry *type = lookup_type_cache(exprType(expr), TYPECACHE_LT_OPR | TYPECACHE_EQ_OPR);

	if (!target)
	{
		target = makeTargetEntry((Expr *) copyObject(expr), list_length(query->targetList) + 1, NULL, true);
		query->targetList = lappend(query->targetList, target);
	}
	clause->tleSortGroupRef = assignSortGroupRef(target, query->targetList);
	clause->eqop = type->eq_opr;
	clause->sortop = type->lt_opr;
	query->sortClause = lappend(query->sortClause, clause);
}
