/*
 * delta.c: the rows of a (sub)batch as tuplestores, one per topic and one per
 * view that views read.
 *
 * Invariant: kv_row numbers the rows of all topics of a (sub)batch from 0 in
 * processing order and is the index of their record in pipeline->sources. Rows of
 * views are numbered from VIEW_ROWS, so the two cannot be taken for each other. They come in the order in which the view's statements gave them
 * (accumulate.c); rows of several views have none among each other.
 *
 * Tuplestores belong to the resource owner under which they are begun and must be
 * ended before it: topics' deltas live in the batch's transaction, views' rows and deltas in
 * the one in force at kv_delta_begin_views, though the subtransaction of a single view writes them.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "utils/memutils.h"

#include "consumer.h"
#include "delta.h"
#include "merge.h"

/* Memory of one delta before it goes to a temporary file (kB): a batch of 50,000 rows of 500 bytes fits. */
#define DELTA_MEMORY_KB 32768

/* kv_row of the first row of a view in a (sub)batch. */
#define VIEW_ROWS (INT64CONST(1) << 40)

static void end_store(Tuplestorestate **store);
static Tuplestorestate *begin_delta_of_view(Pipeline *pipeline);
static AttrNumber time_column(const PipelineView *view);
static Tuplestorestate *filter_delta(TopicInput *input, DeltaFilter keep, void *arg, int64 *nrows);


/* Begins an empty (sub)batch. Runs: in a transaction. */
void
kv_delta_begin(Pipeline *pipeline)
{
	MemoryContext old = MemoryContextSwitchTo(pipeline->batch);

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		pipeline->topics[i].delta = tuplestore_begin_heap(false, false, DELTA_MEMORY_KB);
		pipeline->topics[i].delta_rows = 0;
	}
	pipeline->nsources = 0;
	pipeline->batch_time = DT_NOBEGIN;
	pipeline->batch_table_time = DT_NOBEGIN;
	MemoryContextSwitchTo(old);
}

/* Ends a (sub)batch: nothing of it may live on when the transaction commits. */
void
kv_delta_end(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		end_store(&pipeline->topics[i].delta);
		pipeline->topics[i].delta_rows = 0;
	}
}

static void
end_store(Tuplestorestate **store)
{
	if (*store != NULL)
		tuplestore_end(*store);
	*store = NULL;
}

/* Appends the partition's head to its topic's delta. The row is copied; the head stays as it is. */
void
kv_delta_add_head(Pipeline *pipeline, Partition *partition)
{
	const TopicRecord *record = kv_merge_record(partition);
	RowSource	source = {.partition = partition,.offset = record->offset,.record = record};

	kv_delta_add(pipeline, source, partition->head_values, partition->head_nulls, partition->head_time, partition->stream_time,
				 partition->head_result == DECODE_DELETE);
}

/* Appends a row to its topic's delta; see delta.h. */
void
kv_delta_add(Pipeline *pipeline, RowSource source, Datum *values, bool *nulls, TimestampTz time, TimestampTz before, bool deleted)
{
	TopicInput *input = source.partition->input;
	int			natts = input->topic->desc->natts;

	values[natts] = TimestampTzGetDatum(time);
	values[natts + 1] = TimestampTzGetDatum(before);
	values[natts + 2] = Int64GetDatum(pipeline->nsources);
	nulls[natts] = nulls[natts + 1] = nulls[natts + 2] = false;
	if (input->is_table)
	{
		values[natts + 3] = BoolGetDatum(deleted);
		nulls[natts + 3] = false;
	}
	tuplestore_putvalues(input->delta, input->delta_desc, values, nulls);
	input->delta_rows++;
	kv_delta_add_source(pipeline, source, time);
}

/* Remembers a source; see delta.h. */
void
kv_delta_add_source(Pipeline *pipeline, RowSource source, TimestampTz time)
{
	if (pipeline->nsources == pipeline->max_sources)
	{
		int64		most = Max(pipeline->max_sources * 2, 1024);

		/* noted only when it is there: where memory ends, a smaller batch of the same run goes on (batch_size.c) */
		if (pipeline->sources == NULL)
			pipeline->sources = MemoryContextAllocHuge(pipeline->context, most * sizeof(RowSource));
		else
			pipeline->sources = repalloc_huge(pipeline->sources, most * sizeof(RowSource));
		pipeline->max_sources = most;
	}
	pipeline->sources[pipeline->nsources++] = source;
	if (source.partition->input->is_table)
		pipeline->batch_table_time = Max(pipeline->batch_table_time, time);
	else
		pipeline->batch_time = Max(pipeline->batch_time, time);
}

