/*
 * reload.c: refills the unlogged buffers of streams after a crash.
 *
 * A row of kafka_state.sentinel, unlogged itself, says that the buffers are whole.
 * If it is missing, every partition that feeds a buffer is read from the last mark
 * before what its buffers still need, up to its position and no further, and its
 * rows are put into the buffers without computing results. Then the sentinel is set
 * and the same fetch goes on with the first record behind the position.
 *
 * Invariant: a reload puts into each buffer exactly the rows that a probe could
 * still see. A row's lateness is judged again by the stream time before it, which
 * depends on its partition alone; what cannot be found out again is stored in
 * kafka_state.skipped: rows late by the frontier only, and dead letters, which the clock
 * or other columns of the topic may have made sound since. Those that were tried again since and applied are put in from kafka_state.retried. One that was sound and is not any more ends the run: without it results would be wrong.
 * A reload that is cut short begins again with empty buffers.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "apply.h"
#include "broker.h"
#include "consumer.h"
#include "fetching.h"
#include "delta.h"
#include "fault_point.h"
#include "input_tables.h"
#include "kept_records.h"
#include "members.h"
#include "merge.h"
#include "position.h"
#include "read_again.h"
#include "reload.h"
#include "run_sql.h"
#include "skipped.h"

/* Rows that are put back in one transaction. */
#define RELOAD_ROWS 50000

/* Where a partition's reload ends: its position. */
typedef struct ReloadTarget
{
	Partition  *partition;
	int64		from;
	int64		offset;
	TimestampTz stream_time;
	bool		done;
} ReloadTarget;

typedef struct InputFilter
{
	Pipeline   *pipeline;
	HTAB	   *skipped;
	int64		view;
	int			input;
} InputFilter;

static List *find_targets(Pipeline *pipeline);
static bool feeds_unlogged(Pipeline *pipeline, const TopicInput *topic);
static bool is_reloaded(const ViewInput *input);
static void find_mark(Pipeline *pipeline, ReloadTarget *target);
static int64 reload_start(Pipeline *pipeline, const Partition *partition, TimestampTz *stream_time);
static void empty_buffers(Pipeline *pipeline);
static void refill(Pipeline *pipeline, List *targets, HTAB *skipped);
static int64 collect_target(Pipeline *pipeline, ReloadTarget *target, HTAB *skipped);
static void refuse_bad(const Partition *partition, int64 offset, const DecodeError *bad);
static void put_retried(Pipeline *pipeline, HTAB *skipped);
static void add_retried(Pipeline *pipeline, KeptRecord *kept);
static void apply_chunk(Pipeline *pipeline, HTAB *skipped);
static void apply_input(Pipeline *pipeline, PipelineView *view, const MaintenanceStatement *statement, HTAB *skipped);
static bool not_skipped(int64 row, void *arg);
static void finish_target(ReloadTarget *target);


