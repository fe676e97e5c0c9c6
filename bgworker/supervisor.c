/*
 * supervisor.c: one process a database: starts, watches and stops the workers
 * and publishers that should run there.
 *
 * It compares what should run with what runs, at every wake-up (CREATE, DROP,
 * pause, resume) and every 5 s, and keeps nothing that it could not find out again:
 * what runs is in the slots, so that a new supervisor takes over the children of one
 * that died; back-off and the last error are there too. A child ends by itself only
 * through an error; it is started again when its slot says so.
 *
 * A child: ABSENT -start-> STARTING -takes its slot-> RUNNING -ends-> (back-off) ABSENT;
 * not wanted any more: SIGTERM once, then its slot is freed when it has gone.
 *
 * Without the extension it stops its children, resigns its slot and ends. Where
 * the identity does not match (DESIGN.md 5.5), nothing runs, and its slot says why.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker_internals.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "catalog.h"
#include "fault_point.h"
#include "outbox.h"
#include "processes.h"
#include "run_sql.h"
#include "steady_clock.h"

/* How often everything is compared without a wake-up. */
#define CYCLE_MS 5000

/* A child that has run this long starts its back-off anew. */
#define SETTLED_MS 60000

/* A process that should run. */
typedef struct Wanted
{
	SlotKind	kind;
	int64		id;
	char	   *name;			/* for pg_stat_activity */
	bool		paused;			/* a worker that keeps its slot and does not run */
} Wanted;

/* A process this supervisor has started. */
typedef struct Child
{
	SlotKind	kind;
	int64		id;
	TimestampTz started_at;
	BackgroundWorkerHandle *handle;
} Child;

/* What a look into the database gives. */
typedef struct Survey
{
	bool		installed;
	bool		locked;			/* who has messages of ordinary transactions could not be seen */
	char	   *mismatch;		/* NULL: the identity matches */
	List	   *wanted;			/* Wanted * */
} Survey;

static List *children = NIL;	/* Child *, in TopMemoryContext */
static MemoryContext cycle_context;
static TimestampTz locked_at;	/* since when it could not be seen who has messages of ordinary transactions; 0: it could */
static bool slots_missing;		/* some process found none in this cycle: this one's own slot says so */

static void survey_database(void *arg);
static void want_pipelines(Survey *survey);
static void want_servers(Survey *survey);
static void want_publishers(Survey *survey);
static bool has_waited(bool locked);
static void want(Survey *survey, SlotKind kind, int64 id, bool paused, const char *format, const char *name);
static TimestampTz compare(List *wanted);
static Wanted *find_wanted(List *wanted, SlotKind kind, int64 id);
static void stop_process(KvSlot *slot);
static TimestampTz look_after(const Wanted *wanted);
static Child *find_child(SlotKind kind, int64 id);
static bool has_ended(Child *child, KvSlot *slot);
static void start_child(const Wanted *wanted, KvSlot *slot);
static void stop_all(void);
static void resign(void);


/* Main function of a supervisor. */
void
kv_supervisor_main(Datum main_arg)
{
	ProcessArgs args = kv_process_args();
	KvSlot	   *slot = kv_process_begin(SLOT_SUPERVISOR, &args);

	cycle_context = AllocSetContextCreate(TopMemoryContext, "kv supervisor cycle", ALLOCSET_DEFAULT_SIZES);
	while (!ShutdownRequestPending)
	{
		TimestampTz now = kv_steady_now();
		TimestampTz next = TimestampTzPlusMilliseconds(now, CYCLE_MS);
		Survey		survey = {0};

		MemoryContextReset(cycle_context);
		MemoryContextSwitchTo(cycle_context);
		slot->requested = false;
		if (kv_process_attempt(survey_database, &survey, slot))
		{
			if (!survey.installed)
				resign();
			if (survey.mismatch == NULL)
			{
				slots_missing = false;
				KV_FAULT_POINT("supervisor_surveyed");
				next = Min(next, compare(survey.wanted));
				if (has_waited(survey.locked))
					kv_process_waits(slot, "the tables of ordinary transactions' messages are locked by a session",
									 "It rewrites them, for example by VACUUM FULL. Whose messages wait cannot be seen, so no publisher is started for them alone.",
									 "Pipelines go on, and the others by themselves when it ends.");
				else if (!slots_missing)
					kv_slot_clear_error(slot);
				slot->phase = PIPELINE_LIVE;
			}
			else
			{
				kv_process_failed(slot, "this database is not the one that Kafka knows", survey.mismatch,
								  "Run kafka.adopt() to go on as the same, or kafka.fork() to go on under new names.");
				(void) compare(NIL);
			}
		}

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(10, TimestampDifferenceMilliseconds(kv_steady_now(), next)), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		kv_process_reload();
	}
	stop_all();
	proc_exit(0);
}

