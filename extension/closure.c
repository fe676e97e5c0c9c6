/*
 * closure.c: functional dependencies in an arm of a view over tables.
 *
 * Three kinds: a key determines its table's row, an equality carries a value over, and a LEFT JOIN whose condition fixes the
 * whole key of its table determines that row or its absence. Invariant: what is in a Closure has one value in all rows of the
 * arm that agree in the columns that were added; so if it has every entry, these columns are a key of the arm's rows.
 *
 * Rows agree where values are equal, which need not be the same (equality.c): columns of which only that much is known fix what is
 * compared with them by their own equality, but not what an expression or another equality makes of them.
 */
#include "closure.h"

#include "access/sysattr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"

#include "equality.h"
#include "join_graph.h"
#include "normalize.h"
#include "row_source.h"

static void close_over(Closure *closure);
static bool carry_over(Closure *closure, JoinCondition *condition);
static bool carry(Closure *closure, OpExpr *equality, Node *from, Node *to);
static bool is_fixed(Closure *closure, OpExpr *equality, Node *node);
static bool is_of_column(OpExpr *equality, Var *var);
static bool know(Closure *closure, Node *node, bool exactly);
static bool is_known(Closure *closure, Node *node);
static bool is_exact(Closure *closure, Var *var);
static bool row_is_known(Closure *closure, int rti);
static bool key_is_joined(Closure *closure, ViewInput *input);
static bool finds_one(Closure *closure, OpExpr *equality, Var *key, Node *other);
static bool source_is_known(Closure *closure, RangeTblEntry *rte, int rti);
static void know_row(Closure *closure, int rti);
static Bitmapset *nullable_entries(const ViewArm *arm);
static Node *strip(Node *node);

/* Begins a closure; see closure.h. */
Closure *
kv_closure_begin(ViewArm *arm)
{
	Closure    *closure = palloc0(sizeof(Closure));

	closure->arm = arm;
	/* of a single table only the deltas are known (affected.c), and what its conditions say does not hold of them */
	closure->conditions = arm->ninputs > 1 ? kv_join_conditions(arm) : NIL;
	closure->columns = palloc0(sizeof(Bitmapset *) * (list_length(arm->query->rtable) + 1));
	closure->exact = palloc0(sizeof(Bitmapset *) * (list_length(arm->query->rtable) + 1));
	close_over(closure);
	return closure;
}

/* Adds a column; see closure.h. */
void
kv_closure_add(Closure *closure, Node *column)
{
	if (know(closure, column, false))
		close_over(closure);
}

/* Adds all that follows from what is there. */
static void
close_over(Closure *closure)
{
	bool		changed = true;
	ListCell   *cell;

	while (changed)
	{
		int			rti = -1;

		changed = false;
		foreach(cell, closure->conditions)
			changed |= carry_over(closure, lfirst(cell));
		while ((rti = bms_next_member(kv_arm_entries(closure->arm, true), rti)) >= 0)
		{
			if (bms_is_member(rti, closure->rows) || !row_is_known(closure, rti))
				continue;
			know_row(closure, rti);
			changed = true;
		}
	}
}

/* Carries a known value over an equality that every row fulfils; false: nothing new. */
static bool
carry_over(Closure *closure, JoinCondition *condition)
{
	Node	   *left;
	Node	   *right;

	if (condition->nullable != 0 || !kv_join_equality(condition->clause, &left, &right))
		return false;
	return carry(closure, (OpExpr *) condition->clause, left, right) || carry(closure, (OpExpr *) condition->clause, right, left);
}

/* Carries what is known of one side to the other; false: nothing new. */
static bool
carry(Closure *closure, OpExpr *equality, Node *from, Node *to)
{
	Var		   *var = (Var *) strip(to);
	bool		bytes = kv_equality_tells_bytes(equality->opno, equality->inputcollid, exprType(to));

	return IsA(var, Var) && is_fixed(closure, equality, from) && (bytes || is_of_column(equality, var)) && know(closure, to, bytes);
}

/* Is enough known of a side to say which values the equality finds equal to it? */
static bool
is_fixed(Closure *closure, OpExpr *equality, Node *node)
{
	Var		   *var = (Var *) strip(node);

	if (is_known(closure, node))
		return true;
	return IsA(var, Var) && bms_is_member(var->varattno, closure->columns[var->varno]) && is_of_column(equality, var);
}

