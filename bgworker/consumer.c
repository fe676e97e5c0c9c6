/*
 * consumer.c: gets the records of all partitions of a pipeline into rings.
 *
 * All partitions have one queue (the partition interface of librdkafka, not assign()), whose size bounds
 * what the client fetches on its own while a batch runs. From there a message goes to the ring of its partition (ring.c) at
 * once; how much is taken, and of which partitions is fetched at all, is fetching.c's. Offsets
 * are always explicit and start where kafka_state.position says.
 *
 * Invariant: a record stays in its ring until the batch that applied it has
 * committed, so a failed batch is given out again without the broker. Nothing is ever
 * committed to the group from here; the publisher does that in its transactions.
 *
 * Control records and compacted records leave gaps. The end of a partition is told
 * by an event whose offset lies behind them, and that is where next_offset goes
 * when the ring has run empty (merge.c).
 */
#include "postgres.h"

#include <malloc.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "access/xact.h"

#include "broker.h"
#include "buffer_share.h"
#include "cluster.h"
#include "consumer.h"
#include "fetching.h"
#include "ring.h"
#include "start_offsets.h"

/* At once; librdkafka moves whole lists, so more gains nothing. */
#define POLL_ROWS 10000

/* So far behind the end (records) a partition that was live counts as not at its end again. */
#define NEAR_END 1000

#define METADATA_TIMEOUT_MS 10000

/* Less is not worth the look at all that is free. */
#define TRIM_BYTES (4 * 1024 * 1024)

typedef struct ConsumerCleanup
{
	MemoryContextCallback callback;
	Pipeline   *pipeline;
} ConsumerCleanup;

static void open_client(Pipeline *pipeline, int partitions);
static int	count_partitions(Pipeline *pipeline, const TopicInput *input, int32 **leaders);
static void find_partitions(Pipeline *pipeline, TopicInput *input, List *positions, int count, const int32 *leaders);
static void init_partition(Pipeline *pipeline, TopicInput *input, int number, const PositionRow *stored);
static void close_partitions(void *arg);
static Partition *partition_of(Pipeline *pipeline, const rd_kafka_message_t *msg);
static void drain_client_events(Pipeline *pipeline, rd_kafka_message_t **messages);
static bool take_message(Pipeline *pipeline, Partition *partition, rd_kafka_message_t *msg);
static bool asks_person(const rd_kafka_message_t *msg);
static void raise_error_message(Pipeline *pipeline, Partition *partition, rd_kafka_message_t *msg) pg_attribute_noreturn();
static void raise_no_memory(Partition *partition) pg_attribute_noreturn();


/*
 * Opens the consumer of a pipeline and sets up its partitions from the stored
 * positions; positions of a first start and of new partitions are resolved and stored.
 * Runs: outside a transaction. Blocks: 10 s, 10 s a topic, a round trip a partition, and 30 s for new ones.
 */
