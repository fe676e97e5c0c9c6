/*
 * distinct_values.c: the values that the groups of a view have had.
 *
 * An aggregate with DISTINCT takes a value once, so a partial aggregate may only be one of
 * values that the group has not had before. Every list of arguments under DISTINCT has a table of them
 * with a unique index, which says what is new: INSERT ... ON CONFLICT DO NOTHING gives back the rest.
 * FILTER is applied before: what it leaves out has not been seen.
 */
#include "distinct_values.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"

#include "aggregate.h"
#include "delta_query.h"
#include "group_rows.h"
#include "normalize.h"

static DistinctSet *make_set(const ViewDef *view, const Aggref *aggregate, int number, List *key_names);
static List *values_of(const Aggref *aggregate);
static Query *values_query(ViewDef *view, const DistinctSet *set);
static void add_column(Query *query, Node *expr, char *name);
static Node *value_mutator(Node *node, const DistinctSet *set);

/* Gives the sets of a view; see distinct_values.h. */
List *
kv_distinct_sets(const ViewDef *view, List *key_names)
{
	List	   *sets = NIL;
	ListCell   *cell;

	if (view->keeps_rows)		/* their aggregates find the values among the rows */
		return NIL;
	foreach(cell, kv_aggregate_collect((Node *) list_make2(view->groups->targetList, view->groups->havingQual)))
	{
		Aggref	   *aggregate = lfirst_node(Aggref, cell);

		if (aggregate->aggdistinct && !kv_distinct_set_of(sets, aggregate))
			sets = lappend(sets, make_set(view, aggregate, list_length(sets) + 1, key_names));
	}
	return sets;
}

/* Names their tables; see distinct_values.h. */
List *
kv_distinct_table_names(const ViewDef *view)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, kv_distinct_sets(view, NIL))
		names = lappend(names, ((DistinctSet *) lfirst(cell))->table_name);
	return names;
}

/* Finds the set that has an aggregate's values, NULL: none. */
DistinctSet *
kv_distinct_set_of(List *sets, const Aggref *aggregate)
{
	ListCell   *cell;

	foreach(cell, sets)
		if (kv_aggregate_same_values(((DistinctSet *) lfirst(cell))->aggregate, aggregate))
			return lfirst(cell);
	return NULL;
}

static DistinctSet *
make_set(const ViewDef *view, const Aggref *aggregate, int number, List *key_names)
{
	DistinctSet *set = palloc0(sizeof(DistinctSet));
	List	   *taken = list_copy(key_names);

	set->aggregate = copyObject((Aggref *) aggregate);
	set->table_name = psprintf("%s.distinct_" INT64_FORMAT "_%d", KV_STATE_SCHEMA, view->id, number);
	set->capture = psprintf("kv_distinct_%d", number);
	set->key_names = key_names;
	for (int i = 1; i <= list_length(values_of(aggregate)); i++)
	{
		set->value_names = lappend(set->value_names, kv_unique_name(psprintf("value_%d", i), taken));
		taken = lappend(taken, llast(set->value_names));
	}
	return set;
}

/* Gives the arguments of a call; those of a row one by one, because there are no columns of type record. */
static List *
values_of(const Aggref *aggregate)
{
	List	   *values = NIL;
	ListCell   *cell;

	foreach(cell, aggregate->args)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (target->resjunk)
			continue;
		if (IsA(target->expr, RowExpr) && ((RowExpr *) target->expr)->row_typeid == RECORDOID)
			values = list_concat(values, ((RowExpr *) target->expr)->args);
		else
			values = lappend(values, target->expr);
	}
	return values;
}

/* Gives what creates the table; see distinct_values.h. */
List *
kv_distinct_tables(const ViewDef *view, const DistinctSet *set)
{
	List	   *exprs = list_concat_copy(get_sortgrouplist_exprs(view->groups->groupClause, view->groups->targetList), values_of(set->aggregate));
	List	   *names = list_concat_copy(set->key_names, set->value_names);
	StringInfoData sql;
	ListCell   *name;
	ListCell   *expr;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", set->table_name);
	forboth(name, names, expr, exprs)
	{
		Node	   *node = lfirst(expr);

		appendStringInfo(&sql, "%s%s", foreach_current_index(name) > 0 ? ", " : "",
						 kv_statement_column_definition(lfirst(name), exprType(node), exprTypmod(node), exprCollation(node)));
	}
	appendStringInfoChar(&sql, ')');
	return list_make2(sql.data, psprintf("CREATE UNIQUE INDEX ON %s (%s) NULLS NOT DISTINCT", set->table_name, kv_statement_columns(names, "")));
}

/* Keeps the values of new rows; see distinct_values.h. */
MaintenanceStatement *
kv_distinct_keep(ViewDef *view, const DistinctSet *set)
{
	Query	   *query = values_query(view, set);
	List	   *stored = kv_statement_relation_columns(kv_delta_table(set->table_name), list_length(query->targetList));
	char	   *sql = psprintf("INSERT INTO %s AS t (%s)\n%s\nON CONFLICT (%s) DO NOTHING\nRETURNING %s", set->table_name, kv_statement_columns(stored, ""),
							   kv_delta_print(query), kv_statement_columns(stored, ""), kv_statement_columns(stored, "t."));
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, "keep the values that groups have not had before", sql, -1);

	statement->captures = set->capture;
	statement->capture_desc = ExecTypeFromTL(query->targetList);
	kv_group_rows_place(view, statement);
	return statement;
}

/* Makes the query for the keys and values of the new rows, each once. */
static Query *
values_query(ViewDef *view, const DistinctSet *set)
{
	Query	   *base = makeNode(Query);
	ListCell   *cell;

	foreach(cell, view->groups->groupClause)
		add_column(base, get_sortgroupclause_expr(lfirst(cell), view->groups->targetList), list_nth(set->key_names, foreach_current_index(cell)));
	foreach(cell, values_of(set->aggregate))
		add_column(base, lfirst(cell), list_nth(set->value_names, foreach_current_index(cell)));
	base = kv_group_rows_filtered(view, base, (Node *) set->aggregate->aggfilter);
	base->sortClause = copyObject(base->groupClause);
	return base;
}

/* Adds a column by whose default order the query groups. */
static void
add_column(Query *query, Node *expr, char *name)
{
	TargetEntry *target = makeTargetEntry((Expr *) copyObject(expr), list_length(query->targetList) + 1, name, false);
	SortGroupClause *clause = makeNode(SortGroupClause);

	query->targetList = lappend(query->targetList, target);
	clause->tleSortGroupRef = assignSortGroupRef(target, query->targetList);
	get_sort_group_operators(exprType(expr), true, true, false, &clause->sortop, &clause->eqop, NULL, &clause->hashable);
	query->groupClause = lappend(query->groupClause, clause);
}

/* Exchanges the arguments for values; see distinct_values.h. */
Aggref *
kv_distinct_over_values(const DistinctSet *set, const Aggref *partial)
{
	return (Aggref *) value_mutator((Node *) partial, set);
}

static Node *
value_mutator(Node *node, const DistinctSet *set)
{
	ListCell   *cell;

	if (node == NULL)
		return NULL;
	if (!IsA(node, List) && !IsA(node, TargetEntry))
		foreach(cell, values_of(set->aggregate))
			if (equal(lfirst(cell), node))
				return (Node *) makeVar(1, list_length(set->key_names) + foreach_current_index(cell) + 1, exprType(node), exprTypmod(node),
										exprCollation(node), 0);
	return expression_tree_mutator(node, value_mutator, (void *) set);
}
