/*
 * convert.h: one value of a record to a Datum of a column's type. A converter is made
 * once per column and knows the short way for the common types; the rest takes the
 * type's input function, which may raise: it is called only when the caller
 * says that it catches errors.
 */
#ifndef KV_CONVERT_H
#define KV_CONVERT_H

#include "kafka_views.h"
#include "format_json.h"
#include "format.h"

typedef struct Converter Converter;

typedef enum ConvertResult
{
	CONVERT_FINE,
	CONVERT_NULL,
	CONVERT_BAD,				/* error->sqlstate and error->detail say why */
	CONVERT_CATCH				/* cannot be done without catching errors; call again with catching true */
} ConvertResult;

/* Makes a converter in context. Raises an error for a type without an input function. */
extern Converter *kv_converter_make(MemoryContext context, Oid type, int32 typmod);
/* Would the type take an object of JSON as a whole (json, jsonb, composite, range)? */
extern bool kv_converter_takes_object(const Converter *converter);

/*
 * Convert a JSON value, or the bytes of a key or value that is not JSON. The result lives in
 * CurrentMemoryContext. With catching an error may be raised instead of CONVERT_BAD.
 */
extern ConvertResult kv_convert_json(Converter *converter, const JsonField *field, bool catching,
									 Datum *value, DecodeError *error);
extern ConvertResult kv_convert_bytes(Converter *converter, const char *bytes, size_t len, bool catching,
									  Datum *value, DecodeError *error);
/* Converts what Java's serialisers write: big-endian numbers, else bytes as kv_convert_bytes. */
extern ConvertResult kv_convert_kafka(Converter *converter, const char *bytes, size_t len, bool catching,
									  Datum *value, DecodeError *error);

/* The parser of this process. */
extern JsonParser *kv_json_parser(void);
/* Notes a fault; gives CONVERT_BAD. */
extern ConvertResult kv_convert_bad(DecodeError *error, int sqlstate, const char *format,...) pg_attribute_printf(3, 4);

#endif							/* KV_CONVERT_H */
