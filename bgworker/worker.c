/*
 * worker.c: the process of one pipeline: starts, runs batches, changes phases,
 * gets over errors.
 *
 * A run: load the definitions (STARTING) > reload buffers (RELOADING) > batches
 * (CATCHING_UP, then LIVE once all partitions are at their ends). It ends by a change
 * of definitions, a pause, a stop or an error; then everything of it is in one memory
 * context and goes with it, the consumer too, and the next run starts from what is committed:
 *
 *	STARTING > RELOADING > CATCHING_UP > LIVE		kafka.pause: any > PAUSED > STARTING
 *	error: any > FAILED > (back-off) > STARTING		definitions changed: any > STARTING
 *
 * Nothing is in memory alone, so this is also how a worker goes on after kill -9.
 *
 * The only PG_TRY block: run_once, where an error of a run becomes a FAILED phase
 * and a message in the slot. Errors of a batch that ask for another attempt end in attempt.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "advance.h"
#include "attempt.h"
#include "batch.h"
#include "batch_size.h"
#include "buffer_logging.h"
#include "consumer.h"
#include "ends.h"
#include "fault_point.h"
#include "made_again.h"
#include "members.h"
#include "merge.h"
#include "outbox.h"
#include "outbox_limit.h"
#include "processes.h"
#include "redo.h"
#include "reload.h"
#include "retry.h"
#include "steady_clock.h"

/* Milliseconds. */
#define PUBLISHER_POLL 50		/* whether the publisher knows what Kafka has */
#define LOOK_EVERY 1000			/* at catalog rows, idle partitions, the outbox's size */
#define METADATA_EVERY 10000	/* at the broker: alive? more partitions? topics configured as they were? */
#define WELL_AFTER 5000			/* a run that has lasted so long without records has got over an old error too */

typedef enum RunEnd
{
	RUN_STOP,					/* asked to stop, or the pipeline is gone: exit */
	RUN_CHANGED,				/* definitions changed: start again at once */
	RUN_PAUSED,					/* wait until resumed */
	RUN_FAILED					/* back off, then start again */
} RunEnd;

volatile bool kv_look_at_members = false;

static char *signature = NULL;	/* of the current run, in TopMemoryContext */
static bool topics_checked = false; /* since the process started, and since the last error */

/* Clocks of the loop, microseconds as TimestampTz. */
typedef struct LoopClock
{
	TimestampTz began;
	TimestampTz batch_began;
	TimestampTz looked;
	TimestampTz asked_broker;
	bool		ask_leaders;	/* all of them, as soon as may be */
	TimestampTz rate_since;
	uint64		rate_records;
} LoopClock;

static void handle_stop(SIGNAL_ARGS);
static void set_up_process(const ProcessArgs *args);
static RunEnd run_once(int64 id);
static RunEnd start_and_loop(int64 id, MemoryContext context);
static void check_topics(Pipeline *pipeline);
static bool wait_for_publisher(Pipeline *pipeline);
static Pipeline *start_run(int64 id, MemoryContext context);
static void check_identity(void);
static void note_signature(int64 id);
static RunEnd loop(Pipeline *pipeline);
static bool should_run_batch(Pipeline *pipeline, LoopClock *clock, TimestampTz now, bool *must_run);
static bool retry_is_due(Pipeline *pipeline);
static void retry(Pipeline *pipeline, LoopClock *clock, TimestampTz now);
static void count_batch(Pipeline *pipeline, LoopClock *clock);
static void initialize(Pipeline *pipeline);
static bool look_around(Pipeline *pipeline, LoopClock *clock, TimestampTz now, RunEnd *end);
static void ask_broker(Pipeline *pipeline, LoopClock *clock, TimestampTz now, bool *changed);
static void ask_leaders(Pipeline *pipeline, LoopClock *clock, TimestampTz now);
static void show_cut_off(Pipeline *pipeline, TimestampTz now, const char *silence);
static bool definitions_changed(int64 id);
static void report_failure(ErrorData *error);
static void back_off(void);
static void wait_while_paused(int64 id);


/* Main function of a pipeline's worker. */
void
kv_worker_main(Datum main_arg)
{
	ProcessArgs args = kv_process_args();
	RunEnd		end = RUN_CHANGED;

	set_up_process(&args);
	while (end != RUN_STOP && !kv_process_should_stop())
	{
		end = run_once(args.id);
		if (end == RUN_FAILED)
			back_off();
		else if (end == RUN_PAUSED)
			wait_while_paused(args.id);
	}
	proc_exit(0);
}

