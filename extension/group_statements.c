/*
 * group_statements.c: the statements that keep an aggregate view (DESIGN.md 3).
 *
 * Two ways, which ViewDef.own_state tells apart. Bare keys and aggregates that
 * are their own state: one upsert of the delta's partial aggregates into the result
 * table. Everything else: the upsert goes into a companion table with the whole state
 * of every group and gives back the groups it touched; from them the view's rows are derived
 * and written where they differ, and deleted where HAVING fails. So the cost is in
 * proportion to the groups the delta touches, never to the view.
 *
 * Without GROUP BY there is one group, whose row exists from the creation on, as the
 * query over an empty topic gives one row.
 */
#include "group_statements.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "aggregate.h"
#include "delta_query.h"
#include "group_rows.h"
#include "normalize.h"

#define CAPTURE_GROUPS KV_CAPTURE_GROUPS

/* What an expression's parts are exchanged for. */
typedef struct Exchange
{
	List	   *from;			/* expressions */
	int			first_attno;	/* the first is exchanged for this column of entry 1 */
	GroupCompiler *groups;		/* aggregates are exchanged for their result, NULL: they stay */
} Exchange;

static void name_state(GroupCompiler *groups);
static MaintenanceStatement *upsert_result(GroupCompiler *groups);
static MaintenanceStatement *upsert_groups(GroupCompiler *groups);
static MaintenanceStatement *update_only_group(GroupCompiler *groups, Query *partial);
static Query *partial_query(GroupCompiler *groups);
static MaintenanceStatement *derive_rows(GroupCompiler *groups);
static MaintenanceStatement *update_only_row(GroupCompiler *groups);
static MaintenanceStatement *delete_failing(GroupCompiler *groups, bool null_keys);
static List *state_names(GroupCompiler *groups);
static Node *exchange_mutator(Node *node, Exchange *exchange);
static List *value_names(GroupCompiler *groups);
static char *assignments(List *names, const char *delta);
static char *difference(GroupCompiler *groups, const char *delta);
static bool counts_every_row(ViewDef *view);

/* Starts compiling: names the keys and the state. */
GroupCompiler *
kv_groups_begin(ViewDef *view)
{
	GroupCompiler *groups = palloc0(sizeof(GroupCompiler));
	ListCell   *cell;

	groups->view = view;
	groups->key_exprs = get_sortgrouplist_exprs(view->groups->groupClause, view->groups->targetList);
	foreach(cell, view->keys)
		groups->key_names = lappend(groups->key_names, get_attname(view->relid, lfirst_int(cell), false));
	if (!view->own_state)
		name_state(groups);
	return groups;
}

/* Lists the state columns of the view's aggregates. */
static void
name_state(GroupCompiler *groups)
{
	Query	   *query = groups->view->groups;
	List	   *taken = list_copy(groups->key_names);
	ListCell   *cell;

	foreach(cell, kv_aggregate_collect((Node *) list_make2(query->targetList, query->havingQual)))
		groups->columns = kv_aggregate_add_columns(groups->columns, lfirst_node(Aggref, cell), &taken);
}

/* Compiles the rest; see group_statements.h. */
List *
kv_groups_statements(GroupCompiler *groups)
{
	List	   *statements = NIL;

	if (groups->view->window)
		statements = list_make1(kv_group_rows_count_late(groups->view));
	if (groups->view->own_state)
		return lappend(statements, upsert_result(groups));

	statements = lappend(statements, upsert_groups(groups));
	if (groups->view->final)
		return statements;
	if (groups->view->keys == NIL)
		return lappend(statements, update_only_row(groups));

	statements = lappend(statements, derive_rows(groups));
	if (groups->view->groups->havingQual)
	{
		statements = lappend(statements, delete_failing(groups, false));
		statements = lappend(statements, delete_failing(groups, true));
	}
	return statements;
}

/* Combines partial aggregates with the result table, which is its own state. */
static MaintenanceStatement *
upsert_result(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	List	   *attnos = NIL;
	List	   *stored = NIL;
	List	   *combined = NIL;
	StringInfoData sql;
	MaintenanceStatement *statement;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\n%s\nON CONFLICT (%s) DO ", view->name, kv_statement_columns(columns, ""),
					 kv_delta_print(kv_group_rows_query(view, view->groups)), kv_statement_columns(groups->key_names, ""));
	foreach(cell, view->groups->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		char	   *name = list_nth(columns, target->resno - 1);
		CombineKind kind;

		if (list_member_int(view->keys, target->resno))
			continue;
		kind = kv_aggregate_combine_kind((Aggref *) target->expr);
		attnos = lappend_int(attnos, target->resno);
		stored = lappend(stored, psprintf("t.%s", quote_identifier(name)));
		combined = lappend(combined, kv_aggregate_combine(kind, name, "excluded"));
		appendStringInfo(&sql, "%s%s = %s", list_length(attnos) == 1 ? "UPDATE SET " : ", ", quote_identifier(name), (char *) llast(combined));
	}
	if (attnos == NIL)
		appendStringInfoString(&sql, "NOTHING");
	else if (!counts_every_row(view))
		appendStringInfo(&sql, "\n  WHERE %s", kv_statement_difference(view->result, attnos, stored, combined));

	statement = kv_statement(PHASE_COMPUTE, "combine aggregates of new rows with the view", sql.data, -1);
	kv_statement_return_rows(view, statement, false);
	kv_group_rows_place(view, statement);
	return statement;
}

