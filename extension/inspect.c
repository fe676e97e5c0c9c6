/*
 * inspect.c: what the engine's processes do, how far they are, and waiting for
 * them: the functions under the views of schema kafka.
 *
 * Invariant: a role sees what belongs to views it may read, no more; error
 * texts can hold values. Ends of topics are asked from the broker by a consumer of this
 * backend, which connects as the owner of the views and never reads a record.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/wait_event.h"

#include "analyze.h"
#include "broker.h"
#include "catalog.h"
#include "incomplete.h"
#include "client.h"
#include "ddl.h"
#include "position.h"
#include "run_sql.h"
#include "shared.h"
#include "steady_clock.h"
#include "topic.h"
#include "view_relations.h"

PG_FUNCTION_INFO_V1(kafka_processes);
PG_FUNCTION_INFO_V1(kafka_partition_ends);
PG_FUNCTION_INFO_V1(kafka_wait_for_view);

#define BROKER_TIMEOUT_MS 10000
#define POLL_MS 20
#define PROCESS_COLUMNS 21

/* Where a partition ended when somebody began to wait. */
typedef struct PartitionEnd
{
	Oid			relid;
	int			partition;
	int64		end;
} PartitionEnd;

static const char *const kind_names[] = {"free", "launcher", "supervisor", "worker", "publisher", "output"};
static const char *const phase_names[] = {
	"waiting", "starting", "reloading", "redoing", "catching up", "live", "paused", "failed"
};

static void put_process(ReturnSetInfo *result, const char *kind, const KvSlot *slot);
static void put_lack(ReturnSetInfo *result, int64 serverid);
static bool may_see_slot(const KvSlot *slot);
static bool may_see_detail(const KvSlot *slot);
static bool may_see_any_pipeline(void);
static bool may_see_pipeline(int64 pipeline);
static Datum text_or_null(const char *text, bool *isnull);
static Datum time_or_null(TimestampTz time, bool *isnull);
static void put_ends(ReturnSetInfo *result, PipelineRow *pipeline);
static KvClient *connect_as_owner(int64 pipeline, Oid serverid);
static List *list_ends(int64 pipeline);
static List *list_topics(int64 pipeline);
static bool wait_until_applied(int64 view, int64 pipeline, List *ends, TimestampTz until);
static bool wait_until_published(int64 pipeline, TimestampTz until);
static bool awaits_first_rows(int64 id);
static bool awaits_retries(int64 pipeline);
static bool are_applied(int64 pipeline, List *ends);
static int64 last_output_batch(int64 pipeline);
static bool is_published(int64 pipeline, int64 batch);
static bool poll_again(TimestampTz until);


/* ------------------------------------------------------------------ processes */

/* kafka_state.processes(): the slots of this database's processes that the role may see. */
Datum
kafka_processes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, kv_slot_list(MyDatabaseId))
	{
		KvSlot	   *slot = lfirst(cell);

		if (may_see_slot(slot))
			put_process(result, kind_names[slot->kind], slot);
		if (slot->lacks_output && slot->pid != 0 && may_see_any_pipeline())
			put_lack(result, slot->id);
	}
	return (Datum) 0;
}

