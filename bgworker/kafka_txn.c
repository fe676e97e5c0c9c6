/*
 * kafka_txn.c: one Kafka transaction: its messages and the positions of the
 * group, which become visible to read_committed readers together or not at all.
 *
 * A producer: OPEN (fenced its predecessors) -begin-> IN TRANSACTION -commit-> OPEN;
 * an error in a transaction -abort-> OPEN, or DEAD where that fails. DEAD ends with
 * kv_txn_close. What a commit of unknown outcome did is not guessed: the
 * caller closes the producer, opens another one, and reads the metadata.
 *
 * librdkafka sorts errors into: retriable (the same call again), requiring an
 * abort, fatal. Every call blocks in slices of a second, between which a stop is
 * seen. A message that cannot be delivered makes the commit fail, so what is
 * committed is complete.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "broker.h"
#include "fault_point.h"
#include "kafka_txn.h"

#define SLICE_MS 1000
#define CALL_LIMIT_MS 30000

/* A commit may have to wait for messages as long as the broker lets a transaction live. */
#define COMMIT_LIMIT_MS 240000
#define ABORT_LIMIT_MS 5000
#define TOPIC_LIMIT_MS 10000

struct KafkaTxn
{
	KvClient   *client;
	char	   *name;
	rd_kafka_consumer_group_metadata_t *group;
	TxnTopics	topics;
	TxnTopic   *last_topic;
	bool		in_transaction;
	bool		dead;
	bool		fenced;
	rd_kafka_resp_err_t failure;	/* of the first message that could not be delivered */
	char		failed_topic[256];
	MemoryContextCallback callback;
};

static void free_group(void *arg);
static void init_transactions(KafkaTxn *txn);
static TxnTopic *get_topic(KafkaTxn *txn, const char *name);
static void learn_partitions(KafkaTxn *txn, TxnTopic *topic);
static void serve_events(KafkaTxn *txn, int timeout_ms);
static void wait_for_delivery(KafkaTxn *txn, TimestampTz deadline);
static void send_offsets(KafkaTxn *txn, const KafkaOffset *offsets, int noffsets, const char *metadata, TimestampTz deadline);
static rd_kafka_topic_partition_list_t *make_list(MemoryContext context, const KafkaOffset *offsets, int noffsets,
												  const char *metadata);
static bool may_retry(KafkaTxn *txn, rd_kafka_error_t *error, TimestampTz deadline, const char *what);
static void raise_error(KafkaTxn *txn, rd_kafka_resp_err_t code, const char *words, const char *what, const char *topic)
			pg_attribute_noreturn();
static const char *hint_for(rd_kafka_resp_err_t code);
static TimestampTz deadline_in(int limit_ms);
static void check_stop(void);


/* Opens a producer and fences its predecessors. Runs: outside a transaction. Blocks: 30 s at most. */
KafkaTxn *
kv_txn_open(MemoryContext parent, Oid serverid, Oid role, const char *name)
{
	const char *const extra[] = {
		"transactional.id", name, "delivery.report.only.error", "true", "queue.buffering.max.messages", "1000000",
		"queue.buffering.max.kbytes", "1048576", NULL
	};
	MemoryContext save = CurrentMemoryContext;
	KvClient   *client;
	MemoryContext context;
	KafkaTxn   *txn;

	/* the options of server and user mapping are read from the catalogs */
	StartTransactionCommand();
	client = kv_client_producer(parent, serverid, role, extra);
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);

	context = AllocSetContextCreate(client->context, "kv transactions", ALLOCSET_SMALL_SIZES);
	txn = MemoryContextAllocZero(context, sizeof(KafkaTxn));
	txn->client = client;
	txn->topics.client = client;
	txn->topics.context = context;
	txn->name = MemoryContextStrdup(context, name);
	txn->group = rd_kafka_consumer_group_metadata_new(name);
	txn->callback.func = free_group;
	txn->callback.arg = txn;
	MemoryContextRegisterResetCallback(context, &txn->callback);
	KV_FAULT_POINT("kafka_before_init");
	init_transactions(txn);
	return txn;
}

