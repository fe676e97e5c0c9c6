/*
 * batch.c: one batch as one Postgres transaction: the statements of all views,
 * positions, frontiers, the outbox. Apply, then publish (DESIGN.md 5.2).
 *
 * Invariant: results, positions, frontiers and outbox rows commit together or not
 * at all. Every batch takes a number by locking the pipeline's row, so whoever
 * else writes to its outbox waits for it.
 *
 * Its records are those that were polled, or dead letters that are tried again (retry.c).
 *
 * A batch is made of sub-batches. In one, all table records come before all stream
 * records, and those that change a keyed view before those that look it up, so that applying each
 * topic's delta as a whole keeps processing order for every probe; a record that would come
 * behind begins the next one (TopicInput.not_behind). Nothing a statement does shows before the commit.
 *
 * The commit is asynchronous: the publisher flushes before it publishes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "advance.h"
#include "applied.h"
#include "batch.h"
#include "batch_size.h"
#include "consumer.h"
#include "dead_letter.h"
#include "delta.h"
#include "fault_point.h"
#include "identity.h"
#include "incomplete.h"
#include "marks.h"
#include "members.h"
#include "merge.h"
#include "outbox.h"
#include "position.h"
#include "redo.h"
#include "retry.h"
#include "run_sql.h"
#include "steady_clock.h"

/* Positions go to Kafka so often (ms) though nothing moves. */
#define OFFSETS_IDLE_MS (60 * 60 * 1000)

static void run(Pipeline *pipeline, int64 (*collect_next) (Pipeline *));
static void begin_numbered(Pipeline *pipeline);
static int64 collect(Pipeline *pipeline);
static bool take_head(Pipeline *pipeline, Partition *partition, Bitmapset **seen);
static void apply(Pipeline *pipeline);
static void finish(Pipeline *pipeline);
static bool store_positions(Pipeline *pipeline);
static void store_frontier(PipelineView *view);
static void store_outbox_batch(Pipeline *pipeline, bool stands_still);
static char *positions_json(Pipeline *pipeline);
static char *frontiers_json(Pipeline *pipeline);
static void read_view_rows(Pipeline *pipeline, PipelineView *upper);
static void add_batch_context(void *arg);


/* Applies what is polled; see the header. Runs: outside a transaction. Blocks: as long as the statements and their locks do. */
bool
kv_batch_run(Pipeline *pipeline, bool must_run)
{
	if (!must_run && !kv_merge_ready(pipeline))
		return false;
	run(pipeline, collect);
	return true;
}

/* Tries dead letters again; see the header. Runs: outside a transaction. Blocks: as kv_batch_run, and while topics of tables are read. */
bool
kv_batch_retry(Pipeline *pipeline)
{
	if (!kv_retry_prepare(pipeline))
		return false;
	run(pipeline, kv_retry_collect);
	return true;
}

/* Runs a batch of the records that collect_next gives. */
static void
run(Pipeline *pipeline, int64 (*collect_next) (Pipeline *))
{
	ErrorContextCallback context = {error_context_stack, add_batch_context, pipeline};
	int64		taken = 0;
	MemoryContext old;

	error_context_stack = &context;
	KV_FAULT_POINT("batch_polled");
	pgstat_report_activity(STATE_RUNNING, "applying a batch");
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	old = MemoryContextSwitchTo(pipeline->batch);
	pipeline->clock = kv_steady_now();
	pipeline->outbox_written = false;
	pipeline->singles = 0;
	begin_numbered(pipeline);
	KV_FAULT_POINT("batch_numbered");
	if (pipeline->retry != NULL)
		kv_retry_lock(pipeline);

	while (taken < kv_batch_size(pipeline))
	{
		int64		records;

		kv_delta_begin(pipeline);
		records = collect_next(pipeline);
		if (pipeline->nsources > 0)
			apply(pipeline);
		kv_delta_end(pipeline);
		if (records == 0)
			break;
		taken += records;
	}
	KV_FAULT_POINT("batch_applied");
	if (pipeline->retry != NULL)
		kv_retry_store(pipeline);
	finish(pipeline);
	kv_members_check(pipeline);
	KV_FAULT_POINT("batch_stored");
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();
	KV_FAULT_POINT("batch_committed");

	kv_consumer_release(pipeline);
	kv_advance_commit(pipeline);
	if (pipeline->redo && kv_redo_is_over(pipeline))
		kv_redo_end(pipeline);
	if (pipeline->outbox_written)
	{
		pipeline->last_offsets_commit = pipeline->clock;
		pipeline->offsets_moved = false;
	}
	pipeline->retry = NULL;
	MemoryContextReset(pipeline->batch);
	pgstat_report_activity(STATE_IDLE, NULL);
	error_context_stack = context.previous;
}

