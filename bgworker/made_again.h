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

/* The positions that the last batch carried which Postgres has noted as published: Kafka has had these. */
typedef struct PublishedPositions
{
	KafkaOffset *offsets;
	int			count;			/* 0: the note does not say */
	bool		recent;			/* Kafka can have forgotten none by itself */
	int64		batch;
} PublishedPositions;

/* Raises an error if a topic was deleted since the pipeline's positions were published. Runs: outside a transaction. Blocks: 30 s at most. */
extern void kv_made_again_check(const ReaderOfTopics *reader);
/* The same with what was noted and the group's offsets, which the caller has (group_offsets.h). Runs: either. Blocks: no. */
extern void kv_made_again_compare(const ReaderOfTopics *reader, const PublishedPositions *published, const List *in_kafka);

/* Reads what is noted; it lives in context. Runs: in a transaction. Blocks: no. */
extern void kv_made_again_read(int64 pipeline, PublishedPositions *published, MemoryContext context);
/* The same in CurrentMemoryContext. Runs: outside a transaction. Blocks: no. */
extern void kv_made_again_published(int64 pipeline, PublishedPositions *published);

#endif							/* KV_MADE_AGAIN_H */
