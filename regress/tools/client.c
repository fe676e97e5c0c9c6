/*-------------------------------------------------------------------------
 * client.c
 *	  The connection of kv_kafka: a librdkafka client, and what a broker says of topics.
 *
 * Whatever a broker or a controller needs a moment for is waited for here, with
 * a bound, so that a command that has succeeded is seen by the next one.
 *-------------------------------------------------------------------------
 */
#include "kv_kafka.h"

#include <stdarg.h>
#include <unistd.h>

/* Makes a client with pairs of property and value, ended by NULL. */
rd_kafka_t *
make_client(rd_kafka_type_t type,...)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char		errstr[512];
	const char *name;
	va_list		args;

	if (rd_kafka_conf_set(conf, "bootstrap.servers", options.broker, errstr, sizeof(errstr)))
		die("%s", errstr);
	/* quick to find out, quick to give up: the broker is on this machine */
	rd_kafka_conf_set(conf, "socket.nagle.disable", "true", NULL, 0);
	rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
	va_start(args, type);
	while ((name = va_arg(args, const char *)) != NULL)
	{
		const char *value = va_arg(args, const char *);

		if (rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr)))
			die("%s", errstr);
	}
	va_end(args);
	rk = rd_kafka_new(type, conf, errstr, sizeof(errstr));
	if (rk == NULL)
		die("%s", errstr);
	return rk;
}

/* Makes a client that reads topics to their ends and commits nothing. */
rd_kafka_t *
make_consumer(const char *isolation)
{
	return make_client(RD_KAFKA_CONSUMER, "group.id", "kv_kafka", "enable.auto.commit", "false",
					   "auto.offset.reset", "error", "enable.partition.eof", "true",
					   "fetch.wait.max.ms", "10", "fetch.error.backoff.ms", "10",
					   "fetch.message.max.bytes", "16000000",
					   "isolation.level", isolation, NULL);
}

/* Fetches metadata of one topic, or of all for NULL, into memory that the caller destroys. */
const struct rd_kafka_metadata *
fetch_metadata(rd_kafka_t *rk, const char *name)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *topic = name ? rd_kafka_topic_new(rk, name, NULL) : NULL;
	rd_kafka_resp_err_t err;

	err = rd_kafka_metadata(rk, name == NULL, topic, &metadata, TIMEOUT_MS);
	if (err)
		die("could not reach the broker %s: %s", options.broker, rd_kafka_err2str(err));
	if (topic)
		rd_kafka_topic_destroy(topic);
	return metadata;
}

/* Counts the partitions of a topic that have a leader; 0 if there is no such topic. */
static int
count_partitions(rd_kafka_t *rk, const char *name)
{
	const struct rd_kafka_metadata *metadata = fetch_metadata(rk, name);
	int			count = 0;

	if (metadata->topic_cnt == 1 && !metadata->topics[0].err)
		for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
			count += !metadata->topics[0].partitions[i].err;
	rd_kafka_metadata_destroy(metadata);
	return count;
}

/* Counts the partitions of a topic; ends the program if there is no such topic. */
int
require_topic(rd_kafka_t *rk, const char *name)
{
	int			count = count_partitions(rk, name);

	if (count == 0)
		die("there is no topic \"%s\" at %s", name, options.broker);
	return count;
}

/* Reads a partition's first offset and high watermark, again while its leader is being settled or comes up. */
void
fetch_watermarks(rd_kafka_t *rk, const char *topic, int partition, int64_t *low, int64_t *high)
{
	rd_kafka_resp_err_t err;

	for (int tries = 0; tries < 1000; tries++)
	{
		err = rd_kafka_query_watermark_offsets(rk, topic, partition, low, high, TIMEOUT_MS);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			return;
		if (err != RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION && err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE &&
			err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART && err != RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
			break;
		usleep(20 * 1000);
	}
	die("%s [%d]: %s", topic, partition, rd_kafka_err2str(err));
}

/* Blocks until the broker shows the topic with so many partitions and serves each; the controller has already agreed. */
void
wait_for_partitions(rd_kafka_t *rk, const char *name, int wanted)
{
	for (int tries = 0; count_partitions(rk, name) != wanted; tries++)
	{
		if (tries == 1000)
			die("topic \"%s\" did not get %d partitions", name, wanted);
		usleep(20 * 1000);
	}
	for (int partition = 0; partition < wanted; partition++)
	{
		int64_t		low,
					high;

		fetch_watermarks(rk, name, partition, &low, &high);
	}
}
