/*
 * advance.c: how time goes on.
 *
 * Watermark of a topic: the least stream time of its partitions that ever had a
 * record and are not idle (at their ends for kafka.idle_timeout, as their leaders confirm: ends.c); where all are idle it stays, or goes on by the clock (kafka.idle_advance). Watermark of a view: the
 * least of its driving inputs'; for a view over a view the input's is the upper view's
 * watermark less its join bounds. A driving input without a watermark holds the view's back until it is known to be silent:
 * no record ever, and idle. Then it counts for nothing, as a partition without records does; its first record is judged by what was reached.
 *
 * Invariant: the closed frontier is the greatest watermark a view has had. It is
 * state: it is stored with the batch and never goes back, and every row a batch
 * applies is judged by the frontier before that batch. Closing runs after the batch's
 * statements and sees the frontiers before and after it, so that a moment which the frontier
 * passes is closed by exactly one batch, in the transaction that stores the frontier. Eviction comes
 * last, with the frontier after the batch, and removes only what the predicates of the next batches hide already.
 */
#include "postgres.h"

#include "apply.h"
#include "advance.h"
#include "closed_rows.h"
#include "delta.h"
#include "format.h"
#include "outbox.h"
#include "read_again.h"
#include "redo.h"

/* Rows are evicted each time the frontier has moved by this part of what is kept. */
#define EVICT_PART 8

/* A view, and one that it reads. */
typedef struct InputRows
{
	Pipeline   *pipeline;
	PipelineView *view;
	PipelineView *upper;
} InputRows;

static TimestampTz topic_watermark(Pipeline *pipeline, TopicInput *input, TimestampTz now);
static bool is_idle(const Partition *partition, TimestampTz now);
static bool has_been_idle(const Partition *partition, TimestampTz until);
static TimestampTz idle_watermark(Pipeline *pipeline, TopicInput *input, TimestampTz now);
static TimestampTz last_watermark(const TopicInput *input);
static TimestampTz greatest_frontier(Pipeline *pipeline, const TopicInput *input);
static void set_view_watermark(Pipeline *pipeline, PipelineView *view);
static bool closing_due(const PipelineView *view);
static void apply_rows_of(Pipeline *pipeline, PipelineView *view, int number);
static void set_untimed_aside(const ClosedRows *closed, PipelineView *upper);
static void refuse_untimed(Tuplestorestate *rows, int64 nrows, void *arg);
static void apply_input_rows(Tuplestorestate *rows, int64 nrows, void *arg);
static bool eviction_due(const PipelineView *view);


/* Notes since when each partition is at its end with nothing new. While its broker or its leader is silent nobody knows that. */
void
kv_advance_note_idle(Pipeline *pipeline, TimestampTz now)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			Partition  *partition = &pipeline->topics[i].partitions[n];

			if (pipeline->broker_silent || partition->leaderless || partition->unanswered || !partition->at_end ||
				partition->fifo_given < partition->fifo_count)
				partition->idle_since = 0;
			else if (partition->idle_since == 0)
				partition->idle_since = now;
		}
	}
}

/* See the header. */
bool
kv_advance_waits_for_leader(Pipeline *pipeline, TimestampTz now)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			const Partition *partition = &pipeline->topics[i].partitions[n];

			if (has_been_idle(partition, now) && !is_idle(partition, now))
				return true;
		}
	}
	return false;
}

/* See the header. */
const Partition *
kv_advance_held_open(Pipeline *pipeline, TimestampTz now)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		/* a table has no part in time; streams wait for it only at first */
		for (int n = 0; n < input->npartitions && !(input->is_table && pipeline->bootstrap_done); n++)
		{
			const Partition *partition = &input->partitions[n];

			if (partition->uncommitted && has_been_idle(partition, now))
				return partition;
		}
	}
	return NULL;
}

