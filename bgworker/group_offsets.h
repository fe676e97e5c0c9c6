/* group_offsets.h: all that Kafka remembers of a consumer group. */
#ifndef KV_GROUP_OFFSETS_H
#define KV_GROUP_OFFSETS_H

#include "kafka_txn.h"

/*
 * Reads all committed offsets of a group, as KafkaOffset *, with metadata; waits for open transactions. NIL: Kafka knows of none.
 * Runs: outside a transaction. Blocks: 30 s at most.
 */
extern List *kv_group_offsets(Oid serverid, Oid role, const char *group);

#endif							/* KV_GROUP_OFFSETS_H */