void
kv_consumer_open(Pipeline *pipeline)
{
	List	   *positions;
	List	   *created = NIL;
	int		   *counts = MemoryContextAlloc(pipeline->context, sizeof(int) * Max(pipeline->ntopics, 1));
	int32	  **leaders = MemoryContextAllocZero(pipeline->context, sizeof(int32 *) * Max(pipeline->ntopics, 1));
	int			all = 0;
	MemoryContext old;

	StartTransactionCommand();
	old = MemoryContextSwitchTo(pipeline->context);
	positions = kv_position_list(pipeline->row->pipeline);
	open_client(pipeline, list_length(positions));
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();

	old = MemoryContextSwitchTo(pipeline->context);
	(void) kv_cluster_check(pipeline->consumer, pipeline->row->pipeline, pipeline->row->name, true);
	for (int i = 0; i < pipeline->ntopics; i++)
		all += counts[i] = count_partitions(pipeline, &pipeline->topics[i], &leaders[i]);
	/* how much a client fetches is said when it is made: at a first start only now is it known among how many that is divided */
	if (all != pipeline->share.partitions)
	{
		kv_client_destroy(pipeline->consumer);
		StartTransactionCommand();
		MemoryContextSwitchTo(pipeline->context);
		open_client(pipeline, all);
		CommitTransactionCommand();
		MemoryContextSwitchTo(pipeline->context);
	}
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		find_partitions(pipeline, &pipeline->topics[i], positions, counts[i], leaders[i]);
		created = list_concat(created, kv_start_resolve(pipeline, &pipeline->topics[i], positions));
	}
	if (created != NIL)
	{
		kv_start_by_group(pipeline, created);
		kv_start_store(pipeline, created);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Makes the client, whose end takes rings, queues and topics with it, and the set of events to wait for.
 * Runs: in a transaction. Blocks: no.
 */
static void
open_client(Pipeline *pipeline, int partitions)
{
	char		queue_records[16];
	char		queue_kb[16];
	char		fetch_bytes[16];
	char		response_bytes[16];
	const char *tuning[] = {
		"queued.max.messages.kbytes", queue_kb,
		"fetch.message.max.bytes", fetch_bytes,
		"fetch.max.bytes", response_bytes,
		NULL
	};
	const char *extra[] = {
		"group.id", pipeline->kafka_name,
		"fetch.wait.max.ms", "100", /* the end behind control records is told so much later */
		"queued.min.messages", queue_records,
		"message.max.bytes", "1000", /* a producer's; fetch.max.bytes must not be less */
		NULL
	};
	MemoryContext context;
	ConsumerCleanup *cleanup;

	pipeline->share = kv_buffer_share(partitions);
	snprintf(queue_records, sizeof(queue_records), "%d", pipeline->share.queue_records);
	snprintf(queue_kb, sizeof(queue_kb), "%d", pipeline->share.queue_kb);
	snprintf(fetch_bytes, sizeof(fetch_bytes), "%d", pipeline->share.fetch_bytes);
	snprintf(response_bytes, sizeof(response_bytes), "%d", pipeline->share.response_bytes);
	pipeline->consumer = kv_client_tuned_consumer(pipeline->context, pipeline->serverid, pipeline->owner, tuning, extra);
	pipeline->queue = NULL;

	context = AllocSetContextCreate(pipeline->consumer->context, "kv consumer", ALLOCSET_SMALL_SIZES);
	cleanup = MemoryContextAllocZero(context, sizeof(ConsumerCleanup));
	cleanup->callback.func = close_partitions;
	cleanup->callback.arg = cleanup;
	cleanup->pipeline = pipeline;
	MemoryContextRegisterResetCallback(context, &cleanup->callback);

	pipeline->queue = kv_client_new_queue(pipeline->consumer);
	kv_fetching_begin(pipeline);
	pipeline->wait_set = kv_create_wait_event_set(pipeline->context, 4);
	AddWaitEventToSet(pipeline->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(pipeline->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(pipeline->wait_set, WL_SOCKET_READABLE, pipeline->consumer->wakeup_fd, NULL, NULL);
	AddWaitEventToSet(pipeline->wait_set, WL_SOCKET_READABLE, kv_call_fd(), NULL, NULL);
}

/* Asks the broker how many partitions a topic has, and who leads them. Runs: outside. Blocks: 10 s. */
static int
count_partitions(Pipeline *pipeline, const TopicInput *input, int32 **leaders)
{
	bool		unknown = false;
	char	   *error = NULL;
	int			count = kv_broker_leaders(pipeline->consumer, input->topic->topic,
										  METADATA_TIMEOUT_MS, &unknown, &error, leaders);

	if (count < 0 && unknown)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
				 errmsg("topic \"%s\" does not exist on server \"%s\"", input->topic->topic, input->topic->server_name),
				 error ? errdetail("%s", error) : 0,
				 errhint("Create the topic, or correct the option topic of foreign table %s. The pipeline tries again by itself.",
						 input->topic->relation_name)));
	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("could not reach Kafka server \"%s\"", input->topic->server_name),
				 error ? errdetail("%s", error) : 0,
				 errhint("Check bootstrap_servers of the server and that the brokers run. The pipeline tries again by itself.")));
	return count;
}

