/*-------------------------------------------------------------------------
 * client.c
 *	  Makes and ends every librdkafka handle, and sorts errors into what to do.
 *
 * Why it exists: a handle has threads, and ending one in the wrong order hangs.
 * So each handle belongs to a memory context: what lies in child contexts
 * (messages, lists) is freed first, then the queues, then the handle. Process exit resets no
 * context, therefore a before_shmem_exit callback ends what is left: a
 * thread of librdkafka that runs while exit handlers free OpenSSL's tables would crash
 * the process, and with it the cluster.
 *
 * Invariant: librdkafka's threads never enter Postgres. No callback is set; logs
 * and errors are polled from a queue here. Ending a handle takes DESTROY_LIMIT_S
 * at most; one that hangs is left behind and logged. No handle ends under a call that uses it (kafka_call.c): at the
 * process' exit such a call is waited for CALL_LIMIT_MS and left behind with its handle.
 *
 * What a property may be set to is client_options.c's; brokers are asked about
 * topics in broker.c.
 *-------------------------------------------------------------------------
 */
#include "client.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "steady_clock.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define DESTROY_LIMIT_S 5
#define CALL_LIMIT_MS 1500
#define REPEAT_MS 30000

/* What the engine owns; set after the user's options. */
static const char *const consumer_engine[] = {
	"enable.auto.commit", "false", "enable.auto.offset.store", "false", "auto.offset.reset", "error",
	"isolation.level", "read_committed", "enable.partition.eof", "true", "allow.auto.create.topics", "false",
	"log.queue", "true", "statistics.interval.ms", "0", "socket.nagle.disable", "true", NULL
};
static const char *const producer_engine[] = {
	"partitioner", "murmur2_random", "log.queue", "true", "statistics.interval.ms", "0",
	"socket.nagle.disable", "true", NULL
};

/* Tuning that the user's options may change. */
static const char *const consumer_tuning[] = {
	/* 2M records take 1.7 s with 1M queued messages, 33 s with 20k (ENGINEERING.md) */
	"queued.min.messages", "1000000", "fetch.message.max.bytes", "4194304", "fetch.error.backoff.ms", "50",
	"topic.metadata.refresh.interval.ms", "30000", "reconnect.backoff.max.ms", "2000", NULL
};
static const char *const producer_tuning[] = {
	"compression.codec", "lz4", "queue.buffering.max.messages", "1000000", "linger.ms", "5",
	"reconnect.backoff.max.ms", "2000", NULL
};
/* The broker answers CONCURRENT_TRANSACTIONS just after a commit, and librdkafka waits one back-off: 80 or 15 ms. */
/* A large batch takes longer than the default minute; a publisher that died is fenced by the next one, not by this limit. */
static const char *const transactional_tuning[] = {"retry.backoff.ms", "5", "transaction.timeout.ms", "300000", NULL};

/* A handle with what only this room needs; KvClient comes first. */
typedef struct ClientHandle
{
	KvClient	client;
	rd_kafka_queue_t *log_queue;
	bool		is_consumer;
	char		last_error[512];	/* of the last log line at level error or worse; "" none */
	char		last_line[256]; /* of the server's log, or the beginning of it */
	TimestampTz last_line_at;
	dlist_node	node;			/* in live_handles */
	MemoryContextCallback callback;
} ClientHandle;

static dlist_head live_handles = DLIST_STATIC_INIT(live_handles);
static bool exit_callback_registered = false;
static bool left_behind = false;	/* a handle and its threads */

static KvClient *make_client(MemoryContext parent, Oid serverid, Oid role, const char *const *tuning,
							 const char *const *extra, bool is_consumer);
static rd_kafka_conf_t *make_conf(ForeignServer *server, Oid role, const char *const *tuning,
								  const char *const *extra, bool is_consumer);
static void set_list(rd_kafka_conf_t *conf, const ForeignServer *server, const char *const *list);
static void set_options(rd_kafka_conf_t *conf, const ForeignServer *server, List *options);
static void set_property(rd_kafka_conf_t *conf, const ForeignServer *server, const char *name, const char *value);
static List *user_mapping_options(Oid serverid, Oid role);
static bool list_has(const char *const *list, const char *name);
static void end_handle(void *arg);
static void end_live_handles(int code, Datum arg);
static void exit_at_once(int code, Datum arg);
static void destroy_bounded(ClientHandle *handle);
static void *destroy_in_thread(void *arg);
static void note_log(ClientHandle *handle, rd_kafka_event_t *event);
static bool is_news(ClientHandle *handle, const char *line);
static void destroy_list(void *arg);
static void destroy_topic(void *arg);

