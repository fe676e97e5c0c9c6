/*
 * packed_row.c: many messages in one row of the outbox.
 *
 * A packed row is a sequence of messages in the machine's byte order, unaligned:
 *	  uint8	flags		(PACK_*)
 *	  uint16 length and that many bytes: the topic, NUL-terminated; only with
 *			 PACK_TOPIC, otherwise it is the previous message's
 *	  int64	 time		Unix ms, with PACK_TIME
 *	  uint32 length and bytes of the key, with PACK_KEY
 *	  uint32 length and bytes of the value, with PACK_VALUE
 *	  uint32 length and bytes of the headers (outbox.h), with PACK_HEADERS
 *
 * Invariant: a row can be read by itself: its first message names its topic. Rows do not outlive a
 * change of machine or of this format: they are published before an upgrade.
 */
#include "postgres.h"

#include "packed_row.h"

#define PACK_TOPIC 0x01
#define PACK_TIME 0x02
#define PACK_KEY 0x04
#define PACK_VALUE 0x08
#define PACK_HEADERS 0x10
#define PACK_UPSERT 0x20

static void pack_bytes(StringInfo out, const char *bytes, int32 len);
static const char *unpack_length(const char *p, const char *end, uint32 *len);


/* Adds a message; see the header. */
void
kv_packed_row_add(StringInfo out, int *topic_at, const char *topic, const OutboxMessage *message, TimestampTz default_time)
{
	int64		time_ms = message->time_ms;
	uint8		flags = 0;

	if (time_ms < 0 && !TIMESTAMP_NOT_FINITE(default_time))
		time_ms = (default_time + KV_UNIX_EPOCH_US) / 1000;
	if (*topic_at < 0 || strcmp(out->data + *topic_at, topic) != 0)
		flags |= PACK_TOPIC;
	flags |= time_ms >= 0 ? PACK_TIME : 0;
	flags |= message->key != NULL ? PACK_KEY : 0;
	flags |= message->value != NULL ? PACK_VALUE : 0;
	flags |= message->headers != NULL ? PACK_HEADERS : 0;
	flags |= message->upsert ? PACK_UPSERT : 0;

	appendStringInfoCharMacro(out, (char) flags);
	if (flags & PACK_TOPIC)
	{
		uint16		len = strlen(topic) + 1;

		appendBinaryStringInfo(out, (const char *) &len, sizeof(len));
		*topic_at = out->len;
		appendBinaryStringInfo(out, topic, len);
	}
	if (flags & PACK_TIME)
		appendBinaryStringInfo(out, (const char *) &time_ms, sizeof(time_ms));
	if (flags & PACK_KEY)
		pack_bytes(out, message->key, message->key_len);
	if (flags & PACK_VALUE)
		pack_bytes(out, message->value, message->value_len);
	if (flags & PACK_HEADERS)
		pack_bytes(out, message->headers, message->headers_len);
}

static void
pack_bytes(StringInfo out, const char *bytes, int32 len)
{
	appendBinaryStringInfo(out, (const char *) &len, sizeof(len));
	appendBinaryStringInfo(out, bytes, len);
}

/* Calls receive for every message of a packed row, in order. */
void
kv_packed_row_read(const char *row, int64 len, MessageReceiver receive, void *arg)
{
	const char *p = row;
	const char *end = row + len;
	const char *topic = NULL;

	while (p < end)
	{
		OutboxMessage message = {.topic = topic,.time_ms = -1};
		uint8		flags = *p++;
		uint32		part;

		if (flags & PACK_TOPIC)
		{
			uint16		topic_len;

			memcpy(&topic_len, p, sizeof(topic_len));
			message.topic = topic = p + sizeof(topic_len);
			p = topic + topic_len;
		}
		if (flags & PACK_TIME)
		{
			memcpy(&message.time_ms, p, sizeof(message.time_ms));
			p += sizeof(message.time_ms);
		}
		if (flags & PACK_KEY)
		{
			message.key = p = unpack_length(p, end, &part);
			message.key_len = part;
			p += part;
		}
		if (flags & PACK_VALUE)
		{
			message.value = p = unpack_length(p, end, &part);
			message.value_len = part;
			p += part;
		}
		if (flags & PACK_HEADERS)
		{
			message.headers = p = unpack_length(p, end, &part);
			message.headers_len = part;
			p += part;
		}
		message.upsert = (flags & PACK_UPSERT) != 0;
		if (message.topic == NULL)
			elog(ERROR, "outbox row begins without a topic");
		receive(&message, arg);
	}
}

/* Reads a length and gives back where its bytes begin; raises an error if they go beyond the row's end. */
static const char *
unpack_length(const char *p, const char *end, uint32 *len)
{
	memcpy(len, p, sizeof(*len));
	p += sizeof(*len);
	if (p > end || *len > end - p)
		elog(ERROR, "outbox row is damaged");
	return p;
}