/*
 * Takes the batch's number and directs output to it. The result tables are locked before the pipeline's row, as by
 * everybody who needs both: DROP has the tables when it comes to the row, so the other order would deadlock.
 * Raises an error, which starts the next run, for definitions that have changed meanwhile.
 * Runs: in a transaction. Blocks: until whoever changes a view or holds the row commits.
 */
static void
begin_numbered(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
		LockRelationOid(pipeline->views[i].row->relation, RowExclusiveLock);
	if (pipeline->redo)
		kv_redo_lock(pipeline);
	else
		pipeline->batch_number = kv_pipeline_next_batch(pipeline->row->pipeline);
	/* the publisher notes under the lock of the row that Kafka has more: its numbers are taken, and what it has is applied again first */
	if (!pipeline->redo && kv_incomplete_noted(pipeline->row->pipeline))
		kv_members_invalid = true;
	/* whoever had the locks before may have attached a sink to an unstored view, which this run does not know */
	kv_members_check(pipeline);
	kv_members_check_rights(pipeline);
	kv_outbox_begin_batch(pipeline->row->pipeline, pipeline->batch_number);
}

/* Forgets a failed batch: merge gives its records again. Runs: outside, after the abort. */
void
kv_batch_failed(Pipeline *pipeline)
{
	kv_maintaining = false;
	for (int i = 0; i < pipeline->ntopics; i++)
		pipeline->topics[i].delta = NULL;
	if (pipeline->consumer != NULL)
		kv_consumer_rewind(pipeline);
	kv_advance_rewind(pipeline);
	pipeline->uncommitted_dead_letters = 0;
	pipeline->uncommitted_null_values = 0;
	pipeline->uncommitted_records = 0;
	pipeline->retry = NULL;
	pipeline->only_view = NULL;
	for (int i = 0; i < pipeline->nviews; i++)
		pipeline->views[i].given = NULL;
	pipeline->marks = NIL;
	MemoryContextReset(pipeline->batch);
}

/*
 * Takes records in processing order into the deltas until the sub-batch ends: it is full, nothing
 * is there, or a record follows one that must not meet what it changes. Gives how many it took.
 */
static int64
collect(Pipeline *pipeline)
{
	int64		taken = 0;
	Bitmapset  *seen = NULL;

	PushActiveSnapshot(GetTransactionSnapshot());
	while (taken < kv_batch_size(pipeline))
	{
		Partition  *partition;
		MergeResult result = kv_merge_peek(pipeline, &partition);

		if (result == MERGE_WAIT && kv_consumer_poll(pipeline))
			continue;
		if (result != MERGE_RECORD)
			break;
		if (!take_head(pipeline, partition, &seen))
			break;
		taken++;
	}
	PopActiveSnapshot();
	return taken;
}

/* Takes one record; false: it belongs to the next sub-batch. */
static bool
take_head(Pipeline *pipeline, Partition *partition, Bitmapset **seen)
{
	TopicInput *input = partition->input;

	if (kv_dead_letter_is_stop(pipeline, partition) && pipeline->uncommitted_records > 0)
		return false;
	switch (partition->head_result)
	{
		case DECODE_ROW:
		case DECODE_DELETE:
			if (bms_overlap(input->not_behind, *seen))
				return false;
			*seen = bms_add_member(*seen, input - pipeline->topics);
			kv_delta_add_head(pipeline, partition);
			break;
		case DECODE_NOTHING:
			pipeline->uncommitted_null_values++;
			break;
		case DECODE_BAD:
			/* what comes before a record that stops the pipeline is applied first */
			if (input->topic->on_error == ON_ERROR_STOP && pipeline->uncommitted_records > 0)
				return false;
			kv_dead_letter_head(pipeline, partition);
			break;
	}
	kv_merge_consume(partition);
	kv_marks_note(pipeline, partition);
	partition->given_at = pipeline->clock;
	pipeline->uncommitted_records++;
	return true;
}

