/* transaction_batch.h: the batch of ordinary transactions that is under way or was the last one, as Postgres knows it. */
#ifndef KV_TRANSACTION_BATCH_H
#define KV_TRANSACTION_BATCH_H

#include "kafka_views.h"

/* kafka_state.transaction_batch, and what the producer is called. */
typedef struct TransactionBatch
{
	int64		batch;
	bool		published;
	bool		claimed;
	int64		part;			/* not published yet, but for rows up to this seq */
	char	   *topic;			/* of its first message, which holds its number in Kafka; NULL: the batch is empty */
	char	   *owner;			/* the process that publishes it: what Kafka has of another one is another batch */
	char	   *made_in;		/* kv_identity_here() of that process */
	char	   *token;			/* in kafka_name; another one: kafka.fork() came in between */
	char	   *kafka_name;
	char	   *server;			/* NULL: see locked */
	bool		locked;			/* it could not be looked at, for a session renames or drops the server, or rewrites the tables */
	Oid			role;			/* whose user mapping is used: the server's owner */
	MemoryContext context;		/* of the strings */
} TransactionBatch;

/*
 * All of these run outside a transaction and do not block.
 *
 * Reads the last batch of a server and, where it is unfinished, its topic. topic: that of the batch of number topic_of (0: of none), which is not
 * looked for again, for that takes all of its rows. False: there is nothing to publish.
 */
extern bool kv_transaction_batch_look(TransactionBatch *batch, Oid serverid, const char *topic, int64 topic_of, MemoryContext context);
/* Gives the batch's topic, or that of any message that waits; NULL where none does. */
extern char *kv_transaction_batch_topic(const TransactionBatch *batch);
/*
 * Makes the next batch, with a number behind known, of what is visible now: its rows are those of the statement's own snapshot. Flushed, and
 * with it the transactions it shows, whatever synchronous_commit says. False: kafka.fork() has given the server another name meanwhile.
 */
extern bool kv_transaction_batch_begin(TransactionBatch *batch, int64 known);
/*
 * Makes an unfinished batch one of this process, under this number, its own one or a greater one; flushed. False: a session has decided about it
 * meanwhile, or kafka.fork() has come.
 */
extern bool kv_transaction_batch_take(TransactionBatch *batch, int64 number);
/* Notes that the batch may be out from now on; flushed by who publishes it, as everything is. */
extern void kv_transaction_batch_note_claim(TransactionBatch *batch);
/*
 * Both also where kafka.fork() has given the batch another name meanwhile. True: so it is, and Kafka has no sign of it under that one, so the note must
 * be durable before anything goes out.
 *
 * Notes that the batch's rows up to seq end are out.
 */
extern bool kv_transaction_batch_note_part(const TransactionBatch *batch, int64 end);
/* Notes that the batch is out and deletes its rows, and no others. */
extern bool kv_transaction_batch_finish(const TransactionBatch *batch);

#endif							/* KV_TRANSACTION_BATCH_H */
