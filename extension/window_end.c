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

#include "delta_query.h"

static Node *end_of(const ViewWindow *window, Node *key);
static Node *calendar_end(const ViewWindow *window, Node *key);
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
	else
		left = end_of(window, left);
	if (lag_us != 0)
		moment = kv_delta_operate("-", moment, kv_delta_interval_constant(lag_us));
	return kv_delta_operate(operator, left, moment);
}

/* Gives the end of a window as timestamptz. */
static Node *
end_of(const ViewWindow *window, Node *key)
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
