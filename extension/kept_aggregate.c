/*
 * kept_aggregate.c: calls of kafka_state.agg_partial and its kin, as trees.
 *
 * These functions take arguments of any type and insist on those of the aggregate, so
 * every cast that Postgres made by itself, and would not print, is written out.
 */
#include "kept_aggregate.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_agg.h"
#include "parser/parse_func.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static bool has_binary_form(Oid type);
static bool columns_have_binary_form(Oid type);
static Aggref *call_of(const Aggref *aggregate, const char *name, List *arguments, const Oid *declared, int ndeclared);
static Oid	state_function(const char *name, const Oid *declared, int ndeclared);
static Const *aggregate_constant(const Aggref *aggregate);
static List *type_arguments(const Aggref *aggregate);
static Node *write_cast_out(Node *node);

/* Tells in which way the aggregate's state can be kept. */
KeptWay
kv_kept_way(const Aggref *aggregate)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate->aggfnoid));
	Form_pg_aggregate form;
	Oid			types[FUNC_MAX_ARGS];
	int			nargs;
	Oid			state_type;
	bool		combines;
	bool		serializes;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggregate->aggfnoid);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	nargs = get_aggregate_argtypes((Aggref *) aggregate, types);
	state_type = resolve_aggregate_transtype(aggregate->aggfnoid, form->aggtranstype, types, nargs);
	combines = OidIsValid(form->aggcombinefn);
	serializes = OidIsValid(form->aggserialfn) && OidIsValid(form->aggdeserialfn);
	ReleaseSysCache(tuple);

	if (aggregate->aggvariadic && get_func_variadictype(aggregate->aggfnoid) == ANYOID)
		return KEPT_NOT;
	if (state_type == INTERNALOID)
		return combines && serializes ? KEPT_STATES : KEPT_NOT;
	if (!has_binary_form(state_type))
		return KEPT_NOT_BINARY;
	return combines ? KEPT_STATES : KEPT_ROWS;
}

/* Has a type, and all it consists of, a send and a receive function? */
static bool
has_binary_form(Oid type)
{
	Oid			base = getBaseType(type);
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(base));
	bool		both;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", base);
	both = OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typsend) && OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typreceive);
	ReleaseSysCache(tuple);

	if (!both)
		return false;
	if (OidIsValid(get_element_type(base)))
		return has_binary_form(get_element_type(base));
	if (type_is_range(base))
		return has_binary_form(get_range_subtype(base));
	if (type_is_multirange(base))
		return has_binary_form(get_multirange_range(base));
	return !type_is_rowtype(base) || columns_have_binary_form(base);
}

static bool
columns_have_binary_form(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_domain(type, -1, false);
	bool		all = true;

	for (int i = 0; i < desc->natts && all; i++)
		all = TupleDescAttr(desc, i)->attisdropped || has_binary_form(TupleDescAttr(desc, i)->atttypid);
	ReleaseTupleDesc(desc);
	return all;
}

Oid
kv_kept_type(void)
{
	return typenameTypeId(NULL, makeTypeNameFromNameList(list_make2(makeString(KV_STATE_SCHEMA), makeString("agg_state"))));
}

/* Makes kafka_state.agg_partial(aggregate, arguments). */
Aggref *
kv_kept_partial(const Aggref *aggregate)
{
	const Oid	declared[] = {REGPROCEDUREOID, ANYOID};
	List	   *arguments = lcons(aggregate_constant(aggregate), kv_kept_arguments(aggregate));
	Aggref	   *partial = call_of(aggregate, "agg_partial", arguments, declared, list_length(arguments) > 1 ? 2 : 1);

	partial->aggtype = kv_kept_type();
	partial->aggcollid = aggregate->inputcollid;
	return partial;
}

/* Makes array_agg(ROW(arguments)). */
Aggref *
kv_kept_rows(const Aggref *aggregate)
{
	RowExpr    *row = makeNode(RowExpr);
	Aggref	   *rows;

	row->args = kv_kept_arguments(aggregate);
	row->row_typeid = RECORDOID;
	row->row_format = COERCE_EXPLICIT_CALL;
	for (int i = 1; i <= list_length(row->args); i++)
		row->colnames = lappend(row->colnames, makeString(psprintf("f%d", i)));
	row->location = -1;
	rows = call_of(aggregate, NULL, list_make1(row), NULL, 0);
	rows->aggfnoid = F_ARRAY_AGG_ANYNONARRAY;
	rows->aggtype = RECORDARRAYOID;
	return rows;
}

