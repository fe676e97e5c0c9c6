/*
 * kafka_txn.c: one Kafka transaction: its messages and the positions of the
 * group, which become visible to read_committed readers together or not at all.
 *
 * A producer:
 *
 *	STARTING -fenced its predecessors-> OPEN -settle-> WRITING -> TAKING_BACK -> OPEN
 *	OPEN -publish-> LEARNING -messages queued-> DELIVERING -> SENDING_OFFSETS -> COMMITTING -> OPEN
 *	an error in a transaction -abort-> ABORTING -> OPEN, or DEAD where that fails
 *
 * Who opens a producer wants to know next what its group has committed. Kafka may answer that from some time ago, without an error:
 * after its coordinator has changed, and until somebody writes to that partition of __consumer_offsets (seen with 4.1.1 for three
 * minutes, with no offset at all). So an offset is written, at which it notices, and taken back. It does not notice where the end of a transaction was written
 * there first; then an answer that is older than the note is not believed (made_again.c) until the broker is started once more.
 * Not before somebody has asked for the group's offsets, which waits for the coordinator: if it is not there when a transaction needs it, as in a new
 * cluster, librdkafka (2.0.2) may wait without end.
 *
 * DEAD ends when the caller closes it. What a commit of unknown outcome did is not guessed: the
 * caller closes the producer, opens another one, and reads the metadata.
 *
 * Every call that waits for brokers is made in a thread (kafka_call.c), so that an output whose broker is down keeps no other
 * one waiting; one call at a time, and between two of them this room looks what came of the last.
 *
 * librdkafka sorts errors into: retriable (the same call again), requiring an
 * abort, fatal. A message that cannot be delivered makes the commit fail, so what is
 * committed is complete.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "fault_point.h"
#include "kafka_txn.h"
#include "publish_error.h"
#include "steady_clock.h"

/* Calls that librdkafka goes on with when they are made again return after so long, for a process that ends. */
#define SLICE_MS 1000

/* Failures of messages are seen between two waits for delivery. */
#define DELIVERY_SLICE_MS 200

/* Before a call is made again. */
#define PAUSE_MS 20

#define CALL_LIMIT_MS 30000

/* A commit may have to wait for messages as long as the broker lets a transaction live. */
#define COMMIT_LIMIT_MS 240000
#define ABORT_LIMIT_MS 5000
#define TOPIC_LIMIT_MS 10000

typedef enum TxnState
{
	TXN_STARTING,				/* fences its predecessors */
	TXN_WRITING,				/* writes an offset, so that all before it are to be seen */
	TXN_TAKING_BACK,			/* aborts that */
	TXN_OPEN,					/* no transaction is under way */
	TXN_LEARNING,				/* asks for the partitions of the topics it is going to write to */
	TXN_DELIVERING,				/* its messages are queued, and on their way to the brokers */
	TXN_SENDING_OFFSETS,
	TXN_COMMITTING,
	TXN_ABORTING,
	TXN_DEAD					/* of no use any more */
} TxnState;

struct KafkaTxn
{
	KvClient   *client;
	TxnState	state;
	rd_kafka_consumer_group_metadata_t *group;
	TxnTopics	topics;
	/* what is under way */
	TimestampTz began_at;
	TimestampTz deadline;
	MessageSet *messages;
	MemoryContext sending;		/* of offsets */
	rd_kafka_topic_partition_list_t *offsets;
	int			learned;		/* topics of the messages whose partitions are known */
	TxnTopic   *asked;			/* the topic whose partitions are asked for */
	int64		produced;
	bool		in_transaction; /* at the broker, perhaps */
	rd_kafka_resp_err_t failure;	/* of the first message that could not be delivered */
	char		failed_topic[256];
	/* how it ended */
	bool		dead;
	bool		fenced;
	MemoryContextCallback callback;
};

