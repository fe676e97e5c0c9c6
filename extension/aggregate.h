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

/* How two partial results of the same group make one. In SQL, t is the stored row and null is a partial result of no row. */
typedef enum CombineKind
{
	COMBINE_NONE,				/* not supported */
	COMBINE_COUNT,				/* add; never null */
	COMBINE_ADD,				/* +; for sums and ranges */
	COMBINE_LEAST,
	COMBINE_GREATEST,
	COMBINE_AND,
	COMBINE_OR,
	COMBINE_BIT_AND,
	COMBINE_BIT_OR,
	COMBINE_BIT_XOR,
	COMBINE_APPEND,				/* ||; the later rows behind */
	COMBINE_APPEND_TEXT,		/* the same with a delimiter */
	COMBINE_APPEND_JSON_ARRAY,	/* json keeps its text: "[1, 2]" */
	COMBINE_APPEND_JSON_OBJECT, /* "{ "a" : 1 }" */
	COMBINE_FIRST,				/* of two standing rows the one with the lesser sort */
	COMBINE_LAST,
	COMBINE_STATES,				/* by the aggregate's combine function (kept_aggregate.h) */
	COMBINE_ROWS				/* the partial result is an array of rows, which go through the transition function */
} CombineKind;

/* One column of a group's state. */
typedef struct StateColumn
{
	char	   *name;
	Expr	   *value;			/* DISTINCT ON: what it is of the standing row (distinct_on.h); then none of the others but name and type */
	Aggref	   *partial;		/* makes it of the rows of a delta, or of the new values of distinct */
	CombineKind combine;
	char	   *argument;		/* SQL: the delimiter, the operator <, or the aggregate; NULL: none needed */
	char	   *types;			/* SQL: nulls of its argument types, with a comma before each, "" where it needs none */
	Oid			kept;			/* COMBINE_STATES, COMBINE_ROWS: the aggregate whose state it is */
	struct StateColumn *sort;	/* COMBINE_FIRST, COMBINE_LAST: by what its row stands */
	Aggref	   *distinct;		/* the aggregate whose DISTINCT values are kept in a table of their own; NULL: of the rows */
	Oid			type;			/* as it is stored */
	int32		typmod;
	Oid			collation;
} StateColumn;

/* Refuses aggregates whose state cannot be kept. */
extern Refusal *kv_aggregate_check(const Aggref *aggregate);
/* Refuses kafka.first and kafka.last by a value whose type has no order, whatever keeps the view up to date. */
extern Refusal *kv_aggregate_check_order(const Aggref *aggregate);
/* Have two aggregates the same arguments and FILTER? */
extern bool kv_aggregate_same_values(const Aggref *one, const Aggref *other);
/* Leaves out DISTINCT where it makes no difference, and folds delimiters of string_agg: as the owner, while the view is analysed. */
extern Node *kv_aggregate_simplify(Node *node);
/* How partial results of one of Postgres' own aggregates combine; COMBINE_NONE for those that are not their own state. */
extern CombineKind kv_aggregate_combine_kind(const Aggref *aggregate);
/* COMBINE_FIRST, COMBINE_LAST: it is kafka.first, kafka.last; COMBINE_NONE: neither. */
extern CombineKind kv_aggregate_standing_kind(const Aggref *aggregate);
extern bool kv_aggregate_is_avg(const Aggref *aggregate);
/* Does the aggregate's result serve as its own state (avg does not)? */
extern bool kv_aggregate_is_own_state(const Aggref *aggregate);
/* Does the result depend on the order of the rows, as far as is known? */
extern bool kv_aggregate_is_ordered(const Aggref *aggregate);
/* Does every row change the result? */
extern bool kv_aggregate_counts_every_row(const Aggref *aggregate);
/* Gives a call to which rows come in order where that can matter; the row column of number order_attno is their place. Of rows that its own ORDER BY leaves equal the earlier comes first. */
extern Aggref *kv_aggregate_in_order(const Aggref *aggregate, AttrNumber order_attno);
/* Does its state have to be made of the rows in order? */
extern bool kv_aggregate_needs_order(const Aggref *aggregate);

/*
 * Adds the state columns the aggregate needs to a list of StateColumn *; taken (List of char *) are names in use. In partial,
 * row columns are Vars of entry 1, and the one of number order_attno is a row's place in processing order.
 */
extern List *kv_aggregate_add_columns(List *columns, const Aggref *aggregate, AttrNumber order_attno, List **taken);
/* The only column of an aggregate that is its own state. */
extern StateColumn *kv_aggregate_own_column(const Aggref *aggregate, AttrNumber order_attno);
/* The aggregate's result as an expression over state columns, which are attributes first_attno ... of entry rti. */
extern Node *kv_aggregate_final(const Aggref *aggregate, List *columns, int rti, AttrNumber first_attno);
/* Can the states of groups that have had rows in turns be made one (kv_combine_merge)? */
extern bool kv_aggregate_merges(const Aggref *aggregate);
/* Aggregates of a tree (Aggref *), in order, each once. */
extern List *kv_aggregate_collect(Node *node);

#endif							/* KV_AGGREGATE_H */