/* Computes the watermarks of topics and views and each view's next frontier. */
void
kv_advance_frontiers(Pipeline *pipeline, TimestampTz now)
{
	for (int i = 0; i < pipeline->ntopics; i++)
		pipeline->topics[i].watermark = topic_watermark(pipeline, &pipeline->topics[i], now);
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		set_view_watermark(pipeline, view);
		view->next_frontier = kv_pipeline_leaves_out(view) ? view->frontier : Max(view->frontier, view->watermark);
	}
	if (pipeline->redo)
		kv_redo_limit_frontiers(pipeline);
}

/* See the header. */
void
kv_advance_hold(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
		pipeline->views[i].next_frontier = pipeline->views[i].frontier;
}

/* Gives the watermark of a topic, and finds out whether it is silent. */
static TimestampTz
topic_watermark(Pipeline *pipeline, TopicInput *input, TimestampTz now)
{
	TimestampTz least = DT_NOEND;

	input->silent = input->npartitions > 0;
	for (int n = 0; n < input->npartitions; n++)
	{
		Partition  *partition = &input->partitions[n];
		bool		idle = is_idle(partition, now);

		if (partition->stream_time != DT_NOBEGIN || !idle)
			input->silent = false;
		if (partition->stream_time != DT_NOBEGIN && !idle)
			least = Min(least, partition->stream_time);
	}
	if (least == DT_NOEND)
		return idle_watermark(pipeline, input, now);
	input->idle_from = 0;
	return least;
}

/* Tells whether a partition had been at its end with nothing new for kafka.idle_timeout when its leader last said so. */
static bool
is_idle(const Partition *partition, TimestampTz now)
{
	return has_been_idle(partition, Min(now, partition->confirmed_at));
}

/* Tells whether it had by some time, as far as is seen from here. */
static bool
has_been_idle(const Partition *partition, TimestampTz until)
{
	return kv_idle_timeout_ms > 0 && partition->idle_since != 0 &&
		until - partition->idle_since >= (int64) kv_idle_timeout_ms * 1000;
}

/*
 * Gives the watermark of a topic without a partition that counts: it stays, or with kafka.idle_advance goes on by the wall
 * time since the last partition became idle. It goes on from what was reached, which after a restart the views' frontiers
 * tell: an advance before it is in them, so it is neither lost nor made again.
 */
static TimestampTz
idle_watermark(Pipeline *pipeline, TopicInput *input, TimestampTz now)
{
	TimestampTz watermark = last_watermark(input);

	if (!kv_idle_advance || watermark == DT_NOBEGIN)
	{
		input->idle_from = 0;
		return watermark;
	}
	if (input->idle_from == 0)
	{
		TimestampTz last = 0;

		for (int n = 0; n < input->npartitions; n++)
		{
			if (input->partitions[n].stream_time != DT_NOBEGIN)
				last = Max(last, input->partitions[n].idle_since);
		}
		input->idle_from = last + (int64) kv_idle_timeout_ms * 1000;
		input->idle_base = Max(watermark, greatest_frontier(pipeline, input));
	}
	return input->idle_base + Max(now - input->idle_from, 0);
}

/* Gives the watermark that a topic had when its last partition became idle, the one with the last record, whenever somebody looks; DT_NOBEGIN: none. */
static TimestampTz
last_watermark(const TopicInput *input)
{
	TimestampTz last = 0;
	TimestampTz watermark = DT_NOBEGIN;

	for (int n = 0; n < input->npartitions; n++)
	{
		const Partition *partition = &input->partitions[n];

		if (partition->stream_time == DT_NOBEGIN || partition->given_at < last)
			continue;
		if (watermark == DT_NOBEGIN || partition->given_at > last)
			watermark = partition->stream_time;
		watermark = Min(watermark, partition->stream_time);
		last = partition->given_at;
	}
	return watermark;
}

