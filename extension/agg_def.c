/*
 * agg_def.c: any aggregate, run by hand as the executor runs it.
 *
 * The rules are those of nodeAgg.c: a strict transition function without initial
 * state takes its first row for the state and never sees a null; functions find the
 * memory of the state through an AggState; a new state replaces the old one there, unless the function
 * changed it in place. What is kept between two runs, and its form, is agg_state.c's.
 *
 * Ordered-set and hypothetical-set aggregates are left out: they sort their rows.
 */
#include "agg_def.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/parse_agg.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* What a call keeps in fn_extra. */
typedef struct CallCache
{
	AggDef	   *agg;
	AggState   *node;
} CallCache;

static CallCache *call_cache(FunctionCallInfo fcinfo);
static AggDef *load(MemoryContext parent, Oid aggregate, Oid collation, int nargs, const Oid *argtypes);
static void check_kind(Oid aggregate, Form_pg_aggregate form);
static void resolve_types(AggDef *agg, Form_pg_proc proc, Form_pg_aggregate form, int nargs, const Oid *argtypes);
static void expect_types(AggDef *agg, int nargs, const Oid *argtypes, const Oid *declared);
static void load_initial(AggDef *agg, HeapTuple tuple);
static void load_functions(AggDef *agg, Form_pg_proc proc, Form_pg_aggregate form);
static void load_function(AggDef *agg, AggFunction *function, Oid oid, Oid owner, Expr *expr, int nargs);
static void load_type_functions(AggDef *agg);
static uint32 serial_format(AggDef *agg, Oid deserialize, bool polymorphic);
static void replace_state(AggRun *run, Datum value, bool isnull);


/* Gives the aggregate of a call; see agg_def.h. */
AggDef *
kv_agg_def_of_call(FunctionCallInfo fcinfo, Oid aggregate, int first)
{
	Oid			argtypes[FUNC_MAX_ARGS];
	CallCache  *cache = call_cache(fcinfo);

	if (cache->agg != NULL && cache->agg->aggregate == aggregate)
		return cache->agg;
	for (int i = first; i < PG_NARGS(); i++)
		argtypes[i - first] = get_fn_expr_argtype(fcinfo->flinfo, i);
	return kv_agg_def_of_types(fcinfo, aggregate, PG_NARGS() - first, argtypes);
}

/* Gives the aggregate for argument types that the caller knows, nargs 0: it does not. */
AggDef *
kv_agg_def_of_types(FunctionCallInfo fcinfo, Oid aggregate, int nargs, const Oid *argtypes)
{
	CallCache  *cache = call_cache(fcinfo);

	/* states of other groups, which the executor runs with the same FmgrInfo, point to it */
	if (cache->agg != NULL && cache->agg->aggregate != aggregate)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot run aggregates %s and %s in one call", format_procedure(cache->agg->aggregate), format_procedure(aggregate)),
				 errhint("Pass the aggregate as a constant.")));
	if (cache->agg == NULL)
		cache->agg = load(fcinfo->flinfo->fn_mcxt, aggregate, PG_GET_COLLATION(), nargs, argtypes);
	return cache->agg;
}

static CallCache *
call_cache(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallCache));
	return fcinfo->flinfo->fn_extra;
}

/* Reads the aggregate from the catalogs into a context of its own below parent. */
static AggDef *
load(MemoryContext parent, Oid aggregate, Oid collation, int nargs, const Oid *argtypes)
{
	MemoryContext context = AllocSetContextCreate(parent, "kv aggregate", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	AggDef	   *agg = palloc0(sizeof(AggDef));
	HeapTuple	proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(aggregate));
	HeapTuple	form = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	AclResult	allowed;

	if (!HeapTupleIsValid(proc) || !HeapTupleIsValid(form))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u is not an aggregate", aggregate)));
	check_kind(aggregate, (Form_pg_aggregate) GETSTRUCT(form));
	allowed = pg_proc_aclcheck(aggregate, GetUserId(), ACL_EXECUTE);
	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_AGGREGATE, get_func_name(aggregate));
	InvokeFunctionExecuteHook(aggregate);

	agg->context = context;
	agg->aggregate = aggregate;
	agg->collation = collation;
	resolve_types(agg, (Form_pg_proc) GETSTRUCT(proc), (Form_pg_aggregate) GETSTRUCT(form), nargs, argtypes);
	get_typlenbyval(agg->state_type, &agg->state_len, &agg->state_byval);
	load_initial(agg, form);
	load_functions(agg, (Form_pg_proc) GETSTRUCT(proc), (Form_pg_aggregate) GETSTRUCT(form));
	ReleaseSysCache(form);
	ReleaseSysCache(proc);
	MemoryContextSwitchTo(caller);
	return agg;
}

