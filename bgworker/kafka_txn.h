/* kafka_txn.h: a transactional producer and its Kafka transactions: messages and offsets that commit together. */
#ifndef KV_KAFKA_TXN_H
#define KV_KAFKA_TXN_H

#include "txn_topics.h"

typedef struct KafkaTxn KafkaTxn;

/* A position that a Kafka transaction commits for the producer's group. */
typedef struct KafkaOffset
{
	char	   *topic;
	int32		partition;
	int64		offset;
	char	   *metadata;		/* when read: may be NULL; when sent, all get the same */
} KafkaOffset;

/*
 * Opens a producer whose transactional.id and group are both name, and fences its predecessors.
 * The producer lives in a child of parent. Raises an error if that does not succeed in 30 s.
 */
extern KafkaTxn *kv_txn_open(MemoryContext parent, Oid serverid, Oid role, const char *name);
extern void kv_txn_close(KafkaTxn *txn);
extern KvClient *kv_txn_client(KafkaTxn *txn);

extern void kv_txn_begin(KafkaTxn *txn);
/* Queues one message; hash is kv_murmur2 of its key. */
extern void kv_txn_produce(KafkaTxn *txn, const OutboxMessage *message, uint32 hash);
/* Waits for all messages, adds the offsets (at least one) with metadata, and commits. */
extern void kv_txn_commit(KafkaTxn *txn, const KafkaOffset *offsets, int noffsets, const char *metadata);
/*
 * After an error: aborts what is open, for 5 s at most. False: the producer is of no use any more
 * and must be closed. Raises nothing.
 */
extern bool kv_txn_abort(KafkaTxn *txn);
/* Has somebody else opened a producer of that name (or a transaction timed out)? */
extern bool kv_txn_is_fenced(KafkaTxn *txn);

#endif							/* KV_KAFKA_TXN_H */
