/*
 * txn_topics.c: the topics that a producer writes to, and where in them a message goes.
 *
 * Invariant: what has the same key is in the same partition as what a Java client writes under it.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "steady_clock.h"
#include "txn_topics.h"

/* How long a topic's number of partitions is taken as it was; new ones are seen after that. */
#define PARTITIONS_KNOWN_MS 60000

/* Messages without a key go to one partition for so long, for larger batches on the wire. */
#define KEYLESS_RUN 200

static int32 choose_partition(TxnTopic *topic, const OutboxMessage *message, uint32 hash);
static rd_kafka_headers_t *unpack_headers(const OutboxMessage *message);


/* See the header. */
TxnTopic *
kv_topics_get(TxnTopics *topics, const char *name)
{
	TxnTopic   *topic = topics->last;
	rd_kafka_topic_t *rkt;
	MemoryContext save;
	ListCell   *cell;

	if (topic != NULL && strcmp(topic->name, name) == 0)
		return topic;
	foreach(cell, topics->topics)
	{
		topic = lfirst(cell);
		if (strcmp(topic->name, name) == 0)
			return topics->last = topic;
	}

	rkt = kv_client_topic(topics->client, topics->context, name);
	if (rkt == NULL)
		return NULL;
	save = MemoryContextSwitchTo(topics->context);
	topic = palloc0(sizeof(TxnTopic));
	topic->name = pstrdup(name);
	topic->rkt = rkt;
	topics->topics = lappend(topics->topics, topic);
	MemoryContextSwitchTo(save);
	return topics->last = topic;
}

/* See the header. */
bool
kv_topic_is_stale(const TxnTopic *topic)
{
	return topic->npartitions == 0 || topic->known_at < kv_steady_now() - PARTITIONS_KNOWN_MS * INT64CONST(1000);
}

/* See the header. */
void
kv_topic_set_partitions(TxnTopic *topic, int npartitions)
{
	topic->npartitions = npartitions;
	topic->known_at = kv_steady_now();
}

/* See the header. */
rd_kafka_resp_err_t
kv_topic_produce(TxnTopics *topics, const OutboxMessage *message, uint32 hash)
{
	TxnTopic   *topic = kv_topics_get(topics, message->topic);
	rd_kafka_vu_t vus[7];
	int			n = 0;
	rd_kafka_error_t *error;
	rd_kafka_headers_t *headers = NULL;
	rd_kafka_resp_err_t code;

	vus[n].vtype = RD_KAFKA_VTYPE_RKT;
	vus[n++].u.rkt = topic->rkt;
	vus[n].vtype = RD_KAFKA_VTYPE_PARTITION;
	vus[n++].u.i32 = choose_partition(topic, message, hash);
	vus[n].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
	vus[n++].u.i = RD_KAFKA_MSG_F_COPY;
	vus[n].vtype = RD_KAFKA_VTYPE_VALUE;
	vus[n].u.mem.ptr = (void *) message->value;
	vus[n++].u.mem.size = message->value_len;
	vus[n].vtype = RD_KAFKA_VTYPE_KEY;
	vus[n].u.mem.ptr = (void *) message->key;
	vus[n++].u.mem.size = message->key_len;
	if (message->time_ms >= 0)
	{
		vus[n].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
		vus[n++].u.i64 = message->time_ms;
	}
	if (message->headers != NULL)
	{
		headers = unpack_headers(message);
		vus[n].vtype = RD_KAFKA_VTYPE_HEADERS;
		vus[n++].u.headers = headers;
	}

	error = rd_kafka_produceva(topics->client->rk, vus, n);
	if (error == NULL)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	code = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	if (headers != NULL)
		rd_kafka_headers_destroy(headers);
	if (code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
		topic->known_at = 0;
	return code;
}

/* Chooses as Java's clients do. */
static int32
choose_partition(TxnTopic *topic, const OutboxMessage *message, uint32 hash)
{
	if (message->key == NULL)
		return (topic->keyless++ / KEYLESS_RUN) % topic->npartitions;
	return (hash & 0x7fffffff) % topic->npartitions;
}

/* Makes librdkafka's headers of packed ones (outbox.h). */
static rd_kafka_headers_t *
unpack_headers(const OutboxMessage *message)
{
	const char *p = message->headers;
	rd_kafka_headers_t *headers;
	int16		count;

	memcpy(&count, p, sizeof(count));
	p += sizeof(count);
	headers = rd_kafka_headers_new(count);
	for (int i = 0; i < count; i++)
	{
		int16		name_len;
		int32		value_len;
		const char *name;

		memcpy(&name_len, p, sizeof(name_len));
		name = p + sizeof(name_len);
		p = name + name_len;
		memcpy(&value_len, p, sizeof(value_len));
		p += sizeof(value_len);
		rd_kafka_header_add(headers, name, name_len, value_len < 0 ? NULL : p, Max(value_len, 0));
		p += Max(value_len, 0);
	}
	return headers;
}

/* MurmurHash 2 as org.apache.kafka.common.utils.Utils computes it. */
uint32
kv_murmur2(const char *key, int len)
{
	const unsigned char *data = (const unsigned char *) key;
	const uint32 m = 0x5bd1e995;
	uint32		h = 0x9747b28c ^ len;

	for (; len >= 4; data += 4, len -= 4)
	{
		uint32		k = data[0] | data[1] << 8 | data[2] << 16 | (uint32) data[3] << 24;

		k *= m;
		k ^= k >> 24;
		k *= m;
		h *= m;
		h ^= k;
	}
	switch (len)
	{
		case 3:
			h ^= data[2] << 16;
			/* FALLTHROUGH */
		case 2:
			h ^= data[1] << 8;
			/* FALLTHROUGH */
		case 1:
			h ^= data[0];
			h *= m;
			break;
		default:
			break;
	}
	h ^= h >> 13;
	h *= m;
	h ^= h >> 15;
	return h;
}
