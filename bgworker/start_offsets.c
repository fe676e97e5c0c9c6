/*
 * start_offsets.c: where partitions are read from: the positions that are stored, checked against what the topic has, or those
 * that the options say, resolved once, but no later than what Kafka has of them.
 *
 * Invariant: records are neither left out nor read twice. A topic that does not have what comes next is not read at all.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"

#include "broker.h"
#include "fault_point.h"
#include "group_offsets.h"
#include "start_offsets.h"
#include "view_options.h"

#define ANSWER_TIMEOUT_MS 10000

static void resolve_start(Pipeline *pipeline, Partition *partition, bool new_partition);
static void begin_at(Partition *partition, int64 offset);
static bool start_by_view_option(Pipeline *pipeline, const TopicInput *input, TopicStart *start, int64 *time_ms);


/* Gives the stored position of a partition, or NULL. */
const PositionRow *
kv_start_stored(List *positions, Oid relation, int partition)
{
	ListCell   *lc;

	foreach(lc, positions)
	{
		PositionRow *row = lfirst(lc);

		if (row->relation == relation && row->partition == partition)
			return row;
	}
	return NULL;
}

/*
 * Raises an error where a topic of so many partitions is not the one that was read: a partition is gone, which Kafka takes away
 * with the topic only, or does not have what comes next. Runs: outside. Blocks: a round trip a partition.
 */
void
kv_start_check(Pipeline *pipeline, const TopicInput *input, List *positions, int count)
{
	ListCell   *lc;

	foreach(lc, positions)
	{
		PositionRow *row = lfirst(lc);

		if (row->relation == input->topic->relid && row->partition >= count)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("topic \"%s\" has no partition %d any more, which pipeline \"%s\" has read",
							input->topic->topic, row->partition, pipeline->row->name),
					 errdetail("The topic has %d.", count),
					 errhint("The topic was probably deleted and created again. Drop the views of the pipeline and create them again to read it from its start.")));
		if (row->relation == input->topic->relid)
			kv_start_check_offset(pipeline, input, row->partition, row->next_offset);
	}
}

/* Raises an error where the topic does not have what comes next: going on would lose records or read another topic's. Runs: outside. Blocks: a round trip. */
void
kv_start_check_offset(Pipeline *pipeline, const TopicInput *input, int partition, int64 next_offset)
{
	int64		low;
	int64		high;

	kv_broker_offsets(pipeline->consumer, input->topic->topic, partition, ANSWER_TIMEOUT_MS, &low, &high);
	if (next_offset > high)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" partition %d ends before the position of pipeline \"%s\"",
						input->topic->topic, partition, pipeline->row->name),
				 errdetail("The next offset is " INT64_FORMAT ", the end of the partition " INT64_FORMAT ".", next_offset, high),
				 errhint("The topic was probably deleted and created again. Drop the views of the pipeline and create them again to read it from its start.")));
	if (next_offset < low)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("records of topic \"%s\" partition %d were deleted before pipeline \"%s\" read them",
						input->topic->topic, partition, pipeline->row->name),
				 errdetail("The next offset is " INT64_FORMAT ", the partition begins at " INT64_FORMAT ".", next_offset, low),
				 errhint("The topic's retention is shorter than the pipeline stood still. Drop the views of the pipeline and create them again to go on without these records.")));
}

/* Sets where the partitions without a stored position begin; lists them. Runs: outside. Blocks: two round trips a partition. */
List *
kv_start_resolve(Pipeline *pipeline, TopicInput *input, List *positions)
{
	List	   *created = NIL;
	bool		known = false;
	ListCell   *lc;

	foreach(lc, positions)
		known = known || ((PositionRow *) lfirst(lc))->relation == input->topic->relid;
	for (int n = 0; n < input->npartitions; n++)
	{
		if (kv_start_stored(positions, input->topic->relid, n) != NULL)
			continue;
		resolve_start(pipeline, &input->partitions[n], known);
		created = lappend(created, &input->partitions[n]);
	}
	return created;
}

/*
 * Sets where a partition without a position begins: by the option start of a view, else of the
 * topic; a partition that was added to a known topic at its first record ever, and where that is gone it cannot begin.
 */
