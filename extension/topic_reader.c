/*-------------------------------------------------------------------------
 * topic_reader.c
 *	  Reads a topic from here to there, for a session that waits for it.
 *
 * Why it exists: a SELECT reads a topic to the end it had when the scan began,
 * however much is produced meanwhile, and must react to a cancel at once.
 *
 * Invariant: a partition is done when a record at or behind its end has been
 * seen or the broker says that nothing lies between: control records and
 * aborted transactions take offsets too, so the last record may lie far before the end.
 *
 * Messages lie in a child context of the client's, whose callback destroys them
 * before the handle, after an error too.
 *-------------------------------------------------------------------------
 */
#include "topic_reader.h"

#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "broker.h"
#include "steady_clock.h"

#define ANSWER_TIMEOUT_MS 10000
#define STALL_TIMEOUT_MS 60000	/* without any record or event the brokers are taken to be gone */
#define BATCH_MESSAGES 1024

typedef struct ReaderPartition
{
	int64		low,
				high;
	bool		known;			/* low and high have been asked for */
	int64		end;
	bool		reading;
} ReaderPartition;

struct TopicReader
{
	KvClient   *client;
	const TopicDef *topic;		/* of the caller */
	int			npartitions;
	ReaderPartition *partitions;
	int			nreading;		/* partitions that have not reached their end */
	rd_kafka_message_t *batch[BATCH_MESSAGES];
	int			count,			/* in batch */
				next;			/* first that was not handed out */
	MemoryContextCallback callback;
};

static void release_batch(void *arg);
static bool take(TopicReader *reader, rd_kafka_message_t *msg);
static void finish_partition(TopicReader *reader, int partition);
static void fill(TopicReader *reader);
static void wait_for_records(TopicReader *reader, TimestampTz since);
static void raise_record_error(TopicReader *reader, const rd_kafka_message_t *msg);

/* Runs: in a transaction. Blocks: ANSWER_TIMEOUT_MS. */
TopicReader *
kv_reader_open(MemoryContext parent, const TopicDef *topic, Oid role, bool few)
{
	/* the last EOF of a topic written by transactions comes one fetch later: do not let it wait 500 ms */
	static const char *const extra_all[] = {"fetch.wait.max.ms", "20", NULL};
	static const char *const extra_few[] = {"fetch.wait.max.ms", "20", "queued.min.messages", "20000", NULL};
	KvClient   *client = kv_client_consumer(parent, topic->serverid, role, few ? extra_few : extra_all);
	MemoryContext context = AllocSetContextCreate(client->context, "kv reader", ALLOCSET_SMALL_SIZES);
	TopicReader *reader = MemoryContextAllocZero(context, sizeof(TopicReader));
	bool		unknown;
	char	   *error;

	reader->client = client;
	reader->topic = topic;
	reader->callback.func = release_batch;
	reader->callback.arg = reader;
	MemoryContextRegisterResetCallback(context, &reader->callback);
	reader->npartitions = kv_broker_partitions(client, topic->topic, ANSWER_TIMEOUT_MS, &unknown, &error);
	if (reader->npartitions < 0 && unknown)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
				 errmsg("topic \"%s\" does not exist on server \"%s\"", topic->topic, topic->server_name),
				 errdetail("librdkafka: %s", error),
				 errhint("Create the topic, or correct the option \"topic\" of %s.", topic->relation_name)));
	if (reader->npartitions < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not read topic \"%s\" from server \"%s\"", topic->topic, topic->server_name),
				 errdetail("librdkafka: %s", error),
				 errhint("Check that the brokers run and what the options of the server and of the user mapping say.")));
	reader->partitions = MemoryContextAllocZero(context, sizeof(ReaderPartition) * reader->npartitions);
	return reader;
}

int
kv_reader_partitions(const TopicReader *reader)
{
	return reader->npartitions;
}

void
kv_reader_range(TopicReader *reader, int partition, int64 *low, int64 *high)
{
	ReaderPartition *entry = &reader->partitions[partition];

	if (!entry->known)
		kv_broker_offsets(reader->client, reader->topic->topic, partition, ANSWER_TIMEOUT_MS, &entry->low, &entry->high);
	entry->known = true;
	*low = entry->low;
	*high = entry->high;
}

int64
kv_reader_seek_time(TopicReader *reader, int partition, int64 time_ms)
{
	return kv_broker_offset_for_time(reader->client, reader->topic->topic, partition, time_ms, ANSWER_TIMEOUT_MS);
}

/* A new assignment makes librdkafka drop what the one before had fetched. */
void
kv_reader_start(TopicReader *reader, const int64 *starts, const int64 *ends)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kv assignment", ALLOCSET_SMALL_SIZES);
	rd_kafka_topic_partition_list_t *list = kv_client_list(context, reader->npartitions);
	rd_kafka_resp_err_t err;

	release_batch(reader);
	reader->nreading = 0;
	for (int i = 0; i < reader->npartitions; i++)
	{
		ReaderPartition *entry = &reader->partitions[i];

		entry->end = ends[i];
		entry->reading = starts[i] < ends[i];
		if (!entry->reading)
			continue;
		rd_kafka_topic_partition_list_add(list, reader->topic->topic, i)->offset = starts[i];
		reader->nreading++;
	}
	err = rd_kafka_assign(reader->client->rk, list);
	MemoryContextDelete(context);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not read topic \"%s\" from server \"%s\"", reader->topic->topic, reader->topic->server_name),
				 errdetail("librdkafka: %s", rd_kafka_err2str(err))));
}