/* Asks the running statement to end too, so that a stop does not wait for a long batch. */
static void
handle_stop(SIGNAL_ARGS)
{
	int			save_errno = errno;

	ShutdownRequestPending = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/* Database connection, slot, signals, settings. */
static void
set_up_process(const ProcessArgs *args)
{
	(void) kv_process_begin(SLOT_WORKER, args);
	pqsignal(SIGTERM, handle_stop);
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Runs the pipeline until something ends the run. The PG_TRY turns an error
 * into a message in the slot and a back-off; without it the process would end and lose its place.
 */
static RunEnd
run_once(int64 id)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "kv run", ALLOCSET_DEFAULT_SIZES);
	volatile RunEnd end = RUN_FAILED;
	ErrorData  *volatile error = NULL;
	bool		invalid;

	PG_TRY();
	{
		end = start_and_loop(id, context);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		HOLD_INTERRUPTS();
		AbortOutOfAnyTransaction();
		kv_maintaining = false;
		QueryCancelPending = false;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	invalid = kv_members_invalid;
	kv_members_watch(NULL);
	kv_outbox_held_back = false;
	kv_time_clock = 0;
	MemoryContextDelete(context);
	if (error != NULL)
	{
		if (kv_process_should_stop())
			end = RUN_STOP;
		else if (invalid || definitions_changed(id))
			end = RUN_CHANGED;
		else
		{
			report_failure(error);
			topics_checked = false;
		}
		FreeErrorData(error);
	}
	return end;
}

static RunEnd
start_and_loop(int64 id, MemoryContext context)
{
	Pipeline   *pipeline;

	kv_my_slot->phase = PIPELINE_STARTING;
	pgstat_report_activity(STATE_RUNNING, "starting");
	pipeline = start_run(id, context);
	if (pipeline == NULL)
		return RUN_STOP;
	if (pipeline->row->paused)
		return RUN_PAUSED;

	KV_FAULT_POINT("run_loaded");
	kv_consumer_open(pipeline);
	KV_FAULT_POINT("run_consumer_open");
	if (!wait_for_publisher(pipeline))
		return RUN_CHANGED;
	check_topics(pipeline);
	kv_redo_load(pipeline);
	kv_reload_start(pipeline);
	kv_buffer_logging_check(pipeline);
	kv_my_slot->phase = pipeline->redo ? PIPELINE_REDOING : PIPELINE_CATCHING_UP;
	if (pipeline->bootstrap_done)
		initialize(pipeline);
	return loop(pipeline);
}

/* Checks, once until the next error, that the topics are those that were read. */
static void
check_topics(Pipeline *pipeline)
{
	ReaderOfTopics reader = {
		.pipeline = pipeline->row->pipeline, .name = pipeline->row->name, .serverid = pipeline->serverid,
		.owner = pipeline->owner, .kafka_name = pipeline->kafka_name
	};

	if (!topics_checked)
		kv_made_again_check(&reader);
	topics_checked = true;
}

/*
 * Waits until the publisher has found out, since the server started, what Kafka has of this pipeline: it may be more than
 * this database knows. False: the run must end. Where Kafka cannot have anything, nobody has to be waited for.
 */
static bool
wait_for_publisher(Pipeline *pipeline)
{
	KvSlot	   *slot = kv_slot_get(SLOT_OUTPUT, MyDatabaseId, pipeline->row->pipeline, false);

	if ((slot != NULL && slot->recovered) || !kv_redo_is_possible(pipeline))
		return true;
	kv_wake(SLOT_PUBLISHER, MyDatabaseId, pipeline->serverid);
	pgstat_report_activity(STATE_RUNNING, "waiting for the publisher to ask what Kafka has");
	while (!kv_process_should_stop() && !kv_members_invalid && !definitions_changed(pipeline->row->pipeline))
	{
		slot = kv_slot_get(SLOT_OUTPUT, MyDatabaseId, pipeline->row->pipeline, false);
		if (slot != NULL && slot->recovered)
			break;
		kv_process_rest(PUBLISHER_POLL);
	}
	MemoryContextSwitchTo(pipeline->context);
	return slot != NULL && slot->recovered;
}

/* Loads the definitions and checks that this database may run them. */
static Pipeline *
start_run(int64 id, MemoryContext context)
{
	Pipeline   *pipeline = NULL;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	note_signature(id);
	if (signature[0] != '\0')
	{
		check_identity();
		pipeline = kv_members_load(id, context);
	}
	kv_members_watch(pipeline);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	kv_look_at_members = false;
	if (pipeline != NULL)
		SetConfigOption("application_name", psprintf("kafka_views worker %s", pipeline->row->name),
						PGC_USERSET, PGC_S_SESSION);
	return pipeline;
}

/* Raises an error in a copy of a database: two would take each other's place in Kafka (DESIGN.md 5.5). */
static void
check_identity(void)
{
	char	   *reason = NULL;

	if (!kv_identity_matches(&reason))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is a copy of another one, so its pipelines stand still"),
				 reason ? errdetail("%s", reason) : 0));
}

