/* publish.h: rows of a trigger as messages of a topic. */
#ifndef KV_PUBLISH_H
#define KV_PUBLISH_H

#include "access/tupdesc.h"
#include "utils/tuplestore.h"
#include "encode.h"
#include "row_time.h"
#include "sink_check.h"

/*
 * Encodes a row for the topic, or only its key for a tombstone, and appends it to the outbox. The message's time is
 * what the topic's columns say of a row, else cause_time, the event time of what caused it; DT_NOBEGIN: the batch's.
 */
extern void kv_publish_values(const TopicDef *topic, Encoder *encoder, const Datum *values, const bool *nulls, bool tombstone,
							  TimestampTz cause_time);

/* Does so for every row of a tuplestore but the first from, as rows of relid (row_time.h); others may read it at the same time. */
extern void kv_publish_store(const TopicDef *topic, Encoder *encoder, Oid relid, RowTimeCursor *cursor, TupleDesc desc,
							 Tuplestorestate *rows, int64 from);

#endif							/* KV_PUBLISH_H */