/* Applies the deltas of a sub-batch. */
static void
apply(Pipeline *pipeline)
{
	kv_outbox_default_time = pipeline->batch_time != DT_NOBEGIN ? pipeline->batch_time : pipeline->batch_table_time;
	kv_dead_letter_apply(pipeline);
	kv_outbox_default_time = DT_NOBEGIN;
}

/* Everything of a batch that is not a view's: time, which dead letters do not move; positions, what the publisher needs. */
static void
finish(Pipeline *pipeline)
{
	bool		moved;

	if (pipeline->retry != NULL)
		kv_advance_hold(pipeline);
	else
	{
		kv_advance_note_idle(pipeline, pipeline->clock);
		kv_advance_frontiers(pipeline, pipeline->clock);
		kv_advance_close(pipeline);
		kv_advance_evict(pipeline);
	}
	pipeline->outbox_written = kv_outbox_end_batch();
	KV_FAULT_POINT("batch_outbox_written");
	moved = store_positions(pipeline);
	if (moved)
		pipeline->offsets_moved = true;
	KV_FAULT_POINT("batch_positions_stored");
	for (int i = 0; i < pipeline->nviews; i++)
		store_frontier(&pipeline->views[i]);
	kv_marks_store(pipeline);
	if (pipeline->redo)
	{
		if (kv_redo_is_over(pipeline))
			kv_redo_finish(pipeline);
		return;
	}
	if (pipeline->outbox_written || kv_batch_offsets_due(pipeline, pipeline->clock))
	{
		store_outbox_batch(pipeline, pipeline->outbox_written && !moved);
		pipeline->outbox_written = true;
	}
}

/* Should positions go to Kafka now though there is no message? Kafka forgets those of a group that is silent for 7 days. */
bool
kv_batch_offsets_due(Pipeline *pipeline, TimestampTz now)
{
	if (pipeline->offsets_moved &&
		TimestampDifferenceExceeds(pipeline->last_offsets_commit, now, kv_commit_interval_ms))
		return true;
	return TimestampDifferenceExceeds(pipeline->last_offsets_commit, now, OFFSETS_IDLE_MS);
}

/* Stores the positions of partitions that moved; false: none did. */
static bool
store_positions(Pipeline *pipeline)
{
	PositionRow *rows;
	int			nrows = 0;
	int			npartitions = 0;

	for (int i = 0; i < pipeline->ntopics; i++)
		npartitions += pipeline->topics[i].npartitions;
	rows = palloc(sizeof(PositionRow) * Max(npartitions, 1));
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			Partition  *partition = &pipeline->topics[i].partitions[n];

			if (partition->next_offset == partition->committed_offset)
				continue;
			rows[nrows].relation = pipeline->topics[i].topic->relid;
			rows[nrows].partition = n;
			rows[nrows].start_offset = partition->start_offset;
			rows[nrows].next_offset = partition->next_offset;
			rows[nrows].stream_time = partition->stream_time;
			nrows++;
		}
	}
	if (nrows > 0)
		kv_position_update(pipeline->row->pipeline, rows, nrows);
	return nrows > 0;
}

/* Stores a view's frontier if it moved, and late rows that were counted. */
static void
store_frontier(PipelineView *view)
{
	bool		moved = view->needs_frontier && view->next_frontier > view->frontier;

	if (moved || view->late_rows > 0)
		kv_view_set_progress(view->row->view, view->needs_frontier ? view->next_frontier : DT_NOBEGIN, view->late_rows);
}

/* Stores what the Kafka commit of this batch carries besides its messages; stands_still: it has some, and moves no position (diverged.c). */
static void
store_outbox_batch(Pipeline *pipeline, bool stands_still)
{
	static const char text[] =
		"INSERT INTO kafka_state.outbox_batch (pipeline, batch, positions, frontiers, made_in)"
		" VALUES ($1, $2, $3::pg_catalog.jsonb, $4::pg_catalog.jsonb, $5)";
	const Oid	types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[5];
	KvSql		sql;

	values[0] = Int64GetDatum(pipeline->row->pipeline);
	values[1] = Int64GetDatum(pipeline->batch_number);
	values[2] = CStringGetTextDatum(positions_json(pipeline));
	values[3] = CStringGetTextDatum(frontiers_json(pipeline));
	values[4] = stands_still ? CStringGetTextDatum(kv_identity_here()) : (Datum) 0;
	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 5, types, values, stands_still ? NULL : "    n");
	kv_sql_leave(&sql);
}

