/*
 * made_again.c: finds out that a topic was deleted and created again.
 *
 * Why it exists: a topic that was made again and is shorter than what was read shows that by its end (consumer.c), one that has
 * grown longer meanwhile does not, and the pipeline would read on in the middle of other records. But Kafka forgets a
 * group's position in a topic when that is deleted. So a position that the last Kafka transaction carried, and
 * Kafka has no more, tells.
 *
 * Invariant: positions of all partitions go with every Kafka transaction, and one goes out each hour at least, whose time
 * stands in kafka_state.published. Where Kafka has none at all, and has not had a sign for long, it has forgotten the
 * group, which says nothing about topics. kafka.resume(pipeline, published => n) has the last word.
 *
 * Kafka takes a position for the new topic as it did for the old one. So the publisher looks too, before it commits positions that
 * it has not just been given: in recovery, whose first batch may be one from before the topic was deleted, and before an idle commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "group_offsets.h"
#include "made_again.h"
#include "run_sql.h"
#include "shared.h"

/* Kafka keeps the offsets of a silent group for a week unless told otherwise; after this (hours) they may be forgotten. */
#define REMEMBERED_H "24"

static const char *find_lost(const PublishedPositions *published, const List *in_kafka);
static void have_asked_again(const ReaderOfTopics *reader);
static void raise_made_again(const ReaderOfTopics *reader, const char *topic, int64 batch) pg_attribute_noreturn();


/* See the header. */
void
kv_made_again_check(const ReaderOfTopics *reader)
{
	PublishedPositions published;
	List	   *in_kafka;
	const char *topic;

	kv_made_again_published(reader->pipeline, &published);
	if (published.count == 0)
		return;
	in_kafka = kv_group_offsets(reader->serverid, reader->owner, reader->kafka_name, published.offsets, published.count);
	topic = find_lost(&published, in_kafka);
	if (topic == NULL)
		return;
	have_asked_again(reader);
	raise_made_again(reader, topic, published.batch);
}

/* See the header. */
void
kv_made_again_compare(const ReaderOfTopics *reader, const PublishedPositions *published, const List *in_kafka)
{
	const char *topic = find_lost(published, in_kafka);

	if (topic != NULL)
		raise_made_again(reader, topic, published->batch);
}

/* Finds a topic whose position Kafka has had and has lost with the topic; NULL: none. */
static const char *
find_lost(const PublishedPositions *published, const List *in_kafka)
{
	int			lost = 0;
	const char *topic = NULL;

	for (int i = 0; i < published->count; i++)
	{
		const KafkaOffset *offset = &published->offsets[i];

		if (kv_group_offset_of(in_kafka, offset->topic, offset->partition) >= 0)
			continue;
		topic = offset->topic;
		lost++;
	}
	return lost > 0 && (lost < published->count || published->recent) ? topic : NULL;
}

/*
 * Has the publisher open its producer anew, after which Kafka's answer is not an old one (kafka_txn.c). Without that, where nothing
 * else writes to this group, the next attempt would get the same answer.
 */
static void
have_asked_again(const ReaderOfTopics *reader)
{
	KvSlot	   *slot = kv_slot_get(SLOT_OUTPUT, MyDatabaseId, reader->pipeline, false);

	if (slot == NULL)
		return;
	slot->recovered = false;
	kv_wake(SLOT_PUBLISHER, MyDatabaseId, reader->serverid);
}

/* See the header. */
void
kv_made_again_published(int64 pipeline, PublishedPositions *published)
{
	MemoryContext save = CurrentMemoryContext;

	StartTransactionCommand();
	kv_made_again_read(pipeline, published, save);
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}

/* See the header. */
void
kv_made_again_read(int64 pipeline, PublishedPositions *published, MemoryContext context)
{
	static const char text[] =
		"SELECT p.value->>'topic', (p.value->>'partition')::integer, n.at > pg_catalog.clock_timestamp() - interval '" REMEMBERED_H " hours', n.batch, (p.value->>'offset')::bigint"
		" FROM kafka_state.published n"
		" CROSS JOIN LATERAL (SELECT b.positions FROM kafka_state.outbox_batch b WHERE b.pipeline = n.pipeline AND b.batch <= n.batch"
		"   ORDER BY b.batch DESC LIMIT 1) b"
		" CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(b.positions) p"
		" WHERE n.pipeline = $1 AND n.part = 0 AND NOT n.decided";
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);
	bool		isnull;
	KvSql		sql;

	*published = (PublishedPositions) {0};
	kv_sql_enter_engine(&sql);
	published->count = kv_sql_read(text, 1, types, &value, NULL, 0);
	published->offsets = MemoryContextAllocZero(context, sizeof(KafkaOffset) * Max(published->count, 1));
	for (int i = 0; i < published->count; i++)
	{
		KafkaOffset *offset = &published->offsets[i];

		offset->topic = MemoryContextStrdup(context, kv_sql_text(i, 1));
		offset->partition = DatumGetInt32(kv_sql_value(i, 2, &isnull));
		offset->offset = kv_sql_int8(i, 5);
		published->recent = DatumGetBool(kv_sql_value(i, 3, &isnull));
		published->batch = kv_sql_int8(i, 4);
	}
	kv_sql_leave(&sql);
}

static void
raise_made_again(const ReaderOfTopics *reader, const char *topic, int64 batch)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("Kafka has lost the position of pipeline \"%s\" in topic \"%s\"", reader->name, topic),
			 errdetail("It has forgotten it since batch " INT64_FORMAT " was published, as it does when the topic is deleted.", batch),
			 errhint(KV_OLD_ANSWER_HINT "If the topic was deleted and created again, drop the views of the pipeline and create them again to read it from its start. "
					 "If only consumer group \"%s\" was deleted: SELECT kafka.resume('%s', published => " INT64_FORMAT ").",
					 reader->kafka_name, reader->name, batch)));
}
