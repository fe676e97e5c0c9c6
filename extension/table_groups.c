/*
 * table_groups.c: the statements of an aggregate of tables (DESIGN.md 2.5, 3).
 *
 * What the changes of the tables take from the rows under the aggregate and put into them is captured (grouped_rows.c). If every aggregate can
 * be corrected by that, a companion with the state of each group is (retract.c). Otherwise the groups that are touched are
 * computed again from their rows by the aggregates themselves, whichever they are: that costs as much as the group is large.
 */
#include "table_groups.h"

#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"

#include "delta_query.h"
#include "grouped_rows.h"
#include "result_rows.h"
#include "retract.h"
#include "ties.h"

/* Touched groups as their rows in the result are now. */
#define CAPTURE_GROUPS "kv_groups"

static GroupedRows *begin(ViewDef *view);
static List *recompute_statements(GroupedRows *rows);
static List *key_targets(GroupedRows *rows);
static MaintenanceStatement *compute_groups(GroupedRows *rows);
static Query *group_query(GroupedRows *rows);

/* Compiles the statements; see table_groups.h. */
List *
kv_table_groups(ViewDef *view)
{
	GroupedRows *rows = begin(view);
	List	   *statements = NIL;

	for (int i = 0; i < view->narms; i++)
		kv_grouped_rows_statements(rows, &view->arms[i], &statements);
	return list_concat(statements, kv_can_retract(view) ? kv_retract(rows) : recompute_statements(rows));
}

/* Begins; rows are looked up by group where groups are computed again, or take the spelling of their keys from one. */
static GroupedRows *
begin(ViewDef *view)
{
	GroupedRows *rows = kv_grouped_rows(view);

	rows->by_group = !kv_can_retract(view) || kv_retract_recomputes(view) || kv_grouped_rows_spell_keys(rows);
	return rows;
}

/* Compiles what computes the touched groups again. */
static List *
recompute_statements(GroupedRows *rows)
{
	ViewDef    *view = rows->view;
	char	   *columns = kv_statement_columns(kv_statement_relation_columns(view->relid, view->result->natts), "");
	char	   *keys = kv_statement_columns(kv_result_key_names(view), "");
	char	   *fresh = psprintf("SELECT %s\n   FROM " CAPTURE_GROUPS, columns);
	MaintenanceStatement *touched;
	MaintenanceStatement *write;
	MaintenanceStatement *gone;

	if (view->keys == NIL)
	{
		write = kv_result_update(view, "write the only row", fresh);
		write->reads = CAPTURE_GROUPS;
		return list_make2(compute_groups(rows), write);
	}
	touched = kv_statement(PHASE_COMPUTE, "find the groups that are touched", psprintf("SELECT DISTINCT %s\n   FROM " KV_CAPTURE_CHANGES, keys), -1);
	touched->reads = KV_CAPTURE_CHANGES;
	touched->captures = KV_CAPTURE_TOUCHED;
	touched->capture_desc = ExecTypeFromTL(key_targets(rows));

	gone = kv_result_delete(view, "delete groups that are gone", psprintf("SELECT %s FROM " KV_CAPTURE_TOUCHED "\n        EXCEPT\n        SELECT %s FROM " CAPTURE_GROUPS, keys, keys));
	gone->reads = KV_CAPTURE_TOUCHED;
	gone->reads_also = CAPTURE_GROUPS;
	write = kv_result_upsert(view, "write groups that are new or differ", fresh);
	write->reads = CAPTURE_GROUPS;
	return list_make4(touched, compute_groups(rows), gone, write);
}

/* Gives the columns of the key as targets. */
static List *
key_targets(GroupedRows *rows)
{
	List	   *targets = NIL;

	for (int i = 0; i < rows->nkeys; i++)
		targets = lappend(targets, makeTargetEntry((Expr *) kv_grouped_rows_exchange(rows, list_nth(rows->kept, i)), i + 1, list_nth(rows->names, i), false));
	return targets;
}

/* Captures the touched groups as they are now. */
static MaintenanceStatement *
compute_groups(GroupedRows *rows)
{
	ViewDef    *view = rows->view;
	char	   *touched = view->keys == NIL ? NULL : KV_CAPTURE_TOUCHED " AS touched";
	Query	   *query = group_query(rows);
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, view->keys == NIL ? "compute the only group again" : "compute the touched groups again",
												   psprintf("WITH " KV_TOUCHED_ROWS " AS (\n%s)\n%s", kv_grouped_rows_select(rows, touched, touched ? "touched" : NULL), kv_delta_print(query)), -1);

	statement->reads = view->keys == NIL ? KV_CAPTURE_CHANGES : KV_CAPTURE_TOUCHED;
	statement->captures = CAPTURE_GROUPS;
	statement->capture_desc = ExecCleanTypeFromTL(query->targetList);
	statement->null_safe = list_member_int(kv_result_key_nullable(view), true);
	return statement;
}

/* Gives the view's groups over what is kept of their rows. */
static Query *
group_query(GroupedRows *rows)
{
	ViewDef    *view = rows->view;
	Query	   *query = kv_delta_select_from(KV_TOUCHED_ROWS, rows->names);

	query->targetList = (List *) kv_ties_settle(kv_grouped_rows_exchange(rows, (Node *) view->groups->targetList));
	query->havingQual = kv_ties_settle(kv_grouped_rows_exchange(rows, view->groups->havingQual));
	query->groupClause = copyObject(view->groups->groupClause);
	query->hasAggs = view->groups->hasAggs;
	for (int i = 0; i < view->result->natts; i++)
		list_nth_node(TargetEntry, query->targetList, i)->resname = get_attname(view->relid, i + 1, false);
	if (view->groups->hasDistinctOn)
		kv_ties_distinct_on(rows, query);
	return query;
}

/* Gives what creates the tables; see table_groups.h. */
List *
kv_table_groups_tables(ViewDef *view)
{
	GroupedRows *rows = begin(view);
	List	   *statements = NIL;

	for (int i = 0; i < view->narms; i++)
		statements = list_concat(statements, kv_grouped_rows_tables(rows, &view->arms[i]));
	return list_concat(statements, kv_can_retract(view) ? kv_retract_tables(rows) : NIL);
}

/* Gives what inserts the only row of a view without GROUP BY; see table_groups.h. */
List *
kv_table_groups_first_rows(ViewDef *view)
{
	GroupedRows *rows = begin(view);

	if (view->keys != NIL)
		return NIL;
	if (kv_can_retract(view))
		return kv_retract_first_rows(rows);
	return list_make1(psprintf("WITH " KV_TOUCHED_ROWS " AS (%s)\nINSERT INTO %s\n%s", kv_grouped_rows_select(rows, NULL, NULL), view->name,
							   kv_delta_print(group_query(rows))));
}
