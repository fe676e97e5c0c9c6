/*
 * session_statements.c: new rows and the sessions they belong to (DESIGN.md 2.3).
 *
 * A row can begin a session, extend one, or merge several, so the key of its group is known only when the rows of its group are looked at in their
 * order. The way of a batch, each step a capture:
 *	numbered	the new rows in processing order, by a number; the groups they belong to, sessions aside, by another
 *	near		the stored sessions that a new row can touch, by an index on the group and the session's end
 *	answers		what kafka_state.sessionize says: the session of each row, and what became of the stored ones
 *	assigned	the rows that are not late, with their sessions
 *	old			stored sessions that were extended or merged, taken out of the companion (and of the view)
 * Then partial aggregates of the assigned rows and states of the old sessions are merged by session and go into the
 * companion, and from there on sessions are groups like others. Where states cannot be merged the companion has but the number of a
 * session, and the values come from its rows, which session_rows.c keeps; then the numbers of rows go on from batch to batch.
 */
#include "session_statements.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"

#include "combine.h"
#include "delta_query.h"
#include "group_rows.h"
#include "normalize.h"
#include "note_times.h"
#include "session_rows.h"
#include "window_end.h"
#include "window_statements.h"

#define CAPTURE_NUMBERED "kv_numbered"
#define CAPTURE_NEAR "kv_near"
#define CAPTURE_ANSWERS "kv_answers"
#define CAPTURE_ASSIGNED "kv_assigned"
#define CAPTURE_OLD "kv_old"

/* Combinations of nulls in a key are spelled out for so many of its columns: each has an index probe of its own. */
#define NULL_PATTERN_COLUMNS 4

typedef struct SessionCompiler
{
	GroupCompiler *groups;
	ViewDef    *view;
	int			place;			/* of the session among the keys, from 0 */
	List	   *rest;			/* names of the numbered rows' columns with the other keys (char *), in their order */
	List	   *rest_types;		/* of Oid */
	char	   *at;				/* names of columns of the numbered rows */
	char	   *reached;
	char	   *time;
	char	   *session;		/* and of the assigned ones */
	char	   *row_place;
	char	   *number;
} SessionCompiler;

/* Columns of a capture. */
typedef struct Columns
{
	List	   *names;			/* of char * */
	List	   *types;			/* of Oid */
	List	   *collations;		/* of Oid */
} Columns;

static SessionCompiler *begin(GroupCompiler *groups);
static MaintenanceStatement *number_rows(SessionCompiler *sessions);
static MaintenanceStatement *find_near(SessionCompiler *sessions);
static char *near_sessions(SessionCompiler *sessions, const char *condition);
static List *key_conditions(SessionCompiler *sessions);
static MaintenanceStatement *answer(SessionCompiler *sessions);
static char *numbers_of_sessions(SessionCompiler *sessions, const char *answers);
static MaintenanceStatement *assign(SessionCompiler *sessions);
static MaintenanceStatement *take_old(SessionCompiler *sessions);
static MaintenanceStatement *delete_old(SessionCompiler *sessions, bool null_keys);
static MaintenanceStatement *upsert(SessionCompiler *sessions);
static Query *partial_query(SessionCompiler *sessions);
static Node *session_mutator(Node *node, SessionCompiler *sessions);
static char *old_states(SessionCompiler *sessions);
static List *stored_names(SessionCompiler *sessions);
static char *session_column(SessionCompiler *sessions);
static MaintenanceStatement *capture(const char *name, const Columns *columns, char *title, char *sql);
static void add_column(Columns *columns, const char *name, Oid type, Oid collation);