/* Sets up the partitions of a topic and checks the stored positions against them. */
static void
find_partitions(Pipeline *pipeline, TopicInput *input, List *positions, int count, const int32 *leaders)
{
	/* goes with the client, after close_partitions */
	input->handle = kv_client_topic(pipeline->consumer, pipeline->consumer->context, input->topic->topic);
	if (input->handle == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not read topic \"%s\"", input->topic->topic),
				 errdetail("%s", rd_kafka_err2str(rd_kafka_last_error()))));
	kv_start_check(pipeline, input, positions, count);
	input->partitions = palloc0(sizeof(Partition) * Max(count, 1));
	for (int n = 0; n < count; n++)
	{
		input->npartitions = n + 1;
		init_partition(pipeline, input, n, kv_start_stored(positions, input->topic->relid, n));
		input->partitions[n].leader = leaders[n];
	}
}

/* Sets a partition up; without a stored position kv_start_resolve says where it begins. */
static void
init_partition(Pipeline *pipeline, TopicInput *input, int number, const PositionRow *stored)
{
	Partition  *partition = &input->partitions[number];
	int			natts = input->delta_desc->natts;

	partition->input = input;
	partition->number = number;
	partition->stream_time = DT_NOBEGIN;
	partition->eof_offset = partition->log_end = -1;
	partition->limit = PG_INT64_MAX;
	if (stored != NULL)
	{
		partition->start_offset = stored->start_offset;
		partition->next_offset = stored->next_offset;
		partition->stream_time = stored->stream_time;
	}
	partition->committed_offset = partition->next_offset;
	partition->committed_stream_time = partition->stream_time;
	partition->last_mark = partition->committed_mark = partition->next_offset;
	partition->last_mark_time = partition->committed_mark_time = DT_NOBEGIN;
	kv_ring_init(pipeline, partition);
	partition->head_values = palloc0(sizeof(Datum) * natts);
	partition->head_nulls = palloc0(sizeof(bool) * natts);
	partition->head_context = AllocSetContextCreate(pipeline->context, "kv record", ALLOCSET_DEFAULT_SIZES);
}

/*
 * Gives everything back to librdkafka in the order it wants (messages, consumption, queues, topics)
 * before client.c destroys the handle, and the set of events. Raises nothing.
 */
static void
close_partitions(void *arg)
{
	Pipeline   *pipeline = ((ConsumerCleanup *) arg)->pipeline;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions; n++)
		{
			Partition  *partition = &input->partitions[n];

			kv_ring_end(partition);
			kv_fetching_end(pipeline, partition);
		}
		input->handle = NULL;
		input->npartitions = 0;
	}
	pipeline->rings_bytes = 0;
	if (pipeline->queue != NULL)
		rd_kafka_queue_destroy(pipeline->queue);
	pipeline->queue = NULL;
	/* its memory goes with the run, but not its descriptor */
	if (pipeline->wait_set != NULL)
		FreeWaitEventSet(pipeline->wait_set);
	pipeline->wait_set = NULL;
	pipeline->consumer = NULL;
}

/*
 * Moves fetched messages into the rings, as far as these have room; an error among them is raised after the others are safe there.
 * Runs: either. Blocks: as kv_fetching_polled.
 */
bool
kv_consumer_poll(Pipeline *pipeline)
{
	rd_kafka_message_t *messages[POLL_ROWS];
	rd_kafka_message_t *failure = NULL;
	Partition  *no_memory = NULL;
	int			room = Min(kv_fetching_room(pipeline), POLL_ROWS);
	ssize_t		count = room > 0 ? rd_kafka_consume_batch_queue(pipeline->queue, 0, messages, room) : 0;

	kv_client_drain_logs(pipeline->consumer);
	for (ssize_t i = 0; i < count; i++)
	{
		rd_kafka_message_t *msg = messages[i];
		Partition  *partition = partition_of(pipeline, msg);

		if (partition != NULL && msg->err == RD_KAFKA_RESP_ERR_NO_ERROR && no_memory == NULL)
			no_memory = take_message(pipeline, partition, msg) ? NULL : partition;
		else if (partition != NULL && msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		{
			/* not where its ring has refused what lies before: then the end is told again */
			if (!partition->parked)
			{
				partition->eof_offset = Max(partition->eof_offset, msg->offset);
				partition->at_end = true;
			}
			rd_kafka_message_destroy(msg);
		}
		else if (partition != NULL && failure == NULL && asks_person(msg))
			failure = msg;
		else
			rd_kafka_message_destroy(msg);
	}
	if (failure != NULL)
		raise_error_message(pipeline, partition_of(pipeline, failure), failure);
	if (no_memory != NULL)
		raise_no_memory(no_memory);
	if (room > 0)
		kv_fetching_polled(pipeline, count < room);
	if (count == 0)
		drain_client_events(pipeline, messages);
	if (kv_my_slot != NULL)
		kv_my_slot->buffered_records = kv_consumer_pending(pipeline);
	return count > 0;
}

/* Finds the partition of a message; NULL: it is of none. */
static Partition *
partition_of(Pipeline *pipeline, const rd_kafka_message_t *msg)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		if (input->handle == msg->rkt && msg->partition >= 0 && msg->partition < input->npartitions)
			return &input->partitions[msg->partition];
	}
	return NULL;
}

