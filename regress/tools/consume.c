/*-------------------------------------------------------------------------
 * consume.c
 *	  The command of kv_kafka that prints the records of topics, a line each.
 *-------------------------------------------------------------------------
 */
#include "kv_kafka.h"

#include <stdio.h>

/* Prints bytes so that a record stays one line: NULL as \N, with --hex as hex digits. */
void
print_bytes(const void *data, size_t length)
{
	const unsigned char *bytes = data;

	if (data == NULL)
		fputs("\\N", stdout);
	for (size_t i = 0; data && i < length; i++)
	{
		if (options.hex)
			printf("%02x", bytes[i]);
		else if (bytes[i] == '\t' || bytes[i] == '\n')
			fputs(bytes[i] == '\t' ? "\\t" : "\\n", stdout);
		else if (options.copy_text && (bytes[i] == '\r' || bytes[i] == '\\'))
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
	for (const char *f = options.format; *f; f++)
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

void
consume(int argc, char **argv)
{
	rd_kafka_t *rk = make_consumer(options.isolation);

	rd_kafka_poll_set_consumer(rk);
	for (int topic = 0; topic < argc; topic++)
	{
		int			partitions = require_topic(rk, argv[topic]);

		for (int partition = 0; partition < partitions; partition++)
			if (options.partition < 0 || options.partition == partition)
				consume_partition(rk, argv[topic], partition);
	}
}
