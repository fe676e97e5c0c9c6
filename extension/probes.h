/*
 * probes.h: by what the rows of each input of a join are looked up.
 */
#ifndef KV_PROBES_H
#define KV_PROBES_H

#include "view_def.h"
#include "refuse.h"

typedef struct JoinCondition
{
	Node	   *clause;
	int			nullable;		/* range table entry whose left join it belongs to, 0: WHERE or an inner join */
} JoinCondition;

/* Is it an equality that an index or a hash can answer? Gives its sides. */
extern bool kv_join_equality(Node *node, Node **left, Node **right);
/* Notes the probes of an arm with these conditions (of JoinCondition *); refuses inputs that no equality connects with the others. */
extern Refusal *kv_probes(ViewArm *arm, List *conditions);
/* The place of the first use of an entry's column: conditions first. */
extern int kv_probes_location(ViewArm *arm, int rti);

#endif							/* KV_PROBES_H */
