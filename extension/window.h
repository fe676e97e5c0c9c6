/*
 * window.h: fixed-size windows of event time as SQL functions, kafka.tumble and
 * kafka.hop, and the arithmetic they share with sessions.
 */
#ifndef KV_WINDOW_H
#define KV_WINDOW_H

#include "kafka_views.h"

/*
 * Start of the window of size_us that holds at, aligned to 1970-01-01 00:00 UTC.
 * Raises ERRCODE_DATETIME_VALUE_OUT_OF_RANGE where it lies outside timestamptz.
 */
extern TimestampTz kv_window_start(TimestampTz at, int64 size_us);

/* Length of an interval in us; raises an error, which calls it what, for months and for what is not positive. */
extern int64 kv_window_length(const Interval *interval, const char *what);

#endif							/* KV_WINDOW_H */
