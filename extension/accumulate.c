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
 * Rows of an append-only view are inserted as they are found, or given to the worker where the view is unstored. Rows under an aggregate
 * are captured (or, where a single stream drives, taken as they come), aggregated, and
 * combined with the stored groups by one upsert; see group_statements.c.
 */
#include "accumulate.h"

#include "catalog/pg_am.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "delta_query.h"
#include "group_statements.h"
#include "note_times.h"

static void add_late_counts(ViewDef *view, MaintenancePlan *plan);
static void add_lookups(ViewDef *view, MaintenancePlan *plan);
static MaintenanceStatement *lookup_upsert(ViewInput *input);
static MaintenanceStatement *lookup_delete(ViewInput *input);
static MaintenanceStatement *insert_rows(ViewDef *view, int driver);
static MaintenanceStatement *append_to_buffer(ViewDef *view, int number);
static void add_evictions(ViewDef *view, MaintenancePlan *plan);
static List *buffer_tables(ViewInput *input);
static List *input_columns(ViewInput *input);
static List *key_names(ViewInput *input, List *names);
static char *driven_title(ViewDef *view, int driver, const char *action);

/* Compiles the statements; see accumulate.h. */
MaintenancePlan *
kv_accumulate(ViewDef *view)
{
	MaintenancePlan *plan = palloc0(sizeof(MaintenancePlan));
	GroupCompiler *groups = NULL;
	int			nest = kv_delta_begin_printing();

	add_late_counts(view, plan);
	add_lookups(view, plan);
	if (view->shape == SHAPE_KEYED)
		groups = kv_groups_begin(view);
	for (int i = 0; i < view->ninputs; i++)
	{
		if (!kv_input_drives(&view->inputs[i]))
			continue;
		if (view->shape == SHAPE_APPEND)
			plan->statements = lappend(plan->statements, insert_rows(view, i));
		else if (!kv_view_is_direct(view))
			plan->statements = lappend(plan->statements, kv_groups_capture(groups, i));
		if (view->inputs[i].buffer_name)
		{
			MaintenanceStatement *append = append_to_buffer(view, i);

			plan->statements = lappend(plan->statements, append);
			plan->reload = lappend(plan->reload, append);
		}
	}
	if (groups)
		plan->statements = list_concat(plan->statements, kv_groups_statements(groups));
	add_evictions(view, plan);
	AtEOXact_GUC(true, nest);
	return plan;
}

/* Gives the statements that create what the view needs besides its result; see accumulate.h. */
List *
kv_accumulate_tables(ViewDef *view)
{
	List	   *statements = NIL;
	int			nest = kv_delta_begin_printing();

	for (int i = 0; i < view->ninputs; i++)
		if (view->inputs[i].buffer_name)
			statements = list_concat(statements, buffer_tables(&view->inputs[i]));
	if (view->shape == SHAPE_KEYED)
		statements = list_concat(statements, kv_groups_tables(view));
	AtEOXact_GUC(true, nest);
	return statements;
}

/* Gives the statements for rows that are there before any record; see accumulate.h. */
List *
kv_accumulate_first_rows(ViewDef *view)
{
	List	   *statements = NIL;
	int			nest = kv_delta_begin_printing();

	if (view->shape == SHAPE_KEYED)
		statements = kv_groups_first_rows(view);
	AtEOXact_GUC(true, nest);
	return statements;
}

/* Adds the counts of late rows: how many, and which of them a reload could not tell by their partition alone. */
static void
add_late_counts(ViewDef *view, MaintenancePlan *plan)
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
		plan->statements = lappend(plan->statements,
								   kv_statement(PHASE_LATE, psprintf("count late rows of %s", get_rel_name(input->relid)), sql, i));
	}
}

