/*
 * window_statements.h: which rows are late for their window, in the statements of an aggregate
 * view. Printing must have begun (delta_query.h).
 */
#ifndef KV_WINDOW_STATEMENTS_H
#define KV_WINDOW_STATEMENTS_H

#include "statement.h"
#include "view_def.h"

/*
 * Condition that a row which new rows of an input make is late for its window, or is not; over the arm's query before its inputs are exchanged
 * (kv_delta_query).
 */
extern Node *kv_window_lateness(ViewDef *view, int driver, bool late);
/*
 * How far time had come when a row came: the stream time of its partition before it, or the frontier less delay_us. Where the frontier alone counts, the
 * delay is added to *lag_us instead, which the caller takes away.
 */
extern Node *kv_window_reached(ViewDef *view, int driver, int64 delay_us, int64 *lag_us);
/* Counts the rows of the arm's query for which the condition (over it) holds, as late ones. */
extern MaintenanceStatement *kv_window_count(ViewDef *view, int driver, Node *condition, char *title);
/* Counts the late rows of a view whose rows are aggregated as they come; or, of captured ones, those whose column of that name is true. */
extern MaintenanceStatement *kv_window_count_late(ViewDef *view, int driver);
extern MaintenanceStatement *kv_window_count_captured(const char *capture, const char *column);

#endif							/* KV_WINDOW_STATEMENTS_H */
