/* known.h: what this database knows of what a pipeline has published. */
#ifndef KV_KNOWN_H
#define KV_KNOWN_H

#include "made_again.h"
#include "metadata.h"
#include "output.h"

/* What Postgres knows of a pipeline. */
typedef struct Known
{
	char	   *token;			/* of its names in Kafka */
	bool		reads;			/* has a position */
	char	   *topic;			/* and partition: one of those */
	int32		partition;
	bool		noted;			/* has a row in kafka_state.published */
	bool		decided;		/* which holds, as somebody has said, without Kafka's metadata */
	OutboxPlace note;
	int64		last_batch;		/* of kafka_state.pipeline */
	bool		unpublished;	/* messages after the note */
	PublishedPositions positions;	/* of the note; in the context that it was read into */
	char	   *compared;		/* of kafka_state.pipeline */
} Known;

/*
 * Reads the pipeline's names into the output and what of it does not change while Kafka is asked; what is kept lives in output->context. Runs:
 * outside a transaction. Blocks: no.
 */
extern void kv_known_read(Output *output, Known *known);
/*
 * Reads what of the pipeline is made and noted as published into known and the context, all of it with one snapshot: kafka.resume() may come
 * meanwhile. Raises an error where a session has locked the outbox. Runs: outside a transaction. Blocks: no.
 */
extern void kv_known_read_note(const Output *output, Known *known, MemoryContext context);
/*
 * Adds to the output's positions those of the last published batch that Kafka has lost: somebody has decided that what is noted here
 * holds, and what is committed with the owner is not missed again (made_again.c). Runs: outside a transaction. Blocks: no.
 */
extern void kv_known_hold_positions(Output *output, const OutboxMetadata *metadata);

#endif							/* KV_KNOWN_H */