/* Adds what brings the lookup tables up to date, before anything looks them up. */
static void
add_lookups(ViewDef *view, MaintenancePlan *plan)
{
	for (int i = 0; i < view->ninputs; i++)
	{
		if (view->inputs[i].kind != INPUT_LOOKUP)
			continue;
		plan->statements = lappend(plan->statements, lookup_delete(&view->inputs[i]));
		plan->statements = lappend(plan->statements, lookup_upsert(&view->inputs[i]));
	}
}

/* Writes the last row of every key in the delta that is not deleted. */
static MaintenanceStatement *
lookup_upsert(ViewInput *input)
{
	List	   *ours = kv_statement_relation_columns(kv_delta_table(input->buffer_name), bms_num_members(input->columns));
	List	   *theirs = input_columns(input);
	List	   *our_keys = key_names(input, ours);
	char	   *their_keys = kv_statement_columns(key_names(input, theirs), "");
	StringInfoData sql;
	bool		first = true;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\nSELECT %s\n   FROM (SELECT DISTINCT ON (%s) %s, kv_deleted\n           FROM %s\n"
					 "          ORDER BY %s, kv_row DESC) AS last\n  WHERE NOT kv_deleted\nON CONFLICT (%s) DO ",
					 input->buffer_name, kv_statement_columns(ours, ""), kv_statement_columns(theirs, ""), their_keys, kv_statement_columns(theirs, ""),
					 quote_identifier(input->delta_name), their_keys, kv_statement_columns(our_keys, ""));
	foreach(cell, ours)
	{
		char	   *name = lfirst(cell);

		if (list_member_ptr(our_keys, name))
			continue;
		appendStringInfo(&sql, "%s%s = excluded.%s", first ? "UPDATE SET " : ", ", quote_identifier(name), quote_identifier(name));
		first = false;
	}
	if (first)
		appendStringInfoString(&sql, "NOTHING");
	return kv_statement(PHASE_LOOKUP, psprintf("apply new rows of %s", get_rel_name(input->relid)), sql.data, input->number);
}

/* Deletes the keys whose last row in the delta is a deletion. */
static MaintenanceStatement *
lookup_delete(ViewInput *input)
{
	List	   *ours = kv_statement_relation_columns(kv_delta_table(input->buffer_name), bms_num_members(input->columns));
	List	   *our_keys = key_names(input, ours);
	List	   *their_keys = key_names(input, input_columns(input));
	char	   *keys = kv_statement_columns(their_keys, "");
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s AS t\n  USING (SELECT DISTINCT ON (%s) %s, kv_deleted\n           FROM %s\n"
					 "          ORDER BY %s, kv_row DESC) AS last\n  WHERE last.kv_deleted",
					 input->buffer_name, keys, keys, quote_identifier(input->delta_name), keys);
	for (int i = 0; i < list_length(our_keys); i++)
	{
		const char *our = quote_identifier(list_nth(our_keys, i));
		const char *their = quote_identifier(list_nth(their_keys, i));
		char	   *equal = kv_statement_equality(get_atttype(input->relid, list_nth_int(input->keys, i)));

		if (list_length(our_keys) == 1)
			appendStringInfo(&sql, " AND t.%s %s last.%s", our, equal, their);
		else					/* a part of a key may be null */
			appendStringInfo(&sql, "\n    AND (t.%s %s last.%s OR t.%s IS NULL AND last.%s IS NULL)", our, equal, their, our, their);
	}
	return kv_statement(PHASE_LOOKUP, psprintf("apply deletions of %s", get_rel_name(input->relid)), sql.data, input->number);
}

