/*
 * distinct_on.c: SELECT DISTINCT ON (key) ... ORDER BY key, sort: of the rows of a key, the one that
 * stands, which is the first in that order.
 *
 * In the group layer DISTINCT ON is a GROUP BY of the key with ORDER BY kept, and the columns that are not keys, the sorts
 * included, are a group's state: those of the standing row. A new row takes its place if it comes before
 * it. Of rows that come at the same place the one processed first stands: it comes first in a batch by kv_row, and later ones do not come
 * before it. Where every sort is selected, the result table is its own state.
 */
#include "distinct_on.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"

#include "delta_query.h"
#include "equality.h"
#include "group_rows.h"
#include "note_times.h"

static List *sorts_of(const ViewDef *view);
static bool is_key(const ViewDef *view, const SortGroupClause *clause);
static bool is_identified(Node *expr);
static Query *standing_query(ViewDef *view, List *exprs, List *names, Node **time);
static SortGroupClause *clause_over(Query *query, const ViewDef *view, const SortGroupClause *like);
static char *stands_before(const ViewDef *view, List *exprs, List *names);
static char *name_of(const Node *expr, List *exprs, List *names);
static char *join(List *parts, const char *separator);

/* Refuses an order that says nothing about the rows of a key; decides where the state is. */
Refusal *
kv_distinct_on_check(ViewDef *view)
{
	Query	   *query = view->groups;
	ListCell   *cell;

	if (sorts_of(view) == NIL)
		return kv_refusal(exprLocation(get_sortgroupclause_expr(linitial(query->groupClause), query->targetList)),
						  "continuous view \"%s\" must order the rows of DISTINCT ON beyond its key",
						  "Otherwise nothing says which row of a key stands.",
						  "Write ORDER BY the key and then what decides, for example the event time: ORDER BY key, time DESC.");
	if (kv_view_is_table_driven(view))
		return NULL;			/* the row that stands is found again among those of its key (table_groups.c) */
	view->ordered = true;
	view->own_state = true;
	foreach(cell, query->targetList)
		if (lfirst_node(TargetEntry, cell)->resjunk)
			view->own_state = false;
	return NULL;
}

/* Gives the clauses of ORDER BY behind the key. */
static List *
sorts_of(const ViewDef *view)
{
	List	   *sorts = NIL;
	ListCell   *cell;

	foreach(cell, view->groups->sortClause)
		if (!is_key(view, lfirst(cell)))
			sorts = lappend(sorts, lfirst(cell));
	return sorts;
}

static bool
is_key(const ViewDef *view, const SortGroupClause *clause)
{
	ListCell   *cell;

	foreach(cell, view->groups->groupClause)
		if (equal(get_sortgroupclause_expr(lfirst(cell), view->groups->targetList), get_sortgroupclause_expr((SortGroupClause *) clause, view->groups->targetList)))
			return true;
	return false;
}

/* Takes new rows that stand; see distinct_on.h. */
MaintenanceStatement *
kv_distinct_on_take(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	List	   *exprs = view->own_state ? get_tlist_exprs(view->groups->targetList, false) : kv_group_state_exprs(groups);
	List	   *names = kv_statement_relation_columns(view->own_state ? view->relid : kv_delta_table(view->groups_name), list_length(exprs));
	List	   *keys = NIL;
	List	   *values = NIL;
	Node	   *time;
	Query	   *query = standing_query(view, exprs, names, &time);
	char	   *sql;
	MaintenanceStatement *statement;
	ListCell   *cell;

	foreach(cell, groups->key_exprs)
		keys = lappend(keys, name_of(lfirst(cell), exprs, names));
	foreach(cell, names)
		if (!list_member_ptr(keys, lfirst(cell)) || !is_identified(list_nth(exprs, foreach_current_index(cell))))
			values = lappend(values, psprintf("%s = excluded.%s", quote_identifier(lfirst(cell)), quote_identifier(lfirst(cell))));
	sql = psprintf("INSERT INTO %s AS t (%s)\n%s\nON CONFLICT (%s) DO UPDATE SET %s\n  WHERE %s", view->own_state ? view->name : view->groups_name,
				   kv_statement_columns(names, ""), view->final ? kv_delta_print(query) : kv_note_key_times(query, names, keys, time),
				   kv_statement_columns(keys, ""), join(values, ", "), stands_before(view, exprs, names));

	statement = kv_statement(PHASE_COMPUTE, "take new rows that stand for their keys", sql, -1);
	if (view->own_state)
		kv_statement_return_rows(view, statement, false);
	else if (!view->final)
	{
		statement->sql = psprintf("%s\nRETURNING %s", sql, kv_statement_columns(names, "t."));
		kv_group_state_capture(groups, statement);
	}
	kv_group_rows_place(view, statement);
	return statement;
}

