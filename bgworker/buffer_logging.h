/* buffer_logging.h: which buffers of streams are written to the WAL. */
#ifndef KV_BUFFER_LOGGING_H
#define KV_BUFFER_LOGGING_H

#include "pipeline.h"

/*
 * Makes buffers of streams logged where their topics could not give the records again. Buffers must be whole.
 * Runs: outside a transaction. Blocks: some seconds a topic while brokers do not answer, and for a rewrite of what changes.
 */
extern void kv_buffer_logging_check(Pipeline *pipeline);

#endif							/* KV_BUFFER_LOGGING_H */
