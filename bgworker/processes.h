/*
 * processes.h: what launcher, supervisors, workers and publishers have in
 * common: how one starts another, how a process is asked to end, how an error becomes
 * a status.
 */
#ifndef KV_PROCESSES_H
#define KV_PROCESSES_H

#include "kafka_views.h"
#include "postmaster/bgworker.h"
#include "shared.h"

/* In bgw_extra of every process of ours but the launcher. */
typedef struct ProcessArgs
{
	Oid			database;
	int64		id;				/* worker: pipeline; publisher: server oid; supervisor: 0 */
} ProcessArgs;

extern PGDLLEXPORT void kv_launcher_main(Datum main_arg);
extern PGDLLEXPORT void kv_supervisor_main(Datum main_arg);
extern PGDLLEXPORT void kv_worker_main(Datum main_arg);
extern PGDLLEXPORT void kv_publisher_main(Datum main_arg);

/*
 * SIGTERM sets ShutdownRequestPending and the latch, so that the process ends between two
 * steps; a second one interrupts as it does in a backend. SIGHUP sets ConfigReloadPending.
 */
extern void kv_process_signals(void);
/* Arguments of this process, from bgw_extra. */
extern ProcessArgs kv_process_args(void);
/* Connects to the database and takes the slot; ends the process if the database is held. */
extern KvSlot *kv_process_begin(SlotKind kind, const ProcessArgs *args);
/* Reads the configuration again if it was asked to. */
extern void kv_process_reload(void);
/* Has somebody asked this process, which has a slot, to stop? Reads a changed configuration on the way. */
extern bool kv_process_should_stop(void);
/* Sleeps until somebody wakes this process, for so many ms at most. */
extern void kv_process_rest(long timeout_ms);
/* Starts a process of ours; false if max_worker_processes are in use. handle lives in CurrentMemoryContext. */
extern bool kv_process_start(const char *function, const char *type, const char *name, const ProcessArgs *args,
							 BackgroundWorkerHandle **handle);
/*
 * Runs body(arg). An error in it aborts the transaction, is noted in the slot (with back-off), is
 * logged if it is another one than before, and gives false. Runs: outside a transaction.
 */
extern bool kv_process_attempt(void (*body) (void *), void *arg, KvSlot *slot);
/* Notes a failure in the slot with back-off and logs it if it is another one than before. */
extern void kv_process_failed(KvSlot *slot, const char *message, const char *detail, const char *hint);
/* Notes in a slot what is waited for, which is no failure, and logs it as one; not again what stands there. */
extern void kv_process_waits(KvSlot *slot, const char *message, const char *detail, const char *hint);
/* Notes in a slot that max_worker_processes are in use, logs it once, and has it tried again soon. */
extern void kv_process_no_place(KvSlot *slot, const char *name);
/* The same where not even a slot is left for the process: the slot given is that of who starts it. */
extern void kv_process_no_slot(KvSlot *slot);

#endif							/* KV_PROCESSES_H */
