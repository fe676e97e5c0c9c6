/*-------------------------------------------------------------------------
 * kv_kafka.c
 *	  The tests' Kafka client: makes topics, produces lines, reads topics.
 *
 * Why it exists: a test needs a topic made, three records produced or a sink
 * read in a few milliseconds and without a JVM, and must see what any other
 * client sees, so it shares no code with the extension.
 *
 * Invariant: exit status 0 means that all of it happened: every record was
 * acknowledged, every partition was read to the end it had at the start.
 * Usage is in the text below, examples in regress/README.md.
 *-------------------------------------------------------------------------
 */
#include <librdkafka/rdkafka.h>

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_MS 30000

static const char usage_text[] =
"usage: kv_kafka [-b BROKER] COMMAND ...     (BROKER: default $KAFKA_BROKER)\n"
"  create TOPIC [PARTITIONS] [config=value ...]\n"
"  delete TOPIC ...\n"
"  add-partitions TOPIC NEW_TOTAL\n"
"  topics                         name <tab> partitions, sorted by name\n"
"  produce TOPIC [--partition N] [--hex|--copy] [--full]\n"
"      standard input, a record a line: [partition=N ][ts=MS ][header=NAME:VALUE ]KEY<tab>VALUE\n"
"      no tab: no key; \\N alone: null; --hex: key and value are hex digits;\n"
"      --copy: as COPY writes text (backslash escapes), here and in consume;\n"
"      --full: each line is PARTITION<tab>MS<tab>KEY<tab>VALUE, \\N for the default\n"
"  consume TOPIC [--partition N] [--isolation read_committed|read_uncommitted] [--format F] [--hex|--copy]\n"
"      from the start to the end as it is now, partition by partition;\n"
"      F: %p partition %o offset %t timestamp (ms) %k key %v value %h headers (NAME=VALUE, by comma)\n"
"      %T topic, \\t \\n; default %p\\t%o\\t%t\\t%k\\t%v\\t%h; null is \\N; tab and newline in data are \\t \\n\n"
"  end TOPIC                      partition <tab> first offset <tab> high watermark\n"
"  settle TOPIC ...               waits until no transaction is open in them\n"
"  group GROUP                    topic <tab> partition <tab> committed offset <tab> metadata\n";

static const char *broker;
static int	only_partition = -1;
static bool hex = false;
static bool copy_text = false;
static bool full_lines = false;
static const char *isolation = "read_committed";
static const char *format = "%p\\t%o\\t%t\\t%k\\t%v\\t%h";

/*
 * Ends the program without destroying the client. Not exit(): librdkafka's
 * threads still run, and crash in what exit handlers have taken down.
 */
static _Noreturn void
leave(int status)
{
	if (fflush(stdout) != 0)
		status = 1;
	_exit(status);
}

/* Prints a message and ends the program with status 1. */
static _Noreturn void
die(const char *message,...)
{
	va_list		args;

	fflush(stdout);
	fputs("kv_kafka: ", stderr);
	va_start(args, message);
	vfprintf(stderr, message, args);
	va_end(args);
	fputc('\n', stderr);
	leave(1);
}

/* Reads a whole decimal number that is not negative; ends the program at anything else. */
static int64_t
parse_number(const char *text, const char *what)
{
	char	   *end;
	long long	number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || number < 0)
		die("%s is not a number: %s", what, text);
	return number;
}

/* Makes a client with pairs of property and value, ended by NULL. */
static rd_kafka_t *
make_client(rd_kafka_type_t type,...)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char		errstr[512];
	const char *name;
	va_list		args;

	if (rd_kafka_conf_set(conf, "bootstrap.servers", broker, errstr, sizeof(errstr)))
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

