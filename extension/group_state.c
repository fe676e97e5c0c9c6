/*
 * group_state.c: the companion table of an aggregate view: keys and state of every group.
 *
 * One upsert combines the partial aggregates of the new rows with the stored groups and
 * gives back those it touched. Before it come, for every list of arguments under DISTINCT, a statement that keeps the
 * values that are new and one that takes them into the state; a group that one of these makes has the state of no row
 * in its other columns.
 *
 * The rows of an aggregate that has no combine function go on from the stored state, which the upsert
 * looks up, one group at a time; it replaces it then.
 *
 * Sessions whose rows are kept (session_rows.c) have no state but the number under which these are.
 */
#include "group_state.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "aggregate.h"
#include "combine.h"
#include "delta_query.h"
#include "distinct_values.h"
#include "group_rows.h"
#include "normalize.h"

static void name_values(GroupCompiler *groups, List *taken);
static void name_computed(GroupCompiler *groups, List *taken);
static StateColumn *value_column(Node *value, const char *name, List **taken);
static StateColumn *session_number(GroupCompiler *groups, List *taken);
static List *value_columns(GroupCompiler *groups);
/* State columns that a statement brings up to date: numbers from 0 in GroupCompiler.columns. */
static List *columns_of_rows(GroupCompiler *groups);
static List *columns_of_set(GroupCompiler *groups, const DistinctSet *set);
static MaintenanceStatement *take_values(GroupCompiler *groups, const DistinctSet *set);
static MaintenanceStatement *take_rows(GroupCompiler *groups);
static Query *partial_query(GroupCompiler *groups, List *numbers);
static Query *partial_of_values(GroupCompiler *groups, const DistinctSet *set, List *numbers);
static char *upsert(GroupCompiler *groups, const char *partial, List *numbers);
static char *update_only_group(GroupCompiler *groups, const char *partial, List *numbers);
static char *continue_states(GroupCompiler *groups, const char *partial, List *numbers);
static char *stored_state(GroupCompiler *groups, List *stored);
static List *stored_names(GroupCompiler *groups);
static List *pick(List *names, int nkeys, List *numbers);

/* Starts compiling: names the keys and the state. */
GroupCompiler *
kv_group_state_begin(ViewDef *view)
{
	GroupCompiler *groups = palloc0(sizeof(GroupCompiler));
	Query	   *query = view->groups;
	List	   *taken;
	ListCell   *cell;

	groups->view = view;
	groups->key_exprs = get_sortgrouplist_exprs(query->groupClause, query->targetList);
	foreach(cell, view->keys)
		groups->key_names = lappend(groups->key_names, get_attname(view->relid, lfirst_int(cell), false));
	if (view->own_state)
		return groups;

	taken = list_copy(groups->key_names);
	if (view->keeps_rows)
	{
		name_computed(groups, taken);
		return groups;
	}
	if (query->hasDistinctOn)
	{
		name_values(groups, taken);
		return groups;
	}
	foreach(cell, kv_aggregate_collect((Node *) list_make2(query->targetList, query->havingQual)))
		groups->columns = kv_aggregate_add_columns(groups->columns, lfirst_node(Aggref, cell), kv_group_rows_order(view), &taken);
	groups->distinct = kv_distinct_sets(view, groups->key_names);
	return groups;
}

/* Lists the columns of a standing row that are not keys, what it is sorted by included. */
static void
name_values(GroupCompiler *groups, List *taken)
{
	List	   **columns = groups->view->keeps_rows ? &groups->computed : &groups->columns;
	ListCell   *cell;

	foreach(cell, groups->view->groups->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!list_member(kv_group_state_exprs(groups), target->expr))
			*columns = lappend(*columns, value_column((Node *) target->expr, target->resjunk ? "sort" : target->resname, &taken));
	}
}

