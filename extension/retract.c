/*
 * retract.c: groups of tables that are corrected by what is taken from their rows and put into
 * them.
 *
 * The companion has the state of every group (retract_state.h) and the number of its rows. A batch's changes are aggregated by group,
 * added to the state as it stands, and the rows of the view follow from the new state. Only a group whose least or greatest value
 * was taken away, with none as good put in, is computed again from its rows. Where equal keys may have other digits (1.0 and 1.00), the
 * key of a touched group is that of one of its rows as they are now, as in the query.
 *
 * Invariant: the companion has exactly the groups that have rows; without GROUP BY, its only row.
 */
#include "retract.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "utils/builtins.h"

#include "aggregate.h"
#include "delta_query.h"
#include "result_rows.h"
#include "retract_state.h"

/* Touched groups with their new state. */
#define CAPTURE_GROUPS "kv_groups"

/* Before a column of least or greatest values in kv_touched: the one taken away. */
#define TAKEN "taken_"

typedef struct Retract
{
	GroupedRows *rows;
	List	   *columns;		/* of RetractColumn * */
	List	   *keys;			/* char * */
	List	   *names;			/* char *: keys and columns */
} Retract;

static Retract *begin(GroupedRows *rows);
static MaintenanceStatement *aggregate_changes(Retract *retract);
static List *key_targets(Retract *retract);
static void group_by_keys(Query *query, Retract *retract);
static MaintenanceStatement *correct_groups(Retract *retract);
static char *current_keys(Retract *retract);
static char *corrected(RetractColumn *column);
static char *from_touched(Retract *retract, const char *join);
static MaintenanceStatement *recompute_groups(Retract *retract);
static char *spoiled(Retract *retract);
static Query *state_query(Retract *retract);
static List *keep_groups(Retract *retract);
static List *write_result(Retract *retract);
static Query *final_query(Retract *retract);
static Node *final_mutator(Node *node, Retract *retract);
static bool null_safe(Retract *retract);

/* Tells whether all aggregates can be corrected; see retract.h. */
bool
kv_can_retract(const ViewDef *view)
{
	ListCell   *cell;

	if (view->groups->hasDistinctOn)
		return false;
	foreach(cell, kv_aggregate_collect((Node *) list_make2(view->groups->targetList, view->groups->havingQual)))
		if (!kv_retract_knows(lfirst_node(Aggref, cell)))
			return false;
	return true;
}

/* Tells whether groups may have to be computed again; see retract.h. */
bool
kv_retract_recomputes(const ViewDef *view)
{
	ListCell   *cell;

	foreach(cell, kv_aggregate_collect((Node *) list_make2(view->groups->targetList, view->groups->havingQual)))
	{
		CombineKind kind = kv_aggregate_combine_kind(lfirst_node(Aggref, cell));

		if (kind == COMBINE_LEAST || kind == COMBINE_GREATEST)
			return true;
	}
	return false;
}

/* Compiles the statements; see retract.h. */
List *
kv_retract(GroupedRows *rows)
{
	Retract    *retract = begin(rows);
	List	   *statements = list_make2(aggregate_changes(retract), correct_groups(retract));

	if (kv_retract_recomputes(rows->view))
		statements = lappend(statements, recompute_groups(retract));
	statements = list_concat(statements, keep_groups(retract));
	return list_concat(statements, write_result(retract));
}

static Retract *
begin(GroupedRows *rows)
{
	Retract    *retract = palloc0(sizeof(Retract));
	ListCell   *cell;

	retract->rows = rows;
	retract->columns = kv_retract_columns(rows);
	retract->keys = list_copy_head(rows->names, rows->nkeys);
	retract->names = list_copy(retract->keys);
	foreach(cell, retract->columns)
		retract->names = lappend(retract->names, ((RetractColumn *) lfirst(cell))->name);
	return retract;
}

/* Captures what the changes make of each group. */
static MaintenanceStatement *
aggregate_changes(Retract *retract)
{
	List	   *kept = list_copy(retract->rows->names);
	Node	   *is_new = (Node *) makeVar(1, list_length(kept) + 1, BOOLOID, -1, InvalidOid, 0);
	Query	   *query = kv_delta_select_from(KV_CAPTURE_CHANGES, lappend(kept, KV_COL_NEW));
	MaintenanceStatement *statement;
	ListCell   *cell;

	query->targetList = key_targets(retract);
	foreach(cell, retract->columns)
	{
		RetractColumn *column = lfirst(cell);

		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) kv_retract_compute(column, is_new), list_length(query->targetList) + 1,
																	   column->name, false));
		if (column->kind == RETRACT_LEAST || column->kind == RETRACT_GREATEST)
			query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) kv_retract_taken(column, is_new), list_length(query->targetList) + 1,
																		   psprintf(TAKEN "%s", column->name), false));
	}
	group_by_keys(query, retract);
	statement = kv_statement(PHASE_COMPUTE, "aggregate what changes in each group", kv_delta_print(query), -1);
	statement->reads = KV_CAPTURE_CHANGES;
	statement->captures = KV_CAPTURE_TOUCHED;
	statement->capture_desc = ExecTypeFromTL(query->targetList);
	return statement;
}

