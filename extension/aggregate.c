/*
 * aggregate.c: where the state of aggregates lives (DESIGN.md 2.5, 3).
 *
 * A group's state is a row of columns; the partial aggregate of a delta has
 * the same columns, and each is combined by an SQL expression.
 *
 * - Some of Postgres' own aggregates are their own state: count, sum, min, max, the boolean and bit ones, and those that
 *   collect their rows (array_agg, string_agg, jsonb_agg ...), whose partial results are appended in processing order.
 * - avg is sum and count: numeric division gives the digits core's avg gives, since both divide the same sum by the
 *   same count. The sum of floats is added up in order of arrival, as one query would in its own order: the last digits may differ
 *   from those of the query, as they may between two runs of it.
 * - kafka.first and kafka.last keep the value and the sort of the row that stands.
 * - Of any other the transition state is kept, by its combine function, or by its transition function where the state is of
 *   an SQL type (kept_aggregate.c).
 *
 * Of an aggregate with DISTINCT the values a group has had are kept in a table (distinct_values.c); the partial aggregate is one of the
 * values that are new. min and max of other types than core's have come with their type's order, which LEAST and GREATEST follow.
 */
#include "aggregate.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/typcache.h"

#include "kept_aggregate.h"
#include "normalize.h"
#include "statement.h"

static Const *delimiter_of(const Aggref *aggregate);
static Refusal *check_distinct(const Aggref *aggregate, const char *name);
static Refusal *check_kept(const Aggref *aggregate, const char *name);
static List *columns_of(const Aggref *aggregate, AttrNumber order_attno);
static StateColumn *make_column(Aggref *partial, CombineKind combine);
static StateColumn *plain_column(const Aggref *aggregate, AttrNumber order_attno);
static List *avg_columns(const Aggref *aggregate);
static List *standing_columns(const Aggref *aggregate, AttrNumber order_attno);
static StateColumn *kept_column(const Aggref *aggregate, AttrNumber order_attno);
static Aggref *in_order(Aggref *aggregate, AttrNumber order_attno);
static Aggref *partial_like(const Aggref *aggregate, const char *name, Oid argument_type);
static int	find_column(List *columns, const StateColumn *like);
static bool same_call(const Aggref *one, const Aggref *other);
static Node *state_var(List *columns, const StateColumn *like, int rti, AttrNumber first_attno);
static Node *coerce(Node *node, Oid type);
static bool collect_walker(Node *node, List **aggregates);

/* Gives the way partial results of one of Postgres' own aggregates combine, COMBINE_NONE for those that are not their own state. */
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
		{"bit_and", COMBINE_BIT_AND}, {"bit_or", COMBINE_BIT_OR}, {"bit_xor", COMBINE_BIT_XOR}, {"range_agg", COMBINE_ADD},
		{"array_agg", COMBINE_APPEND}, {"jsonb_agg", COMBINE_APPEND}, {"jsonb_object_agg", COMBINE_APPEND},
		{"string_agg", COMBINE_APPEND_TEXT}, {"json_agg", COMBINE_APPEND_JSON_ARRAY}, {"json_object_agg", COMBINE_APPEND_JSON_OBJECT},
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

/* Is it kafka.first or kafka.last? */
CombineKind
kv_aggregate_standing_kind(const Aggref *aggregate)
{
	char	   *name;

	if (get_func_namespace(aggregate->aggfnoid) != get_namespace_oid(KV_SCHEMA, false))
		return COMBINE_NONE;
	name = get_func_name(aggregate->aggfnoid);
	return strcmp(name, "first") == 0 ? COMBINE_FIRST : strcmp(name, "last") == 0 ? COMBINE_LAST : COMBINE_NONE;
}

bool
kv_aggregate_is_avg(const Aggref *aggregate)
{
	return get_func_namespace(aggregate->aggfnoid) == PG_CATALOG_NAMESPACE &&
		strcmp(get_func_name(aggregate->aggfnoid), "avg") == 0;
}

bool
kv_aggregate_is_own_state(const Aggref *aggregate)
{
	return kv_aggregate_combine_kind(aggregate) != COMBINE_NONE && !aggregate->aggdistinct;
}

/* Does the order of the rows matter? Whoever writes a combine function says that it does not. */
bool
kv_aggregate_is_ordered(const Aggref *aggregate)
{
	CombineKind kind = kv_aggregate_combine_kind(aggregate);

	if (kind != COMBINE_NONE)
		return kind >= COMBINE_APPEND && kind <= COMBINE_APPEND_JSON_OBJECT;
	return kv_aggregate_standing_kind(aggregate) == COMBINE_NONE && !kv_aggregate_is_avg(aggregate) && kv_kept_way(aggregate) == KEPT_ROWS;
}

