/*
 * recompute.h: the maintenance statements of a view that tables drive: what their changes
 * reach is computed again, and what differs is written.
 */
#ifndef KV_RECOMPUTE_H
#define KV_RECOMPUTE_H

#include "view_def.h"
#include "statement.h"

/* The statements (MaintenanceStatement *) in the order in which a batch runs them. */
extern List *kv_recompute(ViewDef *view);
/* CREATE TABLE / INDEX statements (char *) for what they need besides the result; INSERT statements for first rows. */
extern List *kv_recompute_tables(ViewDef *view);
extern List *kv_recompute_first_rows(ViewDef *view);

#endif							/* KV_RECOMPUTE_H */
