/* session_query.h: the query of a view with sessions in a form that runs. */
#ifndef KV_SESSION_QUERY_H
#define KV_SESSION_QUERY_H

#include "view_def.h"

/* Gives the view's rows as SQL over its inputs: kafka.session itself is a marker that cannot be run. Printing must have begun (delta_query.h). */
extern char *kv_session_query(const ViewDef *view);
/* The rows under its groups with the session of each, as a definition for a WITH list; an empty SELECT from them; and an expression over rows as one over them. */
extern char *kv_session_rows(const ViewDef *view);
extern Query *kv_session_select(const ViewDef *view);
extern Node *kv_session_expr(const ViewDef *view, Node *expr);

#endif							/* KV_SESSION_QUERY_H */