/* Does every row change the result? That of an object stays where a key and its value come again, string_agg leaves nulls out. */
bool
kv_aggregate_counts_every_row(const Aggref *aggregate)
{
	switch (kv_aggregate_combine_kind(aggregate))
	{
		case COMBINE_COUNT:
			return aggregate->aggstar && !aggregate->aggfilter;
		case COMBINE_APPEND:
			return !aggregate->aggfilter && strcmp(get_func_name(aggregate->aggfnoid), "jsonb_object_agg") != 0;
		case COMBINE_APPEND_JSON_ARRAY:
		case COMBINE_APPEND_JSON_OBJECT:
			return !aggregate->aggfilter;
		default:
			return false;
	}
}

/* Are the rows given to it in order? see aggregate.h. */
bool
kv_aggregate_needs_order(const Aggref *aggregate)
{
	ListCell   *cell;

	foreach(cell, columns_of(aggregate, InvalidAttrNumber))
	{
		StateColumn *column = lfirst(cell);

		if (!column->distinct && column->partial->aggorder)
			return true;
	}
	return false;
}

/* Leaves out DISTINCT where it makes no difference, and folds delimiters; see aggregate.h. */
Node *
kv_aggregate_simplify(Node *node)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref) && kv_aggregate_combine_kind((Aggref *) node) == COMBINE_APPEND_TEXT)
	{
		Aggref	   *aggregate = copyObject((Aggref *) node);
		TargetEntry *delimiter = lsecond_node(TargetEntry, aggregate->args);

		delimiter->expr = (Expr *) eval_const_expressions(NULL, (Node *) delimiter->expr);
		return (Node *) aggregate;
	}
	if (IsA(node, Aggref) && ((Aggref *) node)->aggdistinct)
	{
		Aggref	   *aggregate = copyObject((Aggref *) node);
		CombineKind kind = kv_aggregate_combine_kind(aggregate);
		ListCell   *cell;

		if ((kind >= COMBINE_LEAST && kind <= COMBINE_BIT_OR) || (kind == COMBINE_ADD && OidIsValid(get_multirange_range(aggregate->aggtype))))
		{
			aggregate->aggdistinct = NIL;
			foreach(cell, aggregate->args)
				lfirst_node(TargetEntry, cell)->ressortgroupref = 0;
		}
		return (Node *) aggregate;
	}
	return expression_tree_mutator(node, kv_aggregate_simplify, NULL);
}

/* Gives string_agg's delimiter, which kv_aggregate_simplify has folded; NULL: it is not the same for every row. */
static Const *
delimiter_of(const Aggref *aggregate)
{
	Expr	   *delimiter = lsecond_node(TargetEntry, aggregate->args)->expr;

	return IsA(delimiter, Const) ? (Const *) delimiter : NULL;
}

/* Refuses what has no state that can be kept; see aggregate.h. */
Refusal *
kv_aggregate_check(const Aggref *aggregate)
{
	char	   *name = get_func_name(aggregate->aggfnoid);

	if (aggregate->aggkind != AGGKIND_NORMAL)
		return kv_refusal(aggregate->location,
						  psprintf("continuous view \"%%s\" cannot use the ordered-set aggregate %s", name),
						  "It sorts the rows of a group, and a later row can come anywhere among them.",
						  "Use it in the query that reads the view, or an estimate that can be combined (the extension tdigest has percentiles).");
	if (aggregate->aggorder)
		return kv_refusal(aggregate->location,
						  psprintf("continuous view \"%%s\" cannot use ORDER BY in the aggregate %s", name),
						  "A later row can come before those already aggregated.",
						  "Leave ORDER BY out, and rows are aggregated as they are processed; kafka.first() and kafka.last() give the value of the first and the last row of a group.");
	if (aggregate->aggdistinct)
		return check_distinct(aggregate, name);
	if (kv_aggregate_combine_kind(aggregate) == COMBINE_APPEND_TEXT && !delimiter_of(aggregate))
		return kv_refusal(aggregate->location,
						  psprintf("continuous view \"%%s\" must use the same delimiter for every row in %s", name),
						  "The texts of two batches are joined without the rows they are made of, so there is no telling which delimiter belongs between them.",
						  "Use a constant, or put the delimiter into the value.");
	return check_kept(aggregate, name);
}