/* Does the equality find the same values equal as a column's own? */
static bool
is_of_column(OpExpr *equality, Var *var)
{
	return kv_equality_is_of(equality->opno, equality->inputcollid, var->vartype, var->varcollid);
}

/* Notes that a column is known, exactly or but for equal values; false: it is no column, or was known as much. */
static bool
know(Closure *closure, Node *node, bool exactly)
{
	Var		   *var = (Var *) strip(node);
	Bitmapset **known = exactly ? closure->exact : closure->columns;

	if (!IsA(var, Var) || bms_is_member(var->varattno, known[var->varno]))
		return false;
	closure->columns[var->varno] = bms_add_member(closure->columns[var->varno], var->varattno);
	if (exactly)
		closure->exact[var->varno] = bms_add_member(closure->exact[var->varno], var->varattno);
	return true;
}

/* Do the bytes of an expression's value follow from known columns? */
static bool
is_known(Closure *closure, Node *node)
{
	ListCell   *cell;

	foreach(cell, pull_var_clause(node, PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS))
	{
		if (!is_exact(closure, lfirst_node(Var, cell)))
			return false;
	}
	return true;
}

/* Are the bytes of a column's value determined? */
static bool
is_exact(Closure *closure, Var *var)
{
	return bms_is_member(var->varattno, closure->exact[var->varno]) ||
		(bms_is_member(var->varattno, closure->columns[var->varno]) && kv_equality_is_identity(var->vartype, var->varcollid));
}

/* Is the row of an entry determined? */
static bool
row_is_known(Closure *closure, int rti)
{
	ViewInput  *input = kv_arm_input(closure->arm, rti);
	ListCell   *cell;

	if (input == NULL)
		return source_is_known(closure, rt_fetch(rti, closure->arm->query->rtable), rti);
	if (bms_is_member(rti, nullable_entries(closure->arm)) && (key_is_joined(closure, input) || kv_entry_is_absent(closure, rti)))
		return true;
	if (input->keys == NIL)
		return false;
	foreach(cell, input->keys)
		if (!bms_is_member(lfirst_int(cell), closure->columns[rti]))
			return false;
	return true;
}

/* Does the condition of a left join compare what is not known of its table's key with what is? */
static bool
key_is_joined(Closure *closure, ViewInput *input)
{
	ListCell   *key;
	ListCell   *cell;

	if (input->keys == NIL)
		return false;
	foreach(key, input->keys)
	{
		bool		found = bms_is_member(lfirst_int(key), closure->columns[input->rti]);

		foreach(cell, closure->conditions)
		{
			JoinCondition *condition = lfirst(cell);
			Node	   *sides[2];

			if (condition->nullable != input->rti || !kv_join_equality(condition->clause, &sides[0], &sides[1]))
				continue;
			for (int i = 0; i < 2; i++)
			{
				Var		   *var = (Var *) strip(sides[i]);

				found |= IsA(var, Var) && var->varno == input->rti && var->varattno == lfirst_int(key) &&
					finds_one(closure, (OpExpr *) condition->clause, var, sides[1 - i]);
			}
		}
		if (!found)
			return false;
	}
	return true;
}

/* Is no more than one value of a key's column equal to what is known of another side? */
static bool
finds_one(Closure *closure, OpExpr *equality, Var *key, Node *other)
{
	return is_fixed(closure, equality, other) &&
		(is_of_column(equality, key) || kv_equality_tells_bytes(equality->opno, equality->inputcollid, key->vartype));
}

/* Is the row of a row source determined: by what it is made of, and, of a function that gives several, by the number of the row? */
static bool
source_is_known(Closure *closure, RangeTblEntry *rte, int rti)
{
	if (!is_known(closure, (Node *) kv_row_source_vars(rte)))
		return false;
	return kv_row_source_is_single(rte) ||
		(rte->funcordinality && bms_is_member(list_length(rte->eref->colnames), closure->columns[rti]));
}

