/*
 * retract_state.h: the columns in which a group of tables keeps the state of aggregates that
 * can be corrected.
 */
#ifndef KV_RETRACT_STATE_H
#define KV_RETRACT_STATE_H

#include "grouped_rows.h"

typedef enum RetractKind
{
	RETRACT_ROWS,				/* rows of the group; 0: it is gone */
	RETRACT_COUNT,				/* rows that pass the filter, with an argument those where it is not null */
	RETRACT_SUM,				/* sum of the argument, 0 without any; of numeric the finite values only */
	RETRACT_KINDS,				/* of numeric: how many values of which kind and scale (number_kinds.c) */
	RETRACT_LEAST,				/* the least value; is known again only from all rows once it is taken away */
	RETRACT_GREATEST
} RetractKind;

typedef struct RetractColumn
{
	RetractKind kind;
	char	   *name;
	Node	   *argument;		/* over what is kept of the rows; NULL: none */
	Node	   *filter;			/* the same */
	Aggref	   *aggregate;		/* least, greatest: computes it */
} RetractColumn;

/* Can the aggregate be corrected? */
extern bool kv_retract_knows(const Aggref *aggregate);
/* Lists the columns (RetractColumn *) for the view's aggregates, the rows first. */
extern List *kv_retract_columns(GroupedRows *rows);
/* Columns as aggregates over rows: of all rows, or of those that were put in less those that were taken away, which the column kv_new (Var) tells. */
extern Node *kv_retract_compute(RetractColumn *column, Node *is_new);
/* The least or greatest value taken away. */
extern Node *kv_retract_taken(RetractColumn *column, Node *is_new);
/* The aggregate's result from the columns, which are attributes first_attno ... of entry 1. */
extern Node *kv_retract_final(GroupedRows *rows, List *columns, const Aggref *aggregate, AttrNumber first_attno);
/* The condition that a count is not 0. */
extern Node *kv_retract_positive(Node *count);

#endif							/* KV_RETRACT_STATE_H */