/* Compiles the statements; see session_statements.h. */
List *
kv_session_statements(GroupCompiler *groups)
{
	SessionCompiler *sessions = begin(groups);
	List	   *statements = list_make4(number_rows(sessions), find_near(sessions), answer(sessions),
										kv_window_count_captured(CAPTURE_ANSWERS, "late"));

	statements = lappend(statements, assign(sessions));
	statements = lappend(statements, take_old(sessions));
	if (!sessions->view->final)
	{
		statements = lappend(statements, delete_old(sessions, false));
		if (sessions->rest)
			statements = lappend(statements, delete_old(sessions, true));
	}
	statements = lappend(statements, upsert(sessions));
	if (sessions->view->keeps_rows)
	{
		AssignedRows assigned = {CAPTURE_ASSIGNED, sessions->row_place, sessions->number};

		statements = list_concat(statements, kv_session_rows_statements(groups, &assigned, CAPTURE_ANSWERS, "stored_number", "session_number"));
	}
	return statements;
}

/* Names the columns. */
static SessionCompiler *
begin(GroupCompiler *groups)
{
	SessionCompiler *sessions = palloc0(sizeof(SessionCompiler));
	List	   *taken = kv_group_rows_columns(groups->view);
	int			before_time = list_length(taken) - 3;
	ListCell   *cell;

	sessions->groups = groups;
	sessions->view = groups->view;
	sessions->place = kv_window_state_attno(groups->view) - 1;
	sessions->reached = list_nth(taken, before_time);
	sessions->time = llast(taken);
	sessions->at = kv_unique_name("kv_at", taken);
	sessions->session = kv_unique_name("kv_session", taken);
	sessions->row_place = kv_unique_name("kv_place", taken);
	sessions->number = kv_unique_name("kv_session_number", taken);
	taken = list_concat_copy(taken, list_make4(sessions->at, sessions->session, sessions->row_place, sessions->number));
	foreach(cell, groups->key_exprs)
	{
		if (foreach_current_index(cell) == sessions->place)
			continue;
		sessions->rest = lappend(sessions->rest, kv_unique_name(psprintf("kv_key_%d", foreach_current_index(cell) + 1), taken));
		sessions->rest_types = lappend_oid(sessions->rest_types, exprType(lfirst(cell)));
		taken = lappend(taken, llast(sessions->rest));
	}
	return sessions;
}

/* Numbers the new rows in processing order, and their groups; computes the keys and the time of each row. */
static MaintenanceStatement *
number_rows(SessionCompiler *sessions)
{
	ViewDef    *view = sessions->view;
	List	   *names = kv_group_rows_columns(view);
	Query	   *query = kv_delta_select_from(KV_CAPTURE_ROWS, names);
	TupleDesc	rows = kv_group_rows_desc(view);
	const char *order = quote_identifier(list_nth(names, list_length(names) - 2));
	Columns		columns = {NIL};
	int			rest = 0;
	char	   *sql;
	MaintenanceStatement *statement;
	ListCell   *cell;

	for (int i = 0; i < rows->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(rows, i);
		Var		   *var = makeVar(1, i + 1, column->atttypid, column->atttypmod, column->attcollation, 0);

		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) var, i + 1, list_nth(names, i), false));
		add_column(&columns, list_nth(names, i), column->atttypid, column->attcollation);
	}
	foreach(cell, sessions->groups->key_exprs)
	{
		bool		is_session = foreach_current_index(cell) == sessions->place;
		Node	   *expr = is_session ? linitial(castNode(FuncExpr, lfirst(cell))->args) : lfirst(cell);
		char	   *name = is_session ? sessions->at : list_nth(sessions->rest, rest++);

		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) copyObject(expr), list_length(query->targetList) + 1, name, false));
		add_column(&columns, name, exprType(expr), exprCollation(expr));
	}
	sql = psprintf("SELECT %s,\n    %srow_number() OVER (ORDER BY %s, %s) AS kv_number,\n    %s AS kv_group\n   FROM (%s) AS made",
				   kv_statement_columns(columns.names, ""), view->keeps_rows ? psprintf("%s + ", kv_session_rows_last(view)) : "",
				   order, quote_identifier(sessions->at),
				   sessions->rest ? psprintf("dense_rank() OVER (ORDER BY %s)", kv_statement_columns(sessions->rest, "")) : "1::bigint",
				   kv_delta_print(query));
	add_column(&columns, "kv_number", INT8OID, InvalidOid);
	add_column(&columns, "kv_group", INT8OID, InvalidOid);
	statement = capture(CAPTURE_NUMBERED, &columns, "number the new rows", sql);
	statement->reads = KV_CAPTURE_ROWS;
	statement->deltas_only = !view->keeps_rows;
	return statement;
}

