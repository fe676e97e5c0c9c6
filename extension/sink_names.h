/* sink_names.h: the topic table that the argument of a kafka.publish trigger names, through drops and renames. */
#ifndef KV_SINK_NAMES_H
#define KV_SINK_NAMES_H

#include "postgres.h"
#include "nodes/pg_list.h"

/* A trigger and the topic table that its argument named when the list was made; InvalidOid: there was none of that name. */
typedef struct SinkName
{
	Oid			trigger;
	Oid			topic_relid;
} SinkName;

/* Makes a trigger of relid depend on its topic table, which DROP then refuses without CASCADE. */
extern void kv_sink_names_depend(Oid relid, const char *trigger_name, Oid topic_relid);
/* Lists the kafka.publish triggers of the database, as SinkName. */
extern List *kv_sink_names_list(void);
/* Writes the present names of these topic tables into the arguments of their triggers, where they are others. */
extern void kv_sink_names_update(List *sinks);

#endif							/* KV_SINK_NAMES_H */