/* Throws away what concerns the client as a whole: its errors are in its log too, and it gets over them by itself. */
static void
drain_client_events(Pipeline *pipeline, rd_kafka_message_t **messages)
{
	ssize_t		count = rd_kafka_consume_batch_queue(pipeline->consumer->queue, 0, messages, POLL_ROWS);

	for (ssize_t i = 0; i < count; i++)
		rd_kafka_message_destroy(messages[i]);
}

/* Puts a message at the end of its ring; false: there is no memory. A live partition stays so unless much is behind the message. */
static bool
take_message(Pipeline *pipeline, Partition *partition, rd_kafka_message_t *msg)
{
	int64		offset = msg->offset;
	int64		len = msg->len;
	int64		bytes;

	if (offset < partition->fetched_offset || kv_fetching_refuses(pipeline, partition))
	{
		/* it came before fetching was begun again, or comes again then */
		rd_kafka_message_destroy(msg);
		return true;
	}
	bytes = kv_ring_add(partition, msg, pipeline->copies);
	if (bytes < 0)
		return false;
	partition->fetched_offset = offset + 1;
	partition->hurried = false;
	pipeline->record_bytes = bytes;
	pipeline->rings_bytes += bytes;
	pipeline->most_bytes = Max(pipeline->most_bytes, pipeline->rings_bytes);
	pipeline->polled_bytes += len;
	pipeline->polled_records++;

	/* the cached end costs a lock: ask for it now and then only */
	if (partition->at_end && (partition->fifo_count & 1023) == 1023)
	{
		int64		low = 0;
		int64		high = 0;

		if (rd_kafka_get_watermark_offsets(pipeline->consumer->rk, partition->input->topic->topic, partition->number,
										   &low, &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
			high - offset > NEAR_END)
			partition->at_end = false;
	}
	return true;
}

/*
 * Tells whether a person has to act on what a partition reports. Other errors librdkafka gets over by itself; they must not hide these, which are
 * told once: after that nothing is fetched of the partition any more, and it would be waited for without end.
 */
static bool
asks_person(const rd_kafka_message_t *msg)
{
	return kv_error_kind(msg->err) != KAFKA_RETRY;
}

/* Raises the error that a partition reported. Takes the message. */
static void
raise_error_message(Pipeline *pipeline, Partition *partition, rd_kafka_message_t *msg)
{
	rd_kafka_resp_err_t err = msg->err;
	char	   *words = pstrdup(rd_kafka_message_errstr(msg) ? rd_kafka_message_errstr(msg) : rd_kafka_err2str(err));
	TopicDef   *topic = partition->input->topic;

	rd_kafka_message_destroy(msg);
	if (err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE || err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" partition %d no longer has the records that pipeline \"%s\" reads next",
						topic->topic, partition->number, pipeline->row->name),
				 errdetail("%s", words),
				 errhint("The topic was deleted and created again, or its retention is too short. Drop the views of the pipeline and create them again to read what is there.")));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("could not read topic \"%s\" partition %d", topic->topic, partition->number),
			 errdetail("%s", words)));
}

/*
 * Says that there is no memory for a record. The run ends: a smaller batch of the same run (batch_size.c) would go on without the messages that
 * were polled with this one.
 */
static void
raise_no_memory(Partition *partition)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("no memory for the records of topic \"%s\" partition %d that are fetched", partition->input->topic->topic, partition->number),
			 errhint("Lower kafka.buffer_limit, or raise the memory of the server.")));
}