/* Puts narrowed deltas in the place of the topics' deltas; gives what it replaced. */
DeltaSaved *
kv_delta_narrow(Pipeline *pipeline, DeltaFilter keep, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(pipeline->batch);
	DeltaSaved *saved = palloc(sizeof(DeltaSaved) * Max(pipeline->ntopics, 1));

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];
		int64		nrows;
		Tuplestorestate *narrowed = filter_delta(input, keep, arg, &nrows);

		saved[i].delta = input->delta;
		saved[i].delta_rows = input->delta_rows;
		input->delta = narrowed;
		input->delta_rows = nrows;
	}
	MemoryContextSwitchTo(old);
	return saved;
}

/* Copies the rows of a topic's delta whose number the filter keeps. */
static Tuplestorestate *
filter_delta(TopicInput *input, DeltaFilter keep, void *arg, int64 *nrows)
{
	Tuplestorestate *result = tuplestore_begin_heap(false, false, DELTA_MEMORY_KB);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(input->delta_desc, &TTSOpsMinimalTuple);
	int			row_attno = input->topic->desc->natts + 3;

	*nrows = 0;
	tuplestore_select_read_pointer(input->delta, 0);
	tuplestore_rescan(input->delta);
	while (tuplestore_gettupleslot(input->delta, true, false, slot))
	{
		bool		isnull;

		if (keep(DatumGetInt64(slot_getattr(slot, row_attno, &isnull)), arg))
		{
			tuplestore_puttupleslot(result, slot);
			(*nrows)++;
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	return result;
}

/* Ends narrowed deltas and puts back what they replaced. */
void
kv_delta_restore(Pipeline *pipeline, DeltaSaved *saved)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		end_store(&pipeline->topics[i].delta);
		pipeline->topics[i].delta = saved[i].delta;
		pipeline->topics[i].delta_rows = saved[i].delta_rows;
	}
	pfree(saved);
}

/* Exchanges the deltas of the views; see delta.h. */
DeltaSaved *
kv_delta_only_view(Pipeline *pipeline, PipelineView *view, Tuplestorestate *rows, int64 nrows)
{
	DeltaSaved *saved = palloc(sizeof(DeltaSaved) * (pipeline->nviews + 1));
	Tuplestorestate *nothing = tuplestore_begin_heap(false, false, DELTA_MEMORY_KB);

	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *other = &pipeline->views[i];

		saved[i].delta = other->delta;
		saved[i].delta_rows = other->delta_rows;
		other->delta = other == view ? rows : nothing;
		other->delta_rows = other == view ? nrows : 0;
	}
	saved[pipeline->nviews].delta = nothing;
	return saved;
}

/* Hides given rows; see delta.h. */
DeltaSaved *
kv_delta_hide_given(Pipeline *pipeline)
{
	DeltaSaved *saved = palloc(sizeof(DeltaSaved) * (pipeline->nviews + 1));
	Tuplestorestate *nothing = tuplestore_begin_heap(false, false, DELTA_MEMORY_KB);

	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		if (view->given == NULL)
			continue;
		saved[i].delta = view->delta;
		saved[i].delta_rows = view->delta_rows;
		view->delta = nothing;
		view->delta_rows = 0;
	}
	saved[pipeline->nviews].delta = nothing;
	return saved;
}

/* Puts them back. What others have got meanwhile stays. */
void
kv_delta_show_given(Pipeline *pipeline, DeltaSaved *saved)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		if (pipeline->views[i].given == NULL)
			continue;
		pipeline->views[i].delta = saved[i].delta;
		pipeline->views[i].delta_rows = saved[i].delta_rows;
	}
	tuplestore_end(saved[pipeline->nviews].delta);
	pfree(saved);
}

/* Puts them back. */
void
kv_delta_all_views(Pipeline *pipeline, DeltaSaved *saved)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		pipeline->views[i].delta = saved[i].delta;
		pipeline->views[i].delta_rows = saved[i].delta_rows;
	}
	tuplestore_end(saved[pipeline->nviews].delta);
	pfree(saved);
}

/* Begins the stores for the rows that read views get, and that unstored views give. */
void
kv_delta_begin_views(Pipeline *pipeline)
{
	MemoryContext old;

	pipeline->rows_owner = CurrentResourceOwner;
	pipeline->rows_context = NULL;
	pipeline->rows_context = AllocSetContextCreate(pipeline->batch, "kv rows of views", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(pipeline->rows_context);
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		view->rows = view->is_read || view->view->unstored ? tuplestore_begin_heap(false, false, DELTA_MEMORY_KB) : NULL;
		if (view->given != NULL)
			kv_delta_append(view->rows, view->given, view->row_desc);
		view->published = 0;
		view->delta = view->untimed = NULL;
		view->delta_rows = 0;
	}
	MemoryContextSwitchTo(old);
}