/* Raises an error for aggregates that sort their rows, and for those whose state is in a form for one query only. */
static void
check_kind(Oid aggregate, Form_pg_aggregate form)
{
	if (form->aggkind != AGGKIND_NORMAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep the state of ordered-set aggregate %s", format_procedure(aggregate))));
	if (form->aggtranstype == INTERNALOID &&
		(!OidIsValid(form->aggserialfn) || !OidIsValid(form->aggdeserialfn) ||
		 get_func_namespace(form->aggserialfn) == get_namespace_oid(KV_STATE_SCHEMA, false)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep the state of aggregate %s", format_procedure(aggregate)),
				 errdetail("It has no form that outlives a query.")));
}

/* Finds the types of arguments, state and result. nargs 0: not given, which is enough where none depends on the call. */
static void
resolve_types(AggDef *agg, Form_pg_proc proc, Form_pg_aggregate form, int nargs, const Oid *argtypes)
{
	bool		needed = IsPolymorphicType(form->aggtranstype);
	Oid			declared[FUNC_MAX_ARGS];

	for (int i = 0; i < proc->pronargs; i++)
	{
		declared[i] = proc->proargtypes.values[i];
		needed |= IsPolymorphicType(declared[i]) || declared[i] == ANYOID;
	}
	if (nargs == 0 && needed)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the argument types of aggregate %s are not given", format_procedure(agg->aggregate)),
				 errhint("Append a null of each argument's type.")));
	if (nargs == 0)
	{
		nargs = proc->pronargs;
		argtypes = declared;
	}
	if (nargs >= FUNC_MAX_ARGS || nargs < proc->pronargs || (nargs > proc->pronargs && proc->provariadic != ANYOID))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("aggregate %s does not take %d arguments", format_procedure(agg->aggregate), nargs)));
	for (int i = proc->pronargs; i < nargs; i++)
		declared[i] = ANYOID;

	agg->nargs = nargs;
	agg->result_type = enforce_generic_type_consistency(argtypes, declared, nargs, proc->prorettype, false);
	expect_types(agg, nargs, argtypes, declared);
	agg->argtypes = palloc(sizeof(Oid) * Max(nargs, 1));
	for (int i = 0; i < nargs; i++)
		agg->argtypes[i] = declared[i] == ANYOID || IsPolymorphicType(declared[i]) ? argtypes[i] : declared[i];
	agg->state_type = resolve_aggregate_transtype(agg->aggregate, form->aggtranstype, agg->argtypes, nargs);
	agg->format = serial_format(agg, form->aggdeserialfn, needed);
}

/* Raises an error where an argument is not of the declared type: functions in C believe it. */
static void
expect_types(AggDef *agg, int nargs, const Oid *argtypes, const Oid *declared)
{
	for (int i = 0; i < nargs; i++)
		if (!OidIsValid(argtypes[i]) || !IsBinaryCoercible(argtypes[i], declared[i]))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("argument %d of aggregate %s must be of type %s, not %s", i + 1, format_procedure(agg->aggregate),
							format_type_be(declared[i]), OidIsValid(argtypes[i]) ? format_type_be(argtypes[i]) : "unknown")));
}

/*
 * Gives a number for the form of an internal state's bytes: that of the function that reads them, and
 * of the argument types where they shape it. It is made of names, because these survive a dump.
 */
static uint32
serial_format(AggDef *agg, Oid deserialize, bool polymorphic)
{
	StringInfoData name;
	HeapTuple	tuple;
	Datum		library;
	bool		isnull;
	uint32		format;

	if (!OidIsValid(deserialize))
		return 0;
	initStringInfo(&name);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(deserialize));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", deserialize);
	library = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin, &isnull);
	if (!isnull)
		appendStringInfoString(&name, TextDatumGetCString(library));
	appendStringInfo(&name, ":%s", TextDatumGetCString(SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull)));
	ReleaseSysCache(tuple);
	for (int i = 0; polymorphic && i < agg->nargs; i++)
		appendStringInfo(&name, ",%s", format_type_be_qualified(agg->argtypes[i]));
	format = hash_bytes((unsigned char *) name.data, name.len);
	pfree(name.data);
	return format;
}

