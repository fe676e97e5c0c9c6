/*
 * buffer_logging.c: buffers of streams are unlogged where their topics can give the records again, and logged elsewhere (DESIGN.md 5.2).
 *
 * A crash empties an unlogged buffer, and reload.c reads its records again. That needs a topic that still has them: one that is not
 * compacted, that has no limit of size, and that keeps records longer than the buffer does, with a margin in which the crash is noticed and
 * mended; and before a logged buffer becomes unlogged the topic must have them now. So a topic is asked for its configuration before the first batch of a run and, as that can be altered, from time to time.
 *
 * Invariant: a buffer whose topic could not give its records back, or does not say so, is logged, and then needs no reload. Only whole
 * buffers change over, each in a transaction of its own, so a crash finds either kind complete: logged rows are there, unlogged ones are reloaded.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "apply.h"
#include "buffer_logging.h"
#include "input_tables.h"
#include "reload.h"
#include "run_sql.h"
#include "client_config.h"

#define ASK_TIMEOUT_MS 5000

/* A crash may stay unnoticed for a day. A buffer becomes unlogged only with two, so that it does not go to and fro. */
#define MARGIN_US USECS_PER_DAY
#define WIDE_MARGIN_US (2 * USECS_PER_DAY)

static int64 longest_stay(Pipeline *pipeline, const TopicInput *topic);
static bool gives_back(Pipeline *pipeline, const TopicInput *topic, const TopicConfig *config, int64 margin_us);
static bool has_logged(Pipeline *pipeline, const TopicInput *topic);
static bool is_buffer(const ViewInput *input, const TopicInput *topic);
static void set_logged(Pipeline *pipeline, const TopicInput *topic, bool logged);
static void set_buffer_logged(const PipelineView *view, const ViewInput *input, const TopicInput *topic, bool logged);


/* Makes the buffers of each topic what they must be; see the header. */
void
kv_buffer_logging_check(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *topic = &pipeline->topics[i];
		TopicConfig config = {0};
		ConfigAnswer answer;

		if (!topic->has_buffers)
			continue;
		answer = kv_topic_config(pipeline->consumer, topic->topic->topic, ASK_TIMEOUT_MS, &config);
		if (answer == CONFIG_UNREACHABLE)
			continue;			/* as it was; the brokers are asked again */
		if (answer == CONFIG_FORBIDDEN || !gives_back(pipeline, topic, &config, MARGIN_US))
			set_logged(pipeline, topic, true);
		else if (has_logged(pipeline, topic) && gives_back(pipeline, topic, &config, WIDE_MARGIN_US) &&
				 kv_reload_possible(pipeline, topic))
			set_logged(pipeline, topic, false);
	}
}

/* Tells whether a topic keeps its records as long as they stand in buffers, and longer by a margin. */
static bool
gives_back(Pipeline *pipeline, const TopicInput *topic, const TopicConfig *config, int64 margin_us)
{
	TimestampTz oldest = kv_apply_reload_bound(pipeline, topic);
	int64		kept_us;

	if (config->compacted || config->by_size)
		return false;
	if (config->retention_ms >= PG_INT64_MAX / 1000)
		return true;
	kept_us = config->retention_ms * 1000;
	if (longest_stay(pipeline, topic) > kept_us - margin_us)
		return false;
	/* what is read late, or stays because nothing new comes, is older by the clock: brokers delete by that */
	return oldest == DT_NOBEGIN || oldest == DT_NOEND || GetCurrentTimestamp() - oldest <= kept_us - margin_us;
}

/* Gives the longest event time for which a view keeps a row of the topic, in us. */
static int64
longest_stay(Pipeline *pipeline, const TopicInput *topic)
{
	int64		longest = 0;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		ViewDef    *view = pipeline->views[i].view;

		for (int j = 0; j < view->ninputs; j++)
			if (is_buffer(&view->inputs[j], topic))
				longest = Max(longest, view->inputs[j].retain_us);
	}
	return longest;
}

/* Tells whether a buffer of a topic is logged. */
static bool
has_logged(Pipeline *pipeline, const TopicInput *topic)
{
	MemoryContext old = CurrentMemoryContext;
	bool		found = false;

	StartTransactionCommand();
	for (int i = 0; i < pipeline->nviews; i++)
	{
		ViewDef    *view = pipeline->views[i].view;

		for (int j = 0; j < view->ninputs; j++)
			found = found || (is_buffer(&view->inputs[j], topic) && !kv_buffer_is_unlogged(&view->inputs[j]));
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	return found;
}

/* Tells whether an input has a buffer of a topic. */
static bool
is_buffer(const ViewInput *input, const TopicInput *topic)
{
	return input->kind == INPUT_STREAM && input->relid == topic->topic->relid && input->buffer_name != NULL;
}

/* Changes the buffers of a topic over that are not as they must be. */
static void
set_logged(Pipeline *pipeline, const TopicInput *topic, bool logged)
{
	MemoryContext old = CurrentMemoryContext;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		for (int j = 0; j < view->view->ninputs; j++)
		{
			ViewInput  *input = &view->view->inputs[j];

			if (!is_buffer(input, topic))
				continue;
			StartTransactionCommand();
			if (kv_buffer_is_unlogged(input) == logged)
				set_buffer_logged(view, input, topic, logged);
			CommitTransactionCommand();
			MemoryContextSwitchTo(old);
		}
	}
}

static void
set_buffer_logged(const PipelineView *view, const ViewInput *input, const TopicInput *topic, bool logged)
{
	KvSql		sql;

	kv_sql_enter_role(&sql, view->view->owner, NULL);
	kv_sql_ddl("ALTER TABLE %s SET %s", input->buffer_name, logged ? "LOGGED" : "UNLOGGED");
	kv_sql_leave(&sql);
	ereport(LOG,
			(errmsg(logged ? "continuous view \"%s\" now keeps a logged buffer of topic \"%s\"" : "continuous view \"%s\" now keeps an unlogged buffer of topic \"%s\"",
					view->view->name, topic->topic->topic),
			 errdetail(logged ? "The configuration of the topic does not make sure that its records can be read again after a crash." :
					   "The topic keeps its records so long that they can be read again after a crash.")));
}
