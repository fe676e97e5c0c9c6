/* publisher.h: the output of one pipeline and of ordinary transactions, as the publisher and recovery see it. */
#ifndef KV_PUBLISHER_H
#define KV_PUBLISHER_H

#include "kafka_txn.h"
#include "shared.h"

/*
 * How far an outbox is out: all batches before this one, and of this one the rows up to seq part, or (part 0) all. A batch
 * that is too large for one Kafka transaction goes out in parts, which end at fixed rows of the outbox.
 */
typedef struct OutboxPlace
{
	int64		batch;
	int64		part;
} OutboxPlace;

/* What Kafka knows of an output: the metadata of its last Kafka transaction. */
typedef struct OutboxMetadata
{
	bool		found;
	OutboxPlace place;
	char	   *owner;			/* the process that published it */
	char	   *frontiers;		/* JSON object; NULL: they did not fit */
	/* its database: see kv_recovery_is_replaced */
	int64		adoptions;
	int64		timeline;
} OutboxMetadata;

/* Publishing for one pipeline. */
typedef struct Output
{
	/* who */
	int64		pipeline;
	char	   *name;
	Oid			serverid;
	Oid			owner;			/* role whose user mapping is used */
	int64		resumed;		/* kafka_state.pipeline.resumed as last seen */
	char	   *token;			/* of its names in Kafka */
	bool		listed;			/* in the last look at the catalogs */
	KvSlot	   *slot;			/* SLOT_OUTPUT, for status */
	/* Kafka; recovery.c fills it */
	KafkaTxn   *txn;
	bool		recovered;		/* false: recovery comes first */
	char	   *kafka_name;
	OutboxPlace published;		/* what Kafka has */
	OutboxPlace noted;			/* the same as Postgres knows it */
	KafkaOffset *offsets;		/* what the last Kafka transaction carried */
	int			noffsets;
	char	   *frontiers;		/* JSON object; NULL: not known, for they did not fit there */
	TimestampTz committed_at;
	bool		fenced;			/* the last producer was: find out by whom before opening another */
	bool		stopped;		/* goes on only when a person has acted */
	MemoryContext context;		/* of the producer and what belongs to it */
} Output;

/* recovery.c */
/*
 * Fences a predecessor, finds out what has been published, and commits who publishes now. False: the pipeline has
 * no position yet, so there is nothing to publish either. Raises an error, with output->stopped set where
 * a person must act. Runs: outside a transaction. Blocks: some 90 s at most.
 */
extern bool kv_recover(Output *output);
/* Raises an error if Kafka has lost positions that it had been given: to commit them again would hide it. Runs: outside. Blocks: 30 s at most. */
extern void kv_recovery_check_topics(const Output *output);
/* Metadata of a Kafka transaction; palloc'd. frontiers NULL: not known. */
extern char *kv_recovery_metadata(OutboxPlace place, const char *frontiers);
/* Reads it; false: it is none of ours. */
extern bool kv_recovery_parse(const char *text, OutboxMetadata *metadata);
/* Reads what metadata says of this database; before kv_recovery_metadata and kv_recovery_is_replaced. Runs: in a transaction. */
extern void kv_recovery_note_era(void);
/*
 * Is it from a database that has taken this one's place: adopted more often, or on a later timeline? That one has gone its own
 * way since, so the numbers it gave mean something else here.
 */
extern bool kv_recovery_is_replaced(const OutboxMetadata *metadata);
/* Is a behind b? */
extern bool kv_place_is_before(OutboxPlace a, OutboxPlace b);

/* publisher.c */
/* Flushes WAL up to what any snapshot taken before shows, and waits for a synchronous standby. */
extern void kv_publisher_flush(void);
/* Empties a table of the outbox in a transaction of its own where it is large and nobody holds or waits for a lock; batch: nothing after it may stand there. */
extern void kv_publisher_truncate(const char *table, int64 batch);

/* publish_transactions.c */
/* Publishing for the ordinary transactions of a server. */
typedef struct TransactionOutput TransactionOutput;
extern TransactionOutput *kv_transactions_make(MemoryContext context, Oid serverid);
/* Publishes what has been committed so far as one batch; a body for kv_process_attempt. */
extern void kv_transactions_publish(void *output);
extern bool kv_transactions_more(const TransactionOutput *output);
/* After an error: aborts, and gives up a producer that is of no use any more. */
extern void kv_transactions_failed(TransactionOutput *output);

#endif							/* KV_PUBLISHER_H */