/* Combines partial aggregates with the companion; captures the touched groups. */
static MaintenanceStatement *
upsert_groups(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	Query	   *partial = partial_query(groups);
	List	   *columns = list_concat_copy(groups->key_names, state_names(groups));
	List	   *stored = kv_statement_relation_columns(kv_delta_table(view->groups_name), list_length(columns));
	int			nkeys = list_length(groups->key_names);
	StringInfoData sql;
	MaintenanceStatement *statement;

	if (nkeys == 0)
		return update_only_group(groups, partial);

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\n%s\nON CONFLICT (%s) DO ", view->groups_name, kv_statement_columns(stored, ""),
					 kv_delta_print(partial), kv_statement_columns(list_copy_head(stored, nkeys), ""));
	for (int i = nkeys; i < list_length(stored); i++)
	{
		StateColumn *column = list_nth(groups->columns, i - nkeys);

		appendStringInfo(&sql, "%s%s = %s", i == nkeys ? "UPDATE SET " : ", ", quote_identifier(list_nth(stored, i)),
						 kv_aggregate_combine(column->combine, list_nth(stored, i), "excluded"));
	}
	if (nkeys == list_length(stored))
		appendStringInfoString(&sql, "NOTHING");
	if (!view->final)
		appendStringInfo(&sql, "\nRETURNING %s", kv_statement_columns(stored, "t."));

	statement = kv_statement(PHASE_COMPUTE, "combine aggregates of new rows with the groups", sql.data, -1);
	if (!view->final)
		kv_groups_capture_groups(groups, statement);
	kv_group_rows_place(view, statement);
	return statement;
}

/* Combines the partial aggregate with the one group there is without GROUP BY. */
static MaintenanceStatement *
update_only_group(GroupCompiler *groups, Query *partial)
{
	ViewDef    *view = groups->view;
	List	   *stored = kv_statement_relation_columns(kv_delta_table(view->groups_name), list_length(groups->columns));
	StringInfoData sql;
	MaintenanceStatement *statement;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t\n   SET ", view->groups_name);
	for (int i = 0; i < list_length(stored); i++)
	{
		StateColumn *column = list_nth(groups->columns, i);

		appendStringInfo(&sql, "%s%s = %s", i > 0 ? ", " : "", quote_identifier(list_nth(stored, i)),
						 kv_aggregate_combine(column->combine, list_nth(stored, i), "delta"));
	}
	appendStringInfo(&sql, "\n   FROM (%s) AS delta (%s)\nRETURNING %s", kv_delta_print(partial),
					 kv_statement_columns(stored, ""), kv_statement_columns(stored, "t."));

	statement = kv_statement(PHASE_COMPUTE, "combine the aggregate of new rows with the only group", sql.data, -1);
	kv_groups_capture_groups(groups, statement);
	kv_group_rows_place(view, statement);
	return statement;
}

/* Makes the query for keys and partial aggregates of the new rows. */
static Query *
partial_query(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	Query	   *base = copyObject(view->groups);
	ListCell   *cell;

	base->targetList = NIL;
	base->havingQual = NULL;
	base->hasAggs = groups->columns != NIL;
	foreach(cell, view->groups->groupClause)
	{
		TargetEntry *target = copyObject(get_sortgroupclause_tle(lfirst(cell), view->groups->targetList));

		target->resno = list_length(base->targetList) + 1;
		target->resname = list_nth(groups->key_names, target->resno - 1);
		base->targetList = lappend(base->targetList, target);
	}
	foreach(cell, groups->columns)
	{
		StateColumn *column = lfirst(cell);

		base->targetList = lappend(base->targetList, makeTargetEntry((Expr *) copyObject(column->partial),
																	 list_length(base->targetList) + 1, column->name, false));
	}
	return kv_group_rows_query(view, base);
}

