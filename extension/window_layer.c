/*
 * window_layer.c: finds the window among the group keys of a view, and what the options say
 * about its closing (DESIGN.md 2.3).
 *
 * A key is a window if it is made, by functions that are known here, of the event time of the streams
 * alone: then time tells when its last row has come. It is looked for in every arm with the row columns exchanged for what the
 * arm computes, so it does not matter where the query says it: in GROUP BY, in a subquery, in LATERAL.
 * All other keys may be anything.
 */
#include "window_layer.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "aggregate.h"
#include "layers.h"
#include "output_time.h"

/* A group key read as a window. */
typedef struct WindowKey
{
	ViewWindow	window;
	Node	   *call;			/* the call that makes the window, in the first arm: two keys may be of one window */
	const char *reason;			/* why it cannot close although it is made by such a function; NULL: it is none */
} WindowKey;

/* Where a walk found a call of kafka.session. */
typedef struct SessionSearch
{
	List	   *keys;			/* calls that are all right */
	Node	   *found;
} SessionSearch;

/* A unit of date_trunc. */
typedef struct TruncUnit
{
	int			token;			/* DTK_... */
	const char *name;
	int64		length_us;		/* 0: its length varies */
	int32		days;
	int32		months;
} TruncUnit;

static const TruncUnit trunc_units[] = {
	{DTK_MICROSEC, "microsecond", 1}, {DTK_MILLISEC, "millisecond", 1000}, {DTK_SECOND, "second", USECS_PER_SEC},
	{DTK_MINUTE, "minute", USECS_PER_MINUTE}, {DTK_HOUR, "hour", USECS_PER_HOUR}, {DTK_DAY, "day", 0, 1, 0},
	{DTK_WEEK, "week", 0, 7, 0}, {DTK_MONTH, "month", 0, 0, 1}, {DTK_QUARTER, "quarter", 0, 0, 3}, {DTK_YEAR, "year", 0, 0, 12},
	{DTK_DECADE, "decade", 0, 0, 120}, {DTK_CENTURY, "century", 0, 0, 1200}, {DTK_MILLENNIUM, "millennium", 0, 0, 12000},
};

static Refusal *refuse_idle_options(ViewDef *view, const ContinuousOptions *options);
static bool has_stream_join(ViewDef *view);
static Refusal *refuse_loose_sessions(ViewDef *view);
static Refusal *refuse_outer_sessions(ViewDef *view);
static bool needs_rows(ViewDef *view);
static Node *find_session(Node *node, List *keys);
static bool session_walker(Node *node, SessionSearch *search);
static Refusal *find_window(ViewDef *view, bool sessions_only, WindowKey *found);
static Refusal *refuse_key(TargetEntry *target, const char *reason);
static Refusal *refuse_session(TargetEntry *target, const char *reason);
static bool read_in_all_arms(ViewDef *view, Node *expr, WindowKey *key);
static bool is_same_window(const ViewWindow *a, const ViewWindow *b);
static bool read_key(ViewArm *arm, Node *node, WindowKey *key);
static bool read_bound(ViewArm *arm, FuncExpr *call, WindowKey *key);
static bool read_trunc(ViewArm *arm, FuncExpr *call, WindowKey *key);
static bool read_time(ViewArm *arm, Node *node, WindowKey *key);
static bool is_kafka_function(Node *node, const char *name);
static bool constant_length(Node *node, int64 *length_us);
static char *constant_text(Node *node);
static const TruncUnit *find_unit(char *name);
static bool may_be_missing(Query *query, int rti);
static Node *table_function_mutator(Node *node, Query *query);

