/*
 * window_end.h: when a window ends, as expressions over its key.
 */
#ifndef KV_WINDOW_END_H
#define KV_WINDOW_END_H

#include "window_layer.h"

/* The end of the window of key, as timestamptz. */
extern Node *kv_window_end(const ViewWindow *window, Node *key);
/*
 * Compares the end of the window of key, plus lag_us, with a moment (timestamptz) by the operator of that name (">", "<="). key is
 * view->window->expr or whatever has its value. Null where the window is.
 */
extern Node *kv_window_compare_end(const ViewWindow *window, Node *key, const char *operator, Node *moment, int64 lag_us);

/*
 * SQL: the window in column attno of a relation, called t, has ended lag_us before parameter $param. An index on kv_window_index finds the rows.
 */
extern char *kv_window_ended(const ViewWindow *window, Oid relid, AttrNumber attno, int param, int64 lag_us);
/* The companion's column with the window: its keys come first. */
extern AttrNumber kv_window_state_attno(const ViewDef *view);
/* SQL: what to index by, the window being in a column of that name. */
extern char *kv_window_index(const ViewWindow *window, const char *column);

/*
 * Fills time_attno and output_delay_us of a view with emit = 'final': of the column that is named (event_time, or NULL), or that is the windows' end. Refuses
 * a name of anything but end or start of the windows.
 */
extern Refusal *kv_window_output_time(ViewDef *view, const char *event_time);

#endif							/* KV_WINDOW_END_H */
