/*
 * module.c: what happens when the library is loaded: settings, hooks, shared
 * memory, the launcher.
 *
 * Invariant: everything is set up in the postmaster (shared_preload_libraries) or not at
 * all. A backend that loads the library later gets the functions and the
 * default settings, and CREATE EXTENSION tells what is missing.
 * No librdkafka object is made here: its threads would not survive a fork.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/postmaster.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#include "ddl.h"
#include "identity.h"
#include "incomplete.h"
#include "kafka_views.h"
#include "outbox.h"
#include "shared.h"
#include "steady_clock.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(kafka_check_preloaded);

void		_PG_init(void);

/* How long the postmaster waits before it starts a launcher that died again. */
#define LAUNCHER_RESTART_S 5

int			kv_batch_rows = 100000;
int			kv_batch_interval_ms = 20;
int			kv_idle_timeout_ms = 60 * 1000;
bool		kv_idle_advance = false;
int			kv_default_grace_ms = 10 * 60 * 1000;
int			kv_default_bound_ms = -1;
int			kv_max_ahead_ms = 60 * 60 * 1000;
int			kv_commit_interval_ms = 5000;
int			kv_idle_commit_interval_ms = 60 * 60 * 1000;
int			kv_buffer_limit_kb = 256 * 1024;
int			kv_outbox_limit_mb = 1024;
int			kv_transaction_size_kb = 64 * 1024;
int			kv_max_workers = 64;
bool		kv_allow_incomplete_reads = false;
char	   *kv_instance = "";

static shmem_request_hook_type previous_shmem_request;
static shmem_startup_hook_type previous_shmem_startup;

static void define_settings(void);
static void define_milliseconds(const char *name, const char *what, const char *more, int *variable, int least);
static void register_launcher(void);
static void request_shared_memory(void);
static void start_shared_memory(void);


void
_PG_init(void)
{
	if (IsBinaryUpgrade || !process_shared_preload_libraries_in_progress)
		return;

	kv_steady_start();
	define_settings();
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	kv_identity_init();
	kv_ddl_init();
	kv_outbox_init();
	kv_incomplete_init();
	register_launcher();
}

/* Defines the settings of kafka_views.h. */
static void
define_settings(void)
{
	DefineCustomIntVariable("kafka.batch_rows",
							"Sets how many records a pipeline applies in one transaction at most.",
							NULL, &kv_batch_rows, kv_batch_rows, 1, 10000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_milliseconds("kafka.batch_interval", "Sets how long a pipeline collects records for a batch.",
						"A batch is larger when the pipeline is behind.", &kv_batch_interval_ms, 0);
	define_milliseconds("kafka.idle_timeout",
						"Sets after how long at its end with nothing new a partition no longer holds back event time.",
						"0 is never.", &kv_idle_timeout_ms, 0);
	DefineCustomBoolVariable("kafka.idle_advance",
							 "Lets event time go on with the clock while no partition of a topic gets anything new.",
							 "It begins when all are idle (kafka.idle_timeout). What comes later and is older than that is late.",
							 &kv_idle_advance, kv_idle_advance, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_milliseconds("kafka.default_grace",
						"Sets how much out of order the rows of joined streams may come where the view does not say.",
						NULL, &kv_default_grace_ms, 0);
	DefineCustomIntVariable("kafka.default_bound",
							"Sets how far apart in time joined streams' rows may be where a new view and its query do not say.",
							"-1 is none: such a view is refused.", &kv_default_bound_ms, kv_default_bound_ms, -1, INT_MAX, PGC_USERSET,
							GUC_UNIT_MS, NULL, NULL, NULL);
	define_milliseconds("kafka.max_ahead",
						"Sets how far in the future a record's time may lie; beyond, the record is a dead letter.",
						NULL, &kv_max_ahead_ms, 0);
	define_milliseconds("kafka.commit_interval",
						"Sets how often positions go to Kafka while they move without messages.",
						NULL, &kv_commit_interval_ms, 100);
	define_milliseconds("kafka.idle_commit_interval",
						"Sets how often positions that stand still go to Kafka again, before it forgets them.",
						"Far less than offsets.retention.minutes of the brokers.", &kv_idle_commit_interval_ms, 100);
	DefineCustomIntVariable("kafka.buffer_limit",
							"Sets how much memory a pipeline uses for records that it has fetched and not applied.",
							"All partitions share it; each can hold one record, however large it is.",
							&kv_buffer_limit_kb, kv_buffer_limit_kb, 4 * 1024, MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("kafka.outbox_limit",
							"Sets how large a pipeline's unpublished output may grow before the pipeline waits.",
							NULL, &kv_outbox_limit_mb, kv_outbox_limit_mb, 1, MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_MB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("kafka.transaction_size",
							"Sets how much output one Kafka transaction takes before the next one begins.",
							"A batch of more goes out in parts.", &kv_transaction_size_kb, kv_transaction_size_kb, 1, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("kafka.max_workers",
							"Sets how many supervisors, pipelines and publishers the cluster runs at most.",
							"They also count against max_worker_processes.",
							&kv_max_workers, kv_max_workers, 1, MAX_BACKENDS, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("kafka.allow_incomplete_reads",
							 "Lets views be read that are behind what has been published from them.",
							 "After a failover to a standby that was behind, or a restore, they are until the pipeline has applied again what Kafka has.",
							 &kv_allow_incomplete_reads, kv_allow_incomplete_reads, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("kafka.instance",
							   "Sets the prefix of every group and transactional id in Kafka.",
							   "Empty is the system identifier. The members of an HA cluster share the name.",
							   &kv_instance, "", PGC_POSTMASTER, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("kafka");
}

/* Defines a duration in milliseconds that a reload can change. */
static void
define_milliseconds(const char *name, const char *what, const char *more, int *variable, int least)
{
	DefineCustomIntVariable(name, what, more, variable, *variable, least, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/* Asks the postmaster for the launcher. */
static void
register_launcher(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, "kafka_views launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "kafka_views launcher", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = LAUNCHER_RESTART_S;
	strlcpy(worker.bgw_library_name, KV_EXTENSION, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "kv_launcher_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

static void
request_shared_memory(void)
{
	if (previous_shmem_request != NULL)
		previous_shmem_request();
	kv_shared_request();
}

static void
start_shared_memory(void)
{
	if (previous_shmem_startup != NULL)
		previous_shmem_startup();
	kv_shared_startup();
}

/* Raises an error where the library is not preloaded: first statement of the install script. */
Datum
kafka_check_preloaded(PG_FUNCTION_ARGS)
{
	if (!kv_shared_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s must be loaded when the server starts", KV_EXTENSION),
				 errdetail("Its background processes and its commands need shared memory and hooks."),
				 errhint("Add %s to shared_preload_libraries in postgresql.conf and restart the server.", KV_EXTENSION)));
	PG_RETURN_VOID();
}