/* Fetches metadata of one topic, or of all for NULL, into memory that the caller destroys. */
static const struct rd_kafka_metadata *
fetch_metadata(rd_kafka_t *rk, const char *name)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *topic = name ? rd_kafka_topic_new(rk, name, NULL) : NULL;
	rd_kafka_resp_err_t err;

	err = rd_kafka_metadata(rk, name == NULL, topic, &metadata, TIMEOUT_MS);
	if (err)
		die("could not reach the broker %s: %s", broker, rd_kafka_err2str(err));
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
static int
require_topic(rd_kafka_t *rk, const char *name)
{
	int			count = count_partitions(rk, name);

	if (count == 0)
		die("there is no topic \"%s\" at %s", name, broker);
	return count;
}

/* Reads a partition's first offset and high watermark, again while its leader is being settled or comes up. */
static void
fetch_watermarks(rd_kafka_t *rk, const char *topic, int partition, int64_t *low, int64_t *high)
{
	rd_kafka_resp_err_t err;

	for (int tries = 0; tries < 1000; tries++)
	{
		err = rd_kafka_query_watermark_offsets(rk, topic, partition, low, high, TIMEOUT_MS);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			return;
		if (err != RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION && err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE &&
			err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
			break;
		usleep(20 * 1000);
	}
	die("%s [%d]: %s", topic, partition, rd_kafka_err2str(err));
}

/* Blocks until the broker shows the topic with so many partitions and serves each; the controller has already agreed. */
static void
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

/* Waits for the answer to an admin request and ends the program if it, as a whole, is an error. */
static rd_kafka_event_t *
await_answer(rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TIMEOUT_MS);

	if (event == NULL)
		die("no answer from %s", broker);
	if (rd_kafka_event_error(event))
		die("%s", rd_kafka_event_error_string(event));
	return event;
}

/* Ends the program if one topic's part of an admin answer is an error. */
static void
check_topic_results(const rd_kafka_topic_result_t **results, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rd_kafka_topic_result_error(results[i]))
			die("%s: %s", rd_kafka_topic_result_name(results[i]), rd_kafka_topic_result_error_string(results[i]));
}

static void
create_topic(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_NewTopic_t *topic;
	const rd_kafka_topic_result_t **results;
	rd_kafka_event_t *event;
	char		errstr[512];
	int			partitions = 1;
	int			next = 1;
	size_t		count;

	if (next < argc && strchr(argv[next], '=') == NULL)
		partitions = (int) parse_number(argv[next++], "PARTITIONS");
	topic = rd_kafka_NewTopic_new(argv[0], partitions, 1, errstr, sizeof(errstr));
	if (topic == NULL)
		die("%s", errstr);
	for (; next < argc; next++)
	{
		char	   *equals = strchr(argv[next], '=');

		if (equals == NULL)
			die("config=value expected: %s", argv[next]);
		*equals = '\0';
		rd_kafka_NewTopic_set_config(topic, argv[next], equals + 1);
	}
	rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
	event = await_answer(queue);
	results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
	check_topic_results(results, count);
	rd_kafka_event_destroy(event);
	wait_for_partitions(rk, argv[0], partitions);
}

static void
delete_topics(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);

	for (int i = 0; i < argc; i++)
	{
		rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(argv[i]);
		const rd_kafka_topic_result_t **results;
		rd_kafka_event_t *event;
		size_t		count;

		rd_kafka_DeleteTopics(rk, &topic, 1, NULL, queue);
		event = await_answer(queue);
		results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
		check_topic_results(results, count);
		rd_kafka_event_destroy(event);
		wait_for_partitions(rk, argv[i], 0);
	}
}

static void
add_partitions(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_NewPartitions_t *more;
	const rd_kafka_topic_result_t **results;
	rd_kafka_event_t *event;
	char		errstr[512];
	size_t		count;

	if (argc != 2)
		die("add-partitions TOPIC NEW_TOTAL");
	more = rd_kafka_NewPartitions_new(argv[0], parse_number(argv[1], "NEW_TOTAL"), errstr, sizeof(errstr));
	if (more == NULL)
		die("%s", errstr);
	rd_kafka_CreatePartitions(rk, &more, 1, NULL, queue);
	event = await_answer(queue);
	results = rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), &count);
	check_topic_results(results, count);
	rd_kafka_event_destroy(event);
	wait_for_partitions(rk, argv[0], (int) parse_number(argv[1], "NEW_TOTAL"));
}

