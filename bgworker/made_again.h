/* made_again.h: topics that are other ones than those a pipeline has read. */
#ifndef KV_MADE_AGAIN_H
#define KV_MADE_AGAIN_H

#include "kafka_views.h"
#include "kafka_txn.h"
#include "nodes/pg_list.h"

/* A pipeline, by what its worker and its publisher both know. */
typedef struct ReaderOfTopics
{
	int64		pipeline;
	const char *name;
	Oid			serverid;
	Oid			owner;			/* role whose user mapping is used */
	const char *kafka_name;		/* its group */
} ReaderOfTopics;

/* Raises an error if a topic was deleted since the pipeline's positions were published. Runs: outside a transaction. Blocks: 30 s at most. */
extern void kv_made_again_check(const ReaderOfTopics *reader);
/* The same with the group's offsets, which the caller has (group_offsets.h). Runs: outside a transaction. Blocks: no. */
extern void kv_made_again_compare(const ReaderOfTopics *reader, const List *in_kafka);

/*
 * Gives the positions of the last batch that Postgres has noted as published, in CurrentMemoryContext: Kafka has had these. None where
 * the note does not say so. Runs: outside a transaction. Blocks: no.
 */
extern KafkaOffset *kv_made_again_published(const ReaderOfTopics *reader, int *count);

#endif							/* KV_MADE_AGAIN_H */
