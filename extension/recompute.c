/*
 * recompute.c: the statements by which tables drive a view (DESIGN.md 3).
 *
 * Order within a batch: for each arm what the changes of its inputs reach (affected.c); then the rows of all arms that have
 * an affected anchor are computed from the copies as they are now. Of a view without groups they are compared with the rows of
 * the view that stand under these anchors: what is gone is deleted, what is new or differs is written. Under groups they go
 * to a table of the rows under the aggregate, and from its differences the touched groups are found (table_groups.c).
 *
 * Invariant: what a batch does not reach is neither read nor written.
 */
#include "recompute.h"

#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "affected.h"
#include "delta_query.h"
#include "input_tables.h"
#include "result_rows.h"
#include "table_groups.h"

/* Rows of the view with affected anchors, as they are now. */
#define CAPTURE_RESULT "kv_rows"

static List *result_statements(ViewDef *view);
static List *anchor_names(ViewDef *view, ViewArm *arm);
static char *capture_name(ViewDef *view, ViewArm *arm);
static bool same_anchor(ViewArm *one, ViewArm *other);
static MaintenanceStatement *compute_rows(ViewDef *view, Affected *affected);
static MaintenanceStatement *delete_gone(ViewDef *view, Affected *affected);
static char *standing_keys(ViewDef *view, Affected *affected);
static bool anchor_is_key(ViewDef *view, ViewArm *arm);
static MaintenanceStatement *write_rows(ViewDef *view);
static List *anchor_indexes(ViewDef *view);

/* Compiles the statements; see recompute.h. */
List *
kv_recompute(ViewDef *view)
{
	int			nest = kv_delta_begin_printing();
	List	   *statements = view->groups ? kv_table_groups(view) : result_statements(view);

	AtEOXact_GUC(true, nest);
	return statements;
}

/* Compiles the statements of a view without groups. */
static List *
result_statements(ViewDef *view)
{
	Affected  **affected = palloc(sizeof(Affected *) * view->narms);
	List	   *statements = NIL;

	for (int i = 0; i < view->narms; i++)
		affected[i] = kv_affected_statements(&view->arms[i], capture_name(view, &view->arms[i]), anchor_names(view, &view->arms[i]), &statements);
	for (int i = 0; i < view->narms; i++)
		statements = lappend(statements, compute_rows(view, affected[i]));
	for (int i = 0; i < view->narms; i++)
		statements = lappend(statements, delete_gone(view, affected[i]));
	return lappend(statements, write_rows(view));
}

/* Gives the names in the result of the anchor's columns that are not constants. */
static List *
anchor_names(ViewDef *view, ViewArm *arm)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, arm->anchor)
	{
		AnchorColumn *column = lfirst(cell);

		if (!IsA(column->source, Const))
			names = lappend(names, get_attname(view->relid, column->attno, false));
	}
	return names;
}

/* Names the capture of an arm's anchors. Arms whose rows are not told apart by their anchors are always computed together, and share it. */
static char *
capture_name(ViewDef *view, ViewArm *arm)
{
	for (int i = 0; i < arm->number; i++)
		if (same_anchor(&view->arms[i], arm))
			return capture_name(view, &view->arms[i]);
	return view->narms == 1 ? "kv_affected" : psprintf("kv_affected_%d", arm->number);
}

/* Have two arms the same columns of the result as their anchors, and no constants? */
static bool
same_anchor(ViewArm *one, ViewArm *other)
{
	ListCell   *a;
	ListCell   *b;

	if (list_length(one->anchor) != list_length(other->anchor))
		return false;
	forboth(a, one->anchor, b, other->anchor)
	{
		AnchorColumn *left = lfirst(a);
		AnchorColumn *right = lfirst(b);

		if (left->attno != right->attno || IsA(left->source, Const) || IsA(right->source, Const))
			return false;
	}
	return true;
}

/* Captures the rows of an arm that have an affected anchor, as they are now. */
static MaintenanceStatement *
compute_rows(ViewDef *view, Affected *affected)
{
	List	   *targets = copyObject(affected->arm->query->targetList);
	char	   *title = view->narms == 1 ? "compute the rows that are reached" : psprintf("compute the rows that are reached, part %d", affected->arm->number + 1);
	MaintenanceStatement *statement;

	for (int i = 0; i < list_length(targets); i++)
		list_nth_node(TargetEntry, targets, i)->resname = get_attname(view->relid, i + 1, false);
	statement = kv_statement(PHASE_COMPUTE, title, kv_affected_rows(affected, targets, anchor_names(view, affected->arm)), -1);
	statement->reads = affected->capture;
	statement->captures = CAPTURE_RESULT;
	statement->capture_desc = ExecTypeFromTL(targets);
	statement->null_safe = list_member_int(affected->nullable, true);
	return statement;
}