/* Starts fetching; reloads buffers first where needed. Runs: outside a transaction. Blocks: as long as a reload takes. */
void
kv_reload_start(Pipeline *pipeline)
{
	MemoryContext old = MemoryContextSwitchTo(pipeline->context);
	List	   *targets = NIL;
	HTAB	   *skipped = NULL;
	TimestampTz clock = kv_time_clock;
	bool		whole;
	ListCell   *lc;

	StartTransactionCommand();
	kv_read_again_prune_unread(pipeline);
	whole = kv_sentinel_present(pipeline->row->pipeline);
	MemoryContextSwitchTo(pipeline->context);
	if (!whole)
		targets = find_targets(pipeline);
	if (targets != NIL)
	{
		skipped = kv_skipped_read(pipeline->context, pipeline->row->pipeline, true);
		empty_buffers(pipeline);
	}
	KV_FAULT_POINT("reload_emptied");
	CommitTransactionCommand();
	MemoryContextSwitchTo(pipeline->context);

	foreach(lc, targets)
	{
		ReloadTarget *target = lfirst(lc);
		int64		low;
		int64		high;

		kv_broker_offsets(pipeline->consumer, target->partition->input->topic->topic, target->partition->number, 10000, &low, &high);
		if (target->from < low)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("buffers of pipeline \"%s\" cannot be reloaded: topic \"%s\" has deleted records that they held",
							pipeline->row->name, target->partition->input->topic->topic),
					 errdetail("Partition %d must be read again from offset " INT64_FORMAT " and begins at " INT64_FORMAT ".",
							   target->partition->number, target->from, low),
					 errhint("Drop the views of the pipeline and create them again, and keep records in the topic longer than their joins look back.")));
		target->partition->next_offset = target->from;
		kv_my_slot->reload_total += target->offset - target->from;
	}
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
			kv_fetching_start(pipeline, &pipeline->topics[i].partitions[n], pipeline->topics[i].partitions[n].next_offset);
	}
	if (targets != NIL)
	{
		/* what was from the future when it came is among the skipped ones, whatever the clock and kafka.max_ahead say now */
		kv_time_clock = DT_NOEND;
		refill(pipeline, targets, skipped);
		put_retried(pipeline, skipped);
		kv_time_clock = clock;
	}
	if (!whole)
	{
		KV_FAULT_POINT("reload_refilled");
		StartTransactionCommand();
		kv_sentinel_set(pipeline->row->pipeline);
		KV_FAULT_POINT("reload_sentinel_set");
		CommitTransactionCommand();
		KV_FAULT_POINT("reload_committed");
	}
	MemoryContextSwitchTo(old);
}

/* Finds the partitions that feed unlogged buffers and have been read from, and where their reload begins. */
static List *
find_targets(Pipeline *pipeline)
{
	List	   *targets = NIL;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; feeds_unlogged(pipeline, input) && n < input->npartitions; n++)
		{
			Partition  *partition = &input->partitions[n];
			ReloadTarget *target;

			if (partition->next_offset == partition->start_offset)
				continue;
			target = palloc0(sizeof(ReloadTarget));
			target->partition = partition;
			target->offset = partition->next_offset;
			target->stream_time = partition->stream_time;
			find_mark(pipeline, target);
			targets = lappend(targets, target);
		}
	}
	return targets;
}

/* Tells whether a crash has emptied a buffer of a topic. */
static bool
feeds_unlogged(Pipeline *pipeline, const TopicInput *topic)
{
	for (int i = 0; topic->has_buffers && i < pipeline->nviews; i++)
	{
		ViewDef    *view = pipeline->views[i].view;

		for (int j = 0; j < view->ninputs; j++)
			if (view->inputs[j].relid == topic->topic->relid && is_reloaded(&view->inputs[j]))
				return true;
	}
	return false;
}

/* Tells whether an input has a buffer that is refilled; one that is logged has outlived the crash. */
static bool
is_reloaded(const ViewInput *input)
{
	return input->kind == INPUT_STREAM && input->buffer_name != NULL && kv_buffer_is_unlogged(input);
}

/* Sets where a partition's reload begins, with the stream time there. */
static void
find_mark(Pipeline *pipeline, ReloadTarget *target)
{
	target->from = reload_start(pipeline, target->partition, &target->partition->stream_time);
}

/* Gives where a reload of a partition would begin now, with the stream time there: the last mark before what buffers need, or its start. */
static int64
reload_start(Pipeline *pipeline, const Partition *partition, TimestampTz *stream_time)
{
	TimestampTz bound = kv_pipeline_reload_bound(pipeline, partition->input);
	int64		offset;

	/* a partition that has been silent for long: no buffer needs anything of it */
	if (bound != DT_NOBEGIN && partition->committed_stream_time < bound)
	{
		*stream_time = partition->committed_stream_time;
		return partition->committed_offset;
	}
	if (bound != DT_NOBEGIN &&
		kv_mark_find(pipeline->row->pipeline, partition->input->topic->relid, partition->number, bound, &offset, stream_time))
		return offset;
	*stream_time = DT_NOBEGIN;
	return partition->start_offset;
}

/*
 * Empties the buffers of streams: an earlier reload may have been cut short. Never by TRUNCATE, which makes a new unlogged file:
 * if the postmaster is killed before that commits and this process aborts in its death, Postgres finds half of the file and
 * cannot start any more ("could not create file: File exists").
 */
