/* reload.h: refills unlogged buffers that a crash has emptied (DESIGN.md 5.2). */
#ifndef KV_RELOAD_H
#define KV_RELOAD_H

#include "pipeline.h"

/*
 * Starts fetching all partitions at their positions; where a crash has emptied the
 * buffers, from marks before them, and refills the buffers first.
 */
extern void kv_reload_start(Pipeline *pipeline);
/* Could a reload of the buffers of a topic, begun now, read all that they hold? */
extern bool kv_reload_possible(Pipeline *pipeline, const TopicInput *topic);

#endif							/* KV_RELOAD_H */
