/*
 * kv_gen.c
 *		Produces the topics of the benchmark (DESIGN.md 6) and of the demo.
 *
 * The benchmark's work: one order a millisecond of event time, keyed by its
 * customer, half of them CREATED, with two fields nobody maps; for four orders
 * in five a payment 0 to 1.8 s later, sent in the order of payment time; each
 * record's timestamp is its event time. What was produced is a function of the
 * position alone; what a correct result must add up to is printed as
 * name=value lines, computed here and not by what is being measured.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_EVENT_MS INT64_C(1750000000000)
#define LONGEST_DELAY_MS 1800
#define RING 2048				/* a power of two above LONGEST_DELAY_MS */

enum
{
	STREAM_CUSTOMER = 1,
	STREAM_AMOUNT,
	STREAM_STATE,
	STREAM_PAID,
	STREAM_DELAY
};

typedef struct Order
{
	int64_t		order_id;		/* from 1 on */
	int64_t		customer_id;	/* 1 .. customers */
	int64_t		cents;
	bool		created;
} Order;

/* what a correct result adds up to */
typedef struct Truth
{
	int64_t		orders;
	int64_t		cents;
	int64_t		created;
	int64_t		created_cents;
	int64_t		payments;
	int64_t		paid_cents;
	int64_t		customers;		/* with at least one order */
} Truth;

/* payments that are due: one list of orders per millisecond, newest first */
typedef struct Due
{
	int64_t		first[RING];	/* by payment time: an order_id, or 0 */
	int64_t		next[RING];		/* by order_id: the order_id after it, or 0 */
} Due;

static Order
order_at(int64_t order_id, int64_t customers)
{
	return (Order)
	{
		.order_id = order_id,
			.customer_id = 1 + (int64_t) (random_at(STREAM_CUSTOMER, order_id) % customers),
			.cents = 100 + (int64_t) (random_at(STREAM_AMOUNT, order_id) % 99900),
			.created = random_at(STREAM_STATE, order_id) % 2 == 0,
	};
}

/* Sends one order; SENT_US is written as a field where it is not 0. */
static void
send_order(rd_kafka_t *rk, const char *topic, const Order *order, int64_t created_ms, int64_t sent_us)
{
	char		key[24];
	char		value[320];
	char		sent[48] = "";
	int			key_length,
				value_length;

	if (sent_us != 0)
		snprintf(sent, sizeof(sent), ",\"sent_us\":%" PRId64, sent_us);
	key_length = snprintf(key, sizeof(key), "%" PRId64, order->customer_id);
	value_length = snprintf(value, sizeof(value),
							"{\"order_id\":%" PRId64 ",\"customer_id\":%" PRId64 ",\"amount\":%" PRId64 ".%02" PRId64
							",\"state\":\"%s\",\"created_at\":%" PRId64
							",\"channel\":\"web-shop\",\"note\":\"leave it at the door\"%s}",
							order->order_id, order->customer_id, order->cents / 100, order->cents % 100,
							order->created ? "CREATED" : "SHIPPED", created_ms, sent);
	send_record(rk, topic, created_ms, key, key_length, value, value_length);
}

static void
send_payment(rd_kafka_t *rk, const char *topic, int64_t order_id, int64_t payment_id, int64_t paid_ms)
{
	char		key[24];
	char		value[320];
	int			key_length,
				value_length;

	key_length = snprintf(key, sizeof(key), "%" PRId64, order_id);
	value_length = snprintf(value, sizeof(value),
							"{\"payment_id\":%" PRId64 ",\"order_id\":%" PRId64 ",\"paid_at\":%" PRId64
							",\"method\":\"card\",\"reference\":\"%016" PRIx64 "\",\"acquirer\":\"first bank of kafka\"}",
							payment_id, order_id, paid_ms, random_at(STREAM_PAID, payment_id));
	send_record(rk, topic, paid_ms, key, key_length, value, value_length);
}

static int64_t
delay_of(int64_t order_id)
{
	return (int64_t) (random_at(STREAM_DELAY, order_id) % (LONGEST_DELAY_MS + 1));
}

static void
remember_payment(Due *due, int64_t order_id, int64_t order_time)
{
	int64_t    *first = &due->first[(order_time + delay_of(order_id)) % RING];

	due->next[order_id % RING] = *first;
	*first = order_id;
}

/* Sends the payments of one millisecond and returns their number. */
static int64_t
send_due_payments(rd_kafka_t *rk, const char *topic, Due *due, int64_t time, int64_t payments_before)
{
	int64_t		sent = 0;
	int64_t		order_id = due->first[time % RING];

	due->first[time % RING] = 0;
	for (; order_id != 0; order_id = due->next[order_id % RING])
		send_payment(rk, topic, order_id, payments_before + ++sent, FIRST_EVENT_MS + time);
	return sent;
}

static void
print_truth(const Truth *truth)
{
	printf("orders=%" PRId64 "\ncents=%" PRId64 "\ncreated=%" PRId64 "\ncreated_cents=%" PRId64
		   "\npayments=%" PRId64 "\npaid_cents=%" PRId64 "\ncustomers=%" PRId64 "\n",
		   truth->orders, truth->cents, truth->created, truth->created_cents,
		   truth->payments, truth->paid_cents, truth->customers);
}