static void free_group(void *arg);
static void call(KafkaTxn *txn, void (*body) (KafkaCall *), int timeout_ms);
static void prepare(KafkaTxn *txn, void (*body) (KafkaCall *), int timeout_ms);
static void call_init(KafkaCall *call);
static void call_metadata(KafkaCall *call);
static void call_flush(KafkaCall *call);
static void call_send_offsets(KafkaCall *call);
static void call_commit(KafkaCall *call);
static void call_abort(KafkaCall *call);
static void after_start(KafkaTxn *txn);
static void after_writing(KafkaTxn *txn);
static void after_taking_back(KafkaTxn *txn);
static void learn_topics(KafkaTxn *txn);
static void after_learning(KafkaTxn *txn);
static void begin(KafkaTxn *txn);
static void produce_all(KafkaTxn *txn);
static void after_delivery(KafkaTxn *txn);
static void after_offsets(KafkaTxn *txn);
static void after_commit(KafkaTxn *txn);
static void after_abort(KafkaTxn *txn);
static void serve_events(KafkaTxn *txn);
static rd_kafka_topic_partition_list_t *make_list(MemoryContext context, const KafkaOffset *offsets, int noffsets,
												  const char *metadata);
static bool succeeded(KafkaTxn *txn, const char *what);
static void raise_error(KafkaTxn *txn, rd_kafka_resp_err_t code, const char *words, const char *what, const char *topic)
			pg_attribute_noreturn();
static TimestampTz deadline_in(int limit_ms);

/* What is done in a state when its call is over. */
static void (*const after[]) (KafkaTxn *txn) = {
	[TXN_STARTING] = after_start, [TXN_WRITING] = after_writing, [TXN_TAKING_BACK] = after_taking_back,
	[TXN_LEARNING] = after_learning, [TXN_DELIVERING] = after_delivery,
	[TXN_SENDING_OFFSETS] = after_offsets, [TXN_COMMITTING] = after_commit, [TXN_ABORTING] = after_abort,
};


