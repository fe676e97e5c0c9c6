/*
 * processes.c: what launcher, supervisors, workers and publishers have in common.
 *
 * Invariant: a process of ours ends only at a place of its own choosing (SIGTERM
 * sets a flag), never in the middle of a call into librdkafka, and an error never ends it
 * silently: it stands in a slot, where kafka.pipelines shows it.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "replication/syncrep.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "fault_point.h"
#include "processes.h"

/* Much less than the default of 1 s, so that a process of ours, and not a user's session, is the victim of a deadlock. */
#define DEADLOCK_TIMEOUT "50ms"

/* How long to wait when the postmaster has no place for another process. */
#define NO_PLACE_MS 5000

static void handle_stop(SIGNAL_ARGS);
static void note_error(KvSlot *slot, const char *message, const char *detail, const char *hint);


/* Installs our signal handlers. */
void
kv_process_signals(void)
{
	pqsignal(SIGTERM, handle_stop);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
}

/* Asks the process to end; where it already was asked, or waits for a lock or a standby, interrupts it as a backend. */
static void
handle_stop(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (ShutdownRequestPending ||
		(MyProc != NULL && (MyProc->waitStatus == PROC_WAIT_STATUS_WAITING || MyProc->syncRepState == SYNC_REP_WAITING)))
		die(postgres_signal_arg);
	ShutdownRequestPending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/* Gives the arguments this process was started with. */
ProcessArgs
kv_process_args(void)
{
	ProcessArgs args;

	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	return args;
}

/* What our processes need, whatever a server or a database has set for its sessions. */
static const char *const settings[][2] = {
	/* a batch and a DROP take their locks in different orders; ours can be run again, so it is the one that notices */
	{"deadlock_timeout", DEADLOCK_TIMEOUT},
	{"session_replication_role", "origin"}, /* output triggers fire */
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"idle_in_transaction_session_timeout", "0"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"exit_on_error", "off"},	/* an error is a record's, and the batch goes on without it */
	{"jit", "off"},				/* what is run for each small delta is not worth compiling, however large the tables it joins */
	{"plan_cache_mode", "auto"},	/* the plans of small deltas are made by run_sql.c, and made once */
};

/* Connects to the database and takes the slot of (kind, database, id); ends the process if the database is held. */
KvSlot *
kv_process_begin(SlotKind kind, const ProcessArgs *args)
{
	KvSlot	   *slot;

	kv_process_signals();
	slot = kv_slot_get(kind, args->database, args->id, true);
	if (slot == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no place is left for another process of %s", KV_EXTENSION),
				 errhint("Raise kafka.max_workers and restart the server.")));
	kv_slot_attach(slot);
	KV_FAULT_POINT("process_has_slot");
	/* after the slot is taken: a hold that comes later sees this process and waits for it */
	if (kv_database_is_held(args->database))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(args->database, InvalidOid, 0);
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	KV_FAULT_POINT("process_connected");
	return slot;
}

/* Reads the configuration again if SIGHUP came. */
void
kv_process_reload(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}

/* See the header. */
bool
kv_process_should_stop(void)
{
	kv_process_reload();
	return ShutdownRequestPending || kv_my_slot->stop_requested;
}

/* Sleeps until the latch is set or the time is over. */
void
kv_process_rest(long timeout_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	/* a cancel here has nothing to cancel; a stop is seen by kv_process_should_stop */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
}

/* Registers a process with the postmaster; false if max_worker_processes are in use. */
bool
kv_process_start(const char *function, const char *type, const char *name, const ProcessArgs *args,
				 BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, type, BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, KV_EXTENSION, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, args, sizeof(*args));
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/*
 * Runs body(arg). The catch is here because one pipeline's error must not end a
 * process that serves others, and because a status is all that people get to see of it.
 */
bool
kv_process_attempt(void (*body) (void *), void *arg, KvSlot *slot)
{
	MemoryContext save = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		body(arg);
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(save);
		error = CopyErrorData();
		FlushErrorState();
		HOLD_INTERRUPTS();
		AbortCurrentTransaction();
		pgstat_report_wait_end();	/* an error may come while no transaction is open */
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(save);
		kv_process_failed(slot, error->message, error->detail, error->hint);
		FreeErrorData(error);
	}
	PG_END_TRY();
	return done;
}

/* Notes a failure in the slot with back-off; the log gets it when it is another one than before. */
void
kv_process_failed(KvSlot *slot, const char *message, const char *detail, const char *hint)
{
	note_error(slot, message, detail, hint);
	(void) kv_slot_back_off(slot);
}

/* Notes what is waited for; see processes.h. */
void
kv_process_waits(KvSlot *slot, const char *message, const char *detail, const char *hint)
{
	if (strncmp(slot->error, message, KV_ERROR_LEN - 1) != 0)
		note_error(slot, message, detail, hint);
}

/* Notes that the postmaster has no place for a process; see processes.h. */
void
kv_process_no_place(KvSlot *slot, const char *name)
{
	note_error(slot, psprintf("no place is left for process \"%s\"", name),
			   psprintf("All %d background workers of this server are in use.", max_worker_processes),
			   "Raise max_worker_processes and restart the server. It starts by itself when another process ends.");
	kv_slot_wait(slot, NO_PLACE_MS);
}

/* Notes that all slots are taken; see processes.h. */
void
kv_process_no_slot(KvSlot *slot)
{
	note_error(slot, "no place is left for another process of " KV_EXTENSION,
			   psprintf("As many as kafka.max_workers (%d) allows are in use, all databases together.", kv_max_workers),
			   "Raise kafka.max_workers and restart the server. It starts by itself when another pipeline is dropped.");
}

/* Puts an error into the slot, and into the log when it is another one than before. */
static void
note_error(KvSlot *slot, const char *message, const char *detail, const char *hint)
{
	bool		repeated = strncmp(slot->error, message, KV_ERROR_LEN - 1) == 0;

	kv_slot_set_error(slot, message, detail, hint);
	if (!repeated)
		ereport(LOG,
				(errmsg("%s", message),
				 detail != NULL ? errdetail("%s", detail) : 0,
				 hint != NULL ? errhint("%s", hint) : 0));
}
