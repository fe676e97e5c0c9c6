/*
 * window.c: fixed-size windows of event time: kafka.tumble(at, size) and
 * kafka.hop(at, size, advance).
 *
 * A window is a half-open tstzrange, aligned to 1970-01-01 00:00 UTC whatever the
 * time zone: that makes the functions immutable, and the same event falls into the
 * same window in every session. A size is therefore an exact length: a day is 24
 * hours, months are refused.
 */
#include "window.h"

#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

/* 1970-01-01 in Postgres' epoch, us */
#define UNIX_EPOCH_US (-((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY)

typedef struct HopState
{
	TypeCacheEntry *range_type;
	TimestampTz next_start;		/* of the window that is given out next */
	TimestampTz last_start;
	int64		size_us;
	int64		advance_us;
} HopState;

static Datum make_window(TypeCacheEntry *range_type, TimestampTz start, int64 size_us);

PG_FUNCTION_INFO_V1(kafka_tumble);
PG_FUNCTION_INFO_V1(kafka_hop);

/* Returns the window of the given size that holds a moment. */
Datum
kafka_tumble(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);
	int64		size_us = kv_window_length(PG_GETARG_INTERVAL_P(1), "size");
	TypeCacheEntry *range_type = range_get_typcache(fcinfo, TSTZRANGEOID);

	return make_window(range_type, kv_window_start(at, size_us), size_us);
}

/* Returns every window of the given size, one beginning every advance, that holds a moment; earliest first. */
Datum
kafka_hop(PG_FUNCTION_ARGS)
{
	FuncCallContext *calls;
	HopState   *state;

	if (SRF_IS_FIRSTCALL())
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);

		calls = SRF_FIRSTCALL_INIT();
		state = MemoryContextAlloc(calls->multi_call_memory_ctx, sizeof(HopState));
		state->size_us = kv_window_length(PG_GETARG_INTERVAL_P(1), "size");
		state->advance_us = kv_window_length(PG_GETARG_INTERVAL_P(2), "advance");
		state->range_type = lookup_type_cache(TSTZRANGEOID, TYPECACHE_RANGE_INFO);
		state->last_start = kv_window_start(at, state->advance_us);
		/* the first one that has not ended at that moment */
		state->next_start = kv_window_start(at - state->size_us, state->advance_us) + state->advance_us;
		calls->user_fctx = state;
	}

	calls = SRF_PERCALL_SETUP();
	state = calls->user_fctx;
	if (state->next_start > state->last_start)
		SRF_RETURN_DONE(calls);

	CHECK_FOR_INTERRUPTS();
	state->next_start += state->advance_us;
	SRF_RETURN_NEXT(calls, make_window(state->range_type, state->next_start - state->advance_us, state->size_us));
}

/* Gives the start of the window; see window.h. Division rounds down, before 1970 too. */
TimestampTz
kv_window_start(TimestampTz at, int64 size_us)
{
	int64		since_1970;
	int64		remainder;
	TimestampTz start;

	if (TIMESTAMP_NOT_FINITE(at) || !IS_VALID_TIMESTAMP(at) ||
		pg_sub_s64_overflow(at, UNIX_EPOCH_US, &since_1970))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp is out of range for a window")));

	remainder = since_1970 % size_us;
	if (remainder < 0)
		remainder += size_us;
	start = at - remainder;
	if (!IS_VALID_TIMESTAMP(start))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("window is out of range for timestamps")));
	return start;
}

/* Gives the length of an interval in us; see window.h. */
int64
kv_window_length(const Interval *interval, const char *what)
{
	int64		days_us;
	int64		length_us;

	if (interval->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a window cannot have months or years", what),
				 errdetail("Their length varies."),
				 errhint("Use date_trunc for calendar months and years.")));

	if (pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &days_us) ||
		pg_add_s64_overflow(interval->time, days_us, &length_us) ||
		length_us >= END_TIMESTAMP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a window is too large", what)));
	if (length_us <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a window must be greater than zero", what)));
	return length_us;
}

/* Makes the range [start, start + size). */
static Datum
make_window(TypeCacheEntry *range_type, TimestampTz start, int64 size_us)
{
	RangeBound	lower = {.lower = true,.inclusive = true};
	RangeBound	upper = {.lower = false,.inclusive = false};
	int64		end;

	if (pg_add_s64_overflow(start, size_us, &end) || !IS_VALID_TIMESTAMP(end))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("window is out of range for timestamps")));
	lower.val = TimestampTzGetDatum(start);
	upper.val = TimestampTzGetDatum(end);
	return RangeTypePGetDatum(make_range(range_type, &lower, &upper, false));
}