/* Lists what is computed of sessions from their rows, and the companion's only column. */
static void
name_computed(GroupCompiler *groups, List *taken)
{
	Query	   *query = groups->view->groups;
	ListCell   *cell;

	groups->columns = list_make1(session_number(groups, taken));
	taken = lappend(taken, ((StateColumn *) linitial(groups->columns))->name);
	if (query->hasDistinctOn)
	{
		name_values(groups, taken);
		return;
	}
	foreach(cell, kv_aggregate_collect((Node *) list_make2(query->targetList, query->havingQual)))
		groups->computed = lappend(groups->computed, value_column(lfirst(cell), get_func_name(lfirst_node(Aggref, cell)->aggfnoid), &taken));
}

/* Makes a column for the value of an expression. */
static StateColumn *
value_column(Node *value, const char *name, List **taken)
{
	StateColumn *column = palloc0(sizeof(StateColumn));

	column->name = kv_unique_name(name, *taken);
	column->value = (Expr *) value;
	column->type = exprType(value);
	column->typmod = exprTypmod(value);
	column->collation = exprCollation(value);
	*taken = lappend(*taken, column->name);
	return column;
}

/* Makes the column with the number of a session: the least place of its rows. */
static StateColumn *
session_number(GroupCompiler *groups, List *taken)
{
	StateColumn *column = palloc0(sizeof(StateColumn));
	Aggref	   *least = makeNode(Aggref);
	Var		   *place = makeVar(1, kv_group_rows_order(groups->view), INT8OID, -1, InvalidOid, 0);

	least->aggfnoid = F_MIN_INT8;
	least->aggtype = INT8OID;
	least->aggargtypes = list_make1_oid(INT8OID);
	least->args = list_make1(makeTargetEntry((Expr *) place, 1, NULL, false));
	least->aggkind = AGGKIND_NORMAL;
	least->aggno = -1;
	least->aggtransno = -1;
	least->location = -1;
	column->name = kv_unique_name("session_number", taken);
	column->partial = least;
	column->combine = COMBINE_LEAST;
	column->type = INT8OID;
	column->typmod = -1;
	return column;
}

/* Gives the captured groups' columns as expressions; see group_state.h. */
List *
kv_group_state_exprs(GroupCompiler *groups)
{
	List	   *exprs = list_copy(groups->key_exprs);
	ListCell   *cell;

	foreach(cell, value_columns(groups))
		if (((StateColumn *) lfirst(cell))->value)
			exprs = lappend(exprs, ((StateColumn *) lfirst(cell))->value);
	return exprs;
}

/* Gives the columns of captured groups behind the keys. */
static List *
value_columns(GroupCompiler *groups)
{
	return groups->view->keeps_rows ? groups->computed : groups->columns;
}

/* Compiles the statements; see group_state.h. */
List *
kv_group_state_statements(GroupCompiler *groups)
{
	List	   *statements = NIL;
	ListCell   *cell;

	foreach(cell, groups->distinct)
	{
		statements = lappend(statements, kv_distinct_keep(groups->view, lfirst(cell)));
		statements = lappend(statements, take_values(groups, lfirst(cell)));
	}
	return lappend(statements, take_rows(groups));
}

static List *
columns_of_rows(GroupCompiler *groups)
{
	List	   *numbers = NIL;
	ListCell   *cell;

	foreach(cell, groups->columns)
		if (!((StateColumn *) lfirst(cell))->distinct)
			numbers = lappend_int(numbers, foreach_current_index(cell));
	return numbers;
}

static List *
columns_of_set(GroupCompiler *groups, const DistinctSet *set)
{
	List	   *numbers = NIL;
	ListCell   *cell;

	foreach(cell, groups->columns)
	{
		StateColumn *column = lfirst(cell);

		if (column->distinct && kv_distinct_set_of(groups->distinct, column->distinct) == set)
			numbers = lappend_int(numbers, foreach_current_index(cell));
	}
	return numbers;
}