/*
 * Sleeps until the client has something, the latch is set or the time is over.
 * Runs: either. Blocks: timeout_ms, and as kv_fetching_wait.
 */
void
kv_consumer_wait(Pipeline *pipeline, long timeout_ms)
{
	WaitEvent	event;

	kv_fetching_wait(pipeline);
	if (WaitEventSetWait(pipeline->wait_set, timeout_ms, &event, 1, PG_WAIT_EXTENSION) > 0)
	{
		if (event.events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			kv_look_at_members = true;
		}
		else if (event.fd == kv_call_fd())
		{
			/* leaders have answered (ends.c): what waits for that need not wait for the next look */
			kv_call_drain();
			kv_look_at_members = true;
		}
		else if (event.events & WL_SOCKET_READABLE)
		{
			uint64		count;

			/* the fd does not block; what it counts does not matter */
			(void) !read(pipeline->consumer->wakeup_fd, &count, sizeof(count));
		}
	}
	CHECK_FOR_INTERRUPTS();
}

/* Frees the records of a committed batch and makes where we are the state to go back to. */
void
kv_consumer_release(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions; n++)
		{
			Partition  *partition = &input->partitions[n];

			pipeline->rings_bytes -= kv_ring_release(partition);
			partition->committed_offset = partition->next_offset;
			partition->committed_stream_time = partition->stream_time;
			partition->committed_mark = partition->last_mark;
			partition->committed_mark_time = partition->last_mark_time;
		}
	}
}

/*
 * Gives the system back what the rings have needed and need no more: malloc keeps nearly all of it, because somewhere above lies something that stays.
 * Runs: either. Blocks: for the milliseconds that it takes, so it is for now and then, not for every batch.
 */
void
kv_consumer_trim(Pipeline *pipeline)
{
	if (pipeline->most_bytes < TRIM_BYTES || pipeline->rings_bytes >= TRIM_BYTES / 4)
		return;
#ifdef __GLIBC__
	(void) malloc_trim(0);
#endif
	pipeline->most_bytes = pipeline->rings_bytes;
}

/* Undoes what merge gave out since the last commit. */
void
kv_consumer_rewind(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions; n++)
		{
			Partition  *partition = &input->partitions[n];

			partition->fifo_given = 0;
			partition->head_valid = false;
			partition->next_offset = partition->committed_offset;
			partition->stream_time = partition->committed_stream_time;
			partition->last_mark = partition->committed_mark;
			partition->last_mark_time = partition->committed_mark_time;
		}
	}
}

/* Counts the polled records that merge has not given out. */
int64
kv_consumer_pending(Pipeline *pipeline)
{
	int64		pending = 0;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
			pending += pipeline->topics[i].partitions[n].fifo_count - pipeline->topics[i].partitions[n].fifo_given;
	}
	return pending;
}

/*
 * Looks for new partitions, and whether the broker answers at all: a stream that is silent looks the
 * same as one that is cut off; and so does a partition whose broker is down. A topic that is gone is a change too.
 * *error: why it does not, else NULL. Runs: outside. Blocks: 1 s a topic.
 */
bool
kv_consumer_partitions_changed(Pipeline *pipeline, char **error)
{
	*error = NULL;
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];
		bool		unknown = false;
		int32	   *leaders;
		int			count = kv_broker_leaders(pipeline->consumer, input->topic->topic, 1000, &unknown, error, &leaders);

		if (count > input->npartitions)
			return true;
		if (unknown)
		{
			*error = NULL;		/* the next run says that the topic is gone, and looks at what comes in its place */
			return true;
		}
		if (count < 0)
			return false;
		for (int n = 0; n < Min(count, input->npartitions); n++)
		{
			input->partitions[n].leader = leaders[n];
			input->partitions[n].leaderless = leaders[n] < 0;
		}
		pfree(leaders);
	}
	return false;
}

/* Finds a partition that no broker serves; NULL: there is none. */
const Partition *
kv_consumer_leaderless(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			if (pipeline->topics[i].partitions[n].leaderless)
				return &pipeline->topics[i].partitions[n];
		}
	}
	return NULL;
}