/* Writes the view's rows of touched groups where they differ. */
static MaintenanceStatement *
derive_rows(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	List	   *values = value_names(groups);
	StringInfoData sql;
	MaintenanceStatement *statement;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\n%s\nON CONFLICT (%s) DO ", view->name, kv_statement_columns(columns, ""),
					 kv_delta_print(kv_groups_final_query(groups)), kv_statement_columns(groups->key_names, ""));
	if (values == NIL)
		appendStringInfoString(&sql, "NOTHING");
	else
		appendStringInfo(&sql, "UPDATE SET %s\n  WHERE %s", assignments(values, "excluded"), difference(groups, "excluded"));

	statement = kv_statement(PHASE_COMPUTE, "write the rows of touched groups", sql.data, -1);
	kv_statement_return_rows(view, statement, false);
	statement->reads = CAPTURE_GROUPS;
	return statement;
}

/* Writes the only row of a view without GROUP BY where it differs. */
static MaintenanceStatement *
update_only_row(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	char	   *sql = psprintf("UPDATE %s AS t\n   SET %s\n   FROM (%s) AS final (%s)\n  WHERE %s", view->name, assignments(columns, "final"),
							   kv_delta_print(kv_groups_final_query(groups)), kv_statement_columns(columns, ""), difference(groups, "final"));
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, "write the only row", sql, -1);

	kv_statement_return_rows(view, statement, false);
	statement->reads = CAPTURE_GROUPS;
	return statement;
}

/*
 * Deletes the rows of touched groups that fail HAVING. Groups with a null in their
 * key are found by a statement of their own, because IS NOT DISTINCT FROM cannot use
 * an index and would turn the common one into a scan of the view.
 */
static MaintenanceStatement *
delete_failing(GroupCompiler *groups, bool null_keys)
{
	ViewDef    *view = groups->view;
	Query	   *failing = kv_groups_final_query(groups);
	List	   *types = NIL;
	List	   *nullable = NIL;
	StringInfoData sql;
	MaintenanceStatement *statement;
	List	   *targets = NIL;
	ListCell   *cell;

	foreach(cell, view->keys)
	{
		TargetEntry *target = copyObject(get_tle_by_resno(failing->targetList, lfirst_int(cell)));

		target->resno = list_length(targets) + 1;
		targets = lappend(targets, target);
	}
	failing->targetList = targets;
	failing->jointree->quals = (Node *) makeNode(BooleanTest);
	((BooleanTest *) failing->jointree->quals)->arg = (Expr *) kv_groups_final_query(groups)->jointree->quals;
	((BooleanTest *) failing->jointree->quals)->booltesttype = IS_NOT_TRUE;
	((BooleanTest *) failing->jointree->quals)->location = -1;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s AS t\n  USING (%s) AS failing (%s)", view->name, kv_delta_print(failing),
					 kv_statement_columns(groups->key_names, ""));
	foreach(cell, groups->key_exprs)
	{
		types = lappend_oid(types, exprType(lfirst(cell)));
		nullable = lappend_int(nullable, false);
	}
	if (null_keys)
		appendStringInfo(&sql, ",\n    LATERAL (%s) AS found\n  WHERE t.ctid = found.ctid AND num_nulls(%s) > 0",
						 kv_statement_find_with_nulls(view->name, groups->key_names, "failing", types),
						 kv_statement_columns(groups->key_names, "failing."));
	else
		appendStringInfo(&sql, "\n  WHERE %s", kv_statement_match("t", groups->key_names, "failing", groups->key_names, types, nullable));

	statement = kv_statement(PHASE_COMPUTE,
							 null_keys ? "delete touched groups that fail HAVING and have a null key" : "delete touched groups that fail HAVING",
							 sql.data, -1);
	kv_statement_return_rows(view, statement, true);
	statement->reads = CAPTURE_GROUPS;
	return statement;
}

/* Makes RETURNING of the companion's columns a capture; see group_statements.h. */
void
kv_groups_capture_groups(GroupCompiler *groups, MaintenanceStatement *statement)
{
	statement->captures = CAPTURE_GROUPS;
	statement->capture_desc = ExecTypeFromTL(partial_query(groups)->targetList);
}

/* Derives the view's rows from captured groups; see group_statements.h. */
Query *
kv_groups_final_query(GroupCompiler *groups)
{
	Query	   *view_query = groups->view->groups;
	Query	   *query = kv_delta_select_from(CAPTURE_GROUPS, list_concat_copy(groups->key_names, state_names(groups)));
	Exchange	exchange = {.from = groups->key_exprs,.first_attno = 1,.groups = groups};
	ListCell   *cell;

	query->targetList = (List *) exchange_mutator((Node *) view_query->targetList, &exchange);
	foreach(cell, query->targetList)
		lfirst_node(TargetEntry, cell)->ressortgroupref = 0;
	query->jointree->quals = exchange_mutator(view_query->havingQual, &exchange);
	return query;
}

static List *
state_names(GroupCompiler *groups)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, groups->columns)
		names = lappend(names, ((StateColumn *) lfirst(cell))->name);
	return names;
}

