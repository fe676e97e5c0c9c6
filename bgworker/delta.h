/* delta.h: rows of the current (sub)batch as named tuplestores, and which record each came from. */
#ifndef KV_DELTA_H
#define KV_DELTA_H

#include "delta_desc.h"
#include "pipeline.h"

/* Begins an empty (sub)batch in the current resource owner; ends it. */
extern void kv_delta_begin(Pipeline *pipeline);
extern void kv_delta_end(Pipeline *pipeline);
/* Appends the partition's head, which is a row or a deletion, and remembers where it came from. */
extern void kv_delta_add_head(Pipeline *pipeline, Partition *partition);
/* The same for a row of any source: its values with room for what the engine adds, its event time, its partition's stream time before it. */
extern void kv_delta_add(Pipeline *pipeline, RowSource source, Datum *values, bool *nulls, TimestampTz time, TimestampTz before, bool deleted);

/* Remembers where rows that are none of a topic come from, with their time. */
extern void kv_delta_add_source(Pipeline *pipeline, RowSource source, TimestampTz time);

/* What a narrowed delta replaced, to put it back. */
typedef struct DeltaSaved
{
	Tuplestorestate *delta;
	int64		delta_rows;
} DeltaSaved;

typedef bool (*DeltaFilter) (int64 row, void *arg);

/* Replaces the topics' deltas by their rows for which keep(kv_row) holds; kv_delta_restore puts them back. */
extern DeltaSaved *kv_delta_narrow(Pipeline *pipeline, DeltaFilter keep, void *arg);
extern void kv_delta_restore(Pipeline *pipeline, DeltaSaved *saved);

/* The same for views: rows in the place of the delta of one, nothing in the others'. */
extern DeltaSaved *kv_delta_only_view(Pipeline *pipeline, PipelineView *view, Tuplestorestate *rows, int64 nrows);
extern void kv_delta_all_views(Pipeline *pipeline, DeltaSaved *saved);

/* The same: nothing in the place of the deltas of those whose rows are given (upper_rows.c). */
extern DeltaSaved *kv_delta_hide_given(Pipeline *pipeline);
extern void kv_delta_show_given(Pipeline *pipeline, DeltaSaved *saved);

/* Stores for the rows views get in this (sub)batch, where other views read them. */
extern void kv_delta_begin_views(Pipeline *pipeline);
extern void kv_delta_end_views(Pipeline *pipeline);
extern void kv_delta_forget_views(Pipeline *pipeline);
/* Makes the delta of a view of the rows it got; does nothing the second time. set_aside: those without an event time go to view->untimed. */
extern void kv_delta_of_view(Pipeline *pipeline, PipelineView *view, bool set_aside);
/* Raises the error of such a row. */
extern void kv_delta_refuse_untimed(const PipelineView *view) pg_attribute_noreturn();

/* Appends the rows of one store to another. */
extern void kv_delta_append(Tuplestorestate *target, Tuplestorestate *rows, TupleDesc desc);

#endif							/* KV_DELTA_H */
