/*
 * buffer_logging.c: buffers of streams are unlogged where their topics can give the records again, and logged elsewhere (DESIGN.md 5.2).
 *
 * A crash empties an unlogged buffer, and reload.c reads its records again. That needs a topic that still has them: one that is not
 * compacted, that has no limit of size, and that keeps records longer than the buffer does, with a margin in which the crash is noticed and
 * mended. So a topic is asked for its configuration before the first batch of a run and, as that can be altered, from time to time.
 *
 * Invariant: a buffer whose topic could not give its records back, or does not say so, is logged, and then needs no reload. Only whole
 * buffers change over, and only to logged: a new unlogged file that a killed postmaster leaves half made keeps Postgres from starting.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"

#include "buffer_logging.h"
#include "client_config.h"
#include "fault_point.h"
#include "input_tables.h"
#include "run_sql.h"

#define ASK_TIMEOUT_MS 5000

/* A crash may stay unnoticed for so long. */
#define MARGIN_US USECS_PER_DAY

static bool gives_back(Pipeline *pipeline, TopicInput *topic, const TopicConfig *config);
static TimestampTz oldest_needed(Pipeline *pipeline, TopicInput *topic);
static void set_logged(Pipeline *pipeline, const TopicInput *topic);
static bool lock_buffer(const ViewInput *input);
static void set_buffer_logged(const PipelineView *view, const ViewInput *input, const TopicInput *topic);


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
		/* without an answer they stay as they are, and the brokers are asked again */
		if (answer == CONFIG_FORBIDDEN || (answer == CONFIG_KNOWN && !gives_back(pipeline, topic, &config)))
			set_logged(pipeline, topic);
	}
}

/* Tells whether a topic keeps its records as long as they stand in buffers, and longer by the margin. */
static bool
gives_back(Pipeline *pipeline, TopicInput *topic, const TopicConfig *config)
{
	int64		kept_us;

	if (config->compacted || config->by_size)
		return false;
	if (config->retention_ms >= PG_INT64_MAX / 1000)
		return true;
	kept_us = config->retention_ms * 1000 - MARGIN_US;
	/* what is read late, or stays because nothing new comes, is older by the clock: brokers delete by that */
	return kv_pipeline_longest_stay(pipeline, topic) <= kept_us - topic->mark_every_us && oldest_needed(pipeline, topic) >= GetCurrentTimestamp() - kept_us;
}

/*
 * Gives the time of the oldest record that a reload of buffers may ask for (marks.c), DT_NOEND: none. While time stands still they need all, which are as old as this
 * run, or older than can be known.
 */
static TimestampTz
oldest_needed(Pipeline *pipeline, TopicInput *topic)
{
	TimestampTz bound = kv_pipeline_reload_bound(pipeline, topic);

	if (topic->buffers_since == 0)
	{
		topic->buffers_since = GetCurrentTimestamp();
		for (int n = 0; n < topic->npartitions; n++)
			if (topic->partitions[n].committed_offset != topic->partitions[n].start_offset)
				topic->buffers_since = DT_NOBEGIN;
	}
	if (bound == DT_NOBEGIN)
		return topic->buffers_since;
	return bound == DT_NOEND ? bound : bound - topic->mark_every_us;
}

/* Makes the buffers of a topic logged that are not. */
static void
set_logged(Pipeline *pipeline, const TopicInput *topic)
{
	MemoryContext old = CurrentMemoryContext;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		for (int j = 0; j < view->view->ninputs; j++)
		{
			ViewInput  *input = &view->view->inputs[j];

			if (!kv_pipeline_is_buffer(input, topic))
				continue;
			StartTransactionCommand();
			if (kv_buffer_is_unlogged(input) && lock_buffer(input))
				set_buffer_logged(view, input, topic);
			CommitTransactionCommand();
			KV_FAULT_POINT("buffer_logging_committed");
			MemoryContextSwitchTo(old);
		}
	}
}

/* Locks a buffer unless somebody else has it, a dump for one: then it is tried again later. */
static bool
lock_buffer(const ViewInput *input)
{
	Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(stringToQualifiedNameList(input->buffer_name)), NoLock, false);

	return ConditionalLockRelationOid(relid, AccessExclusiveLock);
}

static void
set_buffer_logged(const PipelineView *view, const ViewInput *input, const TopicInput *topic)
{
	KvSql		sql;

	KV_FAULT_POINT("buffer_locked");
	kv_sql_enter_role(&sql, view->view->owner, NULL);
	kv_sql_ddl("ALTER TABLE %s SET LOGGED", input->buffer_name);
	kv_sql_leave(&sql);
	KV_FAULT_POINT("buffer_logged");
	ereport(LOG,
			(errmsg("continuous view \"%s\" now keeps a logged buffer of topic \"%s\"", view->view->name, topic->topic->topic),
			 errdetail("The configuration of the topic does not make sure that its records can be read again after a crash.")));
}