/* Exchanges expressions for columns of entry 1, and aggregates for their result. */
static Node *
exchange_mutator(Node *node, Exchange *exchange)
{
	ListCell   *cell;

	if (node == NULL)
		return NULL;
	if (!IsA(node, List) && !IsA(node, TargetEntry))
	{
		foreach(cell, exchange->from)
			if (equal(lfirst(cell), node))
				return (Node *) makeVar(1, exchange->first_attno + foreach_current_index(cell), exprType(node), exprTypmod(node),
										exprCollation(node), 0);
	}
	if (IsA(node, Aggref) && exchange->groups)
		return kv_aggregate_final((Aggref *) node, exchange->groups->columns, 1, list_length(exchange->groups->key_exprs) + 1);
	return expression_tree_mutator(node, exchange_mutator, exchange);
}

/* Gives the result table's columns that are not keys. */
static List *
value_names(GroupCompiler *groups)
{
	List	   *columns = kv_statement_relation_columns(groups->view->relid, groups->view->result->natts);
	List	   *names = NIL;

	for (int i = 0; i < list_length(columns); i++)
		if (!list_member_int(groups->view->keys, i + 1))
			names = lappend(names, list_nth(columns, i));
	return names;
}

static char *
assignments(List *names, const char *delta)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, names)
	{
		const char *name = quote_identifier(lfirst(cell));

		appendStringInfo(&sql, "%s%s = %s.%s", foreach_current_index(cell) > 0 ? ", " : "", name, delta, name);
	}
	return sql.data;
}

/* Gives the condition that a stored row differs from the derived one. */
static char *
difference(GroupCompiler *groups, const char *delta)
{
	List	   *attnos = NIL;
	List	   *stored = NIL;
	List	   *derived = NIL;

	for (int i = 1; i <= groups->view->result->natts; i++)
	{
		const char *name = quote_identifier(get_attname(groups->view->relid, i, false));

		if (list_member_int(groups->view->keys, i))
			continue;
		attnos = lappend_int(attnos, i);
		stored = lappend(stored, psprintf("t.%s", name));
		derived = lappend(derived, psprintf("%s.%s", delta, name));
	}
	return kv_statement_difference(groups->view->result, attnos, stored, derived);
}

/* Is there a count(*)? Then every touched group changes, and asking whether it does would be a waste. */
static bool
counts_every_row(ViewDef *view)
{
	ListCell   *cell;

	foreach(cell, view->groups->targetList)
	{
		Aggref	   *aggregate = (Aggref *) lfirst_node(TargetEntry, cell)->expr;

		if (IsA(aggregate, Aggref) && aggregate->aggstar && !aggregate->aggfilter)
			return true;
	}
	return false;
}

/* Gives what creates the companion; see group_statements.h. */
List *
kv_groups_tables(ViewDef *view)
{
	GroupCompiler *groups = kv_groups_begin(view);
	StringInfoData sql;
	ListCell   *cell;

	if (view->own_state)
		return NIL;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", view->groups_name);
	foreach(cell, groups->key_exprs)
	{
		Node	   *key = lfirst(cell);
		int			i = foreach_current_index(cell);

		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 kv_statement_column_definition(list_nth(groups->key_names, i), exprType(key), exprTypmod(key), exprCollation(key)));
	}
	foreach(cell, groups->columns)
	{
		StateColumn *column = lfirst(cell);
		Node	   *partial = (Node *) column->partial;

		appendStringInfo(&sql, "%s%s", foreach_current_index(cell) > 0 || groups->key_exprs ? ", " : "",
						 kv_statement_column_definition(column->name, exprType(partial), exprTypmod(partial), exprCollation(partial)));
	}
	appendStringInfoString(&sql, ") WITH (fillfactor = 80)");
	if (view->keys == NIL)
		return list_make1(sql.data);
	return list_make2(sql.data, psprintf("CREATE UNIQUE INDEX ON %s (%s) NULLS NOT DISTINCT", view->groups_name,
										 kv_statement_columns(groups->key_names, "")));
}

/* Gives what inserts the one group of a view without GROUP BY and its row; see group_statements.h. */
List *
kv_groups_first_rows(ViewDef *view)
{
	GroupCompiler *groups = kv_groups_begin(view);
	StringInfoData state;
	ListCell   *cell;

	if (view->keys != NIL)
		return NIL;

	initStringInfo(&state);
	foreach(cell, groups->columns)
		appendStringInfo(&state, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 ((StateColumn *) lfirst(cell))->combine == COMBINE_COUNT ? "0" : "NULL");
	return list_make2(psprintf("INSERT INTO %s VALUES (%s)", view->groups_name, state.data),
					  psprintf("WITH " CAPTURE_GROUPS " AS (SELECT * FROM %s)\nINSERT INTO %s\n%s", view->groups_name, view->name,
							   kv_delta_print(kv_groups_final_query(groups))));
}
