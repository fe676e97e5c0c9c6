/*
 * closing_statements.h: the statements that close the windows of a view with emit = 'final', or of one that keeps the rows of sessions. Printing must have
 * begun (delta_query.h).
 */
#ifndef KV_CLOSING_STATEMENTS_H
#define KV_CLOSING_STATEMENTS_H

#include "group_statements.h"

/* Does it have such statements? */
static inline bool
kv_closing_needed(const ViewDef *view)
{
	return view->final || (view->keeps_rows && view->window_closes);
}

/* Takes groups whose windows have closed out of the companion, and writes their rows, of emit = 'final'. */
extern List *kv_closing_statements(GroupCompiler *groups);
/* CREATE INDEX statements (char *) by which these groups are found. */
extern List *kv_closing_indexes(ViewDef *view);

#endif							/* KV_CLOSING_STATEMENTS_H */
