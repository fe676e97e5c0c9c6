/*
 * group_offsets.c: what Kafka remembers of a consumer group, whichever topics it is of.
 *
 * Why it exists: a committed offset is asked for by topic and partition, and who looks for the greatest number that a
 * predecessor has committed does not know to which topics that wrote.
 *
 * Invariant: no answer is not an empty one. Errors of the group or of one partition, an open transaction among them, are
 * waited for and raised in the end. An answer without what Kafka is known to have had is not believed at once: Kafka may give one from
 * some time ago, without an error. A producer sees to it that it does not (kafka_txn.c), but who asks may have none.
 *
 * A request that timed out while its coordinator was away is finished by librdkafka (2.0.2) when that comes back, though it is freed: an
 * assertion ends the process, and with it every other one of this cluster. So a request has the whole time there is, and its client does
 * not outlive it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "group_offsets.h"
#include "steady_clock.h"

#define LIMIT_MS 30000
#define PAUSE_MS 20
/* How long, and how often, an answer that lacks what is expected is not believed. */
#define DOUBT_MS 5000
#define DOUBT_PAUSE_MS 200

/* How long who waits for an answer does not look whether it is to stop; the thread that asks neither. */
#define LOOK_MS 50

struct GroupQuestion
{
	KvClient   *client;
	char	   *group;
	TimestampTz began_at;
	TimestampTz deadline;
	const KafkaOffset *expected;	/* offsets that Kafka had, or later ones */
	int			nexpected;
	TimestampTz doubt_until;
};

static void begin(GroupQuestion *question, int pause_ms);
static void ask(KafkaCall *call);
static rd_kafka_resp_err_t take_answer(KafkaCall *call, List **offsets);
static rd_kafka_resp_err_t read_answer(rd_kafka_event_t *event, List **offsets);
static bool is_past_doubt(GroupQuestion *question);
static bool has_expected(const GroupQuestion *question, const List *offsets);


/* See the header. */
GroupQuestion *
kv_group_ask(MemoryContext parent, Oid serverid, Oid role, const char *group, const KafkaOffset *expected, int nexpected)
{
	const char *const extra[] = {"group.id", group, NULL};
	MemoryContext save = CurrentMemoryContext;
	GroupQuestion *question = MemoryContextAllocZero(parent, sizeof(GroupQuestion));

	question->group = MemoryContextStrdup(parent, group);
	question->began_at = kv_steady_now();
	question->deadline = TimestampTzPlusMilliseconds(question->began_at, LIMIT_MS);
	question->expected = expected;
	question->nexpected = nexpected;
	StartTransactionCommand();
	question->client = kv_client_consumer(parent, serverid, role, extra);
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);

	question->client->call.body = ask;
	question->client->call.name = question->group;
	begin(question, 0);
	return question;
}

/* Begins a request, after a pause. */
static void
begin(GroupQuestion *question, int pause_ms)
{
	KafkaCall  *call = &question->client->call;

	call->pause_ms = pause_ms;
	call->timeout_ms = Max(1000, TimestampDifferenceMilliseconds(kv_steady_now(), question->deadline));
	kv_call_start(call);
}

/*
 * Asks once; holds no object of librdkafka but the answer when it returns. One that is cancelled leaves its request to the end of the
 * client. Runs in a thread: see kafka_call.h.
 */
static void
ask(KafkaCall *call)
{
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(call->rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
	rd_kafka_ListConsumerGroupOffsets_t *groups[1] = {rd_kafka_ListConsumerGroupOffsets_new(call->name, NULL)};
	char		errstr[256];

	(void) rd_kafka_AdminOptions_set_request_timeout(options, call->timeout_ms, errstr, sizeof(errstr));
	rd_kafka_error_destroy(rd_kafka_AdminOptions_set_require_stable_offsets(options, 1));
	rd_kafka_ListConsumerGroupOffsets(call->rk, groups, 1, options, call->queue);
	/* errors of the client come this way too; the request's own time ends this */
	while (!__atomic_load_n(&call->cancelled, __ATOMIC_ACQUIRE))
	{
		call->event = rd_kafka_queue_poll(call->queue, LOOK_MS);
		if (call->event != NULL && rd_kafka_event_type(call->event) == RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT)
			break;
		if (call->event != NULL)
			rd_kafka_event_destroy(call->event);
		call->event = NULL;
	}
	rd_kafka_ListConsumerGroupOffsets_destroy(groups[0]);
	rd_kafka_AdminOptions_destroy(options);
}

/* See the header. */
bool
kv_group_answered(GroupQuestion *question, List **offsets)
{
	KvClient   *client = question->client;
	rd_kafka_resp_err_t err;

	if (kv_call_is_running(&client->call))
		return false;
	kv_client_drain_logs(client);
	err = take_answer(&client->call, offsets);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (has_expected(question, *offsets) || is_past_doubt(question))
		{
			kv_client_destroy(client);
			return true;
		}
		begin(question, DOUBT_PAUSE_MS);
		return false;
	}
	/* a broker that has just started loads its groups first, and librdkafka does not ask again by itself */
	if (kv_error_kind(err) == KAFKA_STOP || err == RD_KAFKA_RESP_ERR__TIMED_OUT || kv_steady_now() > question->deadline)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not read what has been published to server \"%s\"", client->server_name),
				 errdetail("librdkafka: %s", rd_kafka_err2str(err)),
				 errhint("Check that the broker runs, and that the Kafka user of the user mapping may Read group \"%s\". Publishing goes on by itself.",
						 question->group)));
	begin(question, PAUSE_MS);
	return false;
}

