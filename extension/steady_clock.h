/* steady_clock.h: time that nobody sets. */
#ifndef KV_STEADY_CLOCK_H
#define KV_STEADY_CLOCK_H

#include "kafka_views.h"

/* The time on the steady clock, the same in all processes of the server; comparable with itself alone. */
extern TimestampTz kv_steady_now(void);
/* What the clock on the wall shows, or would have shown, at a time on the steady clock; 0, DT_NOBEGIN and DT_NOEND stay. */
extern TimestampTz kv_steady_as_clock(TimestampTz time);
/* Starts it; by _PG_init, before the postmaster has children. */
extern void kv_steady_start(void);

#endif							/* KV_STEADY_CLOCK_H */