/* Adds the row of a slot. */
static void
put_process(ReturnSetInfo *result, const char *kind, const KvSlot *slot)
{
	Datum		values[PROCESS_COLUMNS];
	bool		nulls[PROCESS_COLUMNS] = {false};
	int			i = 0;

	values[i++] = CStringGetTextDatum(kind);
	values[i++] = Int64GetDatum(slot->id);
	nulls[i] = slot->pid == 0;
	values[i++] = Int32GetDatum(slot->pid);
	values[i++] = CStringGetTextDatum(phase_names[slot->phase]);
	values[i++] = Int64GetDatum((int64) slot->batches);
	values[i++] = Int64GetDatum((int64) slot->records);
	values[i++] = Int64GetDatum((int64) slot->dead_letters);
	values[i++] = Int64GetDatum((int64) slot->null_values);
	values[i++] = Int64GetDatum((int64) slot->published_messages);
	values[i++] = Int64GetDatum((int64) slot->buffered_records);
	values[i++] = Int64GetDatum((int64) slot->reload_done);
	values[i++] = Int64GetDatum((int64) slot->reload_total);
	values[i++] = Float8GetDatum(slot->batch_ms);
	values[i++] = Float8GetDatum(slot->records_per_second);
	values[i] = time_or_null(kv_steady_as_clock(slot->last_batch_at), &nulls[i]);
	i++;
	values[i++] = Int32GetDatum(slot->failures);
	values[i] = time_or_null(kv_steady_as_clock(slot->retry_at), &nulls[i]);
	i++;
	values[i] = time_or_null(kv_steady_as_clock(slot->error_at), &nulls[i]);
	i++;
	values[i] = text_or_null(slot->error, &nulls[i]);
	i++;
	values[i] = text_or_null(may_see_detail(slot) ? slot->error_detail : "", &nulls[i]);
	i++;
	values[i] = text_or_null(slot->error_hint, &nulls[i]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Adds a row that says what is wrong with those pipelines of a server that have no output. */
static void
put_lack(ReturnSetInfo *result, int64 serverid)
{
	KvSlot		lack = {.kind = SLOT_OUTPUT,.id = serverid,.error = KV_LACKS_OUTPUT,.error_hint = KV_LACKS_OUTPUT_HINT};

	put_process(result, "no output", &lack);
}

/* Tells whether the role may see a slot: a worker with its views, a publisher with its server, the supervisor with any view, the launcher as statistics. */
static bool
may_see_slot(const KvSlot *slot)
{
	if (has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		return true;
	switch (slot->kind)
	{
		case SLOT_WORKER:
		case SLOT_OUTPUT:
			return may_see_pipeline(slot->id);
		case SLOT_PUBLISHER:
			return pg_foreign_server_aclcheck((Oid) slot->id, GetUserId(), ACL_USAGE) == ACLCHECK_OK;
		case SLOT_SUPERVISOR:
			return may_see_any_pipeline();
		default:
			return false;
	}
}

/* Tells whether the role may see the detail of a slot's error: a supervisor's may name the data directory. */
static bool
may_see_detail(const KvSlot *slot)
{
	return slot->kind != SLOT_SUPERVISOR || has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

static bool
may_see_any_pipeline(void)
{
	ListCell   *cell;

	foreach(cell, kv_pipeline_list())
	{
		if (may_see_pipeline(((PipelineRow *) lfirst(cell))->pipeline))
			return true;
	}
	return false;
}

/* Tells whether the role may read one of the pipeline's views. */
static bool
may_see_pipeline(int64 pipeline)
{
	ListCell   *cell;

	if (has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		return true;
	foreach(cell, kv_view_list(pipeline))
	{
		if (pg_class_aclcheck(((ViewRow *) lfirst(cell))->relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
			return true;
	}
	return false;
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text[0] == '\0';
	return *isnull ? (Datum) 0 : CStringGetTextDatum(text);
}

static Datum
time_or_null(TimestampTz time, bool *isnull)
{
	*isnull = time == 0;
	return TimestampTzGetDatum(time);
}

/* ------------------------------------------------------------------ lag */

/* kafka_state.partition_ends(): position and end of every partition of the pipelines that the role may see. */
Datum
kafka_partition_ends(PG_FUNCTION_ARGS)
{
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, kv_pipeline_list())
	{
		PipelineRow *pipeline = lfirst(cell);

		if (kv_view_list(pipeline->pipeline) != NIL && may_see_pipeline(pipeline->pipeline))
			put_ends((ReturnSetInfo *) fcinfo->resultinfo, pipeline);
	}
	return (Datum) 0;
}

/* Adds the rows of one pipeline: one row a partition that it reads. */
static void
put_ends(ReturnSetInfo *result, PipelineRow *pipeline)
{
	KvClient   *client = NULL;
	ListCell   *cell;

	foreach(cell, kv_position_list(pipeline->pipeline))
	{
		PositionRow *position = lfirst(cell);
		TopicDef   *topic = kv_topic_get(position->relation);
		Datum		values[6];
		bool		nulls[6] = {false};
		int64		low,
					high;

		if (client == NULL)
			client = connect_as_owner(pipeline->pipeline, topic->serverid);
		kv_broker_offsets(client, topic->topic, position->partition, BROKER_TIMEOUT_MS, &low, &high);
		values[0] = Int64GetDatum(pipeline->pipeline);
		values[1] = ObjectIdGetDatum(position->relation);
		values[2] = Int32GetDatum(position->partition);
		values[3] = Int64GetDatum(position->next_offset);
		values[4] = Int64GetDatum(high);
		nulls[5] = position->stream_time == DT_NOBEGIN;
		values[5] = TimestampTzGetDatum(position->stream_time);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	if (client != NULL)
		kv_client_destroy(client);
}

/* Makes a consumer for asking offsets, with the user mapping of the pipeline's owner. */
static KvClient *
connect_as_owner(int64 pipeline, Oid serverid)
{
	const char *const nothing[] = {NULL};
	ViewRow    *view = linitial(kv_view_list(pipeline));

	return kv_client_consumer(CurrentMemoryContext, serverid, kv_relation_owner(view->relation), nothing);
}

/* ------------------------------------------------------------------ waiting */

/*
 * kafka.wait_for_view(view, timeout): waits until what the view's topics hold now
 * has been applied and published; false after the timeout. Positions are the
 * consumer's, which step over control records and aborted messages, so they reach the ends.
 */
Datum
kafka_wait_for_view(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Interval   *timeout = PG_GETARG_INTERVAL_P(1);
	ViewRow    *view = kv_view_by_relation(relid, false);
	TimestampTz until;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot wait for a continuous view in a transaction with one snapshot"),
				 errdetail("What is applied meanwhile would stay invisible."),
				 errhint("Use READ COMMITTED.")));
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_MATVIEW, get_rel_name(relid));

	until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													TimestampTzGetDatum(kv_steady_now()),
													IntervalPGetDatum(timeout)));
	PG_RETURN_BOOL(wait_until_applied(view->view, view->pipeline, list_ends(view->pipeline), until) &&
				   wait_until_published(view->pipeline, until));
}

/* Asks the broker where the partitions of a pipeline's topics end. */
static List *
list_ends(int64 pipeline)
{
	List	   *ends = NIL;
	KvClient   *client = NULL;
	ListCell   *cell;

	foreach(cell, list_topics(pipeline))
	{
		TopicDef   *topic = kv_topic_copy(CurrentMemoryContext, kv_topic_get(lfirst_oid(cell)));
		bool		unknown = false;
		char	   *error = NULL;
		int			partitions;

		if (client == NULL)
			client = connect_as_owner(pipeline, topic->serverid);
		partitions = kv_broker_partitions(client, topic->topic, BROKER_TIMEOUT_MS, &unknown, &error);
		if (partitions < 0 && !unknown)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
					 errmsg("could not ask server \"%s\" about topic \"%s\"", topic->server_name, topic->topic),
					 errdetail("%s", error != NULL ? error : "The broker did not answer."),
					 errhint("Check that the broker is up and reachable.")));
		for (int i = 0; i < partitions; i++)
		{
			PartitionEnd *end = palloc(sizeof(PartitionEnd));
			int64		low;

			end->relid = topic->relid;
			end->partition = i;
			kv_broker_offsets(client, topic->topic, i, BROKER_TIMEOUT_MS, &low, &end->end);
			ends = lappend(ends, end);
		}
	}
	if (client != NULL)
		kv_client_destroy(client);
	return ends;
}

