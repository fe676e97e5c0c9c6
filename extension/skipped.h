/* skipped.h: records that views have gone without. */
#ifndef KV_SKIPPED_H
#define KV_SKIPPED_H

#include "kafka_views.h"
#include "utils/hsearch.h"

/* In the place of an input: all of the view's. */
#define SKIPPED_EVERY_INPUT (-1)

extern HTAB *kv_skipped_read(MemoryContext context, int64 pipeline);
/* Has an input of a view, numbered from 0, gone without a record, alone or with others? view 0, input SKIPPED_EVERY_INPUT: has every one? */
extern bool kv_skipped_has(HTAB *skipped, Oid relation, int32 partition, int64 offset, int64 view, int input);

#endif							/* KV_SKIPPED_H */
