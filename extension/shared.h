/*
 * shared.h: shared memory: one slot per process of ours and per pipeline, with
 * latch, counters and the last error, and one slot per database for the launcher.
 * Counters are for people to look at (kafka.pipelines); nothing depends on them.
 */
#ifndef KV_SHARED_H
#define KV_SHARED_H

#include "kafka_views.h"
#include "nodes/pg_list.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

typedef enum SlotKind
{
	SLOT_FREE, SLOT_LAUNCHER, SLOT_SUPERVISOR, SLOT_WORKER, SLOT_PUBLISHER,
	SLOT_OUTPUT					/* no process: how the publisher fares with one pipeline */
} SlotKind;

typedef enum PipelinePhase
{
	PIPELINE_WAITING,			/* for a process, or backing off after an error */
	PIPELINE_STARTING,			/* recovery: identity, positions */
	PIPELINE_RELOADING,			/* refills unlogged buffers, bootstraps tables */
	PIPELINE_REDOING,			/* applies again what Kafka has and Postgres has lost */
	PIPELINE_CATCHING_UP,
	PIPELINE_LIVE,
	PIPELINE_PAUSED,
	PIPELINE_FAILED				/* the last attempt ended in an error; will be tried again at retry_at */
} PipelinePhase;

#define KV_ERROR_LEN 512

/* What is wrong while a publisher lacks_output: its own error is that of ordinary transactions, which go out meanwhile. */
#define KV_LACKS_OUTPUT "no place is left for the output of another pipeline, and it is not published"
#define KV_LACKS_OUTPUT_HINT "Raise kafka.max_workers and restart the server. It starts by itself when another pipeline is dropped."

typedef struct KvSlot
{
	SlotKind	kind;
	Oid			database;
	int64		id;				/* worker, output: pipeline; publisher: server oid; else 0 */
	pid_t		pid;			/* 0: not running */
	Latch	   *latch;			/* of the process, NULL when not running */
	bool		stop_requested; /* SIGTERM has been sent; under the lock */
	bool		requested;		/* supervisor: CREATE EXTENSION asked for it; under the lock */
	PipelinePhase phase;
	bool		recovered;		/* output: its publisher knows what Kafka has, and has noted what has to be done again */
	bool		lacks_output;	/* publisher: a pipeline finds no slot for its output; written by the owner only */
	int64		undecided;		/* publisher: the batch of ordinary transactions that a person is asked about, 0: none; written by the owner only */
	/* counters since the process started; written by the owner only, read without a lock */
	uint64		batches;
	uint64		records;
	uint64		dead_letters;
	uint64		null_values;
	uint64		published_messages;
	uint64		buffered_records;	/* polled, not yet applied */
	uint64		reload_done,
				reload_total;
	double		batch_ms;		/* moving average */
	double		records_per_second; /* moving average over some 5 s */
	TimestampTz last_batch_at;
	/* trouble; under the lock */
	int			failures;		/* in a row */
	TimestampTz retry_at;
	TimestampTz error_at;
	char		error[KV_ERROR_LEN];	/* "" none */
	char		error_detail[KV_ERROR_LEN];
	char		error_hint[KV_ERROR_LEN];
} KvSlot;

extern void kv_shared_request(void);	/* in shmem_request_hook */
extern void kv_shared_startup(void);	/* in shmem_startup_hook */
extern bool kv_shared_available(void);	/* was the library preloaded? */

/* Finds or makes the slot of (kind, database, id); NULL when all are taken. A slot keeps its error when its process ends. */
extern KvSlot *kv_slot_get(SlotKind kind, Oid database, int64 id, bool create);
extern void kv_slot_free(KvSlot *slot); /* unless a process runs in it */
extern void kv_slot_resign(KvSlot *slot);	/* by the process itself: free unless requested again */
extern void kv_slot_attach(KvSlot *slot);	/* by the process itself: pid, latch; detached at exit */
extern KvSlot *kv_my_slot;
extern void kv_slot_set_error(KvSlot *slot, const char *message, const char *detail, const char *hint);
extern void kv_slot_clear_error(KvSlot *slot);
extern void kv_slot_wait(KvSlot *slot, long wait_ms);	/* phase waiting until then; no failure */
extern TimestampTz kv_slot_back_off(KvSlot *slot);	/* one more failure: phase failed, retry_at in 1 s doubling to 60 s */
/* Copies of all slots of a database (0: all), for views. */
extern List *kv_slot_list(Oid database);

extern bool kv_wake(SlotKind kind, Oid database, int64 id);	/* sets the latch; false if none runs; id -1: all of the kind */
extern void kv_wake_at_commit(SlotKind kind, Oid database, int64 id);	/* the same when this transaction commits */
extern void kv_pipeline_wake(int64 pipeline);	/* supervisor and worker, at commit */
/* CREATE EXTENSION in this database, at commit: launcher should start a supervisor. */
extern void kv_request_supervisor_at_commit(void);
/* DROP DATABASE, CREATE DATABASE TEMPLATE: stop what is connected to it and keep it stopped until released; waits up to 30 s. */
extern void kv_database_hold(Oid database);
extern void kv_database_release(Oid database);
extern bool kv_database_is_held(Oid database);

#endif							/* KV_SHARED_H */
