/*-------------------------------------------------------------------------
 * topics.c
 *	  The commands of kv_kafka about whole topics: create, delete, add-partitions, configure, trim, topics, leaders.
 *-------------------------------------------------------------------------
 */
#include "kv_kafka.h"

#include <stdlib.h>
#include <string.h>

/* Waits for the answer to an admin request and ends the program if it, as a whole, is an error. */
static rd_kafka_event_t *
await_answer(rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TIMEOUT_MS);

	if (event == NULL)
		die("no answer from %s", options.broker);
	if (rd_kafka_event_error(event))
		die("%s", rd_kafka_event_error_string(event));
	return event;
}

typedef const rd_kafka_topic_result_t **(*TopicResults) (rd_kafka_event_t *event, size_t *count);

/* Waits for the answer to a request about topics; ends the program if it, or one topic's part of it, is an error. */
static void
await_topics(rd_kafka_queue_t *queue, TopicResults results_of)
{
	rd_kafka_event_t *event = await_answer(queue);
	size_t		count;
	const rd_kafka_topic_result_t **results = results_of(event, &count);

	for (size_t i = 0; i < count; i++)
		if (rd_kafka_topic_result_error(results[i]))
			die("%s: %s", rd_kafka_topic_result_name(results[i]), rd_kafka_topic_result_error_string(results[i]));
	rd_kafka_event_destroy(event);
}

/* Ends the program with what librdkafka says, if it could not make a request. */
static void *
made(void *request, const char *errstr)
{
	if (request == NULL)
		die("%s", errstr);
	return request;
}

/* Takes "config=value" apart in place; gives the value. */
static const char *
split_config(char *argument)
{
	char	   *equals = strchr(argument, '=');

	if (equals == NULL)
		die("config=value expected: %s", argument);
	*equals = '\0';
	return equals + 1;
}

static const rd_kafka_topic_result_t **
created(rd_kafka_event_t *event, size_t *count)
{
	return rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), count);
}

static const rd_kafka_topic_result_t **
deleted(rd_kafka_event_t *event, size_t *count)
{
	return rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), count);
}

static const rd_kafka_topic_result_t **
extended(rd_kafka_event_t *event, size_t *count)
{
	return rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), count);
}

/* Has all partitions of a new topic on one broker, without replicas. */
static void
put_on_broker(rd_kafka_NewTopic_t *topic, int partitions, int32_t broker)
{
	char		errstr[512];

	for (int i = 0; i < partitions; i++)
		if (rd_kafka_NewTopic_set_replica_assignment(topic, i, &broker, 1, errstr, sizeof(errstr)) != RD_KAFKA_RESP_ERR_NO_ERROR)
			die("%s", errstr);
}

void
create_topic(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_NewTopic_t *topic;
	char		errstr[512];
	int			partitions = 1;
	int			next = 1;

	if (next < argc && strchr(argv[next], '=') == NULL)
		partitions = (int) parse_number(argv[next++], "PARTITIONS");
	topic = made(rd_kafka_NewTopic_new(argv[0], partitions, -1 /* as the broker does by default */ , errstr, sizeof(errstr)), errstr);
	for (; next < argc; next++)
	{
		const char *value = split_config(argv[next]);

		if (strcmp(argv[next], "on") == 0)
			put_on_broker(topic, partitions, (int32_t) parse_number(value, "on"));
		else
			rd_kafka_NewTopic_set_config(topic, argv[next], value);
	}
	rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
	await_topics(queue, created);
	wait_for_partitions(rk, argv[0], partitions);
}

void
delete_topics(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);

	for (int i = 0; i < argc; i++)
	{
		rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(argv[i]);

		rd_kafka_DeleteTopics(rk, &topic, 1, NULL, queue);
		await_topics(queue, deleted);
		wait_for_partitions(rk, argv[i], 0);
	}
}

void
add_partitions(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_NewPartitions_t *more;
	char		errstr[512];

	if (argc != 2)
		die("add-partitions TOPIC NEW_TOTAL");
	more = made(rd_kafka_NewPartitions_new(argv[0], parse_number(argv[1], "NEW_TOTAL"), errstr, sizeof(errstr)), errstr);
	rd_kafka_CreatePartitions(rk, &more, 1, NULL, queue);
	await_topics(queue, extended);
	wait_for_partitions(rk, argv[0], (int) parse_number(argv[1], "NEW_TOTAL"));
}

/* Sets settings of a topic; those that are not named fall back to the broker's. */
void
configure_topic(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, argv[0]);
	const rd_kafka_ConfigResource_t **results;
	rd_kafka_event_t *event;
	size_t		count;

	for (int i = 1; i < argc; i++)
	{
		const char *value = split_config(argv[i]);

		rd_kafka_ConfigResource_set_config(resource, argv[i], value);
	}
	rd_kafka_AlterConfigs(rk, &resource, 1, NULL, queue);
	event = await_answer(queue);
	results = rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event), &count);
	if (count != 1 || rd_kafka_ConfigResource_error(results[0]))
		die("%s: %s", argv[0], count == 1 ? rd_kafka_ConfigResource_error_string(results[0]) : "no answer");
	rd_kafka_event_destroy(event);
}

/* Deletes all records of a topic: every partition begins at its end. */
void
trim_topic(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	int			partitions = require_topic(rk, argv[0]);
	rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_new(partitions);
	rd_kafka_DeleteRecords_t *request;
	const rd_kafka_topic_partition_list_t *results;
	rd_kafka_event_t *event;

	for (int i = 0; i < partitions; i++)
		rd_kafka_topic_partition_list_add(ends, argv[0], i)->offset = argc > 1 ? parse_number(argv[1], "OFFSET") : RD_KAFKA_OFFSET_END;
	request = rd_kafka_DeleteRecords_new(ends);
	rd_kafka_DeleteRecords(rk, &request, 1, NULL, queue);
	event = await_answer(queue);
	results = rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));
	for (int i = 0; i < results->cnt; i++)
		if (results->elems[i].err)
			die("%s: %s", argv[0], rd_kafka_err2str(results->elems[i].err));
	rd_kafka_event_destroy(event);
}

static int
compare_topics(const void *a, const void *b)
{
	return strcmp(((const rd_kafka_metadata_topic_t *) a)->topic, ((const rd_kafka_metadata_topic_t *) b)->topic);
}

void
list_topics(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	const struct rd_kafka_metadata *metadata = fetch_metadata(rk, NULL);

	qsort(metadata->topics, metadata->topic_cnt, sizeof(*metadata->topics), compare_topics);
	for (int i = 0; i < metadata->topic_cnt; i++)
		printf("%s\t%d\n", metadata->topics[i].topic, metadata->topics[i].partition_cnt);
}

void
list_leaders(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	const struct rd_kafka_metadata *metadata = fetch_metadata(rk, NULL);

	qsort(metadata->topics, metadata->topic_cnt, sizeof(*metadata->topics), compare_topics);
	for (int i = 0; i < metadata->topic_cnt; i++)
		for (int n = 0; n < metadata->topics[i].partition_cnt; n++)
			printf("%s\t%d\t%d\n", metadata->topics[i].topic, metadata->topics[i].partitions[n].id, metadata->topics[i].partitions[n].leader);
}