/* Gives the greatest frontier of the views that a topic drives: its watermark has been there. */
static TimestampTz
greatest_frontier(Pipeline *pipeline, const TopicInput *input)
{
	TimestampTz greatest = DT_NOBEGIN;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		for (int j = 0; j < view->view->ninputs; j++)
		{
			if (view->view->inputs[j].kind == INPUT_STREAM && view->view->inputs[j].relid == input->topic->relid)
				greatest = Max(greatest, view->frontier);
		}
	}
	return greatest;
}

/* Sets a view's watermark to the least of its driving inputs' that are not silent; views come after those they read. */
static void
set_view_watermark(Pipeline *pipeline, PipelineView *view)
{
	TimestampTz least = DT_NOEND;

	view->silent = true;
	for (int i = 0; i < view->view->ninputs; i++)
	{
		ViewInput  *input = &view->view->inputs[i];
		TimestampTz watermark;
		bool		silent;

		if (input->kind == INPUT_STREAM)
		{
			TopicInput *topic = kv_pipeline_topic(pipeline, input->relid);

			watermark = topic->watermark;
			silent = topic->silent;
		}
		else if (input->kind == INPUT_VIEW)
		{
			PipelineView *upper = kv_pipeline_view(pipeline, input->relid);

			watermark = upper->watermark == DT_NOBEGIN ? DT_NOBEGIN : upper->watermark - upper->view->output_delay_us;
			silent = upper->silent;
		}
		else
			continue;
		if (silent)
			continue;
		view->silent = false;
		least = Min(least, watermark);
	}
	view->watermark = least == DT_NOEND ? DT_NOBEGIN : least;
}

/* Tells whether the view's frontier moves and something happens then. */
static bool
closing_due(const PipelineView *view)
{
	return view->closes && view->next_frontier > view->frontier;
}

bool
kv_advance_frontier_due(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		if (view->needs_frontier && view->next_frontier > view->frontier)
			return true;
	}
	return false;
}

/* Closes the views in order: what one writes is new to those that read it, and may be closed there in turn. */
void
kv_advance_close(Pipeline *pipeline)
{
	bool		due = false;

	for (int i = 0; i < pipeline->nviews; i++)
		due = due || closing_due(&pipeline->views[i]);
	if (!due)
		return;
	kv_delta_begin(pipeline);
	kv_delta_begin_views(pipeline);
	for (int i = 0; i < pipeline->nviews; i++)
		kv_advance_close_view(pipeline, &pipeline->views[i]);
	kv_delta_end_views(pipeline);
	kv_delta_end(pipeline);
}

/*
 * Applies what the view's inputs got and closes it. The PG_TRY gives an error of the data a hint: where no row could be set aside
 * for it (closed_rows.c), the run ends.
 */
void
kv_advance_close_view(Pipeline *pipeline, PipelineView *view)
{
	MemoryContext context = CurrentMemoryContext;

	kv_outbox_default_time = view->next_frontier;
	PG_TRY();
	{
		/* tables first (DESIGN.md 2.2): a stream's row meets a keyed view as this closing leaves it */
		for (int i = 0; i < view->view->ninputs; i++)
			if (view->view->inputs[i].kind == INPUT_KEYED)
				apply_rows_of(pipeline, view, i);
		for (int i = 0; i < view->view->ninputs; i++)
			if (view->view->inputs[i].kind == INPUT_VIEW)
				apply_rows_of(pipeline, view, i);
		if (closing_due(view))
			kv_apply_close(pipeline, view);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (error->hint == NULL && kv_fault_of_record(error))
			error->hint = "No single record is at fault, so none became a dead letter. Correct the function, constraint or trigger that failed, "
				"and the pipeline goes on by itself; or drop the view and create it again with a query that bears such rows.";
		ReThrowError(error);
	}
	PG_END_TRY();
	kv_outbox_default_time = DT_NOBEGIN;
}

