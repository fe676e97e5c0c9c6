/* output.h: the output of one pipeline, as the publisher and recovery see it. */
#ifndef KV_OUTPUT_H
#define KV_OUTPUT_H

#include "group_offsets.h"
#include "kafka_txn.h"
#include "metadata.h"
#include "run_sql.h"
#include "shared.h"

typedef enum OutputState
{
	OUTPUT_UNKNOWN,				/* at rest: recovery comes next */
	OUTPUT_RECOVERING,			/* finds out what Kafka has (recovery.c) */
	OUTPUT_READY,				/* at rest: publishes what there is */
	OUTPUT_CHECKING,			/* asks Kafka for positions before they are committed again for being old */
	OUTPUT_PUBLISHING,			/* a Kafka transaction is under way */
	OUTPUT_ABORTING				/* after an error in it; READY or UNKNOWN is next */
} OutputState;

/* Publishing for one pipeline. */
typedef struct Output
{
	/* who */
	int64		pipeline;
	char	   *name;
	Oid			serverid;
	Oid			owner;			/* role whose user mapping is used */
	int64		resumed;		/* kafka_state.pipeline.resumed as last seen */
	char	   *token;			/* of its names in Kafka, as the catalogs have it */
	KvSlot	   *slot;			/* SLOT_OUTPUT, for status */
	/* what it does */
	OutputState state;
	bool		listed;			/* in the last look at the catalogs */
	bool		dropped;		/* its pipeline was: to be forgotten */
	bool		due;			/* to look whether there is anything to publish */
	bool		abandoned;		/* its names have changed: the producer goes as soon as nothing under way may be out */
	bool		fenced;			/* the last producer was: find out by whom before opening another */
	char	   *owner_before;	/* whom Kafka named when recovery looked, while it is not known that this process is named; NULL: nobody, or this one */
	bool		stopped;		/* goes on only when a person has acted */
	bool		failed;			/* the last attempt of this process: its error says more than what the next one waits for */
	struct Recovery *recovery;	/* while it is under way */
	TimestampTz locked_at;		/* since when it finds the pipeline's row, or that of its note, locked; 0: it does not */
	TimestampTz try_at;			/* when it looks again; 0: it does not have to */
	GroupQuestion *question;	/* while it is CHECKING */
	struct Load *load;			/* what the Kafka transaction under way takes, in load_context */
	/* Kafka; recovery.c fills it */
	KafkaTxn   *txn;
	char	   *kafka_name;
	char	   *producer_token; /* in that name: another one after kafka.fork(), until the next producer is opened; it outlives this one */
	bool		owes_note;		/* what the last producer has published is to be noted first: under the names that there are now Kafka has no sign of it */
	OutboxPlace published;		/* what Kafka has */
	OutboxPlace noted;			/* the same as Postgres knows it */
	OutboxPlace deleted;		/* its rows up to here have been deleted with this producer; 0: none, though they may be gone */
	KvPlan	   *delete_messages;	/* of the outbox; in context */
	KafkaOffset *offsets;		/* what the last Kafka transaction carried */
	int			noffsets;
	char	   *frontiers;		/* JSON object; NULL: not known, for they did not fit there */
	TimestampTz committed_at;
	MemoryContext context;		/* of the producer and what belongs to it */
	MemoryContext load_context; /* of one Kafka transaction */
} Output;

#endif							/* KV_OUTPUT_H */
