/*
 * sinks.c: the rows of unstored views as messages of their sinks.
 *
 * A stored view's rows reach its sinks by triggers. An unstored view's statement
 * gives its rows to the worker, which hands them to the same encoder and the same outbox, within the same
 * subtransaction: a row that cannot be encoded is its record's fault as if a trigger had failed.
 *
 * Invariant: every row goes to the sinks that are committed when the batch has its locks. They are read
 * once per run; a change of them ends it (members.c, begin_numbered of batch.c).
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/rel.h"

#include "publish.h"
#include "sink_list.h"
#include "sinks.h"


/* Loads the sinks of a view into the run's context, with its owner's rights checked. Runs: in a transaction. */
void
kv_sinks_load(Pipeline *pipeline, PipelineView *view)
{
	Relation	rel;
	ListCell   *cell;

	if (!view->view->unstored)
		return;
	rel = table_open(view->row->relation, AccessShareLock);
	foreach(cell, kv_sink_list(view->row->view))
	{
		ViewSink   *sink = palloc(sizeof(ViewSink));

		kv_sink_check(rel, lfirst_oid(cell));
		sink->topic = kv_topic_copy(pipeline->context, kv_topic_get(lfirst_oid(cell)));
		sink->encoder = kv_encoder_make(pipeline->context, sink->topic, view->view->result);
		view->sinks = lappend(view->sinks, sink);
	}
	table_close(rel, NoLock);
}

/* Checks that a view's owner may still write to its sinks. Runs: in a transaction. */
void
kv_sinks_check(const PipelineView *view)
{
	Relation	rel;
	ListCell   *cell;

	if (view->sinks == NIL)
		return;
	rel = table_open(view->row->relation, AccessShareLock);
	foreach(cell, view->sinks)
		kv_sink_check(rel, ((ViewSink *) lfirst(cell))->topic->relid);
	table_close(rel, NoLock);
}

/* Writes the rows that a view has given in this (sub)batch, since it was asked last, to its sinks. Runs: in a batch. */
void
kv_sinks_publish(PipelineView *view)
{
	ListCell   *cell;

	foreach(cell, view->sinks)
	{
		ViewSink   *sink = lfirst(cell);
		RowTimeCursor cursor = {0};

		kv_publish_store(sink->topic, sink->encoder, view->row->relation, &cursor, view->view->result, view->rows, view->published);
	}
	if (view->rows != NULL)
		view->published = tuplestore_tuple_count(view->rows);
}
