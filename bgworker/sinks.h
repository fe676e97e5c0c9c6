/* sinks.h: the rows of unstored views as messages of their sinks. */
#ifndef KV_SINKS_H
#define KV_SINKS_H

#include "pipeline.h"

extern void kv_sinks_load(Pipeline *pipeline, PipelineView *view);
extern void kv_sinks_check(const PipelineView *view);
extern void kv_sinks_publish(PipelineView *view);

#endif							/* KV_SINKS_H */
