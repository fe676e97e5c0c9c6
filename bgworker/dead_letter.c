/*
 * dead_letter.c: finds the record whose fault an error is, and has it kept aside (set_aside.c).
 *
 * A (sub)batch is applied inside a subtransaction. If it fails with an error that
 * can only come from the data (kv_fault_of_record), it is applied again in two halves of
 * its processing order, down to the single record; there every view has a subtransaction
 * of its own, and those that fail do without the record. Everything else (deadlock,
 * cancel, disk full) is raised again and fails the batch.
 *
 * Invariant: what is applied together with a dead letter does not depend on it:
 * lateness is a predicate of each row and of the frontier before the batch, both the
 * same however the batch is cut.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "apply.h"
#include "dead_letter.h"
#include "delta.h"
#include "fault_point.h"
#include "merge.h"
#include "set_aside.h"
#include "subtransaction.h"

/* What may stay of the subtransactions of a batch until it commits, and after how many single records that is looked at. */
#define KEPT_BYTES (16 * 1024 * 1024)
#define LOOK_EVERY 1024

typedef struct RowRange
{
	int64		from;			/* half-open, in kv_row */
	int64		to;
} RowRange;

static ErrorData *try_apply(Pipeline *pipeline, PipelineView *only);
static void apply_range(Pipeline *pipeline, RowRange range);
static void apply_single(Pipeline *pipeline, int64 row);
static void check_memory(Pipeline *pipeline);
static void add_record(ErrorData *error, const RowSource *source, const PipelineView *view);
static bool in_range(int64 row, void *arg);


/* Applies the current (sub)batch with all views. Runs: in the batch's transaction. */
void
kv_dead_letter_apply(Pipeline *pipeline)
{
	RowRange	all = {0, pipeline->nsources};
	ErrorData  *error = try_apply(pipeline, NULL);

	if (error == NULL)
		return;
	if (!kv_fault_of_record(error) || pipeline->nsources == 0)
		ReThrowError(error);
	FreeErrorData(error);
	KV_FAULT_POINT("batch_rolled_back");
	if (pipeline->nsources == 1)
		apply_single(pipeline, 0);
	else
	{
		RowRange	first = {all.from, all.to / 2};
		RowRange	second = {all.to / 2, all.to};

		apply_range(pipeline, first);
		apply_range(pipeline, second);
	}
}

/*
 * Runs the statements of all views or of one in a subtransaction; gives the error if
 * they fail, with nothing of them left. The PG_TRY turns an error into a choice: whose fault is it?
 */
static ErrorData *
try_apply(Pipeline *pipeline, PipelineView *only)
{
	SubTransaction sub;
	ErrorData  *volatile error = NULL;
	int64	   *late_rows = palloc(sizeof(int64) * Max(pipeline->nviews, 1));

	for (int i = 0; i < pipeline->nviews; i++)
		late_rows[i] = pipeline->views[i].late_rows;
	kv_subtransaction_begin(&sub);
	PG_TRY();
	{
		if (only != NULL)
			kv_apply_view(pipeline, only);
		else
		{
			kv_delta_begin_views(pipeline);
			kv_apply_views(pipeline);
			kv_delta_end_views(pipeline);
		}
		kv_subtransaction_release(&sub);
	}
	PG_CATCH();
	{
		kv_maintaining = false;
		error = kv_subtransaction_failed(&sub);
		if (only == NULL)
			kv_delta_forget_views(pipeline);
		for (int i = 0; i < pipeline->nviews; i++)
			pipeline->views[i].late_rows = late_rows[i];
	}
	PG_END_TRY();
	pfree(late_rows);
	return error;
}

/* Applies a part of the (sub)batch whose whole has failed. */
static void
apply_range(Pipeline *pipeline, RowRange range)
{
	DeltaSaved *saved = kv_delta_narrow(pipeline, in_range, &range);
	int64		middle = range.from + (range.to - range.from) / 2;
	ErrorData  *error;

	CHECK_FOR_INTERRUPTS();
	if (range.to - range.from == 1)
		apply_single(pipeline, range.from);
	else if ((error = try_apply(pipeline, NULL)) != NULL)
	{
		RowRange	first = {range.from, middle};
		RowRange	second = {middle, range.to};

		if (!kv_fault_of_record(error))
			ReThrowError(error);
		FreeErrorData(error);
		apply_range(pipeline, first);
		apply_range(pipeline, second);
	}
	kv_delta_restore(pipeline, saved);
}