/* Finds the window and its closing; see window_layer.h. */
Refusal *
kv_window_layer(ViewDef *view, const ContinuousOptions *options)
{
	bool		closes = options->grace_given || options->final || options->retention_us >= 0;
	WindowKey	key = {{0}};
	Refusal    *refusal = refuse_loose_sessions(view);

	if (refusal || (!closes && !kv_window_uses_session((Node *) view->groups)))
		return refusal;
	refusal = view->groups ? find_window(view, !closes, &key) : NULL;
	if (refusal)
		return has_stream_join(view) && !kv_window_uses_session((Node *) view->groups) && !options->final && options->retention_us < 0 ? NULL : refusal;
	if (key.window.key == 0)
		return refuse_idle_options(view, options);

	if (key.window.kind == WINDOW_SESSION)
		refusal = refuse_outer_sessions(view);
	if (refusal)
		return refusal;
	view->window = palloc(sizeof(ViewWindow));
	*view->window = key.window;
	view->window_closes = closes;
	view->window_grace_us = options->grace_given ? options->grace_us : 0;
	view->sessions = key.window.kind == WINDOW_SESSION;
	view->final = options->final;
	if (view->final)
		view->shape = SHAPE_APPEND;
	if (view->final || view->sessions)
		view->own_state = false;
	if (view->sessions)
	{
		view->keeps_rows = needs_rows(view);
		view->ordered = false;	/* their rows have a number anyway */
	}
	return NULL;
}

/* Refuses kafka.session where it is not the whole of a group key: what a row's session is depends on the rows of its group. */
static Refusal *
refuse_loose_sessions(ViewDef *view)
{
	List	   *keys = view->groups ? get_sortgrouplist_exprs(view->groups->groupClause, view->groups->targetList) : NIL;
	Node	   *loose = NULL;

	for (int i = 0; i < view->narms && !loose; i++)
		loose = find_session((Node *) list_make2(view->arms[i].query->targetList, view->arms[i].query->jointree), NIL);
	if (!loose && view->groups)
		loose = find_session((Node *) list_make2(view->groups->targetList, view->groups->havingQual), keys);
	if (!loose && view->groups)
		loose = find_session((Node *) kv_aggregate_collect((Node *) list_make2(view->groups->targetList, view->groups->havingQual)), NIL);
	if (!loose)
		return NULL;
	return kv_refusal(exprLocation(loose), "continuous view \"%s\" cannot use kafka.session but in GROUP BY",
					  "Which session a row belongs to depends on the rows of its group.",
					  "Group by kafka.session(event time, gap) itself, at the top of the query; lower() and upper() of it may be selected.");
}

/* Refuses sessions over an outer join of streams, whose rows without a match come out of order. */
static Refusal *
refuse_outer_sessions(ViewDef *view)
{
	for (int i = 0; i < view->ninputs; i++)
		if (view->inputs[i].preserved)
			return kv_refusal(-1, "continuous view \"%s\" cannot make sessions of an outer join of streams",
							  "This version makes sessions of streams, unions, and inner joins.",
							  "Join the streams in one continuous view, and make the sessions in another over it.");
	return NULL;
}

/* Can nothing be made of the states of two sessions that become one, so that their rows are needed? */
static bool
needs_rows(ViewDef *view)
{
	ListCell   *cell;

	if (view->groups->hasDistinctOn)
		return true;
	foreach(cell, kv_aggregate_collect((Node *) list_make2(view->groups->targetList, view->groups->havingQual)))
		if (!kv_aggregate_merges(lfirst_node(Aggref, cell)))
			return true;
	return false;
}

/* Does a tree call kafka.session? See window_layer.h. */
bool
kv_window_uses_session(Node *node)
{
	return find_session(node, NIL) != NULL;
}

/* Finds a call of kafka.session that is not one of keys; NULL: none. */
static Node *
find_session(Node *node, List *keys)
{
	SessionSearch search = {.keys = keys};

	session_walker(node, &search);
	return search.found;
}

static bool
session_walker(Node *node, SessionSearch *search)
{
	if (node == NULL)
		return false;
	if (is_kafka_function(node, "session"))
	{
		if (list_member(search->keys, node))
			return false;
		search->found = node;
		return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, session_walker, search, 0);
	return expression_tree_walker(node, session_walker, search);
}

