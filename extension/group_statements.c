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
#include "combine.h"
#include "delta_query.h"
#include "equality.h"
#include "distinct_on.h"
#include "group_rows.h"
#include "group_state.h"

/* What an expression's parts are exchanged for. */
typedef struct Exchange
{
	List	   *from;			/* expressions */
	int			first_attno;	/* the first is exchanged for this column of entry 1 */
	GroupCompiler *groups;		/* aggregates are exchanged for their result, NULL: they stay */
} Exchange;

static MaintenanceStatement *upsert_result(GroupCompiler *groups);
static MaintenanceStatement *derive_rows(GroupCompiler *groups);
static MaintenanceStatement *update_only_row(GroupCompiler *groups);
static MaintenanceStatement *delete_failing(GroupCompiler *groups, bool null_keys);
static Node *exchange_mutator(Node *node, Exchange *exchange);
static bool may_change(const ViewDef *view, AttrNumber attno);
static List *value_names(GroupCompiler *groups);
static char *assignments(List *names, const char *delta);
static char *difference(GroupCompiler *groups, const char *delta);
static bool counts_every_row(ViewDef *view);

/* Compiles the statements; see group_statements.h. */
List *
kv_groups_statements(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	List	   *statements = NIL;

	if (view->window && !view->sessions)
		statements = list_make1(kv_group_rows_count_late(view));
	if (view->sessions)
		;						/* session_statements.c */
	else if (view->groups->hasDistinctOn)
		statements = lappend(statements, kv_distinct_on_take(groups));
	else if (view->own_state)
		statements = lappend(statements, upsert_result(groups));
	else
		statements = list_concat(statements, kv_group_state_statements(groups));
	if (view->own_state)
		return statements;
	if (view->final)
		return statements;
	if (view->keys == NIL)
		return lappend(statements, update_only_row(groups));

	statements = lappend(statements, derive_rows(groups));
	if (view->groups->havingQual)
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
	Query	   *partial = copyObject(view->groups);
	List	   *names = kv_statement_relation_columns(view->relid, view->result->natts);
	List	   *columns = NIL;	/* as many as names; those of keys are NULL */
	List	   *attnos = NIL;
	List	   *stored = NIL;
	List	   *combined = NIL;
	StringInfoData sql;
	MaintenanceStatement *statement;
	ListCell   *cell;

	foreach(cell, partial->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		StateColumn *column = NULL;

		if (!list_member_int(view->keys, target->resno))
		{
			column = kv_aggregate_own_column((Aggref *) target->expr, kv_group_rows_order(view));
			target->expr = (Expr *) column->partial;
		}
		columns = lappend(columns, column);
	}
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\n%s\nON CONFLICT (%s) DO ", view->name, kv_statement_columns(names, ""),
					 kv_delta_print(kv_group_rows_query(view, partial)), kv_statement_columns(groups->key_names, ""));
	for (int i = 0; i < list_length(columns); i++)
	{
		const char *name = quote_identifier(list_nth(names, i));

		if (!list_nth(columns, i))
			continue;
		attnos = lappend_int(attnos, i + 1);
		stored = lappend(stored, psprintf("t.%s", name));
		combined = lappend(combined, kv_combine_partial(columns, i, names, "excluded"));
		appendStringInfo(&sql, "%s%s = %s", list_length(attnos) == 1 ? "UPDATE SET " : ", ", name, (char *) llast(combined));
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
	statement->reads = KV_CAPTURE_GROUPS;
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
	statement->reads = KV_CAPTURE_GROUPS;
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
	statement->reads = KV_CAPTURE_GROUPS;
	return statement;
}

/* Derives the view's rows from captured groups; see group_statements.h. */
Query *
kv_groups_final_query(GroupCompiler *groups)
{
	Query	   *view_query = groups->view->groups;
	Query	   *query = kv_delta_select_from(KV_CAPTURE_GROUPS, list_concat_copy(groups->key_names, kv_group_state_names(groups)));
	Exchange	exchange = {.from = kv_group_state_exprs(groups),.first_attno = 1,.groups = groups};
	ListCell   *cell;

	foreach(cell, view_query->targetList)
		if (!lfirst_node(TargetEntry, cell)->resjunk)
			query->targetList = lappend(query->targetList, exchange_mutator(lfirst(cell), &exchange));
	foreach(cell, query->targetList)
		lfirst_node(TargetEntry, cell)->ressortgroupref = 0;
	query->jointree->quals = exchange_mutator(view_query->havingQual, &exchange);
	return query;
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

/* May a column differ from what it was in a group's row? A key may if it is spelled as in the row that stands (DISTINCT ON). */
static bool
may_change(const ViewDef *view, AttrNumber attno)
{
	Form_pg_attribute column = TupleDescAttr(view->result, attno - 1);

	return !list_member_int(view->keys, attno) || (view->groups->hasDistinctOn && !kv_equality_is_identity(column->atttypid, column->attcollation));
}

/* Gives the result table's columns that may change. */
static List *
value_names(GroupCompiler *groups)
{
	List	   *columns = kv_statement_relation_columns(groups->view->relid, groups->view->result->natts);
	List	   *names = NIL;

	for (int i = 0; i < list_length(columns); i++)
		if (may_change(groups->view, i + 1))
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

		if (!may_change(groups->view, i))
			continue;
		attnos = lappend_int(attnos, i);
		stored = lappend(stored, psprintf("t.%s", name));
		derived = lappend(derived, psprintf("%s.%s", delta, name));
	}
	return kv_statement_difference(groups->view->result, attnos, stored, derived);
}

/* Is there an aggregate that every row changes? Then asking whether a touched group does would be a waste. */
static bool
counts_every_row(ViewDef *view)
{
	ListCell   *cell;

	foreach(cell, view->groups->targetList)
	{
		Node	   *expr = (Node *) lfirst_node(TargetEntry, cell)->expr;

		if (IsA(expr, Aggref) && kv_aggregate_counts_every_row((Aggref *) expr))
			return true;
	}
	return false;
}

/* Gives what creates the companion; see group_statements.h. */
List *
kv_groups_tables(ViewDef *view)
{
	return view->own_state ? NIL : kv_group_state_tables(kv_group_state_begin(view));
}

/* Gives what inserts the one group of a view without GROUP BY and its row; see group_statements.h. */
List *
kv_groups_first_rows(ViewDef *view)
{
	GroupCompiler *groups = kv_group_state_begin(view);

	if (view->keys != NIL)
		return NIL;
	return list_make2(kv_group_state_first_row(groups),
					  psprintf("WITH " KV_CAPTURE_GROUPS " AS (SELECT * FROM %s)\nINSERT INTO %s\n%s", view->groups_name, view->name,
							   kv_delta_print(kv_groups_final_query(groups))));
}
