/* sink_snapshot.h: the rows that a view has when a sink is attached. */
#ifndef KV_SINK_SNAPSHOT_H
#define KV_SINK_SNAPSHOT_H

#include "catalog.h"

/* Publishes the rows a view has now to a new sink, as batch, whose number the caller has taken. */
extern void kv_sink_snapshot(const ViewRow *row, int64 batch, Oid topic_relid);

#endif							/* KV_SINK_SNAPSHOT_H */
