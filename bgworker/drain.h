/* drain.h: what is done before messages of an outbox go out, and after. */
#ifndef KV_DRAIN_H
#define KV_DRAIN_H

#include "kafka_views.h"

/* Flushes WAL up to what any snapshot taken before shows, and waits for a synchronous standby. */
extern void kv_drain_flush(void);
/* Empties a table of the outbox in a transaction of its own where it is large and nobody holds or waits for a lock; batch: nothing after it may stand there. Pipeline 0: ordinary transactions, of which nothing may. */
extern void kv_drain_truncate(int64 pipeline, int64 batch);

#endif							/* KV_DRAIN_H */
