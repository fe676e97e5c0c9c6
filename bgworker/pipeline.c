/*
 * pipeline.c: finds its way in a Pipeline: topics, views, and which buffers there are of a topic.
 *
 * Nothing here changes anything.
 */
#include "postgres.h"

#include "pipeline.h"


/* Finds the topic of this pipeline with a foreign table. */
TopicInput *
kv_pipeline_topic(Pipeline *pipeline, Oid relid)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		if (pipeline->topics[i].topic->relid == relid)
			return &pipeline->topics[i];
	}
	elog(ERROR, "pipeline \"%s\" does not read relation %u", pipeline->row->name, relid);
}

/* Finds the view of this pipeline with a result table. */
PipelineView *
kv_pipeline_view(Pipeline *pipeline, Oid relid)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		if (pipeline->views[i].row->relation == relid)
			return &pipeline->views[i];
	}
	elog(ERROR, "pipeline \"%s\" has no view %u", pipeline->row->name, relid);
}

/*
 * Is a view left out of batches? One over views is, until it gets its first rows: all that these views have then. What they get before
 * is among that, and if the view's own time went on before, what that has closed would come too late. One that reads topics too began with its pipeline; of
 * those only tables are read before its first rows, which it must see.
 */
bool
kv_pipeline_leaves_out(const PipelineView *view)
{
	for (int i = 0; i < view->view->ninputs; i++)
	{
		if (kv_input_is_topic(&view->view->inputs[i]))
			return false;
	}
	return kv_view_reads_views(view->view) && !view->row->initialized;
}

/* Gives the time before which no buffer of a topic needs a record: DT_NOBEGIN all are needed, DT_NOEND none. */
TimestampTz
kv_pipeline_reload_bound(Pipeline *pipeline, const TopicInput *topic)
{
	TimestampTz bound = DT_NOEND;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		for (int j = 0; j < view->view->ninputs; j++)
		{
			ViewInput  *input = &view->view->inputs[j];

			if (!kv_pipeline_is_buffer(input, topic))
				continue;
			if (view->frontier == DT_NOBEGIN || input->retain_us >= DT_NOEND - Max(view->frontier, 0))
				return DT_NOBEGIN;
			bound = Min(bound, view->frontier - input->retain_us);
		}
	}
	return bound;
}

/* Gives the longest event time for which a view keeps a row of a topic, in us. */
int64
kv_pipeline_longest_stay(Pipeline *pipeline, const TopicInput *topic)
{
	int64		longest = 0;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		ViewDef    *view = pipeline->views[i].view;

		for (int j = 0; j < view->ninputs; j++)
			if (kv_pipeline_is_buffer(&view->inputs[j], topic))
				longest = Max(longest, view->inputs[j].retain_us);
	}
	return longest;
}

/* Tells whether an input has a buffer of a topic. */
bool
kv_pipeline_is_buffer(const ViewInput *input, const TopicInput *topic)
{
	return input->kind == INPUT_STREAM && input->relid == topic->topic->relid && input->buffer_name != NULL;
}
