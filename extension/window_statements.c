/*
 * window_statements.c: rows that are late for their window (DESIGN.md 2.3).
 *
 * A row is late when its window was closed before it came: when the window's end plus grace is at or before
 * the stream time of its partition before the row, or the view's closed frontier less what a join's
 * rows lag behind it. Rows of a join, and of a view, have no partition; for them the frontier alone counts. Both are the same however
 * the records are cut into batches, but for the frontier, which only grows: so no row gets into a group that is closed already,
 * and a topic of one partition has one result.
 */
#include "window_statements.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "delta_query.h"
#include "layers.h"
#include "window_end.h"

#define COUNT_LATE "SELECT count(*) AS late_rows,\n    NULL::bigint[] AS skipped\n   FROM "

/* Tells late rows from others: the end plus grace against what was reached; see window_statements.h. */
Node *
kv_window_lateness(ViewDef *view, int driver, bool late)
{
	Node	   *key = kv_layers_row_values(view->window->expr, kv_input_arm(view, driver)->query->targetList);
	int64		lag_us = view->window_grace_us;
	Node	   *reached = kv_window_reached(view, driver, view->window->delay_us, &lag_us);

	return kv_window_compare_end(view->window, key, late ? "<=" : ">", reached, lag_us);
}

/* Gives greatest(kv_before, $1 - delay), or $1; see window_statements.h. */
Node *
kv_window_reached(ViewDef *view, int driver, int64 delay_us, int64 *lag_us)
{
	ViewArm    *arm = kv_input_arm(view, driver);
	Node	   *frontier = kv_delta_frontier(1);
	MinMaxExpr *reached;

	if (arm->ndriving > 1 || view->inputs[driver].kind == INPUT_VIEW)
	{
		*lag_us += delay_us;
		return frontier;
	}
	if (delay_us != 0)
		frontier = kv_delta_operate("-", frontier, kv_delta_interval_constant(delay_us));
	reached = makeNode(MinMaxExpr);
	reached->minmaxtype = TIMESTAMPTZOID;
	reached->op = IS_GREATEST;
	reached->args = list_make2(kv_delta_before(arm, &view->inputs[driver]), frontier);
	reached->location = -1;
	return (Node *) reached;
}

/* Counts late rows of the only stream; see window_statements.h. */
MaintenanceStatement *
kv_window_count_late(ViewDef *view, int driver)
{
	return kv_window_count(view, driver, kv_window_lateness(view, driver, true),
						   psprintf("count rows of %s that are late for their window", get_rel_name(view->inputs[driver].relid)));
}

/* Counts rows by a condition; see window_statements.h. */
MaintenanceStatement *
kv_window_count(ViewDef *view, int driver, Node *condition, char *title)
{
	Query	   *query = copyObject(kv_input_arm(view, driver)->query);

	query->targetList = list_make1(makeTargetEntry((Expr *) makeBoolConst(true, false), 1, "late", false));
	kv_delta_add_condition(query, condition);
	query = kv_delta_query(view, query, driver);
	return kv_statement(PHASE_LATE, title, psprintf(COUNT_LATE "(%s) AS late", kv_delta_print(query)), driver);
}

/* Counts late rows among captured ones; see window_statements.h. */
MaintenanceStatement *
kv_window_count_captured(const char *capture, const char *column)
{
	MaintenanceStatement *statement = kv_statement(PHASE_LATE, pstrdup("count rows that are late for their window"),
												   psprintf(COUNT_LATE "%s\n  WHERE %s", quote_identifier(capture), quote_identifier(column)), -1);

	statement->reads = pstrdup(capture);
	return statement;
}
