/* skipped.h: records that views have gone without. */
#ifndef KV_SKIPPED_H
#define KV_SKIPPED_H

#include "kafka_views.h"
#include "utils/hsearch.h"

extern HTAB *kv_skipped_read(MemoryContext context, int64 pipeline);
extern bool kv_skipped_has(HTAB *skipped, Oid relation, int32 partition, int64 offset, int64 view);

#endif							/* KV_SKIPPED_H */
