/* made_again.h: topics that are other ones than those a pipeline has read. */
#ifndef KV_MADE_AGAIN_H
#define KV_MADE_AGAIN_H

#include "pipeline.h"

/* Raises an error if a topic was deleted since the pipeline's positions were published. Runs: outside a transaction. Blocks: 30 s at most. */
extern void kv_made_again_check(Pipeline *pipeline);

#endif							/* KV_MADE_AGAIN_H */
