/*
 * kv_read.c
 *		Reads topics to judge what others wrote, and measures the bare client.
 *
 * The floor is a consumer that does nothing with what it gets: the least that
 * anything built on librdkafka can cost. The other modes read a sink as its
 * readers do (read_committed) and know nothing of the extension: they look
 * into the JSON for the few fields they add up.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define BATCH 10000
#define MAX_ID (INT64_C(1) << 26)	/* of orders and customers */

/* what happens to each record */
typedef void (*Visit) (const rd_kafka_message_t *message, void *state);

/* Reads a topic to the end it has when it is reached; returns the number of records. */
static int64_t
read_topic(const char *bootstrap, const char *topic, Visit visit, void *state)
{
	static rd_kafka_message_t *messages[BATCH];
	Reader		reader = open_reader(bootstrap, topic);
	int64_t		total = 0;

	while (reader.at_end < reader.partitions)
	{
		int			records = read_some(&reader, messages, BATCH, 20);

		for (int i = 0; i < records; i++)
		{
			if (visit != NULL)
				visit(messages[i], state);
			rd_kafka_message_destroy(messages[i]);
		}
		total += records;
	}
	close_reader(&reader);
	return total;
}

/* Returns where the value of a top-level JSON field begins (inside its quotes), or ends the program. */
static const char *
find_field(const rd_kafka_message_t *message, const char *name)
{
	static char text[65536];
	char		quoted[64];
	char	   *at;

	if (message->payload == NULL || message->len >= sizeof(text))
		die("offset %" PRId64 " has no usable value", message->offset);
	memcpy(text, message->payload, message->len);
	text[message->len] = '\0';
	snprintf(quoted, sizeof(quoted), "\"%s\":", name);
	at = strstr(text, quoted);
	if (at == NULL)
		die("offset %" PRId64 " has no field \"%s\": %s", message->offset, name, text);
	at += strlen(quoted);
	return at + strspn(at, " \"");
}

static int64_t
integer_field(const rd_kafka_message_t *message, const char *name)
{
	return strtoll(find_field(message, name), NULL, 10);
}

/* Returns an amount in cents: digits, and at most two after a point. */
static int64_t
cents_field(const rd_kafka_message_t *message, const char *name)
{
	char	   *end;
	int64_t		cents = 100 * strtoll(find_field(message, name), &end, 10);

	if (*end == '.' && end[1] >= '0' && end[1] <= '9')
	{
		cents += 10 * (end[1] - '0');
		if (end[2] >= '0' && end[2] <= '9')
			cents += end[2] - '0';
	}
	return cents;
}

static int64_t
check_id(int64_t id)
{
	if (id < 0 || id >= MAX_ID)
		die("id %" PRId64 " is out of range", id);
	return id;
}

static void *
allocate(size_t size)
{
	void	   *memory = calloc(1, size);

	if (memory == NULL)
		die("out of memory");
	return memory;
}

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
measure_floor(const char *bootstrap, const char *topic)
{
	int64_t		start_us = now_us();
	double		start_cpu = cpu_seconds();
	int64_t		messages = read_topic(bootstrap, topic, NULL, NULL);

	printf("messages=%" PRId64 "\ncpu_s=%.3f\nwall_s=%.3f\n",
		   messages, cpu_seconds() - start_cpu, (now_us() - start_us) / 1e6);
}

/* messages that each are one order's: how many, for how many orders, of what amount */
typedef struct Facts
{
	bool	   *seen;
	int64_t		distinct;
	int64_t		cents;
} Facts;

static void
add_fact(const rd_kafka_message_t *message, void *state)
{
	Facts	   *facts = state;
	int64_t		order_id = check_id(integer_field(message, "order_id"));

	facts->distinct += !facts->seen[order_id];
	facts->seen[order_id] = true;
	facts->cents += cents_field(message, "amount");
}

static void
count_facts(const char *bootstrap, const char *topic)
{
	Facts		facts = {.seen = allocate(MAX_ID * sizeof(bool))};
	int64_t		messages = read_topic(bootstrap, topic, add_fact, &facts);

	printf("messages=%" PRId64 "\ndistinct=%" PRId64 "\ncents=%" PRId64 "\n", messages, facts.distinct, facts.cents);
	free(facts.seen);
}

