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
 * Keys are compared as the columns they are, as in a view's copy of the table, not as bytes:
 * {"a":1,"b":2} and {"b": 2, "a": 1} are one key.
 *-------------------------------------------------------------------------
 */
#include "upsert_rows.h"

#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

/* A column of the key. */
typedef struct KeyColumn
{
	int			index;			/* in the row */
	bool		by_value;
	int16		len;
	Oid			collation;
	FmgrInfo   *hash;			/* NULL: the type has no hash function, its bytes are compared */
	FmgrInfo   *equal;
} KeyColumn;

/* The last record of a key in a partition. */
typedef struct UpsertLast
{
	int64		offset;			/* -1: none */
	int64		time_ms;		/* the greatest of its records, as Kafka has them */
} UpsertLast;

typedef struct UpsertEntry
{
	Datum	   *keys;			/* in the set's context */
	bool	   *nulls;
	uint32		hash;
	MinimalTuple tuple;			/* NULL: deleted */
	TimestampTz stream_time;	/* of the partition at the record */
	int32		partition;
	UpsertLast *last;			/* of a watched key: what was seen of it, by partition */
} UpsertEntry;

/* A place of the hash table. */
typedef struct UpsertPlace
{
	UpsertEntry *entry;
	char		status;
} UpsertPlace;

struct UpsertRows
{
	MemoryContext context;
	TupleDesc	desc;
	int			npartitions;
	int			nkeys;
	KeyColumn  *columns;
	struct upsert_places_hash *places;
	TimestampTz *stream_times;	/* per partition, DT_NOBEGIN before the first record */
	int64		next;			/* row that is given next */
	int64		count;
	int64		room;
	UpsertEntry **entries;		/* in the order of first appearance */
};

static bool same_key(const UpsertRows *rows, const UpsertEntry *a, const UpsertEntry *b);

#define SH_PREFIX upsert_places
#define SH_ELEMENT_TYPE UpsertPlace
#define SH_KEY_TYPE UpsertEntry *
#define SH_KEY entry
#define SH_HASH_KEY(table, key) ((key)->hash)
#define SH_EQUAL(table, a, b) same_key((table)->private_data, a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, place) ((place)->entry->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static void describe_key(KeyColumn *column, Form_pg_attribute att);
static UpsertEntry *find_entry(UpsertRows *rows, const Datum *values, const bool *nulls, bool *found);
static UpsertEntry *watched_entry(UpsertRows *rows, const Datum *values, const bool *nulls);
static void set_probe(const UpsertRows *rows, UpsertEntry *probe, const Datum *values, const bool *nulls);
static uint32 hash_value(const KeyColumn *column, Datum value);

/* Makes an empty set; see the header. */
UpsertRows *
kv_upsert_make(MemoryContext parent, const TopicDef *topic, int npartitions)
{
	MemoryContext context = AllocSetContextCreate(parent, "kv upsert rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	UpsertRows *rows = palloc0(sizeof(UpsertRows));

	rows->context = context;
	rows->desc = topic->desc;
	rows->npartitions = npartitions;
	rows->nkeys = topic->nkeys;
	rows->columns = palloc0(sizeof(KeyColumn) * topic->nkeys);
	for (int i = 0; i < topic->nkeys; i++)
		describe_key(&rows->columns[i], TupleDescAttr(topic->desc, topic->columns[topic->keys[i]].attno - 1));
	rows->places = upsert_places_create(context, 1024, rows);
	rows->stream_times = palloc(sizeof(TimestampTz) * Max(npartitions, 1));
	for (int i = 0; i < npartitions; i++)
		rows->stream_times[i] = DT_NOBEGIN;
	rows->room = 1024;
	rows->entries = palloc(sizeof(UpsertEntry *) * rows->room);
	MemoryContextSwitchTo(before);
	return rows;
}

static void
describe_key(KeyColumn *column, Form_pg_attribute att)
{
	TypeCacheEntry *type = lookup_type_cache(att->atttypid, TYPECACHE_HASH_PROC_FINFO | TYPECACHE_EQ_OPR_FINFO);

	column->index = att->attnum - 1;
	column->by_value = att->attbyval;
	column->len = att->attlen;
	column->collation = att->attcollation;
	if (!OidIsValid(type->hash_proc) || !OidIsValid(type->eq_opr))
		return;
	column->hash = &type->hash_proc_finfo;
	column->equal = &type->eq_opr_finfo;
}

/* Takes a decoded record; see the header. */
void
kv_upsert_add(UpsertRows *rows, const rd_kafka_message_t *msg, TimestampTz time_us, Datum *values, bool *nulls, bool deleted)
{
	MemoryContext before = MemoryContextSwitchTo(rows->context);
	TimestampTz *stream_time = &rows->stream_times[msg->partition];
	UpsertEntry *entry;
	bool		found;

	*stream_time = Max(*stream_time, time_us);
	entry = find_entry(rows, values, nulls, &found);
	if (!found || entry->partition == msg->partition || entry->stream_time < *stream_time ||
		(entry->stream_time == *stream_time && entry->partition < msg->partition))
	{
		if (entry->tuple != NULL)
			pfree(entry->tuple);
		entry->tuple = deleted ? NULL : heap_form_minimal_tuple(rows->desc, values, nulls);
		entry->stream_time = *stream_time;
		entry->partition = msg->partition;
	}
	MemoryContextSwitchTo(before);
}

/* Finds the entry of a row's key, or makes it without a row. Runs in the set's context. */
static UpsertEntry *
find_entry(UpsertRows *rows, const Datum *values, const bool *nulls, bool *found)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		key_nulls[INDEX_MAX_KEYS];
	UpsertEntry probe = {.keys = keys,.nulls = key_nulls};
	UpsertPlace *place;
	UpsertEntry *entry;

	set_probe(rows, &probe, values, nulls);
	place = upsert_places_insert(rows->places, &probe, found);
	if (*found)
		return place->entry;

	entry = palloc0(sizeof(UpsertEntry));
	entry->keys = palloc(sizeof(Datum) * rows->nkeys);
	entry->nulls = palloc(sizeof(bool) * rows->nkeys);
	entry->hash = probe.hash;
	for (int i = 0; i < rows->nkeys; i++)
	{
		entry->keys[i] = key_nulls[i] ? (Datum) 0 : datumCopy(keys[i], rows->columns[i].by_value, rows->columns[i].len);
		entry->nulls[i] = key_nulls[i];
	}
	place->entry = entry;
	if (rows->count == rows->room)
	{
		rows->room *= 2;
		rows->entries = repalloc_huge(rows->entries, sizeof(UpsertEntry *) * rows->room);
	}
	rows->entries[rows->count++] = entry;
	return entry;
}

