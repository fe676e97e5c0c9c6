/*
 * retract_state.c: aggregates that can be corrected by what is taken away and put in.
 *
 * Invariant: a column's value is what its aggregate gives over the rows of the group, so the order in which rows came and went leaves
 * no trace. Counts and sums of integers are numbers that are added and subtracted. The sum of numeric is too as long as all values
 * are finite, but for its scale, which is that of the value with the largest one that is there; so NaN, the infinities and
 * every scale are counted beside it. Sums of floats depend on the order of addition and are not corrected.
 */
#include "retract_state.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "aggregate.h"
#include "normalize.h"

static Node *argument_of(const Aggref *aggregate);
static bool is_named(const Aggref *aggregate, const char *name);
static List *add_columns(List *columns, GroupedRows *rows, const Aggref *aggregate);
static List *add_column(List *columns, GroupedRows *rows, RetractKind kind, const Aggref *aggregate);
static const char *kind_name(RetractKind kind);
static RetractColumn *find_column(List *columns, RetractKind kind, Node *argument, Node *filter, int *index);
static Node *count_of(RetractColumn *column, Node *condition);
static Node *sum_of(RetractColumn *column, Node *condition);
static Node *kinds_of(RetractColumn *column, Node *is_new);
static Node *least_of(RetractColumn *column, Node *condition);
static Node *is_finite(Node *value);
static Node *infinity(const char *text);
static Aggref *call(const char *schema, const char *name, List *arguments, Node *filter);
static Node *both(Node *one, Node *other);
static Node *operate(const char *name, Node *left, Node *right);
static Node *negate(Node *condition);
static Node *cast(Node *node, Oid type);
static Node *where_counted(Node *count, Node *value);

/* Tells whether an aggregate can be corrected; see retract_state.h. */
bool
kv_retract_knows(const Aggref *aggregate)
{
	Node	   *argument = argument_of(aggregate);
	Oid			type = argument ? exprType(argument) : InvalidOid;

	if (get_func_namespace(aggregate->aggfnoid) != PG_CATALOG_NAMESPACE || aggregate->aggkind != AGGKIND_NORMAL ||
		aggregate->aggdistinct || aggregate->aggorder || list_length(aggregate->args) > 1)
		return false;
	if (is_named(aggregate, "count") || is_named(aggregate, "min") || is_named(aggregate, "max"))
		return true;
	return (is_named(aggregate, "sum") || is_named(aggregate, "avg")) &&
		(type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID);
}

static Node *
argument_of(const Aggref *aggregate)
{
	return aggregate->args == NIL ? NULL : (Node *) linitial_node(TargetEntry, aggregate->args)->expr;
}

static bool
is_named(const Aggref *aggregate, const char *name)
{
	return strcmp(get_func_name(aggregate->aggfnoid), name) == 0;
}

/* Lists the columns; see retract_state.h. */
List *
kv_retract_columns(GroupedRows *rows)
{
	Query	   *groups = rows->view->groups;
	RetractColumn *count = palloc0(sizeof(RetractColumn));
	List	   *columns = list_make1(count);
	ListCell   *cell;

	count->kind = RETRACT_ROWS;
	count->name = kv_unique_name("kv_count", rows->names);
	foreach(cell, kv_aggregate_collect((Node *) list_make2(groups->targetList, groups->havingQual)))
		columns = add_columns(columns, rows, lfirst_node(Aggref, cell));
	return columns;
}

/* Adds the columns of an aggregate; aggregates share equal ones. */
static List *
add_columns(List *columns, GroupedRows *rows, const Aggref *aggregate)
{
	Node	   *argument = argument_of(aggregate);

	if (is_named(aggregate, "min"))
		return add_column(columns, rows, RETRACT_LEAST, aggregate);
	if (is_named(aggregate, "max"))
		return add_column(columns, rows, RETRACT_GREATEST, aggregate);
	if (is_named(aggregate, "count"))
		return argument || aggregate->aggfilter ? add_column(columns, rows, RETRACT_COUNT, aggregate) : columns;

	columns = add_column(columns, rows, RETRACT_SUM, aggregate);
	if (exprType(argument) == NUMERICOID)
		columns = add_column(columns, rows, RETRACT_KINDS, aggregate);
	if (exprType(argument) != NUMERICOID || is_named(aggregate, "avg"))
		columns = add_column(columns, rows, RETRACT_COUNT, aggregate);
	return columns;
}

