/*
 * headers.h: the headers of a message, in a column of type jsonb: {"name": "value"}.
 */
#ifndef KV_HEADERS_H
#define KV_HEADERS_H

#include "kafka_views.h"
#include "utils/jsonb.h"
#include <librdkafka/rdkafka.h>

/* Headers of a record as jsonb ({"name": "value" | null, ...}; bytes that are not UTF-8 as hex with \x). */
extern Datum kv_headers_jsonb(const rd_kafka_headers_t *headers);
/* Packs them as outbox.h says; values that are not strings as their JSON. Raises an error for what is no object. */
extern bytea *kv_headers_pack(Jsonb *headers);

#endif							/* KV_HEADERS_H */
