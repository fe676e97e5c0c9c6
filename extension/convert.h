/*
 * convert.h: one value of a record to a Datum of a column's type. A converter is made
 * once per column and knows the short way for the common types; the rest takes the
 * type's input function, which may raise: it is called only when the caller
 * says that it catches errors.
 */
#ifndef KV_CONVERT_H
#define KV_CONVERT_H

#include "kafka_views.h"
#include "converter.h"

/* Makes a converter in context. Raises an error for a type without an input function. */
extern Converter *kv_converter_make(MemoryContext context, Oid type, int32 typmod);
/*
 * Convert a JSON value, or the bytes of a key or value that is not JSON. The result lives in
 * CurrentMemoryContext. With catching an error may be raised instead of CONVERT_BAD.
 */
extern ConvertResult kv_convert_json(Converter *converter, const JsonField *field, bool catching,
									 Datum *value, DecodeError *error);
extern ConvertResult kv_convert_bytes(Converter *converter, const char *bytes, size_t len, bool catching,
									  Datum *value, DecodeError *error);
/* Converts the big-endian smallint, integer or bigint that Java's serialisers write. */
extern ConvertResult kv_convert_kafka(Converter *converter, const char *bytes, size_t len,
									  Datum *value, DecodeError *error);

#endif							/* KV_CONVERT_H */
