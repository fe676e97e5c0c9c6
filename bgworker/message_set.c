/*
 * message_set.c: the messages of one Kafka transaction.
 *
 * Invariant: they stand in the order in which they were written to the outbox. Of an upsert
 * topic's messages with the same key only the last is produced: a read_committed reader
 * could never tell the difference from a table's point of view, and a group
 * that changed a hundred times in the transaction costs one message.
 */
#include "postgres.h"

#include "fmgr.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "message_set.h"

static void add_message(const OutboxMessage *message, void *arg);
static void add_topic(MessageSet *set, const char *name);
static bool same_key(const OutboxMessage *a, const OutboxMessage *b);


/* Makes an empty set in context. */
MessageSet *
kv_messages_make(MemoryContext context)
{
	MessageSet *set = MemoryContextAllocZero(context, sizeof(MessageSet));

	set->context = context;
	set->size = 1024;
	set->messages = MemoryContextAlloc(context, sizeof(OutboxMessage) * set->size);
	set->hashes = MemoryContextAlloc(context, sizeof(uint32) * set->size);
	return set;
}

/* Adds the messages of a packed row. */
void
kv_messages_add(MessageSet *set, Datum row)
{
	MemoryContext save = MemoryContextSwitchTo(set->context);
	bytea	   *copy = DatumGetByteaPCopy(row);

	kv_packed_row_read(VARDATA(copy), VARSIZE(copy) - VARHDRSZ, add_message, set);
	set->bytes += VARSIZE(copy);
	MemoryContextSwitchTo(save);
}

static void
add_message(const OutboxMessage *message, void *arg)
{
	MessageSet *set = arg;

	if (set->count == set->size)
	{
		set->size *= 2;
		set->messages = repalloc_huge(set->messages, sizeof(OutboxMessage) * set->size);
		set->hashes = repalloc_huge(set->hashes, sizeof(uint32) * set->size);
	}
	set->messages[set->count] = *message;
	set->hashes[set->count] = message->key == NULL ? 0 : kv_murmur2(message->key, message->key_len);
	add_topic(set, message->topic);
	set->count++;
}

/* Adds a topic to the list, unless it is there; messages of one topic come in runs. */
static void
add_topic(MessageSet *set, const char *name)
{
	ListCell   *cell;

	if (set->last_topic != NULL && strcmp(set->last_topic, name) == 0)
		return;
	foreach(cell, set->topics)
	{
		set->last_topic = lfirst(cell);
		if (strcmp(set->last_topic, name) == 0)
			return;
	}
	set->last_topic = pstrdup(name);
	set->topics = lappend(set->topics, set->last_topic);
}

/* See the header. */
void
kv_messages_find_replaced(MessageSet *set)
{
	bool	   *replaced;
	uint32		mask;
	int		   *table;			/* open addressing: index of the last message of a key, or -1 */
	bool		any = false;

	for (int i = 0; i < set->count && !any; i++)
		any = set->messages[i].upsert;
	if (!any)
		return;

	mask = pg_nextpower2_32(Max(set->count, 8)) * 2 - 1;
	replaced = MemoryContextAllocExtended(set->context, set->count, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	table = MemoryContextAllocExtended(set->context, sizeof(int) * ((Size) mask + 1), MCXT_ALLOC_HUGE);
	memset(table, -1, sizeof(int) * ((Size) mask + 1));
	for (int i = 0; i < set->count; i++)
	{
		uint32		at = set->hashes[i] & mask;

		if (!set->messages[i].upsert || set->messages[i].key == NULL)
			continue;
		while (table[at] >= 0 && !same_key(&set->messages[table[at]], &set->messages[i]))
			at = (at + 1) & mask;
		if (table[at] >= 0)
			replaced[table[at]] = true;
		table[at] = i;
	}
	pfree(table);
	set->replaced = replaced;
}

static bool
same_key(const OutboxMessage *a, const OutboxMessage *b)
{
	return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0 &&
		(a->topic == b->topic || strcmp(a->topic, b->topic) == 0);
}
