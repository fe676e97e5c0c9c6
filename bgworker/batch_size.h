/* batch_size.h: how many records a batch takes where kafka.batch_rows are too many. */
#ifndef KV_BATCH_SIZE_H
#define KV_BATCH_SIZE_H

#include "pipeline.h"

/* The most records that a batch takes now. */
extern int64 kv_batch_size(const Pipeline *pipeline);
/* A batch of that many records has failed; true: try again with half of them. Otherwise the error may have got a hint. */
extern bool kv_batch_size_halve(Pipeline *pipeline, int64 taken, ErrorData *error);
/* A batch has committed. */
extern void kv_batch_size_fits(Pipeline *pipeline);

#endif							/* KV_BATCH_SIZE_H */
