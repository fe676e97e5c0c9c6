/*
 * session_rows.h: the rows of open sessions, where what is made of them cannot be merged. Printing must have begun
 * (delta_query.h).
 */
#ifndef KV_SESSION_ROWS_H
#define KV_SESSION_ROWS_H

#include "group_state.h"

/* Capture of the sessions that new rows touch: their keys, and their number. */
#define KV_CAPTURE_SESSIONS "kv_sessions"

/* Rows that have a session and, behind the row columns, these: their place in processing order, the event time, the session, its number. */
typedef struct AssignedRows
{
	const char *capture;
	char	   *place;			/* names */
	char	   *number;
} AssignedRows;

/*
 * Keeps the assigned rows under the number of their session, moves those of sessions that have become part of another one, whose old and new
 * numbers are in two columns of a capture, and computes the touched sessions as KV_CAPTURE_GROUPS.
 */
extern List *kv_session_rows_statements(GroupCompiler *groups, const AssignedRows *assigned, const char *moves, const char *from, const char *to);
/* Computes sessions from their rows; captured has their keys and numbers. */
extern MaintenanceStatement *kv_session_rows_compute(GroupCompiler *groups, StatementPhase phase, const char *captured);
/* Deletes the rows of captured sessions, which have closed. */
extern MaintenanceStatement *kv_session_rows_forget(GroupCompiler *groups, const char *captured);
/* SQL: the greatest place of a row so far, 0 without one. */
extern char *kv_session_rows_last(const ViewDef *view);
/* CREATE statements (char *) for their table. */
extern List *kv_session_rows_tables(const ViewDef *view);

#endif							/* KV_SESSION_ROWS_H */