static List *
add_column(List *columns, GroupedRows *rows, RetractKind kind, const Aggref *aggregate)
{
	Node	   *argument = kv_grouped_rows_exchange(rows, argument_of(aggregate));
	Node	   *filter = kv_grouped_rows_exchange(rows, (Node *) aggregate->aggfilter);
	List	   *taken = list_copy(rows->names);
	RetractColumn *column;
	ListCell   *cell;

	if (find_column(columns, kind, argument, filter, NULL))
		return columns;
	foreach(cell, columns)
		taken = lappend(taken, ((RetractColumn *) lfirst(cell))->name);
	column = palloc0(sizeof(RetractColumn));
	column->kind = kind;
	column->name = kv_unique_name(psprintf("state_%s", kind_name(kind)), taken);
	column->argument = argument;
	column->filter = filter;
	column->aggregate = (Aggref *) kv_grouped_rows_exchange(rows, (Node *) aggregate);
	column->aggregate->location = -1;
	return lappend(columns, column);
}

static const char *
kind_name(RetractKind kind)
{
	static const char *const names[] = {"rows", "count", "sum", "kinds", "min", "max"};

	return names[kind];
}

/* Finds the column of a kind for an argument and a filter, NULL: there is none; *index is its place. */
static RetractColumn *
find_column(List *columns, RetractKind kind, Node *argument, Node *filter, int *index)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		RetractColumn *column = lfirst(cell);

		if (column->kind != kind || !equal(column->argument, argument) || !equal(column->filter, filter))
			continue;
		if (index)
			*index = foreach_current_index(cell);
		return column;
	}
	return NULL;
}

/* Makes a column's aggregate; see retract_state.h. Without is_new it is over all rows. */
Node *
kv_retract_compute(RetractColumn *column, Node *is_new)
{
	switch (column->kind)
	{
		case RETRACT_ROWS:
		case RETRACT_COUNT:
			return is_new ? operate("-", count_of(column, is_new), count_of(column, negate(is_new))) : count_of(column, NULL);
		case RETRACT_SUM:
			return is_new ? operate("-", sum_of(column, is_new), sum_of(column, negate(is_new))) : sum_of(column, NULL);
		case RETRACT_KINDS:
			return kinds_of(column, is_new);
		case RETRACT_LEAST:
		case RETRACT_GREATEST:
			return least_of(column, is_new);
	}
	elog(ERROR, "state of an unknown kind");
}

/* Makes the aggregate for the least or greatest value taken away; see retract_state.h. */
Node *
kv_retract_taken(RetractColumn *column, Node *is_new)
{
	return least_of(column, negate(is_new));
}

/* count(argument) of the rows for which a condition holds, too. */
static Node *
count_of(RetractColumn *column, Node *condition)
{
	return (Node *) call("pg_catalog", "count", column->argument ? list_make1(column->argument) : NIL, both(column->filter, condition));
}

/* sum(argument) of the rows for which a condition holds, too: 0 without any. */
static Node *
sum_of(RetractColumn *column, Node *condition)
{
	Node	   *filter = both(column->filter, condition);
	CoalesceExpr *result = makeNode(CoalesceExpr);
	Aggref	   *sum;

	if (exprType(column->argument) == NUMERICOID)
		filter = both(is_finite(column->argument), filter);
	sum = call("pg_catalog", "sum", list_make1(column->argument), filter);
	result->coalescetype = sum->aggtype;
	result->args = list_make2(sum, cast((Node *) makeConst(INT4OID, -1, InvalidOid, 4, Int32GetDatum(0), false, true), sum->aggtype));
	result->location = -1;
	return (Node *) result;
}

static Node *
kinds_of(RetractColumn *column, Node *is_new)
{
	Node	   *added = is_new ? is_new : (Node *) makeBoolConst(true, false);

	return (Node *) call(KV_STATE_SCHEMA, "number_kinds", list_make2(column->argument, added), column->filter);
}

/* The aggregate itself over the rows for which a condition holds, too. */
static Node *
least_of(RetractColumn *column, Node *condition)
{
	Aggref	   *aggregate = copyObject(column->aggregate);

	aggregate->aggfilter = (Expr *) both(column->filter, condition);
	return (Node *) aggregate;
}

/* value > '-Infinity' AND value < 'Infinity': NaN is greater than all. */
static Node *
is_finite(Node *value)
{
	return both(operate(">", value, infinity("-Infinity")), operate("<", value, infinity("Infinity")));
}

static Node *
infinity(const char *text)
{
	Datum		value = DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	return (Node *) makeConst(NUMERICOID, -1, InvalidOid, -1, value, false, false);
}

