/*
 * session_query.c: sessions by window functions, for kafka.verify.
 *
 * In the order of its time, a row of a group begins a session if it is the first, or more than the gap after the one
 * before it; the number of beginnings so far tells the sessions apart. Lateness and closing are no part of it.
 */
#include "session_query.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "utils/builtins.h"

#include "delta_query.h"
#include "normalize.h"
#include "statement.h"
#include "window_layer.h"

/* What the marker is exchanged for. */
typedef struct Marker
{
	Node	   *call;
	AttrNumber	column;			/* of entry 1 */
} Marker;

static List *row_and_session_names(const ViewDef *view);
static char *united_rows(const ViewDef *view);
static char *with_keys(const ViewDef *view, List **keys, char **at);
static Node *marker_mutator(Node *node, Marker *marker);

/* Gives the query; see session_query.h. */
char *
kv_session_query(const ViewDef *view)
{
	Query	   *query = kv_session_select(view);

	query->targetList = (List *) kv_session_expr(view, (Node *) view->groups->targetList);
	query->havingQual = kv_session_expr(view, view->groups->havingQual);
	query->groupClause = copyObject(view->groups->groupClause);
	query->hasAggs = view->groups->hasAggs;
	if (view->groups->hasDistinctOn)
	{
		query->distinctClause = query->groupClause;
		query->groupClause = NIL;
		query->hasDistinctOn = true;
		query->sortClause = copyObject(view->groups->sortClause);
	}
	return psprintf("WITH %s\n%s", kv_session_rows(view), kv_delta_print(query));
}

/* Defines the rows with their sessions; see session_query.h. */
char *
kv_session_rows(const ViewDef *view)
{
	List	   *keys;
	char	   *at = NULL;
	char	   *rows = with_keys(view, &keys, &at);
	char	   *partition = keys ? psprintf("PARTITION BY %s", kv_statement_columns(keys, "")) : "";
	char	   *gap = kv_delta_interval(view->window->length_us);

	return psprintf("kv_session_rows AS (SELECT %s, tstzrange(min(%s) OVER same, max(%s) OVER same, '[]') AS %s\n"
					" FROM (SELECT *, count(*) FILTER (WHERE begins) OVER (%s ORDER BY %s ROWS UNBOUNDED PRECEDING) AS island\n"
					" FROM (SELECT *, (%s - lag(%s) OVER (%s ORDER BY %s) > %s) IS NOT FALSE AS begins\n FROM (%s) AS r) AS r) AS r\n"
					" WINDOW same AS (PARTITION BY %s%sisland))",
					kv_statement_columns(view->row_names, ""), at, at, quote_identifier(llast(row_and_session_names(view))),
					partition, at, at, at, partition, at, gap, rows,
					keys ? kv_statement_columns(keys, "") : "", keys ? ", " : "");
}

/* Makes an empty SELECT from them; see session_query.h. */
Query *
kv_session_select(const ViewDef *view)
{
	Query	   *query = kv_delta_select_from("kv_session_rows", row_and_session_names(view));

	query->jointree->quals = NULL;
	return query;
}

/* Exchanges the marker for the session's column; see session_query.h. */
Node *
kv_session_expr(const ViewDef *view, Node *expr)
{
	Marker		marker = {view->window->expr, list_length(view->row_names) + 1};

	return marker_mutator(expr, &marker);
}

static List *
row_and_session_names(const ViewDef *view)
{
	return lappend(list_copy(view->row_names), kv_unique_name("kv_session", view->row_names));
}

/* Gives the rows of all arms. */
static char *
united_rows(const ViewDef *view)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < view->narms; i++)
		appendStringInfo(&sql, "%s(%s)", i > 0 ? "\nUNION ALL\n" : "", kv_delta_print(copyObject(view->arms[i].query)));
	return sql.data;
}

/* Gives the rows with the group keys besides the session (names in *keys) and the time (*at, quoted). */
static char *
with_keys(const ViewDef *view, List **keys, char **at)
{
	Query	   *query = kv_delta_select_from("kv_session_source", view->row_names);
	List	   *taken = list_copy(view->row_names);
	ListCell   *cell;

	*keys = NIL;
	foreach(cell, view->arms[0].query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Node	   *expr = (Node *) target->expr;
		Var		   *var = makeVar(1, foreach_current_index(cell) + 1, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);

		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) var, var->varattno,
																	   list_nth(view->row_names, foreach_current_index(cell)), false));
	}
	foreach(cell, get_sortgrouplist_exprs(view->groups->groupClause, view->groups->targetList))
	{
		bool		is_session = equal(lfirst(cell), view->window->expr);
		Node	   *expr = is_session ? linitial(castNode(FuncExpr, lfirst(cell))->args) : lfirst(cell);
		char	   *name = kv_unique_name(is_session ? "kv_at" : "kv_key", taken);

		taken = lappend(taken, name);
		if (is_session)
			*at = pstrdup(quote_identifier(name));
		else
			*keys = lappend(*keys, name);
		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) copyObject(expr), list_length(query->targetList) + 1, name, false));
	}
	return psprintf("WITH kv_session_source (%s) AS (%s)\n%s", kv_statement_columns(view->row_names, ""), united_rows(view), kv_delta_print(query));
}

static Node *
marker_mutator(Node *node, Marker *marker)
{
	if (node == NULL)
		return NULL;
	if (equal(node, marker->call))
		return (Node *) makeVar(1, marker->column, TSTZRANGEOID, -1, InvalidOid, 0);
	return expression_tree_mutator(node, marker_mutator, marker);
}
