/*
 * closure.h: what follows from knowing some columns of an arm's row.
 */
#ifndef KV_CLOSURE_H
#define KV_CLOSURE_H

#include "view_def.h"

/* What is known of a row of an arm. */
typedef struct Closure
{
	ViewArm    *arm;
	List	   *conditions;		/* of JoinCondition * */
	Bitmapset **columns;		/* by range table index: attnos whose value is determined, but for one that equals it by its type */
	Bitmapset **exact;			/* of these, those with determined bytes */
	Bitmapset  *rows;			/* range table indexes of what is determined as a whole */
} Closure;

/* Begins with what constants determine. */
extern Closure *kv_closure_begin(ViewArm *arm);
/* Adds a column (Var or Const) of which equal values are taken together, and all that follows from it. */
extern void kv_closure_add(Closure *closure, Node *column);
/* Range table indexes of the arm's inputs and functions, without or with those on the nullable side of a left join. */
extern Bitmapset *kv_arm_entries(const ViewArm *arm, bool nullable_too);
/* The input with a range table index, NULL for a function. */
extern ViewInput *kv_arm_input(const ViewArm *arm, int rti);
/* Is the column (Var of an inner input, Const) never null in a row of the arm? */
extern bool kv_arm_not_null(const ViewArm *arm, Node *column);
/* The row column's value in the arm as a Var or Const; NULL: it is an expression. */
extern Node *kv_arm_column(const ViewArm *arm, AttrNumber column);
/* The equalities in the condition of a left join (OpExpr *), NIL if it has others than equalities. */
extern List *kv_left_join_equalities(Closure *closure, int rti);
/* Is the nullable entry null in every row of the arm (LEFT JOIN ... WHERE its column IS NULL)? */
extern bool kv_entry_is_absent(Closure *closure, int rti);

#endif							/* KV_CLOSURE_H */
