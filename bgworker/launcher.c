/*
 * launcher.c: one process a cluster: sees to it that every database with the
 * extension has a supervisor.
 *
 * It is connected to no database, so it cannot know where the extension is: it
 * starts a supervisor once in every database one can connect to, and one that
 * finds nothing resigns its slot and ends. Then the database is left alone until
 * CREATE EXTENSION leaves a request in the supervisor's slot. What has been tried is
 * kept in memory only: a new launcher tries all databases again.
 *
 * A database: UNKNOWN -start-> RUNNING -resigns-> EMPTY -request-> RUNNING,
 * RUNNING -ends with its slot kept-> (back-off) -start-> RUNNING. A held database is left as it is.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "fault_point.h"
#include "processes.h"
#include "steady_clock.h"

/* How often new databases are looked for. */
#define CYCLE_MS 10000

/* A database that a supervisor has been started in by this launcher. */
typedef struct KnownDatabase
{
	Oid			database;
	bool		seen;			/* in this cycle */
	bool		started;		/* otherwise no place was left so far */
	BackgroundWorkerHandle *handle;
} KnownDatabase;

typedef struct ListedDatabase
{
	Oid			database;
	char		name[NAMEDATALEN];
} ListedDatabase;

static List *known = NIL;		/* KnownDatabase *, in TopMemoryContext */

static List *list_databases(void);
static long look_after(const ListedDatabase *listed);
static KnownDatabase *find_known(Oid database);
static bool is_running(KnownDatabase *entry);
static long start_supervisor(KnownDatabase *entry, const ListedDatabase *listed);
static void forget_dropped(void);


/* Main function of the launcher. */
void
kv_launcher_main(Datum main_arg)
{
	MemoryContext cycle;

	kv_process_signals();
	kv_slot_attach(kv_slot_get(SLOT_LAUNCHER, InvalidOid, 0, true));
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("kafka_views launcher");
	cycle = AllocSetContextCreate(TopMemoryContext, "kv launcher cycle", ALLOCSET_DEFAULT_SIZES);

	while (!ShutdownRequestPending)
	{
		long		sleep_ms = CYCLE_MS;
		ListCell   *cell;

		MemoryContextReset(cycle);
		MemoryContextSwitchTo(cycle);
		foreach(cell, known)
			((KnownDatabase *) lfirst(cell))->seen = false;
		foreach(cell, list_databases())
			sleep_ms = Min(sleep_ms, look_after(lfirst(cell)));
		forget_dropped();

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, sleep_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		kv_process_reload();
	}
	/* not 0, for which the postmaster would forget it: whoever ends it with a signal gets another one, if not the whole server ends */
	proc_exit(1);
}

/* Lists the databases one can connect to, in CurrentMemoryContext. */
static List *
list_databases(void)
{
	MemoryContext result_context = CurrentMemoryContext;
	List	   *result = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext save;
		ListedDatabase *listed;

		/* datconnlimit below -1 marks a database that a failed DROP left invalid */
		if (!form->datallowconn || form->datistemplate || form->datconnlimit < -1)
			continue;
		save = MemoryContextSwitchTo(result_context);
		listed = palloc(sizeof(ListedDatabase));
		listed->database = form->oid;
		strlcpy(listed->name, NameStr(form->datname), NAMEDATALEN);
		result = lappend(result, listed);
		MemoryContextSwitchTo(save);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(result_context);
	return result;
}

/* Starts the database's supervisor if it should run and does not; gives back when to look again at the latest (ms). */
static long
look_after(const ListedDatabase *listed)
{
	KnownDatabase *entry = find_known(listed->database);
	KvSlot	   *slot;
	TimestampTz now = kv_steady_now();

	entry->seen = true;
	if (kv_database_is_held(listed->database) || is_running(entry))
		return CYCLE_MS;
	slot = kv_slot_get(SLOT_SUPERVISOR, listed->database, 0, false);
	if (slot == NULL)
		return entry->started ? CYCLE_MS : start_supervisor(entry, listed); /* started: it has resigned */
	if (slot->pid != 0)
		return CYCLE_MS;		/* started by a launcher before this one */
	if (slot->retry_at > now)
		return Max(1, Min(CYCLE_MS, (slot->retry_at - now) / 1000));
	if (entry->started && !slot->requested)
		(void) kv_slot_back_off(slot);	/* it has ended by itself: the attempt after this one waits */
	return start_supervisor(entry, listed);
}

static KnownDatabase *
find_known(Oid database)
{
	KnownDatabase *entry;
	ListCell   *cell;
	MemoryContext save;

	foreach(cell, known)
	{
		entry = lfirst(cell);
		if (entry->database == database)
			return entry;
	}
	save = MemoryContextSwitchTo(TopMemoryContext);
	entry = palloc0(sizeof(KnownDatabase));
	entry->database = database;
	known = lappend(known, entry);
	MemoryContextSwitchTo(save);
	return entry;
}

/* Has this launcher started a supervisor that has not ended? */
static bool
is_running(KnownDatabase *entry)
{
	pid_t		pid;

	if (entry->handle == NULL)
		return false;
	if (GetBackgroundWorkerPid(entry->handle, &pid) != BGWH_STOPPED)
		return true;
	pfree(entry->handle);
	entry->handle = NULL;
	return false;
}

/* Starts a supervisor; where no place is left, its slot says so for the database's pipelines, and it is tried again. */
static long
start_supervisor(KnownDatabase *entry, const ListedDatabase *listed)
{
	ProcessArgs args = {.database = listed->database};
	char	   *name = psprintf("kafka_views supervisor %s", listed->name);
	KvSlot	   *slot = kv_slot_get(SLOT_SUPERVISOR, listed->database, 0, true);
	MemoryContext save;

	if (slot == NULL)
	{
		kv_process_no_slot(kv_my_slot);
		return CYCLE_MS;
	}
	KV_FAULT_POINT("launcher_before_start");
	save = MemoryContextSwitchTo(TopMemoryContext);
	entry->started = kv_process_start("kv_supervisor_main", "kafka_views supervisor", name, &args, &entry->handle);
	MemoryContextSwitchTo(save);
	KV_FAULT_POINT("launcher_started");
	if (entry->started)
		return CYCLE_MS;
	entry->handle = NULL;
	kv_process_no_place(slot, name);
	return Max(1, TimestampDifferenceMilliseconds(kv_steady_now(), slot->retry_at));
}

/* Forgets databases that are gone, with all their slots. */
static void
forget_dropped(void)
{
	ListCell   *cell;

	foreach(cell, known)
	{
		KnownDatabase *entry = lfirst(cell);
		ListCell   *slot_cell;

		if (entry->seen || is_running(entry))
			continue;
		foreach(slot_cell, kv_slot_list(entry->database))
		{
			KvSlot	   *copy = lfirst(slot_cell);
			KvSlot	   *slot = kv_slot_get(copy->kind, copy->database, copy->id, false);

			if (slot != NULL)
				kv_slot_free(slot);
		}
		known = foreach_delete_current(known, cell);
		pfree(entry);
	}
}
