/*
 * note_times.c: how the statements of a view note the event times of the rows they write,
 * for the messages about them (row_time.c has the rest).
 *
 * Invariant: a statement notes the rows it writes, in their order, or the groups it touches,
 * before any trigger of it fires. A group is noted where the new rows are aggregated, by a HAVING that is always
 * true, so what later statements write or delete of it finds the time, too. A row is noted in a WHERE around its
 * query: OFFSET 0 keeps the planner from asking it earlier, of rows that are not inserted after all.
 */
#include "note_times.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/regproc.h"

#include "delta_query.h"
#include "normalize.h"
#include "row_time.h"
#include "statement.h"

/* The SQL function that notes, by its qualified name. */
#define NOTE_FUNCTION "kafka_state.row_time"

static Node *greatest_over_rows(Node *time);
static char *print_noting(Query *query, List *names, List *noted, Node *time);


/* Makes this backend ready; see the header. */
void
kv_note_times_begin(const ViewDef *view)
{
	RowTimeKind kind = view->shape == SHAPE_KEYED ? ROW_TIME_KEY : ROW_TIME_COLUMN;
	List	   *columns = view->keys;

	if (kind == ROW_TIME_COLUMN)
		columns = list_make1_int(view->time_attno);
	if (kv_note_times_of_rows(view))
	{
		kind = ROW_TIME_ORDER;
		columns = NIL;
		for (int i = 1; i <= view->result->natts; i++)
			columns = lappend_int(columns, i);
	}
	kv_row_times_begin(view->relid, kind, view->result, columns);
}

/* Tells whether rows are noted one by one; see the header. */
bool
kv_note_times_of_rows(const ViewDef *view)
{
	return view->shape == SHAPE_APPEND && view->time_attno == 0;
}

/* Gives the event time of a row; see the header. */
Node *
kv_note_event_time(const ViewArm *arm, Query *query, int driver)
{
	MinMaxExpr *greatest = makeNode(MinMaxExpr);

	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewInput  *input = &arm->inputs[i];
		int			ncolumns = list_length(rt_fetch(input->rti, query->rtable)->eref->colnames);

		/* of a delta it is the last but two, of a buffer the last column (delta_query.c) */
		if (kv_input_drives(input))
			greatest->args = lappend(greatest->args, makeVar(input->rti, arm->first + i == driver ? ncolumns - 2 : ncolumns,
															 TIMESTAMPTZOID, -1, InvalidOid, 0));
	}
	if (list_length(greatest->args) == 1)
		return linitial(greatest->args);
	greatest->minmaxtype = TIMESTAMPTZOID;
	greatest->op = IS_GREATEST;
	greatest->location = -1;
	return (Node *) greatest;
}

/* Adds the note of every group; see the header. */
void
kv_note_group_times(Query *query, Node *time)
{
	List	   *arguments = list_make1(greatest_over_rows(time));
	Oid			function = LookupFuncName(stringToQualifiedNameList(NOTE_FUNCTION), -1, NULL, false);

	/* VARIADIC wants one at least */
	if (query->groupClause == NIL)
		arguments = lappend(arguments, makeBoolConst(true, false));
	else
		arguments = list_concat(arguments, (List *) copyObject(get_sortgrouplist_exprs(query->groupClause, query->targetList)));
	query->havingQual = (Node *) makeFuncExpr(function, BOOLOID, arguments, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	query->hasAggs = true;
}

/* Makes max(time). */
static Node *
greatest_over_rows(Node *time)
{
	Aggref	   *max = makeNode(Aggref);

	max->aggfnoid = F_MAX_TIMESTAMPTZ;
	max->aggtype = TIMESTAMPTZOID;
	max->aggargtypes = list_make1_oid(TIMESTAMPTZOID);
	max->args = list_make1(makeTargetEntry((Expr *) time, 1, NULL, false));
	max->aggkind = AGGKIND_NORMAL;
	max->aggno = -1;
	max->aggtransno = -1;
	max->location = -1;
	return (Node *) max;
}

/* Prints a query that notes its rows; see the header. */
char *
kv_note_row_times(const ViewDef *view, Query *query, Node *time)
{
	List	   *names = NIL;

	for (int i = 0; i < view->result->natts; i++)
		names = lappend(names, NameStr(TupleDescAttr(view->result, i)->attname));
	return print_noting(query, names, names, time);
}

/* Prints a query that notes a row under its keys; see the header. */
char *
kv_note_key_times(Query *query, List *names, List *key_names, Node *time)
{
	return print_noting(query, names, key_names, time);
}

/* Prints a query so that every row of it is noted, under the columns noted. */
static char *
print_noting(Query *query, List *names, List *noted, Node *time)
{
	char	   *columns = kv_statement_columns(names, "");
	char	   *time_name = kv_unique_name(KV_COL_TIME, names);
	int			place = 0;

	/* behind the columns, before what only sorts */
	while (place < list_length(query->targetList) && !list_nth_node(TargetEntry, query->targetList, place)->resjunk)
		place++;
	query->targetList = list_insert_nth(query->targetList, place, makeTargetEntry((Expr *) time, place + 1, time_name, false));
	for (int i = place + 1; i < list_length(query->targetList); i++)
		list_nth_node(TargetEntry, query->targetList, i)->resno = i + 1;
	return psprintf("SELECT %s\n   FROM (%s\n OFFSET 0) AS made (%s, %s)\n  WHERE " NOTE_FUNCTION "(%s, %s)", columns, kv_delta_print(query),
					columns, quote_identifier(time_name), quote_identifier(time_name), kv_statement_columns(noted, ""));
}
