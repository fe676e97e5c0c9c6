/*
 * retract.h: groups of tables whose aggregates are corrected by what is taken from their rows
 * and put into them.
 */
#ifndef KV_RETRACT_H
#define KV_RETRACT_H

#include "grouped_rows.h"

/* Can all aggregates of the view be corrected; must some groups be computed again all the same (min, max)? */
extern bool kv_can_retract(const ViewDef *view);
extern bool kv_retract_recomputes(const ViewDef *view);
/* The statements behind those that capture the changes; what creates the companion; what inserts the first rows (char *). */
extern List *kv_retract(GroupedRows *rows);
extern List *kv_retract_tables(GroupedRows *rows);
extern List *kv_retract_first_rows(GroupedRows *rows);

#endif							/* KV_RETRACT_H */
