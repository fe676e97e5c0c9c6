/*
 * refuse.c: reasons why a query cannot be a continuous view, as values.
 *
 * A check returns a Refusal or NULL; the one place that raises it is kv_refuse.
 * Checks of a query's own parts stand here; those that need its inputs stand where
 * the knowledge is (normalize.c, analyze.c, join_graph.c, aggregate.c).
 */
#include "refuse.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"

#include "row_source.h"

/* Where a walk found the first node of a kind. */
typedef struct NodeSearch
{
	NodeTag		tag;
	bool		found;
	int			location;
} NodeSearch;

static Refusal *refuse_shape(Query *query);
static Refusal *refuse_order_and_limit(Query *query);
static Refusal *refuse_rows(Query *query);
static Refusal *refuse_expression_subquery(Query *query);
static int	set_returning_location(Query *query);
static int	location_of(Query *query, NodeTag tag);
static bool search_walker(Node *node, NodeSearch *search);
static bool function_walker(Node *node, Refusal **refusal);
static Refusal *refuse_window_length(Node *node);
static Refusal *refuse_function(Node *node, Oid function, const char *message, const char *detail, const char *hint);
static bool is_unstable_function(Oid function, void *found);
static bool is_unknown_function(Oid function, void *found);
static bool is_clock_function(Oid function, void *found);
static bool is_catalog_function(Oid function, void *found);

/* Makes a refusal; message has one %s for the view's name, detail and hint are plain text (hint may be NULL). */
Refusal *
kv_refusal(int location, const char *message, const char *detail, const char *hint)
{
	Refusal    *refusal = palloc0(sizeof(Refusal));

	refusal->sqlcode = ERRCODE_FEATURE_NOT_SUPPORTED;
	refusal->location = location;
	refusal->message = pstrdup(message);
	refusal->detail = detail ? pstrdup(detail) : NULL;
	refusal->hint = hint ? pstrdup(hint) : NULL;
	return refusal;
}

/* Makes the refusal of a query, or of a member of a union, that reads nothing; targets: its select list. */
Refusal *
kv_refuse_constant_rows(Node *targets)
{
	return kv_refusal(exprLocation(targets),
					  "continuous view \"%s\" cannot have rows that no topic gives",
					  "They would be there before the first record, and never change.",
					  "Unite them with the view in the query that reads it; joined to a topic, constant rows may stand in FROM.");
}

/* Checks what a query is by itself, without knowing its inputs; see refuse.h. */
Refusal *
kv_refuse_query(Query *query)
{
	Refusal    *refusal = refuse_shape(query);

	if (!refusal)
		refusal = refuse_order_and_limit(query);
	if (!refusal)
		refusal = refuse_rows(query);
	if (!refusal)
		refusal = kv_refuse_functions((Node *) query);
	return refusal;
}

/* Checks that every function in a tree gives the same result for the same rows, whenever it runs. */
Refusal *
kv_refuse_functions(Node *node)
{
	Refusal    *refusal = NULL;

	function_walker(node, &refusal);
	return refusal;
}

/* Raises the refusal, as an error at its place in source_text; see refuse.h. */
void
kv_refuse(const Refusal *refusal, const char *name, const char *source_text)
{
	StringInfoData message;
	char	   *mark = strstr(refusal->message, "%s");
	int			position = 0;

	initStringInfo(&message);
	if (mark)
	{
		appendBinaryStringInfo(&message, refusal->message, mark - refusal->message);
		appendStringInfoString(&message, name);
		appendStringInfoString(&message, mark + 2);
	}
	else
		appendStringInfoString(&message, refusal->message);

	if (refusal->location >= 0 && source_text && refusal->location <= (int) strlen(source_text))
		position = pg_mbstrlen_with_len(source_text, refusal->location) + 1;

	ereport(ERROR,
			(errcode(refusal->sqlcode),
			 errmsg_internal("%s", message.data),
			 refusal->detail ? errdetail_internal("%s", refusal->detail) : 0,
			 refusal->hint ? errhint("%s", refusal->hint) : 0,
			 position > 0 ? errposition(position) : 0));
}

/* Refuses what is no SELECT, DISTINCT ON and grouping sets. */
static Refusal *
refuse_shape(Query *query)
{
	if (query->hasDistinctOn && (query->groupClause || query->hasAggs || query->havingQual))
		return kv_refusal(exprLocation(get_sortgroupclause_expr(linitial(query->distinctClause), query->targetList)),
						  "continuous view \"%s\" cannot use DISTINCT ON of groups",
						  "A view groups once.",
						  "Use DISTINCT ON in the query that reads the view.");
	if (query->groupingSets)
		return kv_refusal(exprLocation((Node *) query->groupingSets),
						  "continuous view \"%s\" cannot use GROUPING SETS, ROLLUP or CUBE",
						  "This version keeps one grouping per view.",
						  "Make a continuous view of each grouping, and put them together with UNION ALL in the query that reads them.");
	return NULL;
}