/* Remembers what this run depends on. */
static void
note_signature(int64 id)
{
	char	   *now = kv_members_signature(id);

	if (signature != NULL)
		pfree(signature);
	signature = MemoryContextStrdup(TopMemoryContext, now);
}

/* Runs batches until the run ends. */
static RunEnd
loop(Pipeline *pipeline)
{
	LoopClock	clock = {0};
	RunEnd		end;

	clock.began = clock.looked = clock.asked_broker = clock.rate_since = kv_steady_now();
	clock.rate_records = kv_my_slot->records;
	for (;;)
	{
		bool		got = kv_consumer_poll(pipeline);
		TimestampTz now = kv_steady_now();
		bool		must_run = false;

		CHECK_FOR_INTERRUPTS();
		if (look_around(pipeline, &clock, now, &end))
			return end;
		if (retry_is_due(pipeline))
			retry(pipeline, &clock, now);
		if (should_run_batch(pipeline, &clock, now, &must_run))
		{
			clock.batch_began = now;
			(void) kv_attempt_batch(pipeline, must_run ? BATCH_OF_TIME : BATCH_OF_RECORDS);
			count_batch(pipeline, &clock);
			continue;
		}
		if (got)
			continue;
		if (!pipeline->bootstrap_done && kv_merge_at_end(pipeline) && kv_ends_tables_read(pipeline))
			initialize(pipeline);
		else if (kv_merge_ready(pipeline))
			kv_consumer_wait(pipeline, Max(1, kv_batch_interval_ms - (now - clock.batch_began) / 1000));
		else
		{
			pgstat_report_stat(false);
			kv_consumer_wait(pipeline, LOOK_EVERY);
		}
	}
}

/* Tells whether a batch should run now: it is full or its interval is over, or time alone asks for one. */
static bool
should_run_batch(Pipeline *pipeline, LoopClock *clock, TimestampTz now, bool *must_run)
{
	if (kv_merge_ready(pipeline))
		return kv_consumer_pending(pipeline) >= kv_batch_size(pipeline) ||
			now - clock->batch_began >= (int64) kv_batch_interval_ms * 1000;
	if (pipeline->redo)
		return *must_run = kv_redo_is_over(pipeline);
	*must_run = kv_merge_end_moved(pipeline) || kv_batch_offsets_due(pipeline, now);
	if (!*must_run && clock->looked == now)
	{
		kv_advance_note_idle(pipeline, now);
		kv_advance_frontiers(pipeline, now);
		*must_run = kv_advance_frontier_due(pipeline) || kv_advance_eviction_due(pipeline);
	}
	return *must_run;
}

/* Tells whether dead letters wait to be tried again, and may be: all views have their first rows, and what is applied is published. */
static bool
retry_is_due(Pipeline *pipeline)
{
	return pipeline->retry_requested && pipeline->bootstrap_done && !pipeline->redo;
}

/* Tries some dead letters again; records that wait have their turn before the next ones. */
static void
retry(Pipeline *pipeline, LoopClock *clock, TimestampTz now)
{
	TimestampTz records_began = clock->batch_began;

	clock->batch_began = now;
	pipeline->retry_requested = false;
	if (kv_attempt_batch(pipeline, BATCH_OF_RETRIES))
	{
		pipeline->retry_requested = pipeline->uncommitted_records > 0;	/* there may be more */
		count_batch(pipeline, clock);
	}
	/* their interval has gone on meanwhile */
	clock->batch_began = records_began;
}

