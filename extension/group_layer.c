/*
 * group_layer.c: the group layer of a view: its keys, and whether its aggregates can be
 * kept up.
 *
 * Invariant: the keys of a view are columns of its result, all of them selected, so that a row
 * is found and published by them; the same keys come out at creation and at every start.
 */
#include "group_layer.h"

#include "catalog/pg_am.h"
#include "commands/defrem.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "aggregate.h"
#include "distinct_on.h"
#include "window_layer.h"

typedef struct GroupSearch
{
	List	   *group_exprs;
	Var		   *ungrouped;
} GroupSearch;

static void drop_repeated_groups(Query *query);
static void drop_sort(Query *query, Index ref);
static Refusal *check_group_keys(ViewDef *view, List *group_exprs);
static Refusal *check_aggregates(ViewDef *view, List *group_exprs);
static Var *find_ungrouped(Node *node, List *group_exprs);
static bool ungrouped_walker(Node *node, GroupSearch *search);

/* Tells append-only from keyed views; see group_layer.h. */
Refusal *
kv_group_layer(ViewDef *view)
{
	Query	   *query = view->groups;
	List	   *group_exprs;
	Refusal    *refusal;

	if (query == NULL)
	{
		view->shape = kv_view_is_table_driven(view) ? SHAPE_KEYED : SHAPE_APPEND;
		return NULL;
	}
	view->shape = SHAPE_KEYED;
	query->targetList = (List *) kv_aggregate_simplify((Node *) query->targetList);
	query->havingQual = kv_aggregate_simplify(query->havingQual);
	drop_repeated_groups(query);
	group_exprs = get_sortgrouplist_exprs(query->groupClause, query->targetList);
	refusal = check_group_keys(view, group_exprs);
	if (!refusal)
		refusal = query->hasDistinctOn ? kv_distinct_on_check(view) : check_aggregates(view, group_exprs);
	return refusal;
}

/*
 * Groups by the first of equal columns and by none twice. After SELECT k, k AS again ... GROUP BY 2, 1 the definition has
 * GROUP BY k, k, which Postgres reads as the first column alone, and creation must find the same keys as every start.
 */
static void
drop_repeated_groups(Query *query)
{
	List	   *kept = NIL;
	ListCell   *cell;

	foreach(cell, query->groupClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, cell);
		TargetEntry *target = get_sortgroupclause_tle(clause, query->targetList);
		TargetEntry *first = tlist_member(target->expr, query->targetList);

		if (first != target && first->ressortgroupref != 0)
		{
			target->ressortgroupref = 0;
			drop_sort(query, clause->tleSortGroupRef);
			continue;
		}
		target->ressortgroupref = 0;
		first->ressortgroupref = clause->tleSortGroupRef;
		kept = lappend(kept, clause);
	}
	query->groupClause = kept;
}

/* Leaves a clause of DISTINCT ON's ORDER BY out. */
static void
drop_sort(Query *query, Index ref)
{
	ListCell   *cell;

	foreach(cell, query->sortClause)
		if (lfirst_node(SortGroupClause, cell)->tleSortGroupRef == ref)
			query->sortClause = foreach_delete_current(query->sortClause, cell);
}

/* Checks that every GROUP BY expression is a column with an order, which can be a key. */
static Refusal *
check_group_keys(ViewDef *view, List *group_exprs)
{
	Query	   *query = view->groups;
	ListCell   *cell;

	foreach(cell, query->groupClause)
	{
		TargetEntry *target = get_sortgroupclause_tle(lfirst(cell), query->targetList);
		Oid			type = exprType((Node *) target->expr);

		if (target->resjunk)
			return kv_refusal(exprLocation((Node *) target->expr),
							  psprintf("continuous view \"%%s\" must select every %s expression", query->hasDistinctOn ? "DISTINCT ON" : "GROUP BY"),
							  "Together they are the key by which its rows are found and published.",
							  "Add the expression to the select list.");
		if (!OidIsValid(GetDefaultOpClass(type, BTREE_AM_OID)))
			return kv_refusal(exprLocation((Node *) target->expr),
							  psprintf("continuous view \"%%s\" cannot group by a value of type %s", format_type_be(type)),
							  "The key of a view is a unique index, and the type has no order.",
							  "Cast it to a type with an order, for example text or jsonb.");
		view->keys = lappend_int(view->keys, target->resno);
	}
	if (view->keys == NIL && query->havingQual)
		return kv_refusal(exprLocation(query->havingQual),
						  "continuous view \"%s\" cannot use HAVING without GROUP BY",
						  "It has one row, from its creation on.",
						  "Put the condition into the query that reads the view.");
	return NULL;
}

/* Checks the aggregates and that other columns are grouped; decides whether the view is its own state. */
static Refusal *
check_aggregates(ViewDef *view, List *group_exprs)
{
	Query	   *query = view->groups;
	Node	   *trees = (Node *) list_make2(query->targetList, query->havingQual);
	Var		   *ungrouped = find_ungrouped(trees, group_exprs);
	bool		sessions = kv_window_uses_session((Node *) group_exprs);	/* their rows are kept where states are not enough */
	ListCell   *cell;

	if (ungrouped)
		return kv_refusal(ungrouped->location,
						  "continuous view \"%s\" must group by every column it selects",
						  "That the column depends on the table's primary key holds for the table's rows of now only.",
						  "Add the column to GROUP BY.");
	foreach(cell, kv_aggregate_collect(trees))
	{
		Aggref	   *aggregate = lfirst_node(Aggref, cell);
		Refusal    *refusal = kv_aggregate_check_order(aggregate);

		if (!refusal && kv_view_is_table_driven(view))
			continue;			/* groups of tables can be computed again, with any aggregate */
		if (!refusal && !sessions)
			refusal = kv_aggregate_check(aggregate);

		if (refusal)
			return refusal;
		view->ordered |= !sessions && kv_aggregate_needs_order(aggregate);
	}
	if (kv_view_is_table_driven(view))
		return NULL;

	view->own_state = view->keys != NIL && query->havingQual == NULL;
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!list_member_int(view->keys, target->resno) &&
			(sessions || !(IsA(target->expr, Aggref) && kv_aggregate_is_own_state((Aggref *) target->expr))))
			view->own_state = false;
	}
	return NULL;
}

/* Finds a column of an expression over groups that is neither grouped nor aggregated, NULL: none. */
static Var *
find_ungrouped(Node *node, List *group_exprs)
{
	GroupSearch search = {.group_exprs = group_exprs};

	ungrouped_walker(node, &search);
	return search.ungrouped;
}

static bool
ungrouped_walker(Node *node, GroupSearch *search)
{
	if (node == NULL || IsA(node, Aggref))
		return false;
	if (!IsA(node, List) && list_member(search->group_exprs, node))
		return false;
	if (IsA(node, Var))
	{
		search->ungrouped = (Var *) node;
		return true;
	}
	return expression_tree_walker(node, ungrouped_walker, search);
}
