/* cluster.h: to which Kafka cluster a server leads. */
#ifndef KV_CLUSTER_H
#define KV_CLUSTER_H

#include "client.h"

/*
 * Raises an error unless the client's brokers are of the cluster that the pipeline began with, which is noted at its first start.
 * False: that is to be noted, and a transaction holds the pipeline's row, which this waits for only if wait says so. Runs: outside a
 * transaction. Blocks: 10 s at most, unless for that.
 */
extern bool kv_cluster_check(KvClient *client, int64 pipeline, const char *name, bool wait);

/* Has the definition of a server or of a user mapping changed since the last call? Handles made before may lead elsewhere. */
extern bool kv_cluster_may_have_changed(void);

#endif							/* KV_CLUSTER_H */
