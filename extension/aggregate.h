/*
 * aggregate.h: which aggregates can be kept up by combining partial results, what
 * columns hold their state, and how a result is made from it.
 */
#ifndef KV_AGGREGATE_H
#define KV_AGGREGATE_H

#include "kafka_views.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "refuse.h"

/* How two partial results of the same group make one. */
typedef enum CombineKind
{
	COMBINE_NONE,				/* not supported */
	COMBINE_COUNT,				/* add; never null */
	COMBINE_ADD,				/* add; null: no value yet */
	COMBINE_LEAST,
	COMBINE_GREATEST,
	COMBINE_AND,
	COMBINE_OR,
	COMBINE_BIT_AND,
	COMBINE_BIT_OR,
	COMBINE_BIT_XOR
} CombineKind;

/* One column of a group's state: an aggregate that is its own state. */
typedef struct StateColumn
{
	char	   *name;
	Aggref	   *partial;		/* computes it over the rows of a delta */
	CombineKind combine;
} StateColumn;

/* Refuses aggregates whose state cannot be kept as plain columns. */
extern Refusal *kv_aggregate_check(const Aggref *aggregate);
/* Does the aggregate's result serve as its own state (avg does not)? */
extern bool kv_aggregate_is_own_state(const Aggref *aggregate);
extern CombineKind kv_aggregate_combine_kind(const Aggref *aggregate);

/* Adds the state columns the aggregate needs to a list of StateColumn *; taken (List of char *) are names in use. */
extern List *kv_aggregate_add_columns(List *columns, const Aggref *aggregate, List **taken);
/* The aggregate's result as an expression over state columns, which are attributes first_attno ... of entry rti. */
extern Node *kv_aggregate_final(const Aggref *aggregate, List *columns, int rti, AttrNumber first_attno);
/* SQL: the column's new value from the stored row "t" and the partial result in the row named by delta. */
extern char *kv_aggregate_combine(CombineKind kind, const char *column, const char *delta);
/* Aggregates of a tree (Aggref *), in order, each once. */
extern List *kv_aggregate_collect(Node *node);

#endif							/* KV_AGGREGATE_H */
