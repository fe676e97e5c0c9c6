/*
 * steady_clock.c: time that nobody sets, for all that waits.
 *
 * Why it exists: the clock of a machine is set, forwards and back, by people and by NTP. Whoever waits by it waits for hours where it was set back,
 * and where it was set forwards has waited at once: pipelines stood still, or partitions were idle that had had a record a moment ago. So how
 * long something has lasted is told by the kernel's monotonic clock, and the clock on the wall only what time it is: for people, for
 * kafka.max_ahead, for what is stored.
 *
 * Invariant: the two start together, when the postmaster loads the library, and all processes inherit where that was. So a time on the steady clock
 * may be in shared memory, and is a time for people as long as nobody sets the clock (kv_steady_as_clock).
 */
#include "postgres.h"

#include "portability/instr_time.h"
#include "utils/timestamp.h"

#include "steady_clock.h"

static TimestampTz started_at = 0;	/* on the wall */
static instr_time started;


/* See the header. */
void
kv_steady_start(void)
{
	started_at = GetCurrentTimestamp();
	INSTR_TIME_SET_CURRENT(started);
}

/* See the header. Runs: either. Blocks: no. */
TimestampTz
kv_steady_now(void)
{
	instr_time	since;

	INSTR_TIME_SET_CURRENT(since);
	INSTR_TIME_SUBTRACT(since, started);
	return started_at + (TimestampTz) INSTR_TIME_GET_MICROSEC(since);
}

/* See the header. */
TimestampTz
kv_steady_as_clock(TimestampTz time)
{
	return time == 0 || TIMESTAMP_NOT_FINITE(time) ? time : time + (GetCurrentTimestamp() - kv_steady_now());
}
