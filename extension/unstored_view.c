/*
 * unstored_view.c: CREATE VIEW ... WITH (kafka.continuous), a continuous view
 * whose rows nobody keeps.
 *
 * Invariant: it is a plain view in every respect that Postgres knows of, so DROP, ALTER,
 * COMMENT, GRANT, dependencies and pg_dump need no help; that it is a continuous view
 * too is a row of kafka_state.view whose relation and definition are this one view.
 * As nobody can find a row again that is not stored, rows are only ever added:
 * what changes rows, an aggregate for one, is refused.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "parser/analyze.h"

#include "ddl.h"

static Query *analyse_query(ViewStmt *stmt, PlannedStmt *pstmt, const char *source_text);


/* Creates the view of a CREATE VIEW statement that has options of ours, and gives its oid. */
Oid
kv_create_unstored_view(ViewStmt *stmt, PlannedStmt *pstmt, const char *source_text)
{
	IntoClause *into = makeNode(IntoClause);

	if (stmt->withCheckOption != NO_CHECK_OPTION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot have a check option", stmt->view->relname),
				 errdetail("Nobody writes to it: its rows follow from its topics."),
				 errhint("Leave WITH CHECK OPTION out.")));
	into->rel = stmt->view;
	into->colNames = stmt->aliases;
	into->options = stmt->options;
	return kv_create_view(into, analyse_query(stmt, pstmt, source_text), source_text, false, false);
}

/* Analyses the query of the statement, with positions in the text of that. */
static Query *
analyse_query(ViewStmt *stmt, PlannedStmt *pstmt, const char *source_text)
{
	RawStmt    *raw = makeNode(RawStmt);
	Query	   *query;

	raw->stmt = copyObject(stmt->query);
	raw->stmt_location = pstmt->stmt_location;
	raw->stmt_len = pstmt->stmt_len;
	query = parse_analyze_fixedparams(raw, source_text, NULL, 0, NULL);
	if (query->commandType != CMD_SELECT || query->utilityStmt != NULL || query->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the query of continuous view \"%s\" must be a SELECT that changes nothing", stmt->view->relname)));
	return query;
}
