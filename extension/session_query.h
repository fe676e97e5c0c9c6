/* session_query.h: the query of a view with sessions in a form that runs. */
#ifndef KV_SESSION_QUERY_H
#define KV_SESSION_QUERY_H

#include "view_def.h"

/* Gives the view's rows as SQL over its inputs: kafka.session itself is a marker that cannot be run. Printing must have begun (delta_query.h). */
extern char *kv_session_query(const ViewDef *view);

#endif							/* KV_SESSION_QUERY_H */