/* Deletes the rows with affected anchors that are no more. */
static MaintenanceStatement *
delete_gone(ViewDef *view, Affected *affected)
{
	char	   *title = view->narms == 1 ? "delete rows that are gone" : psprintf("delete rows that are gone, part %d", affected->arm->number + 1);
	char	   *gone = psprintf("%s\n        EXCEPT\n        SELECT %s FROM " CAPTURE_RESULT, standing_keys(view, affected),
								kv_statement_columns(kv_result_key_names(view), ""));
	MaintenanceStatement *statement = kv_result_delete(view, title, gone);

	statement->reads = affected->capture;
	statement->reads_also = CAPTURE_RESULT;
	return statement;
}

/* Selects the keys of the rows that may stand under affected anchors: these themselves where they are the key. */
static char *
standing_keys(ViewDef *view, Affected *affected)
{
	List	   *keys = kv_result_key_names(view);
	List	   *names = anchor_names(view, affected->arm);
	StringInfoData constants;
	ListCell   *cell;

	if (anchor_is_key(view, affected->arm))
		return psprintf("SELECT %s FROM %s", kv_statement_columns(affected->names, ""), affected->capture);

	initStringInfo(&constants);
	foreach(cell, affected->arm->anchor)
	{
		AnchorColumn *column = lfirst(cell);
		const char *name = quote_identifier(get_attname(view->relid, column->attno, false));

		if (IsA(column->source, Const) && ((Const *) column->source)->constisnull)
			appendStringInfo(&constants, " AND x.%s IS NULL", name);
		else if (IsA(column->source, Const))
			appendStringInfo(&constants, " AND x.%s %s %s", name, kv_statement_equality(exprType(column->source)),
							 deparse_expression(column->source, NIL, false, false));
	}
	if (constants.len == 0 && !list_member_int(affected->nullable, true))
		return psprintf("SELECT %s\n           FROM %s AS t,\n            %s\n          WHERE %s", kv_statement_columns(keys, "t."), view->name,
						kv_affected_distinct(affected),
						kv_statement_match("t", names, "affected", affected->names, affected->types, affected->nullable));
	/* what is known of constants and nulls says little about these rows, so the planner is not asked where to begin */
	return psprintf("SELECT %s\n           FROM %s (%s),\n            LATERAL (%s) AS found,\n            %s AS t\n          WHERE t.ctid = found.ctid",
					kv_statement_columns(keys, "t."), kv_affected_distinct(affected), kv_statement_columns(names, ""),
					kv_statement_find(view->name, names, "affected", affected->types, affected->nullable, constants.data), view->name);
}

/* Is the arm's anchor the key as a whole, in its order? */
static bool
anchor_is_key(ViewDef *view, ViewArm *arm)
{
	List	   *attnos = NIL;
	ListCell   *cell;

	foreach(cell, arm->anchor)
	{
		if (IsA(((AnchorColumn *) lfirst(cell))->source, Const))
			return false;
		attnos = lappend_int(attnos, ((AnchorColumn *) lfirst(cell))->attno);
	}
	return equal(attnos, view->keys);
}

/* Writes the captured rows where they differ from those that stand. */
static MaintenanceStatement *
write_rows(ViewDef *view)
{
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	MaintenanceStatement *statement = kv_result_upsert(view, "write rows that are new or differ",
													   psprintf("SELECT %s\n   FROM " CAPTURE_RESULT, kv_statement_columns(columns, "")));

	statement->reads = CAPTURE_RESULT;
	return statement;
}

/* Gives what creates the copies and indexes; see recompute.h. */
List *
kv_recompute_tables(ViewDef *view)
{
	List	   *statements = NIL;
	int			nest = kv_delta_begin_printing();

	for (int i = 0; i < view->ninputs; i++)
		if (view->inputs[i].buffer_name)
			statements = list_concat(statements, kv_input_tables(&view->inputs[i], false));
	statements = list_concat(statements, view->groups ? kv_table_groups_tables(view) : anchor_indexes(view));
	AtEOXact_GUC(true, nest);
	return statements;
}

/* Gives the statements for indexes by which rows are found by an anchor that is not the beginning of the key. */
static List *
anchor_indexes(ViewDef *view)
{
	List	   *statements = NIL;
	List	   *indexed = NIL;

	for (int i = 0; i < view->narms; i++)
	{
		ViewArm    *arm = &view->arms[i];
		List	   *first = list_copy_head(view->keys, list_length(arm->anchor));
		List	   *attnos = NIL;
		List	   *names = NIL;
		ListCell   *cell;

		foreach(cell, arm->anchor)
		{
			AnchorColumn *column = lfirst(cell);

			attnos = lappend_int(attnos, column->attno);
			names = lappend(names, get_attname(view->relid, column->attno, false));
		}
		if (list_difference_int(attnos, first) == NIL || list_member(indexed, attnos))
			continue;
		indexed = lappend(indexed, attnos);
		statements = lappend(statements, psprintf("CREATE INDEX ON %s (%s)", view->name, kv_statement_columns(names, "")));
	}
	return statements;
}

/* Gives what inserts the first rows; see recompute.h. */
List *
kv_recompute_first_rows(ViewDef *view)
{
	List	   *statements = NIL;
	int			nest = kv_delta_begin_printing();

	if (view->groups)
		statements = kv_table_groups_first_rows(view);
	AtEOXact_GUC(true, nest);
	return statements;
}
