/*
 * record.h: one record of a topic, as the client gave it or as it was kept aside (kafka_state.dead_letter): what is
 * kept is the whole record, so both are decoded alike.
 */
#ifndef KV_RECORD_H
#define KV_RECORD_H

#include "headers.h"

typedef struct TopicRecord
{
	int32		partition;
	int64		offset;
	const char *key;			/* NULL: none */
	size_t		key_len;
	const char *value;			/* NULL: null */
	size_t		value_len;
	int64		timestamp_ms;	/* -1: none */
	const rd_kafka_message_t *msg;	/* has the headers; NULL: it was kept aside, with these */
	Datum		headers;
	bool		no_headers;
} TopicRecord;

/* Gives the record of a message; it lives as long as the message. */
static inline TopicRecord
kv_record_of(const rd_kafka_message_t *msg)
{
	rd_kafka_timestamp_type_t kind;
	TopicRecord record = {
		.partition = msg->partition,.offset = msg->offset,.key = msg->key,.key_len = msg->key_len,
		.value = msg->payload,.value_len = msg->len,.timestamp_ms = rd_kafka_message_timestamp(msg, &kind),.msg = msg
	};

	if (kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
		record.timestamp_ms = -1;
	return record;
}

/* Gives its headers as jsonb. */
static inline Datum
kv_record_headers(const TopicRecord *record, bool *isnull)
{
	if (record->msg != NULL)
		return kv_headers_jsonb(record->msg, isnull);
	*isnull = record->no_headers;
	return record->headers;
}

#endif							/* KV_RECORD_H */
