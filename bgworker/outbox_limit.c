/*
 * outbox_limit.c: a pipeline waits while more of its messages are to be published than kafka.outbox_limit allows.
 *
 * Why it exists: a sink that is down does not keep a worker from applying records, whose messages would fill the disk. Invariant: the worker waits between
 * two batches and outside of a transaction, so that nothing is lost by it and it holds up nobody; a stop, or a change of the definitions, ends the wait.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"

#include "members.h"
#include "outbox_limit.h"
#include "processes.h"

/* Milliseconds between two looks. */
#define LOOK_EVERY 1000

static bool is_full(Pipeline *pipeline);
static KvPlan *make_plan(MemoryContext context, const char *outbox, int64 pipeline);


/* Waits while it is full; see outbox_limit.h. */
void
kv_outbox_limit_wait(Pipeline *pipeline)
{
	bool		waited = false;

	while (is_full(pipeline) && !kv_process_should_stop() && !kv_members_invalid)
	{
		if (!waited)
			kv_slot_set_error(kv_my_slot, "the pipeline waits for its messages to be published",
							  psprintf("More than kafka.outbox_limit (%d MB) are waiting.", kv_outbox_limit_mb),
							  "Look at the publisher's error in kafka.pipelines: the sink's broker may be down.");
		waited = true;
		kv_wake(SLOT_PUBLISHER, MyDatabaseId, pipeline->serverid);
		pgstat_report_stat(false);
		kv_process_rest(LOOK_EVERY);
	}
	if (waited)
		kv_slot_clear_error(kv_my_slot);
}

/*
 * Compares the size of the outbox with its limit; its pages may be empty, so what is in them is counted then: by the index from the
 * last batch that is out, for what is before that may be there for long under an old snapshot.
 */
static bool
is_full(Pipeline *pipeline)
{
	int64		limit = (int64) kv_outbox_limit_mb * 1024 * 1024;
	int64		id = pipeline->row->pipeline;
	char	   *name = psprintf("%s.outbox_" INT64_FORMAT, KV_STATE_SCHEMA, id);
	int64		size;
	bool		isnull;
	KvSql		sql;

	StartTransactionCommand();
	kv_sql_enter_engine(&sql);
	kv_sql_read(psprintf("SELECT pg_catalog.pg_table_size(pg_catalog.to_regclass('%s'))", name), 0, NULL, NULL, NULL, 1);
	size = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	if (isnull)
		size = 0;
	if (size > limit)
	{
		if (pipeline->outbox_size == NULL)
			pipeline->outbox_size = make_plan(pipeline->context, name, id);
		kv_plan_run(pipeline->outbox_size, 0, NULL, NULL, NULL);
		size = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	}
	kv_sql_leave(&sql);
	CommitTransactionCommand();
	MemoryContextSwitchTo(pipeline->context);
	pfree(name);
	return size > limit;
}

/* Makes the plan that counts the bytes of messages that are not out. */
static KvPlan *
make_plan(MemoryContext context, const char *outbox, int64 pipeline)
{
	KvPlan	   *plan = kv_plan_make(context, psprintf("SELECT coalesce(sum(octet_length(o.messages)), 0)::bigint FROM %s o"
													   " WHERE o.batch >= coalesce((SELECT p.batch FROM " KV_NEWEST("published", "pipeline", INT64_FORMAT) " p), 0)",
													   outbox, pipeline, pipeline), 0, NULL);

	kv_plan_probe_only(plan);
	return plan;
}