/* Makes the key that is looked for, in the probe's arrays. */
static void
set_probe(const UpsertRows *rows, UpsertEntry *probe, const Datum *values, const bool *nulls)
{
	for (int i = 0; i < rows->nkeys; i++)
	{
		const KeyColumn *column = &rows->columns[i];

		probe->keys[i] = values[column->index];
		probe->nulls[i] = nulls[column->index];
		probe->hash = hash_combine(probe->hash, probe->nulls[i] ? 0 : hash_value(column, probe->keys[i]));
	}
}

/* Takes a key that is asked for; see the header. */
void
kv_upsert_watch(UpsertRows *rows, const Datum *values, const bool *nulls)
{
	MemoryContext before = MemoryContextSwitchTo(rows->context);
	bool		found;
	UpsertEntry *entry = find_entry(rows, values, nulls, &found);

	if (!found)
	{
		entry->last = palloc(sizeof(UpsertLast) * rows->npartitions);
		for (int i = 0; i < rows->npartitions; i++)
			entry->last[i] = (UpsertLast) {-1, -1};
	}
	MemoryContextSwitchTo(before);
}

/* Takes a record, which matters if its key is watched. */
void
kv_upsert_see(UpsertRows *rows, const TopicRecord *record, const Datum *values, const bool *nulls)
{
	UpsertEntry *entry = watched_entry(rows, values, nulls);
	UpsertLast *last;

	if (entry == NULL)
		return;
	last = &entry->last[record->partition];
	last->offset = Max(last->offset, record->offset);
	last->time_ms = Max(last->time_ms, record->timestamp_ms);
}

/* Tells whether a newer record of a key was seen; see the header. */
bool
kv_upsert_has_newer(UpsertRows *rows, const Datum *values, const bool *nulls, int partition, int64 offset, int64 time_ms)
{
	UpsertEntry *entry = watched_entry(rows, values, nulls);

	for (int i = 0; entry != NULL && i < rows->npartitions; i++)
	{
		const UpsertLast *last = &entry->last[i];

		if (i == partition ? last->offset > offset : last->offset >= 0 && (last->time_ms < 0 || last->time_ms >= time_ms))
			return true;
	}
	return false;
}

/* Finds the entry of a row's key; NULL: it is not watched. */
static UpsertEntry *
watched_entry(UpsertRows *rows, const Datum *values, const bool *nulls)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		key_nulls[INDEX_MAX_KEYS];
	UpsertEntry probe = {.keys = keys,.nulls = key_nulls};
	UpsertPlace *place;

	set_probe(rows, &probe, values, nulls);
	place = upsert_places_lookup(rows->places, &probe);
	return place != NULL ? place->entry : NULL;
}

static uint32
hash_value(const KeyColumn *column, Datum value)
{
	if (column->hash == NULL)
		return datum_image_hash(value, column->by_value, column->len);
	return DatumGetUInt32(FunctionCall1Coll(column->hash, column->collation, value));
}

static bool
same_key(const UpsertRows *rows, const UpsertEntry *a, const UpsertEntry *b)
{
	for (int i = 0; i < rows->nkeys; i++)
	{
		const KeyColumn *column = &rows->columns[i];

		if (a->nulls[i] != b->nulls[i])
			return false;
		if (a->nulls[i])
			continue;
		if (column->equal == NULL ? !datum_image_eq(a->keys[i], b->keys[i], column->by_value, column->len) :
			!DatumGetBool(FunctionCall2Coll(column->equal, column->collation, a->keys[i], b->keys[i])))
			return false;
	}
	return true;
}

/* Begins (again) to give the rows. */
void
kv_upsert_rewind(UpsertRows *rows)
{
	rows->next = 0;
}

/* Gives the next row; see the header. */
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
