/* client_config.h: what the brokers say about how long a topic keeps its records. */
#ifndef KV_CLIENT_CONFIG_H
#define KV_CLIENT_CONFIG_H

#include "client.h"

typedef enum ConfigAnswer
{
	CONFIG_KNOWN,
	CONFIG_FORBIDDEN,			/* the brokers answer, but not to this user */
	CONFIG_UNREACHABLE			/* no answer in time */
} ConfigAnswer;

typedef struct TopicConfig
{
	bool		compacted;		/* cleanup.policy has compact: records go before they are old */
	bool		by_size;		/* retention.bytes is set: records go however young they are */
	int64		retention_ms;	/* retention.ms; PG_INT64_MAX: for ever */
} TopicConfig;

/* Asks for the configuration of a topic. Raises nothing but interrupts. Blocks: timeout_ms. */
extern ConfigAnswer kv_topic_config(KvClient *client, const char *topic, int timeout_ms, TopicConfig *config);

#endif							/* KV_CLIENT_CONFIG_H */