/* Runs: either. Blocks: not (connecting goes on in librdkafka's threads). */
KvClient *
kv_client_consumer(MemoryContext parent, Oid serverid, Oid role, const char *const *extra)
{
	return make_client(parent, serverid, role, NULL, extra, true);
}

/* Runs: in a transaction. Blocks: not. */
KvClient *
kv_client_tuned_consumer(MemoryContext parent, Oid serverid, Oid role, const char *const *tuning, const char *const *extra)
{
	return make_client(parent, serverid, role, tuning, extra, true);
}

/* Runs: in a transaction. Blocks: not. */
KvClient *
kv_client_producer(MemoryContext parent, Oid serverid, Oid role, const char *const *extra)
{
	return make_client(parent, serverid, role, NULL, extra, false);
}

/* Makes the handle in a context of its own, which frees it. Runs: in a transaction (reads catalogs). */
static KvClient *
make_client(MemoryContext parent, Oid serverid, Oid role, const char *const *tuning, const char *const *extra, bool is_consumer)
{
	ForeignServer *server = GetForeignServer(serverid);
	MemoryContext context = AllocSetContextCreate(parent, "kv client", ALLOCSET_SMALL_SIZES);
	ClientHandle *handle = MemoryContextAllocZero(context, sizeof(ClientHandle));
	KvClient   *client = &handle->client;
	uint64		wakeup = 1;
	char		words[512];
	rd_kafka_conf_t *conf;

	client->context = context;
	client->server_name = MemoryContextStrdup(context, server->servername);
	client->wakeup_fd = -1;
	handle->is_consumer = is_consumer;
	if (!exit_callback_registered)
	{
		before_shmem_exit(end_live_handles, (Datum) 0);
		on_proc_exit(exit_at_once, (Datum) 0);
		exit_callback_registered = true;
	}

	conf = make_conf(server, role, tuning, extra, is_consumer);
	client->rk = rd_kafka_new(is_consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, words, sizeof(words));
	if (client->rk == NULL)
	{
		rd_kafka_conf_destroy(conf);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("could not make a Kafka client for server \"%s\"", server->servername),
				 errdetail("librdkafka: %s", words),
				 errhint("Correct the options of the server or of the user mapping.")));
	}
	dlist_push_tail(&live_handles, &handle->node);
	handle->callback.func = end_handle;
	handle->callback.arg = handle;
	MemoryContextRegisterResetCallback(context, &handle->callback);

	handle->log_queue = rd_kafka_queue_new(client->rk);
	rd_kafka_set_log_queue(client->rk, handle->log_queue);
	/* token refresh of OAUTHBEARER runs in librdkafka's own thread; an error says that it is not in use */
	rd_kafka_error_destroy(rd_kafka_sasl_background_callbacks_enable(client->rk));
	client->queue = is_consumer ? rd_kafka_queue_get_consumer(client->rk) : rd_kafka_queue_get_main(client->rk);
	client->call.rk = client->rk;
	client->call.queue = client->queue;
	client->wakeup_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (client->wakeup_fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not make an event descriptor: %m")));
	rd_kafka_queue_io_event_enable(client->queue, client->wakeup_fd, &wakeup, sizeof(wakeup));
	return client;
}

/* Makes the configuration: tuning, the user's options, what the engine owns, the caller's extra. */
static rd_kafka_conf_t *
make_conf(ForeignServer *server, Oid role, const char *const *tuning, const char *const *extra, bool is_consumer)
{
	List	   *login = user_mapping_options(server->serverid, role);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set_list(conf, server, is_consumer ? consumer_tuning : producer_tuning);
	if (!is_consumer && list_has(extra, "transactional.id"))
		set_list(conf, server, transactional_tuning);
	if (tuning != NULL)
		set_list(conf, server, tuning);
	if (is_consumer)
		set_property(conf, server, "group.id", KV_EXTENSION);	/* never joined: partitions are assigned */
	set_options(conf, server, server->options);
	set_options(conf, server, login);
	set_list(conf, server, is_consumer ? consumer_engine : producer_engine);
	if (extra != NULL)
		set_list(conf, server, extra);
	rd_kafka_conf_set_events(conf, is_consumer ? RD_KAFKA_EVENT_LOG :
							 RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
	return conf;
}

static void
set_list(rd_kafka_conf_t *conf, const ForeignServer *server, const char *const *list)
{
	for (int i = 0; list[i] != NULL; i += 2)
		set_property(conf, server, list[i], list[i + 1]);
}

static void
set_options(rd_kafka_conf_t *conf, const ForeignServer *server, List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		set_property(conf, server, kv_client_property_name(option->defname), defGetString(option));
	}
}

