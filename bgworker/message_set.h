/* message_set.h: the messages of one Kafka transaction, in order. */
#ifndef KV_MESSAGE_SET_H
#define KV_MESSAGE_SET_H

#include "txn_topics.h"

typedef struct MessageSet
{
	OutboxMessage *messages;	/* pointers into rows that live as long as the set */
	uint32	   *hashes;			/* kv_murmur2 of their keys */
	bool	   *replaced;		/* those that need not be produced; NULL: all must be */
	List	   *topics;			/* char *: what the messages are for */
	char	   *last_topic;
	int			count;
	int			size;
	int64		bytes;			/* of the packed rows */
	MemoryContext context;
} MessageSet;

extern MessageSet *kv_messages_make(MemoryContext context);
/* Adds the messages of a packed row (a bytea, detoasted into the set's memory). */
extern void kv_messages_add(MessageSet *set, Datum row);
/* Marks the messages that a later one of the same upsert topic and key replaces. */
extern void kv_messages_find_replaced(MessageSet *set);

#endif							/* KV_MESSAGE_SET_H */
