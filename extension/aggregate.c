/*
 * aggregate.c: aggregates kept up by combining partial results (DESIGN.md 2.5, 3).
 *
 * A group's state is a row of plain SQL columns; the partial aggregate of a delta has
 * the same columns, and each is combined by an SQL expression. That is exact for
 * count, sum, min, max and the boolean and bit aggregates, which are their own
 * state, and for avg, kept as sum and count: numeric division gives the
 * digits core's avg gives, since both divide the same sum by the same count. The sum of
 * floats is added up in order of arrival, as one query would in its own order: the last
 * digits may differ from those of the query, as they may between two runs of it.
 *
 * Only Postgres' own aggregates are known by what they do; min and max of other
 * types than they have come with their type's order, which LEAST and GREATEST follow.
 */
#include "aggregate.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "normalize.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static bool is_avg(const Aggref *aggregate);
static List *partials_of(const Aggref *aggregate);
static Aggref *partial_like(const Aggref *aggregate, const char *name, Oid argument_type);
static int	find_column(List *columns, const Aggref *partial);
static Node *state_var(List *columns, const Aggref *partial, int rti, AttrNumber first_attno);
static Node *coerce(Node *node, Oid type);
static bool collect_walker(Node *node, List **aggregates);

/* Gives the way partial results combine, COMBINE_NONE for aggregates that are not their own state. */
CombineKind
kv_aggregate_combine_kind(const Aggref *aggregate)
{
	static const struct
	{
		const char *name;
		CombineKind kind;
	}			known[] = {
		{"count", COMBINE_COUNT}, {"sum", COMBINE_ADD}, {"min", COMBINE_LEAST}, {"max", COMBINE_GREATEST},
		{"bool_and", COMBINE_AND}, {"every", COMBINE_AND}, {"bool_or", COMBINE_OR},
		{"bit_and", COMBINE_BIT_AND}, {"bit_or", COMBINE_BIT_OR}, {"bit_xor", COMBINE_BIT_XOR},
	};
	char	   *name;

	if (get_func_namespace(aggregate->aggfnoid) != PG_CATALOG_NAMESPACE)
		return COMBINE_NONE;
	name = get_func_name(aggregate->aggfnoid);
	for (int i = 0; i < lengthof(known); i++)
		if (strcmp(name, known[i].name) == 0)
			return known[i].kind;
	return COMBINE_NONE;
}

bool
kv_aggregate_is_own_state(const Aggref *aggregate)
{
	return kv_aggregate_combine_kind(aggregate) != COMBINE_NONE;
}

static bool
is_avg(const Aggref *aggregate)
{
	return get_func_namespace(aggregate->aggfnoid) == PG_CATALOG_NAMESPACE &&
		strcmp(get_func_name(aggregate->aggfnoid), "avg") == 0;
}

/* Refuses what has no state of plain columns; see aggregate.h. */
Refusal *
kv_aggregate_check(const Aggref *aggregate)
{
	char	   *name = get_func_name(aggregate->aggfnoid);

	if (aggregate->aggkind != AGGKIND_NORMAL || aggregate->aggorder)
		return kv_refusal(aggregate->location,
						  psprintf("continuous view \"%%s\" cannot use ORDER BY in the aggregate %s", name),
						  "A later row can come before those already aggregated.",
						  "Use an aggregate that does not depend on the order of its rows.");
	if (aggregate->aggdistinct)
		return kv_refusal(aggregate->location,
						  psprintf("continuous view \"%%s\" cannot use DISTINCT in the aggregate %s", name),
						  "This version does not keep the values a group has had.",
						  "Group by the value as well, in a continuous view of its own, and aggregate its rows in the query that reads it.");
	if (aggregate->aggvariadic || !(kv_aggregate_is_own_state(aggregate) || is_avg(aggregate)))
		return kv_refusal(aggregate->location,
						  psprintf("continuous view \"%%s\" cannot use the aggregate %s", name),
						  "This version knows how to combine count, sum, avg, min, max, bool_and, bool_or, every, bit_and, bit_or and bit_xor.",
						  "Compute it in the query that reads the view, from aggregates of that list (a variance from sums of x and x * x).");
	return NULL;
}

/* Adds the aggregate's state columns; see aggregate.h. Aggregates share equal columns. */
List *
kv_aggregate_add_columns(List *columns, const Aggref *aggregate, List **taken)
{
	ListCell   *cell;

	foreach(cell, partials_of(aggregate))
	{
		Aggref	   *partial = lfirst(cell);
		StateColumn *column;

		if (find_column(columns, partial) >= 0)
			continue;
		column = palloc0(sizeof(StateColumn));
		column->partial = partial;
		column->combine = kv_aggregate_combine_kind(partial);
		column->name = kv_unique_name(psprintf("state_%s", get_func_name(partial->aggfnoid)), *taken);
		*taken = lappend(*taken, column->name);
		columns = lappend(columns, column);
	}
	return columns;
}