/* Gives the keys as targets over what is kept of the rows. */
static List *
key_targets(Retract *retract)
{
	List	   *targets = NIL;
	ListCell   *cell;

	foreach(cell, retract->keys)
	{
		int			i = foreach_current_index(cell);

		targets = lappend(targets, makeTargetEntry((Expr *) kv_grouped_rows_exchange(retract->rows, list_nth(retract->rows->kept, i)), i + 1, lfirst(cell), false));
	}
	return targets;
}

/* Makes a query whose first targets are the keys group by them. */
static void
group_by_keys(Query *query, Retract *retract)
{
	List	   *clauses = copyObject(retract->rows->view->groups->groupClause);
	ListCell   *cell;

	query->hasAggs = true;
	foreach(cell, clauses)
	{
		int			i = foreach_current_index(cell) + 1;

		lfirst_node(SortGroupClause, cell)->tleSortGroupRef = i;
		list_nth_node(TargetEntry, query->targetList, i - 1)->ressortgroupref = i;
	}
	query->groupClause = clauses;
}

/* Captures the touched groups with their new state, but for those whose state does not follow from the old one. */
static MaintenanceStatement *
correct_groups(Retract *retract)
{
	StringInfoData sql;
	MaintenanceStatement *statement;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s", current_keys(retract));
	foreach(cell, retract->columns)
		appendStringInfo(&sql, "%s%s AS %s", retract->keys == NIL && foreach_current_index(cell) == 0 ? "" : ",\n    ", corrected(lfirst(cell)),
						 quote_identifier(((RetractColumn *) lfirst(cell))->name));
	appendStringInfo(&sql, "\n   FROM %s", from_touched(retract, "LEFT JOIN"));
	if (kv_retract_recomputes(retract->rows->view))
		appendStringInfo(&sql, "\n  WHERE (%s) IS NOT TRUE", spoiled(retract));
	statement = kv_statement(PHASE_COMPUTE, "correct the state of touched groups", sql.data, -1);
	statement->reads = KV_CAPTURE_TOUCHED;
	statement->captures = CAPTURE_GROUPS;
	statement->capture_desc = ExecTypeFromTL(state_query(retract)->targetList);
	statement->null_safe = null_safe(retract);
	return statement;
}

/* Gives the keys of the group "d": where they have several spellings those of a row "r" of it; there is none if it is gone. */
static char *
current_keys(Retract *retract)
{
	StringInfoData sql;
	ListCell   *cell;

	if (!kv_grouped_rows_spell_keys(retract->rows))
		return kv_statement_columns(retract->keys, "d.");
	initStringInfo(&sql);
	foreach(cell, retract->keys)
	{
		const char *name = quote_identifier(lfirst(cell));

		appendStringInfo(&sql, "%sCOALESCE(r.%s, d.%s) AS %s", foreach_current_index(cell) > 0 ? ", " : "", name, name, name);
	}
	return sql.data;
}

/* Gives the new value of a column from the state "g" and the change "d". */
static char *
corrected(RetractColumn *column)
{
	const char *name = quote_identifier(column->name);

	switch (column->kind)
	{
		case RETRACT_ROWS:
		case RETRACT_COUNT:
		case RETRACT_SUM:
			return psprintf("COALESCE(g.%s, 0) + d.%s", name, name);
		case RETRACT_KINDS:
			return psprintf("kafka_state.number_kinds_sum(g.%s, d.%s)", name, name);
		case RETRACT_LEAST:
			return psprintf("LEAST(d.%s, g.%s)", name, name);
		case RETRACT_GREATEST:
			return psprintf("GREATEST(d.%s, g.%s)", name, name);
	}
	elog(ERROR, "state of an unknown kind");
}

/* Gives the touched groups "d" joined with their state "g", and with a row "r" of each where that spells its keys. */
static char *
from_touched(Retract *retract, const char *join)
{
	ViewDef    *view = retract->rows->view;
	char	   *from;

	if (retract->keys == NIL)
		return psprintf(KV_CAPTURE_TOUCHED " AS d CROSS JOIN %s AS g", view->groups_name);
	from = psprintf(KV_CAPTURE_TOUCHED " AS d %s %s AS g ON %s", join, view->groups_name, kv_grouped_rows_match(retract->rows, "g", "d"));
	if (kv_grouped_rows_spell_keys(retract->rows))
		from = psprintf("%s\n    LEFT JOIN LATERAL (%s) AS r ON true", from, kv_grouped_rows_one(retract->rows, "d"));
	return from;
}

