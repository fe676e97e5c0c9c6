/*
 * result_rows.h: statements that write rows of a view over tables by its key, only where
 * they differ.
 */
#ifndef KV_RESULT_ROWS_H
#define KV_RESULT_ROWS_H

#include "view_def.h"
#include "statement.h"

/* Names (char *), types (Oid) and whether they may be null (int) of the key's columns. */
extern List *kv_result_key_names(const ViewDef *view);
extern List *kv_result_key_types(const ViewDef *view);
extern List *kv_result_key_nullable(const ViewDef *view);

/* Writes the rows of a SELECT of all columns that are new or differ from those that stand. */
extern MaintenanceStatement *kv_result_upsert(ViewDef *view, char *title, const char *rows);
/* The same for the only row of a view without a key. */
extern MaintenanceStatement *kv_result_update(ViewDef *view, char *title, const char *rows);
/* Deletes the rows whose keys a SELECT gives. */
extern MaintenanceStatement *kv_result_delete(ViewDef *view, char *title, const char *keys);

#endif							/* KV_RESULT_ROWS_H */
