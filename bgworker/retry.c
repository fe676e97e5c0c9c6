/*
 * retry.c: dead letters that are tried again, as the records of a batch.
 *
 * kafka.retry_dead_letters only marks them. The worker makes a batch of them between two others, which has a number, locks, bisection, closing and
 * an outbox like every batch, but moves no position; they go from kafka_state.dead_letter in its transaction. So each is applied once and
 * published once, whoever is killed.
 *
 * They are records that come now. What depends on the order of records takes them for the last ones; they do not
 * move stream time, for a reload could not repeat that; and they are late by the views' closed frontiers alone, since what their own
 * partition has passed meanwhile was kept for whoever can still use it. No frontier moves in their batch: what closing raises is no answer to
 * who asked for them. A record that could not be decoded is for every view
 * that reads the topic, one that a view could not bear for this view alone, with what it got of views then; what it writes reaches the views over it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "batch_size.h"
#include "delta.h"
#include "fault_point.h"
#include "kept_records.h"
#include "newer_records.h"
#include "retry.h"
#include "set_aside.h"
#include "upper_rows.h"

/* The dead letters of a batch, in pipeline->batch. */
typedef struct RetryRun
{
	KeptRecord *records;
	int			nrecords;
	int			next;			/* the first that is not in a sub-batch yet */
} RetryRun;

static void order_records(RetryRun *retry);
static void fail_impossible(Pipeline *pipeline, RetryRun *retry);
static bool reads_topic(const PipelineView *view, Oid relid);
static bool take(Pipeline *pipeline, KeptRecord *kept, Bitmapset **seen);


bool
kv_retry_more(Pipeline *pipeline)
{
	bool		more;

	StartTransactionCommand();
	more = kv_kept_any_requested(pipeline);
	CommitTransactionCommand();
	MemoryContextSwitchTo(pipeline->context);
	return more;
}

bool
kv_retry_prepare(Pipeline *pipeline)
{
	RetryRun   *retry = MemoryContextAllocZero(pipeline->batch, sizeof(RetryRun));
	MemoryContext old;

	StartTransactionCommand();
	old = MemoryContextSwitchTo(pipeline->batch);
	retry->nrecords = kv_kept_read_requested(pipeline, kv_batch_size(pipeline), &retry->records);
	pipeline->retry = retry;
	fail_impossible(pipeline, retry);
	kv_newer_records_fail(pipeline, retry->records, retry->nrecords);
	order_records(retry);
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();
	MemoryContextSwitchTo(pipeline->context);
	if (retry->nrecords == 0)
		pipeline->retry = NULL;
	return pipeline->retry != NULL;
}

/* Puts those of tables first, as in every sub-batch; otherwise they stay as they are, by topic, partition and offset. */
static void
order_records(RetryRun *retry)
{
	KeptRecord *ordered = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(KeptRecord) * Max(retry->nrecords, 1));
	int			count = 0;

	for (int tables = 1; tables >= 0; tables--)
		for (int i = 0; i < retry->nrecords; i++)
			if ((!retry->records[i].failed && retry->records[i].partition->input->is_table) == tables)
				ordered[count++] = retry->records[i];
	retry->records = ordered;
}

/* Fails those that nothing can be done with. */
static void
fail_impossible(Pipeline *pipeline, RetryRun *retry)
{
	for (int i = 0; i < retry->nrecords; i++)
	{
		KeptRecord *kept = &retry->records[i];

		if (kept->partition == NULL)
			kv_set_aside_again(pipeline, kept, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "no view of the pipeline reads the record's partition any more", NULL);
		else if (kept->rows_lost)
			kv_set_aside_again(pipeline, kept, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "the rows that the view could not bear are too large to be kept with a dead letter",
							   "Drop the view and create it again, to have it made of all rows of the views that it reads.");
		else
			kept->rows_only |= kept->upper_rows != NULL && !reads_topic(kept->view, kept->partition->input->topic->relid);
	}
}

static bool
reads_topic(const PipelineView *view, Oid relid)
{
	for (int i = 0; i < view->view->ninputs; i++)
		if (view->view->inputs[i].relid == relid)
			return true;
	return false;
}