/* Captures the others with the state that their rows give. */
static MaintenanceStatement *
recompute_groups(Retract *retract)
{
	Query	   *query = state_query(retract);
	List	   *states = list_copy_tail(retract->names, list_length(retract->keys));
	char	   *rows = kv_grouped_rows_select(retract->rows, NULL, "d");
	TupleDesc	desc = ExecTypeFromTL(query->targetList);
	MaintenanceStatement *statement;

	query->targetList = list_copy_tail(query->targetList, list_length(retract->keys));
	query->groupClause = NIL;
	statement = kv_statement(PHASE_COMPUTE, "compute touched groups again whose least or greatest value was taken away",
							 psprintf("SELECT %s%s%s\n   FROM %s,\n    LATERAL (WITH " KV_TOUCHED_ROWS " AS (\n%s)\n%s) AS again (%s)\n  WHERE %s",
									  current_keys(retract), retract->keys ? ", " : "", kv_statement_columns(states, "again."),
									  from_touched(retract, "JOIN"), rows, kv_delta_print(query), kv_statement_columns(states, ""), spoiled(retract)), -1);
	statement->reads = KV_CAPTURE_TOUCHED;
	statement->captures = CAPTURE_GROUPS;
	statement->capture_desc = desc;
	statement->null_safe = null_safe(retract);
	return statement;
}

/* Gives the condition that a group goes on (the only one always does), but has lost its least or greatest value and got none as good. */
static char *
spoiled(Retract *retract)
{
	const char *count = quote_identifier(((RetractColumn *) linitial(retract->columns))->name);
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, retract->columns)
	{
		RetractColumn *column = lfirst(cell);
		const char *name = quote_identifier(column->name);
		const char *taken = quote_identifier(psprintf(TAKEN "%s", column->name));
		bool		least = column->kind == RETRACT_LEAST;

		if (!least && column->kind != RETRACT_GREATEST)
			continue;
		appendStringInfo(&sql, "%s(d.%s %s g.%s AND (d.%s IS NULL OR d.%s %s g.%s))", sql.len > 0 ? " OR " : "", taken, least ? "<=" : ">=", name,
						 name, name, least ? ">" : "<", name);
	}
	return retract->keys == NIL ? sql.data : psprintf("g.%s + d.%s > 0 AND (%s)", count, count, sql.data);
}

/* Makes the query for the state of groups over rows (KV_TOUCHED_ROWS). */
static Query *
state_query(Retract *retract)
{
	Query	   *query = kv_delta_select_from(KV_TOUCHED_ROWS, retract->rows->names);
	ListCell   *cell;

	query->targetList = key_targets(retract);
	foreach(cell, retract->columns)
	{
		RetractColumn *column = lfirst(cell);

		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) kv_retract_compute(column, NULL), list_length(query->targetList) + 1,
																	   column->name, false));
	}
	group_by_keys(query, retract);
	return query;
}

/* Compiles what brings the companion up to date. */
static List *
keep_groups(Retract *retract)
{
	ViewDef    *view = retract->rows->view;
	const char *count = quote_identifier(((RetractColumn *) linitial(retract->columns))->name);
	char	   *names = kv_statement_columns(retract->names, "");
	StringInfoData assignments;
	MaintenanceStatement *write;
	MaintenanceStatement *gone;
	ListCell   *cell;

	initStringInfo(&assignments);
	foreach(cell, retract->columns)
	{
		const char *name = quote_identifier(((RetractColumn *) lfirst(cell))->name);

		appendStringInfo(&assignments, "%s%s = %s.%s", foreach_current_index(cell) > 0 ? ", " : "", name, retract->keys ? "excluded" : "g", name);
	}
	if (retract->keys == NIL)
	{
		write = kv_statement(PHASE_COMPUTE, "keep the state of the only group",
							 psprintf("UPDATE %s AS t\n   SET %s\n   FROM " CAPTURE_GROUPS " AS g", view->groups_name, assignments.data), -1);
		write->reads = CAPTURE_GROUPS;
		return list_make1(write);
	}
	write = kv_statement(PHASE_COMPUTE, "keep the state of groups",
						 psprintf("INSERT INTO %s AS t (%s)\nSELECT %s\n   FROM " CAPTURE_GROUPS "\n  WHERE %s > 0\nON CONFLICT (%s) DO UPDATE SET %s",
								  view->groups_name, names, names, count, kv_statement_columns(retract->keys, ""), assignments.data), -1);
	write->reads = CAPTURE_GROUPS;
	gone = kv_statement(PHASE_COMPUTE, "forget groups without rows",
						psprintf("DELETE FROM %s AS t\n  USING " CAPTURE_GROUPS " AS g\n  WHERE g.%s = 0 AND %s", view->groups_name, count,
								 kv_grouped_rows_match(retract->rows, "t", "g")), -1);
	gone->reads = CAPTURE_GROUPS;
	gone->null_safe = null_safe(retract);
	return list_make2(write, gone);
}