/* Refuses options about windows that close where there is none, and nothing else that they could mean. */
static Refusal *
refuse_idle_options(ViewDef *view, const ContinuousOptions *options)
{
	if (options->final)
		return kv_refusal(-1, "continuous view \"%s\" cannot have the option kafka.emit = 'final'",
						  view->groups ? "It does not group by a window of event time, so no group ever has its last row." :
						  "It groups nothing, and its rows never change.",
						  "Leave the option out, or group by a window, for example kafka.tumble(event time, '1 hour').");
	if (options->grace_given && !has_stream_join(view))
		return kv_refusal(-1, "continuous view \"%s\" cannot have the option kafka.grace",
						  "It neither joins streams nor groups by a window of event time, so none of its rows can be late.",
						  "Leave the option out, or group by a window, for example kafka.tumble(event time, '1 hour').");
	return NULL;
}

static bool
has_stream_join(ViewDef *view)
{
	for (int i = 0; i < view->narms; i++)
		if (view->arms[i].ndriving > 1)
			return true;
	return false;
}

/* Finds the window among the keys, or only the sessions; key 0: there is none. Refuses two different ones, and one of another time than the streams'. */
static Refusal *
find_window(ViewDef *view, bool sessions_only, WindowKey *found)
{
	ListCell   *cell;

	foreach(cell, view->groups->groupClause)
	{
		TargetEntry *target = get_sortgroupclause_tle(lfirst(cell), view->groups->targetList);
		WindowKey	key = {{0}};

		if (sessions_only && !kv_window_uses_session((Node *) target->expr))
			continue;
		if (!read_in_all_arms(view, (Node *) target->expr, &key))
		{
			if (key.reason)
				return kv_window_uses_session((Node *) target->expr) ? refuse_session(target, key.reason) : refuse_key(target, key.reason);
			continue;
		}
		key.window.key = target->resno;
		key.window.expr = (Node *) target->expr;
		if (found->window.key != 0 && !equal(found->call, key.call))
			return kv_refusal(exprLocation((Node *) target->expr),
							  "continuous view \"%s\" cannot close groups of two windows",
							  "A group would end with the shorter one, and the other would never be whole.",
							  "Group by one window, and make a continuous view for the other.");
		if (found->window.key == 0 || key.window.kind < found->window.kind)
			*found = key;
	}
	return NULL;
}

static Refusal *
refuse_key(TargetEntry *target, const char *reason)
{
	return kv_refusal(exprLocation((Node *) target->expr), psprintf("continuous view \"%%s\" cannot close the windows of \"%s\"", target->resname), reason,
					  "Make windows of the event-time column of a stream (greatest() of all in a join), of constant sizes, or leave out the options that close them.");
}

static Refusal *
refuse_session(TargetEntry *target, const char *reason)
{
	return kv_refusal(exprLocation((Node *) target->expr), psprintf("continuous view \"%%s\" cannot make the sessions of \"%s\"", target->resname), reason,
					  "Write kafka.session(event time, interval '30 minutes') with the event-time column of a stream (in a join of one, or greatest() of all) and a constant gap.");
}

/* Reads a key as a window of every arm; the delay becomes the greatest. */
static bool
read_in_all_arms(ViewDef *view, Node *expr, WindowKey *key)
{
	for (int i = 0; i < view->narms; i++)
	{
		ViewArm    *arm = &view->arms[i];
		Node	   *node = kv_layers_row_values(expr, arm->query->targetList);
		WindowKey	here = {{0}};

		node = eval_const_expressions(NULL, table_function_mutator(node, arm->query));
		if (!read_key(arm, node, &here))
		{
			key->reason = here.reason ? here.reason : i > 0 ? "Not every member of the union has a window there." : NULL;
			return false;
		}
		if (i == 0)
			*key = here;
		else if (!is_same_window(&key->window, &here.window))
		{
			key->reason = "The members of the union have different windows there.";
			return false;
		}
		key->window.delay_us = Max(key->window.delay_us, here.window.delay_us);
		key->window.length_us = Max(key->window.length_us, here.window.length_us);
	}
	return true;
}