static int
compare_topics(const void *a, const void *b)
{
	return strcmp(((const rd_kafka_metadata_topic_t *) a)->topic, ((const rd_kafka_metadata_topic_t *) b)->topic);
}

static void
list_topics(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	const struct rd_kafka_metadata *metadata = fetch_metadata(rk, NULL);

	qsort(metadata->topics, metadata->topic_cnt, sizeof(*metadata->topics), compare_topics);
	for (int i = 0; i < metadata->topic_cnt; i++)
		printf("%s\t%d\n", metadata->topics[i].topic, metadata->topics[i].partition_cnt);
}

/* Undoes COPY's escapes of tab, newline, carriage return and backslash in place; returns the length in bytes. */
static size_t
unescape(char *field)
{
	char	   *to = field;

	for (char *from = field; *from; from++)
	{
		if (*from == '\\' && from[1])
		{
			from++;
			*to++ = *from == 't' ? '\t' : *from == 'n' ? '\n' : *from == 'r' ? '\r' : *from;
		}
		else
			*to++ = *from;
	}
	*to = '\0';
	return to - field;
}

/* Turns a field into bytes, in place: \N gives NULL, and hex digits their bytes with --hex. */
static char *
decode_field(char *field, size_t *length)
{
	*length = strlen(field);
	if (strcmp(field, "\\N") == 0)
	{
		*length = 0;
		return NULL;
	}
	if (copy_text)
		*length = unescape(field);
	if (!hex)
		return field;
	if (*length % 2)
		die("odd number of hex digits: %s", field);
	*length /= 2;
	for (size_t i = 0; i < *length; i++)
	{
		char		digits[3] = {field[2 * i], field[2 * i + 1], '\0'};
		char	   *end;

		field[i] = (char) strtoul(digits, &end, 16);
		if (*end != '\0')
			die("not hex digits: %s", digits);
	}
	return field;
}

/* One record to be produced; key and value point into the line. */
typedef struct Record
{
	int32_t		partition;
	int64_t		timestamp_ms;	/* 0: now */
	rd_kafka_headers_t *headers;	/* or NULL */
	char	   *key;
	size_t		key_length;
	char	   *value;
	size_t		value_length;
} Record;

/* Takes the words partition=, ts= and header= off the start of a line; returns the rest. */
static char *
parse_prefixes(char *line, Record *record)
{
	for (;;)
	{
		char	   *space = strchr(line, ' ');
		char	   *colon = strchr(line, ':');

		if (space == NULL)
			return line;
		*space = '\0';
		if (strncmp(line, "partition=", 10) == 0)
			record->partition = (int32_t) parse_number(line + 10, "partition");
		else if (strncmp(line, "ts=", 3) == 0)
			record->timestamp_ms = parse_number(line + 3, "ts");
		else if (strncmp(line, "header=", 7) == 0 && colon && colon < space)
		{
			if (record->headers == NULL)
				record->headers = rd_kafka_headers_new(4);
			rd_kafka_header_add(record->headers, line + 7, colon - line - 7, colon + 1, space - colon - 1);
		}
		else
		{
			*space = ' ';
			return line;
		}
		line = space + 1;
	}
}

/* Cuts the field before the next tab off the line, or ends the program; returns the field. */
static char *
cut_field(char **line)
{
	char	   *field = *line;
	char	   *tab = strchr(field, '\t');

	if (tab == NULL)
		die("--full wants four fields: %s", field);
	*tab = '\0';
	*line = tab + 1;
	return field;
}

/* Turns a line of standard input into a record that points into it. */
static Record
parse_line(char *line)
{
	Record		record = {.partition = only_partition};

	if (full_lines)
	{
		char	   *field = cut_field(&line);

		if (strcmp(field, "\\N") != 0)
			record.partition = (int32_t) parse_number(field, "partition");
		field = cut_field(&line);
		if (strcmp(field, "\\N") != 0)
			record.timestamp_ms = parse_number(field, "ts");
	}
	else
		line = parse_prefixes(line, &record);
	if (full_lines || strchr(line, '\t'))
		record.key = decode_field(cut_field(&line), &record.key_length);
	record.value = decode_field(line, &record.value_length);
	return record;
}