/* Lists the topic tables (Oid) that a pipeline's views read. */
static List *
list_topics(int64 pipeline)
{
	List	   *topics = NIL;
	ListCell   *cell;

	foreach(cell, kv_view_list(pipeline))
	{
		ViewDef    *view = kv_view_load(((ViewRow *) lfirst(cell))->view);

		for (int i = 0; i < view->ninputs; i++)
		{
			if (kv_input_is_topic(&view->inputs[i]))
				topics = list_append_unique_oid(topics, view->inputs[i].relid);
		}
	}
	return topics;
}

static bool
wait_until_applied(int64 view, int64 pipeline, List *ends, TimestampTz until)
{
	while (kv_incomplete_is(pipeline) || awaits_first_rows(view) || !are_applied(pipeline, ends) || awaits_retries(pipeline))
	{
		if (!poll_again(until))
			return false;
	}
	return true;
}

/* Tells whether a view over views has not been computed from the rows they had before it. */
static bool
awaits_first_rows(int64 id)
{
	return !kv_view_get(id, false)->initialized && kv_view_reads_views(kv_view_load(id));
}

/* Tells whether dead letters of a pipeline wait to be tried again. */
static bool
awaits_retries(int64 pipeline)
{
	return kv_catalog_has("SELECT FROM kafka_state.dead_letter WHERE pipeline = $1 AND retry_requested IS NOT NULL", INT8OID, Int64GetDatum(pipeline));
}

/* Waits until what is in the pipeline's outbox now has been published. */
static bool
wait_until_published(int64 pipeline, TimestampTz until)
{
	int64		batch = last_output_batch(pipeline);

	while (batch > 0 && !is_published(pipeline, batch))
	{
		if (!poll_again(until))
			return false;
	}
	return true;
}

/* Tells whether all positions have reached the ends; a partition without a position only if it is empty. */
static bool
are_applied(int64 pipeline, List *ends)
{
	List	   *positions = kv_position_list(pipeline);
	ListCell   *end_cell;
	ListCell   *cell;

	foreach(end_cell, ends)
	{
		PartitionEnd *end = lfirst(end_cell);
		int64		reached = 0;

		foreach(cell, positions)
		{
			PositionRow *position = lfirst(cell);

			if (position->relation == end->relid && position->partition == end->partition)
				reached = position->next_offset;
		}
		if (reached < end->end)
			return false;
	}
	return true;
}

/* Gives the last batch that has messages waiting, 0 for none: from the last one that is out on, for what is before that may be there dead for long. */
static int64
last_output_batch(int64 pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);
	bool		isnull;
	int64		batch;
	KvSql		sql;

	kv_sql_enter_by_index(&sql);
	kv_sql_read(psprintf("SELECT max(batch) FROM kafka_state.outbox_" INT64_FORMAT
						 " WHERE batch >= coalesce((SELECT n.batch FROM " KV_NEWEST("published", "pipeline", "$1") " n), 0)", pipeline),
				1, types, &value, NULL, 1);
	batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	kv_sql_leave(&sql);
	return isnull ? 0 : batch;
}

static bool
is_published(int64 pipeline, int64 batch)
{
	const Oid	types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(pipeline), Int64GetDatum(batch)};
	bool		published;
	KvSql		sql;

	kv_sql_enter_by_index(&sql);
	published = kv_sql_read("SELECT FROM " KV_NEWEST("published", "pipeline", "$1") " n WHERE batch > $2 OR batch = $2 AND part = 0",
							2, types, values, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return published;
}

/* Sleeps until it is worth looking again; false: the time is over. */
static bool
poll_again(TimestampTz until)
{
	if (kv_steady_now() >= until)
		return false;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}