/* Finds the stored sessions that new rows can touch. */
static MaintenanceStatement *
find_near(SessionCompiler *sessions)
{
	Columns		columns = {NIL};
	StringInfoData probes;
	MaintenanceStatement *statement;
	ListCell   *cell;

	add_column(&columns, "kv_group", INT8OID, InvalidOid);
	add_column(&columns, "session", TSTZRANGEOID, InvalidOid);
	add_column(&columns, "kv_tid", TIDOID, InvalidOid);
	if (sessions->view->keeps_rows)
		add_column(&columns, "kv_session_number", INT8OID, InvalidOid);
	initStringInfo(&probes);
	foreach(cell, key_conditions(sessions))
		appendStringInfo(&probes, "%s%s", probes.len > 0 ? "\n        UNION ALL\n         " : "", near_sessions(sessions, lfirst(cell)));
	statement = capture(CAPTURE_NEAR, &columns, "find sessions near the new rows",
						psprintf("SELECT DISTINCT n.kv_group, g.*\n   FROM " CAPTURE_NUMBERED " AS n,\n    LATERAL (%s) AS g", probes.data));
	statement->reads = CAPTURE_NUMBERED;
	return statement;
}

/*
 * Gives the sessions of a row's group (condition) within the gap of the row n. Sessions that never close lie apart, so behind those that end within the gap of
 * the row only the next one can hold it. Of those that close, the open ones are few.
 */
static char *
near_sessions(SessionCompiler *sessions, const char *condition)
{
	ViewDef    *view = sessions->view;
	ViewWindow *window = view->window;
	const char *at = psprintf("n.%s", quote_identifier(sessions->at));
	const char *gap = kv_delta_interval(window->length_us);
	const char *column = session_column(sessions);
	const char *number = !view->keeps_rows ? "" : psprintf(", x.%s AS kv_session_number", quote_identifier(llast(stored_names(sessions))));
	const char *select = psprintf("SELECT x.%s AS session, x.ctid AS kv_tid%s FROM %s AS x WHERE %s%s", column, number, view->groups_name, condition,
								  condition[0] ? " AND " : "");

	if (view->window_closes)
		return psprintf("%supper(x.%s) >= (%s - %s) AND upper(x.%s) > ($1 - %s) AND lower(x.%s) <= (%s + %s)", select,
						column, at, gap, column, kv_delta_interval(window->length_us + view->window_grace_us + window->delay_us), column, at, gap);
	return psprintf("(%supper(x.%s) >= (%s - %s) AND upper(x.%s) <= (%s + %s))\n        UNION ALL\n"
					"         (SELECT later.* FROM (%supper(x.%s) > (%s + %s) ORDER BY upper(x.%s) LIMIT 1) AS later WHERE lower(later.session) <= (%s + %s))",
					select, column, at, gap, column, at, gap,
					select, column, at, gap, column, at, gap);
}