/* Reads the initial state. */
static void
load_initial(AggDef *agg, HeapTuple tuple)
{
	Datum		initial = SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, &agg->initial_isnull);
	Oid			input;
	Oid			param;

	if (agg->initial_isnull)
		return;
	getTypeInputInfo(agg->state_type, &input, &param);
	agg->initial = OidInputFunctionCall(input, TextDatumGetCString(initial), param, -1);
}

/* Looks the functions up; they are executed with the rights of the aggregate's owner. */
static void
load_functions(AggDef *agg, Form_pg_proc proc, Form_pg_aggregate form)
{
	bool		variadic = OidIsValid(proc->provariadic) && proc->provariadic != ANYOID;
	Expr	   *expr;

	build_aggregate_transfn_expr(agg->argtypes, agg->nargs, 0, variadic, agg->state_type, agg->collation, form->aggtransfn, InvalidOid, &expr, NULL);
	load_function(agg, &agg->transition, form->aggtransfn, proc->proowner, expr, agg->nargs + 1);
	if (agg->transition.info.fn_strict && agg->initial_isnull && (agg->nargs == 0 || !IsBinaryCoercible(agg->argtypes[0], agg->state_type)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("aggregate %u needs to have compatible input type and transition type", agg->aggregate)));

	if (OidIsValid(form->aggcombinefn))
	{
		build_aggregate_transfn_expr(&agg->state_type, 1, 0, false, agg->state_type, agg->collation, form->aggcombinefn, InvalidOid, &expr, NULL);
		load_function(agg, &agg->combine, form->aggcombinefn, proc->proowner, expr, 2);
	}
	agg->nfinal = form->aggfinalextra ? agg->nargs + 1 : 1;
	if (OidIsValid(form->aggfinalfn))
	{
		build_aggregate_finalfn_expr(agg->argtypes, agg->nfinal, agg->state_type, agg->result_type, agg->collation, form->aggfinalfn, &expr);
		load_function(agg, &agg->final, form->aggfinalfn, proc->proowner, expr, agg->nfinal);
	}
	if (agg->state_type == INTERNALOID)
	{
		build_aggregate_serialfn_expr(form->aggserialfn, &expr);
		load_function(agg, &agg->serialize, form->aggserialfn, proc->proowner, expr, 1);
		build_aggregate_deserialfn_expr(form->aggdeserialfn, &expr);
		load_function(agg, &agg->deserialize, form->aggdeserialfn, proc->proowner, expr, 2);
	}
	else
		load_type_functions(agg);
}

static void
load_function(AggDef *agg, AggFunction *function, Oid oid, Oid owner, Expr *expr, int nargs)
{
	AclResult	allowed = pg_proc_aclcheck(oid, owner, ACL_EXECUTE);

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_FUNCTION, get_func_name(oid));
	InvokeFunctionExecuteHook(oid);
	fmgr_info_cxt(oid, &function->info, agg->context);
	fmgr_info_set_expr((Node *) expr, &function->info);
	function->call = palloc0(SizeForFunctionCallInfo(nargs));
	InitFunctionCallInfoData(*function->call, &function->info, nargs, agg->collation, NULL, NULL);
}

/* Takes the binary form of an SQL type as the serial form of the state: it has names where the stored value has OIDs. */
static void
load_type_functions(AggDef *agg)
{
	bool		is_varlena;
	Oid			function;

	getTypeBinaryOutputInfo(agg->state_type, &function, &is_varlena);
	fmgr_info_cxt(function, &agg->serialize.info, agg->context);
	getTypeBinaryInputInfo(agg->state_type, &function, &agg->receive_param);
	fmgr_info_cxt(function, &agg->deserialize.info, agg->context);
}

/* ------------------------------------------------------------------ running */

/* Gives the state before any row. */
AggRun *
kv_agg_start(AggDef *agg, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	AggRun	   *run = palloc0(sizeof(AggRun));

	run->agg = agg;
	run->context = context;
	run->isnull = agg->initial_isnull;
	run->begun = !agg->initial_isnull;
	if (!agg->initial_isnull)
		run->value = datumCopy(agg->initial, agg->state_byval, agg->state_len);
	MemoryContextSwitchTo(caller);
	return run;
}

