/* attempt.h: a batch, until it has committed. */
#ifndef KV_ATTEMPT_H
#define KV_ATTEMPT_H

#include "pipeline.h"

typedef enum BatchKind
{
	BATCH_OF_RECORDS,			/* that are polled */
	BATCH_OF_TIME,				/* the same, but it must run without records too */
	BATCH_OF_RETRIES			/* dead letters that are tried again */
} BatchKind;

/* Runs a batch; false: there was nothing to do, or what was asked for has been answered by an error. Raises what ends the run. */
extern bool kv_attempt_batch(Pipeline *pipeline, BatchKind kind);

#endif							/* KV_ATTEMPT_H */
