/*-------------------------------------------------------------------------
 * produce.c
 *	  The command of kv_kafka that turns lines of standard input into records.
 *
 * The line is cut in place: a record's key and value point into it.
 *-------------------------------------------------------------------------
 */
#include "kv_kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	if (options.copy_text)
		*length = unescape(field);
	if (!options.hex)
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
	Record		record = {.partition = options.partition};

	if (options.full_lines)
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
	if (options.full_lines || strchr(line, '\t'))
		record.key = decode_field(cut_field(&line), &record.key_length);
	record.value = decode_field(line, &record.value_length);
	return record;
}

/* Hands a record to librdkafka, waiting while its queue is full, and asking the broker for a partition that may be new. */
static void
produce_record(rd_kafka_t *rk, const char *topic, Record *record)
{
	rd_kafka_resp_err_t err;
	bool		again;
	int			tries = 0;

	do
	{
		err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(record->partition),
								RD_KAFKA_V_KEY(record->key, record->key_length),
								RD_KAFKA_V_VALUE(record->value, record->value_length),
								RD_KAFKA_V_TIMESTAMP(record->timestamp_ms),
								RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								RD_KAFKA_V_HEADERS(record->headers), RD_KAFKA_V_END);
		again = err == RD_KAFKA_RESP_ERR__QUEUE_FULL || (err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION && tries++ < 10);
		if (again && err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
			rd_kafka_metadata_destroy(fetch_metadata(rk, topic));
		rd_kafka_poll(rk, again ? 100 : 0);
	} while (again);
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

/* Ends the program at an error of a transaction. */
static void
check_transaction(rd_kafka_error_t *error)
{
	if (error != NULL)
		die("%s", rd_kafka_error_string(error));
}

void
produce(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char		errstr[512];
	char	   *line = NULL;
	size_t		size = 0;
	ssize_t		length;
	Record		record;

	rd_kafka_conf_set(conf, "bootstrap.servers", options.broker, NULL, 0);
	rd_kafka_conf_set(conf, "partitioner", "murmur2_random", NULL, 0);
	rd_kafka_conf_set(conf, "enable.idempotence", "true", NULL, 0);
	rd_kafka_conf_set(conf, "linger.ms", options.linger_ms, NULL, 0);
	/* whoever writes for long outlives a broker that is away; the flush at the end has a bound of its own */
	rd_kafka_conf_set(conf, "message.timeout.ms", "600000", NULL, 0);
	rd_kafka_conf_set(conf, "message.max.bytes", "16000000", NULL, 0);
	rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
	if (options.transaction)
	{
		rd_kafka_conf_set(conf, "transactional.id", options.transaction, NULL, 0);
		rd_kafka_conf_set(conf, "transaction.timeout.ms", "600000", NULL, 0);
	}
	rd_kafka_conf_set_dr_msg_cb(conf, check_delivery);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, sizeof(errstr));
	if (rk == NULL)
		die("%s", errstr);
	require_topic(rk, argv[0]);
	if (options.transaction)
	{
		check_transaction(rd_kafka_init_transactions(rk, TIMEOUT_MS));
		check_transaction(rd_kafka_begin_transaction(rk));
	}
	while ((length = getline(&line, &size, stdin)) >= 0)
	{
		if (length > 0 && line[length - 1] == '\n')
			line[length - 1] = '\0';
		record = parse_line(line);
		produce_record(rk, argv[0], &record);
		/* it is in the topic, and not committed, while the next one is waited for */
		if (options.transaction && rd_kafka_flush(rk, TIMEOUT_MS))
			die("%d records were not acknowledged", rd_kafka_outq_len(rk));
	}
	free(line);
	if (rd_kafka_flush(rk, 2 * TIMEOUT_MS))
		die("%d records were not acknowledged", rd_kafka_outq_len(rk));
	if (options.transaction)
		check_transaction(rd_kafka_commit_transaction(rk, TIMEOUT_MS));
}