/* Topic names have no character that JSON would need to escape (Kafka allows letters, digits, dot, underscore, hyphen). */
static char *
positions_json(Pipeline *pipeline)
{
	StringInfoData json;
	const char *separator = "";

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			appendStringInfo(&json, "%s{\"topic\":\"%s\",\"partition\":%d,\"offset\":" INT64_FORMAT "}", separator,
							 pipeline->topics[i].topic->topic, n, pipeline->topics[i].partitions[n].next_offset);
			separator = ",";
		}
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

/* A view that is not named has no first rows yet; the clock is after every record that the positions are behind (redo.c). */
static char *
frontiers_json(Pipeline *pipeline)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"clock\":" INT64_FORMAT, GetCurrentTimestamp());
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		if (!view->row->initialized)
			continue;
		appendStringInfo(&json, ",\"" INT64_FORMAT "\":", view->row->view);
		if (!view->needs_frontier || view->next_frontier == DT_NOBEGIN)
			appendStringInfoString(&json, "null");
		else
			appendStringInfo(&json, INT64_FORMAT, view->next_frontier);
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/*
 * Computes the first rows of views over views whose upper views had rows already: their
 * statements over a delta that is all rows of the upper view, and what time has closed since. Each is a batch of its own
 * without records. Its frontier is by the clock of the last one: what partitions that are idle since then let pass, the upper views have not closed, and
 * what they give when they do is not late.
 */
void
kv_batch_initialize_views(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];
		MemoryContext old;

		if (view->row->initialized || view->left_out || !kv_view_reads_views(view->view))
			continue;

		StartTransactionCommand();
		old = MemoryContextSwitchTo(pipeline->batch);
		begin_numbered(pipeline);
		view->row->initialized = true;	/* from here on, and in what goes out with it; an error ends the run */
		kv_advance_frontiers(pipeline, pipeline->clock);
		kv_delta_begin(pipeline);
		kv_delta_begin_views(pipeline);
		for (int j = 0; j < view->view->ninputs; j++)
		{
			if (kv_input_is_view(&view->view->inputs[j]))
				read_view_rows(pipeline, kv_pipeline_view(pipeline, view->view->inputs[j].relid));
		}
		kv_advance_close_view(pipeline, view);
		kv_delta_end_views(pipeline);
		kv_delta_end(pipeline);
		kv_view_set_initialized(view->row->view);
		store_frontier(view);
		if (kv_outbox_end_batch())
			store_outbox_batch(pipeline, true);
		kv_members_check(pipeline);
		KV_FAULT_POINT("first_rows_stored");
		MemoryContextSwitchTo(old);
		CommitTransactionCommand();
		KV_FAULT_POINT("first_rows_committed");
		view->frontier = view->next_frontier;
		view->late_rows = 0;
		MemoryContextReset(pipeline->batch);
	}
}

/* Puts all rows of a view into its rows of this (sub)batch; those of an unstored one are what its query gives. */
static void
read_view_rows(Pipeline *pipeline, PipelineView *upper)
{
	char	   *text;
	KvPlan	   *plan;
	KvSql		sql;

	if (upper->delta != NULL)
		return;
	if (upper->view->unstored)
		kv_applied_rows(upper->row, upper->rows);
	else
	{
		text = psprintf("SELECT *%s FROM %s", upper->view->shape == SHAPE_KEYED ? ", false" : "", upper->view->name);
		plan = kv_plan_make(pipeline->batch, text, 0, NULL);
		kv_sql_enter_role(&sql, upper->view->owner, NULL);
		kv_plan_run(plan, kv_size_class(1e9), NULL, NULL, upper->rows);
		kv_sql_leave(&sql);
	}
	kv_delta_of_view(pipeline, upper, true);
}

static void
add_batch_context(void *arg)
{
	Pipeline   *pipeline = arg;

	errcontext("batch " INT64_FORMAT " of pipeline \"%s\"", pipeline->batch_number, pipeline->row->name);
}