/* Gives the conditions (char *) by which a stored session x is of the group of a row n: one for each combination of nulls in the key. */
static List *
key_conditions(SessionCompiler *sessions)
{
	int			nrest = list_length(sessions->rest);
	int			nspelled = Min(nrest, NULL_PATTERN_COLUMNS);
	List	   *stored = list_copy_head(stored_names(sessions), list_length(sessions->groups->key_names));
	List	   *conditions = NIL;

	stored = list_delete_nth_cell(stored, sessions->place);
	for (int nulls = 0; nulls < 1 << nspelled; nulls++)
	{
		StringInfoData sql;

		initStringInfo(&sql);
		for (int i = 0; i < nrest; i++)
		{
			const char *x = psprintf("x.%s", quote_identifier(list_nth(stored, i)));
			const char *n = psprintf("n.%s", quote_identifier(list_nth(sessions->rest, i)));
			const char *equal = psprintf("%s %s %s", x, kv_statement_equality(list_nth_oid(sessions->rest_types, i)), n);

			appendStringInfoString(&sql, i > 0 ? " AND " : "");
			if (i >= nspelled)
				appendStringInfo(&sql, "(%s OR %s IS NULL AND %s IS NULL)", equal, x, n);
			else if (nulls & 1 << i)
				appendStringInfo(&sql, "%s IS NULL AND %s IS NULL", x, n);
			else
				appendStringInfoString(&sql, equal);
		}
		conditions = lappend(conditions, sql.data);
	}
	return conditions;
}

/* Asks for the session of every row, and for what the stored sessions have become. */
static MaintenanceStatement *
answer(SessionCompiler *sessions)
{
	ViewDef    *view = sessions->view;
	char	   *sql = psprintf("SELECT a.kv_group, (a.answer).kv_row AS kv_number, (a.answer).stored, (a.answer).session, (a.answer).late, n.kv_tid\n"
							   "   FROM (SELECT r.kv_group, unnest(kafka_state.sessionize(s.stored, r.kv_number, r.%s, r.%s, %s, %s ORDER BY r.kv_number)) AS answer\n"
							   "           FROM " CAPTURE_NUMBERED " AS r\n"
							   "             LEFT JOIN (SELECT kv_group, array_agg(session) AS stored FROM " CAPTURE_NEAR " GROUP BY kv_group) AS s ON s.kv_group = r.kv_group\n"
							   "          GROUP BY r.kv_group) AS a\n"
							   "     LEFT JOIN " CAPTURE_NEAR " AS n ON n.kv_group = a.kv_group AND n.session = (a.answer).stored",
							   quote_identifier(sessions->at), quote_identifier(sessions->reached), kv_delta_interval(view->window->length_us),
							   view->window_closes ? kv_delta_interval(view->window_grace_us) : "NULL::interval");
	Columns		columns = {NIL};
	MaintenanceStatement *statement;

	add_column(&columns, "kv_group", INT8OID, InvalidOid);
	add_column(&columns, "kv_number", INT8OID, InvalidOid);
	add_column(&columns, "stored", TSTZRANGEOID, InvalidOid);
	add_column(&columns, "session", TSTZRANGEOID, InvalidOid);
	add_column(&columns, "late", BOOLOID, InvalidOid);
	add_column(&columns, "kv_tid", TIDOID, InvalidOid);
	if (view->keeps_rows)
	{
		sql = numbers_of_sessions(sessions, sql);
		add_column(&columns, "stored_number", INT8OID, InvalidOid);
		add_column(&columns, "session_number", INT8OID, InvalidOid);
	}
	statement = capture(CAPTURE_ANSWERS, &columns, "put the new rows into sessions", sql);
	statement->reads = CAPTURE_NUMBERED;
	statement->reads_also = CAPTURE_NEAR;
	statement->deltas_only = true;
	return statement;
}

/*
 * Adds to every answer the number of the stored session it speaks of (null: of none) and the number the session has now, which is the least of
 * those that became part of it. A stored session that only gets rows has no answer of its own: it is that of its rows.
 */
static char *
numbers_of_sessions(SessionCompiler *sessions, const char *answers)
{
	return psprintf("SELECT a.*, n.kv_session_number AS stored_number,\n    LEAST(min(n.kv_session_number) OVER same, min(a.kv_number) OVER same) AS session_number\n"
					"   FROM (%s) AS a\n     LEFT JOIN " CAPTURE_NEAR " AS n ON n.kv_group = a.kv_group AND n.session = COALESCE(a.stored, a.session)\n"
					"  WINDOW same AS (PARTITION BY a.kv_group, a.session)", answers);
}

