/*
 * tied_rows.c: the query of a view where rows with the same sort count as equal.
 *
 * Which of them DISTINCT ON, kafka.first and kafka.last take is decided by the order of processing, which a query does
 * not know. So the rows that come first in the same place are found with rank(): what the view has is right where it is of one of
 * them, and must be what the query gives where it is not. Keys are compared as records, whose nulls are equal.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "aggregate.h"
#include "closed_query.h"
#include "delta_query.h"
#include "open_columns.h"
#include "result_rows.h"
#include "session_query.h"
#include "statement.h"
#include "tied_rows.h"

static char *standing_rows(ViewDef *view, const char *condition);
static Query *rows_and_sorts(ViewDef *view, char **order);
static char *standing_values(ViewDef *view, List *tied, Bitmapset *left_out);
static char *standing_value(ViewDef *view, TargetEntry *target);
static Query *values_and_sorts(ViewDef *view, TargetEntry *target);
static Query *select_from_rows(ViewDef *view);
static Node *over_rows(ViewDef *view, Node *expr);
static void add_target(ViewDef *view, Query *query, Node *expr, const char *name);
static char *compared_columns(ViewDef *view);
static char *key_row(ViewDef *view);
static char *partition(ViewDef *view);
static const char *column_name(ViewDef *view, int attno);

/* Gives the definitions; see tied_rows.h. */
char *
kv_tied_rows(ViewDef *view, Bitmapset *left_out, const char *condition)
{
	List	   *tied = kv_tied_columns(view);
	bool		distinct_on = view->groups && view->groups->hasDistinctOn;
	int			nest;
	char	   *text;

	if (!distinct_on && tied == NIL)
		return NULL;
	nest = kv_delta_begin_printing();
	text = psprintf("%s,\n%s", view->sessions ? kv_session_rows(view) : kv_closed_rows(view), distinct_on ? standing_rows(view, condition) : standing_values(view, tied, left_out));
	AtEOXact_GUC(true, nest);
	return text;
}

/* Gives those of DISTINCT ON: the rows of the view that may stand for their keys, and for the other keys any that may. */
static char *
standing_rows(ViewDef *view, const char *condition)
{
	char	   *order;
	char	   *rows = kv_delta_print(rows_and_sorts(view, &order));
	char	   *columns = kv_statement_columns(kv_statement_relation_columns(view->relid, view->result->natts), "");
	char	   *keys = kv_statement_columns(kv_result_key_names(view), "");

	return psprintf("kv_tied AS (SELECT %s\n FROM (SELECT *, rank() OVER (%s ORDER BY %s) AS kv_place FROM (%s) AS p) AS t%s kv_place = 1),\n"
					"kv_same AS (SELECT %s FROM v INTERSECT SELECT %s FROM kv_tied),\n"
					"must_be AS (SELECT %s FROM kv_same UNION ALL SELECT %s\n FROM (SELECT DISTINCT ON (%s) t.* FROM (SELECT *, %s AS kv_key FROM kv_tied) AS t\n"
					" LEFT JOIN (SELECT %s AS kv_key, true AS found FROM kv_same) AS s ON s.kv_key = t.kv_key WHERE s.found IS NULL) AS r)",
					compared_columns(view), partition(view), order, rows, *condition ? psprintf("%s AND", condition) : " WHERE",
					columns, columns, columns, columns, keys, key_row(view), key_row(view));
}

/* Makes the query for the rows of DISTINCT ON before it takes one of a key, with what it sorts by, and the text of that order. */
static Query *
rows_and_sorts(ViewDef *view, char **order)
{
	Query	   *query = select_from_rows(view);
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, view->groups->targetList)
		if (!lfirst_node(TargetEntry, cell)->resjunk)
			add_target(view, query, (Node *) lfirst_node(TargetEntry, cell)->expr, column_name(view, lfirst_node(TargetEntry, cell)->resno));
	foreach(cell, view->groups->sortClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, cell);
		char	   *name = psprintf("kv_sort_%d", foreach_current_index(cell));

		add_target(view, query, get_sortgroupclause_expr(clause, view->groups->targetList), name);
		appendStringInfo(&text, "%s%s USING %s NULLS %s", text.len > 0 ? ", " : "", name, kv_statement_operator(clause->sortop),
						 clause->nulls_first ? "FIRST" : "LAST");
	}
	*order = text.data;
	return query;
}

