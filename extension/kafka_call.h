/*
 * kafka_call.h: a call into librdkafka that blocks, made in a thread of its own, so that a process which serves several outputs
 * is not held up by one of them.
 */
#ifndef KV_KAFKA_CALL_H
#define KV_KAFKA_CALL_H

#include "kafka_views.h"
#include <librdkafka/rdkafka.h>
#include <pthread.h>

/* One call; there is one of it in every KvClient, for one call at a time. */
typedef struct KafkaCall
{
	/* what it is: set before the start, and left alone until the call is over */
	void		(*body) (struct KafkaCall *call);	/* calls librdkafka, and nothing of Postgres */
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	rd_kafka_topic_t *topic;
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_consumer_group_metadata_t *group;
	const char *name;
	void	   *arg;			/* whatever else the body needs */
	int			timeout_ms;
	int			pause_ms;		/* before it, where it is one more attempt */
	/* what came of it: the body sets it, and whoever frees it sets it to NULL; else the next start does, or the end of the client */
	rd_kafka_error_t *error;
	rd_kafka_resp_err_t err;
	const struct rd_kafka_metadata *metadata;
	rd_kafka_event_t *event;
	bool		cancelled;		/* atomic: a body that may wait for long looks here, and returns */
	/* of kafka_call.c */
	TimestampTz began_at;
	bool		running;
	bool		ended;			/* atomic: the body has returned */
	pthread_t	thread;
} KafkaCall;

/* Starts it. Raises an error where no thread can be started. Runs: either. Blocks: no. */
extern void kv_call_start(KafkaCall *call);
/* The same, for who must not raise anything; false: no thread can be started. */
extern bool kv_call_try_start(KafkaCall *call);
/* Is it under way? If not, its results may be read. Runs: either. Blocks: no. */
extern bool kv_call_is_running(KafkaCall *call);
/*
 * Has a call of this process that kv_call_is_running has looked at been under way for longer than librdkafka may take? Then it is lost, and with it
 * what it uses; only the end of the process gets rid of it. Runs: either. Blocks: no.
 */
extern bool kv_call_one_is_lost(void);
/* Waits until it is over, limit_ms at most (below 0: however long it takes); false: it is still under way. Runs: either. */
extern bool kv_call_wait(KafkaCall *call, int limit_ms);
/* Frees what came of a call that is over, and nobody has taken. Runs: either. Blocks: no. */
extern void kv_call_forget(KafkaCall *call);
/* Asks a body that heeds it to return early. Runs: either. Blocks: no. */
extern void kv_call_cancel(KafkaCall *call);
/* Lets what lies in context stand until the call is over, if the context is reset meanwhile. */
extern void kv_call_guard(KafkaCall *call, MemoryContext context);

/* A descriptor of the process that is readable when a call has ended since kv_call_drain. */
extern int	kv_call_fd(void);
extern void kv_call_drain(void);

#endif							/* KV_KAFKA_CALL_H */