/* Sets a property, or frees conf and raises an error; the value is in no text, as it may be a secret. */
static void
set_property(rd_kafka_conf_t *conf, const ForeignServer *server, const char *name, const char *value)
{
	char		words[512];

	if (rd_kafka_conf_set(conf, name, value, words, sizeof(words)) == RD_KAFKA_CONF_OK)
		return;
	rd_kafka_conf_destroy(conf);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
			 errmsg("could not set property \"%s\" for server \"%s\"", name, server->servername),
			 errhint("Correct the option with ALTER SERVER or ALTER USER MAPPING.")));
}

/* Reads the mapping of role or of PUBLIC; a server may be used without any. */
static List *
user_mapping_options(Oid serverid, Oid role)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role), ObjectIdGetDatum(serverid));
	bool		exists = HeapTupleIsValid(tuple);

	if (!exists)
	{
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(serverid));
		exists = HeapTupleIsValid(tuple);
	}
	if (!exists)
		return NIL;
	ReleaseSysCache(tuple);
	return GetUserMapping(role, serverid)->options;
}

static bool
list_has(const char *const *list, const char *name)
{
	for (int i = 0; list != NULL && list[i] != NULL; i += 2)
	{
		if (strcmp(list[i], name) == 0)
			return true;
	}
	return false;
}

/* Runs: either. Blocks: DESTROY_LIMIT_S. */
void
kv_client_destroy(KvClient *client)
{
	MemoryContextDelete(client->context);
}

/* Ends a handle when its context is reset; its child contexts are gone already. */
static void
end_handle(void *arg)
{
	ClientHandle *handle = arg;

	kv_call_cancel(&handle->client.call);
	(void) kv_call_wait(&handle->client.call, -1);
	kv_call_forget(&handle->client.call);
	dlist_delete(&handle->node);
	destroy_bounded(handle);
	if (handle->client.wakeup_fd >= 0)
		close(handle->client.wakeup_fd);
}

/* Ends what is left when the process exits: messages lie in child contexts. */
static void
end_live_handles(int code, Datum arg)
{
	TimestampTz limit = TimestampTzPlusMilliseconds(kv_steady_now(), CALL_LIMIT_MS);

	while (!dlist_is_empty(&live_handles))
	{
		ClientHandle *handle = dlist_head_element(ClientHandle, node, &live_handles);

		kv_call_cancel(&handle->client.call);
		if (kv_call_wait(&handle->client.call, Max(0, TimestampDifferenceMilliseconds(kv_steady_now(), limit))))
			MemoryContextDelete(handle->client.context);
		else
		{
			dlist_delete(&handle->node);
			left_behind = true;
		}
	}
}

/* Exit handlers of libraries would free what threads that were left behind use: the process goes without them. */
static void
exit_at_once(int code, Datum arg)
{
	if (left_behind)
		_exit(code);
}

/*
 * Destroys the handle in a thread that may be left behind: rd_kafka_destroy waits for
 * ever where a message or a broker thread is stuck.
 */
static void
destroy_bounded(ClientHandle *handle)
{
	KvClient   *client = &handle->client;
	pthread_t	thread;
	sigset_t	all,
				before;
	struct timespec until;
	bool		ended = false;

	if (client->queue != NULL)
		rd_kafka_queue_io_event_enable(client->queue, -1, NULL, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, destroy_in_thread, handle) == 0)
	{
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += DESTROY_LIMIT_S;
		ended = pthread_timedjoin_np(thread, NULL, &until) == 0;
		if (!ended)
			pthread_detach(thread);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	left_behind = left_behind || !ended;
	if (!ended)
		ereport(LOG,
				(errmsg("could not end a Kafka client of server \"%s\" within %d s", client->server_name, DESTROY_LIMIT_S),
				 errdetail("Its threads stay until the process ends.")));
}

/* The order is librdkafka's: what is under way, queues, handle. Never enters Postgres. */
static void *
destroy_in_thread(void *arg)
{
	ClientHandle *handle = arg;
	rd_kafka_t *rk = handle->client.rk;
	rd_kafka_queue_t *queue = handle->client.queue;
	rd_kafka_queue_t *log_queue = handle->log_queue;

	if (!handle->is_consumer)
		rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
	rd_kafka_set_log_queue(rk, NULL);
	if (queue != NULL)
		rd_kafka_queue_destroy(queue);
	if (log_queue != NULL)
		rd_kafka_queue_destroy(log_queue);
	/* nobody joined a group, so there is none to leave */
	rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	return NULL;
}

/* Runs: either. Blocks: not. */
void
kv_client_drain_logs(KvClient *client)
{
	ClientHandle *handle = (ClientHandle *) client;
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(handle->log_queue, 0)) != NULL)
	{
		note_log(handle, event);
		rd_kafka_event_destroy(event);
	}
}