/* Refuses to find the first or last by what has no order; see aggregate.h. */
Refusal *
kv_aggregate_check_order(const Aggref *aggregate)
{
	if (kv_aggregate_standing_kind(aggregate) == COMBINE_NONE ||
		OidIsValid(lookup_type_cache(lsecond_oid(aggregate->aggargtypes), TYPECACHE_LT_OPR)->lt_opr))
		return NULL;
	return kv_refusal(aggregate->location,
					  psprintf("continuous view \"%%s\" cannot sort by a value of type %s", format_type_be(lsecond_oid(aggregate->aggargtypes))),
					  "The type has no order.", "Sort by a value of another type, such as the event time.");
}

/*
 * Refuses DISTINCT where the result depends on the order of the values: Postgres sorts them, and says so nowhere, so other
 * people's aggregates may rely on it.
 */
static Refusal *
check_distinct(const Aggref *aggregate, const char *name)
{
	if (!kv_aggregate_is_ordered(aggregate) && kv_aggregate_standing_kind(aggregate) == COMBINE_NONE && aggregate->aggfnoid < FirstNormalObjectId)
		return check_kept(aggregate, name);
	return kv_refusal(aggregate->location,
					  psprintf("continuous view \"%%s\" cannot use DISTINCT in the aggregate %s", name),
					  "Its query sorts the values, and a later value can come before those already aggregated.",
					  "Select the distinct values in a continuous view of its own (SELECT DISTINCT), and aggregate its rows in the query that reads it.");
}

/* Refuses an aggregate that has nothing to be kept. */
static Refusal *
check_kept(const Aggref *aggregate, const char *name)
{
	KeptWay		way;

	if (kv_aggregate_combine_kind(aggregate) != COMBINE_NONE || kv_aggregate_is_avg(aggregate) || kv_aggregate_standing_kind(aggregate) != COMBINE_NONE)
		return NULL;
	way = kv_kept_way(aggregate);
	if (way == KEPT_STATES || way == KEPT_ROWS)
		return NULL;
	return kv_refusal(aggregate->location,
					  psprintf("continuous view \"%%s\" cannot use the aggregate %s", name),
					  way == KEPT_NOT_BINARY ? "Its transition state is of a type without send and receive functions, by which it would be stored." :
					  "It has no combine function, and its transition state is of no SQL type, so nothing of it can be kept between two batches.",
					  "Use it in the query that reads the view, over values that the view collects with array_agg.");
}

/* Adds the aggregate's state columns; see aggregate.h. Aggregates share equal columns. */
List *
kv_aggregate_add_columns(List *columns, const Aggref *aggregate, AttrNumber order_attno, List **taken)
{
	ListCell   *cell;

	foreach(cell, columns_of(aggregate, order_attno))
	{
		StateColumn *column = lfirst(cell);
		int			known = find_column(columns, column);

		if (known >= 0)
			continue;
		if (column->sort)
			column->sort = column->sort == column ? column : list_nth(columns, find_column(columns, column->sort));
		column->name = kv_unique_name(psprintf("state_%s", column->name), *taken);
		*taken = lappend(*taken, column->name);
		columns = lappend(columns, column);
	}
	return columns;
}

StateColumn *
kv_aggregate_own_column(const Aggref *aggregate, AttrNumber order_attno)
{
	return plain_column(aggregate, order_attno);
}

/* Gives the columns of an aggregate, still without names of their own. */
static List *
columns_of(const Aggref *aggregate, AttrNumber order_attno)
{
	List	   *columns;
	ListCell   *cell;

	if (kv_aggregate_standing_kind(aggregate) != COMBINE_NONE)
		columns = standing_columns(aggregate, order_attno);
	else if (kv_aggregate_is_avg(aggregate))
		columns = avg_columns(aggregate);
	else if (kv_aggregate_combine_kind(aggregate) != COMBINE_NONE)
		columns = list_make1(plain_column(aggregate, order_attno));
	else
		columns = list_make1(kept_column(aggregate, order_attno));

	foreach(cell, columns)
	{
		StateColumn *column = lfirst(cell);
		ListCell   *argument;

		if (!aggregate->aggdistinct)
			continue;
		column->distinct = copyObject((Aggref *) aggregate);
		column->partial->aggdistinct = NIL;
		column->partial->aggfilter = NULL;	/* values are filtered before they are kept */
		foreach(argument, column->partial->args)
			lfirst_node(TargetEntry, argument)->ressortgroupref = 0;
	}
	return columns;
}

