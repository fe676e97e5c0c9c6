/* group_offsets.h: all that Kafka remembers of a consumer group. */
#ifndef KV_GROUP_OFFSETS_H
#define KV_GROUP_OFFSETS_H

#include "kafka_txn.h"

/*
 * Reads all committed offsets of a group, as KafkaOffset *, with metadata; waits for open transactions. NIL: Kafka knows of none.
 * Runs: outside a transaction. Blocks: 30 s at most.
 */
extern List *kv_group_offsets(Oid serverid, Oid role, const char *group);
/* Sets the offsets of these partitions, below 0 where Kafka knows of none. Runs: outside a transaction. Blocks: 30 s at most. */
extern void kv_group_read_offsets(Oid serverid, Oid role, const char *group, KafkaOffset *offsets, int noffsets);
/* Finds an offset in what kv_group_offsets gave; below 0: there is none. */
extern int64 kv_group_offset_of(const List *offsets, const char *topic, int32 partition);

#endif							/* KV_GROUP_OFFSETS_H */
