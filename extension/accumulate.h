/*
 * accumulate.h: the maintenance statements of a view that streams drive, as SQL
 * text over named deltas. kafka.explain prints them, the worker runs them; they
 * are the reference for every faster path.
 */
#ifndef KV_ACCUMULATE_H
#define KV_ACCUMULATE_H

#include "analyze.h"
#include "statement.h"

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
/*
 * CREATE TABLE / INDEX statements (char *) for the view's buffers, lookup tables and companion, in order; after
 * kv_view_set_id, once the result table exists. The engine runs them.
 */
extern List *kv_accumulate_tables(ViewDef *view);
/*
 * INSERT statements (char *) for rows that are there before any record: the one row of an aggregate without
 * GROUP BY. The owner runs them, with kv_maintaining set, once the tables are his.
 */
extern List *kv_accumulate_first_rows(ViewDef *view);

#endif							/* KV_ACCUMULATE_H */
