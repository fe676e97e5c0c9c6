/*
 * fault_point.h: named places where a test makes a process stand still or fail, so that anything can be done to it, to
 * Postgres or to the broker at exactly that moment. Compiled only for tests (FAULTS=1); a release build has nothing of it.
 *
 * All points are in the table of bgworker/README.md, and regress/tap/Faults.pm has for each what leads to it.
 */
#ifndef KV_FAULT_POINT_H
#define KV_FAULT_POINT_H

#ifdef KV_FAULT_POINTS
/* Stands still or raises an error where the point is armed; see fault_point.c. */
extern void kv_fault_point(const char *name);
/* The same of a point named by two words, "before" and "compute". */
extern void kv_fault_point_of(const char *when, const char *what);
/* Stands still, in any thread, while calls into librdkafka are not to return; true: they are not. */
extern bool kv_fault_calls_hang(bool wait);
#define KV_FAULT_POINT(name) kv_fault_point(name)
#define KV_FAULT_POINT_OF(when, what) kv_fault_point_of(when, what)
#define KV_FAULT_HANG() ((void) kv_fault_calls_hang(true))
#else
#define KV_FAULT_POINT(name) ((void) 0)
#define KV_FAULT_POINT_OF(when, what) ((void) 0)
#define KV_FAULT_HANG() ((void) 0)
#endif

#endif