/* Hands a record to librdkafka, waiting while its queue is full. */
static void
produce_record(rd_kafka_t *rk, const char *topic, Record *record)
{
	rd_kafka_resp_err_t err;

	do
	{
		err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(record->partition),
								RD_KAFKA_V_KEY(record->key, record->key_length),
								RD_KAFKA_V_VALUE(record->value, record->value_length),
								RD_KAFKA_V_TIMESTAMP(record->timestamp_ms),
								RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								RD_KAFKA_V_HEADERS(record->headers), RD_KAFKA_V_END);
		rd_kafka_poll(rk, err == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 100 : 0);
	} while (err == RD_KAFKA_RESP_ERR__QUEUE_FULL);
	if (err)
		die("could not produce to \"%s\": %s", topic, rd_kafka_err2str(err));
}

/* Ends the program at the first record that was not acknowledged. Runs: in rd_kafka_poll, on the main thread. */
static void
check_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	if (msg->err)
		die("not delivered to \"%s\": %s", rd_kafka_topic_name(msg->rkt), rd_kafka_message_errstr(msg));
}

static void
produce(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char		errstr[512];
	char	   *line = NULL;
	size_t		size = 0;
	ssize_t		length;
	Record		record;

	rd_kafka_conf_set(conf, "bootstrap.servers", broker, NULL, 0);
	rd_kafka_conf_set(conf, "partitioner", "murmur2_random", NULL, 0);
	rd_kafka_conf_set(conf, "enable.idempotence", "true", NULL, 0);
	rd_kafka_conf_set(conf, "linger.ms", "5", NULL, 0);
	rd_kafka_conf_set(conf, "message.timeout.ms", "60000", NULL, 0);
	rd_kafka_conf_set(conf, "message.max.bytes", "16000000", NULL, 0);
	rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
	rd_kafka_conf_set_dr_msg_cb(conf, check_delivery);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, sizeof(errstr));
	if (rk == NULL)
		die("%s", errstr);
	require_topic(rk, argv[0]);
	while ((length = getline(&line, &size, stdin)) >= 0)
	{
		if (length > 0 && line[length - 1] == '\n')
			line[length - 1] = '\0';
		record = parse_line(line);
		produce_record(rk, argv[0], &record);
	}
	free(line);
	if (rd_kafka_flush(rk, 2 * TIMEOUT_MS))
		die("%d records were not acknowledged", rd_kafka_outq_len(rk));
}

/* Prints bytes so that a record stays one line: NULL as \N, with --hex as hex digits. */
static void
print_bytes(const void *data, size_t length)
{
	const unsigned char *bytes = data;

	if (data == NULL)
		fputs("\\N", stdout);
	for (size_t i = 0; data && i < length; i++)
	{
		if (hex)
			printf("%02x", bytes[i]);
		else if (bytes[i] == '\t' || bytes[i] == '\n')
			fputs(bytes[i] == '\t' ? "\\t" : "\\n", stdout);
		else if (copy_text && (bytes[i] == '\r' || bytes[i] == '\\'))
			fputs(bytes[i] == '\r' ? "\\r" : "\\\\", stdout);
		else
			putchar(bytes[i]);
	}
}

static void
print_headers(const rd_kafka_message_t *msg)
{
	rd_kafka_headers_t *headers;
	const char *name;
	const void *value;
	size_t		length;

	if (rd_kafka_message_headers(msg, &headers))
	{
		print_bytes(NULL, 0);
		return;
	}
	for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &length); i++)
	{
		printf("%s%s=", i ? "," : "", name);
		print_bytes(value, length);
	}
}

