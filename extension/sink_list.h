/* sink_list.h: the topics that unstored views write to. */
#ifndef KV_SINK_LIST_H
#define KV_SINK_LIST_H

#include "catalog.h"

/* Both for a view locked ShareRowExclusive by the caller. */
extern bool kv_sink_add(const ViewRow *view, Oid topic_relid);
extern bool kv_sink_remove(const ViewRow *view, Oid topic_relid);
extern List *kv_sink_list(int64 view);

#endif							/* KV_SINK_LIST_H */