/* See the header. */
KafkaTxn *
kv_txn_open(MemoryContext parent, Oid serverid, Oid role, const char *name)
{
	const char *const extra[] = {
		"transactional.id", name, "delivery.report.only.error", "true",
		/* what is queued is bounded by kafka.transaction_size */
		"queue.buffering.max.messages", "0", "queue.buffering.max.kbytes", "2147483647", NULL
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
	txn->group = rd_kafka_consumer_group_metadata_new(name);
	txn->callback.func = free_group;
	txn->callback.arg = txn;
	MemoryContextRegisterResetCallback(context, &txn->callback);
	txn->sending = AllocSetContextCreate(context, "kv offsets", ALLOCSET_SMALL_SIZES);
	/* made last, so it goes first */
	kv_call_guard(&client->call, context);
	KV_FAULT_POINT("kafka_before_init");
	txn->state = TXN_STARTING;
	txn->began_at = kv_steady_now();
	txn->deadline = deadline_in(CALL_LIMIT_MS);
	call(txn, call_init, SLICE_MS);
	return txn;
}

/* Frees the group's name as librdkafka has it, before the handle goes. */
static void
free_group(void *arg)
{
	KafkaTxn   *txn = arg;

	rd_kafka_consumer_group_metadata_destroy(txn->group);
}

/* Starts a call. */
static void
call(KafkaTxn *txn, void (*body) (KafkaCall *), int timeout_ms)
{
	prepare(txn, body, timeout_ms);
	kv_call_start(&txn->client->call);
}

/* Says what a call does. */
static void
prepare(KafkaTxn *txn, void (*body) (KafkaCall *), int timeout_ms)
{
	KafkaCall  *call = &txn->client->call;

	call->body = body;
	call->timeout_ms = timeout_ms;
	call->pause_ms = 0;
	call->group = txn->group;
	call->list = txn->offsets;
	call->topic = txn->asked != NULL ? txn->asked->rkt : NULL;
}

/* The bodies of calls run in threads: see kafka_call.h. */
static void
call_init(KafkaCall *call)
{
	call->error = rd_kafka_init_transactions(call->rk, call->timeout_ms);
}

static void
call_metadata(KafkaCall *call)
{
	call->err = rd_kafka_metadata(call->rk, 0, call->topic, &call->metadata, call->timeout_ms);
}

static void
call_flush(KafkaCall *call)
{
	call->err = rd_kafka_flush(call->rk, call->timeout_ms);
}

static void
call_send_offsets(KafkaCall *call)
{
	call->error = rd_kafka_send_offsets_to_transaction(call->rk, call->list, call->group, call->timeout_ms);
}

static void
call_commit(KafkaCall *call)
{
	call->error = rd_kafka_commit_transaction(call->rk, call->timeout_ms);
}

static void
call_abort(KafkaCall *call)
{
	call->error = rd_kafka_abort_transaction(call->rk, call->timeout_ms);
}

/* See the header. */
bool
kv_txn_advance(KafkaTxn *txn)
{
	serve_events(txn);
	while (txn->state != TXN_OPEN && txn->state != TXN_DEAD)
	{
		if (kv_call_is_running(&txn->client->call))
			return false;
		after[txn->state] (txn);
	}
	return true;
}

static void
after_start(KafkaTxn *txn)
{
	if (succeeded(txn, "start transactions"))
		txn->state = TXN_OPEN;
}

/* See the header. */
void
kv_txn_settle(KafkaTxn *txn, const char *topic, int32 partition)
{
	KafkaOffset offset = {.topic = unconstify(char *, topic),.partition = partition};

	Assert(txn->state == TXN_OPEN);
	MemoryContextReset(txn->sending);
	txn->offsets = make_list(txn->sending, &offset, 1, NULL);
	txn->began_at = kv_steady_now();
	txn->deadline = deadline_in(CALL_LIMIT_MS);
	begin(txn);
	txn->state = TXN_WRITING;
	call(txn, call_send_offsets, CALL_LIMIT_MS);
}

/* A topic that is gone keeps its positions from being committed, which says so better. */
static void
after_writing(KafkaTxn *txn)
{
	KafkaCall  *done = &txn->client->call;

	if (done->error != NULL && rd_kafka_error_code(done->error) == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		kv_call_forget(done);
	else if (!succeeded(txn, "commit positions"))
		return;
	KV_FAULT_POINT("kafka_offset_written");
	txn->state = TXN_TAKING_BACK;
	txn->deadline = deadline_in(CALL_LIMIT_MS);
	call(txn, call_abort, SLICE_MS);
}

static void
after_taking_back(KafkaTxn *txn)
{
	if (!succeeded(txn, "abort a transaction"))
		return;
	KV_FAULT_POINT("kafka_offset_taken_back");
	txn->in_transaction = false;
	txn->state = TXN_OPEN;
}

/* See the header. */
void
kv_txn_publish(KafkaTxn *txn, MessageSet *messages, const KafkaOffset *offsets, int noffsets, const char *metadata)
{
	Assert(txn->state == TXN_OPEN);
	MemoryContextReset(txn->sending);
	txn->offsets = make_list(txn->sending, offsets, noffsets, metadata);
	txn->messages = messages;
	txn->produced = 0;
	txn->learned = 0;
	txn->failure = RD_KAFKA_RESP_ERR_NO_ERROR;
	txn->state = TXN_LEARNING;
	txn->began_at = kv_steady_now();
	txn->deadline = deadline_in(TOPIC_LIMIT_MS);
	learn_topics(txn);
}

/* Asks for the partitions of the next topic of the messages that needs it; when all are known, the messages are queued. */
static void
learn_topics(KafkaTxn *txn)
{
	while (txn->messages != NULL && txn->learned < list_length(txn->messages->topics))
	{
		const char *name = list_nth(txn->messages->topics, txn->learned);
		TxnTopic   *topic = kv_topics_get(&txn->topics, name);

		if (topic == NULL)
			raise_error(txn, rd_kafka_last_error(), rd_kafka_err2str(rd_kafka_last_error()), "open", name);
		if (kv_topic_is_stale(topic))
		{
			txn->asked = topic;
			call(txn, call_metadata, SLICE_MS);
			return;
		}
		txn->learned++;
	}
	txn->asked = NULL;
	produce_all(txn);
}

/* Takes the number of partitions of the topic that was asked for. */
static void
after_learning(KafkaTxn *txn)
{
	KafkaCall  *call = &txn->client->call;
	rd_kafka_resp_err_t err = call->err;

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		err = call->metadata->topic_cnt == 1 ? call->metadata->topics[0].err : RD_KAFKA_RESP_ERR__TIMED_OUT;
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			kv_topic_set_partitions(txn->asked, call->metadata->topics[0].partition_cnt);
		kv_call_forget(call);
	}
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		learn_topics(txn);
	else if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || kv_error_kind(err) == KAFKA_STOP || kv_steady_now() > txn->deadline)
		raise_error(txn, err, rd_kafka_err2str(err), "find", txn->asked->name);
	else
	{
		call->pause_ms = PAUSE_MS;
		kv_call_start(call);
	}
}

