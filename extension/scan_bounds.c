/*-------------------------------------------------------------------------
 * scan_bounds.c
 *	  Which conditions of a query become seeks.
 *
 * Why it exists: a topic has no index but its offsets and its broker's index by
 * time. Conditions on the metadata columns say where reading begins and ends; all
 * others need every record.
 *
 * Invariant: what is read is a superset of what qualifies. Every condition is
 * also left to the executor as a filter, so a bound here may be too wide, never too
 * narrow. Two places need care: record timestamps are not monotonic, so only a lower
 * bound seeks (all records before the first one at or after T are older than T); and
 * the last value of a key must be its last, so an upsert topic is always read to its end.
 *-------------------------------------------------------------------------
 */
#include "scan_bounds.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

static bool find_comparison(const TopicDef *topic, Index relid, OpExpr *op, PlannedBounds *bounds);
static bool find_any(const TopicDef *topic, Index relid, ScalarArrayOpExpr *op, PlannedBounds *bounds);
static bool metadata_kind(const TopicDef *topic, Index relid, Node *node, BoundKind *kind);
static int	strategy_of(Oid opno);
static Node *seek_value(Node *value, Oid type);
static bool usable(const TopicDef *topic, BoundKind kind, int *strategy);
static void append_bound(PlannedBounds *bounds, BoundKind kind, int strategy, Node *value);
static void add_partition(ScanBounds *bounds, int strategy, int64 value);
static void add_offset(ScanBounds *bounds, int strategy, int64 value);
static void add_partition_set(ScanBounds *bounds, ArrayType *array);

/* Finds the conditions that bound a scan of relid; clauses are bare expressions. */
void
kv_bounds_find(const TopicDef *topic, Index relid, List *clauses, PlannedBounds *bounds)
{
	ListCell   *cell;

	memset(bounds, 0, sizeof(*bounds));
	foreach(cell, clauses)
	{
		Node	   *clause = lfirst(cell);
		bool		found = false;

		if (contain_volatile_functions(clause) || contain_subplans(clause))
			continue;
		if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
			found = find_comparison(topic, relid, (OpExpr *) clause, bounds);
		else if (IsA(clause, ScalarArrayOpExpr))
			found = find_any(topic, relid, (ScalarArrayOpExpr *) clause, bounds);
		if (found)
			bounds->clauses = lappend(bounds->clauses, clause);
	}
}

/* Takes "column op value" and "value op column". */
static bool
find_comparison(const TopicDef *topic, Index relid, OpExpr *op, PlannedBounds *bounds)
{
	Node	   *left = linitial(op->args);
	Node	   *right = lsecond(op->args);
	Oid			opno = op->opno;
	BoundKind	kind;
	int			strategy;
	Node	   *value;

	if (!metadata_kind(topic, relid, left, &kind))
	{
		if (!metadata_kind(topic, relid, right, &kind))
			return false;
		right = left;
		opno = get_commutator(opno);
	}
	strategy = strategy_of(opno);
	if (!usable(topic, kind, &strategy))
		return false;
	value = seek_value(right, kind == BOUND_TIMESTAMP ? TIMESTAMPTZOID : INT8OID);
	if (value == NULL)
		return false;
	append_bound(bounds, kind, strategy, value);
	return true;
}

/* Takes "partition = ANY (array)", which IN becomes. */
static bool
find_any(const TopicDef *topic, Index relid, ScalarArrayOpExpr *op, PlannedBounds *bounds)
{
	Node	   *array = lsecond(op->args);
	Oid			type = exprType(array);
	BoundKind	kind;

	if (!op->useOr || strategy_of(op->opno) != BTEqualStrategyNumber ||
		!metadata_kind(topic, relid, linitial(op->args), &kind) || kind != BOUND_PARTITION ||
		contain_var_clause(array) ||
		(type != INT2ARRAYOID && type != INT4ARRAYOID && type != INT8ARRAYOID))
		return false;
	append_bound(bounds, kind, 0, array);
	return true;
}

static bool
metadata_kind(const TopicDef *topic, Index relid, Node *node, BoundKind *kind)
{
	int			index;

	if (!IsA(node, Var) || ((Var *) node)->varno != relid || ((Var *) node)->varlevelsup != 0)
		return false;
	index = kv_topic_column_index(topic, ((Var *) node)->varattno);
	if (index < 0)
		return false;
	switch (topic->columns[index].source)
	{
		case COLUMN_PARTITION:
			*kind = BOUND_PARTITION;
			return true;
		case COLUMN_OFFSET:
			*kind = BOUND_OFFSET;
			return true;
		case COLUMN_TIMESTAMP:
			*kind = BOUND_TIMESTAMP;
			return true;
		default:
			return false;
	}
}

