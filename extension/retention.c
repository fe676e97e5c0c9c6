/*
 * retention.c: rows of a view that are removed because they are old (DESIGN.md 1.3, 2.3).
 *
 * The time of a row is the end of its window, or the event time of an append-only view. It is removed by the batch that
 * moves the frontier to its time + retention, by an index, so that removing costs what goes. No sink is told: it keeps what it got. Views over a
 * keyed view are: to them the row is deleted, so that they stay equal to their queries, which do not find it any more; those over an
 * append-only view keep what they made of it, because what a stream has said is not taken back. Invariant: what was removed does not come again, and no row is both removed and in time, because a row
 * that would be too old already is late: of windows by grace, which is no longer than retention; of a stream's rows by the stream time of their
 * partition; a join finds no row so old, because retention is longer than it may look back.
 */
#include "retention.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "closing_statements.h"
#include "delta_query.h"
#include "distinct_values.h"
#include "output_time.h"
#include "window_end.h"
#include "window_statements.h"

static Refusal *check_windows(ViewDef *view);
static Refusal *check_joins(ViewDef *view);
static char *interval_text(int64 us);
static Node *as_absolute(Node *time);
static Node *in_utc(Oid function, Oid type, Node *time);
static MaintenanceStatement *remove_expired(const char *table, const char *title, const char *expired);

/* Fills in the retention; see retention.h. */
Refusal *
kv_retention(ViewDef *view, const ContinuousOptions *options)
{
	view->retention_us = options->retention_us;
	if (view->retention_us < 0)
		return NULL;
	if (view->groups || view->shape == SHAPE_KEYED)
		return check_windows(view);
	if (view->time_attno == 0)
		return kv_refusal(-1, "continuous view \"%s\" cannot have the option kafka.retention",
						  "None of its columns is the event time of its inputs, or several are, so nothing tells how old a row is.",
						  "Select the event-time column, or name the column that carries the time with kafka.event_time.");
	return check_joins(view);
}

/* Checks a view whose rows have a key: one of the keys must be a window. */
static Refusal *
check_windows(ViewDef *view)
{
	if (view->window == NULL)
		return kv_refusal(-1, "continuous view \"%s\" cannot have the option kafka.retention",
						  "No part of its key is a window of event time, so nothing tells how old a row is.",
						  "Leave the option out, or group by a window, for example kafka.tumble(event time, '1 hour').");
	if (view->window_grace_us > view->retention_us)
		return kv_refusal(-1, "continuous view \"%s\" cannot have a kafka.retention shorter than its kafka.grace",
						  "Rows would be removed while rows that are not late still change them.",
						  "Make kafka.retention at least as long as kafka.grace.");
	return NULL;
}

/* Checks that retention is longer than a join may look back, and that its rows have the time of an input. */
static Refusal *
check_joins(ViewDef *view)
{
	for (int i = 0; i < view->narms; i++)
	{
		ViewArm    *arm = &view->arms[i];
		TargetEntry *time = get_tle_by_resno(arm->query->targetList, view->time_attno);
		int64		least = 0;
		int			input;

		if (arm->ndriving < 2)
			continue;
		if (!kv_is_event_time(arm, (Node *) time->expr, &input))
			return kv_refusal(exprLocation((Node *) time->expr), psprintf("continuous view \"%%s\" cannot measure kafka.retention by \"%s\"", time->resname),
							  "It is not the event time of a stream that is joined, so a row may be too old when it is found.",
							  "Name the event time of one of the streams, or greatest() of all, with kafka.event_time.");
		for (int j = 0; j < arm->ninputs; j++)
			if (kv_input_drives(&arm->inputs[j]))
				least = Max(least, Max(arm->inputs[j].lateness_us, arm->inputs[j].retain_us));
		if (view->retention_us < least)
			return kv_refusal(-1, "continuous view \"%s\" has a kafka.retention shorter than its join looks back",
							  psprintf("By its time bounds and grace it may find a row that is %s old.", interval_text(least)),
							  psprintf("Make kafka.retention at least %s.", interval_text(least)));
	}
	return NULL;
}

/* Gives an interval for people, whatever their IntervalStyle. */
static char *
interval_text(int64 us)
{
	int			nest = kv_delta_begin_printing();
	char	   *text = DatumGetCString(DirectFunctionCall1(interval_out, ((Const *) kv_delta_interval_constant(us))->constvalue));

	AtEOXact_GUC(true, nest);
	return text;
}

/* Can rows be late? See retention.h. */
bool
kv_retention_can_be_late(ViewDef *view, int driver)
{
	return view->retention_us >= 0 && !view->groups && kv_input_arm(view, driver)->ndriving == 1;
}

