/*
 * publisher.c: one process a server: takes what pipelines and ordinary transactions
 * have committed to the outbox to Kafka (DESIGN.md 5.2, 5.3).
 *
 * Invariant: nothing is published that Postgres could still forget. A batch is
 * read with a snapshot; then WAL is flushed up to now, which covers every commit the
 * snapshot shows, also those of the worker, which commits asynchronously; then a
 * synchronous standby is waited for; only then the Kafka transaction begins. It carries
 * the batch's messages, positions and number together, so whether a batch is
 * out is never in doubt: recovery.c reads it there. The note in Postgres and the
 * deletion of published rows come after, and may be lost in a crash.
 *
 * An output: UNKNOWN -recover-> READY -batch-> READY; an error -> back-off -> READY, or UNKNOWN
 * if its producer is gone; STOPPED until a person acts. One output's trouble never holds up another's,
 * except for the time one call to Kafka takes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "catalog.h"
#include "cluster.h"
#include "drain.h"
#include "fault_point.h"
#include "outbox_load.h"
#include "processes.h"
#include "publish_transactions.h"
#include "recovery.h"
#include "run_sql.h"

/* The catalogs are looked at again this long after the last time, if anything woke us. */
#define REFRESH_MS 200

/* An idle group's offsets are committed again so often, because Kafka forgets them. */
#define IDLE_COMMIT_MS (60 * 60 * 1000)

static Oid	server;
static List *outputs = NIL;		/* Output *, in TopMemoryContext */
static TransactionOutput *transactions;
static MemoryContext load_context;	/* of one Kafka transaction */
static bool more_to_publish;

static void set_up_process(void);
static void refresh_outputs(void *arg);
static Output *find_output(int64 pipeline);
static void update_output(Output *output, const OutboxPipeline *pipeline);
static void drop_unlisted(void);
static void open_again(void);
static void free_slots(int code, Datum arg);
static TimestampTz serve_output(Output *output, TimestampTz now);
static TimestampTz serve_transactions(TimestampTz now);
static void publish_output(void *arg);
static void give_up(Output *output);
static void publish_load(Output *output, Load *load);
static void keep_offsets(Output *output, const Load *load);
static void note_published(Output *output);
static void wait_for_work(TimestampTz until);


/* Main function of a publisher. */
void
kv_publisher_main(Datum main_arg)
{
	ProcessArgs args = kv_process_args();
	KvSlot	   *slot = kv_process_begin(SLOT_PUBLISHER, &args);
	MemoryContext cycle = AllocSetContextCreate(TopMemoryContext, "kv publisher cycle", ALLOCSET_DEFAULT_SIZES);
	TimestampTz refreshed_at = 0;

	server = (Oid) args.id;
	set_up_process();
	before_shmem_exit(free_slots, 0);
	load_context = AllocSetContextCreate(TopMemoryContext, "kv publisher load", ALLOCSET_DEFAULT_SIZES);
	transactions = kv_transactions_make(TopMemoryContext, server);

	while (!ShutdownRequestPending)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz next = TimestampTzPlusMilliseconds(now, kv_commit_interval_ms);
		ListCell   *cell;

		MemoryContextReset(cycle);
		MemoryContextSwitchTo(cycle);
		more_to_publish = false;
		if (now >= TimestampTzPlusMilliseconds(refreshed_at, REFRESH_MS))
		{
			if (kv_process_attempt(refresh_outputs, NULL, slot))
				drop_unlisted();
			refreshed_at = now;
			if (kv_cluster_may_have_changed())
				open_again();
		}
		else
			next = TimestampTzPlusMilliseconds(refreshed_at, REFRESH_MS);
		foreach(cell, outputs)
			next = Min(next, serve_output(lfirst(cell), now));
		next = Min(next, serve_transactions(now));
		pgstat_report_stat(false);
		wait_for_work(more_to_publish ? 0 : next);
	}
	proc_exit(0);
}

