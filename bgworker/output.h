/* output.h: the output of one pipeline, as the publisher and recovery see it. */
#ifndef KV_OUTPUT_H
#define KV_OUTPUT_H

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

#endif							/* KV_OUTPUT_H */