/* Frees the group's name as librdkafka has it, before the handle goes. */
static void
free_group(void *arg)
{
	KafkaTxn   *txn = arg;

	rd_kafka_consumer_group_metadata_destroy(txn->group);
}

static void
init_transactions(KafkaTxn *txn)
{
	TimestampTz deadline = deadline_in(CALL_LIMIT_MS);
	rd_kafka_error_t *error;

	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	while ((error = rd_kafka_init_transactions(txn->client->rk, SLICE_MS)) != NULL)
	{
		serve_events(txn, 0);
		if (!may_retry(txn, error, deadline, "start transactions"))
			break;
	}
	pgstat_report_wait_end();
}

/* Destroys the producer; a transaction that is open will be aborted by whoever opens the next one. */
void
kv_txn_close(KafkaTxn *txn)
{
	kv_client_destroy(txn->client);
}

KvClient *
kv_txn_client(KafkaTxn *txn)
{
	return txn->client;
}

void
kv_txn_begin(KafkaTxn *txn)
{
	rd_kafka_error_t *error = rd_kafka_begin_transaction(txn->client->rk);

	txn->failure = RD_KAFKA_RESP_ERR_NO_ERROR;
	if (error != NULL)
		(void) may_retry(txn, error, 0, "begin a transaction");
	txn->in_transaction = true;
	KV_FAULT_POINT("kafka_begun");
}

/* Queues a message, waiting for room in the queue. */
void
kv_txn_produce(KafkaTxn *txn, const OutboxMessage *message, uint32 hash)
{
	TxnTopic   *topic = get_topic(txn, message->topic);
	rd_kafka_vu_t vus[7];
	int			n = 0;
	rd_kafka_error_t *error;
	rd_kafka_headers_t *headers = NULL;

	vus[n].vtype = RD_KAFKA_VTYPE_RKT;
	vus[n++].u.rkt = topic->rkt;
	vus[n].vtype = RD_KAFKA_VTYPE_PARTITION;
	vus[n++].u.i32 = kv_topic_partition(topic, message, hash);
	vus[n].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
	vus[n++].u.i = RD_KAFKA_MSG_F_COPY;
	vus[n].vtype = RD_KAFKA_VTYPE_VALUE;
	vus[n].u.mem.ptr = (void *) message->value;
	vus[n++].u.mem.size = message->value_len;
	vus[n].vtype = RD_KAFKA_VTYPE_KEY;
	vus[n].u.mem.ptr = (void *) message->key;
	vus[n++].u.mem.size = message->key_len;
	if (message->time_ms >= 0)
	{
		vus[n].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
		vus[n++].u.i64 = message->time_ms;
	}
	if (message->headers != NULL)
	{
		headers = kv_headers_unpack(message);
		vus[n].vtype = RD_KAFKA_VTYPE_HEADERS;
		vus[n++].u.headers = headers;
	}

	while ((error = rd_kafka_produceva(txn->client->rk, vus, n)) != NULL)
	{
		rd_kafka_resp_err_t code = rd_kafka_error_code(error);

		if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL || txn->failure != RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			if (headers != NULL)
				rd_kafka_headers_destroy(headers);
			if (code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
				topic->known_at = 0;
			rd_kafka_error_destroy(error);
			raise_error(txn, code, rd_kafka_err2str(code), "write to", topic->name);
		}
		rd_kafka_error_destroy(error);
		serve_events(txn, 100);
		check_stop();
	}
}

/* Finds or opens a topic and learns its partitions; raises an error if the broker does not have it. */
static TxnTopic *
get_topic(KafkaTxn *txn, const char *name)
{
	TxnTopic   *topic = kv_topics_get(&txn->topics, name);

	if (topic == NULL)
		raise_error(txn, rd_kafka_last_error(), rd_kafka_err2str(rd_kafka_last_error()), "open", name);
	if (topic != txn->last_topic && kv_topic_is_stale(topic))
		learn_partitions(txn, topic);
	return txn->last_topic = topic;
}