/* Inserts the result rows that new rows of an input make; of an unstored view it only gives them. */
static MaintenanceStatement *
insert_rows(ViewDef *view, int driver)
{
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	Query	   *query = kv_delta_query(view, kv_input_arm(view, driver)->query, driver);
	char	   *sql;
	MaintenanceStatement *statement;

	if (kv_note_times_of_rows(view))
		sql = kv_note_row_times(view, query, kv_note_event_time(view, query, driver));
	else
		sql = kv_delta_print(query);
	if (!view->unstored)
		sql = psprintf("INSERT INTO %s (%s)\n%s%s%s", view->name, kv_statement_columns(columns, ""), sql,
					   view->read_by_views ? "\nRETURNING " : "", view->read_by_views ? kv_statement_columns(columns, "") : "");
	statement = kv_statement(PHASE_COMPUTE, driven_title(view, driver, view->unstored ? "compute" : "insert"), sql, driver);
	statement->writes_view = true;
	if (view->unstored || view->read_by_views)
		statement->capture_desc = view->result;
	return statement;
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
add_evictions(ViewDef *view, MaintenancePlan *plan)
{
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];

		if (!kv_input_drives(input) || !input->buffer_name)
			continue;
		plan->statements = lappend(plan->statements,
								   kv_statement(PHASE_EVICT, psprintf("evict old rows of %s", get_rel_name(input->relid)),
												psprintf("DELETE FROM %s\n  WHERE kv_time <= ($2 - %s)",
														 input->buffer_name, kv_delta_interval(input->retain_us)), -1));
	}
}

/*
 * Gives the statements that create an input's buffer or lookup table. A buffer
 * of a topic is a copy of recent records and can be read again after a crash, so it is
 * unlogged; one of a view's rows, and a lookup table, is state (DESIGN.md 5.2).
 */
static List *
buffer_tables(ViewInput *input)
{
	List	   *names = input_columns(input);
	List	   *statements;
	StringInfoData sql;
	ListCell   *cell;
	int			attno = -1;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTABLE %s (", input->kind == INPUT_STREAM ? "UNLOGGED " : "", input->buffer_name);
	foreach(cell, names)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		attno = bms_next_member(input->columns, attno);
		get_atttypetypmodcoll(input->relid, attno, &type, &typmod, &collation);
		appendStringInfo(&sql, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 kv_statement_column_definition(lfirst(cell), type, typmod, collation));
	}
	if (kv_input_drives(input))
		appendStringInfo(&sql, "%s" KV_COL_TIME " timestamptz NOT NULL)", names ? ", " : "");
	else
		appendStringInfoString(&sql, ") WITH (fillfactor = 80)");
	statements = list_make1(sql.data);

	if (input->kind == INPUT_LOOKUP)
		statements = lappend(statements, psprintf("CREATE UNIQUE INDEX ON %s (%s) NULLS NOT DISTINCT", input->buffer_name,
												  kv_statement_columns(key_names(input, names), "")));
	foreach(cell, input->probes)
	{
		List	   *columns = NIL;
		ListCell   *column;
		bool		ordered = true;

		foreach(column, (List *) lfirst(cell))
		{
			AttrNumber	number = lfirst_int(column);

			columns = lappend(columns, get_attname(input->relid, number, false));
			ordered &= OidIsValid(GetDefaultOpClass(get_atttype(input->relid, number), BTREE_AM_OID));
		}
		if (!ordered || (input->kind == INPUT_LOOKUP && equal(lfirst(cell), input->keys)))
			continue;
		/* the event time behind the keys makes a bound on it a range of the index */
		if (input->time_attno > 0 && !list_member_int(lfirst(cell), input->time_attno))
			columns = lappend(columns, get_attname(input->relid, input->time_attno, false));
		statements = lappend(statements, psprintf("CREATE INDEX ON %s (%s)", input->buffer_name, kv_statement_columns(columns, "")));
	}
	return statements;
}

/* Gives the names of an input's used columns, by number. */
static List *
input_columns(ViewInput *input)
{
	List	   *names = NIL;
	int			attno = -1;

	while ((attno = bms_next_member(input->columns, attno)) >= 0)
		names = lappend(names, get_attname(input->relid, attno, false));
	return names;
}

/* Picks the key columns out of names of the used columns, in key order. */
static List *
key_names(ViewInput *input, List *names)
{
	List	   *keys = NIL;
	ListCell   *cell;

	foreach(cell, input->keys)
		keys = lappend(keys, list_nth(names, bms_member_index(input->columns, lfirst_int(cell))));
	return keys;
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
