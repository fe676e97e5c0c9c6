/* closed_query.h: the query of a view as far as time has closed: what the view has, or has given. */
#ifndef KV_CLOSED_QUERY_H
#define KV_CLOSED_QUERY_H

#include "view_def.h"

/*
 * Gives the view's query over its inputs without the rows that it will have but time has not closed yet, by its frontier of now, as
 * SQL. NULL: it has no such rows, the definition is the query. In a transaction that holds the pipeline's row.
 */
extern char *kv_closed_query(ViewDef *view);
/* Gives the rows under its groups in the same way, as definitions for a WITH list, the last of which is rows. Printing must have begun (delta_query.h). */
extern char *kv_closed_rows(ViewDef *view);

#endif							/* KV_CLOSED_QUERY_H */
