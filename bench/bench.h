/*
 * bench.h
 *		What the generator (kv_gen) and the reader (kv_read) share.
 */
#ifndef KV_BENCH_H
#define KV_BENCH_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

/* client.c */
extern void die(const char *format,...) __attribute__((noreturn, format(printf, 1, 2)));
extern long parse_number(const char *text, const char *what);
extern int64_t now_us(void);
extern void sleep_until_us(int64_t when_us);
extern uint64_t random_at(uint64_t stream, uint64_t position);

extern rd_kafka_t *start_producer(const char *bootstrap, int linger_ms);
extern void send_record(rd_kafka_t *rk, const char *topic, int64_t timestamp_ms,
						const char *key, size_t key_length, const char *value, size_t value_length);
extern void finish_producer(rd_kafka_t *rk);

/* a consumer assigned to all partitions of one topic, from their beginning */
typedef struct Reader
{
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;	/* what rd_kafka_consume_batch_queue reads */
	int			partitions;
	int			at_end;			/* partitions whose (committed) end was reached */
} Reader;

extern Reader open_reader(const char *bootstrap, const char *topic);
extern int	read_some(Reader *reader, rd_kafka_message_t **messages, int size, int timeout_ms);
extern void close_reader(Reader *reader);

/* shop.c */
extern int	play_shop(const char *bootstrap, long orders, long seconds, const char *truth_path);

#endif
