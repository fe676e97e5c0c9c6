/*
 * group_rows.c: the new rows under an aggregate, for the statements that aggregate them.
 *
 * Where one stream alone makes the rows, they are taken from its delta as they come.
 * Otherwise the new rows of every stream are captured first, because those of a join come
 * by one statement a stream. Rows that are late for their window are counted and left out. A row's place in processing order is that of the
 * record whose statement found it: of a join of streams, where all pairs of a batch are found by the last input, not always of the one that came last.
 */
#include "group_rows.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

#include "delta_query.h"
#include "layers.h"
#include "normalize.h"
#include "note_times.h"
#include "window_layer.h"
#include "window_statements.h"

#define CAPTURE_ROWS KV_CAPTURE_ROWS

/* Names of the columns behind the row columns of captured rows (group_rows.h). */
#define ROW_NAME(view) kv_unique_name(KV_COL_ROW, (view)->row_names)
#define LATE_NAME(view) kv_unique_name("kv_late", (view)->row_names)
#define REACHED_NAME(view) kv_unique_name("kv_reached", (view)->row_names)
#define ORDER_NAME(view) kv_unique_name("kv_order", (view)->row_names)
#define TIME_NAME(view) kv_unique_name(KV_COL_TIME, (view)->row_names)

static Query *rows_to_capture(ViewDef *view, int number, bool in_delta);
static void add_target(Query *query, Node *expr, char *name);
static Node *reached(ViewDef *view, int number);
static MaintenanceStatement *capture_rows(ViewDef *view, int number, Query *query, MaintenanceStatement *statement);
static int	only_driver(ViewDef *view);
static List *add_order(List *targets, const ViewArm *arm, const ViewInput *driver, char *name);
static Query *rows_query(ViewDef *view, Query *base, Node *condition, Node **time);
static Query *direct_query(ViewDef *view, Query *base, Node *condition, Node **time);
static Query *captured_query(ViewDef *view, Query *base, Node *condition, Node **time);

/* Captures rows under the aggregate; see group_rows.h. */
MaintenanceStatement *
kv_group_rows_capture(ViewDef *view, int driver)
{
	char	   *title = psprintf("%s new rows of %s", kv_input_arm(view, driver)->ndriving > 1 ? "join" : "take", get_rel_name(view->inputs[driver].relid));

	return capture_rows(view, driver, kv_delta_query(view, rows_to_capture(view, driver, true), driver), kv_statement(PHASE_COMPUTE, title, NULL, driver));
}

/* Captures rows without a match; see group_rows.h. */
MaintenanceStatement *
kv_group_rows_capture_unmatched(ViewDef *view, int number, bool late, char *title)
{
	return capture_rows(view, number, kv_delta_unmatched(view, rows_to_capture(view, number, late), number, late),
						kv_statement(late ? PHASE_COMPUTE : PHASE_UNMATCHED, title, NULL, late ? number : -1));
}

/* Gives the query of an input's arm, with a row's place in processing order (of rows that are not in a delta: null), and whether it is late for its window. */
static Query *
rows_to_capture(ViewDef *view, int number, bool in_delta)
{
	ViewArm    *arm = kv_input_arm(view, number);
	Query	   *query = copyObject(arm->query);

	if (view->ordered && in_delta)
		query->targetList = add_order(query->targetList, arm, &view->inputs[number], ROW_NAME(view));
	else if (view->ordered)
		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) makeNullConst(INT8OID, -1, InvalidOid),
																	   list_length(query->targetList) + 1, ROW_NAME(view), false));
	if (view->sessions)
	{
		add_target(query, reached(view, number), REACHED_NAME(view));
		add_target(query, kv_delta_row(arm, &view->inputs[number]), ORDER_NAME(view));
	}
	else if (view->window)
		add_target(query, kv_window_lateness(view, number, true), LATE_NAME(view));
	return query;
}

static void
add_target(Query *query, Node *expr, char *name)
{
	query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) expr, list_length(query->targetList) + 1, name, false));
}

/* Gives how far time had come for a row of an input. */
static Node *
reached(ViewDef *view, int number)
{
	int64		lag_us = 0;
	Node	   *time = kv_window_reached(view, number, view->window->delay_us, &lag_us);

	return lag_us == 0 ? time : kv_delta_operate("-", time, kv_delta_interval_constant(lag_us));
}

/* Gives their types; see group_rows.h. */
TupleDesc
kv_group_rows_desc(const ViewDef *view)
{
	List	   *targets = list_copy(view->arms[0].query->targetList);
	List	   *names = kv_group_rows_columns(view);
	const Oid	types[] = {TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID};
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(names));
	int			nrows = list_length(view->row_names);
	ListCell   *cell;

	Assert(view->sessions);
	foreach(cell, targets)
	{
		Node	   *expr = (Node *) lfirst_node(TargetEntry, cell)->expr;
		int			number = foreach_current_index(cell);

		TupleDescInitEntry(desc, number + 1, list_nth(names, number), exprType(expr), exprTypmod(expr), 0);
		TupleDescInitEntryCollation(desc, number + 1, exprCollation(expr));
	}
	for (int i = 0; i < lengthof(types); i++)
		TupleDescInitEntry(desc, nrows + i + 1, list_nth(names, nrows + i), types[i], -1, 0);
	return desc;
}

