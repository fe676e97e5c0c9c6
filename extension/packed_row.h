/* packed_row.h: many messages in one row of the outbox; the format is in packed_row.c. */
#ifndef KV_PACKED_ROW_H
#define KV_PACKED_ROW_H

#include "kafka_views.h"
#include "lib/stringinfo.h"

/* One message, as appended and as read back; pointers into the packed row when read. */
typedef struct OutboxMessage
{
	Oid			relid;			/* the sink's foreign table (in memory); */
	const char *topic;			/* topic name, NUL-terminated (in the packed row) */
	int64		time_ms;		/* Unix ms, -1: let the producer choose */
	const char *key;			/* NULL: null key */
	int32		key_len;
	const char *value;			/* NULL: null value (tombstone) */
	int32		value_len;
	const char *headers;		/* packed: int16 count, then {int16 len, name, int32 len (-1 null), value}; NULL */
	int32		headers_len;
	bool		upsert;			/* within a batch only the last message of a key is published */
} OutboxMessage;

/*
 * Adds a message of a topic to a row. *topic_at is where in it the last message's topic stands, -1 in an empty row.
 * default_time is for a message without a time of its own; an infinite one is none.
 */
extern void kv_packed_row_add(StringInfo out, int *topic_at, const char *topic, const OutboxMessage *message, TimestampTz default_time);

/* Calls receive for every message of a row, in order; the message's pointers point into the row. */
typedef void (*MessageReceiver) (const OutboxMessage *message, void *arg);
extern void kv_packed_row_read(const char *row, int64 len, MessageReceiver receive, void *arg);

#endif							/* KV_PACKED_ROW_H */
