/*
 * row_source.c: functions, VALUES and subqueries over these in FROM.
 *
 * Why they are one thing: all are functions of the row beside them. Functions that could say something else the
 * next time are refused (refuse.c), so whatever such a subquery does, aggregates, an order or a limit too,
 * it does to the same rows whenever it is run.
 *
 * Invariant: the rooms that exchange columns (normalize.c, delta_query.c) know columns of one level only. In a
 * subquery the row beside it is some levels up, so their columns are lifted to the query's level, exchanged, and put back.
 */
#include "row_source.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"

/* A walk through one entry; depth: levels between the query and where the walk is. */
typedef struct RowSourceWalk
{
	int			depth;
	List	   *vars;			/* found so far */
	RowSourceMutator mutator;
	void	   *context;
} RowSourceWalk;

static bool reads_table(Node *node, void *context);
static bool reading_subquery_walker(Node *node, void *context);
static void lift_inner_conditions(Node *jtnode, Query *query);
static Node *lift_mutator(Node *node, Query *query);
static Var *add_row_source(Query *query, SubLink *sublink);
static bool gives_one_row(const Query *subquery);
static Node *expressions(const RangeTblEntry *rte);
static bool vars_walker(Node *node, RowSourceWalk *walk);
static Node *depth_mutator(Node *node, RowSourceWalk *walk);


/* Tells row sources from tables; see row_source.h. */
bool
kv_row_source_is(const RangeTblEntry *rte)
{
	switch (rte->rtekind)
	{
		case RTE_FUNCTION:
		case RTE_TABLEFUNC:
		case RTE_VALUES:
			return true;
		case RTE_SUBQUERY:
			return !reads_table((Node *) rte->subquery, NULL);
		default:
			return false;
	}
}

static bool
reads_table(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_RELATION || ((RangeTblEntry *) node)->rtekind == RTE_CTE;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_table, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reads_table, context);
}

/* Tells what can be written out; see row_source.h. */
bool
kv_row_source_is_expressions(const Query *subquery)
{
	return subquery->jointree->fromlist == NIL && !subquery->setOperations && !subquery->hasAggs && !subquery->groupClause &&
		!subquery->groupingSets && !subquery->havingQual && !subquery->hasWindowFuncs && !subquery->hasTargetSRFs && !subquery->hasSubLinks &&
		!subquery->distinctClause && !subquery->limitCount && !subquery->limitOffset;
}

/* Tells what cannot multiply rows; see row_source.h. */
bool
kv_row_source_is_single(const RangeTblEntry *rte)
{
	ListCell   *cell;

	switch (rte->rtekind)
	{
		case RTE_FUNCTION:
			foreach(cell, rte->functions)
				if (expression_returns_set(lfirst_node(RangeTblFunction, cell)->funcexpr))
					return false;
			return true;
		case RTE_VALUES:
			return list_length(rte->values_lists) == 1;
		case RTE_SUBQUERY:
			return !rte->subquery->hasTargetSRFs && !rte->subquery->setOperations && gives_one_row(rte->subquery);
		case RTE_JOIN:
			return rte->jointype != JOIN_FULL;
		default:
			return false;
	}
}

/* Does a subquery aggregate all it reads, or read one row? */
static bool
gives_one_row(const Query *subquery)
{
	ListCell   *cell;

	if (subquery->hasAggs && !subquery->groupClause && !subquery->groupingSets)
		return true;
	foreach(cell, subquery->rtable)
		if (!kv_row_source_is_single(lfirst_node(RangeTblEntry, cell)))
			return false;
	return true;
}

/* Gives what an entry consists of. */
static Node *
expressions(const RangeTblEntry *rte)
{
	switch (rte->rtekind)
	{
		case RTE_FUNCTION:
			return (Node *) rte->functions;
		case RTE_TABLEFUNC:
			return (Node *) rte->tablefunc;
		case RTE_VALUES:
			return (Node *) rte->values_lists;
		case RTE_SUBQUERY:
			return (Node *) rte->subquery;
		default:
			return NULL;
	}
}

/* Lists columns; see row_source.h. */
List *
kv_row_source_vars(const RangeTblEntry *rte)
{
	RowSourceWalk walk = {0};

	(void) vars_walker(expressions(rte), &walk);
	return walk.vars;
}

static bool
vars_walker(Node *node, RowSourceWalk *walk)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = copyObject((Var *) node);

		if (var->varlevelsup == walk->depth)
		{
			var->varlevelsup = 0;
			walk->vars = lappend(walk->vars, var);
		}
		return false;
	}
	if (IsA(node, Query))
	{
		walk->depth++;
		(void) query_tree_walker((Query *) node, vars_walker, walk, 0);
		walk->depth--;
		return false;
	}
	return expression_tree_walker(node, vars_walker, walk);
}

