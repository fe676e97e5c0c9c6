/*
 * attempt.c: runs a batch until it commits, or until its error ends the run.
 *
 * What asks for another attempt, for which the records need not be fetched again: a conflict with another session (deadlock, lock); a
 * batch that is too large, which is made smaller (batch_size.c); a record at which on_error 'stop' stops the pipeline, where good ones come
 * before it in the batch, which are committed first, so that the position then is that record's.
 *
 * An error of dead letters that are tried again, which no record of them is to blame for, is the answer to who asked for it, whatever it is, once it has
 * not passed by itself: records that come wait until a disk has room, but not for what a person has asked for. So what cannot be applied, cancels itself or
 * takes all memory holds up nobody, and pg_cancel_backend takes a request back while the worker is at it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "attempt.h"
#include "batch.h"
#include "batch_size.h"
#include "members.h"
#include "processes.h"
#include "retry.h"

#define CONFLICT_TRIES 5

static bool run(Pipeline *pipeline, BatchKind kind);
static bool may_pass(const Pipeline *pipeline, int sqlstate);
static bool is_conflict(int sqlstate);
static bool stops_at_another(Pipeline *pipeline, const Partition *partition, int64 offset);
static bool answers_request(const Pipeline *pipeline);


/* Runs a batch; see attempt.h. The PG_TRY turns an error into a choice: another attempt, an answer, or the end of the run. */
bool
kv_attempt_batch(Pipeline *pipeline, BatchKind kind)
{
	for (volatile int tries = 1;; tries++)
	{
		Partition  *stop_partition = pipeline->stop_partition;
		int64		stop_offset = pipeline->stop_offset;
		ErrorData  *volatile error = NULL;
		volatile int64 taken = 0;
		volatile bool ran = false;

		PG_TRY();
		{
			ran = run(pipeline, kind);
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(pipeline->context);
			error = CopyErrorData();
			FlushErrorState();
			AbortOutOfAnyTransaction();
			MemoryContextSwitchTo(pipeline->context);
		}
		PG_END_TRY();
		if (error == NULL)
		{
			kv_batch_size_fits(pipeline);
			return ran;
		}

		taken = pipeline->uncommitted_records;
		if (kv_batch_size_halve(pipeline, taken, error))
			tries = 0;
		else if (stops_at_another(pipeline, stop_partition, stop_offset))
			tries = 0;
		else if (!may_pass(pipeline, error->sqlerrcode) || tries >= CONFLICT_TRIES)
		{
			bool		answers = answers_request(pipeline);

			if (answers)
				kv_retry_give_up(pipeline, error);
			kv_batch_failed(pipeline);
			MemoryContextSwitchTo(pipeline->context);
			if (!answers)
				ReThrowError(error);
			FreeErrorData(error);
			return false;
		}
		kv_batch_failed(pipeline);
		MemoryContextSwitchTo(pipeline->context);
		FreeErrorData(error);
		pg_usleep(10000L * tries);
	}
}

static bool
run(Pipeline *pipeline, BatchKind kind)
{
	switch (kind)
	{
		case BATCH_OF_RECORDS:
			return kv_batch_run(pipeline, false);
		case BATCH_OF_TIME:
			return kv_batch_run(pipeline, true);
		case BATCH_OF_RETRIES:
			return kv_batch_retry(pipeline);
	}
	return false;
}

/* Tells whether an error may pass at once. Trouble of the server ends a run, which begins again by itself; a request does not. */
static bool
may_pass(const Pipeline *pipeline, int sqlstate)
{
	if (is_conflict(sqlstate))
		return true;
	if (pipeline->retry == NULL || sqlstate == ERRCODE_QUERY_CANCELED)
		return false;
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):
			return true;
		default:
			return false;
	}
}

/* Deadlock, serialization failure, lock not available. */
static bool
is_conflict(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_T_R_DEADLOCK_DETECTED) ||
		sqlstate == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Tells whether a record has stopped the batch that did not stop the last one: then the next attempt ends before it. */
static bool
stops_at_another(Pipeline *pipeline, const Partition *partition, int64 offset)
{
	return pipeline->stop_partition != NULL && (pipeline->stop_partition != partition || pipeline->stop_offset != offset);
}

/* Tells whether an error answers who asked for dead letters to be tried again; not where the next run tries them: other definitions, a stop. */
static bool
answers_request(const Pipeline *pipeline)
{
	return pipeline->retry != NULL && !kv_members_invalid && !kv_process_should_stop();
}