static bool
in_range(int64 row, void *arg)
{
	RowRange   *range = arg;

	return row >= range->from && row < range->to;
}

/* Applies one record view by view; a view that fails goes without it, and so do those that would have read its rows. */
static void
apply_single(Pipeline *pipeline, int64 row)
{
	RowSource  *source = &pipeline->sources[row];
	bool		stops = source->kept == NULL && source->partition->input->topic->on_error == ON_ERROR_STOP;

	kv_delta_begin_views(pipeline);
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];
		ErrorData  *error = try_apply(pipeline, view);

		if (error == NULL)
			continue;
		if (kv_fault_of_record(error) && stops)
		{
			add_record(error, source, view);
			pipeline->stop_partition = source->partition;
			pipeline->stop_offset = source->offset;
		}
		if (!kv_fault_of_record(error) || stops)
			ReThrowError(error);
		if (view->rows != NULL)
			tuplestore_clear(view->rows);
		kv_set_aside_record(pipeline, source, view, error->sqlerrcode, error->message, error->detail);
		FreeErrorData(error);
	}
	kv_delta_end_views(pipeline);
	check_memory(pipeline);
}

/*
 * Has the batch run again with fewer records (batch_size.c) where its subtransactions leave much: notifications, or contexts that a
 * function's own subtransactions have used (subtransaction.c).
 */
static void
check_memory(Pipeline *pipeline)
{
	if (++pipeline->singles % LOOK_EVERY == 0 && MemoryContextMemAllocated(TopTransactionContext, true) > KEPT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("records that are applied one by one take too much memory until their batch commits"),
				 errdetail("After " INT64_FORMAT " of them it is more than %d MB.", pipeline->singles, KEPT_BYTES / (1024 * 1024))));
}

/* See the header. */
bool
kv_dead_letter_is_stop(Pipeline *pipeline, const Partition *partition)
{
	return pipeline->stop_partition == partition && pipeline->stop_offset == kv_merge_record(partition)->offset;
}

/* Adds to an error which record makes which view fail, and what can be done. */
static void
add_record(ErrorData *error, const RowSource *source, const PipelineView *view)
{
	const TopicDef *topic = source->partition->input->topic;

	error->detail = psprintf("It is record " INT64_FORMAT " of topic \"%s\" partition %d, in continuous view %s.%s%s", source->offset, topic->topic,
							 source->partition->number, view->view->name, error->detail ? " " : "", error->detail ? error->detail : "");
	if (error->hint == NULL)
		error->hint = psprintf("Foreign table %s says on_error 'stop'. Set it to 'dead_letter' or 'skip' to go on, or correct what failed.", topic->relation_name);
}

/* Deals with a head that could not be decoded; with on_error = stop it raises the error. */
void
kv_dead_letter_head(Pipeline *pipeline, Partition *partition)
{
	TopicDef   *topic = partition->input->topic;
	const TopicRecord *record = kv_merge_record(partition);
	DecodeError *bad = &partition->head_bad;
	RowSource	source = {.partition = partition,.offset = record->offset,.record = record};

	if (topic->on_error == ON_ERROR_STOP)
		ereport(ERROR,
				(errcode(bad->sqlstate),
				 errmsg("record " INT64_FORMAT " of topic \"%s\" partition %d is bad: %s",
						record->offset, topic->topic, partition->number, bad->message),
				 bad->detail[0] ? errdetail("%s", bad->detail) : 0,
				 errhint("Foreign table %s says on_error 'stop'. Set it to 'dead_letter' or 'skip' to go on.", topic->relation_name)));
	kv_set_aside_record(pipeline, &source, NULL, bad->sqlstate, bad->message, bad->detail[0] ? bad->detail : NULL);
}
