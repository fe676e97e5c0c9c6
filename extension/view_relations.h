/* view_relations.h: which relations are a continuous view's, and whose they are. */
#ifndef KV_VIEW_RELATIONS_H
#define KV_VIEW_RELATIONS_H

#include "kafka_views.h"
#include "nodes/pg_list.h"

/* Is it a continuous view's result table, or an unstored one itself? False without the extension. */
extern bool kv_is_continuous_view(Oid relid);
/* Relations of kafka_state that live and die with a result table: definition, buffers, companion (Oid). */
extern List *kv_view_relations(Oid relid);
/* Makes relation live and die with a result table, for the owner of that. */
extern void kv_view_adopt_relation(Oid relid, Oid relation);
extern void kv_view_change_owner(Oid relid);	/* after ALTER ... OWNER TO: gives its relations to the new owner */
extern Oid	kv_relation_owner(Oid relid);

#endif							/* KV_VIEW_RELATIONS_H */