/* Begins a Kafka transaction, which takes no call. */
static void
begin(KafkaTxn *txn)
{
	txn->client->call.error = rd_kafka_begin_transaction(txn->client->rk);
	(void) succeeded(txn, "begin a transaction");
	txn->in_transaction = true;
}

/* Queues all messages that no later one replaces. */
static void
produce_all(KafkaTxn *txn)
{
	MessageSet *messages = txn->messages;

	begin(txn);
	txn->deadline = deadline_in(COMMIT_LIMIT_MS);
	KV_FAULT_POINT("kafka_begun");
	if (messages != NULL)
		kv_messages_find_replaced(messages);
	for (int i = 0; messages != NULL && i < messages->count; i++)
	{
		rd_kafka_resp_err_t err;

		if (messages->replaced != NULL && messages->replaced[i])
			continue;
		err = kv_topic_produce(&txn->topics, &messages->messages[i], messages->hashes[i]);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			raise_error(txn, err, rd_kafka_err2str(err), "write to", messages->messages[i].topic);
		txn->produced++;
		if (txn->produced % 10000 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	KV_FAULT_POINT("kafka_produced");
	txn->state = TXN_DELIVERING;
	/* what nobody waits for has no end that would tell the process to go on */
	if (txn->produced > 0)
		call(txn, call_flush, DELIVERY_SLICE_MS);
	else
		after_delivery(txn);
}

/* Takes delivery failures and logs from the client's queues. */
static void
serve_events(KafkaTxn *txn)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(txn->client->queue, 0)) != NULL)
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
	}
	kv_client_drain_logs(txn->client);
}

/* Sends the positions when the brokers have all messages. */
static void
after_delivery(KafkaTxn *txn)
{
	/* where librdkafka has thrown messages away, the next call says why */
	if (txn->failure != RD_KAFKA_RESP_ERR_NO_ERROR && !kv_error_is_purge(txn->failure))
		raise_error(txn, txn->failure, rd_kafka_err2str(txn->failure), "write to", txn->failed_topic);
	if (rd_kafka_outq_len(txn->client->rk) > 0)
	{
		if (kv_steady_now() > txn->deadline)
			raise_error(txn, RD_KAFKA_RESP_ERR__TIMED_OUT, "the broker did not take all messages in time", "write messages", NULL);
		call(txn, call_flush, DELIVERY_SLICE_MS);
		return;
	}
	KV_FAULT_POINT("kafka_delivered");
	txn->state = TXN_SENDING_OFFSETS;
	/* not resumable: one that is broken off aborts the transaction */
	call(txn, call_send_offsets, CALL_LIMIT_MS);
}

static void
after_offsets(KafkaTxn *txn)
{
	if (!succeeded(txn, "commit positions"))
		return;
	/* or if it does not: what is committed is complete */
	if (txn->failure != RD_KAFKA_RESP_ERR_NO_ERROR)
		raise_error(txn, txn->failure, rd_kafka_err2str(txn->failure), "write to", txn->failed_topic);
	KV_FAULT_POINT("kafka_offsets_sent");
	txn->state = TXN_COMMITTING;
	call(txn, call_commit, SLICE_MS);
}

