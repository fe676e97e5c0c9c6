/*
 * lineage.h: what a continuous view is made of, through the views that it reads.
 */
#ifndef KV_LINEAGE_H
#define KV_LINEAGE_H

#include "kafka_views.h"
#include "nodes/pg_list.h"

/* The append topics (Oid) from whose records the rows of a relation come, or the relation itself if it is one. */
extern List *kv_streams_behind(Oid relid);

#endif							/* KV_LINEAGE_H */
