/* publish.h: rows of a trigger as messages of a topic. */
#ifndef KV_PUBLISH_H
#define KV_PUBLISH_H

#include "access/tupdesc.h"
#include "utils/tuplestore.h"
#include "encode.h"
#include "sink_check.h"

/* Encodes a row for the topic, or only its key for a tombstone, and appends it to the outbox. */
extern void kv_publish_values(const TopicDef *topic, Encoder *encoder, const Datum *values, const bool *nulls, bool tombstone);

/* Does so for every row of a tuplestore but the first from; others may read it at the same time. */
extern void kv_publish_store(const TopicDef *topic, Encoder *encoder, TupleDesc desc, Tuplestorestate *rows, int64 from);

#endif							/* KV_PUBLISH_H */
