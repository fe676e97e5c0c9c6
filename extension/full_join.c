/*
 * full_join.c: a FULL JOIN of tables as two arms.
 *
 * L FULL JOIN R is L LEFT JOIN R, united with R LEFT JOIN L where L has no match and all its columns are null. No match is said by a
 * column of L, most often one that the condition compares for equality, which is null of no row that matches. So each arm is what the other
 * rooms know, with an anchor of its own. What USING makes one column (COALESCE of both) is that of L in the first arm, because where R
 * has a row they are equal, and that of R in the second. What is joined left further on by a column of L finds nothing in the
 * second arm, and is left out of it.
 */
#include "full_join.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

#include "equality.h"
#include "join_graph.h"
#include "normalize.h"
#include "row_source.h"

/* What is written for the columns of the two sides in an arm. */
typedef struct FullSide
{
	int			kept;			/* range table index of the side whose columns stay */
	Bitmapset  *nulls;			/* of entries whose columns are null: the other side, and what can find no match by them */
	Node	   *condition;
} FullSide;

static Query *kept_arm(Query *query);
static Query *unmatched_arm(Query *query, Var *absent);
static Var *told_by(Node *condition, int rti);
static Var *compared_column(Node *condition, int rti);
static Query *rewrite(Query *query, List *steps, FullSide *side, Node *condition);
static bool is_never_true(Node *condition);
static Node *rewrite_mutator(Node *node, FullSide *side);
static Node *merged(CoalesceExpr *coalesce, FullSide *side);
static Node *known_side(CoalesceExpr *coalesce, FullSide *side);
static bool are_compared(Node *condition, Node *one, Node *other, bool bytes);
static bool tells_bytes(OpExpr *clause);
static Node *bare(Node *node);

/* Tells whether it is one; see full_join.h. */
bool
kv_is_full_join(Query *query)
{
	List	   *steps = kv_normalize_steps(query);

	return list_length(steps) > 1 && ((FromStep *) lsecond(steps))->type == JOIN_FULL;
}

/* Makes the arms; see full_join.h. */
Refusal *
kv_full_join_arms(Query *query, List **arms)
{
	List	   *steps = kv_normalize_steps(query);
	Node	   *condition = ((FromStep *) lsecond(steps))->condition;
	Var		   *absent = told_by(condition, ((FromStep *) linitial(steps))->rti);

	if (absent == NULL)
		return kv_refusal(exprLocation(condition), "continuous view \"%s\" cannot use a FULL JOIN of tables whose condition can hold of nulls",
						  "That a row has no match is told by a column of the first table that is never null in one that has.",
						  "Make a continuous view that has the expression as a column, and join that.");
	*arms = lappend(*arms, kept_arm(query));
	*arms = lappend(*arms, unmatched_arm(query, absent));
	return NULL;
}

/* Makes the arm with all rows of the first side. */
static Query *
kept_arm(Query *query)
{
	Query	   *arm = copyObject(query);
	List	   *steps = kv_normalize_steps(arm);
	FromStep   *second = lsecond(steps);
	FullSide	side = {.kept = ((FromStep *) linitial(steps))->rti,.condition = second->condition};

	second->type = JOIN_LEFT;
	return rewrite(arm, steps, &side, NULL);
}

/* Makes the arm with the rows of the second side that have no match. */
static Query *
unmatched_arm(Query *query, Var *absent)
{
	Query	   *arm = copyObject(query);
	List	   *steps = kv_normalize_steps(arm);
	FromStep   *first = linitial(steps);
	FromStep   *second = lsecond(steps);
	FullSide	side = {.kept = second->rti,.nulls = bms_make_singleton(first->rti),.condition = second->condition};
	NullTest   *test = makeNode(NullTest);

	first->type = JOIN_LEFT;
	first->condition = second->condition;
	second->type = JOIN_INNER;
	second->condition = NULL;
	test->arg = (Expr *) copyObject(absent);
	test->nulltesttype = IS_NULL;
	test->location = -1;
	return rewrite(arm, list_concat(list_make2(second, first), list_copy_tail(steps, 2)), &side, (Node *) test);
}

/* Gives a column of an entry of which a condition holds only where it is not null, one that is compared for equality first; NULL: none. */
static Var *
told_by(Node *condition, int rti)
{
	Var		   *compared = compared_column(condition, rti);
	ListCell   *cell;

	if (compared)
		return compared;
	foreach(cell, find_nonnullable_vars(condition))
		if (lfirst_node(Var, cell)->varno == rti && lfirst_node(Var, cell)->varattno > 0)
			return copyObject(lfirst(cell));
	return NULL;
}

/* Gives a column of an entry that a condition compares with another entry for equality; NULL: none. */
static Var *
compared_column(Node *condition, int rti)
{
	ListCell   *cell;

	foreach(cell, make_ands_implicit((Expr *) condition))
	{
		Node	   *sides[2];

		if (is_andclause(lfirst(cell)))
		{
			Var		   *found = compared_column((Node *) make_ands_explicit(((BoolExpr *) lfirst(cell))->args), rti);

			if (found)
				return found;
		}
		if (!kv_join_equality(lfirst(cell), &sides[0], &sides[1]))
			continue;
		for (int i = 0; i < 2; i++)
		{
			Node	   *column = sides[i];

			while (IsA(column, RelabelType))
				column = (Node *) ((RelabelType *) column)->arg;
			if (IsA(column, Var) && ((Var *) column)->varno == rti && !bms_is_member(rti, pull_varnos(NULL, sides[1 - i])))
				return (Var *) column;
		}
	}
	return NULL;
}