/* See the header. */
void
kv_delta_append(Tuplestorestate *target, Tuplestorestate *rows, TupleDesc desc)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
		tuplestore_puttupleslot(target, slot);
	ExecDropSingleTupleTableSlot(slot);
}

/* Ends them. */
void
kv_delta_end_views(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		end_store(&pipeline->views[i].rows);
		end_store(&pipeline->views[i].delta);
		end_store(&pipeline->views[i].untimed);
	}
	kv_delta_forget_views(pipeline);
}

/* Gives back their memory after an abort, which has closed their files. */
void
kv_delta_forget_views(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
		pipeline->views[i].rows = pipeline->views[i].delta = pipeline->views[i].untimed = NULL;
	if (pipeline->rows_context != NULL)
		MemoryContextDelete(pipeline->rows_context);
	pipeline->rows_context = NULL;
}

/*
 * Makes the delta that readers of a view see of the rows it got in this (sub)batch. A row of a stream
 * without an event time has no place in the readers' time and is the reader's bad row: an error, by which the record is found that made it,
 * or put aside where none did. Rows of a keyed view have no time; the last one of a key counts, as with a topic.
 */
void
kv_delta_of_view(Pipeline *pipeline, PipelineView *view, bool set_aside)
{
	bool		keyed = view->view->shape == SHAPE_KEYED;
	int			natts = view->row_desc->natts - (keyed ? 1 : 0);
	AttrNumber	time_attno = time_column(view);
	TupleTableSlot *slot;
	Tuplestorestate *delta;
	Datum	   *values;
	bool	   *nulls;
	int64		nrows = 0;
	MemoryContext old;

	if (view->delta != NULL)
		return;
	old = MemoryContextSwitchTo(pipeline->rows_context);
	delta = begin_delta_of_view(pipeline);
	slot = MakeSingleTupleTableSlot(view->row_desc, &TTSOpsMinimalTuple);
	values = palloc(sizeof(Datum) * (natts + 4));
	nulls = palloc0(sizeof(bool) * (natts + 4));
	tuplestore_select_read_pointer(view->rows, 0);
	tuplestore_rescan(view->rows);
	while (tuplestore_gettupleslot(view->rows, true, false, slot))
	{
		slot_getallattrs(slot);
		memcpy(values, slot->tts_values, sizeof(Datum) * natts);
		memcpy(nulls, slot->tts_isnull, sizeof(bool) * natts);
		if (!keyed && (time_attno == 0 || nulls[time_attno - 1]))
		{
			if (!set_aside)
			{
				tuplestore_end(delta);
				kv_delta_refuse_untimed(view);
			}
			if (view->untimed == NULL)
				view->untimed = begin_delta_of_view(pipeline);
			tuplestore_puttupleslot(view->untimed, slot);
			continue;
		}
		values[natts] = keyed ? TimestampTzGetDatum(DT_NOBEGIN) : values[time_attno - 1];
		values[natts + 1] = TimestampTzGetDatum(DT_NOBEGIN);
		values[natts + 2] = Int64GetDatum(VIEW_ROWS + nrows);
		if (keyed)
			values[natts + 3] = slot->tts_values[natts];
		tuplestore_putvalues(delta, view->delta_desc, values, nulls);
		nrows++;
	}
	ExecDropSingleTupleTableSlot(slot);
	view->delta = delta;
	view->delta_rows = nrows;
	MemoryContextSwitchTo(old);
}

/* Gives the place of a view's event time in its rows, which have no dropped columns; 0: it has none. */
static AttrNumber
time_column(const PipelineView *view)
{
	AttrNumber	attno = 0;

	for (int i = 0; i < view->view->time_attno; i++)
		attno += TupleDescAttr(view->view->result, i)->attisdropped ? 0 : 1;
	return attno;
}

/* See the header. */
void
kv_delta_refuse_untimed(const PipelineView *view)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("a row of continuous view %s has no event time", view->view->name),
			 errhint("Filter such rows out in the view, or name another column by its option kafka.event_time.")));
}

/* Begins a store that outlives the subtransaction of the reader that asked for it first: its temporary file is for all readers. */
static Tuplestorestate *
begin_delta_of_view(Pipeline *pipeline)
{
	ResourceOwner owner = CurrentResourceOwner;
	Tuplestorestate *delta;

	CurrentResourceOwner = pipeline->rows_owner;
	delta = tuplestore_begin_heap(false, false, DELTA_MEMORY_KB);
	CurrentResourceOwner = owner;
	return delta;
}
