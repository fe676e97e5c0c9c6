/*
 * kept_aggregate.h: calls of kafka_state.agg_partial and its kin (agg_call.c), as trees, for an
 * aggregate whose state is a value of kafka_state.agg_state.
 */
#ifndef KV_KEPT_AGGREGATE_H
#define KV_KEPT_AGGREGATE_H

#include "kafka_views.h"
#include "nodes/primnodes.h"

typedef enum KeptWay
{
	KEPT_NOT,					/* its state cannot be kept */
	KEPT_STATES,				/* partial states are combined */
	KEPT_ROWS,					/* rows go on through its transition function */
	KEPT_NOT_BINARY				/* its state is of a type without send and receive function */
} KeptWay;

extern KeptWay kv_kept_way(const Aggref *aggregate);
extern Oid	kv_kept_type(void);
/* The state of a call's rows, or, as an array, the rows themselves. The order of the call is kept. */
extern Aggref *kv_kept_partial(const Aggref *aggregate);
extern Aggref *kv_kept_rows(const Aggref *aggregate);
/* The result of the state. */
extern Node *kv_kept_final(const Aggref *aggregate, Node *state);
/* SQL: the aggregate as a constant; and nulls of its argument types, if it must be told these (see StateColumn). */
extern char *kv_kept_name(const Aggref *aggregate);
extern char *kv_kept_types(const Aggref *aggregate);
/* A call's arguments with every cast written out, because nothing tells Postgres what the call expects. */
extern List *kv_kept_arguments(const Aggref *aggregate);

#endif							/* KV_KEPT_AGGREGATE_H */
