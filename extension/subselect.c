/*
 * subselect.c: takes WITH and set operations apart.
 *
 * Why: the rooms behind it know subqueries only. A WITH query is inlined wherever it is
 * named: functions are stable for a row (refuse.c), so reading it twice gives the same rows. UNION
 * ALL distributes over joins and filters, so each member becomes an arm of the view.
 */
#include "subselect.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

static Refusal *inline_level(Query *query, List *outer);
static Refusal *inline_reference(RangeTblEntry *rte, List *levels);
static Refusal *add_members(Query *query, Node *node, List **members);
static void keep_duplicates(Node *node);
static void cast_columns(Query *member, SetOperationStmt *operation);
static int	operation_location(Query *query);

/* Inlines WITH; see subselect.h. */
Refusal *
kv_inline_with(Query *query)
{
	return inline_level(query, NIL);
}

/* Inlines at one level and below; outer: WITH lists of the levels above, the nearest first. */
static Refusal *
inline_level(Query *query, List *outer)
{
	List	   *levels = lcons(query->cteList, list_copy(outer));
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		Refusal    *refusal = NULL;

		if (rte->rtekind == RTE_CTE)
			refusal = inline_reference(rte, levels);
		if (!refusal && rte->rtekind == RTE_SUBQUERY)
			refusal = inline_level(rte->subquery, levels);
		if (refusal)
			return refusal;
	}
	query->cteList = NIL;
	return NULL;
}

/* Makes a reference to a WITH query a subquery. */
static Refusal *
inline_reference(RangeTblEntry *rte, List *levels)
{
	CommonTableExpr *with = NULL;
	Query	   *subquery;
	ListCell   *cell;

	foreach(cell, (List *) list_nth(levels, rte->ctelevelsup))
	{
		if (strcmp(lfirst_node(CommonTableExpr, cell)->ctename, rte->ctename) == 0)
			with = lfirst(cell);
	}
	if (with == NULL)
		elog(ERROR, "WITH query \"%s\" not found", rte->ctename);
	if (with->cterecursive || rte->self_reference)
		return kv_refusal(with->location, "continuous view \"%s\" cannot use WITH RECURSIVE",
						  "How often a later row would be followed cannot be told from the rows that come with it.",
						  "Follow the references in the query that reads the view.");

	subquery = copyObject((Query *) with->ctequery);
	IncrementVarSublevelsUp((Node *) subquery, rte->ctelevelsup, 1);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = subquery;
	rte->ctename = NULL;
	rte->ctelevelsup = 0;
	rte->coltypes = NIL;
	rte->coltypmods = NIL;
	rte->colcollations = NIL;
	return NULL;
}

/* Lists the members of a union; see subselect.h. */
Refusal *
kv_union_members(Query *query, List **members)
{
	*members = NIL;
	return add_members(query, query->setOperations, members);
}

/* Appends the members below a node of the tree of set operations. */
static Refusal *
add_members(Query *query, Node *node, List **members)
{
	SetOperationStmt *operation = (SetOperationStmt *) node;
	int			first = list_length(*members);
	Refusal    *refusal;

	if (IsA(node, RangeTblRef))
	{
		Query	   *member = copyObject(rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable)->subquery);

		IncrementVarSublevelsUp((Node *) member, -1, 2);	/* what lies outside of the union is one level nearer now */
		*members = lappend(*members, member);
		return NULL;
	}
	if (operation->op != SETOP_UNION)
		return kv_refusal(operation_location(query), "continuous view \"%s\" cannot use INTERSECT or EXCEPT",
						  "A later row of one side can take away a row that is already published for the other.",
						  "Use a join: of tables, EXCEPT is a LEFT JOIN where the other side IS NULL.");
	if (!operation->all)
		return kv_refusal(operation_location(query), "continuous view \"%s\" cannot use UNION inside of another query",
						  "Rows that are the same in both are one row then, which makes them groups, and a view groups once.",
						  "Use UNION ALL, or make the UNION a continuous view of its own.");
	refusal = add_members(query, operation->larg, members);
	if (!refusal)
		refusal = add_members(query, operation->rarg, members);
	for (int i = first; i < list_length(*members) && !refusal; i++)
		cast_columns(list_nth(*members, i), operation);
	return refusal;
}

