/*
 * publish_error.c: the error of a producer that could not do something, with what a person can do about it.
 */
#include "postgres.h"

#include "publish_error.h"

static const char *hint_for(rd_kafka_resp_err_t code, const char *what);


/* See the header. */
void
kv_publish_error(KvClient *client, rd_kafka_resp_err_t code, const char *words, const char *what, const char *topic)
{
	bool		connection = code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT ||
		code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT;
	char	   *last = kv_client_last_error(client);
	const char *hint = hint_for(code, what);

	ereport(ERROR,
			(errcode(connection ? ERRCODE_CONNECTION_FAILURE : ERRCODE_FDW_ERROR),
			 topic != NULL ? errmsg("could not %s topic \"%s\" on server \"%s\"", what, topic, client->server_name)
			 : errmsg("could not %s on server \"%s\"", what, client->server_name),
			 errdetail("librdkafka: %s", connection && last != NULL ? last : words),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* See the header. */
bool
kv_error_is_purge(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
}

/* Says what helps. */
static const char *
hint_for(rd_kafka_resp_err_t code, const char *what)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
			return "Create the topic in Kafka, or correct the option topic of the foreign table. Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			return strcmp(what, "commit positions") != 0 ? "Grant the Kafka user of the user mapping Write on the topic, and on others that it writes to. Publishing goes on by itself."
				: "Grant the Kafka user of the user mapping Read on the topic, also where ordinary transactions write to it: Kafka asks for that of who commits a "
				"position there. Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
			return "Grant the Kafka user of the user mapping Write and Describe on the transactional ids that begin with the instance's name.";
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			return "Grant the Kafka user of the user mapping Read on the groups that begin with the instance's name.";
		case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
			return "Set option transaction_timeout_ms of the foreign server to no more than transaction.max.timeout.ms of the brokers, or raise that to 300000. "
				"Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
			return "Raise max.message.bytes of the topic in Kafka, or set message_max_bytes of the foreign server to no more than that: many small messages "
				"travel as one. Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
			return "Raise message.timestamp.after.max.ms (times in the future) or message.timestamp.before.max.ms of the topic in Kafka. "
				"Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR_INVALID_RECORD:
			return "A compacted topic takes no message without a key: give the topic table a key column, and set cleanup.policy of the topic in Kafka "
				"to delete until what waits is out. Publishing goes on by itself.";
		case RD_KAFKA_RESP_ERR__TIMED_OUT:
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
			return "Check that the broker runs and that bootstrap_servers is right. Publishing goes on by itself.";
		default:
			return NULL;
	}
}
