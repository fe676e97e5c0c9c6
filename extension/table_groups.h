/*
 * table_groups.h: the statements of an aggregate of tables.
 */
#ifndef KV_TABLE_GROUPS_H
#define KV_TABLE_GROUPS_H

#include "view_def.h"
#include "statement.h"

/* The statements (MaintenanceStatement *); what creates the tables they need; what inserts first rows (char *). */
extern List *kv_table_groups(ViewDef *view);
extern List *kv_table_groups_tables(ViewDef *view);
extern List *kv_table_groups_first_rows(ViewDef *view);

#endif							/* KV_TABLE_GROUPS_H */
