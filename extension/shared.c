/*
 * shared.c: shared memory of all processes of ours: slots, holds, wake-ups.
 *
 * Invariant: a slot's kind, database, id, pid, latch and error change only under
 * the exclusive lock, so that a latch that is set under the shared lock belongs to a
 * living process. Counters are written by the slot's own process without
 * a lock and are only ever shown. A slot outlives its process: failures, retry_at
 * and the last error are how a supervisor remembers its back-off.
 *
 * A database is held while it is dropped or copied: launcher and supervisors
 * start nothing there. The hold ends with kv_database_release, with an error of kv_database_hold
 * itself (a cancel while it waits), or with the backend that asked for it.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "fault_point.h"
#include "shared.h"
#include "steady_clock.h"

#define TRANCHE "kafka_views"

/* Databases that can be held at the same time. */
#define MAX_HELD 16

/* How long kv_database_hold waits for processes to end. */
#define HOLD_TIMEOUT_MS 30000

typedef struct HeldDatabase
{
	Oid			database;
	pid_t		holder;
} HeldDatabase;

typedef struct KvShared
{
	LWLock	   *lock;
	int			nheld;
	HeldDatabase held[MAX_HELD];
	int			nslots;
	KvSlot		slots[FLEXIBLE_ARRAY_MEMBER];
} KvShared;

/* A wake-up that waits for the end of the transaction. */
typedef struct PendingWake
{
	SlotKind	kind;
	Oid			database;
	int64		id;
} PendingWake;

KvSlot	   *kv_my_slot = NULL;

static KvShared *shared = NULL;
static List *pending_wakes = NIL;	/* PendingWake *, in TopTransactionContext */
static bool supervisor_requested = false;
static bool callback_registered = false;
static bool release_registered = false;

static Size shared_size(void);
static int	slot_count(void);
static KvSlot *find_slot(SlotKind kind, Oid database, int64 id);
static void detach_slot(int code, Datum arg);
static void copy_text(char *target, const char *text);
static void register_callback(void);
static void end_of_transaction(XactEvent event, void *arg);
static void request_supervisor(void);
static void wait_for_processes(Oid database);
static int	stop_database_processes(Oid database);
static void release_on_exit(int code, Datum arg);
static void release_held(Oid database, pid_t holder);


/* Asks the postmaster for memory and the lock. */
void
kv_shared_request(void)
{
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(TRANCHE, 1);
}

/* Makes or finds the memory. */
void
kv_shared_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(TRANCHE, shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->lock = &(GetNamedLWLockTranche(TRANCHE))->lock;
		shared->nslots = slot_count();
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Tells whether the library was preloaded. */
bool
kv_shared_available(void)
{
	return shared != NULL;
}

static Size
shared_size(void)
{
	return add_size(offsetof(KvShared, slots), mul_size(slot_count(), sizeof(KvSlot)));
}

/* One for the launcher; a pipeline has two (its worker, its output), and those of ended processes stay for a while. */
static int
slot_count(void)
{
	return 1 + 4 * kv_max_workers;
}

/* Finds or makes a slot; NULL when all are taken or there is no shared memory. */
KvSlot *
kv_slot_get(SlotKind kind, Oid database, int64 id, bool create)
{
	KvSlot	   *slot;

	if (shared == NULL)
		return NULL;
	LWLockAcquire(shared->lock, create ? LW_EXCLUSIVE : LW_SHARED);
	slot = find_slot(kind, database, id);
	if (slot == NULL && create)
	{
		slot = find_slot(SLOT_FREE, InvalidOid, 0);
		if (slot != NULL)
		{
			slot->kind = kind;
			slot->database = database;
			slot->id = id;
		}
	}
	LWLockRelease(shared->lock);
	return slot;
}

/* Finds a slot by its identity; the caller holds the lock. Free ones are all zero. */
static KvSlot *
find_slot(SlotKind kind, Oid database, int64 id)
{
	for (int i = 0; i < shared->nslots; i++)
	{
		KvSlot	   *slot = &shared->slots[i];

		if (slot->kind == kind && slot->database == database && slot->id == id)
			return slot;
	}
	return NULL;
}

/* Gives a slot back unless a process still runs in it. */
void
kv_slot_free(KvSlot *slot)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (slot->pid == 0)
		memset(slot, 0, sizeof(KvSlot));
	LWLockRelease(shared->lock);
}

/*
 * Gives the slot of this process back for good, unless somebody asked for the
 * process since slot->requested was last cleared: then it stays, and the
 * launcher starts another process for it.
 */
void
kv_slot_resign(KvSlot *slot)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (!slot->requested)
	{
		memset(slot, 0, sizeof(KvSlot));
		kv_my_slot = NULL;
	}
	LWLockRelease(shared->lock);
}