static void
empty_buffers(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];
		KvSql		sql;

		kv_sql_enter_role(&sql, view->view->owner, NULL);
		kv_maintaining = true;
		for (int j = 0; j < view->view->ninputs; j++)
		{
			ViewInput  *input = &view->view->inputs[j];

			if (is_reloaded(input))
				kv_sql_run(psprintf("DELETE FROM %s", input->buffer_name), 0, NULL, NULL, NULL);
		}
		kv_maintaining = false;
		kv_sql_leave(&sql);
	}
}

/* Reads every target up to its position, chunk by chunk. */
static void
refill(Pipeline *pipeline, List *targets, HTAB *skipped)
{
	bool		all_done = false;

	kv_my_slot->phase = PIPELINE_RELOADING;
	pgstat_report_activity(STATE_RUNNING, "reloading buffers");
	while (!all_done)
	{
		int64		taken = 0;
		MemoryContext old;
		ListCell   *lc;

		if (!kv_consumer_poll(pipeline) && kv_consumer_pending(pipeline) == 0)
			kv_consumer_wait(pipeline, 100);
		StartTransactionCommand();
		old = MemoryContextSwitchTo(pipeline->batch);
		kv_delta_begin(pipeline);
		PushActiveSnapshot(GetTransactionSnapshot());
		all_done = true;
		foreach(lc, targets)
		{
			ReloadTarget *target = lfirst(lc);

			taken += collect_target(pipeline, target, skipped);
			all_done = all_done && target->done;
		}
		PopActiveSnapshot();
		apply_chunk(pipeline, skipped);
		kv_delta_end(pipeline);
		kv_members_check(pipeline);
		MemoryContextSwitchTo(old);
		KV_FAULT_POINT("reload_chunk_applied");
		CommitTransactionCommand();
		KV_FAULT_POINT("reload_chunk_committed");
		kv_consumer_release(pipeline);
		MemoryContextReset(pipeline->batch);
		kv_my_slot->reload_done += taken;
		CHECK_FOR_INTERRUPTS();
		if (taken == 0 && !all_done)
			kv_consumer_wait(pipeline, 100);
	}
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Takes what is polled of one partition before its position into the deltas, as far as the chunk has room. */
static int64
collect_target(Pipeline *pipeline, ReloadTarget *target, HTAB *skipped)
{
	Partition  *partition = target->partition;
	int64		taken = 0;

	while (!target->done && pipeline->nsources < RELOAD_ROWS)
	{
		int64		offset;

		if (partition->fifo_given == partition->fifo_count)
		{
			/* the rest up to the position may be control records */
			if (partition->next_offset >= target->offset || partition->eof_offset >= target->offset)
				finish_target(target);
			break;
		}
		offset = kv_merge_record(partition)->offset;
		if (offset >= target->offset)
		{
			finish_target(target);
			break;
		}
		(void) kv_merge_decode_head(pipeline, partition);
		if (kv_skipped_has(skipped, partition->input->topic->relid, partition->number, offset, 0, SKIPPED_EVERY_INPUT))
			partition->head_order = partition->stream_time;
		else if (partition->head_result == DECODE_ROW)
			kv_delta_add_head(pipeline, partition);
		else if (partition->head_result == DECODE_BAD)
			refuse_bad(partition, offset, &partition->head_bad);
		kv_merge_consume(partition);
		taken++;
	}
	return taken;
}

/* Raises the error of a record that has been applied and is bad now. */
static void
refuse_bad(const Partition *partition, int64 offset, const DecodeError *bad)
{
	TopicDef   *topic = partition->input->topic;

	ereport(ERROR,
			(errcode(bad->sqlstate),
			 errmsg("record " INT64_FORMAT " of topic \"%s\" partition %d was applied and cannot be read again: %s",
					offset, topic->topic, partition->number, bad->message),
			 errdetail("A join's buffer must be reloaded after a crash, and it had this record.%s%s",
					   bad->detail[0] ? " " : "", bad->detail),
			 errhint("Undo what keeps foreign table %s from reading it (a changed type, enum or domain), and the pipeline "
					 "goes on by itself; or drop the views of the pipeline and create them again.", topic->relation_name)));
}

/* Puts in what was tried again and applied since it was a dead letter; nothing of it is too late that was not then. */
static void
put_retried(Pipeline *pipeline, HTAB *skipped)
{
	int64		last = 0;
	int			nrecords;

	do
	{
		KeptRecord *records;
		MemoryContext old;

		StartTransactionCommand();
		old = MemoryContextSwitchTo(pipeline->batch);
		nrecords = kv_kept_read_retried(pipeline, last, &records);
		kv_delta_begin(pipeline);
		PushActiveSnapshot(GetTransactionSnapshot());
		for (int i = 0; i < nrecords; i++)
		{
			if (records[i].partition != NULL)
				add_retried(pipeline, &records[i]);
			last = records[i].id;
		}
		PopActiveSnapshot();
		apply_chunk(pipeline, skipped);
		kv_delta_end(pipeline);
		MemoryContextSwitchTo(old);
		CommitTransactionCommand();
		MemoryContextReset(pipeline->batch);
		CHECK_FOR_INTERRUPTS();
	} while (nrecords > 0);
}

static void
add_retried(Pipeline *pipeline, KeptRecord *kept)
{
	RowSource	source = {.partition = kept->partition,.offset = kept->record.offset,.kept = kept};
	TopicInput *input = kept->partition->input;
	Datum	   *values = palloc0(sizeof(Datum) * input->delta_desc->natts);
	bool	   *nulls = palloc0(sizeof(bool) * input->delta_desc->natts);
	TimestampTz time;
	DecodeError bad;

	if (kv_decode(input->decoder, &kept->record, values, nulls, &time, &bad) == DECODE_BAD)
		refuse_bad(kept->partition, kept->record.offset, &bad);
	kv_delta_add(pipeline, source, values, nulls, time, DT_NOBEGIN, false);
}

/* Puts a chunk into the buffers of every view. */
static void
apply_chunk(Pipeline *pipeline, HTAB *skipped)
{
	if (pipeline->nsources == 0)
		return;
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];
		ListCell   *lc;

		foreach(lc, view->plan->reload)
		{
			MaintenanceStatement *statement = lfirst(lc);

			if (is_reloaded(&view->view->inputs[statement->input]))
				apply_input(pipeline, view, statement, skipped);
		}
	}
}

