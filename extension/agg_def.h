/*
 * agg_def.h: any aggregate, run by hand as the executor runs it: start, step over
 * rows, combine, finish.
 */
#ifndef KV_AGG_DEF_H
#define KV_AGG_DEF_H

#include "kafka_views.h"
#include "fmgr.h"
#include "nodes/execnodes.h"

/* One of an aggregate's functions; info.fn_oid is InvalidOid where it has none. */
typedef struct AggFunction
{
	FmgrInfo	info;
	FunctionCallInfo call;		/* used again by every call */
} AggFunction;

/* An aggregate as the catalogs have it, for given argument types. */
typedef struct AggDef
{
	MemoryContext context;		/* all of it */
	Oid			aggregate;
	Oid			collation;
	int			nargs;			/* those of VARIADIC "any" counted one by one */
	Oid		   *argtypes;		/* polymorphic ones resolved */
	Oid			state_type;		/* resolved; INTERNALOID: known by its serial form only */
	int16		state_len;
	bool		state_byval;
	Oid			result_type;
	bool		initial_isnull;
	Datum		initial;
	uint32		format;			/* of a serialised internal state: equal only where the same function reads it back */
	AggFunction transition;
	AggFunction combine;
	AggFunction serialize;		/* of an SQL type: its send and receive function */
	AggFunction deserialize;
	Oid			receive_param;
	AggFunction final;
	int			nfinal;			/* arguments of final: 1, or more where it is declared with FINALFUNC_EXTRA */
} AggDef;

/* A transition state on its way. */
typedef struct AggRun
{
	AggDef	   *agg;
	MemoryContext context;		/* where the state lives: what AggCheckCallContext gives the functions */
	Datum		value;
	bool		isnull;
	bool		begun;			/* a strict function without initial state has seen its first row */
} AggRun;

/*
 * Gives the aggregate for the types of a call's arguments from number first on, kept with the call's
 * FmgrInfo; none are needed unless it is polymorphic or its final function wants them. Raises an error where it
 * cannot be run by hand, where the types do not fit, or where the role may not execute it.
 */
extern AggDef *kv_agg_def_of_call(FunctionCallInfo fcinfo, Oid aggregate, int first);
extern AggDef *kv_agg_def_of_types(FunctionCallInfo fcinfo, Oid aggregate, int nargs, const Oid *argtypes);

extern AggRun *kv_agg_start(AggDef *agg, MemoryContext context);
/* Arguments from index 1 on of agg->transition.call / agg->combine.call are set; node is the AggState of the caller. */
extern void kv_agg_step(AggRun *run, AggFunction *function, fmNodePtr node, int nargs);
/* Gives the result in the current context. */
extern Datum kv_agg_finish(AggRun *run, fmNodePtr node, bool *isnull);
/* Calls a one-argument function of an aggregate, which must exist. */
extern Datum kv_agg_call(AggFunction *function, fmNodePtr node, Datum argument, bool *isnull);

/* An AggState for functions that are not called by one; its memory goes with kv_agg_node_reset. */
extern AggState *kv_agg_node(FunctionCallInfo fcinfo);
extern MemoryContext kv_agg_node_context(AggState *node);
extern void kv_agg_node_reset(AggState *node);

#endif							/* KV_AGG_DEF_H */
