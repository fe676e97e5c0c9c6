/*
 * accumulate.h: the maintenance statements of a view that streams drive, as SQL
 * text over named deltas. kafka.explain prints them, the worker runs them; they
 * are the reference for every faster path.
 */
#ifndef KV_ACCUMULATE_H
#define KV_ACCUMULATE_H

#include "analyze.h"

typedef enum StatementPhase
{
	PHASE_LOOKUP,				/* applies a table's delta to its lookup table */
	PHASE_COMPUTE,				/* computes and writes result rows */
	PHASE_APPEND,				/* puts a delta into its buffer; after the COMPUTE of the same input */
	PHASE_EVICT,				/* deletes what no probe can see any more; now and then */
	PHASE_LATE					/* SELECT that counts late rows: one bigint */
} StatementPhase;

/* All statements take one parameter: $1 timestamptz, the view's closed frontier before the batch (-infinity: none). */
typedef struct MaintenanceStatement
{
	StatementPhase phase;
	char	   *title;			/* "join new rows of orders with buffered payments" */
	char	   *sql;
	int			input;			/* skipped when the delta of this input has no rows; -1: always run */
	bool		writes_view;	/* its RETURNING rows are rows of the view (append-only) or touched groups (keyed) */
	char	   *captures;		/* name under which its result rows become a delta for later statements of this batch; NULL: none. Several statements may append to the same */
	TupleDesc	capture_desc;	/* row type of captures */
	char	   *reads;			/* name of such a capture that it reads (skipped when empty), or NULL */
} MaintenanceStatement;

typedef struct MaintenancePlan
{
	List	   *statements;		/* of MaintenanceStatement *, in the order in which a batch runs them */
	List	   *reload;			/* of MaintenanceStatement *: PHASE_APPEND without the COMPUTE, to refill buffers; input set */
} MaintenancePlan;

/*
 * Compiles the statements. Order within a batch: LOOKUP; then for each driving
 * input in FROM order COMPUTE and APPEND, so that input i meets the buffers of inputs before it with, and of
 * inputs after it without, this batch's rows: every pair exactly once, for self-joins and diamonds too,
 * because every input has a buffer of its own; then the aggregate; LATE is first of all.
 */
extern MaintenancePlan *kv_accumulate(ViewDef *view);
/* CREATE TABLE / INDEX statements (char *) for the view's buffers, lookup tables and companion, in order. */
extern List *kv_accumulate_tables(ViewDef *view);

#endif							/* KV_ACCUMULATE_H */
