/*
 * group_rows.h: the new rows under an aggregate. Printing must have begun (delta_query.h).
 */
#ifndef KV_GROUP_ROWS_H
#define KV_GROUP_ROWS_H

#include "statement.h"
#include "view_def.h"

/* Captures the rows that new rows of one of several streams make. */
extern MaintenanceStatement *kv_group_rows_capture(ViewDef *view, int driver);
/* The same for those that a preserved input adds to an outer join without a match: late ones, or those that time closes. */
extern MaintenanceStatement *kv_group_rows_capture_unmatched(ViewDef *view, int number, bool late, char *title);
/* Counts those that are late for their window, which must be one that closes. */
extern MaintenanceStatement *kv_group_rows_count_late(ViewDef *view);
/* Gives the targets and groups of base, which are over the row columns, over the new rows that are not late; notes the groups' event times. */
extern Query *kv_group_rows_query(ViewDef *view, Query *base);
/* The same without groups and without a note; *time is a row's event time. */
extern Query *kv_group_rows_timed(ViewDef *view, Query *base, Node **time);
/* The same where a condition (or NULL) on the row columns holds, without a note. */
extern Query *kv_group_rows_filtered(ViewDef *view, Query *base, Node *condition);
/* Number of the column behind the row columns that has a row's place in processing order; for views that are ordered. */
extern AttrNumber kv_group_rows_order(const ViewDef *view);
/* Name of the capture of new rows, where no stream alone makes them. */
#define KV_CAPTURE_ROWS "kv_joined"
/*
 * Names (char *) of its columns: the row columns; of sessions then how far time had come for the row and its place in
 * processing order, of other windows that close whether the row is late; its event time.
 */
extern List *kv_group_rows_columns(const ViewDef *view);
/* Their types, of a view with sessions. */
extern TupleDesc kv_group_rows_desc(const ViewDef *view);
/* Ties a statement to what such a query reads. */
extern void kv_group_rows_place(ViewDef *view, MaintenanceStatement *statement);

#endif							/* KV_GROUP_ROWS_H */