/* the last message per customer: its count and its sum */
typedef struct Group
{
	bool		seen;
	int64_t		orders;
	int64_t		cents;
} Group;

static void
keep_last(const rd_kafka_message_t *message, void *state)
{
	Group	   *groups = state;
	Group	   *group = &groups[check_id(integer_field(message, "customer_id"))];

	group->seen = true;
	group->orders = integer_field(message, "orders");
	group->cents = cents_field(message, "total");
}

static void
add_groups(const char *bootstrap, const char *topic)
{
	Group	   *groups = allocate(MAX_ID * sizeof(Group));
	int64_t		messages = read_topic(bootstrap, topic, keep_last, groups);
	int64_t		keys = 0,
				orders = 0,
				cents = 0;

	for (int64_t id = 0; id < MAX_ID; id++)
	{
		keys += groups[id].seen;
		orders += groups[id].orders;
		cents += groups[id].cents;
	}
	printf("messages=%" PRId64 "\nkeys=%" PRId64 "\norders=%" PRId64 "\ncents=%" PRId64 "\n", messages, keys, orders, cents);
	free(groups);
}

static int
compare_int64(const void *a, const void *b)
{
	int64_t		left = *(const int64_t *) a;
	int64_t		right = *(const int64_t *) b;

	return (left > right) - (left < right);
}

/*
 * Waits for EXPECTED messages and prints how long after their field sent_us
 * they came. Those sent in the first WARM_UP_S are counted but not measured.
 */
static void
measure_latency(const char *bootstrap, const char *topic, int64_t expected, int64_t warm_up_s, int64_t timeout_s)
{
	static rd_kafka_message_t *messages[BATCH];
	Reader		reader = open_reader(bootstrap, topic);
	int64_t    *latencies = allocate(expected * sizeof(int64_t));
	int64_t		deadline_us = now_us() + timeout_s * 1000000;
	int64_t		total = 0,
				measured = 0,
				first_us = 0;

	while (total < expected && now_us() < deadline_us)
	{
		/* one message is enough to return: a full batch would be waited for */
		int			records = read_some(&reader, messages, 1, 100);
		int64_t		arrived_us = now_us();

		if (records == 0)
			continue;

		int64_t		sent_us = integer_field(messages[0], "sent_us");

		rd_kafka_message_destroy(messages[0]);
		if (total++ == 0)
			first_us = sent_us;
		if (sent_us >= first_us + warm_up_s * 1000000)
			latencies[measured++] = arrived_us - sent_us;
	}
	close_reader(&reader);
	if (measured == 0)
		die("%" PRId64 " of %" PRId64 " messages came, none to measure", total, expected);
	qsort(latencies, measured, sizeof(int64_t), compare_int64);
	printf("messages=%" PRId64 "\nmeasured=%" PRId64 "\np50_ms=%.1f\np99_ms=%.1f\nmax_ms=%.1f\n", total, measured,
		   latencies[measured / 2] / 1e3, latencies[measured * 99 / 100] / 1e3, latencies[measured - 1] / 1e3);
	free(latencies);
}

static void
usage(void)
{
	die("usage: kv_read floor   BOOTSTRAP TOPIC      CPU and wall time of reading it and doing nothing\n"
		"       kv_read facts   BOOTSTRAP TOPIC      messages, distinct order_id, sum of amount\n"
		"       kv_read groups  BOOTSTRAP TOPIC      last message per customer_id: sums of orders and total\n"
		"       kv_read latency BOOTSTRAP TOPIC EXPECTED WARM_UP_S TIMEOUT_S      from sent_us to here");
}

int
main(int argc, char **argv)
{
	const char *mode = argc > 3 ? argv[1] : "";

	if (strcmp(mode, "latency") == 0 && argc == 7)
		measure_latency(argv[2], argv[3], parse_number(argv[4], "EXPECTED"),
						parse_number(argv[5], "WARM_UP_S"), parse_number(argv[6], "TIMEOUT_S"));
	else if (argc != 4)
		usage();
	else if (strcmp(mode, "floor") == 0)
		measure_floor(argv[2], argv[3]);
	else if (strcmp(mode, "facts") == 0)
		count_facts(argv[2], argv[3]);
	else if (strcmp(mode, "groups") == 0)
		add_groups(argv[2], argv[3]);
	else
		usage();
	return 0;
}
