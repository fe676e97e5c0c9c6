/*
 * kafka_call.c: calls into librdkafka that block, in threads of their own.
 *
 * Why it exists: librdkafka's transactional calls wait for brokers, some of them (send_offsets_to_transaction) for as long as
 * socket.timeout.ms whatever limit they are given, and they cannot be asked to return at once: one that is broken off for a short limit has
 * to abort the transaction. A process that has other things to do lets a thread wait.
 *
 * Invariant: the thread calls librdkafka and never enters Postgres: its body gets and gives everything through the KafkaCall, and
 * all signals are blocked in it. What the call uses stands until it is over. The end of a call is a write to an eventfd.
 *
 * librdkafka (2.0.2) has calls that may never return, whatever their limit: send_offsets_to_transaction, if the coordinator of the group
 * goes while it looks for it. There is no way to end a thread in it, so such a call is called lost, for the process to draw the conclusion.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "utils/memutils.h"

#include "fault_point.h"
#include "kafka_call.h"
#include "steady_clock.h"

/* No limit is longer: that of a transaction is the broker's, that of a request socket.timeout.ms, 300 s at most. */
#define LOST_MS 330000

static int	ended_fd = -1;		/* of the process */
static bool one_is_lost = false;

static bool is_lost(const KafkaCall *call);
static void *run_body(void *arg);
static void wait_in_callback(void *arg);


/* See the header. */
void
kv_call_start(KafkaCall *call)
{
	(void) kv_call_fd();
	if (!kv_call_try_start(call))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a thread for a call to Kafka: %m")));
}

/* See the header; errno says why. */
bool
kv_call_try_start(KafkaCall *call)
{
	sigset_t	all,
				before;

	Assert(!call->running);
	kv_call_forget(call);
	call->err = RD_KAFKA_RESP_ERR_NO_ERROR;
	call->cancelled = false;
	call->ended = false;
	call->began_at = kv_steady_now();
	if (ended_fd < 0)
		return false;			/* nobody would hear of its end */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	errno = pthread_create(&call->thread, NULL, run_body, call);
	call->running = errno == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return call->running;
}

/* The thread. Never enters Postgres. */
static void *
run_body(void *arg)
{
	KafkaCall  *call = arg;
	uint64		one = 1;

	if (call->pause_ms > 0)
	{
		struct timespec pause = {call->pause_ms / 1000, call->pause_ms % 1000 * 1000000L};

		(void) nanosleep(&pause, NULL);
	}
	KV_FAULT_HANG();
	call->body(call);
	__atomic_store_n(&call->ended, true, __ATOMIC_RELEASE);
	(void) !write(ended_fd, &one, sizeof(one));
	return NULL;
}

/* See the header. */
bool
kv_call_is_running(KafkaCall *call)
{
	if (call->running && __atomic_load_n(&call->ended, __ATOMIC_ACQUIRE))
		call->running = pthread_join(call->thread, NULL) != 0;
	one_is_lost = one_is_lost || (call->running && is_lost(call));
	return call->running;
}

/* Has it been under way for longer than it may take? */
static bool
is_lost(const KafkaCall *call)
{
	int			limit_ms = LOST_MS;

#ifdef KV_FAULT_POINTS
	if (kv_fault_calls_hang(false))
		limit_ms = 1000;		/* no test waits that long */
#endif
	return kv_steady_now() > TimestampTzPlusMilliseconds(call->began_at, limit_ms);
}

/* See the header. */
bool
kv_call_one_is_lost(void)
{
	return one_is_lost;
}

/* See the header. */
bool
kv_call_wait(KafkaCall *call, int limit_ms)
{
	struct timespec until;

	if (!call->running)
		return true;
	if (limit_ms < 0)
		call->running = pthread_join(call->thread, NULL) != 0;
	else
	{
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += limit_ms / 1000;
		until.tv_nsec += limit_ms % 1000 * 1000000L;
		if (until.tv_nsec >= 1000000000L)
		{
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		call->running = pthread_timedjoin_np(call->thread, NULL, &until) != 0;
	}
	return !call->running;
}

/* See the header. */
void
kv_call_forget(KafkaCall *call)
{
	if (call->error != NULL)
		rd_kafka_error_destroy(call->error);
	if (call->metadata != NULL)
		rd_kafka_metadata_destroy(call->metadata);
	if (call->event != NULL)
		rd_kafka_event_destroy(call->event);
	call->error = NULL;
	call->metadata = NULL;
	call->event = NULL;
}

/* See the header. */
void
kv_call_cancel(KafkaCall *call)
{
	__atomic_store_n(&call->cancelled, true, __ATOMIC_RELEASE);
}

/* See the header. The child goes before what lies in the context itself is freed. */
void
kv_call_guard(KafkaCall *call, MemoryContext context)
{
	MemoryContext guard = AllocSetContextCreate(context, "kv call", ALLOCSET_SMALL_SIZES);
	MemoryContextCallback *callback = MemoryContextAlloc(guard, sizeof(MemoryContextCallback));

	callback->func = wait_in_callback;
	callback->arg = call;
	MemoryContextRegisterResetCallback(guard, callback);
}

static void
wait_in_callback(void *arg)
{
	(void) kv_call_wait(arg, -1);
}

/* See the header. */
int
kv_call_fd(void)
{
	if (ended_fd < 0)
	{
		ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (ended_fd < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not make an event descriptor: %m")));
	}
	return ended_fd;
}

/* See the header. */
void
kv_call_drain(void)
{
	uint64		count;

	(void) !read(kv_call_fd(), &count, sizeof(count));
}
