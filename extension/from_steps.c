/*
 * from_steps.c: a FROM clause as steps from left to right, each joined inner, left or full
 * with those before it.
 *
 * Why this is exact: an inner join commutes with a left join whose condition does
 * not mention it, and conditions of inner joins on the preserved side of a left
 * join may as well be applied after it. Nothing may be applied after a full join instead of before
 * it, so what it joins stands first, and without inner joins.
 *
 * An outer join whose null rows WHERE rejects makes the same rows as a lesser one (inner, or left instead
 * of full), and is made that.
 */
#include "from_steps.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"

static void collect_steps(Node *jtnode, StepList *list);
static void collect_left(Node *preserved, Node *nullable, Node *condition, StepList *list);
static void collect_full(JoinExpr *join, StepList *list);
static bool starts_full(StepList *list);
static void add_step(StepList *list, int rti, JoinType type, Node *condition);
static void add_conditions(StepList *list, Node *node);
static void lessen_outer_joins(StepList *list);
static bool lessen_step(StepList *list, int number, Relids preserved, Relids not_null);

/* Finds the steps; see from_steps.h. */
Refusal *
kv_from_steps(Node *jointree, StepList *list)
{
	memset(list, 0, sizeof(StepList));
	collect_steps(jointree, list);
	if (!list->refusal)
		lessen_outer_joins(list);
	return list->refusal;
}

/* Appends what jtnode joins to the steps, left to right. */
static void
collect_steps(Node *jtnode, StepList *list)
{
	ListCell   *cell;

	if (IsA(jtnode, RangeTblRef))
		add_step(list, ((RangeTblRef *) jtnode)->rtindex, JOIN_INNER, NULL);
	else if (IsA(jtnode, FromExpr))
	{
		foreach(cell, ((FromExpr *) jtnode)->fromlist)
			collect_steps(lfirst(cell), list);
		add_conditions(list, ((FromExpr *) jtnode)->quals);
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, jtnode);

		switch (join->jointype)
		{
			case JOIN_INNER:
				collect_steps(join->larg, list);
				collect_steps(join->rarg, list);
				add_conditions(list, join->quals);
				break;
			case JOIN_LEFT:
				collect_left(join->larg, join->rarg, join->quals, list);
				break;
			case JOIN_RIGHT:
				collect_left(join->rarg, join->larg, join->quals, list);
				break;
			default:
				collect_full(join, list);
				break;
		}
	}
}

/* Appends a left join, whose nullable arm must be a single table; the conditions of a subquery that it was are the join's. */
static void
collect_left(Node *preserved, Node *nullable, Node *condition, StepList *list)
{
	while (IsA(nullable, FromExpr) && list_length(((FromExpr *) nullable)->fromlist) == 1)
	{
		condition = make_and_qual(condition, ((FromExpr *) nullable)->quals);
		nullable = linitial(((FromExpr *) nullable)->fromlist);
	}
	collect_steps(preserved, list);
	if (!list->refusal && list->steps == NIL)
		list->refusal = kv_refuse_constant_rows(condition);	/* only expressions stood there, which are written out */
	if (list->refusal)
		return;
	if (IsA(nullable, RangeTblRef))
		add_step(list, ((RangeTblRef *) nullable)->rtindex, JOIN_LEFT, condition);
	else
		list->refusal = kv_refusal(exprLocation(condition),
								   "continuous view \"%s\" cannot use an outer join whose nullable side is itself a join",
								   "This version looks up one table at a time.",
								   "Join the tables one by one, each with a LEFT JOIN of its own.");
}

/* Puts a full join before what was collected so far: all that is joined inner with it, in WHERE's conditions. */
static void
collect_full(JoinExpr *join, StepList *list)
{
	StepList	first = {NIL};
	bool		swap = IsA(join->larg, RangeTblRef) && !IsA(join->rarg, RangeTblRef);
	Node	   *single = swap ? join->larg : join->rarg;

	collect_steps(swap ? join->rarg : join->larg, &first);
	list->refusal = first.refusal;
	if (list->refusal)
		return;
	if (!IsA(single, RangeTblRef) || first.conditions != NIL || starts_full(list))
	{
		list->refusal = kv_refusal(exprLocation(join->quals),
								   "continuous view \"%s\" cannot use a FULL JOIN with the result of another join",
								   "Both of its sides lose and gain rows.",
								   "Make a continuous view of the other join, and read that in the FULL JOIN.");
		return;
	}
	add_step(&first, ((RangeTblRef *) single)->rtindex, JOIN_FULL, join->quals);
	list->steps = list_concat(first.steps, list->steps);
}

/* Do the steps begin with a full join? */
static bool
starts_full(StepList *list)
{
	return list_length(list->steps) > 1 && ((FromStep *) lsecond(list->steps))->type == JOIN_FULL;
}

static void
add_step(StepList *list, int rti, JoinType type, Node *condition)
{
	FromStep   *step = palloc0(sizeof(FromStep));

	step->rti = rti;
	step->type = type;
	step->condition = condition;
	list->steps = lappend(list->steps, step);
}

/* Appends what a tree of ANDs consists of. */
static void
add_conditions(StepList *list, Node *node)
{
	ListCell   *cell;

	foreach(cell, make_ands_implicit((Expr *) node))
	{
		if (!is_andclause(lfirst(cell)))
			list->conditions = lappend(list->conditions, lfirst(cell));
		else
		{
			ListCell   *argument;

			foreach(argument, ((BoolExpr *) lfirst(cell))->args)
				add_conditions(list, lfirst(argument));
		}
	}
}

/* Makes outer joins lesser ones until WHERE rejects the null rows of none; an inner one gives it further conditions. */
static void
lessen_outer_joins(StepList *list)
{
	bool		changed = true;

	while (changed)
	{
		Relids		not_null = find_nonnullable_rels((Node *) list->conditions);
		Relids		preserved = NULL;

		changed = false;
		for (int i = 0; i < list_length(list->steps) && !changed; i++)
		{
			changed = lessen_step(list, i, preserved, not_null);
			preserved = bms_add_member(preserved, ((FromStep *) list_nth(list->steps, i))->rti);
		}
	}
}

/* Makes one outer join, to the steps preserved, a lesser one if not_null, without nulls in the result, allows it. */
static bool
lessen_step(StepList *list, int number, Relids preserved, Relids not_null)
{
	FromStep   *step = list_nth(list->steps, number);

	if (step->type == JOIN_FULL && bms_overlap(preserved, not_null))
	{
		step->type = JOIN_LEFT;
		return true;
	}
	if (step->type == JOIN_INNER || !bms_is_member(step->rti, not_null))
		return false;
	if (step->type == JOIN_LEFT)
	{
		add_conditions(list, step->condition);
		step->condition = NULL;
		step->type = JOIN_INNER;
		return true;
	}
	if (number == 1)
	{
		FromStep   *other = linitial(list->steps);
		int			rti = other->rti;

		other->rti = step->rti;
		step->rti = rti;
		step->type = JOIN_LEFT;
		return true;
	}
	return false;
}
