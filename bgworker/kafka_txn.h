/*
 * kafka_txn.h: a transactional producer and its Kafka transactions: messages and offsets that commit together. Nothing here waits for
 * Kafka: what takes time is begun, and kv_txn_advance goes on with it.
 */
#ifndef KV_KAFKA_TXN_H
#define KV_KAFKA_TXN_H

#include "message_set.h"
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
 * Begins to open a producer whose transactional.id and group are both name, and to fence its predecessors, in 30 s at most.
 * It lives in a child of parent, which must not be reset while kv_txn_is_busy, for that would wait.
 */
extern KafkaTxn *kv_txn_open(MemoryContext parent, Oid serverid, Oid role, const char *name);
/*
 * Begins to write an offset for a partition and to take it back: who asks for the group's offsets after that learns what predecessors have
 * committed. Runs: when kv_txn_advance has said that what was begun before is done, and after somebody has asked for the group's offsets.
 */
extern void kv_txn_settle(KafkaTxn *txn, const char *topic, int32 partition);
/*
 * Begins a Kafka transaction of messages (NULL: none), which must stand until it is over, and of offsets (at least one) with metadata;
 * it is over in 240 s at most. Runs: outside a transaction, when kv_txn_advance has said that what was begun before is done.
 */
extern void kv_txn_publish(KafkaTxn *txn, MessageSet *messages, const KafkaOffset *offsets, int noffsets, const char *metadata);
/* After an error: begins to abort what is open, in 5 s at most. Raises nothing: a producer that cannot do that is dead. */
extern void kv_txn_abort(KafkaTxn *txn);
/*
 * Goes on with what was begun. True: it is done; false: a call is under way, whose end kv_call_fd() tells. Raises an error where it
 * failed (an abort never does). Runs: outside a transaction. Blocks: no.
 */
extern bool kv_txn_advance(KafkaTxn *txn);

extern KvClient *kv_txn_client(KafkaTxn *txn);
/* Is a call under way? */
extern bool kv_txn_is_busy(KafkaTxn *txn);
/* Has Kafka been asked to commit, so that only its answer tells whether it has? */
extern bool kv_txn_may_be_out(const KafkaTxn *txn);
/* Is it of no use any more? Then it must be closed. */
extern bool kv_txn_is_dead(const KafkaTxn *txn);
/* Has somebody else opened a producer of that name (or a transaction timed out)? */
extern bool kv_txn_is_fenced(const KafkaTxn *txn);
/* How many messages the last Kafka transaction had. */
extern int64 kv_txn_produced(const KafkaTxn *txn);
/* Says what it waits for, if what is under way was begun limit_ms ago or earlier, and librdkafka's last words about why; NULL: it does not. */
extern char *kv_txn_waits_for(KafkaTxn *txn, int limit_ms, char **detail);

#endif							/* KV_KAFKA_TXN_H */