/* Gives the rows that are not late their sessions. */
static MaintenanceStatement *
assign(SessionCompiler *sessions)
{
	ViewDef    *view = sessions->view;
	TupleDesc	rows = kv_group_rows_desc(view);
	const char *number = view->keeps_rows ? psprintf(", a.session_number AS %s", quote_identifier(sessions->number)) : "";
	Columns		columns = {NIL};
	char	   *sql = psprintf("SELECT %s, r.kv_number AS %s, r.%s, a.session AS %s%s\n   FROM " CAPTURE_ANSWERS " AS a\n     JOIN " CAPTURE_NUMBERED " AS r ON r.kv_number = a.kv_number\n"
							   "  WHERE a.session IS NOT NULL",
							   kv_statement_columns(view->row_names, "r."), quote_identifier(sessions->row_place), quote_identifier(sessions->time),
							   quote_identifier(sessions->session), number);
	MaintenanceStatement *statement;

	for (int i = 0; i < list_length(view->row_names); i++)
		add_column(&columns, list_nth(view->row_names, i), TupleDescAttr(rows, i)->atttypid, TupleDescAttr(rows, i)->attcollation);
	add_column(&columns, sessions->row_place, INT8OID, InvalidOid);
	add_column(&columns, sessions->time, TIMESTAMPTZOID, InvalidOid);
	add_column(&columns, sessions->session, TSTZRANGEOID, InvalidOid);
	if (view->keeps_rows)
		add_column(&columns, sessions->number, INT8OID, InvalidOid);
	statement = capture(CAPTURE_ASSIGNED, &columns, "take the rows that are not late", sql);
	statement->reads = CAPTURE_ANSWERS;
	statement->reads_also = CAPTURE_NUMBERED;
	statement->deltas_only = true;
	return statement;
}

/* Takes sessions that have become others out of the companion. */
static MaintenanceStatement *
take_old(SessionCompiler *sessions)
{
	GroupCompiler *groups = sessions->groups;
	Columns		columns = {NIL};
	char	   *sql = psprintf("DELETE FROM %s AS t\n  USING " CAPTURE_ANSWERS " AS a\n  WHERE a.stored IS NOT NULL AND t.ctid = a.kv_tid\nRETURNING %s, a.session",
							   sessions->view->groups_name, kv_statement_columns(stored_names(sessions), "t."));
	MaintenanceStatement *statement;
	ListCell   *cell;

	foreach(cell, groups->key_exprs)
		add_column(&columns, list_nth(groups->key_names, foreach_current_index(cell)), exprType(lfirst(cell)), exprCollation(lfirst(cell)));
	foreach(cell, groups->columns)
	{
		StateColumn *column = lfirst(cell);

		add_column(&columns, column->name, column->type, column->collation);
	}
	add_column(&columns, kv_unique_name("kv_session", columns.names), TSTZRANGEOID, InvalidOid);
	statement = capture(CAPTURE_OLD, &columns, "take out sessions that were extended or merged", sql);
	statement->reads = CAPTURE_ANSWERS;
	return statement;
}

