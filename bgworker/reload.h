/* reload.h: refills unlogged buffers that a crash has emptied (DESIGN.md 5.2). */
#ifndef KV_RELOAD_H
#define KV_RELOAD_H

#include "pipeline.h"

/*
 * Starts fetching all partitions at their positions; where a crash has emptied the
 * buffers, from marks before them, and refills the buffers first.
 */
extern void kv_reload_start(Pipeline *pipeline);

#endif							/* KV_RELOAD_H */
