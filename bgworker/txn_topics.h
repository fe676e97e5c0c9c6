/* txn_topics.h: the topics that a producer writes to: their handles, their partitions, and which one a message goes to. */
#ifndef KV_TXN_TOPICS_H
#define KV_TXN_TOPICS_H

#include "client.h"
#include "outbox.h"

/* A topic that a producer writes to. */
typedef struct TxnTopic
{
	char	   *name;
	rd_kafka_topic_t *rkt;
	int			npartitions;	/* 0: not known yet */
	TimestampTz known_at;
	uint32		keyless;		/* messages without a key so far */
} TxnTopic;

/* The topics of one producer. */
typedef struct TxnTopics
{
	KvClient   *client;
	List	   *topics;			/* TxnTopic * */
	TxnTopic   *last;
	MemoryContext context;		/* inside the client's: its objects go before the handle */
} TxnTopics;

/* Finds or opens a topic; NULL: rd_kafka_last_error() says why not. Blocks: no. */
extern TxnTopic *kv_topics_get(TxnTopics *topics, const char *name);
/* Is its number of partitions to be asked for, for the first time or because it is a while ago? */
extern bool kv_topic_is_stale(const TxnTopic *topic);
extern void kv_topic_set_partitions(TxnTopic *topic, int npartitions);
/* Queues a message, which librdkafka copies, for a topic whose partitions are known; hash: kv_murmur2 of its key. */
extern rd_kafka_resp_err_t kv_topic_produce(TxnTopics *topics, const OutboxMessage *message, uint32 hash);
/* Java's hash of a key, by which its clients choose partitions. */
extern uint32 kv_murmur2(const char *key, int len);

#endif							/* KV_TXN_TOPICS_H */
