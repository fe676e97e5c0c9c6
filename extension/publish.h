/* publish.h: rows of a trigger as messages of a topic; attach_sink, create_sink. */
#ifndef KV_PUBLISH_H
#define KV_PUBLISH_H

#include "encode.h"
#include "sink_check.h"

/* Encodes a row for the topic, or only its key for a tombstone, and appends it to the outbox. */
extern void kv_publish_values(const TopicDef *topic, Encoder *encoder, const Datum *values, const bool *nulls, bool tombstone);

#endif							/* KV_PUBLISH_H */