/* Makes the result from the state; see aggregate.h. */
Node *
kv_aggregate_final(const Aggref *aggregate, List *columns, int rti, AttrNumber first_attno)
{
	List	   *partials = partials_of(aggregate);
	Node	   *sum = state_var(columns, linitial(partials), rti, first_attno);
	Node	   *count;
	ParseState *pstate;

	if (list_length(partials) == 1)
		return sum;

	/* avg: null where no row counted, because the sum is null then */
	count = state_var(columns, lsecond(partials), rti, first_attno);
	pstate = make_parsestate(NULL);
	if (aggregate->aggtype == NUMERICOID)
	{
		sum = coerce(sum, NUMERICOID);
		count = coerce(count, NUMERICOID);
	}
	else
		count = coerce(count, FLOAT8OID);
	return (Node *) make_op(pstate, list_make2(makeString("pg_catalog"), makeString("/")), sum, count, NULL, -1);
}

/* Gives SQL that combines a stored column with a partial result; see aggregate.h. Of equal values the newer stays, as in core. */
char *
kv_aggregate_combine(CombineKind kind, const char *column, const char *delta)
{
	const char *name = quote_identifier(column);
	const char *operator = NULL;

	switch (kind)
	{
		case COMBINE_COUNT:
			return psprintf("t.%s + %s.%s", name, delta, name);
		case COMBINE_LEAST:
			return psprintf("LEAST(%s.%s, t.%s)", delta, name, name);
		case COMBINE_GREATEST:
			return psprintf("GREATEST(%s.%s, t.%s)", delta, name, name);
		case COMBINE_ADD:
			operator = "+";
			break;
		case COMBINE_AND:
			operator = "AND";
			break;
		case COMBINE_OR:
			operator = "OR";
			break;
		case COMBINE_BIT_AND:
			operator = "&";
			break;
		case COMBINE_BIT_OR:
			operator = "|";
			break;
		case COMBINE_BIT_XOR:
			operator = "#";
			break;
		case COMBINE_NONE:
			elog(ERROR, "aggregate state without a way to combine it");
	}
	return psprintf("COALESCE(t.%s %s %s.%s, t.%s, %s.%s)", name, operator, delta, name, name, delta, name);
}

/* Collects the aggregates of a tree; see aggregate.h. */
List *
kv_aggregate_collect(Node *node)
{
	List	   *aggregates = NIL;

	collect_walker(node, &aggregates);
	return aggregates;
}

static bool
collect_walker(Node *node, List **aggregates)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		*aggregates = list_append_unique(*aggregates, node);
		return false;
	}
	return expression_tree_walker(node, collect_walker, aggregates);
}

/* Gives the own-state aggregates that make up an aggregate's state: itself, or sum and count for avg. */
static List *
partials_of(const Aggref *aggregate)
{
	Aggref	   *self;
	Aggref	   *sum;
	Oid			type;

	if (!is_avg(aggregate))
	{
		self = copyObject((Aggref *) aggregate);
		self->location = -1;
		return list_make1(self);
	}

	type = linitial_oid(aggregate->aggargtypes);
	if (type == FLOAT4OID)
	{
		/* core's avg(real) adds up double precision */
		TargetEntry *argument;

		sum = partial_like(aggregate, "sum", FLOAT8OID);
		argument = linitial_node(TargetEntry, sum->args);
		argument->expr = (Expr *) coerce((Node *) argument->expr, FLOAT8OID);
		sum->aggargtypes = list_make1_oid(FLOAT8OID);
	}
	else
		sum = partial_like(aggregate, "sum", type);
	return list_make2(sum, partial_like(aggregate, "count", ANYOID));
}

/* Makes another aggregate of Postgres' own over the same argument and FILTER. */
static Aggref *
partial_like(const Aggref *aggregate, const char *name, Oid argument_type)
{
	Aggref	   *partial = copyObject((Aggref *) aggregate);

	partial->aggfnoid = LookupFuncName(list_make2(makeString("pg_catalog"), makeString(pstrdup(name))), 1, &argument_type, false);
	partial->aggtype = get_func_rettype(partial->aggfnoid);
	partial->aggtranstype = InvalidOid;
	partial->location = -1;
	return partial;
}

/* Gives the place of an equal partial aggregate among the columns, -1: none. */
static int
find_column(List *columns, const Aggref *partial)
{
	ListCell   *cell;

	foreach(cell, columns)
		if (equal(((StateColumn *) lfirst(cell))->partial, partial))
			return foreach_current_index(cell);
	return -1;
}

static Node *
state_var(List *columns, const Aggref *partial, int rti, AttrNumber first_attno)
{
	int			index = find_column(columns, partial);

	if (index < 0)
		elog(ERROR, "aggregate state has no column for %s", get_func_name(partial->aggfnoid));
	return (Node *) makeVar(rti, first_attno + index, partial->aggtype, -1, exprCollation((Node *) partial), 0);
}

/* Casts as an explicit cast does. */
static Node *
coerce(Node *node, Oid type)
{
	Node	   *result = coerce_to_target_type(NULL, node, exprType(node), type, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);

	if (!result)
		elog(ERROR, "cannot cast type %s to %s", format_type_be(exprType(node)), format_type_be(type));
	return result;
}