static void
learn_partitions(KafkaTxn *txn, TxnTopic *topic)
{
	bool		unknown;
	char	   *words;
	int			npartitions = kv_broker_partitions(txn->client, topic->name, TOPIC_LIMIT_MS, &unknown, &words);

	if (npartitions <= 0)
		raise_error(txn, unknown ? RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART : RD_KAFKA_RESP_ERR__TRANSPORT, words,
					"find", topic->name);
	topic->npartitions = npartitions;
	topic->known_at = GetCurrentTimestamp();
}

/* Takes delivery failures and logs from the client's queues; waits for the first event up to timeout_ms. */
static void
serve_events(KafkaTxn *txn, int timeout_ms)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(txn->client->queue, timeout_ms)) != NULL)
	{
		const rd_kafka_message_t *msg;

		while (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR && (msg = rd_kafka_event_message_next(event)) != NULL)
		{
			if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR || txn->failure != RD_KAFKA_RESP_ERR_NO_ERROR)
				continue;
			txn->failure = msg->err;
			strlcpy(txn->failed_topic, rd_kafka_topic_name(msg->rkt), sizeof(txn->failed_topic));
		}
		rd_kafka_event_destroy(event);
		timeout_ms = 0;
	}
	kv_client_drain_logs(txn->client);
}

/* Commits messages and offsets. Blocks: 60 s at most. */
void
kv_txn_commit(KafkaTxn *txn, const KafkaOffset *offsets, int noffsets, const char *metadata)
{
	TimestampTz deadline = deadline_in(COMMIT_LIMIT_MS);
	rd_kafka_error_t *error;

	KV_FAULT_POINT("kafka_produced");
	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	wait_for_delivery(txn, deadline);
	KV_FAULT_POINT("kafka_delivered");
	send_offsets(txn, offsets, noffsets, metadata, deadline);
	KV_FAULT_POINT("kafka_offsets_sent");
	while ((error = rd_kafka_commit_transaction(txn->client->rk, SLICE_MS)) != NULL)
	{
		serve_events(txn, 0);
		if (!may_retry(txn, error, deadline, "commit a transaction"))
			break;
	}
	pgstat_report_wait_end();
	txn->in_transaction = false;
	KV_FAULT_POINT("kafka_committed");
}

/* Waits until the broker has all messages; delivery reports are events, which the commit would not serve. */
static void
wait_for_delivery(KafkaTxn *txn, TimestampTz deadline)
{
	while (rd_kafka_outq_len(txn->client->rk) > 0 && txn->failure == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		serve_events(txn, 1);
		check_stop();
		if (GetCurrentTimestamp() > deadline)
			raise_error(txn, RD_KAFKA_RESP_ERR__TIMED_OUT, "the broker did not take all messages in time", "write messages", NULL);
	}
	if (txn->failure != RD_KAFKA_RESP_ERR_NO_ERROR)
		raise_error(txn, txn->failure, rd_kafka_err2str(txn->failure), "write to", txn->failed_topic);
}

static void
send_offsets(KafkaTxn *txn, const KafkaOffset *offsets, int noffsets, const char *metadata, TimestampTz deadline)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kv offsets", ALLOCSET_SMALL_SIZES);
	rd_kafka_topic_partition_list_t *list = make_list(context, offsets, noffsets, metadata);
	rd_kafka_error_t *error;

	while ((error = rd_kafka_send_offsets_to_transaction(txn->client->rk, list, txn->group, SLICE_MS)) != NULL)
	{
		serve_events(txn, 0);
		if (!may_retry(txn, error, deadline, "commit positions"))
			break;
	}
	MemoryContextDelete(context);
}

static rd_kafka_topic_partition_list_t *
make_list(MemoryContext context, const KafkaOffset *offsets, int noffsets, const char *metadata)
{
	rd_kafka_topic_partition_list_t *list = kv_client_list(context, noffsets);

	for (int i = 0; i < noffsets; i++)
	{
		rd_kafka_topic_partition_t *partition = rd_kafka_topic_partition_list_add(list, offsets[i].topic, offsets[i].partition);

		partition->offset = offsets[i].offset;
		if (metadata != NULL)
		{
			partition->metadata = strdup(metadata);
			partition->metadata_size = strlen(metadata);
		}
	}
	return list;
}