/* Gives those of kafka.first and kafka.last: the query with the values of the view where they are of rows that may stand. */
static char *
standing_values(ViewDef *view, List *tied, Bitmapset *left_out)
{
	StringInfoData with;
	StringInfoData columns;
	StringInfoData joins;
	ListCell   *cell;

	initStringInfo(&with);
	initStringInfo(&columns);
	initStringInfo(&joins);
	foreach(cell, tied)
	{
		int			number = lfirst_node(TargetEntry, cell)->resno;

		appendStringInfo(&with, "%s,\n", standing_value(view, lfirst(cell)));
		appendStringInfo(&joins, "\n LEFT JOIN kv_same_%d ON kv_same_%d.kv_key = q.kv_key", number, number);
	}
	for (int attno = 1; attno <= view->result->natts; attno++)
	{
		const char *name = quote_identifier(column_name(view, attno));
		bool		is_tied = false;

		if (bms_is_member(attno, left_out))
			continue;
		foreach(cell, tied)
			is_tied |= lfirst_node(TargetEntry, cell)->resno == attno;
		appendStringInfoString(&columns, columns.len > 0 ? ", " : "");
		if (is_tied)
			appendStringInfo(&columns, "CASE WHEN kv_same_%d.found THEN kv_same_%d.%s ELSE q.%s END AS %s", attno, attno, name, name, name);
		else
			appendStringInfo(&columns, "q.%s", name);
	}
	return psprintf("%smust_be AS (SELECT %s\n FROM (SELECT *, %s AS kv_key FROM q) AS q%s)", with.data, columns.data, key_row(view), joins.data);
}

/* Gives the keys of the groups whose value of one such column in the view is of a row that may stand, and this value. */
static char *
standing_value(ViewDef *view, TargetEntry *target)
{
	bool		last = kv_aggregate_standing_kind((Aggref *) target->expr) == COMBINE_LAST;
	const char *name = column_name(view, target->resno);
	List	   *names = lappend(list_copy(kv_result_key_names(view)), pstrdup(name));
	char	   *keys = view->keys ? psprintf("%s, ", kv_statement_columns(kv_result_key_names(view), "")) : "";

	return psprintf("kv_same_%d AS (SELECT *, %s AS kv_key, true AS found FROM (SELECT %s FROM v INTERSECT SELECT %s%s\n"
					" FROM (SELECT *, rank() OVER (%s ORDER BY kv_sort%s) AS kv_place FROM (%s) AS p) AS t WHERE kv_place = 1) AS s)",
					target->resno, key_row(view), kv_statement_columns(names, ""), keys, kv_tied_column(name, exprType((Node *) target->expr)),
					partition(view), last ? " DESC" : "", kv_delta_print(values_and_sorts(view, target)));
}

/* Makes the query for the keys, values and sorts of the rows that one such call takes. */
static Query *
values_and_sorts(ViewDef *view, TargetEntry *target)
{
	Query	   *query = select_from_rows(view);
	Aggref	   *aggregate = castNode(Aggref, target->expr);
	NullTest   *sorted = makeNode(NullTest);
	Node	   *sort = (Node *) lsecond_node(TargetEntry, aggregate->args)->expr;
	ListCell   *cell;

	foreach(cell, view->keys)
		add_target(view, query, (Node *) get_tle_by_resno(view->groups->targetList, lfirst_int(cell))->expr, column_name(view, lfirst_int(cell)));
	add_target(view, query, (Node *) linitial_node(TargetEntry, aggregate->args)->expr, column_name(view, target->resno));
	add_target(view, query, sort, "kv_sort");
	sorted->arg = (Expr *) over_rows(view, sort);
	sorted->nulltesttype = IS_NOT_NULL;
	sorted->location = -1;
	kv_delta_add_condition(query, (Node *) sorted);
	if (aggregate->aggfilter)
		kv_delta_add_condition(query, over_rows(view, (Node *) aggregate->aggfilter));
	return query;
}

/* Makes an empty SELECT from the rows under the groups, which know their sessions, if there are such. */
static Query *
select_from_rows(ViewDef *view)
{
	return view->sessions ? kv_session_select(view) : kv_delta_select_from("rows", view->row_names);
}

static Node *
over_rows(ViewDef *view, Node *expr)
{
	return view->sessions ? kv_session_expr(view, expr) : copyObject(expr);
}

static void
add_target(ViewDef *view, Query *query, Node *expr, const char *name)
{
	query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) over_rows(view, expr), list_length(query->targetList) + 1, pstrdup(name), false));
}

/* Lists the result columns as they are compared. */
static char *
compared_columns(ViewDef *view)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int attno = 1; attno <= view->result->natts; attno++)
		appendStringInfo(&text, "%s%s", attno > 1 ? ", " : "", kv_tied_column(column_name(view, attno), TupleDescAttr(view->result, attno - 1)->atttypid));
	return text.data;
}

/* Gives a column as it is compared; see tied_rows.h. */
char *
kv_tied_column(const char *name, Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_LT_OPR | TYPECACHE_HASH_PROC);
	const char *quoted = quote_identifier(name);

	if (OidIsValid(entry->lt_opr) || OidIsValid(entry->hash_proc))
		return pstrdup(quoted);
	return psprintf("%s::pg_catalog.text AS %s", quoted, quoted);
}

/* Gives the key of a row as a record; one without a key has the same everywhere. */
static char *
key_row(ViewDef *view)
{
	return psprintf("ROW(%s)", view->keys ? kv_statement_columns(kv_result_key_names(view), "") : "0");
}

static char *
partition(ViewDef *view)
{
	return view->keys ? psprintf("PARTITION BY %s", kv_statement_columns(kv_result_key_names(view), "")) : "";
}

static const char *
column_name(ViewDef *view, int attno)
{
	return get_attname(view->relid, attno, false);
}