/* Compiles what writes the rows of the view that follow from the state. */
static List *
write_result(Retract *retract)
{
	ViewDef    *view = retract->rows->view;
	Query	   *standing = final_query(retract);
	Query	   *failing = final_query(retract);
	BooleanTest *test = makeNode(BooleanTest);
	MaintenanceStatement *write;
	MaintenanceStatement *gone;

	if (retract->keys == NIL)
	{
		write = kv_result_update(view, "write the only row", kv_delta_print(standing));
		write->reads = CAPTURE_GROUPS;
		return list_make1(write);
	}
	test->arg = (Expr *) failing->jointree->quals;
	test->booltesttype = IS_NOT_TRUE;
	test->location = -1;
	failing->jointree->quals = (Node *) test;
	failing->targetList = key_targets(retract);
	gone = kv_result_delete(view, view->groups->havingQual ? "delete groups that are gone or fail HAVING" : "delete groups that are gone", kv_delta_print(failing));
	gone->reads = CAPTURE_GROUPS;
	write = kv_result_upsert(view, "write groups that are new or differ", kv_delta_print(standing));
	write->reads = CAPTURE_GROUPS;
	return list_make2(gone, write);
}

/* Makes the query for the view's rows over groups with their state. */
static Query *
final_query(Retract *retract)
{
	Query	   *groups = retract->rows->view->groups;
	Query	   *query = kv_delta_select_from(CAPTURE_GROUPS, retract->names);
	Node	   *count = (Node *) makeVar(1, list_length(retract->keys) + 1, INT8OID, -1, InvalidOid, 0);
	ListCell   *cell;

	query->targetList = (List *) final_mutator((Node *) groups->targetList, retract);
	foreach(cell, query->targetList)
		lfirst_node(TargetEntry, cell)->ressortgroupref = 0;
	if (retract->keys != NIL)
		kv_delta_add_condition(query, kv_retract_positive(count));
	if (groups->havingQual)
		kv_delta_add_condition(query, final_mutator(groups->havingQual, retract));
	return query;
}

/* Exchanges keys for their columns, and aggregates for their results. */
static Node *
final_mutator(Node *node, Retract *retract)
{
	ListCell   *cell;

	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref))
		return kv_retract_final(retract->rows, retract->columns, (Aggref *) node, list_length(retract->keys) + 1);
	if (!IsA(node, List) && !IsA(node, TargetEntry))
	{
		foreach(cell, list_copy_head(retract->rows->kept, retract->rows->nkeys))
			if (equal(lfirst(cell), node))
				return kv_grouped_rows_exchange(retract->rows, node);
	}
	return expression_tree_mutator(node, final_mutator, retract);
}

static bool
null_safe(Retract *retract)
{
	return list_member_int(kv_result_key_nullable(retract->rows->view), true);
}

/* Gives what creates the companion; see retract.h. */
List *
kv_retract_tables(GroupedRows *rows)
{
	Retract    *retract = begin(rows);
	List	   *statements;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, state_query(retract)->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Node	   *value = (Node *) target->expr;

		appendStringInfo(&sql, "%s%s", sql.len > 0 ? ", " : "",
						 kv_statement_column_definition(target->resname, exprType(value), exprTypmod(value), exprCollation(value)));
	}
	statements = list_make1(psprintf("CREATE TABLE %s (%s) WITH (fillfactor = 80)", rows->view->groups_name, sql.data));
	if (retract->keys != NIL)
		statements = lappend(statements, psprintf("CREATE UNIQUE INDEX ON %s (%s) NULLS NOT DISTINCT", rows->view->groups_name,
												  kv_statement_columns(retract->keys, "")));
	return statements;
}

/* Gives what inserts the only group and its row; see retract.h. */
List *
kv_retract_first_rows(GroupedRows *rows)
{
	Retract    *retract = begin(rows);
	ViewDef    *view = rows->view;

	return list_make2(psprintf("WITH " KV_TOUCHED_ROWS " AS (%s)\nINSERT INTO %s\n%s", kv_grouped_rows_select(rows, NULL, NULL), view->groups_name,
							   kv_delta_print(state_query(retract))),
					  psprintf("WITH " CAPTURE_GROUPS " AS (SELECT * FROM %s)\nINSERT INTO %s\n%s", view->groups_name, view->name,
							   kv_delta_print(final_query(retract))));
}
