/*
 * fetching.c: decides how far ahead a pipeline fetches, and of which partitions.
 *
 * The merge needs the next record of each partition (merge.c), so rings are filled up to what all of them may hold together, whoever
 * comes first. When they hold that, nothing more is taken from the queue, and so the client stops, until a partition has run empty before its end. It
 * must get its next record whatever the others hold, and what lies before that in the queue is theirs: so
 * those that are ahead with more than their share are parked, and of none more than such a share is taken at a time. Of a parked
 * partition nothing is fetched, and what the client had of it is thrown away. It is fetched again as soon as there is room, the one first whose records are next: a fetch
 * that begins when the ring has run empty would be waited for, up to fetch.wait.max.ms where all others are at their ends.
 *
 * Invariant: a partition is parked only with records in its ring, and not told to be at its end, so the merge never passes over it.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "fetching.h"

/* How large the first records are thought to be, while nobody knows. */
#define FIRST_RECORD_BYTES (16 * 1024)

/* How long brokers may take to answer when they are asked only so that more is fetched. */
#define HURRY_TIMEOUT_MS 100

static void park_those_ahead(Pipeline *pipeline);
static void park(Pipeline *pipeline, Partition *partition);
static void lead_into(Pipeline *pipeline, Partition *partition, rd_kafka_queue_t *queue);
static bool has_more(Pipeline *pipeline, const Partition *partition);
static TimestampTz next_time(const Partition *partition);
static int64 bytes_ahead(const Partition *partition);
static bool is_wanting(const Partition *partition);
static void hurry(Pipeline *pipeline, bool all);


/* Runs: either. Blocks: no. */
void
kv_fetching_begin(Pipeline *pipeline)
{
	pipeline->copies = pipeline->share.copies;
	pipeline->record_bytes = FIRST_RECORD_BYTES;
	pipeline->polled_bytes = pipeline->polled_records = 0;
	pipeline->queue_empty = false;
}

/* Runs: either. Blocks: no. */
void
kv_fetching_start(Pipeline *pipeline, Partition *partition, int64 offset)
{
	if (rd_kafka_consume_start_queue(partition->input->handle, partition->number, offset, pipeline->queue) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not read topic \"%s\" partition %d", partition->input->topic->topic, partition->number),
				 errdetail("%s", rd_kafka_err2str(rd_kafka_last_error()))));
	partition->started = true;
	partition->parked = false;
	partition->fetched_offset = offset;
}

/* Runs: either. Blocks: no. */
int
kv_fetching_room(Pipeline *pipeline)
{
	bool		waited_for = false;
	int64		given_bytes = 0;
	Partition  *next = NULL;
	int64		bytes = pipeline->share.rings_bytes - pipeline->rings_bytes;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			Partition  *partition = &pipeline->topics[i].partitions[n];

			if (partition->parked && bytes_ahead(partition) <= pipeline->share.ring_bytes / 2)
				kv_fetching_start(pipeline, partition, partition->fetched_offset);
			if (partition->parked && (next == NULL || next_time(partition) < next_time(next)))
				next = partition;
			waited_for = waited_for || is_wanting(partition);
			given_bytes += partition->fifo_bytes - bytes_ahead(partition);
		}
	}
	if (next != NULL && bytes > pipeline->share.rings_bytes / 8)
		kv_fetching_start(pipeline, next, next->fetched_offset);
	if (bytes <= 0)
	{
		/* what a batch has taken is room when it has committed; a small one would not be worth it */
		if (!waited_for || given_bytes > pipeline->share.rings_bytes / 2)
			return 0;
		park_those_ahead(pipeline);
		bytes = Min(pipeline->share.rings_bytes / 16, pipeline->share.ring_bytes);
	}
	return 1 + Min(bytes / pipeline->record_bytes, PG_INT32_MAX - 1);
}

/* Has nothing more fetched of partitions that have more than their share ready. */
static void
park_those_ahead(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions; n++)
		{
			Partition  *partition = &input->partitions[n];

			if (!partition->started || partition->parked || bytes_ahead(partition) <= pipeline->share.ring_bytes ||
				!has_more(pipeline, partition))
				continue;
			park(pipeline, partition);
		}
	}
}

/*
 * Has nothing more fetched of a partition. This marks what is in the queue as outdated, and the client throws it away when it is polled. What is
 * still on its way is as outdated, but would come into a queue of the partition's own, which nobody polls: it is led into ours.
 */
static void
park(Pipeline *pipeline, Partition *partition)
{
	(void) rd_kafka_consume_stop(partition->input->handle, partition->number);
	lead_into(pipeline, partition, pipeline->queue);
	partition->parked = true;
	partition->at_end = false;
	pipeline->copies = true;	/* records stay for long, and the rest of what they came with is thrown away */
	pipeline->polled_records = pipeline->share.queue_records;	/* they may have been what filled the queue */
}