/* Takes values that a group has not had before into its state. */
static MaintenanceStatement *
take_values(GroupCompiler *groups, const DistinctSet *set)
{
	List	   *numbers = columns_of_set(groups, set);
	char	   *partial = kv_delta_print(partial_of_values(groups, set, numbers));
	char	   *sql = groups->key_names ? upsert(groups, partial, numbers) : update_only_group(groups, partial, numbers);
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, "combine aggregates of new values with the groups", sql, -1);

	statement->reads = set->capture;
	return statement;
}

/* Takes the new rows into the state, and captures the groups they touch unless these wait for their window to close. */
static MaintenanceStatement *
take_rows(GroupCompiler *groups)
{
	List	   *numbers = columns_of_rows(groups);
	List	   *stored = stored_names(groups);
	char	   *title = "combine aggregates of new rows with the groups";
	char	   *sql;
	MaintenanceStatement *statement;

	if (groups->key_names)
		sql = upsert(groups, kv_delta_print(partial_query(groups, numbers)), numbers);
	else if (numbers)
		sql = update_only_group(groups, kv_delta_print(partial_query(groups, numbers)), numbers);
	else
		sql = psprintf("SELECT %s\n   FROM %s AS t", kv_statement_columns(stored, "t."), groups->view->groups_name);
	if (!groups->view->final && (groups->key_names || numbers))
		sql = psprintf("%s\nRETURNING %s", sql, kv_statement_columns(stored, "t."));
	if (!groups->key_names)
		title = numbers ? "combine the aggregate of new rows with the only group" : "read the only group";

	statement = kv_statement(PHASE_COMPUTE, title, sql, -1);
	if (!groups->view->final)
		kv_group_state_capture(groups, statement);
	kv_group_rows_place(groups->view, statement);
	return statement;
}

/* Makes the query for keys and partial aggregates of the new rows. */
static Query *
partial_query(GroupCompiler *groups, List *numbers)
{
	ViewDef    *view = groups->view;
	Query	   *base = copyObject(view->groups);
	ListCell   *cell;

	base->targetList = NIL;
	base->havingQual = NULL;
	base->hasAggs = numbers != NIL;
	foreach(cell, view->groups->groupClause)
	{
		TargetEntry *target = copyObject(get_sortgroupclause_tle(lfirst(cell), view->groups->targetList));

		target->resno = list_length(base->targetList) + 1;
		target->resname = list_nth(groups->key_names, target->resno - 1);
		base->targetList = lappend(base->targetList, target);
	}
	foreach(cell, numbers)
	{
		StateColumn *column = list_nth(groups->columns, lfirst_int(cell));

		base->targetList = lappend(base->targetList, makeTargetEntry((Expr *) copyObject(column->partial),
																	 list_length(base->targetList) + 1, column->name, false));
	}
	return kv_group_rows_query(view, base);
}

/* Makes the query for keys and partial aggregates of new values. */
static Query *
partial_of_values(GroupCompiler *groups, const DistinctSet *set, List *numbers)
{
	Query	   *query = kv_delta_select_from(set->capture, list_concat_copy(set->key_names, set->value_names));
	ListCell   *cell;

	query->hasAggs = true;
	foreach(cell, groups->key_exprs)
	{
		Node	   *key = lfirst(cell);
		int			number = foreach_current_index(cell) + 1;
		SortGroupClause *clause = copyObject(list_nth_node(SortGroupClause, groups->view->groups->groupClause, number - 1));
		TargetEntry *target = makeTargetEntry((Expr *) makeVar(1, number, exprType(key), exprTypmod(key), exprCollation(key), 0), number,
											  list_nth(groups->key_names, number - 1), false);

		target->ressortgroupref = clause->tleSortGroupRef = number;
		query->targetList = lappend(query->targetList, target);
		query->groupClause = lappend(query->groupClause, clause);
	}
	query->sortClause = copyObject(query->groupClause);
	foreach(cell, numbers)
	{
		StateColumn *column = list_nth(groups->columns, lfirst_int(cell));

		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) kv_distinct_over_values(set, column->partial),
																	   list_length(query->targetList) + 1, column->name, false));
	}
	return query;
}

