/*
 * output_time.h: the time of a view's rows, for views over it.
 */
#ifndef KV_OUTPUT_TIME_H
#define KV_OUTPUT_TIME_H

#include "refuse.h"
#include "view_def.h"

/* Fills time_attno and output_delay_us; after kv_join_graph. event_time: the option, NULL where it is not given; refused if it names no such column. */
extern Refusal *kv_output_time(ViewDef *view, const char *event_time);
/*
 * Is it the event time of a driving input of the arm (*input its number within the arm), or greatest() of those of all (*input -1)?
 * coalesce() of all is the first's. Never null: the time of a side that an outer join may leave null is none.
 */
extern bool kv_is_event_time(ViewArm *arm, Node *node, int *input);
/* How much older than the inputs' least watermark the event time of that input can be in a new row of the arm, us; after kv_join_graph. */
extern int64 kv_event_time_delay(const ViewArm *arm, int input);

#endif							/* KV_OUTPUT_TIME_H */
