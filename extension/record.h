/*
 * record.h: one record of a topic, as the client gave it, as a worker copied it (ring.c), or as it was kept aside
 * (kafka_state.dead_letter): what is kept is the whole record, so all are decoded alike.
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
	const rd_kafka_message_t *msg;	/* has the headers; NULL: it is a copy, with these */
	rd_kafka_headers_t *client_headers; /* as the client has them; NULL: these */
	size_t		headers_len;	/* what those take, about */
	Datum		headers;		/* jsonb */
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
	rd_kafka_headers_t *headers = record->client_headers;

	*isnull = record->msg != NULL ? rd_kafka_message_headers(record->msg, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR : record->no_headers;
	if (*isnull)
		return (Datum) 0;
	return headers != NULL ? kv_headers_jsonb(headers) : record->headers;
}

#endif							/* KV_RECORD_H */
