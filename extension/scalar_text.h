/*
 * scalar_text.h: common types from text, faster than their input functions and without raising anything for what the text says. Whatever is not
 * the plain form of a type comes back as TEXT_OTHER: the input function decides.
 */
#ifndef KV_SCALAR_TEXT_H
#define KV_SCALAR_TEXT_H

#include "kafka_views.h"
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

/*
 * The stored form of numeric: a header of sign, scale and weight, then digits of base 10000.
 * It is private to numeric.c, but it is the format on disk, which pg_upgrade depends on.
 */
#define NUM_SIGN_MASK 0xC000
#define NUM_SHORT 0x8000
#define NUM_NEG 0x4000
#define NUM_SPECIAL 0xC000
#define NUM_PINF 0xD000
#define NUM_NINF 0xF000
#define NUM_EXT_MASK 0xF000
#define NUM_SHORT_NEG 0x2000
#define NUM_SHORT_SCALE_MASK 0x1F80
#define NUM_SHORT_SCALE_SHIFT 7
#define NUM_SHORT_WEIGHT_SIGN 0x0040
#define NUM_SHORT_WEIGHT_MASK 0x003F
#define NUM_SCALE_MASK 0x3FFF
#define NUM_BASE_DIGITS 4

#endif							/* KV_SCALAR_TEXT_H */