/* Makes a call of an aggregate. */
static Aggref *
call(const char *schema, const char *name, List *arguments, Node *filter)
{
	Aggref	   *aggregate = makeNode(Aggref);
	bool		is_count = strcmp(name, "count") == 0;
	Oid			types[2];
	ListCell   *cell;

	foreach(cell, arguments)
	{
		types[foreach_current_index(cell)] = is_count ? ANYOID : exprType(lfirst(cell));
		aggregate->aggargtypes = lappend_oid(aggregate->aggargtypes, exprType(lfirst(cell)));
		aggregate->args = lappend(aggregate->args, makeTargetEntry(copyObject(lfirst(cell)), foreach_current_index(cell) + 1, NULL, false));
	}
	aggregate->aggfnoid = LookupFuncName(list_make2(makeString(pstrdup(schema)), makeString(pstrdup(name))), list_length(arguments), types, false);
	aggregate->aggtype = get_func_rettype(aggregate->aggfnoid);
	aggregate->aggstar = arguments == NIL;
	aggregate->aggfilter = (Expr *) filter;
	aggregate->aggkind = AGGKIND_NORMAL;
	aggregate->aggno = -1;
	aggregate->aggtransno = -1;
	aggregate->location = -1;
	return aggregate;
}

/* Joins two conditions, each of which may be missing. */
static Node *
both(Node *one, Node *other)
{
	if (one == NULL || other == NULL)
		return copyObject(one ? one : other);
	return (Node *) makeBoolExpr(AND_EXPR, list_make2(copyObject(one), copyObject(other)), -1);
}

static Node *
operate(const char *name, Node *left, Node *right)
{
	return (Node *) make_op(make_parsestate(NULL), list_make2(makeString("pg_catalog"), makeString(pstrdup(name))), copyObject(left), copyObject(right), NULL, -1);
}

static Node *
negate(Node *condition)
{
	return (Node *) makeBoolExpr(NOT_EXPR, list_make1(copyObject(condition)), -1);
}

static Node *
cast(Node *node, Oid type)
{
	return coerce_to_target_type(NULL, node, exprType(node), type, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
}

/* Makes an aggregate's result; see retract_state.h. */
Node *
kv_retract_final(GroupedRows *rows, List *columns, const Aggref *aggregate, AttrNumber first_attno)
{
	Node	   *argument = kv_grouped_rows_exchange(rows, argument_of(aggregate));
	Node	   *filter = kv_grouped_rows_exchange(rows, (Node *) aggregate->aggfilter);
	Node	   *state[RETRACT_GREATEST + 1] = {NULL};

	for (RetractKind kind = RETRACT_ROWS; kind <= RETRACT_GREATEST; kind++)
	{
		int			index;
		RetractColumn *column = find_column(columns, kind, argument, filter, &index);
		Node	   *value;

		if (column == NULL)
			continue;
		value = kv_retract_compute(column, NULL);
		state[kind] = (Node *) makeVar(1, first_attno + index, exprType(value), exprTypmod(value), exprCollation(value), 0);
	}
	if (is_named(aggregate, "min"))
		return state[RETRACT_LEAST];
	if (is_named(aggregate, "max"))
		return state[RETRACT_GREATEST];
	if (is_named(aggregate, "count"))
		return state[argument || filter ? RETRACT_COUNT : RETRACT_ROWS];

	if (exprType(argument) == NUMERICOID)
	{
		Oid			types[] = {NUMERICOID, INT8ARRAYOID};
		Oid			function = LookupFuncName(list_make2(makeString(KV_STATE_SCHEMA), makeString("number_total")), 2, types, false);

		state[RETRACT_SUM] = (Node *) makeFuncExpr(function, NUMERICOID, list_make2(state[RETRACT_SUM], state[RETRACT_KINDS]), InvalidOid,
												   InvalidOid, COERCE_EXPLICIT_CALL);
	}
	if (is_named(aggregate, "sum"))
		return exprType(argument) == NUMERICOID ? state[RETRACT_SUM] : where_counted(state[RETRACT_COUNT], state[RETRACT_SUM]);
	return where_counted(state[RETRACT_COUNT], operate("/", cast(state[RETRACT_SUM], NUMERICOID), cast(state[RETRACT_COUNT], NUMERICOID)));
}

/* CASE WHEN count > 0 THEN value END */
static Node *
where_counted(Node *count, Node *value)
{
	CaseExpr   *result = makeNode(CaseExpr);
	CaseWhen   *when = makeNode(CaseWhen);

	when->expr = (Expr *) kv_retract_positive(count);
	when->result = (Expr *) value;
	when->location = -1;
	result->casetype = exprType(value);
	result->args = list_make1(when);
	result->defresult = (Expr *) makeNullConst(exprType(value), -1, InvalidOid);
	result->location = -1;
	return (Node *) result;
}

/* count > 0; see retract_state.h. */
Node *
kv_retract_positive(Node *count)
{
	return operate(">", count, (Node *) makeConst(INT4OID, -1, InvalidOid, 4, Int32GetDatum(0), false, true));
}