/* Runs: in a transaction. Blocks: until a record comes, interruptible. */
const rd_kafka_message_t *
kv_reader_next(TopicReader *reader)
{
	if (reader->next > 0 && reader->batch[reader->next - 1] != NULL)
	{
		rd_kafka_message_destroy(reader->batch[reader->next - 1]);
		reader->batch[reader->next - 1] = NULL;
	}
	while (reader->nreading > 0)
	{
		rd_kafka_message_t *msg;

		if (reader->next >= reader->count)
			fill(reader);
		msg = reader->batch[reader->next++];
		if (take(reader, msg))
			return msg;
		rd_kafka_message_destroy(msg);
		reader->batch[reader->next - 1] = NULL;
	}
	return NULL;
}

void
kv_reader_close(TopicReader *reader)
{
	kv_client_destroy(reader->client);
}

/* Is it a record before the end of its partition? Notes ends, raises errors. */
static bool
take(TopicReader *reader, rd_kafka_message_t *msg)
{
	int			partition = msg->partition;
	bool		ours = partition >= 0 && partition < reader->npartitions && reader->partitions[partition].reading;

	if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
	{
		if (ours && msg->offset >= reader->partitions[partition].end)
			finish_partition(reader, partition);
		return false;
	}
	if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		raise_record_error(reader, msg);
		return false;
	}
	if (!ours)
		return false;
	if (msg->offset + 1 >= reader->partitions[partition].end)
		finish_partition(reader, partition);
	return msg->offset < reader->partitions[partition].end;
}

/* Stops fetching a partition whose end is reached. */
static void
finish_partition(TopicReader *reader, int partition)
{
	MemoryContext context;
	rd_kafka_topic_partition_list_t *list;

	reader->partitions[partition].reading = false;
	if (--reader->nreading == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "kv assignment", ALLOCSET_SMALL_SIZES);
	list = kv_client_list(context, 1);
	rd_kafka_topic_partition_list_add(list, reader->topic->topic, partition);
	rd_kafka_pause_partitions(reader->client->rk, list);
	MemoryContextDelete(context);
}

/* Waits until the batch has at least one message. */
static void
fill(TopicReader *reader)
{
	TimestampTz since = kv_steady_now();

	reader->count = 0;
	reader->next = 0;
	while (true)
	{
		ssize_t		count = rd_kafka_consume_batch_queue(reader->client->queue, 0, reader->batch, BATCH_MESSAGES);

		if (count > 0)
		{
			reader->count = (int) count;
			CHECK_FOR_INTERRUPTS();
			return;
		}
		wait_for_records(reader, since);
	}
}

static void
wait_for_records(TopicReader *reader, TimestampTz since)
{
	uint64		wakeups;
	int			events;

	events = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							   reader->client->wakeup_fd, 1000, PG_WAIT_EXTENSION);
	if (events & WL_SOCKET_READABLE)
		(void) !read(reader->client->wakeup_fd, &wakeups, sizeof(wakeups));
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	kv_client_drain_logs(reader->client);
	if (TimestampDifferenceExceeds(since, kv_steady_now(), STALL_TIMEOUT_MS))
	{
		char	   *words = kv_client_last_error(reader->client);

		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not read topic \"%s\" from server \"%s\": no answer for %d s",
						reader->topic->topic, reader->topic->server_name, STALL_TIMEOUT_MS / 1000),
				 words != NULL ? errdetail("librdkafka: %s", words) : 0,
				 errhint("Check that the brokers run.")));
	}
}

/* Raises an error unless librdkafka goes on by itself. */
static void
raise_record_error(TopicReader *reader, const rd_kafka_message_t *msg)
{
	const TopicDef *topic = reader->topic;
	char	   *words;

	/* no group is joined, so nothing depends on the right to it */
	if (kv_error_kind(msg->err) == KAFKA_RETRY || msg->err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
		return;
	words = pstrdup(rd_kafka_message_errstr(msg));
	if (msg->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || msg->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("records of topic \"%s\" were removed while it was read", topic->topic),
				 errdetail("librdkafka: %s", words),
				 errhint("Run the query again; the topic's retention removes records from its start.")));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("could not read topic \"%s\" from server \"%s\"", topic->topic, topic->server_name),
			 errdetail("librdkafka: %s", words),
			 errhint("Check that the topic exists and that the user may read it.")));
}

/* Destroys the messages that were fetched; the handle could not end before. */
static void
release_batch(void *arg)
{
	TopicReader *reader = arg;

	for (int i = 0; i < reader->count; i++)
	{
		if (reader->batch[i] != NULL)
			rd_kafka_message_destroy(reader->batch[i]);
		reader->batch[i] = NULL;
	}
	reader->count = 0;
	reader->next = 0;
}