/* Notes that every column of an entry is known. */
static void
know_row(Closure *closure, int rti)
{
	RangeTblEntry *rte = rt_fetch(rti, closure->arm->query->rtable);

	closure->rows = bms_add_member(closure->rows, rti);
	closure->columns[rti] = bms_add_range(closure->columns[rti], 1, list_length(rte->eref->colnames));
	closure->exact[rti] = bms_add_range(closure->exact[rti], 1, list_length(rte->eref->colnames));
}

/* Lists entries; see closure.h. */
Bitmapset *
kv_arm_entries(const ViewArm *arm, bool nullable_too)
{
	Bitmapset  *entries = NULL;

	for (int rti = 1; rti <= list_length(arm->query->rtable); rti++)
		if (rt_fetch(rti, arm->query->rtable)->rtekind != RTE_JOIN)
			entries = bms_add_member(entries, rti);
	return nullable_too ? entries : bms_del_members(entries, nullable_entries(arm));
}

static Bitmapset *
nullable_entries(const ViewArm *arm)
{
	Bitmapset  *entries = NULL;
	Bitmapset  *before = NULL;
	ListCell   *cell;

	foreach(cell, kv_normalize_steps(arm->query))
	{
		FromStep   *step = lfirst(cell);

		if (step->type == JOIN_FULL)
			entries = bms_add_members(entries, before);
		if (step->type == JOIN_LEFT || step->type == JOIN_FULL)
			entries = bms_add_member(entries, step->rti);
		before = bms_add_member(before, step->rti);
	}
	return entries;
}

/* Finds an input by its range table index; see closure.h. */
ViewInput *
kv_arm_input(const ViewArm *arm, int rti)
{
	for (int i = 0; i < arm->ninputs; i++)
		if (arm->inputs[i].rti == rti)
			return &arm->inputs[i];
	return NULL;
}

/* Tells whether a column is never null; see closure.h. */
bool
kv_arm_not_null(const ViewArm *arm, Node *column)
{
	Var		   *var = (Var *) strip(column);
	ViewInput  *input;

	if (IsA(var, Const))
		return !((Const *) var)->constisnull;
	input = kv_arm_input(arm, var->varno);
	if (bms_is_member(var->varno, nullable_entries(arm)))
		return false;
	if (input != NULL && bms_is_member(var->varattno, input->not_null))
		return true;
	return list_member(find_nonnullable_vars((Node *) make_ands_implicit((Expr *) arm->query->jointree->quals)), var);
}

/* Gives a row column's value; see closure.h. */
Node *
kv_arm_column(const ViewArm *arm, AttrNumber column)
{
	Node	   *value = strip((Node *) get_tle_by_resno(arm->query->targetList, column)->expr);

	if (IsA(value, Var) || IsA(value, Const))
		return value;
	return NULL;
}

/* Lists the equalities of a left join; see closure.h. */
List *
kv_left_join_equalities(Closure *closure, int rti)
{
	List	   *equalities = NIL;
	ListCell   *cell;

	foreach(cell, closure->conditions)
	{
		JoinCondition *condition = lfirst(cell);
		Node	   *left;
		Node	   *right;

		if (condition->nullable != rti)
			continue;
		if (!kv_join_equality(condition->clause, &left, &right))
			return NIL;
		equalities = lappend(equalities, condition->clause);
	}
	return equalities;
}

/* Tells whether only unmatched rows are left of a left join; see closure.h. A strict condition is true of no null. */
bool
kv_entry_is_absent(Closure *closure, int rti)
{
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, closure->conditions)
	{
		JoinCondition *condition = lfirst(cell);
		NullTest   *test = (NullTest *) condition->clause;
		Var		   *var;

		if (condition->nullable != 0 || !IsA(test, NullTest) || test->nulltesttype != IS_NULL)
			continue;
		var = (Var *) strip((Node *) test->arg);
		if (!IsA(var, Var) || var->varno != rti)
			continue;
		foreach(other, closure->conditions)
		{
			JoinCondition *joined = lfirst(other);

			if (joined->nullable == rti && list_member(find_nonnullable_vars(joined->clause), var))
				return true;
		}
	}
	return false;
}

/* Gives what a cast without effect on the value is about. */
static Node *
strip(Node *node)
{
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}
