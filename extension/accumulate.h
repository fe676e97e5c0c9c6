/*
 * accumulate.h: the maintenance statements of a view that streams drive, as SQL
 * text over named deltas. They are the reference for every faster path.
 */
#ifndef KV_ACCUMULATE_H
#define KV_ACCUMULATE_H

#include "analyze.h"
#include "statement.h"

/*
 * Compiles the statements (see MaintenancePlan). Order within a batch: LOOKUP; then for each driving
 * input in FROM order COMPUTE and APPEND, so that input i meets the buffers of inputs before it with, and of
 * inputs after it without, this batch's rows: every pair exactly once, for self-joins and diamonds too,
 * because every input has a buffer of its own; then the aggregate; LATE is first of all.
 */
extern void kv_accumulate(ViewDef *view, List **statements, List **reload);
/* See kv_maintenance_tables and kv_maintenance_first_rows. */
extern List *kv_accumulate_tables(ViewDef *view);
extern List *kv_accumulate_first_rows(ViewDef *view);

#endif							/* KV_ACCUMULATE_H */