/* Deletes their rows from the view; those with a null in their key by a statement of their own, as in group_statements.c. */
static MaintenanceStatement *
delete_old(SessionCompiler *sessions, bool null_keys)
{
	GroupCompiler *groups = sessions->groups;
	ViewDef    *view = sessions->view;
	List	   *types = NIL;
	List	   *nullable = NIL;
	char	   *sql;
	MaintenanceStatement *statement;
	ListCell   *cell;

	foreach(cell, groups->key_exprs)
	{
		types = lappend_oid(types, exprType(lfirst(cell)));
		nullable = lappend_int(nullable, false);
	}
	if (null_keys)
		sql = psprintf("DELETE FROM %s AS t\n  USING " CAPTURE_OLD " AS old,\n    LATERAL (%s) AS found\n  WHERE t.ctid = found.ctid AND num_nulls(%s) > 0", view->name,
					   kv_statement_find_with_nulls(view->name, groups->key_names, "old", types), kv_statement_columns(groups->key_names, "old."));
	else
		sql = psprintf("DELETE FROM %s AS t\n  USING " CAPTURE_OLD " AS old\n  WHERE %s", view->name,
					   kv_statement_match("t", groups->key_names, "old", groups->key_names, types, nullable));
	statement = kv_statement(PHASE_COMPUTE, null_keys ? "delete the rows of these sessions that have a null key" : "delete the rows of these sessions", sql, -1);
	statement->reads = CAPTURE_OLD;
	kv_statement_return_rows(view, statement, true);
	return statement;
}

/* Merges partial aggregates of the rows and states of old sessions, and combines them with the sessions that stand. */
static MaintenanceStatement *
upsert(SessionCompiler *sessions)
{
	GroupCompiler *groups = sessions->groups;
	ViewDef    *view = sessions->view;
	List	   *stored = stored_names(sessions);
	int			nkeys = list_length(groups->key_names);
	List	   *keys = list_copy_head(stored, nkeys);
	StringInfoData sql;
	MaintenanceStatement *statement;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\nSELECT %s", view->groups_name, kv_statement_columns(stored, ""), kv_statement_columns(keys, ""));
	foreach(cell, groups->columns)
		appendStringInfo(&sql, ", %s", kv_combine_merge(lfirst(cell), quote_identifier(list_nth(stored, nkeys + foreach_current_index(cell)))));
	appendStringInfo(&sql, "\n   FROM ((%s)\n        UNION ALL\n         %s) AS parts (%s)\n  GROUP BY %s\n  ORDER BY %s\nON CONFLICT (%s) DO UPDATE SET ",
					 kv_delta_print(partial_query(sessions)), old_states(sessions), kv_statement_columns(stored, ""),
					 kv_statement_columns(keys, ""), kv_statement_columns(keys, ""), kv_statement_columns(keys, ""));
	foreach(cell, groups->columns)
		appendStringInfo(&sql, "%s%s = %s", foreach_current_index(cell) > 0 ? ", " : "",
						 quote_identifier(list_nth(stored, nkeys + foreach_current_index(cell))),
						 kv_combine_partial(groups->columns, foreach_current_index(cell), list_copy_tail(stored, nkeys), "excluded"));
	/* a session is given back only if it is written */
	if (groups->columns == NIL)
		appendStringInfo(&sql, "%s = t.%s", quote_identifier(linitial(keys)), quote_identifier(linitial(keys)));
	if (!view->final || view->keeps_rows)
		appendStringInfo(&sql, "\nRETURNING %s", kv_statement_columns(stored, "t."));

	statement = kv_statement(PHASE_COMPUTE, view->keeps_rows ? "put the sessions that stand into the companion" : "combine aggregates of new rows and old sessions",
							 sql.data, -1);
	statement->reads = CAPTURE_ASSIGNED;
	statement->reads_also = CAPTURE_OLD;
	if (!view->final || view->keeps_rows)
		kv_group_state_capture(groups, statement);
	if (view->keeps_rows)
		statement->captures = KV_CAPTURE_SESSIONS;
	return statement;
}