/* Prints one record by the format; an unknown letter stands for itself. */
static void
print_record(const rd_kafka_message_t *msg)
{
	for (const char *f = format; *f; f++)
	{
		if (f[0] == '\\' && f[1])
		{
			f++;
			putchar(*f == 't' ? '\t' : *f == 'n' ? '\n' : *f);
			continue;
		}
		if (f[0] != '%' || !f[1])
		{
			putchar(*f);
			continue;
		}
		switch (*++f)
		{
			case 'T':
				fputs(rd_kafka_topic_name(msg->rkt), stdout);
				break;
			case 'p':
				printf("%d", msg->partition);
				break;
			case 'o':
				printf("%ld", msg->offset);
				break;
			case 't':
				printf("%ld", rd_kafka_message_timestamp(msg, NULL));
				break;
			case 'k':
				print_bytes(msg->key, msg->key_len);
				break;
			case 'v':
				print_bytes(msg->payload, msg->len);
				break;
			case 'h':
				print_headers(msg);
				break;
			default:
				putchar(*f);
		}
	}
	putchar('\n');
}

/*
 * Prints one partition from its first offset to the end it has now. Under
 * read_committed the broker's end-of-partition is the last stable offset, so
 * an open transaction does not block; records of aborted ones never come, and
 * then only the end-of-partition event tells that the end is reached.
 */
static void
consume_partition(rd_kafka_t *rk, const char *topic, int partition)
{
	rd_kafka_topic_partition_list_t *list;
	int64_t		low,
				high;
	bool		done = false;

	fetch_watermarks(rk, topic, partition, &low, &high);
	if (low >= high)
		return;
	list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, topic, partition)->offset = low;
	rd_kafka_assign(rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	while (!done)
	{
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, TIMEOUT_MS);

		if (msg == NULL)
			die("%s [%d]: no record and no end within %d s", topic, partition, TIMEOUT_MS / 1000);
		if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			done = true;
		else if (msg->err)
			die("%s [%d]: %s", topic, partition, rd_kafka_message_errstr(msg));
		else
		{
			if (msg->offset < high)
				print_record(msg);
			done = msg->offset >= high - 1;
		}
		rd_kafka_message_destroy(msg);
	}
}

static rd_kafka_t *
make_consumer(void)
{
	return make_client(RD_KAFKA_CONSUMER, "group.id", "kv_kafka", "enable.auto.commit", "false",
					   "auto.offset.reset", "error", "enable.partition.eof", "true",
					   "fetch.wait.max.ms", "10", "fetch.error.backoff.ms", "10",
					   "fetch.message.max.bytes", "16000000",
					   "isolation.level", isolation, NULL);
}

static void
consume(int argc, char **argv)
{
	rd_kafka_t *rk = make_consumer();
	int			partitions = require_topic(rk, argv[0]);

	rd_kafka_poll_set_consumer(rk);
	for (int partition = 0; partition < partitions; partition++)
		if (only_partition < 0 || only_partition == partition)
			consume_partition(rk, argv[0], partition);
}

static void
print_ends(int argc, char **argv)
{
	rd_kafka_t *rk = make_consumer();
	int			partitions = require_topic(rk, argv[0]);

	for (int partition = 0; partition < partitions; partition++)
	{
		int64_t		low,
					high;

		fetch_watermarks(rk, argv[0], partition, &low, &high);
		printf("%d\t%ld\t%ld\n", partition, low, high);
	}
}

/*
 * Waits until whoever reads committed records sees all there are: a commit is
 * known to its producer a moment before its markers are in the topics.
 */
static void
settle_topics(int argc, char **argv)
{
	rd_kafka_t *committed,
			   *all;

	isolation = "read_committed";
	committed = make_consumer();
	isolation = "read_uncommitted";
	all = make_consumer();
	for (int i = 0; i < argc; i++)
	{
		int			partitions = require_topic(all, argv[i]);

		for (int partition = 0; partition < partitions; partition++)
		{
			int64_t		low,
						high,
						stable;

			fetch_watermarks(all, argv[i], partition, &low, &high);
			for (int tries = 0;; tries++)
			{
				fetch_watermarks(committed, argv[i], partition, &low, &stable);
				if (stable >= high)
					break;
				if (tries == TIMEOUT_MS / 5)
					die("%s [%d]: a transaction is open for %d s", argv[i], partition, TIMEOUT_MS / 1000);
				usleep(5 * 1000);
			}
		}
	}
}

