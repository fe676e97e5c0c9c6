/*
 * agg_state.h: the SQL type kafka_state.agg_state, a transition state of any aggregate
 * as a value that can be stored.
 */
#ifndef KV_AGG_STATE_H
#define KV_AGG_STATE_H

#include "agg_def.h"

/* Gives the state as a value of the type, in the current context; never null. */
extern Datum kv_agg_state_keep(const AggRun *run, fmNodePtr node);
/*
 * Reads a stored state of this aggregate in the current context; *begun: see AggRun. Raises an error for one of
 * another aggregate or of another major version of Postgres.
 */
extern Datum kv_agg_state_read(AggDef *agg, Datum kept, fmNodePtr node, bool *isnull, bool *begun);

#endif							/* KV_AGG_STATE_H */
