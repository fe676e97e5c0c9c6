/*
 * session_rows.c: the rows of open sessions, where what is made of them cannot be merged: DISTINCT, DISTINCT ON, and what depends on
 * the order of the rows.
 *
 * A row that bridges sessions makes one of them, whose rows came in turns. So the row columns are kept, each row with its place in
 * processing order, and a session that new rows touch is computed again from all of its rows, by the aggregates themselves,
 * whichever they are: that costs as much as the session is large. Places grow, and no two rows have the same; a session has the number of
 * its first row's place, so the number tells it apart and only the rows of sessions that become part of an older one are moved.
 *
 * Invariant: every session of the companion has its rows here, and no other row is here. A session that has closed is not touched
 * again, so it leaves the companion together with its rows; where sessions never close, all rows stay.
 */
#include "session_rows.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"

#include "aggregate.h"
#include "delta_query.h"
#include "normalize.h"

/* Rows of captured sessions, within a statement: row columns, keys of the session, place. */
#define SESSION_ROWS "kv_session_rows"

static MaintenanceStatement *move_rows(GroupCompiler *groups, const char *moves, const char *from, const char *to);
static MaintenanceStatement *keep_rows(GroupCompiler *groups, const AssignedRows *assigned);
static char *rows_of_sessions(GroupCompiler *groups, const char *captured, List *names);
static Query *session_query(GroupCompiler *groups, List *names);
static void select_standing(Query *query, GroupCompiler *groups, AttrNumber place);
static AttrNumber target_of(GroupCompiler *groups, const Node *expr);
static List *table_columns(const ViewDef *view);

/* Compiles the statements; see session_rows.h. */
List *
kv_session_rows_statements(GroupCompiler *groups, const AssignedRows *assigned, const char *moves, const char *from, const char *to)
{
	return list_make3(move_rows(groups, moves, from, to), keep_rows(groups, assigned),
					  kv_session_rows_compute(groups, PHASE_COMPUTE, KV_CAPTURE_SESSIONS));
}

/* Puts the rows of sessions that have become part of an older one under its number. */
static MaintenanceStatement *
move_rows(GroupCompiler *groups, const char *moves, const char *from, const char *to)
{
	const char *table = groups->view->session_rows_name;
	const char *number = quote_identifier(linitial(table_columns(groups->view)));
	MaintenanceStatement *statement;

	statement = kv_statement(PHASE_COMPUTE, "move the rows of sessions that were merged into older ones",
							 psprintf("UPDATE %s AS t\n   SET %s = moved.%s\n   FROM (SELECT DISTINCT %s, %s FROM %s WHERE %s <> %s) AS moved\n  WHERE t.%s = moved.%s",
									  table, number, to, from, to, moves, from, to, number, from), -1);
	statement->reads = pstrdup(moves);
	return statement;
}

/* Keeps the new rows. */
static MaintenanceStatement *
keep_rows(GroupCompiler *groups, const AssignedRows *assigned)
{
	ViewDef    *view = groups->view;
	MaintenanceStatement *statement;
	List	   *values = lcons(assigned->number, lcons(assigned->place, list_copy(view->row_names)));

	statement = kv_statement(PHASE_COMPUTE, "keep the new rows",
							 psprintf("INSERT INTO %s (%s)\nSELECT %s\n   FROM %s", view->session_rows_name,
									  kv_statement_columns(table_columns(view), ""), kv_statement_columns(values, ""), assigned->capture), -1);
	statement->reads = pstrdup(assigned->capture);
	return statement;
}

/* Computes sessions; see session_rows.h. */
MaintenanceStatement *
kv_session_rows_compute(GroupCompiler *groups, StatementPhase phase, const char *captured)
{
	List	   *names = list_copy(groups->view->row_names);
	Query	   *query;
	MaintenanceStatement *statement;

	for (int i = 1; i <= list_length(groups->key_names) + 1; i++)
		names = lappend(names, kv_unique_name(i <= list_length(groups->key_names) ? psprintf("kv_key_%d", i) : "kv_place", names));
	query = session_query(groups, names);
	statement = kv_statement(phase, "compute sessions from their rows",
							 psprintf("WITH " SESSION_ROWS " (%s) AS (\n%s)\n%s", kv_statement_columns(names, ""),
									  rows_of_sessions(groups, captured, names), kv_delta_print(query)), -1);
	statement->reads = pstrdup(captured);
	statement->captures = KV_CAPTURE_GROUPS;
	statement->capture_desc = ExecTypeFromTL(query->targetList);
	return statement;
}

/* Selects the rows of captured sessions with the keys of these. */
static char *
rows_of_sessions(GroupCompiler *groups, const char *captured, List *names)
{
	ViewDef    *view = groups->view;
	List	   *stored = table_columns(view);
	char	   *number = quote_qualified_identifier("g", ((StateColumn *) linitial(groups->columns))->name);

	return psprintf("SELECT %s, %s, r.%s\n   FROM %s AS g\n     JOIN %s AS r ON r.%s = %s", kv_statement_columns(list_copy_tail(stored, 2), "r."),
					kv_statement_columns(groups->key_names, "g."), quote_identifier(lsecond(stored)), captured, view->session_rows_name,
					quote_identifier(linitial(stored)), number);
}

