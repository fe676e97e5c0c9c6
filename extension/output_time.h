/*
 * output_time.h: the time of a view's rows, for views over it.
 */
#ifndef KV_OUTPUT_TIME_H
#define KV_OUTPUT_TIME_H

#include "refuse.h"
#include "view_def.h"

/* Fills time_attno and output_delay_us; after kv_join_graph. event_time: the option, NULL where it is not given; refused if it names no such column. */
extern Refusal *kv_output_time(ViewDef *view, const char *event_time);

#endif							/* KV_OUTPUT_TIME_H */