/* Makes the arm of the steps, with one more condition, and writes its columns everywhere but in the condition of the join itself. */
static Query *
rewrite(Query *query, List *steps, FullSide *side, Node *condition)
{
	StepList	list = {.steps = list_copy_head(steps, 2)};
	ListCell   *cell;

	for (int i = 2; i < list_length(steps); i++)
	{
		FromStep   *step = list_nth(steps, i);

		step->condition = rewrite_mutator(step->condition, side);
		if (step->type == JOIN_LEFT && is_never_true(step->condition))
			side->nulls = bms_add_member(side->nulls, step->rti);
		else
			list.steps = lappend(list.steps, step);
	}
	foreach(cell, query->rtable)
		kv_row_source_mutate(lfirst_node(RangeTblEntry, cell), (RowSourceMutator) rewrite_mutator, side);
	query->targetList = (List *) rewrite_mutator((Node *) query->targetList, side);
	list.conditions = make_ands_implicit((Expr *) rewrite_mutator(query->jointree->quals, side));
	if (condition)
		list.conditions = lappend(list.conditions, condition);
	return kv_normalize_rebuild(query, &list);
}

/* Is one of the ANDed conditions false or null, whatever the row? */
static bool
is_never_true(Node *condition)
{
	ListCell   *cell;

	foreach(cell, make_ands_implicit((Expr *) condition))
	{
		Node	   *folded = eval_const_expressions(NULL, copyObject(lfirst(cell)));

		if (is_andclause(lfirst(cell)) && is_never_true((Node *) make_ands_explicit(((BoolExpr *) lfirst(cell))->args)))
			return true;
		if (IsA(folded, Const) && (((Const *) folded)->constisnull || !DatumGetBool(((Const *) folded)->constvalue)))
			return true;
	}
	return false;
}

static Node *
rewrite_mutator(Node *node, FullSide *side)
{
	Var		   *var = (Var *) node;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && bms_is_member(var->varno, side->nulls))
		return (Node *) makeNullConst(var->vartype, var->vartypmod, var->varcollid);
	if (IsA(node, CoalesceExpr))
		return merged((CoalesceExpr *) node, side);
	return expression_tree_mutator(node, rewrite_mutator, side);
}

/* Gives COALESCE without what is null in the arm, and what equals one of its arguments before it. */
static Node *
merged(CoalesceExpr *coalesce, FullSide *side)
{
	Node	   *known = known_side(coalesce, side);
	CoalesceExpr *result;
	List	   *arguments = NIL;
	ListCell   *cell;

	if (known)
		return copyObject(known);
	foreach(cell, coalesce->args)
	{
		Node	   *argument = rewrite_mutator(lfirst(cell), side);
		Node	   *folded = eval_const_expressions(NULL, copyObject(argument));

		if (!IsA(folded, Const) || !((Const *) folded)->constisnull)
			arguments = lappend(arguments, argument);
	}
	if (list_length(arguments) == 1)
		return linitial(arguments);
	if (arguments == NIL)
		return (Node *) makeNullConst(coalesce->coalescetype, -1, coalesce->coalescecollid);
	result = (CoalesceExpr *) copyObject(coalesce);
	result->args = arguments;
	return (Node *) result;
}

/* Gives the argument for the kept side where the two arguments are what the join compares; it must come first, or be the same in its bytes where they are equal. */
static Node *
known_side(CoalesceExpr *coalesce, FullSide *side)
{
	Node	   *first = linitial(coalesce->args);
	Node	   *second = list_length(coalesce->args) == 2 ? lsecond(coalesce->args) : NULL;

	if (side->nulls != NULL || second == NULL || !are_compared(side->condition, bare(first), bare(second), false))
		return NULL;
	if (castNode(Var, bare(first))->varno == side->kept)
		return first;
	if (!kv_equality_is_identity(exprType(second), exprCollation(second)) || !are_compared(side->condition, bare(first), bare(second), true))
		return NULL;
	return second;
}

/* Does a condition demand that two columns are equal, or the same in their bytes? */
static bool
are_compared(Node *condition, Node *one, Node *other, bool bytes)
{
	ListCell   *cell;

	if (!IsA(one, Var) || !IsA(other, Var))
		return false;
	foreach(cell, make_ands_implicit((Expr *) condition))
	{
		Node	   *left;
		Node	   *right;

		if (is_andclause(lfirst(cell)) && are_compared((Node *) make_ands_explicit(((BoolExpr *) lfirst(cell))->args), one, other, bytes))
			return true;
		if (kv_join_equality(lfirst(cell), &left, &right) && (!bytes || tells_bytes(lfirst_node(OpExpr, cell))) &&
			((equal(bare(left), one) && equal(bare(right), other)) || (equal(bare(left), other) && equal(bare(right), one))))
			return true;
	}
	return false;
}

static bool
tells_bytes(OpExpr *clause)
{
	return kv_equality_tells_bytes(clause->opno, clause->inputcollid, exprType(linitial(clause->args)));
}

/* Gives what implicit casts are about. */
static Node *
bare(Node *node)
{
	for (;;)
	{
		if (IsA(node, RelabelType))
			node = (Node *) ((RelabelType *) node)->arg;
		else if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcformat == COERCE_IMPLICIT_CAST && list_length(((FuncExpr *) node)->args) == 1)
			node = linitial(((FuncExpr *) node)->args);
		else
			return node;
	}
}