/* Has a partition that is stopped put into a queue what comes of it; NULL: into its own. */
static void
lead_into(Pipeline *pipeline, Partition *partition, rd_kafka_queue_t *queue)
{
	rd_kafka_queue_t *own = rd_kafka_queue_get_partition(pipeline->consumer->rk, partition->input->topic->topic, partition->number);

	if (own == NULL)
		return;
	rd_kafka_queue_forward(own, queue);
	rd_kafka_queue_destroy(own);
}

/* Runs: either. Blocks: no. */
void
kv_fetching_end(Pipeline *pipeline, Partition *partition)
{
	if (partition->parked)
		lead_into(pipeline, partition, NULL);
	else if (partition->started)
		(void) rd_kafka_consume_stop(partition->input->handle, partition->number);
	partition->started = partition->parked = false;
}

/*
 * Tells whether a ring takes no more although a message of its partition has been polled: how many may be polled is calculated from the size of
 * one record, and others can be far larger. Then the partition is parked. Runs: either. Blocks: no.
 */
bool
kv_fetching_refuses(Pipeline *pipeline, Partition *partition)
{
	if (!partition->parked && pipeline->rings_bytes > pipeline->share.rings_bytes / 16 * 17 && bytes_ahead(partition) > pipeline->share.ring_bytes)
		park(pipeline, partition);
	return partition->parked;
}

/* Tells whether a partition had more when it was last fetched of; where not, parking it would only hide its end. */
static bool
has_more(Pipeline *pipeline, const Partition *partition)
{
	int64		low = 0;
	int64		high = 0;

	return rd_kafka_get_watermark_offsets(pipeline->consumer->rk, partition->input->topic->topic, partition->number,
										  &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		high > Max(partition->fetched_offset, partition->eof_offset);
}

/* Gives the place of what is next in a ring in the order of the merge, as far as it is known. */
static TimestampTz
next_time(const Partition *partition)
{
	return partition->head_valid ? partition->head_order : partition->stream_time;
}

/* Gives what a partition has ready in its ring, about. */
static int64
bytes_ahead(const Partition *partition)
{
	if (partition->fifo_given == partition->fifo_count)
		return 0;
	return partition->fifo_bytes / partition->fifo_count * (partition->fifo_count - partition->fifo_given);
}

/* Tells whether the merge may have to wait for a partition. */
static bool
is_wanting(const Partition *partition)
{
	return partition->started && !partition->parked && !partition->at_end && partition->fifo_given == partition->fifo_count;
}

/*
 * Has the client go on at once where it has stopped because its queue was full: then all of that has been polled since it was empty before.
 * Runs: either. Blocks: HURRY_TIMEOUT_MS, but a broker's thread that has stopped answers at once.
 */
void
kv_fetching_polled(Pipeline *pipeline, bool drained)
{
	bool		was_full = pipeline->polled_records >= pipeline->share.queue_records ||
		pipeline->polled_bytes >= (int64) pipeline->share.queue_kb * 1000;

	pipeline->queue_empty = drained;
	if (drained)
		pipeline->polled_bytes = pipeline->polled_records = 0;
	if (drained && was_full)
		hurry(pipeline, true);
}

/* Runs: either. Blocks: HURRY_TIMEOUT_MS, once after a partition has run empty before its end. */
void
kv_fetching_wait(Pipeline *pipeline)
{
	if (pipeline->queue_empty)
		hurry(pipeline, false);
}

/*
 * Has the client fetch, of all partitions or of those that are waited for. A broker's thread that had nothing to fetch, because the queue was
 * full, looks again after a second unless there is something else to do: a question for the broker is. The answer does not matter.
 */
static void
hurry(Pipeline *pipeline, bool all)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kv hurry", ALLOCSET_SMALL_SIZES);
	rd_kafka_topic_partition_list_t *list = kv_client_list(context, 16);

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions; n++)
		{
			Partition  *partition = &input->partitions[n];

			if (!partition->started || partition->parked || partition->leaderless)
				continue;
			/* one that was at its end counts among all: it has not been told yet of what has come since */
			if (!all && (partition->hurried || !is_wanting(partition)))
				continue;
			partition->hurried = true;
			rd_kafka_topic_partition_list_add(list, input->topic->topic, partition->number)->offset = RD_KAFKA_OFFSET_END;
		}
	}
	if (list->cnt > 0)
		(void) rd_kafka_offsets_for_times(pipeline->consumer->rk, list, HURRY_TIMEOUT_MS);
	MemoryContextDelete(context);
}