/* Aborts what is open; see the header. */
bool
kv_txn_abort(KafkaTxn *txn)
{
	TimestampTz deadline = deadline_in(ABORT_LIMIT_MS);

	while (txn->in_transaction && !txn->dead)
	{
		rd_kafka_error_t *error = rd_kafka_abort_transaction(txn->client->rk, SLICE_MS);

		serve_events(txn, 0);
		if (error == NULL)
			txn->in_transaction = false;
		else
		{
			if (kv_error_kind_txn(error) != KAFKA_RETRY || GetCurrentTimestamp() > deadline || ShutdownRequestPending)
				txn->dead = true;
			rd_kafka_error_destroy(error);
		}
	}
	return !txn->dead;
}

bool
kv_txn_is_fenced(KafkaTxn *txn)
{
	return txn->fenced;
}

/*
 * Decides about an error of a transactional call and destroys it: true to call
 * again. Raises an error where that is of no use or the deadline has passed.
 */
static bool
may_retry(KafkaTxn *txn, rd_kafka_error_t *error, TimestampTz deadline, const char *what)
{
	rd_kafka_resp_err_t code = rd_kafka_error_code(error);
	KvErrorKind kind = kv_error_kind_txn(error);
	char	   *words = pstrdup(rd_kafka_error_string(error));

	rd_kafka_error_destroy(error);
	check_stop();
	if (kind == KAFKA_RETRY && GetCurrentTimestamp() < deadline)
	{
		pfree(words);
		return true;
	}
	if (kind == KAFKA_ABORT && txn->failure != RD_KAFKA_RESP_ERR_NO_ERROR)
		raise_error(txn, txn->failure, rd_kafka_err2str(txn->failure), "write to", txn->failed_topic);
	txn->dead = kind != KAFKA_ABORT;
	raise_error(txn, code, words, what, NULL);
}

/* Raises the error of a pipeline's or server's output; the caller's context says whose. */
static void
raise_error(KafkaTxn *txn, rd_kafka_resp_err_t code, const char *words, const char *what, const char *topic)
{
	char		fatal[256];
	rd_kafka_resp_err_t fatal_code = rd_kafka_fatal_error(txn->client->rk, fatal, sizeof(fatal));
	bool		connection = code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT ||
		code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT;
	char	   *last = kv_client_last_error(txn->client);
	const char *hint;

	if (fatal_code != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		code = fatal_code;
		words = fatal;
		txn->dead = true;
	}
	/* its limit is that of the server's options when it was made: the next attempt makes a new one */
	txn->dead = txn->dead || code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
	txn->fenced = txn->fenced || code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH ||
		code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
	hint = hint_for(code);
	ereport(ERROR,
			(errcode(connection ? ERRCODE_CONNECTION_FAILURE : ERRCODE_FDW_ERROR),
			 topic != NULL ? errmsg("could not %s topic \"%s\" on server \"%s\"", what, topic, txn->client->server_name)
			 : errmsg("could not %s on server \"%s\"", what, txn->client->server_name),
			 errdetail("librdkafka: %s", connection && last != NULL ? last : words),
			 hint != NULL ? errhint("%s", hint) : 0));
}

static const char *
hint_for(rd_kafka_resp_err_t code)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
			return "Create the topic in Kafka, or correct the option topic of the foreign table. Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			return "Grant the Kafka user of the user mapping Write on the topic. Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
			return "Grant the Kafka user of the user mapping Write and Describe on the transactional ids that begin with the instance's name.";
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			return "Grant the Kafka user of the user mapping Read on the groups that begin with the instance's name.";
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
			return "Raise max.message.bytes of the topic in Kafka, or set message_max_bytes of the foreign server to no more than that: many small messages "
				"travel as one. Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR__TIMED_OUT:
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
			return "Check that the broker runs and that bootstrap_servers is right. Publishing goes on by itself.";
		default:
			return NULL;
	}
}

static TimestampTz
deadline_in(int limit_ms)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), limit_ms);
}

/* Ends the process if it was asked to: an open transaction is aborted by the next producer. */
static void
check_stop(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ShutdownRequestPending)
		proc_exit(0);
}
