/*
 * first_last.c: the aggregates kafka.first(value, sort) and kafka.last(value, sort):
 * the value of the row with the least and the greatest sort.
 *
 * Rows without sort do not count. Of rows with equal sort, first keeps the one that came
 * first and last takes the one that came last; rows that parallel workers aggregate come in no order.
 *
 * The serial form is for parallel workers only: it holds values as they are in memory, and OIDs. A
 * continuous view keeps value and sort as two columns instead (aggregate.c).
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

typedef struct StandingValue
{
	Datum		datum;
	bool		isnull;
	Oid			type;
	int16		length;
	bool		byval;
} StandingValue;

typedef struct Standing
{
	StandingValue value;
	StandingValue sort;			/* never null */
	FmgrInfo   *compare;		/* of sort's type; of the type cache */
} Standing;

static Datum take_row(FunctionCallInfo fcinfo, bool last);
static Standing *make_standing(Oid value_type, Oid sort_type);
static void set_type(StandingValue *value, Oid type);
static void find_order(Standing *standing);
static bool displaces(FunctionCallInfo fcinfo, Standing *standing, Datum sort, bool last);
static void set_value(StandingValue *value, Datum datum, bool isnull);
static Datum combine(FunctionCallInfo fcinfo, bool last);
static MemoryContext group_context(FunctionCallInfo fcinfo);

PG_FUNCTION_INFO_V1(kafka_first_step);
PG_FUNCTION_INFO_V1(kafka_last_step);
PG_FUNCTION_INFO_V1(kafka_first_combine);
PG_FUNCTION_INFO_V1(kafka_last_combine);
PG_FUNCTION_INFO_V1(kafka_first_last_serialize);
PG_FUNCTION_INFO_V1(kafka_first_last_deserialize);
PG_FUNCTION_INFO_V1(kafka_first_last_final);

Datum
kafka_first_step(PG_FUNCTION_ARGS)
{
	return take_row(fcinfo, false);
}

Datum
kafka_last_step(PG_FUNCTION_ARGS)
{
	return take_row(fcinfo, true);
}

/* Transition function (state, value, sort). */
static Datum
take_row(FunctionCallInfo fcinfo, bool last)
{
	MemoryContext caller = MemoryContextSwitchTo(group_context(fcinfo));
	Standing   *standing = PG_ARGISNULL(0) ? NULL : (Standing *) PG_GETARG_POINTER(0);

	if (!PG_ARGISNULL(2))
	{
		bool		first = standing == NULL;

		if (first)
			standing = make_standing(get_fn_expr_argtype(fcinfo->flinfo, 1), get_fn_expr_argtype(fcinfo->flinfo, 2));
		if (first || displaces(fcinfo, standing, PG_GETARG_DATUM(2), last))
		{
			set_value(&standing->value, PG_GETARG_DATUM(1), PG_ARGISNULL(1));
			set_value(&standing->sort, PG_GETARG_DATUM(2), false);
		}
	}
	MemoryContextSwitchTo(caller);
	if (standing == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(standing);
}

static Standing *
make_standing(Oid value_type, Oid sort_type)
{
	Standing   *standing = palloc0(sizeof(Standing));

	set_type(&standing->value, value_type);
	set_type(&standing->sort, sort_type);
	find_order(standing);
	return standing;
}

static void
set_type(StandingValue *value, Oid type)
{
	if (!OidIsValid(type))
		elog(ERROR, "could not determine data type of input");
	value->type = type;
	value->isnull = true;
	get_typlenbyval(type, &value->length, &value->byval);
}

static void
find_order(Standing *standing)
{
	TypeCacheEntry *type = lookup_type_cache(standing->sort.type, TYPECACHE_CMP_PROC_FINFO);

	if (!OidIsValid(type->cmp_proc_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify a comparison function for type %s", format_type_be(standing->sort.type))));
	standing->compare = &type->cmp_proc_finfo;
}

/* Does a row with this sort, which came later, take the place of the standing one? */
static bool
displaces(FunctionCallInfo fcinfo, Standing *standing, Datum sort, bool last)
{
	int			order = DatumGetInt32(FunctionCall2Coll(standing->compare, PG_GET_COLLATION(), sort, standing->sort.datum));

	return last ? order >= 0 : order < 0;
}

/* Copies a value into the current context, where the old one is. */
static void
set_value(StandingValue *value, Datum datum, bool isnull)
{
	if (!value->isnull && !value->byval)
		pfree(DatumGetPointer(value->datum));
	value->isnull = isnull;
	value->datum = isnull ? (Datum) 0 : datumCopy(datum, value->byval, value->length);
}

Datum
kafka_first_combine(PG_FUNCTION_ARGS)
{
	return combine(fcinfo, false);
}

Datum
kafka_last_combine(PG_FUNCTION_ARGS)
{
	return combine(fcinfo, true);
}

static Datum
combine(FunctionCallInfo fcinfo, bool last)
{
	MemoryContext caller = MemoryContextSwitchTo(group_context(fcinfo));
	Standing   *standing = PG_ARGISNULL(0) ? NULL : (Standing *) PG_GETARG_POINTER(0);
	Standing   *other = PG_ARGISNULL(1) ? NULL : (Standing *) PG_GETARG_POINTER(1);

	if (other != NULL)
	{
		bool		first = standing == NULL;

		if (first)
			standing = make_standing(other->value.type, other->sort.type);
		if (first || displaces(fcinfo, standing, other->sort.datum, last))
		{
			set_value(&standing->value, other->value.datum, other->value.isnull);
			set_value(&standing->sort, other->sort.datum, false);
		}
	}
	MemoryContextSwitchTo(caller);
	if (standing == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(standing);
}

/* Writes the two types, then both values. */
Datum
kafka_first_last_serialize(PG_FUNCTION_ARGS)
{
	Standing   *standing = (Standing *) PG_GETARG_POINTER(0);
	StandingValue *values[2] = {&standing->value, &standing->sort};
	Size		size = VARHDRSZ + 2 * sizeof(Oid);
	bytea	   *result;
	char	   *end;

	(void) group_context(fcinfo);
	for (int i = 0; i < 2; i++)
		size += datumEstimateSpace(values[i]->datum, values[i]->isnull, values[i]->byval, values[i]->length);
	result = palloc(size);
	SET_VARSIZE(result, size);
	end = VARDATA(result);
	for (int i = 0; i < 2; i++)
	{
		memcpy(end, &values[i]->type, sizeof(Oid));
		end += sizeof(Oid);
	}
	for (int i = 0; i < 2; i++)
		datumSerialize(values[i]->datum, values[i]->isnull, values[i]->byval, values[i]->length, &end);
	PG_RETURN_BYTEA_P(result);
}

Datum
kafka_first_last_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *serial = PG_GETARG_BYTEA_PP(0);
	char	   *next = VARDATA_ANY(serial) + 2 * sizeof(Oid);
	Oid			types[2];
	Standing   *standing;

	(void) group_context(fcinfo);
	memcpy(types, VARDATA_ANY(serial), sizeof(types));
	standing = make_standing(types[0], types[1]);
	standing->value.datum = datumRestore(&next, &standing->value.isnull);
	standing->sort.datum = datumRestore(&next, &standing->sort.isnull);
	PG_RETURN_POINTER(standing);
}

Datum
kafka_first_last_final(PG_FUNCTION_ARGS)
{
	Standing   *standing = PG_ARGISNULL(0) ? NULL : (Standing *) PG_GETARG_POINTER(0);

	(void) group_context(fcinfo);
	if (standing == NULL || standing->value.isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(standing->value.datum);
}

static MemoryContext
group_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	return context;
}