static void
after_commit(KafkaTxn *txn)
{
	if (!succeeded(txn, "commit a transaction"))
		return;
	txn->in_transaction = false;
	txn->state = TXN_OPEN;
	KV_FAULT_POINT("kafka_committed");
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

/* See the header. */
void
kv_txn_abort(KafkaTxn *txn)
{
	if (txn->state == TXN_STARTING || txn->state == TXN_WRITING || txn->state == TXN_TAKING_BACK)
		txn->dead = true;
	txn->began_at = kv_steady_now();
	txn->deadline = deadline_in(ABORT_LIMIT_MS);
	txn->asked = NULL;
	if (txn->dead || !txn->in_transaction)
	{
		txn->state = txn->dead ? TXN_DEAD : TXN_OPEN;
		return;
	}
	txn->state = TXN_ABORTING;
	prepare(txn, call_abort, SLICE_MS);
	/* who opens the next producer aborts what this one has left open */
	if (!kv_call_try_start(&txn->client->call))
	{
		txn->dead = true;
		txn->state = TXN_DEAD;
	}
}

/* Decides whether what was aborted leaves a producer that can go on. */
static void
after_abort(KafkaTxn *txn)
{
	KafkaCall  *call = &txn->client->call;
	bool		again = call->error != NULL && kv_error_kind_txn(call->error) == KAFKA_RETRY && kv_steady_now() < txn->deadline;

	txn->dead = call->error != NULL && !again;
	kv_call_forget(call);
	call->pause_ms = PAUSE_MS;
	if (again && kv_call_try_start(call))
		return;
	txn->dead = txn->dead || again;
	txn->in_transaction = false;
	txn->state = txn->dead ? TXN_DEAD : TXN_OPEN;
}

/* See the header. */
KvClient *
kv_txn_client(KafkaTxn *txn)
{
	return txn->client;
}

/* See the header. */
bool
kv_txn_is_busy(KafkaTxn *txn)
{
	return kv_call_is_running(&txn->client->call);
}

/* See the header. */
bool
kv_txn_may_be_out(const KafkaTxn *txn)
{
	return txn->state == TXN_COMMITTING;
}

/* See the header. */
bool
kv_txn_is_dead(const KafkaTxn *txn)
{
	return txn->dead;
}

/* See the header. */
bool
kv_txn_is_fenced(const KafkaTxn *txn)
{
	return txn->fenced;
}

/* See the header. */
int64
kv_txn_produced(const KafkaTxn *txn)
{
	return txn->produced;
}

/* See the header. */
char *
kv_txn_waits_for(KafkaTxn *txn, int limit_ms, char **detail)
{
	static const char *const waits[] = {
		[TXN_STARTING] = "open a producer", [TXN_WRITING] = "take positions", [TXN_TAKING_BACK] = "abort a transaction",
		[TXN_LEARNING] = "find the topics", [TXN_DELIVERING] = "take messages",
		[TXN_SENDING_OFFSETS] = "take positions", [TXN_COMMITTING] = "commit a transaction",
	};
	char	   *words;

	if (txn->state >= lengthof(waits) || waits[txn->state] == NULL || kv_steady_now() < TimestampTzPlusMilliseconds(txn->began_at, limit_ms))
		return NULL;
	words = kv_client_last_error(txn->client);
	*detail = words != NULL ? psprintf("librdkafka: %s", words) : NULL;
	return psprintf("publishing waits for server \"%s\" to %s", txn->client->server_name, waits[txn->state]);
}

/*
 * Looks what came of a transactional call, and destroys its error: true if it succeeded. False: it has been started again. Raises
 * an error where that is of no use or the deadline has passed.
 */
static bool
succeeded(KafkaTxn *txn, const char *what)
{
	KafkaCall  *call = &txn->client->call;
	rd_kafka_resp_err_t code;
	KvErrorKind kind;
	char	   *words;

	if (call->error == NULL)
		return true;
	code = rd_kafka_error_code(call->error);
	kind = kv_error_kind_txn(call->error);
	words = pstrdup(rd_kafka_error_string(call->error));
	kv_call_forget(call);
	/* begin() is no call that can be made again */
	if (kind == KAFKA_RETRY && txn->state != TXN_LEARNING && txn->state != TXN_OPEN && kv_steady_now() < txn->deadline)
	{
		pfree(words);
		call->pause_ms = PAUSE_MS;
		kv_call_start(call);
		return false;
	}
	if (kind == KAFKA_ABORT && kv_error_is_purge(txn->failure))
		raise_error(txn, code, words, "write to", txn->failed_topic);
	if (kind == KAFKA_ABORT && txn->failure != RD_KAFKA_RESP_ERR_NO_ERROR)
		raise_error(txn, txn->failure, rd_kafka_err2str(txn->failure), "write to", txn->failed_topic);
	txn->dead = kind != KAFKA_ABORT;
	raise_error(txn, code, words, what, NULL);
}

/* Raises the error, and notes what it says of the producer. */
static void
raise_error(KafkaTxn *txn, rd_kafka_resp_err_t code, const char *words, const char *what, const char *topic)
{
	char		fatal[256];
	rd_kafka_resp_err_t fatal_code = rd_kafka_fatal_error(txn->client->rk, fatal, sizeof(fatal));

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
	kv_publish_error(txn->client, code, words, what, topic);
}

static TimestampTz
deadline_in(int limit_ms)
{
	return TimestampTzPlusMilliseconds(kv_steady_now(), limit_ms);
}
