/*
 * json_put.h: one Datum as JSON, or as the bytes of a key or value that is not
 * JSON. The mirror of convert.h: what is written here reads back there as the same value.
 */
#ifndef KV_JSON_PUT_H
#define KV_JSON_PUT_H

#include "kafka_views.h"
#include "lib/stringinfo.h"

typedef struct JsonWriter JsonWriter;

/* Makes a writer for a type, in context. */
extern JsonWriter *kv_writer_make(MemoryContext context, Oid type);
/* Append a value that is not null: as JSON; as plain text (bytea: its bytes); an integer as Java's serialisers do. */
extern void kv_put_json(JsonWriter *writer, StringInfo out, Datum value);
extern void kv_put_bytes(JsonWriter *writer, StringInfo out, Datum value);
extern void kv_put_kafka(JsonWriter *writer, StringInfo out, Datum value);
/* Appends a JSON string with its quotes. */
extern void kv_put_json_string(StringInfo out, const char *text, size_t len);

#endif							/* KV_JSON_PUT_H */
