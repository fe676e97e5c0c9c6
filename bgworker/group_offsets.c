/*
 * group_offsets.c: what Kafka remembers of a consumer group, whichever topics it is of.
 *
 * Why it exists: a committed offset is asked for by topic and partition, and who looks for the greatest number that a
 * predecessor has committed does not know to which topics that wrote.
 *
 * Invariant: no answer is not an empty one. Errors of the group or of one partition, an open transaction among them, are
 * waited for and raised in the end.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "group_offsets.h"

#define SLICE_MS 1000
#define LIMIT_MS 30000
#define PAUSE_MS 20

/* What one request needs, and frees. */
typedef struct Request
{
	rd_kafka_AdminOptions_t *options;
	rd_kafka_ListConsumerGroupOffsets_t *groups[1];
	rd_kafka_event_t *event;
} Request;

static rd_kafka_resp_err_t ask(KvClient *client, const char *group, List **offsets);
static void send_request(KvClient *client, const char *group, Request *request);
static rd_kafka_resp_err_t read_answer(rd_kafka_event_t *event, List **offsets);
static void free_request(Request *request);


/* See the header. */
List *
kv_group_offsets(Oid serverid, Oid role, const char *group)
{
	const char *const extra[] = {"group.id", group, NULL};
	MemoryContext save = CurrentMemoryContext;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LIMIT_MS);
	KvClient   *client;
	List	   *offsets = NIL;
	rd_kafka_resp_err_t err;

	StartTransactionCommand();
	client = kv_client_consumer(save, serverid, role, extra);
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);

	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	/* a broker that has just started loads its groups first, and librdkafka does not ask again by itself */
	while ((err = ask(client, group, &offsets)) != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		kv_client_drain_logs(client);
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(0);
		if (kv_error_kind(err) == KAFKA_STOP || GetCurrentTimestamp() > deadline)
			break;
		pg_usleep(PAUSE_MS * 1000L);
	}
	pgstat_report_wait_end();
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not read what has been published to server \"%s\"", client->server_name),
				 errdetail("librdkafka: %s", rd_kafka_err2str(err)),
				 errhint("Check that the broker runs, and that the Kafka user of the user mapping may Read group \"%s\". Publishing goes on by itself.",
						 group)));
	kv_client_destroy(client);
	return offsets;
}

/* See the header. */
void
kv_group_read_offsets(Oid serverid, Oid role, const char *group, KafkaOffset *offsets, int noffsets)
{
	List	   *known = kv_group_offsets(serverid, role, group);

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

/* Asks once; holds no object of librdkafka when it returns. */
static rd_kafka_resp_err_t
ask(KvClient *client, const char *group, List **offsets)
{
	Request		request = {0};
	rd_kafka_resp_err_t err;

	send_request(client, group, &request);
	/* errors of the client come this way too */
	while ((request.event = rd_kafka_queue_poll(client->queue, 2 * SLICE_MS)) != NULL &&
		   rd_kafka_event_type(request.event) != RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT)
		rd_kafka_event_destroy(request.event);
	err = request.event == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : read_answer(request.event, offsets);
	free_request(&request);
	return err;
}

static void
send_request(KvClient *client, const char *group, Request *request)
{
	char		errstr[256];

	request->options = rd_kafka_AdminOptions_new(client->rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
	(void) rd_kafka_AdminOptions_set_request_timeout(request->options, SLICE_MS, errstr, sizeof(errstr));
	rd_kafka_error_destroy(rd_kafka_AdminOptions_set_require_stable_offsets(request->options, 1));
	request->groups[0] = rd_kafka_ListConsumerGroupOffsets_new(group, NULL);
	rd_kafka_ListConsumerGroupOffsets(client->rk, request->groups, 1, request->options, client->queue);
}

static void
free_request(Request *request)
{
	if (request->event != NULL)
		rd_kafka_event_destroy(request->event);
	rd_kafka_ListConsumerGroupOffsets_destroy(request->groups[0]);
	rd_kafka_AdminOptions_destroy(request->options);
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