void
kv_retry_lock(Pipeline *pipeline)
{
	RetryRun   *retry = pipeline->retry;

	KV_FAULT_POINT("retry_read");
	retry->nrecords = kv_kept_lock(retry->records, retry->nrecords);
	KV_FAULT_POINT("retry_locked");
}

int64
kv_retry_collect(Pipeline *pipeline)
{
	RetryRun   *retry = pipeline->retry;
	Bitmapset  *seen = NULL;
	int64		taken = 0;

	kv_upper_rows_end(pipeline);
	pipeline->only_view = retry->next < retry->nrecords ? retry->records[retry->next].view : NULL;
	PushActiveSnapshot(GetTransactionSnapshot());
	while (retry->next < retry->nrecords)
	{
		KeptRecord *kept = &retry->records[retry->next];

		if (kept->view != pipeline->only_view || (kept->upper_rows != NULL && taken > 0) || !take(pipeline, kept, &seen))
			break;
		retry->next++;
		taken++;
		if (kept->upper_rows != NULL)
			break;				/* these rows are for a sub-batch, so the record has one of its own */
	}
	PopActiveSnapshot();
	pipeline->uncommitted_records += taken;
	return taken;
}

/* Decodes one into the delta of its topic; false: it belongs to the next sub-batch. */
static bool
take(Pipeline *pipeline, KeptRecord *kept, Bitmapset **seen)
{
	RowSource	source = {.partition = kept->partition,.offset = kept->record.offset,.kept = kept};
	TopicInput *input;
	DecodeResult result;
	DecodeError bad;
	ErrorData  *error;
	Datum	   *values;
	bool	   *nulls;

	if (kept->failed)
		return true;
	if (kept->upper_rows != NULL && (error = kv_upper_rows_give(pipeline, kept->upper_rows)) != NULL)
	{
		if (!kv_fault_of_record(error))
			ReThrowError(error);
		kv_set_aside_record(pipeline, &source, kept->view, error->sqlerrcode, error->message, error->detail);
		FreeErrorData(error);
		return true;
	}
	if (kept->rows_only)
	{
		kv_delta_add_source(pipeline, source, kept->record.timestamp_ms < 0 ? DT_NOBEGIN : kv_kept_record_time(kept));
		return true;
	}
	input = kept->partition->input;
	if (bms_overlap(input->not_behind, *seen))
		return false;
	values = palloc0(sizeof(Datum) * input->delta_desc->natts);
	nulls = palloc0(sizeof(bool) * input->delta_desc->natts);
	result = kv_decode(input->decoder, &kept->record, values, nulls, &kept->time, &bad);
	switch (result)
	{
		case DECODE_ROW:
		case DECODE_DELETE:
			*seen = bms_add_member(*seen, input - pipeline->topics);
			kv_delta_add(pipeline, source, values, nulls, kept->time, DT_NOBEGIN, result == DECODE_DELETE);
			break;
		case DECODE_NOTHING:
			kept->time = DT_NOBEGIN;
			pipeline->uncommitted_null_values++;
			break;
		case DECODE_BAD:
			kv_set_aside_record(pipeline, &source, kept->view, bad.sqlstate, bad.message, bad.detail[0] ? bad.detail : NULL);
			break;
	}
	return true;
}

void
kv_retry_store(Pipeline *pipeline)
{
	kv_upper_rows_end(pipeline);
	pipeline->only_view = NULL;
	kv_kept_store(pipeline, pipeline->retry->records, pipeline->retry->nrecords);
	KV_FAULT_POINT("retry_stored");
}

/* Answers a request that failed as a whole: a record that comes from the topic must be waited for, one that a person asked for need not. */
void
kv_retry_give_up(Pipeline *pipeline, ErrorData *error)
{
	RetryRun   *retry = pipeline->retry;

	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("dead letters of pipeline \"%s\" could not be tried again: %s", pipeline->row->name, error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->context ? errcontext("%s", error->context) : 0));
	for (int i = 0; i < retry->nrecords; i++)
		if (!retry->records[i].failed)
			kv_set_aside_again(pipeline, &retry->records[i], error->sqlerrcode, error->message, error->detail);
	StartTransactionCommand();
	retry->nrecords = kv_kept_lock(retry->records, retry->nrecords);
	kv_kept_store(pipeline, retry->records, retry->nrecords);
	CommitTransactionCommand();
	MemoryContextSwitchTo(pipeline->context);
}