/* Makes this process the slot's; it leaves the slot when it exits. Ends the process if another one runs in it. */
void
kv_slot_attach(KvSlot *slot)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (slot->pid != 0 && slot->pid != MyProcPid)
	{
		pid_t		pid = slot->pid;

		LWLockRelease(shared->lock);
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("process %d already does this work", (int) pid)));
	}
	slot->pid = MyProcPid;
	slot->latch = MyLatch;
	slot->stop_requested = slot->lacks_output = false;
	slot->undecided = 0;
	slot->phase = PIPELINE_STARTING;
	slot->batches = slot->records = slot->dead_letters = slot->null_values = 0;
	slot->published_messages = slot->buffered_records = 0;
	slot->reload_done = slot->reload_total = 0;
	slot->batch_ms = slot->records_per_second = 0;
	slot->last_batch_at = 0;
	LWLockRelease(shared->lock);
	kv_my_slot = slot;
	before_shmem_exit(detach_slot, 0);
}

/* Leaves the slot of this process. */
static void
detach_slot(int code, Datum arg)
{
	KvSlot	   *slot = kv_my_slot;

	if (slot == NULL)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot->pid = 0;
	slot->latch = NULL;
	if (slot->phase != PIPELINE_FAILED && slot->phase != PIPELINE_PAUSED)
		slot->phase = PIPELINE_WAITING;
	LWLockRelease(shared->lock);
	kv_my_slot = NULL;
}

/* Notes an error in a slot; detail and hint may be NULL. */
void
kv_slot_set_error(KvSlot *slot, const char *message, const char *detail, const char *hint)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	copy_text(slot->error, message);
	copy_text(slot->error_detail, detail);
	copy_text(slot->error_hint, hint);
	slot->error_at = kv_steady_now();
	LWLockRelease(shared->lock);
}

/* Forgets a slot's error and its back-off. */
void
kv_slot_clear_error(KvSlot *slot)
{
	if (slot->error[0] == '\0' && slot->failures == 0)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot->error[0] = slot->error_detail[0] = slot->error_hint[0] = '\0';
	slot->failures = 0;
	slot->retry_at = 0;
	slot->error_at = 0;
	LWLockRelease(shared->lock);
}

/* Copies text, cut at a character's end. */
static void
copy_text(char *target, const char *text)
{
	int			len = text == NULL ? 0 : pg_mbcliplen(text, strlen(text), KV_ERROR_LEN - 1);

	if (len > 0)
		memcpy(target, text, len);
	target[len] = '\0';
}

/* Copies all slots of a database (InvalidOid: of all) into CurrentMemoryContext: List of KvSlot *. */
List *
kv_slot_list(Oid database)
{
	List	   *result = NIL;
	KvSlot	   *copy;
	int			count = 0;

	if (shared == NULL)
		return NIL;
	/* allocated before the lock: an error under it would be no harm, a long wait would */
	copy = palloc(sizeof(KvSlot) * shared->nslots);
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		KvSlot	   *slot = &shared->slots[i];

		if (slot->kind != SLOT_FREE && (database == InvalidOid || slot->database == database))
			copy[count++] = *slot;
	}
	LWLockRelease(shared->lock);
	for (int i = 0; i < count; i++)
		result = lappend(result, &copy[i]);
	return result;
}

/* Sets the latches of running processes of a kind; id -1 is all of the database. Tells whether there was one. */
bool
kv_wake(SlotKind kind, Oid database, int64 id)
{
	bool		found = false;

	if (shared == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		KvSlot	   *slot = &shared->slots[i];

		if (slot->kind == kind && slot->database == database && (id == -1 || slot->id == id) && slot->latch != NULL)
		{
			SetLatch(slot->latch);
			found = true;
		}
	}
	LWLockRelease(shared->lock);
	return found;
}

/* Does the same when this transaction commits. A rolled back subtransaction leaves a harmless wake-up behind. */
void
kv_wake_at_commit(SlotKind kind, Oid database, int64 id)
{
	MemoryContext save = MemoryContextSwitchTo(TopTransactionContext);
	PendingWake *wake = palloc(sizeof(PendingWake));

	wake->kind = kind;
	wake->database = database;
	wake->id = id;
	register_callback();
	pending_wakes = lappend(pending_wakes, wake);
	MemoryContextSwitchTo(save);
}

/* Asks for a supervisor in this database when the transaction commits. */
void
kv_request_supervisor_at_commit(void)
{
	register_callback();
	supervisor_requested = true;
}

static void
register_callback(void)
{
	if (callback_registered)
		return;
	RegisterXactCallback(end_of_transaction, NULL);
	callback_registered = true;
}

