/* ends.h: confirms at their leaders where partitions end that have nothing new. */
#ifndef KV_ENDS_H
#define KV_ENDS_H

#include "pipeline.h"

/*
 * Begins to ask the leaders of partitions that have nothing new where these end; all: those too that did not answer the last time. False: an
 * earlier question is still under way. Its end wakes the process (kv_call_fd).
 */
extern bool kv_ends_ask(Pipeline *pipeline, TimestampTz now, bool all);
/* Notes in the partitions what has been answered since the last time; true: something was, or a leader gave no answer. */
extern bool kv_ends_answered(Pipeline *pipeline);
/*
 * Have tables been read to where they ended when this was asked first, with what open transactions hid then? For when all that can be read has been.
 */
extern bool kv_ends_tables_read(Pipeline *pipeline);
/* Names the partitions whose leaders gave no answer, palloc'd; NULL: all did. */
extern char *kv_ends_unanswered(Pipeline *pipeline);

#endif							/* KV_ENDS_H */