static void
resolve_start(Pipeline *pipeline, Partition *partition, bool new_partition)
{
	TopicInput *input = partition->input;
	TopicStart	start = input->topic->start;
	int64		time_ms = input->topic->start_time_ms;
	int64		start_offset;
	int64		low;
	int64		high;

	if (new_partition)
	{
		kv_start_check_offset(pipeline, input, partition->number, 0);
		begin_at(partition, 0);
		return;
	}
	kv_broker_offsets(pipeline->consumer, input->topic->topic, partition->number, ANSWER_TIMEOUT_MS, &low, &high);
	start_offset = low;
	(void) start_by_view_option(pipeline, input, &start, &time_ms);
	if (start == START_LATEST)
		start_offset = high;
	else if (start == START_TIME)
		start_offset = kv_broker_offset_for_time(pipeline->consumer, input->topic->topic, partition->number, time_ms, ANSWER_TIMEOUT_MS);
	begin_at(partition, start_offset);
}

/* Gives the option start of the first view that has one and reads the stream; a table is read whole whatever a view says. */
static bool
start_by_view_option(Pipeline *pipeline, const TopicInput *input, TopicStart *start, int64 *time_ms)
{
	if (input->is_table)
		return false;
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];
		ContinuousOptions *options = kv_view_options_from_array(view->row->options);
		bool		reads = false;

		for (int j = 0; j < view->view->ninputs; j++)
			reads = reads || view->view->inputs[j].relid == input->topic->relid;
		if (!reads || options->start == NULL)
			continue;
		if (pg_strcasecmp(options->start, "earliest") == 0)
			*start = START_EARLIEST;
		else if (pg_strcasecmp(options->start, "latest") == 0)
			*start = START_LATEST;
		else
		{
			Datum		when = DirectFunctionCall3(timestamptz_in, CStringGetDatum(options->start),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

			*start = START_TIME;
			*time_ms = (DatumGetTimestampTz(when) + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
		}
		return true;
	}
	return false;
}

/*
 * Lets partitions begin no later than where Kafka has the pipeline's position: one of which this database knows nothing may have
 * been read by the server whose place it has taken, and what is behind that position is still to be published (redo.c).
 * Runs: outside. Blocks: 30 s.
 */
void
kv_start_by_group(Pipeline *pipeline, List *created)
{
	KafkaOffset *offsets = palloc0(sizeof(KafkaOffset) * Max(list_length(created), 1));
	ListCell   *lc;

	foreach(lc, created)
	{
		Partition  *partition = lfirst(lc);

		offsets[foreach_current_index(lc)].topic = partition->input->topic->topic;
		offsets[foreach_current_index(lc)].partition = partition->number;
	}
	kv_group_read_offsets(pipeline->serverid, pipeline->owner, pipeline->kafka_name, offsets, list_length(created));
	foreach(lc, created)
	{
		const KafkaOffset *offset = &offsets[foreach_current_index(lc)];
		Partition  *partition = lfirst(lc);

		if (offset->offset >= 0 && offset->offset < partition->start_offset)
			begin_at(partition, offset->offset);
	}
	pfree(offsets);
}

static void
begin_at(Partition *partition, int64 offset)
{
	partition->start_offset = offset;
	partition->next_offset = offset;
	partition->committed_offset = offset;
	partition->last_mark = partition->committed_mark = offset;
}

/* Stores resolved start positions, so that they are resolved once. Runs: outside. Blocks: no. */
void
kv_start_store(Pipeline *pipeline, List *created)
{
	ListCell   *lc;

	KV_FAULT_POINT("start_resolved");
	StartTransactionCommand();
	foreach(lc, created)
	{
		Partition  *partition = lfirst(lc);
		PositionRow row;

		row.relation = partition->input->topic->relid;
		row.partition = partition->number;
		row.start_offset = partition->start_offset;
		row.next_offset = partition->next_offset;
		row.stream_time = DT_NOBEGIN;
		kv_position_insert(pipeline->row->pipeline, &row);
	}
	CommitTransactionCommand();
	KV_FAULT_POINT("start_stored");
}
