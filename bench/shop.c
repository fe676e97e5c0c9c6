/*
 * shop.c
 *		The demo's web shop: customers, orders and payments, played while one watches.
 *
 * EVENT_SPAN_US of event time ending now pass within the given seconds. Every
 * fourth order is never paid, some are drafts (which nobody is written to,
 * paid or not), and one in eight arrives after its payment, because the
 * service that sends orders was slow. Records are sent by arrival, with their
 * event time inside. The ids of the orders that deserve an e-mail are written
 * to the truth file, in ascending order, once all customers are in Kafka and
 * before the first order is; the totals are printed.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EVENT_SPAN_US (INT64_C(180) * 1000000)
#define SLOW_ORDER_US (INT64_C(9) * 1000000)
#define LONGEST_PAYMENT_US (INT64_C(30) * 1000000)
#define SECOND_US INT64_C(1000000)

enum
{
	STREAM_BUYER = 11,
	STREAM_PRICE,
	STREAM_DRAFT,
	STREAM_UNPAID,
	STREAM_SLOW,
	STREAM_PAY
};

typedef struct Arrival
{
	int64_t		arrives_us;		/* in event time, after the start of the play */
	int64_t		happens_us;
	int64_t		order_id;
	bool		is_payment;
} Arrival;

static const char *const first_names[] = {"Ada", "Barbara", "Edgar", "Grace", "Jim", "Leslie", "Margaret", "Michael", "Niklaus", "Tony"};
static const char *const last_names[] = {"Lovelace", "Liskov", "Codd", "Hopper", "Gray", "Lamport", "Hamilton", "Stonebraker", "Wirth", "Hoare"};

#define CUSTOMERS 100			/* every pair of names once */

static bool
is_draft(int64_t order_id)
{
	return random_at(STREAM_DRAFT, order_id) % 10 == 0;
}

static bool
is_paid(int64_t order_id)
{
	return random_at(STREAM_UNPAID, order_id) % 4 != 0;
}

/* Writes a moment as ISO 8601 in UTC with milliseconds. */
static void
format_time(int64_t time_us, char *text, size_t size)
{
	time_t		seconds = time_us / SECOND_US;
	struct tm	parts;
	size_t		length;

	gmtime_r(&seconds, &parts);
	length = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(text + length, size - length, ".%03dZ", (int) (time_us % SECOND_US / 1000));
}

static void
send_customers(rd_kafka_t *rk, int64_t time_us)
{
	for (int i = 0; i < CUSTOMERS; i++)
	{
		const char *first = first_names[i % 10];
		const char *last = last_names[i / 10];
		char		key[24];
		char		value[200];
		int			key_length = snprintf(key, sizeof(key), "%d", i + 1);
		int			value_length = snprintf(value, sizeof(value),
											"{\"customer_id\":%d,\"name\":\"%s %s\",\"email\":\"%s.%s@example.com\"}",
											i + 1, first, last, first, last);

		send_record(rk, "customers", time_us / 1000, key, key_length, value, value_length);
	}
}

/* Sends what has arrived; START_US is the event time at which the play begins. */
static void
send_arrival(rd_kafka_t *rk, const Arrival *arrival, int64_t start_us)
{
	int64_t		order_id = arrival->order_id;
	int64_t		event_us = start_us + arrival->happens_us;
	char		when[40];
	char		key[24];
	char		value[200];
	int			key_length = snprintf(key, sizeof(key), "%" PRId64, order_id);
	int			value_length;

	format_time(event_us, when, sizeof(when));
	if (arrival->is_payment)
		value_length = snprintf(value, sizeof(value),
								"{\"payment_id\":%" PRId64 ",\"order_id\":%" PRId64 ",\"paid_at\":\"%s\"}",
								1000000 + order_id, order_id, when);
	else
	{
		int64_t		cents = 500 + (int64_t) (random_at(STREAM_PRICE, order_id) % 20000);

		value_length = snprintf(value, sizeof(value),
								"{\"order_id\":%" PRId64 ",\"customer_id\":%d,\"amount\":%" PRId64 ".%02" PRId64
								",\"state\":\"%s\",\"created_at\":\"%s\"}",
								order_id, 1 + (int) (random_at(STREAM_BUYER, order_id) % CUSTOMERS),
								cents / 100, cents % 100, is_draft(order_id) ? "DRAFT" : "CREATED", when);
	}
	send_record(rk, arrival->is_payment ? "payments" : "orders", event_us / 1000, key, key_length, value, value_length);
}

static int
compare_arrivals(const void *a, const void *b)
{
	const Arrival *left = a;
	const Arrival *right = b;

	if (left->arrives_us != right->arrives_us)
		return left->arrives_us < right->arrives_us ? -1 : 1;
	return (left->order_id > right->order_id) - (left->order_id < right->order_id);
}

/* Writes the play: every order and payment by arrival; returns their number. */
static long
write_play(Arrival *arrivals, long orders)
{
	int64_t		order_span_us = EVENT_SPAN_US - LONGEST_PAYMENT_US;
	long		count = 0;

	for (int64_t order_id = 1; order_id <= orders; order_id++)
	{
		int64_t		created_us = order_span_us * order_id / orders;
		bool		slow = random_at(STREAM_SLOW, order_id) % 8 == 0;
		int64_t		paid_after_us = slow ? SECOND_US : (int64_t) (random_at(STREAM_PAY, order_id) % LONGEST_PAYMENT_US);

		arrivals[count++] = (Arrival) {created_us + (slow ? SLOW_ORDER_US : 0), created_us, order_id, false};
		if (is_paid(order_id))
			arrivals[count++] = (Arrival) {created_us + paid_after_us, created_us + paid_after_us, order_id, true};
	}
	qsort(arrivals, count, sizeof(Arrival), compare_arrivals);
	return count;
}

static void
write_truth(const char *path, long orders, long arrivals)
{
	FILE	   *file = fopen(path, "w");
	long		emails = 0;

	if (file == NULL)
		die("could not write %s", path);
	for (int64_t order_id = 1; order_id <= orders; order_id++)
	{
		if (!is_paid(order_id) || is_draft(order_id))
			continue;
		fprintf(file, "%" PRId64 "\n", order_id);
		emails++;
	}
	if (fclose(file) != 0)
		die("could not write %s", path);
	printf("orders=%ld\npayments=%ld\nemails=%ld\n", orders, arrivals - orders, emails);
}

/* Sends the customers, then plays the shop in SECONDS; returns the exit code. */
int
play_shop(const char *bootstrap, long orders, long seconds, const char *truth_path)
{
	rd_kafka_t *rk = start_producer(bootstrap, 5);
	Arrival    *arrivals = calloc(2 * orders, sizeof(Arrival));
	int64_t		began_us = now_us();
	int64_t		start_us = began_us - EVENT_SPAN_US;
	long		count;

	if (arrivals == NULL)
		die("out of memory");
	count = write_play(arrivals, orders);
	send_customers(rk, start_us);
	if (rd_kafka_flush(rk, 30 * 1000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		die("could not deliver the customers");
	write_truth(truth_path, orders, count);

	for (long i = 0; i < count; i++)
	{
		sleep_until_us(began_us + arrivals[i].arrives_us * seconds * SECOND_US / EVENT_SPAN_US);
		send_arrival(rk, &arrivals[i], start_us);
		rd_kafka_poll(rk, 0);
	}
	finish_producer(rk);
	free(arrivals);
	return 0;
}
