/*
 * closed_query.c: the query of a view as far as time has closed.
 *
 * The query over all that was consumed already has a row for which a match may still come, with nulls; the view
 * gets it when its time is over. So it is left out of the query until then, by the same comparison that the
 * CLOSE statements make, on the topics' own event times instead of the buffers; so, too, in the unstored views below it, which are
 * their queries.
 */
#include "closed_query.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "analyze.h"
#include "catalog.h"
#include "delta_query.h"
#include "outer_join.h"
#include "statement.h"

static bool waits(const ViewDef *view);
static ViewRow *unstored_view(const ViewInput *input);
static char *print(ViewDef *view);
static char *print_rows(ViewDef *view, StringInfo with);
static Query *print_upper_views(ViewArm *arm, StringInfo with);
static void leave_out_open(ViewArm *arm, Query *query, TimestampTz frontier);
static Var *time_var(const ViewInput *input);
static Node *is_closed(const ViewInput *input, TimestampTz frontier);


/* Makes the query; see closed_query.h. */
char *
kv_closed_query(ViewDef *view)
{
	char	   *text;
	int			nest;

	if (!waits(view))
		return NULL;
	nest = kv_delta_begin_printing();
	text = print(view);
	AtEOXact_GUC(true, nest);
	return text;
}

/* Tells whether rows of the view wait for time, or those of an unstored view that it reads. */
static bool
waits(const ViewDef *view)
{
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewRow    *upper = unstored_view(&view->inputs[i]);

		if (view->inputs[i].preserved || (upper && waits(kv_view_load(upper->view))))
			return true;
	}
	return false;
}

/* Gives the unstored view that an input is, NULL: it is none. */
static ViewRow *
unstored_view(const ViewInput *input)
{
	ViewRow    *row = input->kind == INPUT_VIEW ? kv_view_by_relation(input->relid, false) : NULL;

	return row && row->relation == row->definition ? row : NULL;
}

/* Gives the rows layer; see closed_query.h. */
char *
kv_closed_rows(ViewDef *view)
{
	StringInfoData with;
	char	   *rows;

	initStringInfo(&with);
	rows = print_rows(view, &with);
	appendStringInfo(&with, "%srows (%s) AS (\n%s)", with.len > 0 ? ",\n" : "", kv_statement_columns(view->row_names, ""), rows);
	return with.data;
}

/* Prints the query of a view, with those of the unstored views it reads in WITH, and its rows layer if there are groups. */
static char *
print(ViewDef *view)
{
	StringInfoData with;
	char	   *rows;

	if (view->groups)
	{
		Query	   *groups = copyObject(view->groups);

		linitial_node(RangeTblEntry, groups->rtable)->inFromCl = true;
		if (groups->hasDistinctOn)
			groups->groupClause = NIL;	/* as it was written */
		return psprintf("WITH %s\n%s", kv_closed_rows(view), kv_delta_print(groups));
	}
	initStringInfo(&with);
	rows = print_rows(view, &with);
	return with.len > 0 ? psprintf("WITH %s\n%s", with.data, rows) : rows;
}

/* Prints the rows layer of a view, and what it needs in WITH. */
static char *
print_rows(ViewDef *view, StringInfo with)
{
	TimestampTz frontier = kv_view_get(view->id, false)->frontier;
	StringInfoData rows;

	initStringInfo(&rows);
	for (int i = 0; i < view->narms; i++)
	{
		Query	   *query = print_upper_views(&view->arms[i], with);

		leave_out_open(&view->arms[i], query, frontier);
		appendStringInfo(&rows, "%s%s", i > 0 ? "\nUNION ALL\n" : "", kv_delta_print(query));
	}
	return rows.data;
}

/* Gives a copy of an arm's query in which unstored views are names that WITH defines. */
static Query *
print_upper_views(ViewArm *arm, StringInfo with)
{
	Query	   *query = copyObject(arm->query);

	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewRow    *upper = unstored_view(&arm->inputs[i]);
		RangeTblEntry *rte = rt_fetch(arm->inputs[i].rti, query->rtable);
		ViewDef    *view;

		if (!upper)
			continue;
		view = kv_view_load(upper->view);
		rte->rtekind = RTE_CTE;
		rte->ctename = psprintf("input_%d", arm->inputs[i].number);
		rte->relid = InvalidOid;
		rte->relkind = '\0';
		appendStringInfo(with, "%s%s (%s) AS (\n%s)", with->len > 0 ? ",\n" : "", rte->ctename,
						 kv_statement_columns(kv_statement_relation_columns(view->relid, view->result->natts), ""), print(view));
	}
	return query;
}

/* Leaves out of an arm's query what its outer join of streams has no match for yet: both times are there, or one's is over. */
static void
leave_out_open(ViewArm *arm, Query *query, TimestampTz frontier)
{
	List	   *matched = NIL;
	List	   *closed = NIL;

	if (!kv_outer_join_find(arm, query))
		return;
	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewInput  *input = &arm->inputs[i];
		NullTest   *present;

		if (!kv_input_drives(input))
			continue;
		present = makeNode(NullTest);
		present->arg = (Expr *) time_var(input);
		present->nulltesttype = IS_NOT_NULL;
		present->location = -1;
		matched = lappend(matched, present);
		if (input->preserved)
			closed = lappend(closed, is_closed(input, frontier));
	}
	kv_delta_add_condition(query, (Node *) makeBoolExpr(OR_EXPR, lcons(makeBoolExpr(AND_EXPR, matched, -1), closed), -1));
}

/* Gives the event-time column, which a stream has wherever a time bound could be read. */
static Var *
time_var(const ViewInput *input)
{
	return makeVar(input->rti, input->time_attno, get_atttype(input->relid, input->time_attno), -1, InvalidOid, 0);
}

/* time <= frontier - closing; a time without zone is one of UTC (format.c). */
static Node *
is_closed(const ViewInput *input, TimestampTz frontier)
{
	Node	   *time = (Node *) time_var(input);
	Const	   *now = makeConst(TIMESTAMPTZOID, -1, InvalidOid, sizeof(TimestampTz), TimestampTzGetDatum(frontier), false, FLOAT8PASSBYVAL);

	if (exprType(time) == TIMESTAMPOID)
	{
		Const	   *utc = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum("UTC"), false, false);

		time = (Node *) makeFuncExpr(F_TIMEZONE_TEXT_TIMESTAMP, TIMESTAMPTZOID, list_make2(utc, time), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	}
	return kv_delta_operate("<=", time, kv_delta_operate("-", (Node *) now, kv_delta_interval_constant(input->close_us)));
}