/* Puts a chunk into the buffer of one input, without the records that it has skipped. */
static void
apply_input(Pipeline *pipeline, PipelineView *view, const MaintenanceStatement *statement, HTAB *skipped)
{
	InputFilter filter = {pipeline, skipped, view->row->view, statement->input};
	DeltaSaved *saved = NULL;

	/* what was retried may be for other views, and all of a chunk is, or nothing */
	if (hash_get_num_entries(skipped) > 0 || pipeline->sources[0].kept != NULL)
		saved = kv_delta_narrow(pipeline, not_skipped, &filter);
	kv_apply_reload(pipeline, view, statement);
	if (saved != NULL)
		kv_delta_restore(pipeline, saved);
}

/* A record that was retried for all views may be one that this view could not bear then; that one is retried for it alone. */
static bool
not_skipped(int64 row, void *arg)
{
	InputFilter *filter = arg;
	RowSource  *source = &filter->pipeline->sources[row];
	Oid			relation = source->partition->input->topic->relid;
	int32		number = source->partition->number;

	if (source->kept != NULL)
	{
		PipelineView *view = source->kept->view;

		if (view == NULL ? kv_skipped_by_itself(filter->skipped, relation, number, source->offset, filter->view, SKIPPED_EVERY_INPUT)
			: view->row->view != filter->view)
			return false;
		return !kv_skipped_by_itself(filter->skipped, relation, number, source->offset, filter->view, filter->input);
	}

	return !kv_skipped_has(filter->skipped, relation, number, source->offset, filter->view, filter->input);
}

/* Ends a partition's reload: it stands where its position says, whatever its last records were. */
static void
finish_target(ReloadTarget *target)
{
	target->partition->next_offset = target->offset;
	target->partition->stream_time = target->stream_time;
	target->done = true;
}