/* Combines partial aggregates, whose columns are keys and the given state columns, with the groups. */
static char *
upsert(GroupCompiler *groups, const char *partial, List *numbers)
{
	int			nkeys = list_length(groups->key_names);
	List	   *stored = stored_names(groups);
	List	   *names = list_copy_tail(stored, nkeys);
	List	   *keys = list_copy_head(stored, nkeys);
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\n%s\nON CONFLICT (%s) DO UPDATE SET ", groups->view->groups_name,
					 kv_statement_columns(pick(stored, nkeys, numbers), ""), continue_states(groups, partial, numbers), kv_statement_columns(keys, ""));
	foreach(cell, numbers)
	{
		int			number = lfirst_int(cell);
		const char *name = quote_identifier(list_nth(names, number));

		appendStringInfo(&sql, "%s%s = %s", foreach_current_index(cell) > 0 ? ", " : "", name,
						 ((StateColumn *) list_nth(groups->columns, number))->combine == COMBINE_ROWS ? psprintf("excluded.%s", name) :
						 kv_combine_partial(groups->columns, number, names, "excluded"));
	}
	/* a group is given back only if it is written */
	if (numbers == NIL)
		appendStringInfo(&sql, "%s = t.%s", quote_identifier(linitial(keys)), quote_identifier(linitial(keys)));
	return sql.data;
}

/* The same for the one group there is without GROUP BY. */
static char *
update_only_group(GroupCompiler *groups, const char *partial, List *numbers)
{
	List	   *names = stored_names(groups);
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t\n   SET ", groups->view->groups_name);
	foreach(cell, numbers)
		appendStringInfo(&sql, "%s%s = %s", foreach_current_index(cell) > 0 ? ", " : "", quote_identifier(list_nth(names, lfirst_int(cell))),
						 kv_combine_partial(groups->columns, lfirst_int(cell), names, "delta"));
	appendStringInfo(&sql, "\n   FROM (%s) AS delta (%s)", partial, kv_statement_columns(pick(names, 0, numbers), ""));
	return sql.data;
}

/* Makes rows of aggregates without a combine function states, which go on from the stored ones; partial itself where there are none. */
static char *
continue_states(GroupCompiler *groups, const char *partial, List *numbers)
{
	int			nkeys = list_length(groups->key_names);
	List	   *stored = stored_names(groups);
	List	   *names = pick(stored, nkeys, numbers);
	List	   *continued = NIL;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s", kv_statement_columns(list_copy_head(stored, nkeys), "new."));
	foreach(cell, numbers)
	{
		StateColumn *column = list_nth(groups->columns, lfirst_int(cell));
		const char *name = quote_identifier(list_nth(names, nkeys + foreach_current_index(cell)));

		if (column->combine != COMBINE_ROWS)
		{
			appendStringInfo(&sql, ", new.%s", name);
			continue;
		}
		continued = lappend(continued, list_nth(names, nkeys + foreach_current_index(cell)));
		appendStringInfo(&sql, ", kafka_state.agg_continue(%s, old.%s, new.%s)", column->argument, name, name);
	}
	if (continued == NIL)
		return pstrdup(partial);
	appendStringInfo(&sql, "\n   FROM (%s) AS new (%s)\n     LEFT JOIN LATERAL (%s) AS old ON true", partial, kv_statement_columns(names, ""),
					 stored_state(groups, continued));
	return sql.data;
}

/*
 * Looks the state of a new row's group up. Groups with a null in their key have a query of their own, which is run for them
 * only, because an index does not find a key that may be null by equality.
 */
