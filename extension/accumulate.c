/*
 * accumulate.c: the statements by which streams drive a view (DESIGN.md 3).
 *
 * Invariant: for every input i, new rows of i meet the buffers of the inputs before it
 * with, and of those after it without, this batch's rows, because each input is
 * appended to its buffer right after its own statement. So every combination of rows is
 * joined exactly once, when its last row arrives, for self-joins too: an input
 * has a buffer of its own even where two inputs read the same topic. Arms of a union do not
 * meet at all.
 *
 * Rows that an outer join of streams leaves without a match are made when time closes them, or at once where they come late;
 * join_graph.c has the times and the proof that this is once.
 *
 * Rows of an append-only view are inserted, or given to the worker where the view is unstored, in the order of the records that made them: so messages of one
 * key keep the order of their changes, and it does not matter to sinks and views over it where batches end. If several inputs drive, the rows of all
 * are captured first. Rows that one record makes have no order among each other, and a join of streams finds all pairs of a batch by the last
 * input, so its rows are only in the order of that one's records. Rows under an aggregate
 * are captured (or, where a single stream drives, taken as they come), aggregated, and
 * combined with the stored groups by one upsert; see group_statements.c.
 */
#include "accumulate.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "closing_statements.h"
#include "delta_query.h"
#include "distinct_values.h"
#include "group_rows.h"
#include "group_statements.h"
#include "input_tables.h"
#include "normalize.h"
#include "note_times.h"
#include "outer_join.h"
#include "retention.h"
#include "session_rows.h"
#include "session_statements.h"

/* Rows of a view that several inputs drive, before they are written in order. */
#define CAPTURE_MADE "kv_made"

static void add_late_counts(ViewDef *view, List **statements);
static void add_lookups(ViewDef *view, List **statements);
static void add_rows(ViewDef *view, int driver, List **statements);
static MaintenanceStatement *take_closed(ViewDef *view, int number);
static void add_unmatched(ViewDef *view, int number, bool late, List **statements);
static bool must_order(const ViewDef *view, const ViewArm *arm);
static void add_place(ViewDef *view, Query *query, int number);
static MaintenanceStatement *write_rows(ViewDef *view, const ViewArm *arm, StatementPhase phase, char *title, Query *query, int input);
static MaintenanceStatement *made_rows(ViewDef *view, const ViewArm *arm, StatementPhase phase, char *title, Query *query, int input);
static List *made_names(const ViewDef *view);
static MaintenanceStatement *write_in_order(ViewDef *view);
static MaintenanceStatement *insert_rows(ViewDef *view, StatementPhase phase, char *title, char *rows, int input);
static void sort_by(Query *query, TargetEntry *target);
static MaintenanceStatement *append_to_buffer(ViewDef *view, int number);
static void add_evictions(ViewDef *view, List **statements);
static char *driven_title(ViewDef *view, int driver, const char *action);
static char *unmatched_title(ViewDef *view, int number, bool late);
static const char *rows_action(const ViewDef *view);

/* Compiles the statements; see accumulate.h. */
void
kv_accumulate(ViewDef *view, List **statements, List **reload)
{
	GroupCompiler *groups = NULL;
	int			nest = kv_delta_begin_printing();

	add_late_counts(view, statements);
	add_lookups(view, statements);
	if (view->groups)
		groups = kv_group_state_begin(view);
	for (int i = 0; i < view->ninputs; i++)
	{
		if (!kv_input_drives(&view->inputs[i]))
			continue;
		add_rows(view, i, statements);
		if (view->inputs[i].preserved)
			add_unmatched(view, i, true, statements);
		if (view->inputs[i].buffer_name)
		{
			MaintenanceStatement *append = append_to_buffer(view, i);

			*statements = lappend(*statements, append);
			*reload = lappend(*reload, append);
		}
	}
	for (int i = 0; i < view->ninputs; i++)
		if (view->inputs[i].preserved)
		{
			*statements = lappend(*statements, take_closed(view, i));
			add_unmatched(view, i, false, statements);
		}
	if (!view->groups && view->ndriving > 1)
		*statements = lappend(*statements, write_in_order(view));
	if (view->sessions)
		*statements = list_concat(*statements, kv_session_statements(groups));
	if (groups)
		*statements = list_concat(*statements, kv_groups_statements(groups));
	if (kv_closing_needed(view))
		*statements = list_concat(*statements, kv_closing_statements(groups));
	*statements = list_concat(*statements, kv_retention_statements(view));
	add_evictions(view, statements);
	AtEOXact_GUC(true, nest);
}