/* Finds out what should run, in one transaction. */
static void
survey_database(void *arg)
{
	Survey	   *survey = arg;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* one snapshot: else, in a dump that is being restored, pipelines could be seen that came after an identity that was not there yet */
	XactIsoLevel = XACT_REPEATABLE_READ;
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(cycle_context);
	survey->installed = kv_catalog_installed();
	if (survey->installed && kv_identity_matches(&survey->mismatch))
	{
		want_pipelines(survey);
		/* the pipelines do not wait for who rewrites these tables */
		survey->locked = !kv_catalog_try_lock("transaction_batch", AccessShareLock) || !kv_catalog_try_lock("transaction_outbox", AccessShareLock);
		if (survey->locked)
			want_publishers(survey);
		else
			want_servers(survey);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(cycle_context);
}

/* A worker for every pipeline that has views and is not paused, a publisher for its server. */
static void
want_pipelines(Survey *survey)
{
	ListCell   *cell;

	foreach(cell, kv_outbox_pipelines(0))
	{
		OutboxPipeline *pipeline = lfirst(cell);
		ForeignServer *server;

		want(survey, SLOT_WORKER, pipeline->pipeline, pipeline->paused, "kafka_views worker %s", pipeline->name);
		if (find_wanted(survey->wanted, SLOT_PUBLISHER, pipeline->serverid) != NULL)
			continue;
		/* it may have been dropped since the snapshot was taken */
		server = GetForeignServerExtended(pipeline->serverid, FSV_MISSING_OK);
		if (server != NULL)
			want(survey, SLOT_PUBLISHER, pipeline->serverid, false, "kafka_views publisher %s", server->servername);
	}
}

/* A publisher for every server that ordinary transactions write to, or have written to. */
static void
want_servers(Survey *survey)
{
	static const char text[] =
		"SELECT s.oid, s.srvname FROM pg_catalog.pg_foreign_server s"
		" WHERE EXISTS (SELECT FROM kafka_state.transaction_batch b WHERE b.server = s.srvname)"
		" OR EXISTS (SELECT FROM kafka_state.transaction_outbox o WHERE o.server = s.srvname)";
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 0, NULL, NULL, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		Oid			serverid = DatumGetObjectId(kv_sql_value(i, 1, &isnull));

		if (find_wanted(survey->wanted, SLOT_PUBLISHER, serverid) == NULL)
			want(survey, SLOT_PUBLISHER, serverid, false, "kafka_views publisher %s", kv_sql_text(i, 2));
	}
	kv_sql_leave(&sql);
}

/* The publishers that there are, where it cannot be seen which should be. */
static void
want_publishers(Survey *survey)
{
	ListCell   *cell;

	foreach(cell, kv_slot_list(MyDatabaseId))
	{
		KvSlot	   *slot = lfirst(cell);
		ForeignServer *server;

		if (slot->kind != SLOT_PUBLISHER || find_wanted(survey->wanted, SLOT_PUBLISHER, slot->id) != NULL)
			continue;
		server = GetForeignServerExtended((Oid) slot->id, FSV_MISSING_OK);
		if (server != NULL)
			want(survey, SLOT_PUBLISHER, slot->id, false, "kafka_views publisher %s", server->servername);
	}
}

/* Keeps since when the tables have been locked; true: longer than a publisher needs that empties one. */
static bool
has_waited(bool locked)
{
	TimestampTz now = kv_steady_now();

	if (!locked)
		locked_at = 0;
	else if (locked_at == 0)
		locked_at = now;
	return locked_at != 0 && now >= TimestampTzPlusMilliseconds(locked_at, CYCLE_MS);
}

/* Adds a process to what is wanted, in the cycle's memory. */
static void
want(Survey *survey, SlotKind kind, int64 id, bool paused, const char *format, const char *name)
{
	MemoryContext save = MemoryContextSwitchTo(cycle_context);
	Wanted	   *wanted = palloc(sizeof(Wanted));

	wanted->kind = kind;
	wanted->id = id;
	wanted->paused = paused;
	wanted->name = psprintf(format, name);
	survey->wanted = lappend(survey->wanted, wanted);
	MemoryContextSwitchTo(save);
}

/* Stops what is not wanted, starts what is; gives back when to look again at the latest. */
static TimestampTz
compare(List *wanted)
{
	TimestampTz next = DT_NOEND;
	ListCell   *cell;

	foreach(cell, kv_slot_list(MyDatabaseId))
	{
		KvSlot	   *copy = lfirst(cell);
		KvSlot	   *slot;

		if ((copy->kind != SLOT_WORKER && copy->kind != SLOT_PUBLISHER) || find_wanted(wanted, copy->kind, copy->id) != NULL)
			continue;
		slot = kv_slot_get(copy->kind, copy->database, copy->id, false);
		if (slot == NULL)
			continue;
		stop_process(slot);
		if (slot->pid == 0)
			kv_slot_free(slot);
		else
			next = Min(next, TimestampTzPlusMilliseconds(kv_steady_now(), 100));
	}
	foreach(cell, wanted)
		next = Min(next, look_after(lfirst(cell)));
	return next;
}