/* Makes a call of another aggregate with the FILTER of this one. */
static Aggref *
call_of(const Aggref *aggregate, const char *name, List *arguments, const Oid *declared, int ndeclared)
{
	Aggref	   *call = makeNode(Aggref);
	ListCell   *cell;

	if (name)
		call->aggfnoid = state_function(name, declared, ndeclared);
	call->inputcollid = aggregate->inputcollid;
	call->aggfilter = copyObject(aggregate->aggfilter);
	call->aggkind = AGGKIND_NORMAL;
	call->aggno = -1;
	call->aggtransno = -1;
	call->location = -1;
	foreach(cell, arguments)
	{
		call->args = lappend(call->args, makeTargetEntry(lfirst(cell), foreach_current_index(cell) + 1, NULL, false));
		call->aggargtypes = lappend_oid(call->aggargtypes, exprType(lfirst(cell)));
	}
	return call;
}

static Oid
state_function(const char *name, const Oid *declared, int ndeclared)
{
	return LookupFuncName(list_make2(makeString(KV_STATE_SCHEMA), makeString(pstrdup(name))), ndeclared, declared, false);
}

/* Makes kafka_state.agg_final(aggregate, state, null of the result's type). */
Node *
kv_kept_final(const Aggref *aggregate, Node *state)
{
	Oid			declared[] = {REGPROCEDUREOID, kv_kept_type(), ANYELEMENTOID, ANYOID};
	Oid			type = getBaseType(aggregate->aggtype);
	List	   *types = type_arguments(aggregate);
	List	   *arguments = list_make3(aggregate_constant(aggregate), state, makeNullConst(type, -1, get_typcollation(type)));
	FuncExpr   *call = makeFuncExpr(state_function("agg_final", declared, types ? 4 : 3), type, list_concat(arguments, types), aggregate->aggcollid,
									aggregate->inputcollid, COERCE_EXPLICIT_CALL);

	if (type == aggregate->aggtype)
		return (Node *) call;
	return (Node *) makeRelabelType((Expr *) call, aggregate->aggtype, -1, aggregate->aggcollid, COERCE_EXPLICIT_CAST);
}

/* Gives the aggregate as an SQL constant; printing has begun, so its name is qualified. */
char *
kv_kept_name(const Aggref *aggregate)
{
	return psprintf("%s::regprocedure", quote_literal_cstr(format_procedure(aggregate->aggfnoid)));
}

/* Gives nulls of the argument types as SQL, with a comma before each; see the header. */
char *
kv_kept_types(const Aggref *aggregate)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, type_arguments(aggregate))
		appendStringInfo(&sql, ", NULL::%s", format_type_be(exprType(lfirst(cell))));
	return sql.data;
}

static Const *
aggregate_constant(const Aggref *aggregate)
{
	return makeConst(REGPROCEDUREOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(aggregate->aggfnoid), false, true);
}

/* Gives nulls of the argument types where the aggregate's own declaration leaves them open. */
static List *
type_arguments(const Aggref *aggregate)
{
	List	   *nulls = NIL;
	Oid		   *declared;
	int			ndeclared;
	bool		open = false;
	ListCell   *cell;

	(void) get_func_signature(aggregate->aggfnoid, &declared, &ndeclared);
	for (int i = 0; i < ndeclared; i++)
		open |= declared[i] == ANYOID || IsPolymorphicType(declared[i]);
	if (!open)
		return NIL;
	foreach(cell, aggregate->aggargtypes)
		nulls = lappend(nulls, makeNullConst(lfirst_oid(cell), -1, get_typcollation(lfirst_oid(cell))));
	return nulls;
}

/* Gives the arguments of a call; see the header. */
List *
kv_kept_arguments(const Aggref *aggregate)
{
	List	   *arguments = NIL;
	ListCell   *cell;

	foreach(cell, aggregate->args)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!target->resjunk)
			arguments = lappend(arguments, write_cast_out(copyObject((Node *) target->expr)));
	}
	return arguments;
}

/* Makes an implicit cast at the top of an expression an explicit one. */
static Node *
write_cast_out(Node *node)
{
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			if (((FuncExpr *) node)->funcformat == COERCE_IMPLICIT_CAST)
				((FuncExpr *) node)->funcformat = COERCE_EXPLICIT_CAST;
			break;
		case T_RelabelType:
			((RelabelType *) node)->relabelformat = COERCE_EXPLICIT_CAST;
			break;
		case T_CoerceViaIO:
			((CoerceViaIO *) node)->coerceformat = COERCE_EXPLICIT_CAST;
			break;
		case T_ArrayCoerceExpr:
			((ArrayCoerceExpr *) node)->coerceformat = COERCE_EXPLICIT_CAST;
			break;
		case T_ConvertRowtypeExpr:
			((ConvertRowtypeExpr *) node)->convertformat = COERCE_EXPLICIT_CAST;
			break;
		case T_CoerceToDomain:
			((CoerceToDomain *) node)->coercionformat = COERCE_EXPLICIT_CAST;
			break;
		default:
			break;
	}
	return node;
}