/* Are equal values of an expression the same, so that a key need not be taken over? */
static bool
is_identified(Node *expr)
{
	return kv_equality_is_identity(exprType(expr), exprCollation(expr));
}

/* Makes the query for the row of every key that stands among the new rows. */
static Query *
standing_query(ViewDef *view, List *exprs, List *names, Node **time)
{
	Query	   *base = makeNode(Query);
	List	   *distinct = NIL;
	List	   *sorts = NIL;
	Var		   *place = makeVar(1, kv_group_rows_order(view), INT8OID, -1, InvalidOid, 0);
	SortGroupClause *by_place = makeNode(SortGroupClause);
	Query	   *query;
	ListCell   *cell;

	foreach(cell, exprs)
		base->targetList = lappend(base->targetList, makeTargetEntry((Expr *) copyObject(lfirst(cell)), foreach_current_index(cell) + 1,
																	 list_nth(names, foreach_current_index(cell)), false));
	foreach(cell, view->groups->groupClause)
		distinct = lappend(distinct, clause_over(base, view, lfirst(cell)));
	foreach(cell, view->groups->sortClause)
		sorts = lappend(sorts, clause_over(base, view, lfirst(cell)));
	base->targetList = lappend(base->targetList, makeTargetEntry((Expr *) place, list_length(exprs) + 1, NULL, true));
	by_place->tleSortGroupRef = assignSortGroupRef(llast(base->targetList), base->targetList);
	get_sort_group_operators(INT8OID, true, true, false, &by_place->sortop, &by_place->eqop, NULL, &by_place->hashable);

	query = kv_group_rows_timed(view, base, time);
	query->distinctClause = distinct;
	query->hasDistinctOn = true;
	query->sortClause = lappend(sorts, by_place);
	return query;
}

/* Gives a clause of the group layer for the same expression among the targets of another query. */
static SortGroupClause *
clause_over(Query *query, const ViewDef *view, const SortGroupClause *like)
{
	SortGroupClause *clause = copyObject((SortGroupClause *) like);
	Node	   *expr = get_sortgroupclause_expr(clause, view->groups->targetList);

	clause->tleSortGroupRef = assignSortGroupRef(tlist_member((Expr *) expr, query->targetList), query->targetList);
	return clause;
}

/* Gives the condition that a new row comes before the stored one: by the first sort in which they differ. */
static char *
stands_before(const ViewDef *view, List *exprs, List *names)
{
	char	   *condition = NULL;
	List	   *sorts = sorts_of(view);

	for (int i = list_length(sorts) - 1; i >= 0; i--)
	{
		SortGroupClause *sort = list_nth(sorts, i);
		const char *name = quote_identifier(name_of(get_sortgroupclause_expr(sort, view->groups->targetList), exprs, names));
		const char *null = sort->nulls_first ? "excluded" : "t";
		const char *other = sort->nulls_first ? "t" : "excluded";
		char	   *before = psprintf("(excluded.%s %s t.%s OR %s.%s IS NULL AND %s.%s IS NOT NULL)", name, kv_statement_operator(sort->sortop), name,
									  null, name, other, name);

		if (condition)
			before = psprintf("(%s OR (excluded.%s %s t.%s OR excluded.%s IS NULL AND t.%s IS NULL) AND %s)", before, name,
							  kv_statement_operator(sort->eqop), name, name, name, condition);
		condition = before;
	}
	return condition;
}

/* Gives the column that has an expression's value. */
static char *
name_of(const Node *expr, List *exprs, List *names)
{
	ListCell   *cell;

	foreach(cell, exprs)
		if (equal(lfirst(cell), expr))
			return list_nth(names, foreach_current_index(cell));
	elog(ERROR, "expression of DISTINCT ON has no column");
}

static char *
join(List *parts, const char *separator)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, parts)
		appendStringInfo(&text, "%s%s", text.len > 0 ? separator : "", (char *) lfirst(cell));
	return text.data;
}