/* Do both keys end alike? A range tells its end, whatever its length. */
static bool
is_same_window(const ViewWindow *a, const ViewWindow *b)
{
	if (a->kind != b->kind || (a->zone == NULL) != (b->zone == NULL) || (a->kind != WINDOW_RANGE && a->length_us != b->length_us))
		return false;
	return (a->zone == NULL || strcmp(a->zone, b->zone) == 0) && (a->unit == NULL || strcmp(a->unit, b->unit) == 0);
}

/* Reads an expression over an arm's tables as a window. */
static bool
read_key(ViewArm *arm, Node *node, WindowKey *key)
{
	FuncExpr   *call = (FuncExpr *) node;

	if (!IsA(node, FuncExpr))
		return false;
	key->call = node;
	if (is_kafka_function(node, "tumble") || is_kafka_function(node, "hop"))
	{
		key->window.kind = WINDOW_RANGE;
		if (!constant_length(lsecond(call->args), &key->window.length_us))
			key->window.length_us = PG_INT64_MAX;
		return read_time(arm, linitial(call->args), key);
	}
	if (is_kafka_function(node, "session"))
	{
		key->window.kind = WINDOW_SESSION;
		if (!read_time(arm, linitial(call->args), key))
			return false;
		if (constant_length(lsecond(call->args), &key->window.length_us) && key->window.length_us > 0)
			return true;
		key->reason = "Its gap is not a constant length of time, greater than zero.";
		return false;
	}
	switch (call->funcid)
	{
		case F_LOWER_ANYRANGE:
		case F_UPPER_ANYRANGE:
			return read_bound(arm, call, key);
		case F_DATE_BIN_INTERVAL_TIMESTAMP_TIMESTAMP:
		case F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ:
			key->window.kind = WINDOW_START;
			if (read_time(arm, lsecond(call->args), key) && constant_length(linitial(call->args), &key->window.length_us))
				return true;
			key->reason = key->reason ? key->reason : "The stride of date_bin is not a constant.";
			return false;
		case F_DATE_TRUNC_TEXT_TIMESTAMP:
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
			return read_trunc(arm, call, key);
		default:
			return false;
	}
}

/* Reads lower() or upper() of a window. */
static bool
read_bound(ViewArm *arm, FuncExpr *call, WindowKey *key)
{
	if (!read_key(arm, linitial(call->args), key) || key->window.kind != WINDOW_RANGE)
		return false;
	key->window.kind = call->funcid == F_UPPER_ANYRANGE ? WINDOW_END : WINDOW_START;
	if (key->window.kind == WINDOW_END || key->window.length_us != PG_INT64_MAX)
		return true;
	key->reason = "The size of the window is not a constant, so its start does not tell its end.";
	return false;
}

/* Reads date_trunc: an hour and less has one length, more follows the calendar. */
static bool
read_trunc(ViewArm *arm, FuncExpr *call, WindowKey *key)
{
	char	   *name = constant_text(linitial(call->args));
	const TruncUnit *unit = name ? find_unit(name) : NULL;

	if (!read_time(arm, lsecond(call->args), key))
		return false;
	if (unit == NULL)
	{
		key->reason = "The unit of date_trunc is not a constant.";
		return false;
	}
	if (list_length(call->args) == 3)
	{
		key->window.zone = constant_text(lthird(call->args));
		if (key->window.zone == NULL)
		{
			key->reason = "The time zone of date_trunc is not a constant.";
			return false;
		}
	}
	if (unit->length_us != 0)
	{
		key->window.kind = WINDOW_START;
		key->window.length_us = unit->length_us;
		return true;
	}
	key->window.kind = WINDOW_CALENDAR;
	key->window.length_us = (unit->days + unit->months * 31 + 1) * USECS_PER_DAY;	/* a day for changes of the clock */
	key->window.unit = pstrdup(unit->name);
	key->window.unit_length = palloc0(sizeof(Interval));
	key->window.unit_length->day = unit->days;
	key->window.unit_length->month = unit->months;
	return true;
}

/*
 * Reads the event time that a window is made of: an input's, or greatest() of all; or that in a constant time zone. A stream's time without
 * zone is UTC. Sets the zone of local times, and the delay.
 */
