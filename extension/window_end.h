/*
 * window_end.h: when a window ends, as expressions over its key.
 */
#ifndef KV_WINDOW_END_H
#define KV_WINDOW_END_H

#include "window_layer.h"

/*
 * Compares the end of the window of key, plus lag_us, with a moment (timestamptz) by the operator of that name (">", "<="). key is
 * view->window->expr or whatever has its value. Null where the window is.
 */
extern Node *kv_window_compare_end(const ViewWindow *window, Node *key, const char *operator, Node *moment, int64 lag_us);

#endif							/* KV_WINDOW_END_H */