/* Gives the statements that create what the view needs besides its result; see accumulate.h. */
List *
kv_accumulate_tables(ViewDef *view)
{
	List	   *statements = NIL;
	int			nest = kv_delta_begin_printing();
	ListCell   *cell;

	for (int i = 0; i < view->ninputs; i++)
		if (view->inputs[i].buffer_name)
			statements = list_concat(statements, kv_input_tables(&view->inputs[i], view->inputs[i].kind == INPUT_STREAM));
	if (view->groups)
		statements = list_concat(statements, kv_groups_tables(view));
	if (view->sessions)
		statements = list_concat(statements, kv_session_indexes(view));
	if (view->keeps_rows)
		statements = list_concat(statements, kv_session_rows_tables(view));
	if (kv_closing_needed(view))
		statements = list_concat(statements, kv_closing_indexes(view));
	else if (view->retention_us >= 0 && view->groups_name && kv_retention_index(view))
		foreach(cell, lcons(view->groups_name, kv_distinct_table_names(view)))
			statements = lappend(statements, psprintf("CREATE INDEX ON %s (%s)", (char *) lfirst(cell), kv_retention_index(view)));
	AtEOXact_GUC(true, nest);
	return statements;
}

/* Gives the statements for rows that are there before any record; see accumulate.h. */
List *
kv_accumulate_first_rows(ViewDef *view)
{
	List	   *statements = NIL;
	int			nest = kv_delta_begin_printing();

	if (view->groups)
		statements = kv_groups_first_rows(view);
	AtEOXact_GUC(true, nest);
	return statements;
}

/* Adds the counts of late rows: how many, and which of them a reload could not tell by their partition alone. */
static void
add_late_counts(ViewDef *view, List **statements)
{
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];
		char	   *rows;
		char	   *sql;

		if (input->lateness_us == PG_INT64_MAX)
			continue;
		rows = kv_delta_print(kv_delta_own_rows(view, i, true));
		sql = psprintf("SELECT count(*) AS late_rows,\n    array_agg(kv_row) FILTER (WHERE by_frontier) AS skipped\n   FROM (%s) AS late", rows);
		*statements = lappend(*statements,
								   kv_statement(PHASE_LATE, psprintf("count late rows of %s", get_rel_name(input->relid)), sql, i));
	}
}

/* Adds what brings the lookup tables up to date, before anything looks them up. */
static void
add_lookups(ViewDef *view, List **statements)
{
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];

		if (!kv_input_is_table(input))
			continue;
		*statements = lappend(*statements, kv_copy_delete(input, psprintf("(%s)", kv_input_last_rows(input, true))));
		*statements = lappend(*statements, kv_copy_upsert(input, psprintf("(%s)", kv_input_last_rows(input, false))));
	}
}

/* Adds what makes the rows of the rows layer that new rows of an input make, unless the groups take them as they come. */
static void
add_rows(ViewDef *view, int driver, List **statements)
{
	ViewArm    *arm = kv_input_arm(view, driver);
	Query	   *query = copyObject(arm->query);

	if (kv_retention_can_be_late(view, driver))
	{
		*statements = lappend(*statements, kv_retention_count_late(view, driver));
		kv_delta_add_condition(query, kv_retention_lateness(view, driver, false));
	}
	if (!view->groups)
	{
		if (must_order(view, arm))
			add_place(view, query, driver);
		*statements = lappend(*statements, write_rows(view, arm, PHASE_COMPUTE, driven_title(view, driver, rows_action(view)),
													  kv_delta_query(view, query, driver), driver));
	}
	else if (!kv_view_is_direct(view))
		*statements = lappend(*statements, kv_group_rows_capture(view, driver));
}

/* Captures the rows of a preserved input that time closes, so that each can be applied by itself where one of them makes that fail. */
static MaintenanceStatement *
take_closed(ViewDef *view, int number)
{
	ViewInput  *input = &view->inputs[number];
	Relation	buffer = table_open(kv_delta_table(input->buffer_name), AccessShareLock);
	List	   *columns = kv_statement_relation_columns(RelationGetRelid(buffer), RelationGetNumberOfAttributes(buffer));
	MaintenanceStatement *statement;

	statement = kv_statement(PHASE_TAKE, psprintf("take the rows of %s that are closed", get_rel_name(input->relid)),
							 psprintf("SELECT %s\n   FROM %s\n  WHERE %s\n  ORDER BY " KV_COL_TIME, kv_statement_columns(columns, ""),
									  input->buffer_name, kv_delta_closing(input)), number);
	statement->captures = kv_delta_closed_name(input);
	statement->capture_desc = CreateTupleDescCopy(RelationGetDescr(buffer));
	table_close(buffer, NoLock);
	return statement;
}