/* Names the columns of captured rows; see group_rows.h. */
List *
kv_group_rows_columns(const ViewDef *view)
{
	List	   *names = list_copy(view->row_names);

	if (view->ordered)
		names = lappend(names, ROW_NAME(view));
	if (view->sessions)
		names = lappend(lappend(names, REACHED_NAME(view)), ORDER_NAME(view));
	else if (view->window)
		names = lappend(names, LATE_NAME(view));
	return lappend(names, TIME_NAME(view));
}

/* Makes a statement capture the rows of a query, made of it for an input, and their event times. */
static MaintenanceStatement *
capture_rows(ViewDef *view, int number, Query *query, MaintenanceStatement *statement)
{
	query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) kv_note_event_time(kv_input_arm(view, number), query, statement->input),
																   list_length(query->targetList) + 1, TIME_NAME(view), false));
	statement->sql = kv_delta_print(query);
	statement->captures = CAPTURE_ROWS;
	statement->capture_desc = ExecTypeFromTL(query->targetList);
	return statement;
}

/* Counts the new rows that are late for their window. */
MaintenanceStatement *
kv_group_rows_count_late(ViewDef *view)
{
	if (kv_view_is_direct(view))
		return kv_window_count_late(view, only_driver(view));
	return kv_window_count_captured(CAPTURE_ROWS, LATE_NAME(view));
}

/* Gives the number of the only driving input. */
static int
only_driver(ViewDef *view)
{
	int			driver = 0;

	while (!kv_input_drives(&view->inputs[driver]))
		driver++;
	return driver;
}

/* Numbers the column behind the row columns; see group_rows.h. */
AttrNumber
kv_group_rows_order(const ViewDef *view)
{
	return list_length(view->row_names) + 1;
}

/* Adds a row's place in processing order to the row columns of an arm. */
static List *
add_order(List *targets, const ViewArm *arm, const ViewInput *driver, char *name)
{
	return lappend(list_copy(targets), makeTargetEntry((Expr *) kv_delta_row(arm, driver), list_length(targets) + 1, name, false));
}

/* Gives base (over the row columns) over the delta of the only stream, or over the captured rows; see group_rows.h. */
Query *
kv_group_rows_query(ViewDef *view, Query *base)
{
	Node	   *time;
	Query	   *query = rows_query(view, base, NULL, &time);

	if (!view->final)			/* the row of a closed window has a time of its own */
		kv_note_group_times(query, time);
	query->sortClause = copyObject(query->groupClause);
	return query;
}

/* The same row by row; see group_rows.h. */
Query *
kv_group_rows_timed(ViewDef *view, Query *base, Node **time)
{
	return rows_query(view, base, NULL, time);
}

/* The same with a condition on the rows, and without a note; see group_rows.h. */
Query *
kv_group_rows_filtered(ViewDef *view, Query *base, Node *condition)
{
	Node	   *time;

	return rows_query(view, base, condition, &time);
}

static Query *
rows_query(ViewDef *view, Query *base, Node *condition, Node **time)
{
	Query	   *query = kv_view_is_direct(view) ? direct_query(view, base, condition, time) : captured_query(view, base, condition, time);

	query->groupClause = base->groupClause;
	query->hasAggs = base->hasAggs;
	return query;
}

/* Gives the targets of base over the delta's rows that are not late; *time is a row's event time. */
static Query *
direct_query(ViewDef *view, Query *base, Node *condition, Node **time)
{
	int			driver = only_driver(view);
	ViewArm    *arm = &view->arms[0];
	Query	   *query = copyObject(arm->query);
	List	   *values = add_order(arm->query->targetList, arm, &view->inputs[driver], KV_COL_ROW);

	query->targetList = (List *) kv_layers_row_values((Node *) base->targetList, values);
	query->hasAggs = base->hasAggs;
	if (condition)
		kv_delta_add_condition(query, kv_layers_row_values(condition, values));
	if (view->window)
		kv_delta_add_condition(query, kv_window_lateness(view, driver, false));
	query = kv_delta_query(view, query, driver);
	*time = kv_note_event_time(&view->arms[0], query, driver);
	return query;
}

/* The same over the captured rows. */
static Query *
captured_query(ViewDef *view, Query *base, Node *condition, Node **time)
{
	List	   *names = kv_group_rows_columns(view);
	Query	   *query;

	query = kv_delta_select_from(CAPTURE_ROWS, names);
	query->targetList = copyObject(base->targetList);
	if (condition)
		kv_delta_add_condition(query, copyObject(condition));
	if (view->window)
		kv_delta_add_condition(query, (Node *) makeBoolExpr(NOT_EXPR, list_make1(makeVar(1, list_length(names) - 1, BOOLOID, -1, InvalidOid, 0)), -1));
	*time = (Node *) makeVar(1, list_length(names), TIMESTAMPTZOID, -1, InvalidOid, 0);
	return query;
}

/* Ties the statement to the delta of the only stream, or to the captured rows; see group_rows.h. */
void
kv_group_rows_place(ViewDef *view, MaintenanceStatement *statement)
{
	if (!kv_view_is_direct(view))
	{
		statement->reads = CAPTURE_ROWS;
		return;
	}
	statement->input = only_driver(view);
}
