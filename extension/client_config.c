/*
 * client_config.c: the configuration of a topic as its brokers have it (DescribeConfigs).
 *
 * Why it exists: a copy of records may be thrown away by a crash only if the topic can give the records again.
 * Invariant: what is not known to be kept counts as not kept, so an answer without one of the settings is no answer.
 * Every object of librdkafka is gone when a call returns, so that an interrupt may follow.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"

#include "client_config.h"

#define SLICE_MS 1000			/* between two looks at interrupts */

static ConfigAnswer ask(KvClient *client, const char *topic, int timeout_ms, TopicConfig *config);
static ConfigAnswer read_answer(rd_kafka_event_t *event, TopicConfig *config);
static bool read_entries(const rd_kafka_ConfigEntry_t **entries, size_t count, TopicConfig *config);


/* Runs: either. Blocks: timeout_ms, interruptible. */
ConfigAnswer
kv_topic_config(KvClient *client, const char *topic, int timeout_ms, TopicConfig *config)
{
	ConfigAnswer answer = CONFIG_UNREACHABLE;

	for (int left = timeout_ms; left > 0 && answer == CONFIG_UNREACHABLE; left -= SLICE_MS)
	{
		answer = ask(client, topic, Min(left, SLICE_MS), config);
		CHECK_FOR_INTERRUPTS();
	}
	return answer;
}

/* Asks once. */
static ConfigAnswer
ask(KvClient *client, const char *topic, int timeout_ms, TopicConfig *config)
{
	char		unused[128];
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
	rd_kafka_event_t *event;
	ConfigAnswer answer = CONFIG_UNREACHABLE;

	/* it answers within its own timeout, then nothing is left behind on the queue */
	rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, unused, sizeof(unused));
	rd_kafka_DescribeConfigs(client->rk, &resource, 1, options, queue);
	event = rd_kafka_queue_poll(queue, timeout_ms + SLICE_MS);
	if (event != NULL)
	{
		answer = read_answer(event, config);
		rd_kafka_event_destroy(event);
	}
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	return answer;
}

static ConfigAnswer
read_answer(rd_kafka_event_t *event, TopicConfig *config)
{
	const rd_kafka_ConfigResource_t **resources;
	const rd_kafka_ConfigEntry_t **entries;
	rd_kafka_resp_err_t err = rd_kafka_event_error(event);
	size_t		count;

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		resources = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
		err = count == 1 ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR__FAIL;
	}
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return kv_error_kind(err) == KAFKA_STOP ? CONFIG_FORBIDDEN : CONFIG_UNREACHABLE;
	entries = rd_kafka_ConfigResource_configs(resources[0], &count);
	return read_entries(entries, count, config) ? CONFIG_KNOWN : CONFIG_FORBIDDEN;
}

/* Takes the settings out of an answer; false: one of them is missing. */
static bool
read_entries(const rd_kafka_ConfigEntry_t **entries, size_t count, TopicConfig *config)
{
	int			found = 0;

	for (size_t i = 0; i < count; i++)
	{
		const char *name = rd_kafka_ConfigEntry_name(entries[i]);
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);
		int64		number;

		if (value == NULL)
			continue;
		number = strtoll(value, NULL, 10);
		if (strcmp(name, "cleanup.policy") == 0)
			config->compacted = strcmp(value, "delete") != 0;
		else if (strcmp(name, "retention.bytes") == 0)
			config->by_size = number >= 0;
		else if (strcmp(name, "retention.ms") == 0)
			config->retention_ms = number < 0 ? PG_INT64_MAX : number;
		else
			continue;
		found++;
	}
	return found == 3;
}