/* Produces the orders, and the payments where PAYMENTS_TOPIC is given. */
static void
produce_orders(const char *bootstrap, int64_t orders, int64_t customers,
			   const char *orders_topic, const char *payments_topic)
{
	rd_kafka_t *rk = start_producer(bootstrap, 50);
	Truth		truth = {.orders = orders};
	bool	   *seen = calloc(customers + 1, sizeof(bool));
	Due		   *due = calloc(1, sizeof(Due));

	if (seen == NULL || due == NULL)
		die("out of memory");
	for (int64_t time = 0; time < orders + LONGEST_DELAY_MS; time++)
	{
		if (time < orders)
		{
			Order		order = order_at(time + 1, customers);
			bool		paid = random_at(STREAM_PAID, order.order_id) % 5 != 0;

			send_order(rk, orders_topic, &order, FIRST_EVENT_MS + time, 0);
			truth.cents += order.cents;
			truth.created += order.created;
			truth.created_cents += order.created ? order.cents : 0;
			truth.customers += !seen[order.customer_id];
			seen[order.customer_id] = true;
			if (payments_topic != NULL && paid)
			{
				truth.paid_cents += order.cents;
				remember_payment(due, order.order_id, time);
			}
		}
		if (payments_topic != NULL)
			truth.payments += send_due_payments(rk, payments_topic, due, time, truth.payments);
	}
	finish_producer(rk);
	free(due);
	free(seen);
	print_truth(&truth);
}

static void
produce_customers(const char *bootstrap, int64_t customers, const char *topic)
{
	rd_kafka_t *rk = start_producer(bootstrap, 50);

	for (int64_t customer_id = 1; customer_id <= customers; customer_id++)
	{
		char		key[24];
		char		value[200];
		int			key_length = snprintf(key, sizeof(key), "%" PRId64, customer_id);
		int			value_length = snprintf(value, sizeof(value),
											"{\"customer_id\":%" PRId64 ",\"name\":\"Customer number %" PRId64
											"\",\"email\":\"customer%" PRId64 "@example.com\",\"segment\":\"retail\"}",
											customer_id, customer_id, customer_id);

		send_record(rk, topic, FIRST_EVENT_MS, key, key_length, value, value_length);
	}
	finish_producer(rk);
	printf("customers=%" PRId64 "\n", customers);
}

/* Produces RATE orders a second by the clock, each with the moment of its sending. */
static void
produce_steadily(const char *bootstrap, int64_t rate, int64_t seconds, int64_t customers, const char *topic)
{
	rd_kafka_t *rk = start_producer(bootstrap, 5);
	int64_t		start_us = now_us();

	for (int64_t i = 0; i < rate * seconds; i++)
	{
		int64_t		due_us = start_us + i * 1000000 / rate;
		int64_t		sent_us = now_us();
		Order		order = order_at(i + 1, customers);

		if (sent_us < due_us)
		{
			rd_kafka_poll(rk, 0);
			/* a wake-up for each single order would measure the kernel's timer: one a millisecond is enough */
			sleep_until_us(due_us + 1000);
			sent_us = now_us();
		}
		send_order(rk, topic, &order, sent_us / 1000, sent_us);
	}
	finish_producer(rk);
	printf("orders=%" PRId64 "\nseconds=%.1f\n", rate * seconds, (now_us() - start_us) / 1e6);
}

static void
usage(void)
{
	die("usage: kv_gen orders    BOOTSTRAP EVENTS CUSTOMERS ORDERS_TOPIC [PAYMENTS_TOPIC]\n"
		"       kv_gen customers BOOTSTRAP CUSTOMERS TOPIC\n"
		"       kv_gen steady    BOOTSTRAP EVENTS_PER_SECOND SECONDS CUSTOMERS TOPIC\n"
		"       kv_gen shop      BOOTSTRAP ORDERS SECONDS TRUTH_FILE");
}

int
main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";

	if (strcmp(mode, "orders") == 0 && (argc == 6 || argc == 7))
		produce_orders(argv[2], parse_number(argv[3], "EVENTS"), parse_number(argv[4], "CUSTOMERS"),
					   argv[5], argc == 7 ? argv[6] : NULL);
	else if (strcmp(mode, "customers") == 0 && argc == 5)
		produce_customers(argv[2], parse_number(argv[3], "CUSTOMERS"), argv[4]);
	else if (strcmp(mode, "steady") == 0 && argc == 7)
		produce_steadily(argv[2], parse_number(argv[3], "EVENTS_PER_SECOND"), parse_number(argv[4], "SECONDS"),
						 parse_number(argv[5], "CUSTOMERS"), argv[6]);
	else if (strcmp(mode, "shop") == 0 && argc == 6)
		return play_shop(argv[2], parse_number(argv[3], "ORDERS"), parse_number(argv[4], "SECONDS"), argv[5]);
	else
		usage();
	return 0;
}
