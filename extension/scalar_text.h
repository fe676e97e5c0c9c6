/*
 * scalar_text.h: common types from and to text, faster than their input and output
 * functions and without raising anything for what the text says. Whatever is not
 * the plain form of a type comes back as TEXT_OTHER: the input function decides.
 */
#ifndef KV_SCALAR_TEXT_H
#define KV_SCALAR_TEXT_H

#include "kafka_views.h"
#include "lib/stringinfo.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

typedef enum TextResult
{
	TEXT_FINE,
	TEXT_OTHER,					/* not the plain form: ask the input function */
	TEXT_FRACTION,				/* a number, but not an integer */
	TEXT_RANGE					/* does not fit the type */
} TextResult;

/* Numbers. Exact integers only: 1.0 and 1e3 are, 1.5 is not. */
extern TextResult kv_text_int64(const char *text, size_t len, int64 *value);
extern TextResult kv_text_float8(const char *text, size_t len, double *value);
extern TextResult kv_text_float4(const char *text, size_t len, float *value);
/* The numeric is palloc'd in its stored form, typmod applied. */
extern TextResult kv_text_numeric(const char *text, size_t len, int32 typmod, Numeric *value);
/* Milliseconds since 1970, with decimals. */
extern TextResult kv_text_epoch_ms(const char *text, size_t len, Timestamp *value);

/* ISO 8601. Without a zone *has_zone is false and *value is what the clock on the wall said. */
extern TextResult kv_text_timestamp(const char *text, size_t len, Timestamp *value, bool *has_zone);
extern TextResult kv_text_date(const char *text, size_t len, DateADT *value);
extern TextResult kv_text_uuid(const char *text, size_t len, pg_uuid_t *value);

/* Append the text of a value; no quotes. */
extern void kv_put_int64(StringInfo out, int64 value);
extern void kv_put_float8(StringInfo out, double value);
extern void kv_put_float4(StringInfo out, float value);
extern void kv_put_numeric(StringInfo out, Numeric value);
/* ISO 8601, microseconds without trailing zeros, Z behind it if utc. */
extern void kv_put_timestamp(StringInfo out, Timestamp value, bool utc);
extern void kv_put_date(StringInfo out, DateADT value);
extern void kv_put_uuid(StringInfo out, const pg_uuid_t *value);
extern void kv_put_hex(StringInfo out, const char *bytes, size_t len);

/* NaN and the infinities, which JSON cannot write as numbers. */
extern bool kv_numeric_is_special(Numeric value);

#endif							/* KV_SCALAR_TEXT_H */