/* Settings that publishing relies on: commits wait until a synchronous standby has flushed, whatever the configuration says. */
static void
set_up_process(void)
{
	/* a cancelled wait for a standby counts as one that succeeded (syncrep.c), so there is no cancelling here */
	pqsignal(SIGINT, SIG_IGN);
	/* set whatever it is now, so that a reload of the configuration does not change it either; "on" waits for more than remote_write */
	SetConfigOption("synchronous_commit", synchronous_commit == SYNCHRONOUS_COMMIT_REMOTE_APPLY ? "remote_apply" : "on",
					PGC_SUSET, PGC_S_OVERRIDE);
}

/* Brings the list of outputs up to date with the catalogs. */
static void
refresh_outputs(void *arg)
{
	MemoryContext save = CurrentMemoryContext;
	ListCell   *cell;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(save);
	foreach(cell, outputs)
		((Output *) lfirst(cell))->listed = false;
	if (kv_catalog_installed())
	{
		foreach(cell, kv_outbox_pipelines(0))
		{
			OutboxPipeline *pipeline = lfirst(cell);
			Output	   *output;

			if (pipeline->serverid != server || (output = find_output(pipeline->pipeline)) == NULL)
				continue;
			update_output(output, pipeline);
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}

/* Finds or makes the output of a pipeline; raises an error if there is no slot for its status. */
static Output *
find_output(int64 pipeline)
{
	MemoryContext save;
	Output	   *output;
	ListCell   *cell;
	KvSlot	   *slot;

	foreach(cell, outputs)
	{
		output = lfirst(cell);
		if (output->pipeline == pipeline)
			return output;
	}
	slot = kv_slot_get(SLOT_OUTPUT, MyDatabaseId, pipeline, true);
	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no place is left for the status of another pipeline"),
				 errhint("Raise kafka.max_workers and restart the server.")));
	kv_slot_clear_error(slot);	/* a new process tries at once */
	save = MemoryContextSwitchTo(TopMemoryContext);
	output = palloc0(sizeof(Output));
	output->pipeline = pipeline;
	output->slot = slot;
	output->context = AllocSetContextCreate(TopMemoryContext, "kv output", ALLOCSET_DEFAULT_SIZES);
	outputs = lappend(outputs, output);
	MemoryContextSwitchTo(save);
	return output;
}

/* Takes over what the catalogs say; a pipeline that was resumed is tried again whatever stopped it. */
static void
update_output(Output *output, const OutboxPipeline *pipeline)
{
	bool		renamed = output->token == NULL || strcmp(output->token, pipeline->token) != 0;

	if (output->name == NULL || strcmp(output->name, pipeline->name) != 0)
		output->name = MemoryContextStrdup(TopMemoryContext, pipeline->name);
	if (renamed)
		output->token = MemoryContextStrdup(TopMemoryContext, pipeline->token);
	if (renamed || output->resumed != pipeline->resumed)
	{
		output->stopped = false;
		output->fenced = false;
		kv_slot_clear_error(output->slot);
	}
	if (output->recovered && (renamed || output->owner != pipeline->owner))
		give_up(output);		/* another user mapping, or kafka.fork() */
	output->serverid = pipeline->serverid;
	output->owner = pipeline->owner;
	output->resumed = pipeline->resumed;
	output->listed = true;
}

/* Forgets outputs of dropped pipelines. */
static void
drop_unlisted(void)
{
	ListCell   *cell;

	foreach(cell, outputs)
	{
		Output	   *output = lfirst(cell);

		if (output->listed)
			continue;
		outputs = foreach_delete_current(outputs, cell);
		MemoryContextDelete(output->context);
		kv_slot_free(output->slot);
		pfree(output);
	}
}