/* Counts a committed batch, wakes the publisher; records that were applied clear an old error. */
static void
count_batch(Pipeline *pipeline, LoopClock *clock)
{
	TimestampTz now = kv_steady_now();
	KvSlot	   *slot = kv_my_slot;
	double		ms = (now - clock->batch_began) / 1000.0;
	bool		took_records = pipeline->uncommitted_records > 0;

	slot->batches++;
	slot->records += pipeline->uncommitted_records;
	slot->dead_letters += pipeline->uncommitted_dead_letters;
	slot->null_values += pipeline->uncommitted_null_values;
	slot->batch_ms = slot->batches == 1 ? ms : slot->batch_ms * 0.9 + ms * 0.1;
	slot->last_batch_at = now;
	pipeline->uncommitted_records = pipeline->uncommitted_dead_letters = pipeline->uncommitted_null_values = 0;
	KV_FAULT_POINT("batch_before_wake");
	if (pipeline->outbox_written)
		kv_wake(SLOT_PUBLISHER, MyDatabaseId, pipeline->serverid);
	if (took_records && !pipeline->cut_off)
		kv_slot_clear_error(slot);
	pgstat_report_stat(false);
}

/*
 * Ends the bootstrap: the looked-up tables are there. Views over views get their first rows, and
 * from here on streams are read.
 */
static void
initialize(Pipeline *pipeline)
{
	KV_FAULT_POINT("bootstrap_read");
	kv_batch_initialize_views(pipeline);
	StartTransactionCommand();
	for (int i = 0; i < pipeline->nviews; i++)
	{
		if (pipeline->views[i].row->initialized || pipeline->views[i].left_out)
			continue;
		kv_view_set_initialized(pipeline->views[i].row->view);
		pipeline->views[i].row->initialized = true;
	}
	KV_FAULT_POINT("bootstrap_stored");
	CommitTransactionCommand();
	KV_FAULT_POINT("bootstrap_committed");
	MemoryContextSwitchTo(pipeline->context);
	pipeline->bootstrap_done = true;
}

/* Does what is due once a second; true: the run ends. */
static bool
look_around(Pipeline *pipeline, LoopClock *clock, TimestampTz now, RunEnd *end)
{
	bool		changed = false;
	double		seconds;

	if (kv_process_should_stop())
	{
		*end = RUN_STOP;
		return true;
	}
	*end = RUN_CHANGED;
	if (kv_members_changed(pipeline) || pipeline->share.limit_kb != kv_buffer_limit_kb)
		return true;
	if (!kv_look_at_members && now - clock->looked < LOOK_EVERY * INT64CONST(1000))
		return false;
	clock->looked = now;
	kv_look_at_members = false;
	if (definitions_changed(pipeline->row->pipeline))
		return true;
	pipeline->retry_requested = kv_retry_more(pipeline);
	if (now - clock->asked_broker >= METADATA_EVERY * INT64CONST(1000))
	{
		clock->asked_broker = now;
		ask_broker(pipeline, clock, now, &changed);
	}
	ask_leaders(pipeline, clock, now);
	if (now - clock->began >= WELL_AFTER * INT64CONST(1000) && !pipeline->cut_off)
		kv_slot_clear_error(kv_my_slot);
	kv_outbox_limit_wait(pipeline);
	kv_consumer_trim(pipeline);
	kv_my_slot->phase = pipeline->redo ? PIPELINE_REDOING : kv_merge_is_live(pipeline) ? PIPELINE_LIVE : PIPELINE_CATCHING_UP;
	if ((seconds = (now - clock->rate_since) / 1e6) >= 5)
	{
		kv_my_slot->records_per_second = (kv_my_slot->records - clock->rate_records) / seconds;
		clock->rate_records = kv_my_slot->records;
		clock->rate_since = now;
	}
	return changed;
}