static Wanted *
find_wanted(List *wanted, SlotKind kind, int64 id)
{
	ListCell   *cell;

	foreach(cell, wanted)
	{
		Wanted	   *entry = lfirst(cell);

		if (entry->kind == kind && entry->id == id)
			return entry;
	}
	return NULL;
}

/* Asks a process to end, once. */
static void
stop_process(KvSlot *slot)
{
	pid_t		pid = slot->pid;

	if (pid == 0 || slot->stop_requested)
		return;
	slot->stop_requested = true;
	kill(pid, SIGTERM);
}

/* Starts a process that does not run and may; gives back when to look again at the latest. */
static TimestampTz
look_after(const Wanted *wanted)
{
	KvSlot	   *slot = kv_slot_get(wanted->kind, MyDatabaseId, wanted->id, true);
	Child	   *child = find_child(wanted->kind, wanted->id);
	bool		ended;

	if (slot == NULL)
	{
		kv_process_no_slot(kv_my_slot);
		slots_missing = true;
		return DT_NOEND;
	}
	ended = child != NULL && has_ended(child, slot);
	if (wanted->paused)
	{
		stop_process(slot);
		slot->phase = PIPELINE_PAUSED;
		return DT_NOEND;
	}
	if (slot->pid != 0 || (child != NULL && !ended))
		return DT_NOEND;
	if (slot->retry_at > kv_steady_now())
		return slot->retry_at;
	start_child(wanted, slot);
	return slot->retry_at > 0 ? slot->retry_at : DT_NOEND;
}

static Child *
find_child(SlotKind kind, int64 id)
{
	ListCell   *cell;

	foreach(cell, children)
	{
		Child	   *child = lfirst(cell);

		if (child->kind == kind && child->id == id)
			return child;
	}
	return NULL;
}

/* Has a child of ours ended? Then it is forgotten, and if nobody asked it to, its slot gets a reason and a back-off. */
static bool
has_ended(Child *child, KvSlot *slot)
{
	TimestampTz started_at = child->started_at;
	pid_t		pid;

	if (GetBackgroundWorkerPid(child->handle, &pid) != BGWH_STOPPED)
		return false;
	children = list_delete_ptr(children, child);
	pfree(child->handle);
	pfree(child);

	if (slot->stop_requested)
		return true;
	if (kv_steady_now() > TimestampTzPlusMilliseconds(started_at, SETTLED_MS))
		slot->failures = 0;
	if (slot->error_at >= started_at)
		(void) kv_slot_back_off(slot);
	else
		kv_process_failed(slot, "the process ended unexpectedly", NULL, "The server log has the reason.");
	return true;
}

/* Starts a process; where the postmaster has no place for it, its slot says so and it is tried again. */
static void
start_child(const Wanted *wanted, KvSlot *slot)
{
	bool		is_worker = wanted->kind == SLOT_WORKER;
	ProcessArgs args = {.database = MyDatabaseId,.id = wanted->id};
	MemoryContext save = MemoryContextSwitchTo(TopMemoryContext);
	Child	   *child = palloc0(sizeof(Child));

	child->kind = wanted->kind;
	child->id = wanted->id;
	child->started_at = kv_steady_now();
	KV_FAULT_POINT("child_before_start");
	slot->stop_requested = false;
	if (kv_process_start(is_worker ? "kv_worker_main" : "kv_publisher_main",
						 is_worker ? "kafka_views worker" : "kafka_views publisher", wanted->name, &args, &child->handle))
		children = lappend(children, child);
	else
	{
		pfree(child);
		MemoryContextSwitchTo(save);
		kv_process_no_place(slot, wanted->name);
	}
	MemoryContextSwitchTo(save);
	KV_FAULT_POINT("child_started");
}

/* Asks all processes of this database to end and waits until they have. */
static void
stop_all(void)
{
	bool		running = true;

	while (running)
	{
		ListCell   *cell;

		running = false;
		foreach(cell, kv_slot_list(MyDatabaseId))
		{
			KvSlot	   *copy = lfirst(cell);
			KvSlot	   *slot = kv_slot_get(copy->kind, copy->database, copy->id, false);

			if (slot == NULL || slot->kind == SLOT_SUPERVISOR)
				continue;
			stop_process(slot);
			running = running || slot->pid != 0;
		}
		if (running)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 50, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
	}
}

/* The extension is gone: stops the children, frees all slots of the database and ends, unless it was created again meanwhile. */
static void
resign(void)
{
	ListCell   *cell;

	stop_all();
	foreach(cell, kv_slot_list(MyDatabaseId))
	{
		KvSlot	   *copy = lfirst(cell);
		KvSlot	   *slot = kv_slot_get(copy->kind, copy->database, copy->id, false);

		if (slot != NULL && slot->kind != SLOT_SUPERVISOR)
			kv_slot_free(slot);
	}
	kv_slot_resign(kv_my_slot);
	proc_exit(0);
}