/* Makes the query for keys and values of sessions over their rows, which are given to aggregates in processing order where that matters. */
static Query *
session_query(GroupCompiler *groups, List *names)
{
	ViewDef    *view = groups->view;
	Query	   *query = kv_delta_select_from(SESSION_ROWS, names);
	AttrNumber	place = list_length(names);
	ListCell   *cell;

	foreach(cell, groups->key_exprs)
	{
		Node	   *key = lfirst(cell);
		int			number = foreach_current_index(cell) + 1;
		SortGroupClause *clause = copyObject(list_nth_node(SortGroupClause, view->groups->groupClause, number - 1));
		Var		   *var = makeVar(1, list_length(view->row_names) + number, exprType(key), exprTypmod(key), exprCollation(key), 0);
		TargetEntry *target = makeTargetEntry((Expr *) var, number, list_nth(groups->key_names, number - 1), false);

		target->ressortgroupref = clause->tleSortGroupRef = number;
		query->targetList = lappend(query->targetList, target);
		query->groupClause = lappend(query->groupClause, clause);
	}
	foreach(cell, groups->computed)
	{
		StateColumn *column = lfirst(cell);
		Expr	   *value = IsA(column->value, Aggref) ? (Expr *) kv_aggregate_in_order((Aggref *) column->value, place) : copyObject(column->value);

		query->targetList = lappend(query->targetList, makeTargetEntry(value, list_length(query->targetList) + 1, column->name, false));
	}
	query->hasAggs = view->groups->hasAggs;
	if (view->groups->hasDistinctOn)
		select_standing(query, groups, place);
	return query;
}

/* Makes it give the row that stands instead: DISTINCT ON the keys, of rows that come at the same place the one processed first. */
static void
select_standing(Query *query, GroupCompiler *groups, AttrNumber place)
{
	Query	   *view_query = groups->view->groups;
	TargetEntry *last = makeTargetEntry((Expr *) makeVar(1, place, INT8OID, -1, InvalidOid, 0), list_length(query->targetList) + 1, NULL, true);
	SortGroupClause *by_place = makeNode(SortGroupClause);
	ListCell   *cell;

	query->distinctClause = query->groupClause;
	query->groupClause = NIL;
	query->hasDistinctOn = true;
	foreach(cell, view_query->sortClause)
	{
		SortGroupClause *clause = copyObject(lfirst_node(SortGroupClause, cell));
		AttrNumber	number = target_of(groups, get_sortgroupclause_expr(clause, view_query->targetList));

		clause->tleSortGroupRef = assignSortGroupRef(list_nth_node(TargetEntry, query->targetList, number - 1), query->targetList);
		query->sortClause = lappend(query->sortClause, clause);
	}
	query->targetList = lappend(query->targetList, last);
	by_place->tleSortGroupRef = assignSortGroupRef(last, query->targetList);
	get_sort_group_operators(INT8OID, true, true, false, &by_place->sortop, &by_place->eqop, NULL, &by_place->hashable);
	query->sortClause = lappend(query->sortClause, by_place);
}

/* Numbers the target that has an expression of the view's. */
static AttrNumber
target_of(GroupCompiler *groups, const Node *expr)
{
	ListCell   *cell;

	foreach(cell, groups->key_exprs)
		if (equal(lfirst(cell), expr))
			return foreach_current_index(cell) + 1;
	foreach(cell, groups->computed)
		if (equal(((StateColumn *) lfirst(cell))->value, expr))
			return list_length(groups->key_exprs) + foreach_current_index(cell) + 1;
	elog(ERROR, "expression of DISTINCT ON has no column");
}

/* Forgets rows; see session_rows.h. */
MaintenanceStatement *
kv_session_rows_forget(GroupCompiler *groups, const char *captured)
{
	char	   *number = quote_qualified_identifier("g", ((StateColumn *) linitial(groups->columns))->name);
	MaintenanceStatement *statement;

	statement = kv_statement(PHASE_CLOSE, "forget the rows of sessions that have closed",
							 psprintf("DELETE FROM %s AS t\n  USING %s AS g\n  WHERE t.%s = %s", groups->view->session_rows_name, captured,
									  quote_identifier(linitial(table_columns(groups->view))), number), -1);
	statement->reads = pstrdup(captured);
	return statement;
}

/* Gives the greatest place; see session_rows.h. */
char *
kv_session_rows_last(const ViewDef *view)
{
	return psprintf("COALESCE((SELECT max(%s) FROM %s), 0)", quote_identifier(lsecond(table_columns(view))), view->session_rows_name);
}

/* Gives what creates the table; see session_rows.h. */
List *
kv_session_rows_tables(const ViewDef *view)
{
	char	   *number = kv_unique_name("kv_session", view->row_names);
	char	   *place = kv_unique_name("kv_place", view->row_names);
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (%s bigint NOT NULL, %s bigint NOT NULL", view->session_rows_name, number, place);
	foreach(cell, view->arms[0].query->targetList)
	{
		Node	   *expr = (Node *) lfirst_node(TargetEntry, cell)->expr;

		appendStringInfo(&sql, ", %s", kv_statement_column_definition(list_nth(view->row_names, foreach_current_index(cell)), exprType(expr),
																	  exprTypmod(expr), exprCollation(expr)));
	}
	appendStringInfoChar(&sql, ')');
	return list_make3(sql.data, psprintf("CREATE UNIQUE INDEX ON %s (%s, %s)", view->session_rows_name, number, place),
					  psprintf("CREATE UNIQUE INDEX ON %s (%s)", view->session_rows_name, place));
}

/* Gives the names of the table's columns as they are now: number of the session, place, row columns. */
static List *
table_columns(const ViewDef *view)
{
	return kv_statement_relation_columns(kv_delta_table(view->session_rows_name), list_length(view->row_names) + 2);
}
