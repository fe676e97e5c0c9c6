/*-------------------------------------------------------------------------
 * kv_kafka.h
 *	  What the files of kv_kafka share: its options, its ways out, its client.
 *
 * Nothing here returns an error: what fails prints why and ends the program.
 *-------------------------------------------------------------------------
 */
#ifndef KV_KAFKA_H
#define KV_KAFKA_H

#include <librdkafka/rdkafka.h>

#include <stdbool.h>
#include <stdint.h>

#define TIMEOUT_MS 30000

/* What the command line says; written by main only. */
typedef struct Options
{
	const char *broker;
	int			partition;		/* -1: all, or by the key */
	const char *isolation;
	const char *format;			/* of a record that is printed */
	bool		hex;			/* key and value are hex digits */
	bool		copy_text;		/* key and value are escaped as COPY does */
	bool		full_lines;		/* partition, time, key and value on each line */
	const char *linger_ms;		/* so long a batch waits for more records */
	const char *transaction;	/* transactional id of what is produced, or NULL */
} Options;

extern Options options;

/* kv_kafka.c */
extern _Noreturn void die(const char *message,...);
extern int64_t parse_number(const char *text, const char *what);

/* client.c */
extern rd_kafka_t *make_client(rd_kafka_type_t type,...);
extern rd_kafka_t *make_consumer(const char *isolation);
extern const struct rd_kafka_metadata *fetch_metadata(rd_kafka_t *rk, const char *name);
extern int	require_topic(rd_kafka_t *rk, const char *name);
extern void fetch_watermarks(rd_kafka_t *rk, const char *topic, int partition, int64_t *low, int64_t *high);
extern void wait_for_partitions(rd_kafka_t *rk, const char *name, int wanted);

/* consume.c */
extern void print_bytes(const void *data, size_t length);

/* the commands, with the arguments after their name */
extern void create_topic(int argc, char **argv);
extern void delete_topics(int argc, char **argv);
extern void add_partitions(int argc, char **argv);
extern void configure_topic(int argc, char **argv);
extern void trim_topic(int argc, char **argv);
extern void list_topics(int argc, char **argv);
extern void list_leaders(int argc, char **argv);
extern void produce(int argc, char **argv);
extern void consume(int argc, char **argv);
extern void print_ends(int argc, char **argv);
extern void settle_topics(int argc, char **argv);
extern void print_group(int argc, char **argv);
extern void commit_start(int argc, char **argv);
extern void forget_group(int argc, char **argv);

#endif							/* KV_KAFKA_H */
