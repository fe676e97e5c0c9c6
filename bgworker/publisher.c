/*
 * publisher.c: one process a server: takes what pipelines and ordinary transactions
 * have committed to the outbox to Kafka (DESIGN.md 5.2, 5.3).
 *
 * It has an output for each pipeline (publish_pipeline.c) and one for ordinary transactions (publish_transactions.c), which do their
 * steps in turn. No step waits for Kafka, so one whose sink is down, or that backs off, does not hold up the others; flushing
 * WAL and waiting for a synchronous standby they have in common.
 *
 * An output looks for something to publish when it is due: because somebody has set the latch, because kafka.commit_interval has
 * passed, because there was more than fitted. Between two steps the end of a call to Kafka is waited for (kafka_call.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
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
#include "identity.h"
#include "cluster.h"
#include "processes.h"
#include "publish_pipeline.h"
#include "publish_transactions.h"
#include "steady_clock.h"

/* The catalogs are looked at again this long after the last time, if anything woke us. */
#define REFRESH_MS 200

/* How long an output waits for Kafka until somebody looks whether to say so. */
#define TELL_MS 1000

static Oid	server;
static List *outputs = NIL;		/* Output *, in TopMemoryContext */
static TransactionOutput *transactions;
static int64 adoptions = -1;	/* of this database, when the catalogs were last looked at; -1: they were not */
static bool adopted;			/* there has been one since */

static void set_up_process(void);
static void end_for_lost_call(void) pg_attribute_noreturn();
static void refresh_outputs(void *arg);
static Output *find_output(int64 pipeline);
static void note_lack(bool lacks);
static void update_output(Output *output, const OutboxPipeline *pipeline);
static void keep_text(char **kept, const char *text);
static void mark_dropped(void);
static void free_dropped(void);
static void open_again(void);
static void free_slots(int code, Datum arg);
static TimestampTz serve_output(Output *output, TimestampTz now);
static TimestampTz serve_transactions(TimestampTz now);
static void look_at_all(void);
static bool wait_for_work(TimestampTz until);


