/* from_steps.h: a FROM clause as a row of steps, and the conditions that are not bound to one of them. */
#ifndef KV_FROM_STEPS_H
#define KV_FROM_STEPS_H

#include "refuse.h"

/* A place in the row. */
typedef struct FromStep
{
	int			rti;
	JoinType	type;			/* with the steps before it: JOIN_INNER, JOIN_LEFT or JOIN_FULL */
	Node	   *condition;		/* of the outer join */
} FromStep;

typedef struct StepList
{
	List	   *steps;			/* of FromStep * */
	List	   *conditions;		/* of inner joins and WHERE, implicitly ANDed */
	Refusal    *refusal;
} StepList;

/* Fills the list from a join tree of range table references. Refuses nullable sides that are joins, and full joins with joins. */
extern Refusal *kv_from_steps(Node *jointree, StepList *list);

#endif							/* KV_FROM_STEPS_H */
