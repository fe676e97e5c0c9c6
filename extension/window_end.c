/*
 * window_end.c: when a window ends, as an expression over the key that is the window.
 *
 * A row is late for a window, a window closes, and a result expires by one comparison, so that no row is both
 * late and in time. Where a window's length is fixed it is taken from the moment and not added to the key, so that an index on the
 * key answers the question.
 *
 * Of the calendar: the end is the key's local time cut to the unit, one unit later, and back in absolute time. So a day
 * has 23 to 25 hours, and a day that begins at 1 o'clock, because the clock left out its first hour, ends at midnight.
 */
#include "window_end.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "delta_query.h"

static Node *index_bound(const ViewWindow *window, Node *key, Node *moment);
static bool output_delay(ViewDef *view, TargetEntry *target, int64 *delay_us);
static Node *calendar_end(const ViewWindow *window, Node *key);
static Node *less(Node *moment, int64 length_us);
static Node *to_local(const ViewWindow *window, Node *moment);
static Node *from_local(const ViewWindow *window, Node *local);
static Node *call(Oid function, Oid type, List *args);
static Node *text_constant(const char *value);

/* Compares the end with a moment; see window_end.h. */
Node *
kv_window_compare_end(const ViewWindow *window, Node *key, const char *operator, Node *moment, int64 lag_us)
{
	Node	   *left = copyObject(key);

	if (window->kind == WINDOW_START && exprType(key) == TIMESTAMPTZOID)
		lag_us += window->length_us;
	else if (window->kind == WINDOW_SESSION)
	{
		lag_us += window->length_us;
		left = call(F_UPPER_ANYRANGE, TIMESTAMPTZOID, list_make1(left));
	}
	else
		left = kv_window_end(window, left);
	return kv_delta_operate(operator, left, less(moment, lag_us));
}

/* Tells windows that have ended; see window_end.h. */
char *
kv_window_ended(const ViewWindow *window, Oid relid, AttrNumber attno, int param, int64 lag_us)
{
	Node	   *key = (Node *) makeVar(1, attno, get_atttype(relid, attno), -1, InvalidOid, 0);
	Node	   *ended = kv_window_compare_end(window, key, "<=", kv_delta_frontier(param), lag_us);
	Node	   *bound = NULL;

	if (window->kind == WINDOW_CALENDAR || exprType(key) == TIMESTAMPOID)
		bound = index_bound(window, key, less(kv_delta_frontier(param), lag_us));
	if (bound)
		ended = (Node *) makeBoolExpr(AND_EXPR, list_make2(bound, ended), -1);
	return deparse_expression(ended, deparse_context_for("t", relid), true, false);
}

/*
 * Gives what holds for the key of every window that has ended by a moment and can be answered by an index: it begins before the unit of the moment, or a length
 * before its local time.
 */
static Node *
index_bound(const ViewWindow *window, Node *key, Node *moment)
{
	if (exprType(key) == TIMESTAMPOID)
		moment = to_local(window, moment);
	if (window->kind == WINDOW_START)
		return kv_delta_operate("<=", key, less(moment, window->length_us));
	if (exprType(key) == TIMESTAMPOID)
		moment = call(F_DATE_TRUNC_TEXT_TIMESTAMP, TIMESTAMPOID, list_make2(text_constant(window->unit), moment));
	else if (window->zone)
		moment = call(F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT, TIMESTAMPTZOID,
					  list_make3(text_constant(window->unit), moment, text_constant(window->zone)));
	else
		moment = call(F_DATE_TRUNC_TEXT_TIMESTAMPTZ, TIMESTAMPTZOID, list_make2(text_constant(window->unit), moment));
	return kv_delta_operate("<", key, moment);
}

/* Finds the window among the keys; see window_end.h. */
AttrNumber
kv_window_state_attno(const ViewDef *view)
{
	ListCell   *cell;

	foreach(cell, view->keys)
		if (lfirst_int(cell) == view->window->key)
			return foreach_current_index(cell) + 1;
	elog(ERROR, "window of continuous view %s is not among its keys", view->name);
}

/* Gives what to index; see window_end.h. */
char *
kv_window_index(const ViewWindow *window, const char *column)
{
	return psprintf(window->kind == WINDOW_RANGE || window->kind == WINDOW_SESSION ? "upper(%s)" : "%s", quote_identifier(column));
}

