/* tied_rows.h: the query of a view where rows with the same sort count as equal, for kafka.verify. */
#ifndef KV_TIED_ROWS_H
#define KV_TIED_ROWS_H

#include "nodes/bitmapset.h"
#include "view_def.h"

/*
 * Gives SQL for a WITH list that defines must_be (columns, one for every result column that is not left out) of the queries q and v, which
 * have the same columns: the view's query and the view. Where one of the rows that come first in the same place gives what v has, so does
 * must_be. NULL: there are no such rows, q is it. Of DISTINCT ON, q is not asked for; condition (" WHERE ..." or "") is on its rows, called t.
 */
extern char *kv_tied_rows(ViewDef *view, Bitmapset *left_out, const char *condition);
/* A result column as it is compared: as text where its type has no equality (json, for one). */
extern char *kv_tied_column(const char *name, Oid type);

#endif							/* KV_TIED_ROWS_H */