/* Lets go of all producers, whose server or user mapping may have changed; recovery opens those that lead where they should. */
static void
open_again(void)
{
	ListCell   *cell;

	foreach(cell, outputs)
	{
		Output	   *output = lfirst(cell);

		give_up(output);
		kv_slot_clear_error(output->slot);
	}
	kv_transactions_failed(transactions);
}

/* Gives the slots of all outputs back however this process ends: after DROP SERVER no other publisher would. */
static void
free_slots(int code, Datum arg)
{
	ListCell   *cell;

	foreach(cell, outputs)
		kv_slot_free(((Output *) lfirst(cell))->slot);
}

/* Publishes for a pipeline unless it backs off; gives back when to look again at the latest. */
static TimestampTz
serve_output(Output *output, TimestampTz now)
{
	if (output->stopped)
		return DT_NOEND;
	if (output->slot->retry_at > now)
		return output->slot->retry_at;
	if (kv_process_attempt(publish_output, output, output->slot))
	{
		kv_slot_clear_error(output->slot);
		output->slot->phase = output->recovered ? PIPELINE_LIVE : PIPELINE_WAITING;
		return DT_NOEND;
	}
	if (output->txn != NULL)
		output->fenced = output->fenced || kv_txn_is_fenced(output->txn);
	if (!output->recovered || !kv_txn_abort(output->txn))
		give_up(output);
	return output->stopped ? DT_NOEND : output->slot->retry_at;
}

static TimestampTz
serve_transactions(TimestampTz now)
{
	KvSlot	   *slot = kv_my_slot;

	if (slot->retry_at > now)
		return slot->retry_at;
	if (kv_process_attempt(kv_transactions_publish, transactions, slot))
	{
		kv_slot_clear_error(slot);
		slot->phase = PIPELINE_LIVE;
		more_to_publish = more_to_publish || kv_transactions_more(transactions);
		return DT_NOEND;
	}
	kv_transactions_failed(transactions);
	return slot->retry_at;
}

/* Closes the producer; recovery opens the next one. */
static void
give_up(Output *output)
{
	MemoryContextReset(output->context);
	output->txn = NULL;
	output->recovered = false;
	output->offsets = NULL;
	output->noffsets = 0;
}

/* Publishes what there is for a pipeline, one Kafka transaction of it. */
static void
publish_output(void *arg)
{
	Output	   *output = arg;
	Load		load = {0};
	bool		idle;

	if (!output->recovered)
	{
		/* all outputs recover before one publishes: their workers wait for that, and a sink that is down may take a while */
		if (kv_recover(output))
			more_to_publish = true;
		return;
	}
	MemoryContextReset(load_context);
	kv_load_read(output, &load, load_context);
	KV_FAULT_POINT("publish_read");
	idle = load.end.batch == 0 && output->noffsets > 0 &&
		GetCurrentTimestamp() > TimestampTzPlusMilliseconds(output->committed_at, IDLE_COMMIT_MS);
	if (idle)
		kv_recovery_check_topics(output);
	if (load.end.batch != 0 || idle)
		publish_load(output, &load);
	/* when it was last in Kafka is noted too (made_again.c) */
	if (idle || kv_place_is_before(output->noted, output->published))
		note_published(output);
	if (load.more)
		more_to_publish = true;
	else
		kv_drain_truncate(psprintf("outbox_" INT64_FORMAT, output->pipeline), output->published.batch);
}