/* Finds the time of a final view's rows; see window_end.h. */
Refusal *
kv_window_output_time(ViewDef *view, const char *event_time)
{
	ListCell   *cell;

	foreach(cell, view->groups->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		int64		delay_us;

		if (!output_delay(view, target, &delay_us))
			continue;
		if (event_time ? strcmp(target->resname, event_time) != 0 : delay_us != 0 && view->window->kind != WINDOW_SESSION)
			continue;
		view->time_attno = target->resno;
		view->output_delay_us = delay_us + view->window_grace_us + view->window->delay_us;
		return NULL;
	}
	if (!event_time)
		return NULL;
	return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot take the time of its rows from \"%s\"", event_time),
					  "Its rows come when their windows close, and only the end or the start of a window says how long after that time that is.",
					  "Name a column that is the end or the start of the window, for example upper(window).");
}

/*
 * Tells whether a column is the end or the start of the view's windows, as a time that the engine can go by, and how long after that time
 * a window ends at most.
 */
static bool
output_delay(ViewDef *view, TargetEntry *target, int64 *delay_us)
{
	ViewWindow *window = view->window;
	FuncExpr   *function = (FuncExpr *) target->expr;
	Oid			type = exprType((Node *) target->expr);

	*delay_us = window->length_us;
	if (type != TIMESTAMPTZOID && !(type == TIMESTAMPOID && window->zone && strcmp(window->zone, "UTC") == 0))
		return false;
	if (target->resno == window->key || equal(target->expr, window->expr))
	{
		if (window->kind == WINDOW_END)
			*delay_us = 0;
		return true;
	}
	/* a session ends the gap after its last event; its first one may be any time before */
	if (window->kind == WINDOW_SESSION)
		return IsA(function, FuncExpr) && function->funcid == F_UPPER_ANYRANGE && equal(linitial(function->args), window->expr);
	if (!IsA(function, FuncExpr) || (function->funcid != F_UPPER_ANYRANGE && function->funcid != F_LOWER_ANYRANGE) ||
		!equal(linitial(function->args), window->expr))
		return false;
	if (function->funcid == F_UPPER_ANYRANGE)
		*delay_us = 0;
	return *delay_us != PG_INT64_MAX;
}

/* Gives the end of a window; see window_end.h. */
Node *
kv_window_end(const ViewWindow *window, Node *key)
{
	switch (window->kind)
	{
		case WINDOW_RANGE:
			return call(F_UPPER_ANYRANGE, TIMESTAMPTZOID, list_make1(key));
		case WINDOW_END:
			return key;
		case WINDOW_START:
			key = kv_delta_operate("+", key, kv_delta_interval_constant(window->length_us));
			return exprType(key) == TIMESTAMPOID ? from_local(window, key) : key;
		case WINDOW_CALENDAR:
			return calendar_end(window, key);
		case WINDOW_SESSION:
			key = call(F_UPPER_ANYRANGE, TIMESTAMPTZOID, list_make1(key));
			return kv_delta_operate("+", key, kv_delta_interval_constant(window->length_us));
	}
	elog(ERROR, "unknown kind of window: %d", window->kind);
}

/* Gives the local beginning of the unit after the one that key begins, in absolute time. */
static Node *
calendar_end(const ViewWindow *window, Node *key)
{
	Node	   *length = (Node *) makeConst(INTERVALOID, -1, InvalidOid, sizeof(Interval), IntervalPGetDatum(window->unit_length), false, false);

	if (exprType(key) == TIMESTAMPTZOID)
		key = call(F_DATE_TRUNC_TEXT_TIMESTAMP, TIMESTAMPOID, list_make2(text_constant(window->unit), to_local(window, key)));
	return from_local(window, kv_delta_operate("+", key, length));
}

static Node *
less(Node *moment, int64 length_us)
{
	return length_us == 0 ? moment : kv_delta_operate("-", moment, kv_delta_interval_constant(length_us));
}

static Node *
to_local(const ViewWindow *window, Node *moment)
{
	if (window->zone)
		return call(F_TIMEZONE_TEXT_TIMESTAMPTZ, TIMESTAMPOID, list_make2(text_constant(window->zone), moment));
	return call(F_TIMESTAMP_TIMESTAMPTZ, TIMESTAMPOID, list_make1(moment));
}

static Node *
from_local(const ViewWindow *window, Node *local)
{
	if (window->zone)
		return call(F_TIMEZONE_TEXT_TIMESTAMP, TIMESTAMPTZOID, list_make2(text_constant(window->zone), local));
	return call(F_TIMESTAMPTZ_TIMESTAMP, TIMESTAMPTZOID, list_make1(local));
}

static Node *
call(Oid function, Oid type, List *args)
{
	CoercionForm form = function == F_TIMESTAMP_TIMESTAMPTZ || function == F_TIMESTAMPTZ_TIMESTAMP ? COERCE_EXPLICIT_CAST : COERCE_EXPLICIT_CALL;

	return (Node *) makeFuncExpr(function, type, args, InvalidOid, InvalidOid, form);
}

static Node *
text_constant(const char *value)
{
	return (Node *) makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum(value), false, false);
}
