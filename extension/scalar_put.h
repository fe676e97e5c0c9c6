/*
 * scalar_put.h: common types to text, appended to a buffer without a palloc a value.
 * scalar_text.h reads all of it back.
 */
#ifndef KV_SCALAR_PUT_H
#define KV_SCALAR_PUT_H

#include "kafka_views.h"
#include "lib/stringinfo.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

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

#endif							/* KV_SCALAR_PUT_H */