/* Main function of a publisher. */
void
kv_publisher_main(Datum main_arg)
{
	ProcessArgs args = kv_process_args();
	KvSlot	   *slot = kv_process_begin(SLOT_PUBLISHER, &args);
	MemoryContext cycle = AllocSetContextCreate(TopMemoryContext, "kv publisher cycle", ALLOCSET_DEFAULT_SIZES);
	TimestampTz refreshed_at = 0;
	TimestampTz looked_at = 0;
	bool		refresh = true;
	bool		woken = true;

	server = (Oid) args.id;
	set_up_process();
	before_shmem_exit(free_slots, 0);
	transactions = kv_transactions_make(TopMemoryContext, server);

	while (!ShutdownRequestPending)
	{
		TimestampTz now = kv_steady_now();
		TimestampTz next;
		TimestampTz due_at;
		ListCell   *cell;

		MemoryContextReset(cycle);
		MemoryContextSwitchTo(cycle);
		if (kv_call_one_is_lost())
			end_for_lost_call();
		if (woken || now >= TimestampTzPlusMilliseconds(looked_at, kv_commit_interval_ms))
		{
			look_at_all();
			looked_at = now;
			refresh = true;
		}
		next = TimestampTzPlusMilliseconds(looked_at, kv_commit_interval_ms);
		if (refresh && now >= TimestampTzPlusMilliseconds(refreshed_at, REFRESH_MS))
		{
			if (kv_process_attempt(refresh_outputs, NULL, slot))
			{
				mark_dropped();
				adopted = false;	/* all have been told */
			}
			refreshed_at = now;
			refresh = false;
			if (kv_cluster_may_have_changed())
				open_again();
		}
		else if (refresh)
			next = Min(next, TimestampTzPlusMilliseconds(refreshed_at, REFRESH_MS));
		free_dropped();
		foreach(cell, outputs)
		{
			due_at = serve_output(lfirst(cell), now);
			next = Min(next, due_at);	/* a macro, which evaluates its arguments twice */
		}
		due_at = serve_transactions(now);
		next = Min(next, due_at);
		pgstat_report_stat(false);
		woken = wait_for_work(next);
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

/*
 * Ends the process, as nothing else ends a call that does not return and lets its output go on. The supervisor starts another one, whose producers
 * fence those that are left behind.
 */
static void
end_for_lost_call(void)
{
	kv_process_waits(kv_my_slot, "a call into librdkafka does not return", "Its output can only go on in another process, so the publisher ends.",
					 "It starts again and goes on by itself. If that happens again and again, look for errors of the broker's group coordinator.");
	proc_exit(1);
}

/* Brings the list of outputs up to date with the catalogs. */
static void
refresh_outputs(void *arg)
{
	MemoryContext save = CurrentMemoryContext;
	bool		lacks = false;
	ListCell   *cell;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(save);
	foreach(cell, outputs)
		((Output *) lfirst(cell))->listed = false;
	if (kv_catalog_installed())
	{
		ForeignServer *named = GetForeignServerExtended(server, FSV_MISSING_OK);
		int64		before = adoptions;

		if (named != NULL)		/* it may have another name than when we were started */
			pgstat_report_appname(psprintf("kafka_views publisher %s", named->servername));

		adoptions = kv_identity_adoptions();
		adopted = adopted || (before >= 0 && adoptions != before);
		foreach(cell, kv_outbox_pipelines(0))
		{
			OutboxPipeline *pipeline = lfirst(cell);
			Output	   *output;

			if (pipeline->serverid != server)
				continue;
			output = find_output(pipeline->pipeline);
			if (output != NULL)
				update_output(output, pipeline);
			else
				lacks = true;
		}
	}
	note_lack(lacks);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}

/* Finds or makes the output of a pipeline; NULL: there is no slot for its status. */
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
		return NULL;
	kv_slot_clear_error(slot);	/* a new process tries at once */
	save = MemoryContextSwitchTo(TopMemoryContext);
	output = kv_output_make(TopMemoryContext, pipeline, slot);
	outputs = lappend(outputs, output);
	MemoryContextSwitchTo(save);
	return output;
}

/* Notes whether some pipeline has no output, for kafka.pipelines; it is tried again with each look at the catalogs, and the others go on. */
static void
note_lack(bool lacks)
{
	if (lacks && !kv_my_slot->lacks_output)
		ereport(LOG,
				(errmsg(KV_LACKS_OUTPUT),
				 errhint(KV_LACKS_OUTPUT_HINT)));
	kv_my_slot->lacks_output = lacks;
}

/* Takes over what the catalogs say; a pipeline that was resumed is tried again whatever stopped it. */
static void
update_output(Output *output, const OutboxPipeline *pipeline)
{
	bool		renamed = output->token == NULL || strcmp(output->token, pipeline->token) != 0;

	keep_text(&output->name, pipeline->name);
	keep_text(&output->token, pipeline->token);
	if (renamed || output->resumed != pipeline->resumed)
	{
		output->stopped = false;
		output->fenced = false;
		kv_slot_clear_error(output->slot);
	}
	/* another user mapping, kafka.fork(), or kafka.adopt(), after which Kafka is asked anew what it has */
	if (output->state != OUTPUT_UNKNOWN && (renamed || output->owner != pipeline->owner || adopted))
		output->abandoned = true;
	output->serverid = pipeline->serverid;
	output->owner = pipeline->owner;
	output->resumed = pipeline->resumed;
	output->listed = true;
}

/* Keeps a text of the catalogs in place of the one before (NULL: none). */
static void
keep_text(char **kept, const char *text)
{
	if (*kept != NULL && strcmp(*kept, text) == 0)
		return;
	if (*kept != NULL)
		pfree(*kept);
	*kept = MemoryContextStrdup(TopMemoryContext, text);
}

/* Notes which pipelines have been dropped. */
static void
mark_dropped(void)
{
	ListCell   *cell;

	foreach(cell, outputs)
	{
		Output	   *output = lfirst(cell);

		output->dropped = !output->listed;
		output->abandoned = output->abandoned || (output->dropped && output->state != OUTPUT_UNKNOWN);
	}
}

/* Forgets outputs of dropped pipelines, once they have no producer any more. */
static void
free_dropped(void)
{
	ListCell   *cell;

	foreach(cell, outputs)
	{
		Output	   *output = lfirst(cell);

		if (!output->dropped || output->state != OUTPUT_UNKNOWN)
			continue;
		outputs = foreach_delete_current(outputs, cell);
		kv_output_free(output);
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

		output->abandoned = output->state != OUTPUT_UNKNOWN;
		output->due = true;
		kv_slot_clear_error(output->slot);
	}
	transactions->abandoned = transactions->txn != NULL;
}

/* Gives the slots of all outputs back however this process ends: after DROP SERVER no other publisher would. */
static void
free_slots(int code, Datum arg)
{
	ListCell   *cell;

	foreach(cell, outputs)
		kv_slot_free(((Output *) lfirst(cell))->slot);
}

/* Does the next step for a pipeline, unless it waits or backs off; gives back when to look again at the latest. */
static TimestampTz
serve_output(Output *output, TimestampTz now)
{
	if (kv_output_is_busy(output))
	{
		kv_output_tell(output);
		return TimestampTzPlusMilliseconds(now, TELL_MS);
	}
	if (output->state == OUTPUT_ABORTING)
		return kv_output_has_given_up(output) ? now : DT_NOEND;
	/* a worker has had an answer of Kafka that cannot be (made_again.c) */
	if (output->state == OUTPUT_READY && !output->slot->recovered)
		output->abandoned = output->due = true;
	if (output->abandoned && !kv_output_may_be_out(output))
	{
		kv_output_give_up(output);
		return now;
	}
	if (output->try_at > now)
	{
		kv_output_tell(output);
		return output->try_at;
	}
	if (kv_output_is_at_rest(output))
	{
		if (output->stopped)
			return DT_NOEND;
		if (output->slot->retry_at > now)
			return output->slot->retry_at;
		if (!output->due && output->slot->retry_at == 0)
			return DT_NOEND;
	}
	if (!kv_process_attempt(kv_output_advance, output, output->slot))
	{
		output->failed = true;
		kv_output_give_up(output);
		return now;
	}
	if (!kv_output_is_at_rest(output))
		return output->try_at != 0 ? output->try_at : TimestampTzPlusMilliseconds(now, TELL_MS);
	output->failed = false;
	output->slot->phase = output->state == OUTPUT_READY ? PIPELINE_LIVE : PIPELINE_WAITING;
	if (output->try_at != 0)
		return output->try_at;
	kv_slot_clear_error(output->slot);
	return output->due ? now : DT_NOEND;
}

/* The same for ordinary transactions. */
static TimestampTz
serve_transactions(TimestampTz now)
{
	KvSlot	   *slot = kv_my_slot;

	if (kv_transactions_are_busy(transactions))
	{
		kv_transactions_tell(transactions);
		return TimestampTzPlusMilliseconds(now, TELL_MS);
	}
	if (transactions->state == TRANSACTIONS_ABORTING)
		return kv_transactions_have_given_up(transactions) ? now : DT_NOEND;
	if (transactions->abandoned && !(transactions->txn != NULL && kv_txn_may_be_out(transactions->txn)))
	{
		kv_transactions_give_up(transactions);
		return now;
	}
	if (transactions->state == TRANSACTIONS_AT_REST)
	{
		if (slot->retry_at > now)
			return slot->retry_at;
		if (!transactions->due && slot->retry_at == 0)
			return DT_NOEND;
	}
	if (!kv_process_attempt(kv_transactions_advance, transactions, slot))
	{
		transactions->failed = true;
		kv_transactions_give_up(transactions);
		return now;
	}
	if (transactions->state != TRANSACTIONS_AT_REST)
		return TimestampTzPlusMilliseconds(now, TELL_MS);
	if (transactions->locked_at != 0)
		kv_transactions_tell(transactions);
	else
		kv_slot_clear_error(slot);
	transactions->failed = false;
	slot->phase = PIPELINE_LIVE;
	return transactions->due ? now : DT_NOEND;
}

/* Has every output look whether there is something to publish. */
static void
look_at_all(void)
{
	ListCell   *cell;

	foreach(cell, outputs)
		((Output *) lfirst(cell))->due = true;
	transactions->due = true;
}

/* Sleeps until then, or until a call to Kafka ends; true: somebody has woken us, for there may be something to publish. */
static bool
wait_for_work(TimestampTz until)
{
	long		timeout_ms = TimestampDifferenceMilliseconds(kv_steady_now(), until);
	int			event = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
										  kv_call_fd(), timeout_ms, PG_WAIT_EXTENSION);

	if (event & WL_SOCKET_READABLE)
		kv_call_drain();
	if (event & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	kv_process_reload();
	return (event & WL_LATCH_SET) != 0;
}
