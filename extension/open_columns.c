/*
 * open_columns.c: columns of a view whose values its query leaves open.
 *
 * A query that runs again may read the rows in another order than they were processed in. What collects rows shows
 * it, kafka.first and kafka.last where two rows have the same sort, and a sum of floating-point numbers in its last digits. An
 * aggregate that sorts its rows by all that it takes, or over whose combine function somebody has thought, does not.
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "optimizer/tlist.h"
#include "utils/lsyscache.h"

#include "aggregate.h"
#include "kept_aggregate.h"
#include "open_columns.h"

/* What the order of the rows decides. */
typedef enum OrderEffect
{
	ORDER_NOTHING,
	ORDER_TIES,					/* which of the rows with the same sort */
	ORDER_VALUE
} OrderEffect;

static OrderEffect effect_of(Node *node);
static bool is_first_or_last(const Aggref *aggregate);
static bool is_open(const Aggref *aggregate);
static bool sorts_its_rows(const Aggref *aggregate);
static bool adds_floats(const Aggref *aggregate);
static bool is_float(Oid type);


/* Gives the columns; see open_columns.h. */
Bitmapset *
kv_open_columns(const ViewDef *view)
{
	Bitmapset  *attnos = NULL;
	ListCell   *cell;

	foreach(cell, view->groups ? view->groups->targetList : NIL)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!target->resjunk && effect_of((Node *) target->expr) == ORDER_VALUE)
			attnos = bms_add_member(attnos, target->resno);
	}
	return attnos;
}

/* Gives the columns that are open between ties only; see open_columns.h. */
List *
kv_tied_columns(const ViewDef *view)
{
	List	   *targets = NIL;
	ListCell   *cell;

	foreach(cell, view->groups ? view->groups->targetList : NIL)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!target->resjunk && effect_of((Node *) target->expr) == ORDER_TIES)
			targets = lappend(targets, target);
	}
	return targets;
}

/* Tells what HAVING says; see open_columns.h. */
bool
kv_having_is_open(const ViewDef *view)
{
	return view->groups && effect_of(view->groups->havingQual) != ORDER_NOTHING;
}

/* Gives what the order decides of an expression over aggregates. */
static OrderEffect
effect_of(Node *node)
{
	OrderEffect effect = ORDER_NOTHING;
	ListCell   *cell;

	foreach(cell, kv_aggregate_collect(node))
	{
		Aggref	   *aggregate = lfirst_node(Aggref, cell);

		if (is_first_or_last(aggregate))
			effect = Max(effect, equal(aggregate, node) ? ORDER_TIES : ORDER_VALUE);
		else if (is_open(aggregate))
			effect = ORDER_VALUE;
	}
	return effect;
}

static bool
is_first_or_last(const Aggref *aggregate)
{
	CombineKind kind = kv_aggregate_standing_kind(aggregate);

	return kind == COMBINE_FIRST || kind == COMBINE_LAST;
}

/* Does the value depend on the order of the rows? */
static bool
is_open(const Aggref *aggregate)
{
	CombineKind kind = kv_aggregate_combine_kind(aggregate);

	if (sorts_its_rows(aggregate))
		return false;
	if (adds_floats(aggregate))
		return true;
	if (aggregate->aggdistinct)	/* it sorts them, too, to find the same ones */
		return false;
	if (kind >= COMBINE_APPEND && kind <= COMBINE_APPEND_JSON_OBJECT)
		return true;
	return kind == COMBINE_NONE && !kv_aggregate_is_avg(aggregate) && kv_kept_way(aggregate) != KEPT_STATES;
}

/* Does it take its rows in the order of all that it takes of them? */
static bool
sorts_its_rows(const Aggref *aggregate)
{
	ListCell   *cell;

	if (aggregate->aggkind != AGGKIND_NORMAL)
		return true;
	foreach(cell, aggregate->args)
	{
		TargetEntry *argument = lfirst_node(TargetEntry, cell);
		bool		sorted = IsA(argument->expr, Const);
		ListCell   *sort;

		foreach(sort, aggregate->aggorder)
			sorted |= lfirst_node(SortGroupClause, sort)->tleSortGroupRef == argument->ressortgroupref;
		if (!sorted)
			return false;
	}
	return aggregate->aggorder != NIL;
}

/* Is its value a sum of floating-point numbers, or made of such sums? */
static bool
adds_floats(const Aggref *aggregate)
{
	CombineKind kind = kv_aggregate_combine_kind(aggregate);
	ListCell   *cell;

	if ((kind != COMBINE_NONE && kind != COMBINE_ADD) || aggregate->aggtype == INT8OID)	/* regr_count */
		return false;
	foreach(cell, aggregate->aggargtypes)
		if (is_float(lfirst_oid(cell)))
			return true;
	return is_float(aggregate->aggtype);
}

static bool
is_float(Oid type)
{
	Oid			base = getBaseType(type);

	return base == FLOAT4OID || base == FLOAT8OID;
}