/* Asks the broker whether it is there and whether topics have more partitions or are configured otherwise. */
static void
ask_broker(Pipeline *pipeline, LoopClock *clock, TimestampTz now, bool *changed)
{
	/* a run may last for months */
	MemoryContext memory = AllocSetContextCreate(pipeline->context, "kv broker's answers", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	char	   *error;

	*changed = kv_consumer_partitions_changed(pipeline, &error);
	pipeline->broker_silent = error != NULL;
	show_cut_off(pipeline, now, error);
	clock->ask_leaders = !pipeline->broker_silent;
	if (error == NULL && !*changed)
		kv_buffer_logging_check(pipeline);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(memory);
}

/*
 * Notes what leaders have said, and asks them: with the broker, and as soon as a partition would be idle if its leader said that it has nothing
 * new. Those that gave no answer are asked with the broker only.
 */
static void
ask_leaders(Pipeline *pipeline, LoopClock *clock, TimestampTz now)
{
	if (kv_ends_answered(pipeline) && !pipeline->broker_silent)
		show_cut_off(pipeline, now, NULL);
	if ((clock->ask_leaders || kv_advance_waits_for_leader(pipeline, now)) && kv_ends_ask(pipeline, now, clock->ask_leaders))
		clock->ask_leaders = false;
}

/* Says in the slot why records may be missing that nobody sees, until that is over. silence: why no broker answers, or NULL. */
static void
show_cut_off(Pipeline *pipeline, TimestampTz now, const char *silence)
{
	MemoryContext memory = AllocSetContextCreate(pipeline->context, "kv words", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	bool		was_cut_off = pipeline->cut_off;
	const Partition *leaderless = kv_consumer_leaderless(pipeline);
	char	   *unanswered = kv_ends_unanswered(pipeline);
	const Partition *held_open = kv_advance_held_open(pipeline, now);

	pipeline->cut_off = silence != NULL || leaderless != NULL || unanswered != NULL || held_open != NULL;
	if (silence != NULL)
		kv_slot_set_error(kv_my_slot, "could not reach the Kafka server", silence,
						  "Check that the brokers run. The pipeline goes on by itself when they answer.");
	else if (leaderless != NULL)
		kv_slot_set_error(kv_my_slot, psprintf("topic \"%s\" partition %d has no leader", leaderless->input->topic->topic, leaderless->number),
						  "No broker serves it, so its records are missing, and it holds the time of the views back.",
						  "Check that all brokers run. The pipeline goes on by itself when they do.");
	else if (unanswered != NULL)
		kv_slot_set_error(kv_my_slot, psprintf("could not reach the leader of %s", unanswered),
						  "What has come there since is not known, so time does not go on without it.",
						  "Check that all brokers run, and that this server can connect to each by the address that it advertises. The pipeline goes on by itself when they answer.");
	else if (held_open != NULL)
		kv_slot_set_error(kv_my_slot, psprintf("a transaction is open in topic \"%s\" partition %d", held_open->input->topic->topic, held_open->number),
						  held_open->input->is_table ? "Nobody sees what was written there since it began, so streams wait for the end of this table." :
						  "Nobody sees what was written there since it began, so it holds the time of the views back.",
						  "Its producer ends it, or the broker does after the producer's transaction.timeout.ms. The pipeline goes on by itself then.");
	else if (was_cut_off)
		kv_slot_clear_error(kv_my_slot);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(memory);
}

/* Compares what a run depends on with what it was when the run started. */
static bool
definitions_changed(int64 id)
{
	bool		changed;

	StartTransactionCommand();
	changed = signature == NULL || strcmp(signature, kv_members_signature(id)) != 0;
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	return changed;
}

/* Puts an error into the slot and, where it is another one than before, into the log. */
static void
report_failure(ErrorData *error)
{
	KvSlot	   *slot = kv_my_slot;
	bool		same = strncmp(slot->error, error->message ? error->message : "", KV_ERROR_LEN - 1) == 0;

	kv_slot_set_error(slot, error->message, error->detail, error->hint);
	(void) kv_slot_back_off(slot);
	if (!same)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("%s", error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 error->hint ? errhint("%s", error->hint) : 0,
				 error->context ? errcontext("%s", error->context) : 0));
}

/* Waits until the failed run may be tried again; a wake-up ends it. */
static void
back_off(void)
{
	long		wait_ms = TimestampDifferenceMilliseconds(kv_steady_now(), kv_my_slot->retry_at);

	pgstat_report_activity(STATE_IDLE, NULL);
	kv_process_rest(Max(wait_ms, 1));
}

/* Waits until the pipeline's row says otherwise. */
static void
wait_while_paused(int64 id)
{
	kv_my_slot->phase = PIPELINE_PAUSED;
	pgstat_report_activity(STATE_IDLE, NULL);
	while (!kv_process_should_stop() && !definitions_changed(id))
		kv_process_rest(LOOK_EVERY);
}