/* Does an answer have the offsets that Kafka had, or later ones? */
static bool
has_expected(const GroupQuestion *question, const List *offsets)
{
	for (int i = 0; i < question->nexpected; i++)
	{
		const KafkaOffset *expected = &question->expected[i];

		if (kv_group_offset_of(offsets, expected->topic, expected->partition) < expected->offset)
			return false;
	}
	return true;
}

/* Has a question been asked for long enough to believe the answer, since the first one? */
static bool
is_past_doubt(GroupQuestion *question)
{
	TimestampTz now = kv_steady_now();

	if (question->doubt_until == 0)
		question->doubt_until = TimestampTzPlusMilliseconds(now, DOUBT_MS);
	return now >= question->doubt_until;
}

/* See the header. */
bool
kv_group_is_busy(GroupQuestion *question)
{
	return kv_call_is_running(&question->client->call);
}

/* See the header. */
char *
kv_group_waits_for(GroupQuestion *question, int limit_ms, char **detail)
{
	char	   *words;

	if (kv_steady_now() < TimestampTzPlusMilliseconds(question->began_at, limit_ms))
		return NULL;
	words = kv_client_last_error(question->client);
	*detail = words != NULL ? psprintf("librdkafka: %s", words) : NULL;
	return psprintf("publishing waits for server \"%s\" to tell what has been published", question->client->server_name);
}

/* Makes a list of what the call brought, and frees that. */
static rd_kafka_resp_err_t
take_answer(KafkaCall *call, List **offsets)
{
	rd_kafka_resp_err_t err = call->event == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : read_answer(call->event, offsets);

	kv_call_forget(call);
	return err;
}

/* Makes a list of the answer, in the caller's memory; gives the first error in it. */
static rd_kafka_resp_err_t
read_answer(rd_kafka_event_t *event, List **offsets)
{
	const rd_kafka_group_result_t **results;
	const rd_kafka_topic_partition_list_t *list;
	const rd_kafka_error_t *error;
	size_t		count;

	if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return rd_kafka_event_error(event);
	results = rd_kafka_ListConsumerGroupOffsets_result_groups(rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
	if (count != 1)
		return RD_KAFKA_RESP_ERR__TIMED_OUT;
	if ((error = rd_kafka_group_result_error(results[0])) != NULL)
		return rd_kafka_error_code(error);
	list = rd_kafka_group_result_partitions(results[0]);
	*offsets = NIL;
	for (int i = 0; i < list->cnt; i++)
	{
		const rd_kafka_topic_partition_t *partition = &list->elems[i];
		KafkaOffset *offset;

		if (partition->err != RD_KAFKA_RESP_ERR_NO_ERROR)
			return partition->err;
		offset = palloc(sizeof(KafkaOffset));
		offset->topic = pstrdup(partition->topic);
		offset->partition = partition->partition;
		offset->offset = partition->offset;
		offset->metadata = partition->metadata_size > 0 ? pnstrdup(partition->metadata, partition->metadata_size) : NULL;
		*offsets = lappend(*offsets, offset);
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* See the header. */
List *
kv_group_offsets(Oid serverid, Oid role, const char *group, const KafkaOffset *expected, int nexpected)
{
	GroupQuestion *question = kv_group_ask(CurrentMemoryContext, serverid, role, group, expected, nexpected);
	List	   *offsets = NIL;

	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	while (!kv_group_answered(question, &offsets))
	{
		while (!kv_call_wait(&question->client->call, LOOK_MS))
		{
			CHECK_FOR_INTERRUPTS();
			if (ShutdownRequestPending)
				proc_exit(0);
		}
	}
	pgstat_report_wait_end();
	return offsets;
}

/* See the header. */
void
kv_group_read_offsets(Oid serverid, Oid role, const char *group, KafkaOffset *offsets, int noffsets)
{
	List	   *known = kv_group_offsets(serverid, role, group, NULL, 0);

	for (int i = 0; i < noffsets; i++)
		offsets[i].offset = kv_group_offset_of(known, offsets[i].topic, offsets[i].partition);
}

/* See the header. */
int64
kv_group_offset_of(const List *offsets, const char *topic, int32 partition)
{
	ListCell   *cell;

	foreach(cell, offsets)
	{
		const KafkaOffset *offset = lfirst(cell);

		if (offset->partition == partition && strcmp(offset->topic, topic) == 0)
			return offset->offset;
	}
	return -1;
}