/* Adds what makes those that a preserved input adds to an outer join without a match. */
static void
add_unmatched(ViewDef *view, int number, bool late, List **statements)
{
	StatementPhase phase = late ? PHASE_COMPUTE : PHASE_UNMATCHED;
	char	   *title = unmatched_title(view, number, late);
	ViewArm    *arm = kv_input_arm(view, number);
	int			input = late ? number : -1;
	Query	   *query = copyObject(arm->query);
	MaintenanceStatement *statement;

	/* a late row is emitted whatever its age, and has been counted */
	if (late && !view->groups && view->retention_us >= 0)
		kv_delta_add_condition(query, kv_retention_lateness(view, number, false));
	if (!view->groups)
	{
		if (must_order(view, arm))
			add_place(view, query, input);
		statement = write_rows(view, arm, phase, title, kv_delta_unmatched(view, query, number, late), input);
	}
	else
		statement = kv_group_rows_capture_unmatched(view, number, late, title);
	if (!late)
		statement->reads = kv_delta_closed_name(&view->inputs[number]);
	*statements = lappend(*statements, statement);
}

/* Must rows of an arm be put in order, or is it that of the delta anyway? */
static bool
must_order(const ViewDef *view, const ViewArm *arm)
{
	return view->ndriving > 1 || list_length(arm->query->rtable) > 1;
}

/* Adds to a query of an input's arm the place of its record in processing order, null for rows that time makes (-1). */
static void
add_place(ViewDef *view, Query *query, int number)
{
	Node	   *place = number < 0 ? (Node *) makeNullConst(INT8OID, -1, InvalidOid) : kv_delta_row(kv_input_arm(view, number), &view->inputs[number]);

	query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) place, list_length(query->targetList) + 1,
																   kv_unique_name(KV_COL_ROW, view->row_names), false));
}

/* Writes the result rows that a query of an arm makes, with the delta of input (-1: none). */
static MaintenanceStatement *
write_rows(ViewDef *view, const ViewArm *arm, StatementPhase phase, char *title, Query *query, int input)
{
	if (view->ndriving > 1)
		return made_rows(view, arm, phase, title, query, input);
	if (must_order(view, arm))
		sort_by(query, llast_node(TargetEntry, query->targetList));
	if (kv_note_times_of_rows(view))
		return insert_rows(view, phase, title, kv_note_row_times(view, query, kv_note_event_time(arm, query, input)), input);
	return insert_rows(view, phase, title, kv_delta_print(query), input);
}

/* Captures them, with their places and event times. */
static MaintenanceStatement *
made_rows(ViewDef *view, const ViewArm *arm, StatementPhase phase, char *title, Query *query, int input)
{
	List	   *names = made_names(view);
	MaintenanceStatement *statement;

	query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) kv_note_event_time(arm, query, input), list_length(query->targetList) + 1,
																   llast(names), false));
	statement = kv_statement(phase, title, kv_delta_print(query), input);
	statement->captures = CAPTURE_MADE;
	statement->capture_desc = ExecTypeFromTL(query->targetList);
	return statement;
}

/* Names the columns of captured rows: the row columns, place, time. */
static List *
made_names(const ViewDef *view)
{
	return list_concat_copy(view->row_names, list_make2(kv_unique_name(KV_COL_ROW, view->row_names), kv_unique_name(KV_COL_TIME, view->row_names)));
}

/* Writes the captured rows in processing order. */
static MaintenanceStatement *
write_in_order(ViewDef *view)
{
	Query	   *query = kv_delta_select_from(CAPTURE_MADE, made_names(view));
	int			ncolumns = list_length(view->row_names);
	char	   *rows;
	MaintenanceStatement *statement;
	ListCell   *cell;

	foreach(cell, view->arms[0].query->targetList)
	{
		Node	   *expr = (Node *) lfirst_node(TargetEntry, cell)->expr;
		int			number = foreach_current_index(cell) + 1;
		Var		   *var = makeVar(1, number, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);

		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) var, number, list_nth(view->row_names, number - 1), false));
	}
	query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) makeVar(1, ncolumns + 1, INT8OID, -1, InvalidOid, 0), ncolumns + 1, NULL, true));
	sort_by(query, llast_node(TargetEntry, query->targetList));
	/* those that time makes have no place */
	query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) makeVar(1, ncolumns + 2, TIMESTAMPTZOID, -1, InvalidOid, 0), ncolumns + 2, NULL, true));
	sort_by(query, llast_node(TargetEntry, query->targetList));
	if (kv_note_times_of_rows(view))
		rows = kv_note_row_times(view, query, (Node *) makeVar(1, ncolumns + 2, TIMESTAMPTZOID, -1, InvalidOid, 0));
	else
		rows = kv_delta_print(query);
	statement = insert_rows(view, PHASE_COMPUTE, view->unstored ? "give these rows in processing order" : "insert these rows in processing order", rows, -1);
	statement->reads = CAPTURE_MADE;
	return statement;
}