/* Publishes a load, which may have positions only, or (idle) nothing new at all. */
static void
publish_load(Output *output, Load *load)
{
	OutboxPlace end = load->end.batch != 0 ? load->end : output->published;
	int64		produced;

	if (load->noffsets > 0)
		keep_offsets(output, load);
	if (output->noffsets == 0)
		elog(ERROR, "batch " INT64_FORMAT " of pipeline \"%s\" has no positions", end.batch, output->name);
	if (load->end.batch != 0)
		kv_drain_flush();
	KV_FAULT_POINT("publish_flushed");

	pgstat_report_activity(STATE_RUNNING, "publishing");
	kv_txn_begin(output->txn);
	produced = kv_messages_produce(load->messages, output->txn);
	kv_txn_commit(output->txn, output->offsets, output->noffsets, kv_metadata_write(end, output->frontiers));
	output->published = end;
	output->committed_at = GetCurrentTimestamp();
	output->slot->batches++;
	output->slot->published_messages += produced;
	output->slot->last_batch_at = output->committed_at;
	kv_my_slot->published_messages += produced;
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Keeps the positions for this Kafka transaction and those after it that have none of their own. */
static void
keep_offsets(Output *output, const Load *load)
{
	MemoryContext save = MemoryContextSwitchTo(output->context);

	for (int i = 0; i < output->noffsets; i++)
		pfree(output->offsets[i].topic);
	if (output->offsets != NULL)
		pfree(output->offsets);
	if (output->frontiers != NULL)
		pfree(output->frontiers);
	output->offsets = palloc(sizeof(KafkaOffset) * load->noffsets);
	output->noffsets = load->noffsets;
	for (int i = 0; i < load->noffsets; i++)
	{
		output->offsets[i] = load->offsets[i];
		output->offsets[i].topic = pstrdup(load->offsets[i].topic);
	}
	output->frontiers = pstrdup(load->frontiers);
	MemoryContextSwitchTo(save);
}

/*
 * Notes in Postgres what has been published and deletes it. Not flushed: if it is lost in a crash, Kafka's metadata
 * says the same. The last row of positions stays, for people to look at.
 */
static void
note_published(Output *output)
{
	const Oid	types[] = {INT8OID, INT8OID, INT8OID, TEXTOID};
	Datum		values[] = {
		Int64GetDatum(output->pipeline), Int64GetDatum(output->published.batch), Int64GetDatum(output->published.part),
		CStringGetTextDatum(output->token)
	};
	MemoryContext save = CurrentMemoryContext;
	KvSql		sql;

	KV_FAULT_POINT("note_before");
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	kv_sql_enter_engine(&sql);
	/* waits for a kafka.fork() that is under way: what went out under the old name holds under the new one, of which Kafka has no sign */
	kv_sql_ddl("LOCK TABLE kafka_state.published IN ROW EXCLUSIVE MODE");
	/* a pipeline that is being dropped has no row any more, and its outbox goes with it */
	if (kv_sql_run("SELECT FROM kafka_state.pipeline WHERE pipeline = $1", 1, types, values, NULL) > 0)
	{
		kv_sql_run("INSERT INTO kafka_state.published AS p (pipeline, batch, part, at, decided)"
				   " SELECT $1, $2, $3, pg_catalog.clock_timestamp(), token <> $4 FROM kafka_state.pipeline WHERE pipeline = $1"
				   " ON CONFLICT (pipeline) DO UPDATE SET batch = excluded.batch, part = excluded.part, at = excluded.at, decided = excluded.decided",
				   4, types, values, NULL);
		KV_FAULT_POINT("note_written");
		kv_sql_run(psprintf("DELETE FROM kafka_state.outbox_" INT64_FORMAT " WHERE (batch < $2 OR batch = $2 AND ($3 = 0 OR seq <= $3)) AND $1 IS NOT NULL",
							output->pipeline), 3, types, values, NULL);
		kv_sql_run("DELETE FROM kafka_state.outbox_batch WHERE pipeline = $1 AND batch < $2 AND $3 IS NOT NULL", 3, types, values, NULL);
	}
	kv_sql_leave(&sql);
	KV_FAULT_POINT("note_rows_deleted");
	PopActiveSnapshot();
	CommitTransactionCommand();
	KV_FAULT_POINT("note_committed");
	MemoryContextSwitchTo(save);
	output->noted = output->published;
}

/* Sleeps until something wakes us, 0: not at all. */
static void
wait_for_work(TimestampTz until)
{
	if (until != 0)
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(0, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	kv_process_reload();
}
