/*
 * agg_call.c: SQL functions over the stored states of any aggregate (agg_state.c).
 *
 *	agg_partial(aggregate, arguments)			rows to a state: an aggregate
 *	agg_merge(aggregate, state)					states to one: an aggregate
 *	agg_combine(aggregate, state, state)		two states to one
 *	agg_continue(aggregate, state, rows)		a state and further rows, in order, to a state; needs no combine function
 *	agg_final(aggregate, state, null)			a state to the result, whose type the null has
 *
 * In all of them a null state is that of no rows. They run the aggregate's own functions with the
 * rights of the role that may execute it, and believe nothing about types: they are ordinary functions that
 * anybody may call. Polymorphic aggregates have their argument types appended, as nulls.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/typcache.h"

#include "agg_state.h"

static Oid	called_aggregate(FunctionCallInfo fcinfo, int argument);
static MemoryContext state_context(FunctionCallInfo fcinfo);
static void need_combine(AggDef *agg);
static void take_state(AggRun *run, Datum kept, fmNodePtr node);
static void resume(AggRun *run, Datum kept, fmNodePtr node);
static AggDef *def_of_rows(FunctionCallInfo fcinfo, Oid aggregate, TupleDesc desc);
static void step_rows(AggRun *run, AggState *node, TupleDesc desc, Datum *rows, int nrows);

PG_FUNCTION_INFO_V1(kafka_agg_partial_step);
PG_FUNCTION_INFO_V1(kafka_agg_merge_step);
PG_FUNCTION_INFO_V1(kafka_agg_keep);
PG_FUNCTION_INFO_V1(kafka_agg_combine);
PG_FUNCTION_INFO_V1(kafka_agg_continue);
PG_FUNCTION_INFO_V1(kafka_agg_final);

/* Transition function of agg_partial(aggregate, arguments): runs the aggregate's own. */
Datum
kafka_agg_partial_step(PG_FUNCTION_ARGS)
{
	AggRun	   *run = PG_ARGISNULL(0) ? NULL : (AggRun *) PG_GETARG_POINTER(0);
	int			nargs = PG_NARGS() - 2;

	if (run == NULL)
	{
		AggDef	   *agg = kv_agg_def_of_call(fcinfo, called_aggregate(fcinfo, 1), 2);

		if (agg->nargs != nargs)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("aggregate %s does not take %d arguments", format_procedure(agg->aggregate), nargs)));
		run = kv_agg_start(agg, state_context(fcinfo));
	}
	for (int i = 0; i < nargs; i++)
		run->agg->transition.call->args[i + 1] = fcinfo->args[i + 2];
	kv_agg_step(run, &run->agg->transition, fcinfo->context, nargs);
	PG_RETURN_POINTER(run);
}

/* Transition function of agg_merge(aggregate, state): combines. */
Datum
kafka_agg_merge_step(PG_FUNCTION_ARGS)
{
	AggRun	   *run = PG_ARGISNULL(0) ? NULL : (AggRun *) PG_GETARG_POINTER(0);

	if (PG_ARGISNULL(2))
	{
		if (run == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(run);
	}
	if (run == NULL)
		run = kv_agg_start(kv_agg_def_of_call(fcinfo, called_aggregate(fcinfo, 1), 3), state_context(fcinfo));
	take_state(run, PG_GETARG_DATUM(2), fcinfo->context);
	PG_RETURN_POINTER(run);
}

/* Final function of both: gives the state as a value. */
Datum
kafka_agg_keep(PG_FUNCTION_ARGS)
{
	(void) state_context(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(kv_agg_state_keep((AggRun *) PG_GETARG_POINTER(0), fcinfo->context));
}

/* agg_combine(aggregate, state, state): makes one state of two. */
Datum
kafka_agg_combine(PG_FUNCTION_ARGS)
{
	AggDef	   *agg;
	AggState   *node;
	AggRun	   *run;
	MemoryContext caller;
	Datum		result;

	if (PG_ARGISNULL(1) && PG_ARGISNULL(2))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_DATUM(PG_GETARG_DATUM(PG_ARGISNULL(1) ? 2 : 1));

	agg = kv_agg_def_of_call(fcinfo, called_aggregate(fcinfo, 0), 3);
	node = kv_agg_node(fcinfo);
	caller = MemoryContextSwitchTo(kv_agg_node_context(node));
	run = kv_agg_start(agg, CurrentMemoryContext);
	if (agg->state_type == INTERNALOID)
		take_state(run, PG_GETARG_DATUM(1), (fmNodePtr) node);
	else
		resume(run, PG_GETARG_DATUM(1), (fmNodePtr) node);
	take_state(run, PG_GETARG_DATUM(2), (fmNodePtr) node);
	MemoryContextSwitchTo(caller);
	result = kv_agg_state_keep(run, (fmNodePtr) node);
	kv_agg_node_reset(node);
	PG_RETURN_DATUM(result);
}

/* agg_continue(aggregate, state, rows): runs rows, an array of records of arguments, through the transition function. */
Datum
kafka_agg_continue(PG_FUNCTION_ARGS)
{
	AggState   *node = kv_agg_node(fcinfo);
	MemoryContext caller;
	TupleDesc	desc;
	HeapTupleHeader first;
	Datum	   *rows;
	int			nrows = 0;
	AggRun	   *run;
	Datum		result;

	if (!PG_ARGISNULL(2))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), RECORDOID, -1, false, TYPALIGN_DOUBLE, &rows, NULL, &nrows);
	if (nrows == 0)
	{
		if (PG_ARGISNULL(1))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	}
	first = DatumGetHeapTupleHeader(rows[0]);
	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(first), HeapTupleHeaderGetTypMod(first));

	caller = MemoryContextSwitchTo(kv_agg_node_context(node));
	run = kv_agg_start(def_of_rows(fcinfo, called_aggregate(fcinfo, 0), desc), CurrentMemoryContext);
	if (!PG_ARGISNULL(1))
		resume(run, PG_GETARG_DATUM(1), (fmNodePtr) node);
	step_rows(run, node, desc, rows, nrows);
	ReleaseTupleDesc(desc);
	MemoryContextSwitchTo(caller);
	result = kv_agg_state_keep(run, (fmNodePtr) node);
	kv_agg_node_reset(node);
	PG_RETURN_DATUM(result);
}