/* Aggregates the assigned rows by key, and notes the groups' event times. */
static Query *
partial_query(SessionCompiler *sessions)
{
	GroupCompiler *groups = sessions->groups;
	ViewDef    *view = sessions->view;
	Query	   *query = kv_delta_select_from(CAPTURE_ASSIGNED, list_concat_copy(view->row_names, list_make3(sessions->row_place, sessions->time, sessions->session)));
	Var		   *time = makeVar(1, list_length(view->row_names) + 2, TIMESTAMPTZOID, -1, InvalidOid, 0);
	ListCell   *cell;

	foreach(cell, view->groups->groupClause)
	{
		TargetEntry *target = copyObject(get_sortgroupclause_tle(lfirst(cell), view->groups->targetList));

		target->resno = list_length(query->targetList) + 1;
		target->resname = list_nth(groups->key_names, target->resno - 1);
		target->expr = (Expr *) session_mutator((Node *) target->expr, sessions);
		query->targetList = lappend(query->targetList, target);
	}
	foreach(cell, groups->columns)
	{
		StateColumn *column = lfirst(cell);

		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) copyObject(column->partial),
																	   list_length(query->targetList) + 1, column->name, false));
	}
	query->groupClause = copyObject(view->groups->groupClause);
	query->hasAggs = groups->columns != NIL;
	if (!view->final)
		kv_note_group_times(query, (Node *) time);
	return query;
}

/* Exchanges the marker for the column with the session. */
static Node *
session_mutator(Node *node, SessionCompiler *sessions)
{
	if (node == NULL)
		return NULL;
	if (equal(node, list_nth(sessions->groups->key_exprs, sessions->place)))
		return (Node *) makeVar(1, list_length(sessions->view->row_names) + 3, TSTZRANGEOID, -1, InvalidOid, 0);
	return expression_tree_mutator(node, session_mutator, sessions);
}

/* Gives the states of old sessions under what these have become. */
static char *
old_states(SessionCompiler *sessions)
{
	GroupCompiler *groups = sessions->groups;
	List	   *names = list_copy(groups->key_names);
	char	   *session;
	ListCell   *cell;

	foreach(cell, groups->columns)
		names = lappend(names, ((StateColumn *) lfirst(cell))->name);
	session = kv_unique_name("kv_session", names);
	lfirst(list_nth_cell(names, sessions->place)) = session;
	return psprintf("SELECT %s FROM " CAPTURE_OLD, kv_statement_columns(names, ""));
}

/* Gives the names of the companion's columns: keys, then state. */
static List *
stored_names(SessionCompiler *sessions)
{
	return kv_statement_relation_columns(kv_delta_table(sessions->view->groups_name),
										 list_length(sessions->groups->key_names) + list_length(sessions->groups->columns));
}

/* Gives the name of the companion's column with the session, quoted. */
static char *
session_column(SessionCompiler *sessions)
{
	return pstrdup(quote_identifier(list_nth(stored_names(sessions), sessions->place)));
}

/* Makes a statement whose result is captured. */
static MaintenanceStatement *
capture(const char *name, const Columns *columns, char *title, char *sql)
{
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, title, sql, -1);

	statement->captures = pstrdup(name);
	statement->capture_desc = CreateTemplateTupleDesc(list_length(columns->names));
	for (int i = 0; i < list_length(columns->names); i++)
	{
		TupleDescInitEntry(statement->capture_desc, i + 1, list_nth(columns->names, i), list_nth_oid(columns->types, i), -1, 0);
		TupleDescInitEntryCollation(statement->capture_desc, i + 1, list_nth_oid(columns->collations, i));
	}
	return statement;
}

static void
add_column(Columns *columns, const char *name, Oid type, Oid collation)
{
	columns->names = lappend(columns->names, pstrdup(name));
	columns->types = lappend_oid(columns->types, type);
	columns->collations = lappend_oid(columns->collations, collation);
}

/* Indexes the companion by group and end of the session; see session_statements.h. */
List *
kv_session_indexes(ViewDef *view)
{
	StringInfoData columns;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, view->keys)
		if (lfirst_int(cell) != view->window->key)
			appendStringInfo(&columns, "%s, ", quote_identifier(get_attname(view->relid, lfirst_int(cell), false)));
	return list_make1(psprintf("CREATE INDEX ON %s (%s%s)", view->groups_name, columns.data,
							   kv_window_index(view->window, get_attname(view->relid, view->window->key, false))));
}
