/*
 * session_statements.h: the statements that put new rows into sessions. Printing must have begun
 * (delta_query.h).
 */
#ifndef KV_SESSION_STATEMENTS_H
#define KV_SESSION_STATEMENTS_H

#include "group_statements.h"

/* Takes the captured rows (group_rows.h) into the sessions of the companion; captures those they touch as groups. */
extern List *kv_session_statements(GroupCompiler *groups);
/* CREATE INDEX statements (char *) by which sessions near a row are found. */
extern List *kv_session_indexes(ViewDef *view);

#endif							/* KV_SESSION_STATEMENTS_H */
