/*
 * ring.c: the records of a partition that were polled, oldest first, until their batch has committed.
 *
 * A message of the client holds all that it came with: a producer's batch where that was compressed, else the whole
 * response of a broker. Where records wait in many partitions, and each holds another of those, they would take many times
 * what they are: in 100 partitions with batches of 1 MB 100 MB, under a limit of 16. So these rings have copies. Where it cannot come to much
 * (buffer_share.c) they have the messages: a copy costs nothing that can be measured, but its headers, which the client
 * reads only when it is asked for them, do: 0.4 us where a record has three.
 *
 * Records lie in a context of the ring, in blocks that are free again when all in them are: they go in the order in which they came.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "ring.h"

#define FIRST_SIZE 1024

/* Records of more than an eighth have a block of their own; of a ring two blocks may be nearly empty. */
#define LEAST_BLOCK 1024
#define MOST_BLOCK (16 * 1024)

/* What a copy takes besides its key and value: itself, the context's chunk, its place in the ring; and a header of one besides its name and value. */
#define COPY_OVERHEAD (sizeof(TopicRecord) + 40)
#define HEADER_OVERHEAD 100

static bool grow(Partition *partition);
static TopicRecord *keep_message(Partition *partition, rd_kafka_message_t *msg);
static TopicRecord *copy_message(Partition *partition, rd_kafka_message_t *msg);
static size_t headers_bytes(const rd_kafka_headers_t *headers);
static int64 record_bytes(const TopicRecord *record);
static void free_record(TopicRecord *record);
static void give_back(TopicRecord *record);


/* Runs: either. Blocks: no. */
void
kv_ring_init(Pipeline *pipeline, Partition *partition)
{
	partition->fifo_size = FIRST_SIZE;
	partition->fifo = MemoryContextAllocZero(pipeline->context, sizeof(TopicRecord *) * partition->fifo_size);
	/* not below the run's context, whose children go before the client does, which still looks at the records (kv_ring_end) */
	partition->fifo_context = GenerationContextCreate(TopMemoryContext, "kv ring", 0, LEAST_BLOCK, MOST_BLOCK);
}

/* Runs: either. Blocks: no. Raises nothing, as the caller has more messages in its hands. */
int64
kv_ring_add(Partition *partition, rd_kafka_message_t *msg, bool copy)
{
	TopicRecord *record = NULL;
	int64		bytes;

	if (partition->fifo_count < partition->fifo_size || grow(partition))
		record = copy ? copy_message(partition, msg) : keep_message(partition, msg);
	if (copy || record == NULL)
		rd_kafka_message_destroy(msg);
	if (record == NULL)
		return -1;
	RING_AT(partition, partition->fifo_count) = record;
	partition->fifo_count++;
	bytes = record_bytes(record);
	partition->fifo_bytes += bytes;
	return bytes;
}

/* Doubles a ring; its oldest record comes to lie at 0. False: there is no memory. */
static bool
grow(Partition *partition)
{
	int			size = partition->fifo_size * 2;
	TopicRecord **fifo = MemoryContextAllocExtended(GetMemoryChunkContext(partition->fifo), sizeof(TopicRecord *) * size,
													MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);

	if (fifo == NULL)
		return false;
	for (int i = 0; i < partition->fifo_count; i++)
		fifo[i] = RING_AT(partition, i);
	pfree(partition->fifo);
	partition->fifo = fifo;
	partition->fifo_size = size;
	partition->fifo_head = 0;
	return true;
}

/* Makes the record of a message, which lives as long as that; NULL: there is no memory. */
static TopicRecord *
keep_message(Partition *partition, rd_kafka_message_t *msg)
{
	TopicRecord *record = MemoryContextAllocExtended(partition->fifo_context, sizeof(TopicRecord), MCXT_ALLOC_NO_OOM);

	if (record != NULL)
		*record = kv_record_of(msg);
	return record;
}

/* Copies a message, of which only the headers are taken off; NULL: there is no memory. */
static TopicRecord *
copy_message(Partition *partition, rd_kafka_message_t *msg)
{
	TopicRecord *record = MemoryContextAllocExtended(partition->fifo_context, sizeof(TopicRecord) + msg->key_len + msg->len,
													 MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);
	char	   *bytes = (char *) (record + 1);

	if (record == NULL)
		return NULL;
	*record = kv_record_of(msg);
	record->msg = NULL;
	if (msg->key != NULL)
		record->key = memcpy(bytes, msg->key, msg->key_len);
	if (msg->payload != NULL)
		record->value = memcpy(bytes + msg->key_len, msg->payload, msg->len);
	record->no_headers = rd_kafka_message_detach_headers(msg, &record->client_headers) != RD_KAFKA_RESP_ERR_NO_ERROR;
	if (!record->no_headers)
		record->headers_len = headers_bytes(record->client_headers);
	return record;
}

static size_t
headers_bytes(const rd_kafka_headers_t *headers)
{
	size_t		result = HEADER_OVERHEAD;
	const char *name;
	const void *value;
	size_t		len;

	for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		result += strlen(name) + len + HEADER_OVERHEAD;
	return result;
}

/* Gives what a record takes in memory, without the rest of what its message came with. */
static int64
record_bytes(const TopicRecord *record)
{
	return record->value_len + record->key_len + record->headers_len + COPY_OVERHEAD + (record->msg != NULL ? RECORD_OVERHEAD : 0);
}

/* Runs: either. Blocks: no. */
int64
kv_ring_release(Partition *partition)
{
	int64		bytes = 0;

	for (int i = 0; i < partition->fifo_given; i++)
	{
		bytes += record_bytes(RING_AT(partition, i));
		free_record(RING_AT(partition, i));
	}
	partition->fifo_bytes -= bytes;
	partition->fifo_head = (partition->fifo_head + partition->fifo_given) & (partition->fifo_size - 1);
	partition->fifo_count -= partition->fifo_given;
	partition->fifo_given = 0;
	return bytes;
}

static void
free_record(TopicRecord *record)
{
	give_back(record);
	pfree(record);
}

/* Gives back what the client has lent or left of a record. */
static void
give_back(TopicRecord *record)
{
	if (record->msg != NULL)
		rd_kafka_message_destroy(unconstify(rd_kafka_message_t *, record->msg));
	if (record->client_headers != NULL)
		rd_kafka_headers_destroy(record->client_headers);
}

/* The places go with the memory of the run. */
void
kv_ring_end(Partition *partition)
{
	for (int i = 0; i < partition->fifo_count; i++)
		give_back(RING_AT(partition, i));
	partition->fifo_count = partition->fifo_given = 0;
	if (partition->fifo_context != NULL)
		MemoryContextDelete(partition->fifo_context);
	partition->fifo_context = NULL;
}