/* Refuses ORDER BY, LIMIT, OFFSET and row locks. */
static Refusal *
refuse_order_and_limit(Query *query)
{
	if (query->limitCount)
		return kv_refusal(exprLocation(query->limitCount),
						  "continuous view \"%s\" cannot use LIMIT",
						  "A later row can displace one that is already published.",
						  "Leave LIMIT out of the view and put it into the query that reads the view.");
	if (query->limitOffset)
		return kv_refusal(exprLocation(query->limitOffset),
						  "continuous view \"%s\" cannot use OFFSET",
						  "A later row can take a place before one that is already published.",
						  "Leave OFFSET out of the view and put it into the query that reads the view.");
	if (query->sortClause && !query->hasDistinctOn)
		return kv_refusal(exprLocation(get_sortgroupclause_expr(linitial(query->sortClause), query->targetList)),
						  "continuous view \"%s\" cannot use ORDER BY",
						  "The rows of a view are stored without an order.",
						  "Leave ORDER BY out of the view and put it into the query that reads the view.");
	if (query->rowMarks)
		return kv_refusal(-1, "continuous view \"%s\" cannot use FOR UPDATE or FOR SHARE",
						  "A continuous view reads its inputs without locking rows.",
						  "Leave the locking clause out.");
	return NULL;
}

/* Refuses window functions, subqueries in expressions, set-returning functions in the select list, samples. */
static Refusal *
refuse_rows(Query *query)
{
	ListCell   *cell;

	if (query->hasWindowFuncs)
		return kv_refusal(location_of(query, T_WindowFunc),
						  "continuous view \"%s\" cannot use window functions",
						  "A later row can change the result of rows that are already published.",
						  "Group by kafka.tumble() or kafka.hop(), or use the window function in the query that reads the view.");
	if (query->hasSubLinks)
		return refuse_expression_subquery(query);
	if (query->hasTargetSRFs)
		return kv_refusal(set_returning_location(query),
						  "continuous view \"%s\" cannot use a set-returning function in the select list",
						  "This version expands rows in FROM only.",
						  "Write it in FROM: CROSS JOIN LATERAL function(...).");
	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->tablesample)
			return kv_refusal(exprLocation((Node *) rte->tablesample),
							  "continuous view \"%s\" cannot use TABLESAMPLE",
							  "A sample is not the same at every reading.",
							  "Filter by a hash of a column instead.");
	}
	return NULL;
}

/* Refuses a subquery in an expression: those over the row alone have been put into FROM (row_source.c). */
static Refusal *
refuse_expression_subquery(Query *query)
{
	bool		reads = kv_row_source_reads_below((Node *) list_make3(query->targetList, query->jointree, query->havingQual));
	ListCell   *cell;

	foreach(cell, query->rtable)
		reads |= kv_row_source_reads_below((Node *) lfirst_node(RangeTblEntry, cell)->functions);
	return kv_refusal(location_of(query, T_SubLink),
					  "continuous view \"%s\" cannot use a subquery in an expression",
					  reads ? "It reads a table, whose rows a view follows in FROM only." :
					  "Over aggregates, and in the condition of an outer join, it cannot be computed beside each row.",
					  reads ? "Join the table in FROM instead." :
					  "Write it in FROM, as CROSS JOIN LATERAL (SELECT ...), or in the query that reads the view.");
}

/* Gives the place of the first set-returning function in the select list. */
static int
set_returning_location(Query *query)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (expression_returns_set((Node *) target->expr))
			return exprLocation((Node *) target->expr);
	}
	return -1;
}

/* Gives the place of the first node of a kind in the query's own expressions, -1: none. */
static int
location_of(Query *query, NodeTag tag)
{
	NodeSearch	search = {.tag = tag,.location = -1};

	query_tree_walker(query, search_walker, &search, QTW_IGNORE_RT_SUBQUERIES);
	return search.location;
}

static bool
search_walker(Node *node, NodeSearch *search)
{
	if (node == NULL)
		return false;
	if (nodeTag(node) == search->tag)
	{
		search->location = exprLocation(node);
		return true;
	}
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, search_walker, search);
}

/* Finds functions whose result depends on more than the rows; sets the refusal and stops at the first. */
static bool
function_walker(Node *node, Refusal **refusal)
{
	Oid			function = InvalidOid;

	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction) || check_functions_in_node(node, is_clock_function, NULL))
		*refusal = kv_refusal(exprLocation(node),
							  "continuous view \"%s\" cannot use the current time, date, user, schema, session or transaction",
							  "They change between the moments at which rows are processed, so the view would not equal its query.",
							  "Use the event's own time, or filter by the clock in the query that reads the view.");
	else if (IsA(node, NextValueExpr) || check_functions_in_node(node, is_unstable_function, &function))
		*refusal = refuse_function(node, function, "continuous view \"%s\" cannot use a volatile function",
								   "It may give another result each time, so the view would not equal its query.",
								   "Use functions that depend on their arguments alone; one of your own that does can be declared IMMUTABLE with ALTER FUNCTION.");
	else if (check_functions_in_node(node, is_catalog_function, NULL))
		*refusal = kv_refusal(exprLocation(node),
							  "continuous view \"%s\" cannot use a function that reads the catalogs",
							  "What it finds there changes without a record, and the view would not follow.",
							  "Use it in the query that reads the view.");
	else if (check_functions_in_node(node, is_unknown_function, &function))
		*refusal = refuse_function(node, function, "continuous view \"%s\" cannot use a user-defined function that is only STABLE",
								   "It may see other things than the row, such as tables or the time, and the view would not follow their changes.",
								   "Declare it IMMUTABLE with ALTER FUNCTION if it depends on its arguments alone, or join the table it reads.");
	else
		*refusal = refuse_window_length(node);
	if (*refusal)
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, function_walker, refusal, 0);
	return expression_tree_walker(node, function_walker, refusal);
}