static StateColumn *
make_column(Aggref *partial, CombineKind combine)
{
	StateColumn *column = palloc0(sizeof(StateColumn));

	column->name = get_func_name(partial->aggfnoid);
	column->partial = partial;
	column->combine = combine;
	column->type = exprType((Node *) partial);
	column->typmod = exprTypmod((Node *) partial);
	column->collation = exprCollation((Node *) partial);
	return column;
}

/* Makes the column of an aggregate that is its own state. */
static StateColumn *
plain_column(const Aggref *aggregate, AttrNumber order_attno)
{
	Aggref	   *partial = copyObject((Aggref *) aggregate);
	CombineKind kind = kv_aggregate_combine_kind(aggregate);
	StateColumn *column;

	partial->location = -1;
	if (kind >= COMBINE_APPEND && kind <= COMBINE_APPEND_JSON_OBJECT)
		partial = in_order(partial, order_attno);
	column = make_column(partial, kind);
	if (kind == COMBINE_APPEND_TEXT && delimiter_of(aggregate)->constisnull)
		column->combine = COMBINE_APPEND;
	else if (kind == COMBINE_APPEND_TEXT)
		column->argument = deparse_expression((Node *) delimiter_of(aggregate), NIL, false, false);
	else if (kind == COMBINE_APPEND_JSON_ARRAY)
	{
		Oid			type = getBaseType(linitial_oid(aggregate->aggargtypes));

		/* json_agg begins a line with every array and object */
		if (OidIsValid(get_element_type(type)) || type == RECORDARRAYOID || type_is_rowtype(type))
			column->argument = "E'\\n '";
	}
	return column;
}

/* Makes sum and count. */
static List *
avg_columns(const Aggref *aggregate)
{
	Oid			type = linitial_oid(aggregate->aggargtypes);
	Aggref	   *sum;

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
	return list_make2(make_column(sum, COMBINE_ADD), make_column(partial_like(aggregate, "count", ANYOID), COMBINE_COUNT));
}

/* Makes sort and value of the standing row, both by the aggregate itself. */
static List *
standing_columns(const Aggref *aggregate, AttrNumber order_attno)
{
	CombineKind kind = kv_aggregate_standing_kind(aggregate);
	Aggref	   *value = copyObject((Aggref *) aggregate);
	Aggref	   *sort = copyObject((Aggref *) aggregate);
	TargetEntry *by = lsecond_node(TargetEntry, sort->args);
	Oid			type = lsecond_oid(aggregate->aggargtypes);
	StateColumn *sort_column;
	StateColumn *value_column;

	value->location = sort->location = -1;
	linitial_node(TargetEntry, sort->args)->expr = copyObject(by->expr);
	sort->aggargtypes = list_make2_oid(type, type);
	sort->aggtype = type;
	sort->aggcollid = exprCollation((Node *) by->expr);

	sort_column = make_column(in_order(sort, order_attno), kind);
	value_column = make_column(in_order(value, order_attno), kind);
	sort_column->name = psprintf("%s_sort", value_column->name);
	sort_column->argument = value_column->argument = kv_statement_less(type);
	sort_column->sort = value_column->sort = sort_column;
	return list_make2(sort_column, value_column);
}

/* Makes the column of a transition state. Other people's aggregates get their rows in order: they may depend on it, as first() of an extension does. */
static StateColumn *
kept_column(const Aggref *aggregate, AttrNumber order_attno)
{
	bool		by_rows = kv_kept_way(aggregate) == KEPT_ROWS;
	Aggref	   *partial = by_rows ? kv_kept_rows(aggregate) : kv_kept_partial(aggregate);
	StateColumn *column;

	if (aggregate->aggfnoid >= FirstNormalObjectId || by_rows)
		partial = in_order(partial, order_attno);
	column = make_column(partial, by_rows ? COMBINE_ROWS : COMBINE_STATES);
	column->name = get_func_name(aggregate->aggfnoid);
	column->kept = aggregate->aggfnoid;
	column->argument = kv_kept_name(aggregate);
	column->types = kv_kept_types(aggregate);
	column->type = kv_kept_type();
	column->typmod = -1;
	column->collation = aggregate->inputcollid;
	return column;
}