/*
 * Passes a line on to the server's log: as LOG in a worker, where nobody else
 * reports it, as DEBUG1 in a session, whose ERROR will carry it. Of lines that are all the same one comes every
 * 30 s: librdkafka keeps to that too, but not where it tries again to open a producer.
 */
static void
note_log(ClientHandle *handle, rd_kafka_event_t *event)
{
	const char *facility,
			   *line;
	int			level;

	if (rd_kafka_event_type(event) != RD_KAFKA_EVENT_LOG || rd_kafka_event_log(event, &facility, &line, &level) != 0)
		return;
	if (strcmp(facility, "CONFWARN") == 0)
		return;					/* a consumer says so about each producer property, and the other way round */
	if (strncmp(line, "[thrd:", 6) == 0 && strstr(line, "]: ") != NULL)
		line = strstr(line, "]: ") + 3;
	if (level <= LOG_ERR)
		strlcpy(handle->last_error, line, sizeof(handle->last_error));
	ereport(level <= LOG_WARNING && MyBackendType == B_BG_WORKER && is_news(handle, line) ? LOG : DEBUG1,
			(errmsg("Kafka server \"%s\": %s", handle->client.server_name, line),
			 errhidestmt(true)));
}

/* Tells whether a line is another one than the last, or the same after a while. */
static bool
is_news(ClientHandle *handle, const char *line)
{
	TimestampTz now = kv_steady_now();

	if (strncmp(handle->last_line, line, sizeof(handle->last_line) - 1) == 0 && now < TimestampTzPlusMilliseconds(handle->last_line_at, REPEAT_MS))
		return false;
	strlcpy(handle->last_line, line, sizeof(handle->last_line));
	handle->last_line_at = now;
	return true;
}

/* Runs: either. Blocks: not. */
char *
kv_client_last_error(KvClient *client)
{
	ClientHandle *handle = (ClientHandle *) client;

	kv_client_drain_logs(client);
	return handle->last_error[0] != '\0' ? pstrdup(handle->last_error) : NULL;
}

rd_kafka_topic_partition_list_t *
kv_client_list(MemoryContext context, int size)
{
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(size);

	callback->func = destroy_list;
	callback->arg = list;
	MemoryContextRegisterResetCallback(context, callback);
	return list;
}

static void
destroy_list(void *arg)
{
	rd_kafka_topic_partition_list_destroy(arg);
}

/* Runs: either. Blocks: not. */
rd_kafka_queue_t *
kv_client_new_queue(KvClient *client)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
	uint64		wakeup = 1;

	rd_kafka_queue_io_event_enable(queue, client->wakeup_fd, &wakeup, sizeof(wakeup));
	return queue;
}

/* Opens a topic for producing, closed when context is reset, which lies inside the client's; NULL: rd_kafka_last_error() says why. */
rd_kafka_topic_t *
kv_client_topic(KvClient *client, MemoryContext context, const char *name)
{
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));
	rd_kafka_topic_t *topic = rd_kafka_topic_new(client->rk, name, NULL);

	if (topic == NULL)
		return NULL;
	callback->func = destroy_topic;
	callback->arg = topic;
	MemoryContextRegisterResetCallback(context, callback);
	return topic;
}

static void
destroy_topic(void *arg)
{
	rd_kafka_topic_destroy(arg);
}

/* Says what an error of a consumer or of a plain call asks for. */
KvErrorKind
kv_error_kind(rd_kafka_resp_err_t err)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR__FATAL:
		case RD_KAFKA_RESP_ERR__DESTROY:
		case RD_KAFKA_RESP_ERR__STATE:
			return KAFKA_RECREATE;
		case RD_KAFKA_RESP_ERR__FENCED:
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR__INVALID_ARG:
		case RD_KAFKA_RESP_ERR__SSL:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
		case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
		case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
		case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
			return KAFKA_STOP;
		default:
			return KAFKA_RETRY;
	}
}

/* Says what an error of a transactional call asks for; librdkafka's own marks come first. */
KvErrorKind
kv_error_kind_txn(const rd_kafka_error_t *error)
{
	rd_kafka_resp_err_t err = rd_kafka_error_code(error);

	if (rd_kafka_error_is_fatal(error))
		return err == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED ||
			err == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ? KAFKA_STOP : KAFKA_RECREATE;
	if (rd_kafka_error_txn_requires_abort(error))
		return KAFKA_ABORT;
	if (rd_kafka_error_is_retriable(error) || err == RD_KAFKA_RESP_ERR__TIMED_OUT)
		return KAFKA_RETRY;
	return kv_error_kind(err);
}
