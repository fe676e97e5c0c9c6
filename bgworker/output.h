/* output.h: the output of one pipeline, as the publisher and recovery see it. */
#ifndef KV_OUTPUT_H
#define KV_OUTPUT_H

#include "kafka_txn.h"
#include "metadata.h"
#include "shared.h"

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
