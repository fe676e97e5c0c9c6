/*
 * client.c
 *		librdkafka as the generator and the reader use it, and a few words on time and chance.
 *
 * Everything random is a function of a stream number and a position, never of
 * what was drawn before, so that two runs produce the same topics and a reader
 * could compute what any record must have held.
 */
#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* 84-300 ns a message and full speed need a deep prefetch queue (ENGINEERING.md) */
#define PREFETCH_MESSAGES "1000000"

static long failed_deliveries = 0;

void
die(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* Reads a whole positive number or ends the program, naming WHAT. */
long
parse_number(const char *text, const char *what)
{
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || number <= 0)
		die("%s must be a positive number, not \"%s\"", what, text);
	return number;
}

int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void
sleep_until_us(int64_t when_us)
{
	struct timespec when = {.tv_sec = when_us / 1000000, .tv_nsec = when_us % 1000000 * 1000};

	while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &when, NULL) == EINTR)
		;
}

/* Returns the random number of a position in a stream (splitmix64's finaliser). */
uint64_t
random_at(uint64_t stream, uint64_t position)
{
	uint64_t	x = (stream << 48) + (position + 1) * UINT64_C(0x9E3779B97F4A7C15);

	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		reason[512];

	if (rd_kafka_conf_set(conf, name, value, reason, sizeof(reason)) != RD_KAFKA_CONF_OK)
		die("%s", reason);
}

static rd_kafka_t *
start_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char		reason[512];
	rd_kafka_t *rk;

	/* errors only: a broker that is still starting makes warnings that pass */
	set(conf, "log_level", "3");
	rk = rd_kafka_new(type, conf, reason, sizeof(reason));
	if (rk == NULL)
		die("could not create a client: %s", reason);
	return rk;
}

static void
note_failed_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (failed_deliveries++ == 0)
		fprintf(stderr, "could not deliver to %s: %s\n",
				rd_kafka_topic_name(message->rkt), rd_kafka_err2str(message->err));
}

/* Starts a producer that keeps the order of each partition and repeats nothing. */
rd_kafka_t *
start_producer(const char *bootstrap, int linger_ms)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		linger[16];

	snprintf(linger, sizeof(linger), "%d", linger_ms);
	set(conf, "bootstrap.servers", bootstrap);
	set(conf, "enable.idempotence", "true");
	set(conf, "compression.codec", "lz4");
	set(conf, "partitioner", "murmur2_random");
	set(conf, "linger.ms", linger);
	set(conf, "queue.buffering.max.messages", "1000000");
	set(conf, "delivery.report.only.error", "true");
	rd_kafka_conf_set_dr_msg_cb(conf, note_failed_delivery);
	return start_client(RD_KAFKA_PRODUCER, conf);
}

/* Hands one record to the producer. Blocks: while its queue is full. */
void
send_record(rd_kafka_t *rk, const char *topic, int64_t timestamp_ms,
			const char *key, size_t key_length, const char *value, size_t value_length)
{
	rd_kafka_resp_err_t error;

	for (;;)
	{
		error = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic),
								  RD_KAFKA_V_KEY(key, key_length),
								  RD_KAFKA_V_VALUE((void *) value, value_length),
								  RD_KAFKA_V_TIMESTAMP(timestamp_ms),
								  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								  RD_KAFKA_V_END);
		if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			break;
		rd_kafka_poll(rk, 20);
	}
	if (error)
		die("could not produce to %s: %s", topic, rd_kafka_err2str(error));
}

/* Waits until everything is delivered; ends the program if anything was not. */
void
finish_producer(rd_kafka_t *rk)
{
	rd_kafka_resp_err_t error = rd_kafka_flush(rk, 120 * 1000);

	if (error)
		die("could not deliver everything: %s", rd_kafka_err2str(error));
	rd_kafka_poll(rk, 0);
	rd_kafka_destroy(rk);
	if (failed_deliveries > 0)
		die("%ld records were not delivered", failed_deliveries);
}

/* Returns the number of partitions of a topic that must exist. */
static int
count_partitions(rd_kafka_t *rk, const char *topic)
{
	rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, handle, &metadata, 30 * 1000);
	int			partitions;

	if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
		error = metadata->topics[0].err;
	if (error)
		die("could not look at topic %s: %s", topic, rd_kafka_err2str(error));
	partitions = metadata->topics[0].partition_cnt;
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(handle);
	return partitions;
}

/* Opens a read_committed consumer on a whole topic. */
Reader
open_reader(const char *bootstrap, const char *topic)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list;
	Reader		reader = {0};

	set(conf, "bootstrap.servers", bootstrap);
	set(conf, "group.id", "kv_read");
	set(conf, "enable.auto.commit", "false");
	set(conf, "isolation.level", "read_committed");
	set(conf, "auto.offset.reset", "error");
	set(conf, "enable.partition.eof", "true");
	set(conf, "queued.min.messages", PREFETCH_MESSAGES);
	set(conf, "fetch.wait.max.ms", "10");
	reader.rk = start_client(RD_KAFKA_CONSUMER, conf);
	rd_kafka_poll_set_consumer(reader.rk);

	reader.partitions = count_partitions(reader.rk, topic);
	list = rd_kafka_topic_partition_list_new(reader.partitions);
	for (int partition = 0; partition < reader.partitions; partition++)
		rd_kafka_topic_partition_list_add(list, topic, partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(reader.rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	reader.queue = rd_kafka_queue_get_consumer(reader.rk);
	return reader;
}

/*
 * Fills MESSAGES with records, which the caller destroys; returns their number.
 * Ends of partitions are counted in the reader, errors end the program.
 */
int
read_some(Reader *reader, rd_kafka_message_t **messages, int size, int timeout_ms)
{
	ssize_t		taken = rd_kafka_consume_batch_queue(reader->queue, timeout_ms, messages, size);
	int			records = 0;

	for (ssize_t i = 0; i < taken; i++)
	{
		rd_kafka_message_t *message = messages[i];

		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			messages[records++] = message;
			continue;
		}
		if (message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
			die("could not read: %s", rd_kafka_message_errstr(message));
		reader->at_end++;
		rd_kafka_message_destroy(message);
	}
	return records;
}

void
close_reader(Reader *reader)
{
	rd_kafka_queue_destroy(reader->queue);
	rd_kafka_consumer_close(reader->rk);
	rd_kafka_destroy(reader->rk);
}