/* agg_final(aggregate, state, null of the result type): gives the result. */
Datum
kafka_agg_final(PG_FUNCTION_ARGS)
{
	AggDef	   *agg = kv_agg_def_of_call(fcinfo, called_aggregate(fcinfo, 0), 3);
	AggState   *node = kv_agg_node(fcinfo);
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 2);
	MemoryContext caller;
	AggRun	   *run;
	Datum		result;
	bool		isnull;

	if (type != agg->result_type && type != getBaseType(agg->result_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("aggregate %s gives type %s, not %s", format_procedure(agg->aggregate), format_type_be(agg->result_type),
						OidIsValid(type) ? format_type_be(type) : "unknown")));
	caller = MemoryContextSwitchTo(kv_agg_node_context(node));
	run = kv_agg_start(agg, CurrentMemoryContext);
	if (!PG_ARGISNULL(1) && agg->state_type == INTERNALOID && OidIsValid(agg->combine.info.fn_oid))
		take_state(run, PG_GETARG_DATUM(1), (fmNodePtr) node);
	else if (!PG_ARGISNULL(1))
		resume(run, PG_GETARG_DATUM(1), (fmNodePtr) node);
	result = kv_agg_finish(run, (fmNodePtr) node, &isnull);
	MemoryContextSwitchTo(caller);
	if (!isnull)
		result = datumCopy(result, get_typbyval(type), get_typlen(type));
	kv_agg_node_reset(node);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

static Oid
called_aggregate(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the aggregate is null")));
	return PG_GETARG_OID(argument);
}

/* Gives the memory that lives as long as the group. */
static MemoryContext
state_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	return context;
}

static void
need_combine(AggDef *agg)
{
	if (!OidIsValid(agg->combine.info.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("aggregate %s has no combine function", format_procedure(agg->aggregate))));
}

/* Combines a stored state into the running one. */
static void
take_state(AggRun *run, Datum kept, fmNodePtr node)
{
	NullableDatum *argument = &run->agg->combine.call->args[1];
	bool		begun;

	need_combine(run->agg);
	argument->value = kv_agg_state_read(run->agg, kept, node, &argument->isnull, &begun);
	kv_agg_step(run, &run->agg->combine, node, 1);
}

/* Makes a stored state the running one. */
static void
resume(AggRun *run, Datum kept, fmNodePtr node)
{
	run->value = kv_agg_state_read(run->agg, kept, node, &run->isnull, &run->begun);
}

/* Gives the aggregate for arguments of the rows' types; its state must be of an SQL type. */
static AggDef *
def_of_rows(FunctionCallInfo fcinfo, Oid aggregate, TupleDesc desc)
{
	Oid			argtypes[FUNC_MAX_ARGS] = {InvalidOid};
	AggDef	   *agg;

	for (int i = 0; i < desc->natts && i < FUNC_MAX_ARGS; i++)
		argtypes[i] = TupleDescAttr(desc, i)->atttypid;
	agg = kv_agg_def_of_types(fcinfo, aggregate, Min(desc->natts, FUNC_MAX_ARGS), argtypes);
	if (agg->state_type == INTERNALOID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot continue aggregate %s from a stored state", format_procedure(aggregate)),
				 errdetail("Its state is of no SQL type.")));
	if (agg->nargs != desc->natts)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("aggregate %s does not take %d arguments", format_procedure(aggregate), desc->natts)));
	/* the types of the first rows are checked already; those of later calls need not be the same */
	for (int i = 0; i < desc->natts; i++)
		if (!IsBinaryCoercible(argtypes[i], agg->argtypes[i]))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("rows are of different types")));
	return agg;
}

/* Runs rows through the transition function, each with memory of its own. */
static void
step_rows(AggRun *run, AggState *node, TupleDesc desc, Datum *rows, int nrows)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "kv aggregate row", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(row_context);

	for (int i = 0; i < nrows; i++)
	{
		HeapTupleHeader header = DatumGetHeapTupleHeader(rows[i]);
		HeapTupleData tuple;
		Datum		values[FUNC_MAX_ARGS];
		bool		nulls[FUNC_MAX_ARGS];

		if (HeapTupleHeaderGetTypeId(header) != desc->tdtypeid || HeapTupleHeaderGetTypMod(header) != desc->tdtypmod)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("rows are of different types")));
		tuple.t_len = HeapTupleHeaderGetDatumLength(header);
		ItemPointerSetInvalid(&tuple.t_self);
		tuple.t_tableOid = InvalidOid;
		tuple.t_data = header;
		heap_deform_tuple(&tuple, desc, values, nulls);
		for (int j = 0; j < desc->natts; j++)
		{
			run->agg->transition.call->args[j + 1].value = values[j];
			run->agg->transition.call->args[j + 1].isnull = nulls[j];
		}
		kv_agg_step(run, &run->agg->transition, (fmNodePtr) node, desc->natts);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(caller);
}
