/*
 * layers.c: splits a defining query into the rows layer and the group layer
 * (view_def.h).
 *
 * Why this is exact: an aggregate depends on the rows under it only, so these can be made by
 * any means that gives the same multiset; and joins and filters of a union are the union of joins
 * and filters of its members.
 */
#include "layers.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

#include "normalize.h"
#include "subselect.h"

/* Columns that become row columns, in the order of their numbers. */
typedef struct RowColumns
{
	List	   *vars;			/* of Var * over the query's range table */
} RowColumns;

static void distinct_to_groups(Query *query);
static void split_groups(Query *query, ViewLayers *layers);
static Node *row_column_mutator(Node *node, RowColumns *rows);
static List *result_names(Query *query);

/* Splits a query; see layers.h. */
Refusal *
kv_split_layers(const Query *original, ViewLayers *layers)
{
	Query	   *query = copyObject((Query *) original);
	Refusal    *refusal = kv_inline_with(query);

	memset(layers, 0, sizeof(ViewLayers));
	if (refusal)
		return refusal;
	if (query->setOperations)
	{
		SetOperationStmt *operation = castNode(SetOperationStmt, query->setOperations);

		query = operation->op == SETOP_UNION && !operation->all ? kv_wrap_distinct_union(query) : kv_wrap_union(query);
	}
	kv_normalize_aliases(query);
	distinct_to_groups(query);
	if (query->hasAggs || query->groupClause || query->havingQual)
		split_groups(query, layers);
	else
		layers->row_names = result_names(query);
	return kv_normalize(query, &layers->arms);
}

/*
 * Makes SELECT DISTINCT a GROUP BY of all columns, and DISTINCT ON one of its key, with ORDER BY kept (distinct_on.c). Where the query groups already it says nothing: all keys of its
 * groups must be selected (group_layer.c), so no two rows are the same.
 */
static void
distinct_to_groups(Query *query)
{
	if (query->hasDistinctOn)
	{
		query->groupClause = copyObject(query->distinctClause);
		return;
	}
	if (query->distinctClause && !query->groupClause && !query->hasAggs && !query->havingQual)
		query->groupClause = query->distinctClause;
	query->distinctClause = NIL;
}

/* Leaves in query the rows under its groups: the columns that keys, aggregates and HAVING use. */
static void
split_groups(Query *query, ViewLayers *layers)
{
	RowColumns	rows = {NIL};
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *reference = makeNode(RangeTblRef);
	Query	   *groups = copyObject(query);
	List	   *targets = NIL;
	ListCell   *cell;

	foreach(cell, pull_var_clause((Node *) list_make2(query->targetList, query->havingQual), PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS))
		rows.vars = list_append_unique(rows.vars, lfirst(cell));
	foreach(cell, rows.vars)
	{
		Var		   *var = lfirst_node(Var, cell);
		List	   *names = rt_fetch(var->varno, query->rtable)->eref->colnames;
		char	   *name = var->varattno > 0 ? strVal(list_nth(names, var->varattno - 1)) : "row";

		layers->row_names = lappend(layers->row_names, kv_unique_name(name, layers->row_names));
		targets = lappend(targets, makeTargetEntry((Expr *) copyObject(var), list_length(targets) + 1, llast(layers->row_names), false));
	}
	if (targets == NIL)
	{
		layers->row_names = list_make1(pstrdup("matched"));
		targets = list_make1(makeTargetEntry((Expr *) makeBoolConst(true, false), 1, "matched", false));
	}
	query->targetList = targets;
	query->groupClause = NIL;
	query->distinctClause = NIL;
	query->hasDistinctOn = false;
	query->sortClause = NIL;
	query->havingQual = NULL;
	query->hasAggs = false;

	rte->rtekind = RTE_CTE;
	rte->ctename = "rows";
	rte->eref = makeAlias("rows", NIL);
	foreach(cell, layers->row_names)
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(lfirst(cell)));
	reference->rtindex = 1;
	groups->targetList = (List *) row_column_mutator((Node *) groups->targetList, &rows);
	groups->havingQual = row_column_mutator(groups->havingQual, &rows);
	groups->rtable = list_make1(rte);
	groups->jointree = makeFromExpr(list_make1(reference), NULL);
	layers->groups = groups;
}

/* Exchanges columns of the query's tables for row columns; their places in the text stay. */
static Node *
row_column_mutator(Node *node, RowColumns *rows)
{
	ListCell   *cell;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		foreach(cell, rows->vars)
		{
			Var		   *var;

			if (!equal(lfirst(cell), node))
				continue;
			var = makeVar(1, foreach_current_index(cell) + 1, ((Var *) node)->vartype, ((Var *) node)->vartypmod, ((Var *) node)->varcollid, 0);
			var->location = ((Var *) node)->location;
			return (Node *) var;
		}
		elog(ERROR, "column is not among the row columns");
	}
	return expression_tree_mutator(node, row_column_mutator, rows);
}

/* Exchanges row columns for an arm's expressions; see layers.h. */
Node *
kv_layers_row_values(Node *node, List *targets)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
		return copyObject((Node *) get_tle_by_resno(targets, ((Var *) node)->varattno)->expr);
	return expression_tree_mutator(node, kv_layers_row_values, targets);
}

/* Gives the names of the result's columns. */
static List *
result_names(Query *query)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!target->resjunk)
			names = lappend(names, pstrdup(target->resname));
	}
	return names;
}
