/*
 * message_set.c: the messages of one Kafka transaction.
 *
 * Invariant: they are produced in the order in which they were written to the outbox. Of an upsert
 * topic's messages with the same key only the last is produced: a read_committed reader
 * could never tell the difference from a table's point of view, and a group
 * that changed a hundred times in the transaction costs one message.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "message_set.h"

static void add_message(const OutboxMessage *message, void *arg);
static bool *find_replaced(MessageSet *set);
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
	set->count++;
}

/* Produces all that no later one replaces. */
int64
kv_messages_produce(MessageSet *set, KafkaTxn *txn)
{
	bool	   *replaced = find_replaced(set);
	int64		produced = 0;

	for (int i = 0; i < set->count; i++)
	{
		if (replaced != NULL && replaced[i])
			continue;
		kv_txn_produce(txn, &set->messages[i], set->hashes[i]);
		produced++;
		if (produced % 10000 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return produced;
}

/* Marks the messages that a later one of the same upsert topic and key replaces; NULL: none can be. */
static bool *
find_replaced(MessageSet *set)
{
	bool	   *replaced;
	uint32		mask;
	int		   *table;			/* open addressing: index of the last message of a key, or -1 */
	bool		any = false;

	for (int i = 0; i < set->count && !any; i++)
		any = set->messages[i].upsert;
	if (!any)
		return NULL;

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
	return replaced;
}

static bool
same_key(const OutboxMessage *a, const OutboxMessage *b)
{
	return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0 &&
		(a->topic == b->topic || strcmp(a->topic, b->topic) == 0);
}