/* Tells late rows from others; see retention.h. Where the time may be null, a row without one is never late. */
Node *
kv_retention_lateness(ViewDef *view, int driver, bool late)
{
	ViewArm    *arm = kv_input_arm(view, driver);
	Node	   *time = (Node *) get_tle_by_resno(arm->query->targetList, view->time_attno)->expr;
	int64		lag_us = view->retention_us;
	Node	   *reached = kv_window_reached(view, driver, view->output_delay_us, &lag_us);
	BooleanTest *test;
	int			input;

	reached = kv_delta_operate("-", reached, kv_delta_interval_constant(lag_us));
	if (late || kv_is_event_time(arm, time, &input))
		return kv_delta_operate(late ? "<=" : ">", as_absolute(copyObject(time)), reached);
	test = makeNode(BooleanTest);
	test->arg = (Expr *) kv_delta_operate("<=", as_absolute(copyObject(time)), reached);
	test->booltesttype = IS_NOT_TRUE;
	test->location = -1;
	return (Node *) test;
}

/* Gives a time without zone as the engine takes it: as UTC. */
static Node *
as_absolute(Node *time)
{
	return exprType(time) == TIMESTAMPOID ? in_utc(F_TIMEZONE_TEXT_TIMESTAMP, TIMESTAMPTZOID, time) : time;
}

static Node *
in_utc(Oid function, Oid type, Node *time)
{
	Node	   *utc = (Node *) makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum("UTC"), false, false);

	return (Node *) makeFuncExpr(function, type, list_make2(utc, time), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* Counts them; see retention.h. */
MaintenanceStatement *
kv_retention_count_late(ViewDef *view, int driver)
{
	return kv_window_count(view, driver, kv_retention_lateness(view, driver, true),
						   psprintf("count rows of %s that are too old to be kept", get_rel_name(view->inputs[driver].relid)));
}

/* Compiles the removal; see retention.h. */
List *
kv_retention_statements(ViewDef *view)
{
	MaintenanceStatement *removal;
	List	   *statements;

	if (view->retention_us < 0)
		return NIL;
	removal = remove_expired(view->name, "remove rows that are too old", kv_retention_expired(view, view->relid, kv_retention_attno(view), 2));
	if (view->shape == SHAPE_KEYED)
		kv_statement_return_rows(view, removal, true);
	statements = list_make1(removal);
	if (view->groups_name && !kv_closing_needed(view))
	{
		ListCell   *cell;

		statements = lappend(statements, remove_expired(view->groups_name, "remove their groups",
														kv_retention_expired(view, kv_delta_table(view->groups_name), kv_window_state_attno(view), 2)));
		foreach(cell, kv_distinct_table_names(view))
			statements = lappend(statements, remove_expired(lfirst(cell), "remove the values they have had",
															kv_retention_expired(view, kv_delta_table(lfirst(cell)), kv_window_state_attno(view), 2)));
	}
	return statements;
}

static MaintenanceStatement *
remove_expired(const char *table, const char *title, const char *expired)
{
	MaintenanceStatement *statement = kv_statement(PHASE_CLOSE, pstrdup(title), psprintf("DELETE FROM %s AS t\n  WHERE %s", table, expired), -1);

	statement->silent = true;
	return statement;
}

AttrNumber
kv_retention_attno(ViewDef *view)
{
	return view->window ? view->window->key : view->time_attno;
}

/* Tells rows that are too old; see retention.h. */
char *
kv_retention_expired(ViewDef *view, Oid relid, AttrNumber attno, int param)
{
	Node	   *time;
	Node	   *bound;

	if (view->window)
		return kv_window_ended(view->window, relid, attno, param, view->retention_us + view->window->delay_us);
	time = (Node *) makeVar(1, attno, get_atttype(relid, attno), -1, InvalidOid, 0);
	bound = kv_delta_operate("-", kv_delta_frontier(param), kv_delta_interval_constant(view->retention_us + view->output_delay_us));
	if (exprType(time) == TIMESTAMPOID)
		bound = in_utc(F_TIMEZONE_TEXT_TIMESTAMPTZ, TIMESTAMPOID, bound);
	return deparse_expression(kv_delta_operate("<=", time, bound), deparse_context_for("t", relid), true, false);
}

/* Gives what to index; see retention.h. */
char *
kv_retention_index(ViewDef *view)
{
	AttrNumber	attno = kv_retention_attno(view);
	const char *name = NameStr(TupleDescAttr(view->result, attno - 1)->attname);

	if (!view->window)
		return pstrdup(quote_identifier(name));
	if (linitial_int(view->keys) == attno && view->window->kind != WINDOW_RANGE && view->window->kind != WINDOW_SESSION)
		return NULL;
	return kv_window_index(view->window, name);
}