/* Gives the rows to it in processing order where that can matter; see aggregate.h. */
Aggref *
kv_aggregate_in_order(const Aggref *aggregate, AttrNumber order_attno)
{
	Aggref	   *ordered = copyObject((Aggref *) aggregate);
	bool		matters = aggregate->aggorder || kv_aggregate_is_ordered(aggregate) || kv_aggregate_standing_kind(aggregate) != COMBINE_NONE ||
		aggregate->aggfnoid >= FirstNormalObjectId;

	ordered->location = -1;
	if (!matters || aggregate->aggdistinct || aggregate->aggkind != AGGKIND_NORMAL)
		return ordered;
	return in_order(ordered, order_attno);
}

/* Adds the place in processing order to what the rows are ordered by. */
static Aggref *
in_order(Aggref *aggregate, AttrNumber order_attno)
{
	Var		   *place = makeVar(1, order_attno, INT8OID, -1, InvalidOid, 0);
	TargetEntry *target = makeTargetEntry((Expr *) place, list_length(aggregate->args) + 1, NULL, true);
	SortGroupClause *clause = makeNode(SortGroupClause);

	get_sort_group_operators(INT8OID, true, true, false, &clause->sortop, &clause->eqop, NULL, &clause->hashable);
	aggregate->args = lappend(aggregate->args, target);
	clause->tleSortGroupRef = assignSortGroupRef(target, aggregate->args);
	aggregate->aggorder = lappend(aggregate->aggorder, clause);
	return aggregate;
}

/* Makes the result from the state; see aggregate.h. */
Node *
kv_aggregate_final(const Aggref *aggregate, List *columns, int rti, AttrNumber first_attno)
{
	List	   *own = columns_of(aggregate, InvalidAttrNumber);
	Node	   *state = state_var(columns, llast(own), rti, first_attno);
	Node	   *sum;
	Oid			type = aggregate->aggtype == NUMERICOID ? NUMERICOID : FLOAT8OID;

	if (OidIsValid(((StateColumn *) llast(own))->kept))
		return kv_kept_final(aggregate, state);
	if (!kv_aggregate_is_avg(aggregate))
		return state;

	/* null where no row counted, because the sum is null then */
	sum = state_var(columns, linitial(own), rti, first_attno);
	if (type == NUMERICOID)
		sum = coerce(sum, NUMERICOID);
	return (Node *) make_op(make_parsestate(NULL), list_make2(makeString("pg_catalog"), makeString("/")), sum, coerce(state, type), NULL, -1);
}

/* Can states of groups be merged that have had rows in turns? Not where the order of the rows is in them, or which values they have had. */
bool
kv_aggregate_merges(const Aggref *aggregate)
{
	ListCell   *cell;

	if (kv_aggregate_check(aggregate) != NULL || aggregate->aggdistinct)
		return false;
	foreach(cell, columns_of(aggregate, 1))
	{
		StateColumn *column = lfirst(cell);

		if (column->combine > COMBINE_BIT_XOR && column->combine != COMBINE_STATES)
			return false;
	}
	return true;
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

/* Gives the place of a column that is made and combined in the same way, -1: none. Of a query in order it does not matter which column the order is. */
static int
find_column(List *columns, const StateColumn *like)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		StateColumn *column = lfirst(cell);

		if (column->combine == like->combine && column->kept == like->kept && same_call(column->partial, like->partial) && !column->distinct == !like->distinct &&
			(!column->distinct || kv_aggregate_same_values(column->distinct, like->distinct)))
			return foreach_current_index(cell);
	}
	return -1;
}

/* Are two partial aggregates the same, whatever orders their rows? */
static bool
same_call(const Aggref *one, const Aggref *other)
{
	Aggref	   *a = copyObject((Aggref *) one);
	Aggref	   *b = copyObject((Aggref *) other);

	if (a->aggorder && b->aggorder)
	{
		a->args = list_delete_last(a->args);
		b->args = list_delete_last(b->args);
	}
	return equal(a, b);
}

/* Have two aggregates the same arguments and FILTER? see aggregate.h. */
bool
kv_aggregate_same_values(const Aggref *one, const Aggref *other)
{
	return equal(kv_kept_arguments(one), kv_kept_arguments(other)) && equal(one->aggfilter, other->aggfilter);
}

static Node *
state_var(List *columns, const StateColumn *like, int rti, AttrNumber first_attno)
{
	int			index = find_column(columns, like);

	if (index < 0)
		elog(ERROR, "aggregate state has no column for %s", like->name);
	return (Node *) makeVar(rti, first_attno + index, like->type, like->typmod, like->collation, 0);
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