static char *
stored_state(GroupCompiler *groups, List *continued)
{
	const char *table = groups->view->groups_name;
	List	   *keys = list_copy_head(stored_names(groups), list_length(groups->key_names));
	char	   *columns = kv_statement_columns(continued, "g.");
	List	   *types = NIL;
	List	   *nullable = NIL;
	ListCell   *cell;

	foreach(cell, groups->key_exprs)
	{
		types = lappend_oid(types, exprType(lfirst(cell)));
		nullable = lappend_int(nullable, false);
	}
	return psprintf("SELECT %s\n           FROM %s AS g\n          WHERE %s\n        UNION ALL\n         SELECT %s\n           FROM (%s) AS found, %s AS g\n"
					"          WHERE g.ctid = found.ctid AND num_nulls(%s) > 0",
					columns, table, kv_statement_match("g", keys, "new", keys, types, nullable),
					columns, kv_statement_find_with_nulls(table, keys, "new", types), table, kv_statement_columns(keys, "new."));
}

/* Gives the names of the companion's columns as they are now: a user may have renamed them. */
static List *
stored_names(GroupCompiler *groups)
{
	return kv_statement_relation_columns(kv_delta_table(groups->view->groups_name), list_length(groups->key_names) + list_length(groups->columns));
}

/* Picks the keys and the given state columns out of the companion's names. */
static List *
pick(List *names, int nkeys, List *numbers)
{
	List	   *picked = list_copy_head(names, nkeys);
	ListCell   *cell;

	foreach(cell, numbers)
		picked = lappend(picked, list_nth(names, nkeys + lfirst_int(cell)));
	return picked;
}

/* Names the captured groups' columns; see group_state.h. */
List *
kv_group_state_names(GroupCompiler *groups)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, value_columns(groups))
		names = lappend(names, ((StateColumn *) lfirst(cell))->name);
	return names;
}

/* Makes a statement capture the groups; see group_state.h. */
void
kv_group_state_capture(GroupCompiler *groups, MaintenanceStatement *statement)
{
	int			nkeys = list_length(groups->key_exprs);
	TupleDesc	desc = CreateTemplateTupleDesc(nkeys + list_length(groups->columns));

	for (int i = 0; i < nkeys; i++)
	{
		Node	   *key = list_nth(groups->key_exprs, i);

		TupleDescInitEntry(desc, i + 1, list_nth(groups->key_names, i), exprType(key), exprTypmod(key), 0);
		TupleDescInitEntryCollation(desc, i + 1, exprCollation(key));
	}
	for (int i = 0; i < list_length(groups->columns); i++)
	{
		StateColumn *column = list_nth(groups->columns, i);

		TupleDescInitEntry(desc, nkeys + i + 1, column->name, column->type, column->typmod, 0);
		TupleDescInitEntryCollation(desc, nkeys + i + 1, column->collation);
	}
	statement->captures = KV_CAPTURE_GROUPS;
	statement->capture_desc = desc;
}

/* Gives what creates the tables; see group_state.h. A count of no row is zero, any other state of no row is null. */
List *
kv_group_state_tables(GroupCompiler *groups)
{
	ViewDef    *view = groups->view;
	List	   *statements;
	StringInfoData sql;
	ListCell   *cell;

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

		appendStringInfo(&sql, "%s%s%s", foreach_current_index(cell) > 0 || groups->key_exprs ? ", " : "",
						 kv_statement_column_definition(column->name, column->type, column->typmod, column->collation),
						 column->combine == COMBINE_COUNT ? " DEFAULT 0" : "");
	}
	appendStringInfoString(&sql, ") WITH (fillfactor = 80)");
	statements = list_make1(sql.data);
	if (view->keys)
		statements = lappend(statements, psprintf("CREATE UNIQUE INDEX ON %s (%s) NULLS NOT DISTINCT", view->groups_name,
												  kv_statement_columns(groups->key_names, "")));
	foreach(cell, groups->distinct)
		statements = list_concat(statements, kv_distinct_tables(view, lfirst(cell)));
	return statements;
}

/* Gives what inserts the one group; see group_state.h. */
char *
kv_group_state_first_row(GroupCompiler *groups)
{
	return psprintf("INSERT INTO %s DEFAULT VALUES", groups->view->groups_name);
}
