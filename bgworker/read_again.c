/*
 * read_again.c: which records somebody reads a second time, and what is kept for that.
 *
 * A reload reads them into buffers of streams, and the rows that an unstored view has given so far are found by its query over the topics. Both need
 * to know what the first reading left out (kafka_state.skipped), a reload also where it may begin (kafka_state.mark) and what was applied out of its place
 * (kafka_state.retried). Invariant: nothing is kept there that nobody will ask for. It is not written for topics without such readers, goes with the
 * records that buffers need no more, and with the last reader.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "kept_records.h"
#include "position.h"
#include "read_again.h"
#include "skipped.h"

static bool asks_again(const PipelineView *view, const TopicInput *input);
static Datum views_that_ask(Pipeline *pipeline, const TopicInput *input);
static void prune_partition(Pipeline *pipeline, const Partition *partition, TimestampTz before);


/* See the header. */
bool
kv_read_again(Pipeline *pipeline, const TopicInput *input, int64 view)
{
	if (input->has_buffers)
		return true;
	for (int i = 0; i < pipeline->nviews; i++)
		if ((view == 0 || pipeline->views[i].row->view == view) && asks_again(&pipeline->views[i], input))
			return true;
	return false;
}

/* Tells whether a view is unstored and reads a topic. */
static bool
asks_again(const PipelineView *view, const TopicInput *input)
{
	for (int i = 0; view->view->unstored && i < view->view->ninputs; i++)
		if (view->view->inputs[i].relid == input->topic->relid)
			return true;
	return false;
}

/* Gives them as an array of their numbers. */
static Datum
views_that_ask(Pipeline *pipeline, const TopicInput *input)
{
	Datum	   *views = palloc(sizeof(Datum) * Max(pipeline->nviews, 1));
	int			count = 0;

	for (int i = 0; i < pipeline->nviews; i++)
		if (asks_again(&pipeline->views[i], input))
			views[count++] = Int64GetDatum(pipeline->views[i].row->view);
	return PointerGetDatum(construct_array(views, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Forgets what reloads need of the records before what any reload could ask for; the last mark below stays. */
void
kv_read_again_prune(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];
		TimestampTz before = DT_NOEND;

		if (!input->has_buffers)
			continue;
		before = kv_pipeline_reload_bound(pipeline, input);
		if (before == DT_NOBEGIN || before == DT_NOEND)
			continue;
		kv_kept_prune(pipeline, input, before);
		for (int n = 0; n < input->npartitions; n++)
			prune_partition(pipeline, &input->partitions[n], before);
	}
}

/* Forgets of a partition what no reload reads again. */
static void
prune_partition(Pipeline *pipeline, const Partition *partition, TimestampTz before)
{
	Oid			relid = partition->input->topic->relid;
	int64		offset;
	TimestampTz time;

	kv_mark_prune(pipeline->row->pipeline, relid, partition->number, before);
	if (kv_mark_find(pipeline->row->pipeline, relid, partition->number, before, &offset, &time))
		kv_skipped_prune(pipeline->row->pipeline, relid, partition->number, offset, views_that_ask(pipeline, partition->input));
}

/* See the header. Of a topic whose last view has been dropped nothing is asked any more; another view over it has a pipeline of its own. */
void
kv_read_again_prune_unread(Pipeline *pipeline)
{
	Datum	   *buffered = palloc(sizeof(Datum) * Max(pipeline->ntopics, 1));
	Datum	   *read = palloc(sizeof(Datum) * Max(pipeline->ntopics, 1));
	int			nbuffered = 0;
	Datum		array;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		read[i] = ObjectIdGetDatum(input->topic->relid);
		if (input->has_buffers)
			buffered[nbuffered++] = ObjectIdGetDatum(input->topic->relid);
		else
			kv_skipped_prune_unbuffered(pipeline->row->pipeline, input->topic->relid, views_that_ask(pipeline, input), input->is_table);
	}
	kv_skipped_prune_others(pipeline->row->pipeline, PointerGetDatum(construct_array(read, pipeline->ntopics, OIDOID, sizeof(Oid), true, TYPALIGN_INT)));
	array = PointerGetDatum(construct_array(buffered, nbuffered, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
	kv_mark_prune_others(pipeline->row->pipeline, array);
	kv_kept_prune_others(pipeline->row->pipeline, array);
}