/* Wakes what was asked for in a transaction that committed, forgets it otherwise. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	ListCell   *cell;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (supervisor_requested || pending_wakes != NIL)
				KV_FAULT_POINT("commit_before_wakes");
			if (supervisor_requested)
				request_supervisor();
			foreach(cell, pending_wakes)
			{
				PendingWake *wake = lfirst(cell);

				kv_wake(wake->kind, wake->database, wake->id);
			}
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			return;
	}
	pending_wakes = NIL;
	supervisor_requested = false;
}

/* Leaves a request in the supervisor's slot and wakes whoever answers it. Must not raise: it runs after the commit. */
static void
request_supervisor(void)
{
	KvSlot	   *slot = kv_slot_get(SLOT_SUPERVISOR, MyDatabaseId, 0, true);

	if (slot == NULL)
	{
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no place is left for the processes of this database"),
				 errhint("Raise kafka.max_workers and restart the server.")));
		return;
	}
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot->requested = true;
	slot->failures = 0;
	slot->retry_at = 0;
	LWLockRelease(shared->lock);
	kv_wake(SLOT_LAUNCHER, InvalidOid, 0);
	kv_wake(SLOT_SUPERVISOR, MyDatabaseId, 0);
}

/*
 * Stops everything of ours that is connected to a database and keeps it stopped.
 * Waits up to 30 s; raises an error if a process does not end in that time. The PG_TRY takes the hold back when the wait ends by
 * that or by a cancel: the session lives on, and would keep the database held until it disconnects.
 */
void
kv_database_hold(Oid database)
{
	bool		full;

	if (shared == NULL)
		return;
	if (!release_registered)
	{
		before_shmem_exit(release_on_exit, 0);
		release_registered = true;
	}
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	full = shared->nheld == MAX_HELD;
	if (!full)
	{
		shared->held[shared->nheld].database = database;
		shared->held[shared->nheld].holder = MyProcPid;
		shared->nheld++;
	}
	LWLockRelease(shared->lock);
	if (full)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases are dropped or copied at the same time"),
				 errhint("Try again when one of them is done.")));

	PG_TRY();
	{
		wait_for_processes(database);
	}
	PG_CATCH();
	{
		kv_database_release(database);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Has all processes of a database end and waits for that; an error when they do not. */
static void
wait_for_processes(Oid database)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(kv_steady_now(), HOLD_TIMEOUT_MS);

	while (stop_database_processes(database) > 0)
	{
		if (kv_steady_now() > deadline)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("processes of %s in this database did not end in time", KV_EXTENSION),
					 errhint("Look for them in pg_stat_activity and try again.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 50, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Sends SIGTERM to processes that have not been asked yet; gives back how many still run. */
static int
stop_database_processes(Oid database)
{
	int			running = 0;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		KvSlot	   *slot = &shared->slots[i];

		if (slot->database != database || slot->pid == 0)
			continue;
		running++;
		if (!slot->stop_requested)
		{
			slot->stop_requested = true;
			kill(slot->pid, SIGTERM);
		}
	}
	LWLockRelease(shared->lock);
	return running;
}

/* Ends a hold of this backend; the launcher starts a supervisor again where the database still exists. */
void
kv_database_release(Oid database)
{
	if (shared == NULL)
		return;
	release_held(database, MyProcPid);
	kv_wake(SLOT_LAUNCHER, InvalidOid, 0);
}

static void
release_on_exit(int code, Datum arg)
{
	release_held(InvalidOid, MyProcPid);
}

/* Removes holds of a holder on a database, InvalidOid: on any. */
static void
release_held(Oid database, pid_t holder)
{
	int			kept = 0;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nheld; i++)
	{
		HeldDatabase *held = &shared->held[i];

		if (held->holder != holder || (database != InvalidOid && held->database != database))
			shared->held[kept++] = *held;
	}
	shared->nheld = kept;
	LWLockRelease(shared->lock);
}

/* Tells whether anybody holds the database. */
bool
kv_database_is_held(Oid database)
{
	bool		held = false;

	if (shared == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nheld; i++)
		held = held || shared->held[i].database == database;
	LWLockRelease(shared->lock);
	return held;
}

/* Notes that a process cannot be started before wait_ms are over, through no fault of its own. */
void
kv_slot_wait(KvSlot *slot, long wait_ms)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot->retry_at = TimestampTzPlusMilliseconds(kv_steady_now(), wait_ms);
	slot->phase = PIPELINE_WAITING;
	LWLockRelease(shared->lock);
}

/* Notes that a process failed and gives back when it may be tried again: after 1 s, doubling up to 60 s. */
TimestampTz
kv_slot_back_off(KvSlot *slot)
{
	TimestampTz retry_at;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	retry_at = TimestampTzPlusMilliseconds(kv_steady_now(), 1000 * Min(60, 1 << Min(slot->failures, 6)));
	slot->failures++;
	slot->retry_at = retry_at;
	slot->phase = PIPELINE_FAILED;
	LWLockRelease(shared->lock);
	return retry_at;
}

/* Wakes at commit whoever must see that a pipeline has changed. */
void
kv_pipeline_wake(int64 pipeline)
{
	kv_wake_at_commit(SLOT_SUPERVISOR, MyDatabaseId, 0);
	kv_wake_at_commit(SLOT_WORKER, MyDatabaseId, pipeline);
	kv_wake_at_commit(SLOT_PUBLISHER, MyDatabaseId, -1);
}
