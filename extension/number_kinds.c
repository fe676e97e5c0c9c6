/*
 * number_kinds.c: how many numbers of each kind are in a sum of numeric, so that one can be taken
 * away again.
 *
 * Why: a sum of finite numbers is corrected by subtraction, but not its scale, which is the largest among its numbers (1.50 + 2.1 is 3.60,
 * and without the 1.50 it is 2.1, not 2.10), and nothing can be subtracted from NaN or an infinity. So these are counted, in
 * a bigint[]: NaN, infinity, minus infinity, then the finite numbers by scale from 0 on, without zeros at the end.
 */
#include "kafka_views.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(kafka_number_kinds_add);
PG_FUNCTION_INFO_V1(kafka_number_kinds_result);
PG_FUNCTION_INFO_V1(kafka_number_kinds_sum);
PG_FUNCTION_INFO_V1(kafka_number_total);

enum NumberKind
{
	KIND_NAN,
	KIND_INFINITY,
	KIND_MINUS_INFINITY,
	KIND_SCALE_0				/* and from here on one for each scale */
};

typedef struct NumberKinds
{
	int			count;			/* kinds that there is room for, those behind are 0 */
	int64	   *numbers;
} NumberKinds;

static int	kind_of(Numeric value);
static bool is_negative(Numeric value);
static NumberKinds *read_kinds(ArrayType *array);
static void make_room(NumberKinds *kinds, int count);
static ArrayType *make_array(const NumberKinds *kinds);
static Datum number(const char *text);


/* kafka_state.number_kinds_add(state, value, added): counts a value, or takes it from the count; null counts for nothing. */
Datum
kafka_number_kinds_add(PG_FUNCTION_ARGS)
{
	NumberKinds *kinds = PG_ARGISNULL(0) ? NULL : (NumberKinds *) PG_GETARG_POINTER(0);
	MemoryContext context;
	MemoryContext old;
	int			kind;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "kafka_state.number_kinds_add called outside of an aggregate");
	old = MemoryContextSwitchTo(context);
	if (kinds == NULL)
		kinds = palloc0(sizeof(NumberKinds));
	if (!PG_ARGISNULL(1) && !PG_ARGISNULL(2))
	{
		kind = kind_of(PG_GETARG_NUMERIC(1));
		make_room(kinds, kind + 1);
		kinds->numbers[kind] += PG_GETARG_BOOL(2) ? 1 : -1;
	}
	MemoryContextSwitchTo(old);
	PG_RETURN_POINTER(kinds);
}

/* Gives the place at which a value is counted. */
static int
kind_of(Numeric value)
{
	if (numeric_is_nan(value))
		return KIND_NAN;
	if (numeric_is_inf(value))
		return is_negative(value) ? KIND_MINUS_INFINITY : KIND_INFINITY;
	return KIND_SCALE_0 + DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(value)));
}

static bool
is_negative(Numeric value)
{
	return DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(value), number("0")));
}

/* Grows the counts to at least so many. */
static void
make_room(NumberKinds *kinds, int count)
{
	int64	   *numbers;

	if (count <= kinds->count)
		return;
	numbers = palloc0(sizeof(int64) * count);
	if (kinds->count > 0)
		memcpy(numbers, kinds->numbers, sizeof(int64) * kinds->count);
	kinds->numbers = numbers;
	kinds->count = count;
}

/* kafka_state.number_kinds_result(state): the counts as an array. */
Datum
kafka_number_kinds_result(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(make_array((NumberKinds *) PG_GETARG_POINTER(0)));
}

/* kafka_state.number_kinds_sum(one, other): both counts together; null is none. */
Datum
kafka_number_kinds_sum(PG_FUNCTION_ARGS)
{
	NumberKinds sum = {0};

	for (int i = 0; i < 2; i++)
	{
		NumberKinds *kinds;

		if (PG_ARGISNULL(i))
			continue;
		kinds = read_kinds(PG_GETARG_ARRAYTYPE_P(i));
		make_room(&sum, kinds->count);
		for (int kind = 0; kind < kinds->count; kind++)
			sum.numbers[kind] += kinds->numbers[kind];
	}
	PG_RETURN_ARRAYTYPE_P(make_array(&sum));
}

/* kafka_state.number_total(finite, kinds): the sum of all numbers, of which the finite ones give finite; null: there are none. */
Datum
kafka_number_total(PG_FUNCTION_ARGS)
{
	NumberKinds *kinds;
	int			most = -1;

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	kinds = read_kinds(PG_GETARG_ARRAYTYPE_P(1));
	make_room(kinds, KIND_SCALE_0);
	for (int kind = KIND_SCALE_0; kind < kinds->count; kind++)
		if (kinds->numbers[kind] != 0)
			most = kind - KIND_SCALE_0;
	if (kinds->numbers[KIND_NAN] > 0 || (kinds->numbers[KIND_INFINITY] > 0 && kinds->numbers[KIND_MINUS_INFINITY] > 0))
		PG_RETURN_DATUM(number("NaN"));
	if (kinds->numbers[KIND_INFINITY] > 0)
		PG_RETURN_DATUM(number("Infinity"));
	if (kinds->numbers[KIND_MINUS_INFINITY] > 0)
		PG_RETURN_DATUM(number("-Infinity"));
	if (most < 0 || PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall2(numeric_round, PG_GETARG_DATUM(0), Int32GetDatum(most)));
}

/* Reads counts from an array. */
static NumberKinds *
read_kinds(ArrayType *array)
{
	NumberKinds *kinds = palloc0(sizeof(NumberKinds));
	Datum	   *elements;
	int			count;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, NULL, &count);
	make_room(kinds, count);
	for (int kind = 0; kind < count; kind++)
		kinds->numbers[kind] = DatumGetInt64(elements[kind]);
	return kinds;
}

/* Writes counts as an array. */
static ArrayType *
make_array(const NumberKinds *kinds)
{
	Datum	   *elements = palloc(sizeof(Datum) * (kinds->count + 1));
	int			count = 0;

	for (int kind = 0; kind < kinds->count; kind++)
	{
		elements[kind] = Int64GetDatum(kinds->numbers[kind]);
		if (kinds->numbers[kind] != 0)
			count = kind + 1;
	}
	return construct_array(elements, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static Datum
number(const char *text)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}
