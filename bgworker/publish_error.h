/* publish_error.h: the error of a producer that could not do something. */
#ifndef KV_PUBLISH_ERROR_H
#define KV_PUBLISH_ERROR_H

#include "client.h"

/* Raises it: what could not be done (to topic; NULL: to none), librdkafka's words, and a hint. */
extern void kv_publish_error(KvClient *client, rd_kafka_resp_err_t code, const char *words, const char *what, const char *topic)
			pg_attribute_noreturn();

/* Does it say of a message only that librdkafka has thrown it away, because its transaction has failed by something else, perhaps another topic? */
extern bool kv_error_is_purge(rd_kafka_resp_err_t code);

#endif							/* KV_PUBLISH_ERROR_H */