static bool
read_time(ViewArm *arm, Node *node, WindowKey *key)
{
	FuncExpr   *call = (FuncExpr *) node;
	Node	   *time = node;
	char	   *zone = NULL;
	int			input;

	if (IsA(node, FuncExpr) && (call->funcid == F_TIMEZONE_TEXT_TIMESTAMPTZ || call->funcid == F_TIMEZONE_TEXT_TIMESTAMP))
	{
		time = lsecond(call->args);
		zone = constant_text(linitial(call->args));
	}
	key->reason = "It is not the event time of a stream that they are made of, so nothing tells when the last row of one has come.";
	if (!kv_is_event_time(arm, time, &input) || (time != node && zone == NULL))
		return false;
	if (exprType(time) == TIMESTAMPOID)
	{
		/* only as UTC is it the time that the engine goes by */
		if (time != node && pg_strcasecmp(zone, "UTC") != 0)
			return false;
		zone = "UTC";
	}
	key->reason = NULL;
	if (exprType(node) == TIMESTAMPOID)
		key->window.zone = zone;
	key->window.delay_us = kv_event_time_delay(arm, input);
	return true;
}

static bool
is_kafka_function(Node *node, const char *name)
{
	Oid			function;

	if (!IsA(node, FuncExpr))
		return false;
	function = ((FuncExpr *) node)->funcid;
	return get_func_namespace(function) == get_namespace_oid(KV_SCHEMA, true) && strcmp(get_func_name(function), name) == 0;
}

/* Reads a constant interval without months, as kafka.tumble and date_bin take it: a day is 24 hours. */
static bool
constant_length(Node *node, int64 *length_us)
{
	Interval   *interval;

	if (!IsA(node, Const) || ((Const *) node)->constisnull || ((Const *) node)->consttype != INTERVALOID)
		return false;
	interval = DatumGetIntervalP(((Const *) node)->constvalue);
	*length_us = interval->time + interval->day * USECS_PER_DAY;
	return interval->month == 0;
}

/* Gives the text of a constant, NULL: it is none. */
static char *
constant_text(Node *node)
{
	if (!IsA(node, Const) || ((Const *) node)->constisnull || ((Const *) node)->consttype != TEXTOID)
		return NULL;
	return TextDatumGetCString(((Const *) node)->constvalue);
}

/* Finds a unit of date_trunc by any of the names Postgres has for it; NULL: it is none. */
static const TruncUnit *
find_unit(char *name)
{
	char	   *token = downcase_truncate_identifier(name, strlen(name), false);
	int			value;

	if (DecodeUnits(0, token, &value) != UNITS)
		return NULL;
	for (int i = 0; i < lengthof(trunc_units); i++)
		if (trunc_units[i].token == value)
			return &trunc_units[i];
	return NULL;
}

/* Does the entry stand behind an outer join, so that a row may be without it? A null would be no window. */
static bool
may_be_missing(Query *query, int rti)
{
	Node	   *node = linitial(query->jointree->fromlist);

	for (; IsA(node, JoinExpr); node = ((JoinExpr *) node)->larg)
	{
		JoinExpr   *join = (JoinExpr *) node;

		if (join->jointype != JOIN_INNER && IsA(join->rarg, RangeTblRef) && ((RangeTblRef *) join->rarg)->rtindex == rti)
			return true;
	}
	return false;
}

/* Exchanges the columns of functions in FROM that give one value for the call: what LATERAL kafka.hop(...) gives is a window. */
static Node *
table_function_mutator(Node *node, Query *query)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		RangeTblEntry *rte = rt_fetch(var->varno, query->rtable);
		RangeTblFunction *function;

		if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1 || var->varattno != 1 || may_be_missing(query, var->varno))
			return node;
		function = linitial_node(RangeTblFunction, rte->functions);
		if (exprType(function->funcexpr) != var->vartype)
			return node;
		return table_function_mutator(function->funcexpr, query);
	}
	return expression_tree_mutator(node, table_function_mutator, query);
}