/* Applies the rows that the view of one input got; another input that reads the same view has a part in that. */
static void
apply_rows_of(Pipeline *pipeline, PipelineView *view, int number)
{
	ViewInput  *inputs = view->view->inputs;
	InputRows	input = {pipeline, view};
	ClosedRows	closed = {.pipeline = pipeline,.view = view,.apply = apply_input_rows,.arg = &input};

	for (int i = 0; i < number; i++)
		if (inputs[i].relid == inputs[number].relid)
			return;
	input.upper = kv_pipeline_view(pipeline, inputs[number].relid);
	kv_delta_of_view(pipeline, input.upper, true);
	closed.source = input.upper->row->relation;
	if (input.upper->untimed != NULL)
		set_untimed_aside(&closed, input.upper);
	closed.desc = input.upper->delta_desc;
	closed.rows = input.upper->delta;
	closed.nrows = input.upper->delta_rows;
	kv_closed_rows_apply(&closed);
}

/* Sets the rows aside, for a view that reads them, which have no event time. */
static void
set_untimed_aside(const ClosedRows *closed, PipelineView *upper)
{
	ClosedRows	untimed = *closed;

	untimed.desc = upper->row_desc;
	untimed.rows = upper->untimed;
	untimed.nrows = tuplestore_tuple_count(upper->untimed);
	untimed.apply = refuse_untimed;
	untimed.arg = upper;
	kv_closed_rows_apply(&untimed);
}

static void
refuse_untimed(Tuplestorestate *rows, int64 nrows, void *arg)
{
	kv_delta_refuse_untimed(arg);
}

/* Runs the view's statements over some rows of one view that it reads, as if nothing else had got any. */
static void
apply_input_rows(Tuplestorestate *rows, int64 nrows, void *arg)
{
	InputRows  *input = arg;
	DeltaSaved *saved = kv_delta_only_view(input->pipeline, input->upper, rows, nrows);

	PG_TRY();
	{
		kv_apply_view(input->pipeline, input->view);
	}
	PG_FINALLY();
	{
		kv_delta_all_views(input->pipeline, saved);
	}
	PG_END_TRY();
}

/* Gives the longest time that an input of the view is buffered; 0: none is. */
int64
kv_advance_retain(const PipelineView *view)
{
	int64		retain_us = 0;

	for (int i = 0; i < view->view->ninputs; i++)
	{
		ViewInput  *input = &view->view->inputs[i];

		if (input->buffer_name != NULL && (input->kind == INPUT_STREAM || input->kind == INPUT_VIEW))
			retain_us = Max(retain_us, input->retain_us);
	}
	return retain_us;
}

/* Tells whether the view's frontier has moved far enough since its last eviction. */
static bool
eviction_due(const PipelineView *view)
{
	int64		retain_us = kv_advance_retain(view);

	if (!view->evicts || view->next_frontier == DT_NOBEGIN)
		return false;
	return view->evicted_at == DT_NOBEGIN || view->next_frontier - view->evicted_at > retain_us / EVICT_PART;
}

bool
kv_advance_eviction_due(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		if (eviction_due(&pipeline->views[i]))
			return true;
	}
	return false;
}

/* Runs the EVICT statements of the views that are due, with the frontier after this batch. */
void
kv_advance_evict(Pipeline *pipeline)
{
	bool		evicted = false;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		if (!eviction_due(view))
			continue;
		kv_apply_evict(pipeline, view);
		evicted = true;
	}
	if (evicted)
		kv_read_again_prune(pipeline);
}

/* Makes the frontiers of a committed batch the closed ones. */
void
kv_advance_commit(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		if (pipeline->retry == NULL && eviction_due(view))
			view->evicted_at = view->next_frontier;
		view->frontier = view->next_frontier;
		view->late_rows = 0;
	}
}

/* Forgets what a failed batch computed. */
void
kv_advance_rewind(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		pipeline->views[i].next_frontier = pipeline->views[i].frontier;
		pipeline->views[i].late_rows = 0;
	}
}
