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

/* Makes room for len more bytes and the final zero; the call is left out where there is room already. */
static inline char *
kv_reserve(StringInfo out, size_t len)
{
	/* enlargeStringInfo refuses what is too long, whatever its length exactly */
	if (len >= (size_t) (out->maxlen - out->len))
		enlargeStringInfo(out, (int) Min(len, (size_t) PG_INT32_MAX));
	return out->data + out->len;
}

/* Append bytes, without the final zero. */
static inline void
kv_put_text(StringInfo out, const char *text, size_t len)
{
	memcpy(kv_reserve(out, len), text, len);
	out->len += len;
}

static inline void
kv_put_char(StringInfo out, char c)
{
	*kv_reserve(out, 1) = c;
	out->len++;
}

/* Append the text of a value; no quotes. The final zero of StringInfo may be missing behind it. */
extern void kv_put_int64(StringInfo out, int64 value);
extern void kv_put_float8(StringInfo out, double value);
extern void kv_put_float4(StringInfo out, float value);
extern void kv_put_numeric(StringInfo out, Numeric value);
/* ISO 8601, microseconds without trailing zeros, Z behind it if utc. */
extern void kv_put_timestamp(StringInfo out, Timestamp value, bool utc);
extern void kv_put_date(StringInfo out, DateADT value);
/* ISO 8601, P1Y2M3DT4H5M6.7S. */
extern void kv_put_interval(StringInfo out, const Interval *value);
extern void kv_put_uuid(StringInfo out, const pg_uuid_t *value);
extern void kv_put_hex(StringInfo out, const char *bytes, size_t len);
/* The text of any type by its output function, palloc'd, whatever the settings of the session. */
extern char *kv_scalar_output(FmgrInfo *output, Datum value);

/* NaN and the infinities, which JSON cannot write as numbers. */
extern bool kv_numeric_is_special(Numeric value);

#endif							/* KV_SCALAR_PUT_H */
