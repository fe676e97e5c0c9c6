/*
 * ties.c: which of the rows of a group of tables comes first where the query leaves it open.
 *
 * A stream's rows have an order of their own, in which they are processed. Rows of a table have none: they change places whenever they change,
 * and a group is computed again from all of them. So that the same rows always give the same result, those at the same place are taken in the
 * order of what the result shows of them: by the values of the columns that are used, the selected ones first, and by their text
 * where equal values may differ. Rows that are the same in all of these give the same result.
 */
#include "ties.h"

#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parse_oper.h"

#include "aggregate.h"
#include "equality.h"

static Node *settle_mutator(Node *node, void *context);
static void sort_by(Node *value, List **targets, List **sorts);
static void add_sort(Node *value, List **targets, List **sorts);
static Node *text_of(Node *value);

/* Makes the query for standing rows; see ties.h. */
void
kv_ties_distinct_on(GroupedRows *rows, Query *query)
{
	Query	   *groups = rows->view->groups;
	ListCell   *cell;

	query->groupClause = NIL;
	query->distinctClause = copyObject(groups->groupClause);
	query->hasDistinctOn = true;
	query->sortClause = copyObject(groups->sortClause);
	foreach(cell, rows->kept)
		sort_by(kv_grouped_rows_exchange(rows, lfirst(cell)), &query->targetList, &query->sortClause);
}

/* Settles ties of kafka.first and kafka.last; see ties.h. */
Node *
kv_ties_settle(Node *tree)
{
	return settle_mutator(tree, NULL);
}

static Node *
settle_mutator(Node *node, void *context)
{
	Aggref	   *aggregate;

	if (node == NULL)
		return NULL;
	if (!IsA(node, Aggref))
		return expression_tree_mutator(node, settle_mutator, context);
	aggregate = copyObject((Aggref *) node);
	/* of DISTINCT the arguments are sorted anyway */
	if (kv_aggregate_standing_kind(aggregate) != COMBINE_NONE && aggregate->aggdistinct == NIL)
		sort_by((Node *) linitial_node(TargetEntry, aggregate->args)->expr, &aggregate->args, &aggregate->aggorder);
	return (Node *) aggregate;
}

/* Sorts by a value too, so that only the same values are left at the same place. */
static void
sort_by(Node *value, List **targets, List **sorts)
{
	if (OidIsValid(GetDefaultOpClass(exprType(value), BTREE_AM_OID)))
		add_sort(value, targets, sorts);
	if (!kv_equality_is_identity(exprType(value), exprCollation(value)))
		add_sort(text_of(value), targets, sorts);
}

static void
add_sort(Node *value, List **targets, List **sorts)
{
	TargetEntry *target = tlist_member((Expr *) value, *targets);
	SortGroupClause *sort = makeNode(SortGroupClause);

	if (target == NULL)
	{
		target = makeTargetEntry((Expr *) copyObject(value), list_length(*targets) + 1, NULL, true);
		*targets = lappend(*targets, target);
	}
	sort->tleSortGroupRef = assignSortGroupRef(target, *targets);
	if (targetIsInSortList(target, InvalidOid, *sorts))
		return;
	get_sort_group_operators(exprType(value), true, true, false, &sort->sortop, &sort->eqop, NULL, &sort->hashable);
	*sorts = lappend(*sorts, sort);
}

/* value::text COLLATE "C" */
static Node *
text_of(Node *value)
{
	CollateExpr *result = makeNode(CollateExpr);

	result->arg = (Expr *) coerce_to_target_type(NULL, copyObject(value), exprType(value), TEXTOID, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	result->collOid = C_COLLATION_OID;
	result->location = -1;
	return (Node *) result;
}