/* Casts the columns of a member to those of the operation, as the planner would; one with set operations itself is wrapped first. */
static void
cast_columns(Query *member, SetOperationStmt *operation)
{
	ListCell   *cell;
	int			i = 0;

	if (member->setOperations)
	{
		Query	   *inner = palloc(sizeof(Query));

		memcpy(inner, member, sizeof(Query));
		memcpy(member, kv_wrap_union(inner), sizeof(Query));
	}
	foreach(cell, member->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Node	   *value = (Node *) target->expr;
		Oid			type;
		int32		typmod;
		Oid			collation;

		if (target->resjunk)
			continue;
		type = list_nth_oid(operation->colTypes, i);
		typmod = list_nth_int(operation->colTypmods, i);
		collation = list_nth_oid(operation->colCollations, i);
		if (exprType(value) != type)
			value = coerce_to_target_type(NULL, value, exprType(value), type, typmod, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
		if (exprTypmod(value) != typmod || exprCollation(value) != collation)
			value = applyRelabelType(value, type, typmod, collation, COERCE_IMPLICIT_CAST, -1, false);
		target->expr = (Expr *) value;
		i++;
	}
}

/* Gives SELECT of all columns from a query with set operations; see subselect.h. */
Query *
kv_wrap_union(Query *query)
{
	Query	   *outer = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *reference = makeNode(RangeTblRef);
	ListCell   *cell;

	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->eref = makeAlias("united", NIL);
	rte->inFromCl = true;
	reference->rtindex = 1;
	outer->commandType = CMD_SELECT;
	outer->canSetTag = true;
	outer->rtable = list_make1(rte);
	outer->jointree = makeFromExpr(list_make1(reference), NULL);
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Node	   *expr = (Node *) target->expr;

		if (target->resjunk)
			continue;
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(target->resname)));
		outer->targetList = lappend(outer->targetList,
									makeTargetEntry((Expr *) makeVar(1, target->resno, exprType(expr), exprTypmod(expr), exprCollation(expr), 0),
													list_length(outer->targetList) + 1, pstrdup(target->resname), false));
	}
	return outer;
}

/* Wraps a query whose duplicates do not count; see subselect.h. */
Query *
kv_wrap_distinct_union(Query *query)
{
	List	   *clauses = copyObject(castNode(SetOperationStmt, query->setOperations)->groupClauses);
	Query	   *outer = kv_wrap_union(query);
	ListCell   *target;
	ListCell   *clause;

	keep_duplicates(query->setOperations);
	forboth(target, outer->targetList, clause, clauses)
	{
		lfirst_node(TargetEntry, target)->ressortgroupref = foreach_current_index(target) + 1;
		lfirst_node(SortGroupClause, clause)->tleSortGroupRef = foreach_current_index(target) + 1;
	}
	outer->distinctClause = clauses;
	return outer;
}

/* Makes UNION ALL of every UNION in a tree of set operations. */
static void
keep_duplicates(Node *node)
{
	SetOperationStmt *operation = (SetOperationStmt *) node;

	if (!IsA(node, SetOperationStmt))
		return;
	operation->all |= operation->op == SETOP_UNION;
	keep_duplicates(operation->larg);
	keep_duplicates(operation->rarg);
}

/* Gives the place of the last SELECT's first column, for want of one of the words UNION, INTERSECT or EXCEPT. */
static int
operation_location(Query *query)
{
	RangeTblEntry *last = llast_node(RangeTblEntry, query->rtable);

	if (last->rtekind == RTE_SUBQUERY && last->subquery->targetList)
		return exprLocation(linitial(last->subquery->targetList));
	return -1;
}