/* Inserts rows; of an unstored view it only gives them. */
static MaintenanceStatement *
insert_rows(ViewDef *view, StatementPhase phase, char *title, char *rows, int input)
{
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	char	   *sql = rows;
	MaintenanceStatement *statement;

	if (!view->unstored)
		sql = psprintf("INSERT INTO %s (%s)\n%s%s%s", view->name, kv_statement_columns(columns, ""), rows,
					   view->read_by_views ? "\nRETURNING " : "", view->read_by_views ? kv_statement_columns(columns, "") : "");
	statement = kv_statement(phase, title, sql, input);
	statement->writes_view = true;
	if (view->unstored || view->read_by_views)
		statement->capture_desc = view->result;
	return statement;
}

/* Orders a query by a target too, and does not select that. */
static void
sort_by(Query *query, TargetEntry *target)
{
	SortGroupClause *clause = makeNode(SortGroupClause);

	target->resjunk = true;
	clause->tleSortGroupRef = assignSortGroupRef(target, query->targetList);
	get_sort_group_operators(exprType((Node *) target->expr), true, true, false, &clause->sortop, &clause->eqop, NULL, &clause->hashable);
	query->sortClause = lappend(query->sortClause, clause);
}

/* Puts the rows of a delta that are not late and can join into their buffer. */
static MaintenanceStatement *
append_to_buffer(ViewDef *view, int number)
{
	ViewInput  *input = &view->inputs[number];
	List	   *columns = kv_statement_relation_columns(kv_delta_table(input->buffer_name), bms_num_members(input->columns) + 1);
	char	   *rows = kv_delta_print(kv_delta_own_rows(view, number, false));

	return kv_statement(PHASE_APPEND, psprintf("buffer new rows of %s", get_rel_name(input->relid)),
						psprintf("INSERT INTO %s (%s)\n%s", input->buffer_name, kv_statement_columns(columns, ""), rows), number);
}

/* Adds the deletion of rows that no probe can see any more. */
static void
add_evictions(ViewDef *view, List **statements)
{
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];

		if (!kv_input_drives(input) || !input->buffer_name)
			continue;
		*statements = lappend(*statements,
								   kv_statement(PHASE_EVICT, psprintf("evict old rows of %s", get_rel_name(input->relid)),
												psprintf("DELETE FROM %s\n  WHERE kv_time <= ($2 - %s)",
														 input->buffer_name, kv_delta_interval(input->retain_us)), -1));
	}
}

/* Says what a COMPUTE statement does: "insert new rows of orders joined with payments, customers". */
static char *
driven_title(ViewDef *view, int driver, const char *action)
{
	ViewArm    *arm = kv_input_arm(view, driver);
	StringInfoData title;

	initStringInfo(&title);
	appendStringInfo(&title, "%s new rows of %s", action, get_rel_name(view->inputs[driver].relid));
	for (int i = 0, others = 0; i < arm->ninputs; i++)
		if (arm->first + i != driver)
			appendStringInfo(&title, "%s%s", others++ == 0 ? " joined with " : ", ", get_rel_name(arm->inputs[i].relid));
	return title.data;
}

/* Says the same of rows without a match: "insert closed rows of orders without a row of payments". */
static char *
unmatched_title(ViewDef *view, int number, bool late)
{
	ViewInput  *partner = kv_outer_join_partner(kv_input_arm(view, number), &view->inputs[number]);

	return psprintf("%s %s rows of %s without a row of %s", view->groups ? "take" : rows_action(view), late ? "late" : "closed",
					get_rel_name(view->inputs[number].relid), get_rel_name(partner->relid));
}

/* Says what statements do that make rows of a view without groups. */
static const char *
rows_action(const ViewDef *view)
{
	return view->unstored || view->ndriving > 1 ? "compute" : "insert";
}