/* Gives back the btree strategy of an operator, 0 for one that is none. */
static int
strategy_of(Oid opno)
{
	List	   *interpretations = OidIsValid(opno) ? get_op_btree_interpretation(opno) : NIL;
	ListCell   *cell;

	foreach(cell, interpretations)
	{
		OpBtreeInterpretation *interpretation = lfirst(cell);

		/* <> appears too, under a number of its own */
		if (interpretation->strategy >= BTLessStrategyNumber && interpretation->strategy <= BTGreaterStrategyNumber)
			return interpretation->strategy;
	}
	return 0;
}

/* Gives back the value as type, or NULL if it depends on a row or does not become that type by itself. */
static Node *
seek_value(Node *value, Oid type)
{
	if (contain_var_clause(value))
		return NULL;
	return coerce_to_target_type(NULL, value, exprType(value), type, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
}

/* Does the comparison say where to read? Narrows *strategy to the half that does. */
static bool
usable(const TopicDef *topic, BoundKind kind, int *strategy)
{
	bool		lower_only = kind == BOUND_TIMESTAMP || (kind == BOUND_OFFSET && topic->mode == MODE_UPSERT);

	if (*strategy == 0)
		return false;
	if (!lower_only)
		return true;
	if (*strategy == BTEqualStrategyNumber)
		*strategy = BTGreaterEqualStrategyNumber;
	return *strategy == BTGreaterEqualStrategyNumber || *strategy == BTGreaterStrategyNumber;
}

static void
append_bound(PlannedBounds *bounds, BoundKind kind, int strategy, Node *value)
{
	bounds->kinds = lappend_int(bounds->kinds, kind);
	bounds->strategies = lappend_int(bounds->strategies, strategy);
	bounds->values = lappend(bounds->values, value);
}

/* Begins with everything. */
void
kv_bounds_init(ScanBounds *bounds)
{
	memset(bounds, 0, sizeof(*bounds));
	bounds->max_partition = PG_INT32_MAX;
	bounds->end_offset = PG_INT64_MAX;
	bounds->min_time = DT_NOBEGIN;
}

/* Narrows the bounds by one condition whose value has been evaluated. */
void
kv_bounds_add(ScanBounds *bounds, BoundKind kind, int strategy, Datum value, bool isnull)
{
	if (isnull)
		bounds->empty = true;	/* the operators are strict */
	else if (strategy == 0)
		add_partition_set(bounds, DatumGetArrayTypeP(value));
	else if (kind == BOUND_PARTITION)
		add_partition(bounds, strategy, DatumGetInt64(value));
	else if (kind == BOUND_OFFSET)
		add_offset(bounds, strategy, DatumGetInt64(value));
	else
		bounds->min_time = Max(bounds->min_time, DatumGetTimestampTz(value));
}

static void
add_partition(ScanBounds *bounds, int strategy, int64 value)
{
	/* far outside of all partitions is as good as anywhere outside, and keeps +1 from overflowing */
	value = Max(Min(value, (int64) PG_INT32_MAX + 1), -2);
	if (strategy == BTLessStrategyNumber)
		bounds->max_partition = Min(bounds->max_partition, value - 1);
	if (strategy == BTLessEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->max_partition = Min(bounds->max_partition, value);
	if (strategy == BTGreaterEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->min_partition = Max(bounds->min_partition, value);
	if (strategy == BTGreaterStrategyNumber)
		bounds->min_partition = Max(bounds->min_partition, value + 1);
}

static void
add_offset(ScanBounds *bounds, int strategy, int64 value)
{
	int64		next = value < PG_INT64_MAX ? value + 1 : value;

	if (strategy == BTLessStrategyNumber)
		bounds->end_offset = Min(bounds->end_offset, value);
	if (strategy == BTLessEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->end_offset = Min(bounds->end_offset, next);
	if (strategy == BTGreaterEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->min_offset = Max(bounds->min_offset, value);
	if (strategy == BTGreaterStrategyNumber)
		bounds->min_offset = Max(bounds->min_offset, next);
}

static void
add_partition_set(ScanBounds *bounds, ArrayType *array)
{
	Oid			type = ARR_ELEMTYPE(array);
	Bitmapset  *set = NULL;
	int16		len;
	bool		byval;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			count;

	get_typlenbyvalalign(type, &len, &byval, &align);
	deconstruct_array(array, type, len, byval, align, &values, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		int64		partition;

		if (nulls[i])
			continue;
		partition = type == INT2OID ? DatumGetInt16(values[i]) :
			type == INT4OID ? DatumGetInt32(values[i]) : DatumGetInt64(values[i]);
		/* a broker has at most some 200,000 partitions; a set of huge numbers would only take memory */
		if (partition >= 0 && partition < 10000000)
			set = bms_add_member(set, partition);
	}
	bounds->partition_set = bounds->has_partition_set ? bms_intersect(bounds->partition_set, set) : set;
	bounds->has_partition_set = true;
}

/* Is the partition to be read? */
bool
kv_bounds_partition(const ScanBounds *bounds, int partition)
{
	return !bounds->empty && partition >= bounds->min_partition && partition <= bounds->max_partition &&
		(!bounds->has_partition_set || bms_is_member(partition, bounds->partition_set));
}
