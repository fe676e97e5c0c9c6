/*
 * closing_statements.h: the statements that close the windows of a view with emit = 'final'. Printing must have
 * begun (delta_query.h).
 */
#ifndef KV_CLOSING_STATEMENTS_H
#define KV_CLOSING_STATEMENTS_H

#include "group_statements.h"

/* Takes groups whose windows have closed out of the companion, and writes their rows. */
extern List *kv_closing_statements(GroupCompiler *groups);
/* CREATE INDEX statements (char *) by which these groups are found. */
extern List *kv_closing_indexes(ViewDef *view);

#endif							/* KV_CLOSING_STATEMENTS_H */