/* Exchanges columns; see row_source.h. */
void
kv_row_source_mutate(RangeTblEntry *rte, RowSourceMutator mutator, void *context)
{
	RowSourceWalk walk = {.mutator = mutator,.context = context};
	Node	   *mutated = depth_mutator(expressions(rte), &walk);

	switch (rte->rtekind)
	{
		case RTE_FUNCTION:
			rte->functions = (List *) mutated;
			break;
		case RTE_TABLEFUNC:
			rte->tablefunc = (TableFunc *) mutated;
			break;
		case RTE_VALUES:
			rte->values_lists = (List *) mutated;
			break;
		case RTE_SUBQUERY:
			rte->subquery = (Query *) mutated;
			break;
		default:
			break;
	}
}

static Node *
depth_mutator(Node *node, RowSourceWalk *walk)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == walk->depth)
	{
		Var		   *var = copyObject((Var *) node);
		Node	   *result;

		var->varlevelsup = 0;
		result = walk->mutator((Node *) var, walk->context);
		IncrementVarSublevelsUp(result, walk->depth, 0);
		return result;
	}
	if (IsA(node, Query))
	{
		Query	   *result;

		walk->depth++;
		result = query_tree_mutator((Query *) node, depth_mutator, walk, 0);
		walk->depth--;
		return (Node *) result;
	}
	return expression_tree_mutator(node, depth_mutator, walk);
}

/* ------------------------------------------------------------------ subqueries in expressions */

/*
 * Lifts subqueries; see row_source.h. The planner writes SELECT (subquery) in FROM out again, so nothing is computed earlier
 * or more often than where it stood. What is part of an outer join's condition, or over aggregates, has no such place.
 */
void
kv_row_source_lift(Query *query)
{
	ListCell   *cell;

	if (!query->hasSubLinks)
		return;
	lift_inner_conditions((Node *) query->jointree, query);
	query->targetList = (List *) lift_mutator((Node *) query->targetList, query);
	query->havingQual = lift_mutator(query->havingQual, query);

	query->hasSubLinks = checkExprHasSubLink((Node *) query->targetList) || checkExprHasSubLink(query->havingQual) ||
		checkExprHasSubLink((Node *) query->jointree);
	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind != RTE_SUBQUERY)
			query->hasSubLinks |= kv_row_source_reads_below(expressions(rte));
	}
}

/* Looks for subqueries that read tables; see row_source.h. */
bool
kv_row_source_reads_below(Node *node)
{
	return reading_subquery_walker(node, NULL);
}

static bool
reading_subquery_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		return reads_table(node, NULL);
	return expression_tree_walker(node, reading_subquery_walker, context);
}

/* Lifts out of WHERE and of the conditions of inner joins, which may as well stand in WHERE. */
static void
lift_inner_conditions(Node *jtnode, Query *query)
{
	if (IsA(jtnode, FromExpr))
	{
		FromExpr   *from = (FromExpr *) jtnode;

		for (int i = list_length(from->fromlist) - 1; i >= 0; i--)
			lift_inner_conditions(list_nth(from->fromlist, i), query);
		from->quals = lift_mutator(from->quals, query);
	}
	else if (IsA(jtnode, JoinExpr) && ((JoinExpr *) jtnode)->jointype == JOIN_INNER)
	{
		JoinExpr   *join = (JoinExpr *) jtnode;

		lift_inner_conditions(join->larg, query);
		lift_inner_conditions(join->rarg, query);
		join->quals = lift_mutator(join->quals, query);
	}
}

static Node *
lift_mutator(Node *node, Query *query)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, SubLink))
	{
		if (reads_table(node, NULL) || contain_aggs_of_level(node, 0))
			return node;
		return (Node *) add_row_source(query, (SubLink *) node);
	}
	return expression_tree_mutator(node, lift_mutator, query);
}

/* Adds LATERAL (SELECT subquery AS value) to FROM; gives its column. */
static Var *
add_row_source(Query *query, SubLink *sublink)
{
	Query	   *subquery = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *reference = makeNode(RangeTblRef);
	Node	   *value = copyObject((Node *) sublink);
	Var		   *var;

	IncrementVarSublevelsUp(value, 1, 0);
	subquery->commandType = CMD_SELECT;
	subquery->hasSubLinks = true;
	subquery->jointree = makeFromExpr(NIL, NULL);
	subquery->targetList = list_make1(makeTargetEntry((Expr *) value, 1, "value", false));

	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = subquery;
	rte->lateral = true;
	rte->inFromCl = true;
	rte->alias = makeAlias("expression", NIL);
	rte->eref = makeAlias("expression", list_make1(makeString("value")));
	query->rtable = lappend(query->rtable, rte);
	reference->rtindex = list_length(query->rtable);
	query->jointree->fromlist = lappend(query->jointree->fromlist, reference);

	var = makeVar(reference->rtindex, 1, exprType((Node *) sublink), exprTypmod((Node *) sublink), exprCollation((Node *) sublink), 0);
	var->location = sublink->location;
	return var;
}
