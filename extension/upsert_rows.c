/*-------------------------------------------------------------------------
 * upsert_rows.c
 *	  The last value per key of a topic that is being read, in memory.
 *
 * Why it exists: an upsert topic is a table whose rows are spread over a log;
 * only at its end is it known which records are the rows.
 *
 * Invariant: of two records of one key the later in processing order wins (DESIGN.md
 * 2.2): in one partition the one with the greater offset; in two, where a key
 * should not be, the one with the greater stream time, then the greater partition. So a
 * deletion is remembered too: a record that is read after it may come before it.
 *-------------------------------------------------------------------------
 */
#include "upsert_rows.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct RecordKey
{
	const char *bytes;
	uint32		len;
} RecordKey;

typedef struct UpsertEntry
{
	RecordKey	key;			/* hash key; bytes in the set's context */
	MinimalTuple tuple;			/* NULL: deleted */
	TimestampTz stream_time;	/* of the partition at the record */
	int32		partition;
} UpsertEntry;

struct UpsertRows
{
	MemoryContext context;
	HTAB	   *hash;
	TimestampTz *stream_times;	/* per partition, DT_NOBEGIN before the first record */
	int64		next;			/* row that is given next */
	int64		count;
	int64		room;
	UpsertEntry **entries;		/* in the order of first appearance */
};

static uint32
hash_key(const void *key, Size keysize)
{
	const RecordKey *record = key;

	return hash_bytes((const unsigned char *) record->bytes, record->len);
}

static int
compare_keys(const void *a, const void *b, Size keysize)
{
	const RecordKey *left = a;
	const RecordKey *right = b;

	return left->len != right->len || memcmp(left->bytes, right->bytes, left->len) != 0;
}

UpsertRows *
kv_upsert_make(MemoryContext parent, int npartitions)
{
	MemoryContext context = AllocSetContextCreate(parent, "kv upsert rows", ALLOCSET_DEFAULT_SIZES);
	UpsertRows *rows = MemoryContextAllocZero(context, sizeof(UpsertRows));
	HASHCTL		control = {
		.keysize = sizeof(RecordKey),
		.entrysize = sizeof(UpsertEntry),
		.hash = hash_key,
		.match = compare_keys,
		.hcxt = context
	};

	rows->context = context;
	rows->hash = hash_create("kv upsert rows", 1024, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	rows->stream_times = MemoryContextAlloc(context, sizeof(TimestampTz) * Max(npartitions, 1));
	for (int i = 0; i < npartitions; i++)
		rows->stream_times[i] = DT_NOBEGIN;
	rows->room = 1024;
	rows->entries = MemoryContextAlloc(context, sizeof(UpsertEntry *) * rows->room);
	return rows;
}

void
kv_upsert_add(UpsertRows *rows, const rd_kafka_message_t *msg, TimestampTz time_us,
			  TupleDesc desc, Datum *values, bool *nulls)
{
	MemoryContext before = MemoryContextSwitchTo(rows->context);
	RecordKey	key = {msg->key, msg->key_len};
	TimestampTz *stream_time = &rows->stream_times[msg->partition];
	UpsertEntry *entry;
	bool		found;

	*stream_time = Max(*stream_time, time_us);
	entry = hash_search(rows->hash, &key, HASH_ENTER, &found);
	if (!found)
	{
		char	   *bytes = palloc(Max(key.len, 1));

		memcpy(bytes, key.bytes, key.len);
		entry->key.bytes = bytes;
		entry->tuple = NULL;
		if (rows->count == rows->room)
		{
			rows->room *= 2;
			rows->entries = repalloc_huge(rows->entries, sizeof(UpsertEntry *) * rows->room);
		}
		rows->entries[rows->count++] = entry;
	}
	if (!found || entry->partition == msg->partition || entry->stream_time < *stream_time ||
		(entry->stream_time == *stream_time && entry->partition < msg->partition))
	{
		if (entry->tuple != NULL)
			pfree(entry->tuple);
		entry->tuple = values != NULL ? heap_form_minimal_tuple(desc, values, nulls) : NULL;
		entry->stream_time = *stream_time;
		entry->partition = msg->partition;
	}
	MemoryContextSwitchTo(before);
}

void
kv_upsert_rewind(UpsertRows *rows)
{
	rows->next = 0;
}

MinimalTuple
kv_upsert_next(UpsertRows *rows)
{
	while (rows->next < rows->count)
	{
		MinimalTuple tuple = rows->entries[rows->next++]->tuple;

		if (tuple != NULL)
			return tuple;
	}
	return NULL;
}