/* Checks the constant lengths of a call that makes windows of a fixed size: with a wrong one it would fail for every row. */
static Refusal *
refuse_window_length(Node *node)
{
	FuncExpr   *call = (FuncExpr *) node;
	ListCell   *cell;

	if (!IsA(node, FuncExpr) ||
		!(call->funcid == F_DATE_BIN_INTERVAL_TIMESTAMP_TIMESTAMP || call->funcid == F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ ||
		  get_func_namespace(call->funcid) == get_namespace_oid(KV_SCHEMA, true)))
		return NULL;
	foreach(cell, call->args)
	{
		Const	   *argument = lfirst(cell);
		Interval   *length;

		if (!IsA(argument, Const) || argument->consttype != INTERVALOID || argument->constisnull)
			continue;
		length = DatumGetIntervalP(argument->constvalue);
		if (length->month != 0)
			return kv_refusal(exprLocation((Node *) argument), "continuous view \"%s\" cannot have windows of months or years",
							  "Their length varies, so a window is not found by division.",
							  "Group by date_trunc('month', ...) or date_trunc('year', ...).");
		if (length->time + length->day * (double) USECS_PER_DAY <= 0)
			return kv_refusal(exprLocation((Node *) argument), "continuous view \"%s\" cannot have windows without a length",
							  "No window would hold a row.", "Write an interval greater than zero, for example interval '1 hour'.");
	}
	return NULL;
}

/* Makes the refusal of a function, which may have been declared differently when the view was created. */
static Refusal *
refuse_function(Node *node, Oid function, const char *message, const char *detail, const char *hint)
{
	Refusal    *refusal = kv_refusal(exprLocation(node), message, detail, hint);

	if (OidIsValid(function))
		refusal->later_hint = psprintf("Declare function %s IMMUTABLE again with ALTER FUNCTION, or drop the view.", format_procedure(function));
	return refusal;
}

static bool
is_unstable_function(Oid function, void *found)
{
	*(Oid *) found = function;
	return func_volatile(function) == PROVOLATILE_VOLATILE;
}

/* Is it a STABLE function of a user or an extension? What it reads besides its arguments cannot be known. */
static bool
is_unknown_function(Oid function, void *found)
{
	*(Oid *) found = function;
	return function >= FirstNormalObjectId && func_volatile(function) == PROVOLATILE_STABLE;
}

/*
 * Is it a built-in function of the clock, the session or the transaction? Those that are stable without
 * having arguments are, but for version(). (age() of one argument counts from today.)
 */
static bool
is_clock_function(Oid function, void *found)
{
	if (function < FirstNormalObjectId && function != F_VERSION && get_func_nargs(function) == 0 &&
		func_volatile(function) == PROVOLATILE_STABLE)
		return true;
	switch (function)
	{
		case F_CLOCK_TIMESTAMP:
		case F_TIMEOFDAY:
		case F_CURRENT_SETTING_TEXT:
		case F_CURRENT_SETTING_TEXT_BOOL:
		case F_CURRENT_SCHEMAS:
		case F_AGE_TIMESTAMP:
		case F_AGE_TIMESTAMPTZ:
			return true;
		default:
			return false;
	}
}

/*
 * Is it a built-in function whose result depends on the catalogs, or on how a value is stored? Of those that are stable they are
 * the ones with these names; what tells a type or a collation of an expression is the same for every row.
 */
static bool
is_catalog_function(Oid function, void *found)
{
	static const char *const beginnings[] = {"pg_", "has_", "to_reg", "table_to_", "schema_to_", "database_to_"};
	static const char *const names[] = {
		"regclass", "regclassin", "regcollationin", "regconfigin", "regdictionaryin", "regnamespacein", "regoperatorin", "regoperin",
		"regprocedurein", "regprocin", "regrolein", "regtypein", "aclexplode", "aclitemin", "col_description", "obj_description",
		"shobj_description", "format_type", "row_security_active"
	};
	char	   *name;

	if (function >= FirstNormalObjectId || func_volatile(function) != PROVOLATILE_STABLE)
		return false;
	name = get_func_name(function);
	if (strcmp(name, "pg_typeof") == 0 || strcmp(name, "pg_collation_for") == 0)
		return false;
	for (int i = 0; i < lengthof(beginnings); i++)
	{
		if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	}
	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}
