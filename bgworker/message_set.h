/* message_set.h: the messages of one Kafka transaction, in order. */
#ifndef KV_MESSAGE_SET_H
#define KV_MESSAGE_SET_H

#include "kafka_txn.h"

typedef struct MessageSet
{
	OutboxMessage *messages;	/* pointers into rows that live as long as the set */
	uint32	   *hashes;			/* kv_murmur2 of their keys */
	int			count;
	int			size;
	int64		bytes;			/* of the packed rows */
	MemoryContext context;
} MessageSet;

extern MessageSet *kv_messages_make(MemoryContext context);
/* Adds the messages of a packed row (a bytea, detoasted into the set's memory). */
extern void kv_messages_add(MessageSet *set, Datum row);
/* Produces all, of upsert topics only the last of every key; gives back how many. */
extern int64 kv_messages_produce(MessageSet *set, KafkaTxn *txn);

#endif							/* KV_MESSAGE_SET_H */