/* Takes a row, or another state, into the state; see agg_def.h. */
void
kv_agg_step(AggRun *run, AggFunction *function, fmNodePtr node, int nargs)
{
	FunctionCallInfo call = function->call;
	Datum		value;

	if (function->info.fn_strict)
	{
		for (int i = 1; i <= nargs; i++)
			if (call->args[i].isnull)
				return;
		if (!run->begun)
		{
			MemoryContext caller = MemoryContextSwitchTo(run->context);

			run->value = datumCopy(call->args[1].value, run->agg->state_byval, run->agg->state_len);
			run->isnull = false;
			run->begun = true;
			MemoryContextSwitchTo(caller);
			return;
		}
		if (run->isnull)
			return;
	}
	run->begun = true;
	call->context = node;
	call->args[0].value = run->value;
	call->args[0].isnull = run->isnull;
	call->isnull = false;
	value = FunctionCallInvoke(call);
	replace_state(run, value, call->isnull);
}

/* Moves a new state to where states live, unless it is the old one or made there. */
static void
replace_state(AggRun *run, Datum value, bool isnull)
{
	if (!run->agg->state_byval && DatumGetPointer(value) != DatumGetPointer(run->value))
	{
		MemoryContext caller = MemoryContextSwitchTo(run->context);
		bool		expanded = run->agg->state_len == -1;

		if (!isnull && !(expanded && VARATT_IS_EXTERNAL_EXPANDED_RW(DatumGetPointer(value)) &&
						 MemoryContextGetParent(DatumGetEOHP(value)->eoh_context) == run->context))
			value = datumCopy(value, false, run->agg->state_len);
		if (!run->isnull && expanded && VARATT_IS_EXTERNAL_EXPANDED_RW(DatumGetPointer(run->value)))
			DeleteExpandedObject(run->value);
		else if (!run->isnull)
			pfree(DatumGetPointer(run->value));
		MemoryContextSwitchTo(caller);
	}
	run->value = value;
	run->isnull = isnull;
}

/* Makes the result; see agg_def.h. */
Datum
kv_agg_finish(AggRun *run, fmNodePtr node, bool *isnull)
{
	AggDef	   *agg = run->agg;
	FunctionCallInfo call = agg->final.call;
	Datum		value = run->isnull ? run->value : MakeExpandedObjectReadOnly(run->value, false, agg->state_len);

	*isnull = run->isnull;
	if (!OidIsValid(agg->final.info.fn_oid))
		return value;
	/* the row's arguments are null here, so a strict function with FINALFUNC_EXTRA gives null, as in nodeAgg.c */
	if (agg->final.info.fn_strict && (run->isnull || agg->nfinal > 1))
	{
		*isnull = true;
		return (Datum) 0;
	}
	call->context = node;
	call->args[0].value = value;
	call->args[0].isnull = run->isnull;
	for (int i = 1; i < agg->nfinal; i++)
	{
		call->args[i].value = (Datum) 0;
		call->args[i].isnull = true;
	}
	call->isnull = false;
	value = FunctionCallInvoke(call);
	*isnull = call->isnull;
	return value;
}

/* Calls a function of one argument; see agg_def.h. */
Datum
kv_agg_call(AggFunction *function, fmNodePtr node, Datum argument, bool *isnull)
{
	FunctionCallInfo call = function->call;
	Datum		value;

	call->context = node;
	call->args[0].value = argument;
	call->args[0].isnull = false;
	if (call->nargs > 1)
	{
		/* the second one of a deserialisation function is only there for its type */
		call->args[1].value = (Datum) 0;
		call->args[1].isnull = false;
	}
	call->isnull = false;
	value = FunctionCallInvoke(call);
	*isnull = call->isnull;
	return value;
}

/* Gives the AggState that a plain function shows to the aggregate's; see agg_def.h. */
AggState *
kv_agg_node(FunctionCallInfo fcinfo)
{
	CallCache  *cache = call_cache(fcinfo);

	if (cache->node == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		AggState   *node = makeNode(AggState);

		node->curaggcontext = CreateStandaloneExprContext();
		node->tmpcontext = node->curaggcontext;
		cache->node = node;
		MemoryContextSwitchTo(caller);
	}
	return cache->node;
}

MemoryContext
kv_agg_node_context(AggState *node)
{
	return node->curaggcontext->ecxt_per_tuple_memory;
}

/* Calls what the functions registered for the end of a group, and frees the memory. */
void
kv_agg_node_reset(AggState *node)
{
	ReScanExprContext(node->curaggcontext);
}