static void
print_group(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_ListConsumerGroupOffsets_t *request = rd_kafka_ListConsumerGroupOffsets_new(argv[0], NULL);
	rd_kafka_event_t *event = NULL;
	const rd_kafka_group_result_t **results;
	rd_kafka_topic_partition_list_t *list;
	size_t		count;

	/* a broker that has just started loads its groups first, and librdkafka does not ask again by itself */
	for (int tries = 0; event == NULL; tries++)
	{
		rd_kafka_ListConsumerGroupOffsets(rk, &request, 1, NULL, queue);
		event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
		if (event == NULL)
			die("no answer from %s", broker);
		if (rd_kafka_event_error(event) && tries == 500)
			die("%s", rd_kafka_event_error_string(event));
		if (rd_kafka_event_error(event))
		{
			rd_kafka_event_destroy(event);
			event = NULL;
			usleep(20 * 1000);
		}
	}
	results = rd_kafka_ListConsumerGroupOffsets_result_groups(rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
	if (count != 1)
		die("no answer for group \"%s\"", argv[0]);
	if (rd_kafka_group_result_error(results[0]))
		die("%s", rd_kafka_error_string(rd_kafka_group_result_error(results[0])));
	list = rd_kafka_topic_partition_list_copy(rd_kafka_group_result_partitions(results[0]));
	rd_kafka_topic_partition_list_sort(list, NULL, NULL);
	for (int i = 0; i < list->cnt; i++)
	{
		printf("%s\t%d\t%ld\t", list->elems[i].topic, list->elems[i].partition, list->elems[i].offset);
		print_bytes(list->elems[i].metadata ? list->elems[i].metadata : "", list->elems[i].metadata_size);
		putchar('\n');
	}
}

static _Noreturn void
usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"broker", required_argument, NULL, 'b'},
		{"partition", required_argument, NULL, 'p'},
		{"isolation", required_argument, NULL, 'i'},
		{"format", required_argument, NULL, 'f'},
		{"hex", no_argument, NULL, 'x'},
		{"copy", no_argument, NULL, 'c'},
		{"full", no_argument, NULL, 'F'},
		{NULL, 0, NULL, 0}
	};
	static const struct
	{
		const char *name;
		int			arguments;	/* at least */
		void		(*run) (int argc, char **argv);
	}			commands[] = {
		{"create", 1, create_topic},
		{"delete", 1, delete_topics},
		{"add-partitions", 2, add_partitions},
		{"topics", 0, list_topics},
		{"produce", 1, produce},
		{"consume", 1, consume},
		{"end", 1, print_ends},
		{"settle", 1, settle_topics},
		{"group", 1, print_group},
	};
	int			letter;

	broker = getenv("KAFKA_BROKER");
	while ((letter = getopt_long(argc, argv, "b:", options, NULL)) != -1)
	{
		switch (letter)
		{
			case 'b':
				broker = optarg;
				break;
			case 'p':
				only_partition = (int) parse_number(optarg, "--partition");
				break;
			case 'i':
				isolation = optarg;
				break;
			case 'f':
				format = optarg;
				break;
			case 'x':
				hex = true;
				break;
			case 'c':
				copy_text = true;
				break;
			case 'F':
				full_lines = true;
				break;
			default:
				usage();
		}
	}
	if (optind >= argc)
		usage();
	if (broker == NULL || *broker == '\0')
		die("which broker? -b HOST:PORT or KAFKA_BROKER");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
	{
		if (strcmp(argv[optind], commands[i].name) != 0)
			continue;
		if (argc - optind - 1 < commands[i].arguments)
			usage();
		commands[i].run(argc - optind - 1, argv + optind + 1);
		leave(0);
	}
	usage();
}
