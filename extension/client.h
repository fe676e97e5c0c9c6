/*
 * client.h: everything that makes a librdkafka object, each owned by a memory
 * context whose reset destroys it (children first), and the sorting of its
 * errors into what to do. No librdkafka thread ever enters Postgres: no callbacks,
 * events are polled by the owner's thread.
 */
#ifndef KV_CLIENT_H
#define KV_CLIENT_H

#include "kafka_views.h"
#include "client_options.h"
#include "foreign/foreign.h"
#include "kafka_call.h"
#include <librdkafka/rdkafka.h>

typedef enum KvErrorKind
{
	KAFKA_RETRY,				/* same call again after a pause */
	KAFKA_ABORT,				/* abort the Kafka transaction, then again */
	KAFKA_RECREATE,				/* this handle is dead: make a new one */
	KAFKA_STOP					/* needs a person: authorisation, unknown topic, fenced by another ... */
} KvErrorKind;

typedef struct KvClient
{
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;	/* consumer: all partitions; producer: its events (delivery reports, errors, logs) */
	int			wakeup_fd;		/* eventfd, readable when queue turned non-empty; drain until 0 */
	char	   *server_name;
	KafkaCall	call;			/* one that blocks, while the process does something else; its rk and queue are these */
	MemoryContext context;		/* reset or delete: destroys in order */
} KvClient;

/*
 * Make handles for a server with the user mapping of role. extra is a
 * NULL-terminated list name, value, name, value ... of engine properties
 * (group.id, transactional.id ...). The handle lives in a child of parent.
 * Raises ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION if librdkafka refuses the configuration.
 */
extern KvClient *kv_client_consumer(MemoryContext parent, Oid serverid, Oid role, const char *const *extra);
/* The same; tuning, a list too, gives way to the options of the server and the user mapping. */
extern KvClient *kv_client_tuned_consumer(MemoryContext parent, Oid serverid, Oid role, const char *const *tuning, const char *const *extra);
extern KvClient *kv_client_producer(MemoryContext parent, Oid serverid, Oid role, const char *const *extra);
extern void kv_client_destroy(KvClient *client);

/* Drains the log queue into ereport(LOG / DEBUG1), never with secrets. Raises nothing. */
extern void kv_client_drain_logs(KvClient *client);
/* The last error the client reported (all brokers down ...), or NULL; palloc'd in CurrentMemoryContext. */
extern char *kv_client_last_error(KvClient *client);

/* Makes an empty partition list that is destroyed when context is reset. */
extern rd_kafka_topic_partition_list_t *kv_client_list(MemoryContext context, int size);
/* Makes one more queue, whose messages wake as those of the client's own do; the caller destroys it before the client. */
extern rd_kafka_queue_t *kv_client_new_queue(KvClient *client);
/* Opens a topic for producing, closed when context is reset, which lies inside the client's; NULL: rd_kafka_last_error() says why. */
extern rd_kafka_topic_t *kv_client_topic(KvClient *client, MemoryContext context, const char *name);

extern KvErrorKind kv_error_kind(rd_kafka_resp_err_t err);
extern KvErrorKind kv_error_kind_txn(const rd_kafka_error_t *error);

#endif							/* KV_CLIENT_H */
