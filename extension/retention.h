/*
 * retention.h: the option kafka.retention: when rows of a view are too old to be kept. Printing must
 * have begun (delta_query.h) for all but kv_retention.
 */
#ifndef KV_RETENTION_H
#define KV_RETENTION_H

#include "refuse.h"
#include "statement.h"
#include "view_def.h"

/* Fills view->retention_us, where the view's rows have a time; after kv_window_layer and the output time. Refuses it where they have none. */
extern Refusal *kv_retention(ViewDef *view, const ContinuousOptions *options);

/* Can rows that new rows of an input make come too late to be kept? Of windows, grace says which; a join's cannot. */
extern bool kv_retention_can_be_late(ViewDef *view, int driver);
/* Condition that they are, or are not, over the arm's query before its inputs are exchanged (kv_delta_query); and the count of those that are. */
extern Node *kv_retention_lateness(ViewDef *view, int driver, bool late);
extern MaintenanceStatement *kv_retention_count_late(ViewDef *view, int driver);

/* Removes what is too old, without a message; to views over a keyed view it is deleted. */
extern List *kv_retention_statements(ViewDef *view);
/* The result column that a row's age is measured by. */
extern AttrNumber kv_retention_attno(ViewDef *view);
/* SQL: a row of a relation, called t, with that column at attno, is too old at the time in parameter $param. */
extern char *kv_retention_expired(ViewDef *view, Oid relid, AttrNumber attno, int param);
/* SQL: what to index the result table by, to find them; NULL: the index of the key will do. */
extern char *kv_retention_index(ViewDef *view);

#endif							/* KV_RETENTION_H */
