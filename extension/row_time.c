/*
 * row_time.c: the event time of the row that caused an output (DESIGN.md 1.2).
 *
 * A message without a time of its own carries the event time of what caused it. A
 * trigger sees the result row and not the record that changed it. So the statements of a view note
 * the times, by kafka_state.row_time, and kafka.publish finds them here:
 *
 *	  append-only views whose rows have a column with their event time: there, nothing is noted;
 *	  other append-only views: one note a row, in the order in which they are inserted, which
 *	  is the order of transition tables and of row triggers, too. A trigger may pass
 *	  over rows (WHEN), so a note has a hash of its row's bytes;
 *	  keyed views: one note a group that the batch touches, with a hash of its key as its type's equality
 *	  has it; for a tombstone, too. Groups are written in the order of their notes, as a rule, so the next
 *	  notes are looked at first: a hash table of every group of a batch cost 0.6 us a group more.
 *
 * Invariant: nothing is ever wrong but a time. What is not found gets the default of the batch
 * (kv_outbox_default_time), as INSERTs into topics by triggers of the user's own do.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "row_time.h"

PG_FUNCTION_INFO_V1(kafka_row_time);

/* So many notes are looked at before the index is asked for a key; inserts and updates share one row of notes. */
#define LOOK_AHEAD 16

/* One note. */
typedef struct RowTime
{
	uint64		hash;
	TimestampTz time;
} RowTime;

/* An entry of the index of notes by their hash. */
typedef struct KeyTime
{
	uint64		hash;
	int64		row;			/* in notes.rows */
	char		status;			/* simplehash's */
} KeyTime;

#define SH_PREFIX key_times
#define SH_ELEMENT_TYPE KeyTime
#define SH_KEY_TYPE uint64
#define SH_KEY hash
#define SH_HASH_KEY(table, key) ((uint32) (key))
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* A column that tells a row from others. */
typedef struct HashedColumn
{
	int			index;			/* in the row */
	Oid			type;
	bool		by_value;
	int16		len;
	FmgrInfo   *equal_hash;		/* the type's hash function; NULL: by its bytes */
	Oid			collation;
} HashedColumn;

/* The view whose rows this backend writes now. */
static struct
{
	Oid			relid;			/* InvalidOid: none */
	RowTimeKind kind;
	int			ncolumns;
	HashedColumn *columns;
	uint64		round;
	RowTime    *rows;			/* ROW_TIME_ORDER, ROW_TIME_KEY */
	int64		nrows,
				max_rows;
	key_times_hash *index;		/* ROW_TIME_KEY, once a key was not among the next notes; NULL: not so far */
	int64		indexed;		/* so many of rows are in it */
	MemoryContext context;		/* of all the above */
} notes;

static void describe_column(HashedColumn *column, TupleDesc desc, AttrNumber attno);
static bool is_for_these_notes(FunctionCallInfo fcinfo);
static uint64 add_to_hash(uint64 hash, const HashedColumn *column, Datum value, bool isnull);
static void note(uint64 hash, TimestampTz time);
static TimestampTz next_in_order(RowTimeCursor *cursor, uint64 hash, int64 end);
static TimestampTz time_of_key(RowTimeCursor *cursor, uint64 hash);


/* Begins the notes for the rows of a view; see the header. */
void
kv_row_times_begin(Oid relid, RowTimeKind kind, TupleDesc desc, List *columns)
{
	ListCell   *cell;
	int			n = 0;

	kv_row_times_end();
	if (notes.context == NULL)
		notes.context = AllocSetContextCreate(TopMemoryContext, "kv row times", ALLOCSET_DEFAULT_SIZES);
	notes.kind = kind;
	notes.ncolumns = list_length(columns);
	notes.columns = MemoryContextAllocZero(notes.context, sizeof(HashedColumn) * Max(notes.ncolumns, 1));
	foreach(cell, columns)
		describe_column(&notes.columns[n++], desc, lfirst_int(cell));
	notes.relid = relid;
	notes.round++;
}

/* Ends them. */
void
kv_row_times_end(void)
{
	if (notes.context != NULL)
		MemoryContextReset(notes.context);
	notes.relid = InvalidOid;
	notes.rows = NULL;
	notes.nrows = notes.max_rows = 0;
	notes.index = NULL;
	notes.indexed = 0;
}

static void
describe_column(HashedColumn *column, TupleDesc desc, AttrNumber attno)
{
	Form_pg_attribute att = TupleDescAttr(desc, attno - 1);
	TypeCacheEntry *type;

	column->index = attno - 1;
	column->type = att->atttypid;
	column->by_value = att->attbyval;
	column->len = att->attlen;
	if (notes.kind != ROW_TIME_KEY)
		return;
	type = lookup_type_cache(att->atttypid, TYPECACHE_HASH_PROC_FINFO);
	column->collation = type->typcollation;
	if (OidIsValid(type->hash_proc))
		column->equal_hash = &type->hash_proc_finfo;
}

/* kafka_state.row_time(time, column, ...): notes the time of the row that has these columns; always true. */
Datum
kafka_row_time(PG_FUNCTION_ARGS)
{
	uint64		hash = 0;

	if (!OidIsValid(notes.relid) || PG_ARGISNULL(0) || !is_for_these_notes(fcinfo))
		PG_RETURN_BOOL(true);
	for (int i = 0; i < notes.ncolumns; i++)
		hash = add_to_hash(hash, &notes.columns[i], PG_GETARG_DATUM(i + 1), PG_ARGISNULL(i + 1));
	note(hash, PG_GETARG_TIMESTAMPTZ(0));
	PG_RETURN_BOOL(true);
}

/*
 * Has the call the columns that are noted? Anybody may call the function while a view is maintained (a trigger of its
 * owner, say), with values of any type. Looked at once a call site.
 */
static bool
is_for_these_notes(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;

	if (flinfo->fn_extra == NULL)
		flinfo->fn_extra = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(uint64));
	if (*(uint64 *) flinfo->fn_extra == notes.round)
		return true;
	if (PG_NARGS() != notes.ncolumns + 1 && !(notes.ncolumns == 0 && PG_NARGS() == 2))
		return false;
	for (int i = 0; i < notes.ncolumns; i++)
		if (get_fn_expr_argtype(flinfo, i + 1) != notes.columns[i].type)
			return false;
	*(uint64 *) flinfo->fn_extra = notes.round;
	return true;
}

static uint64
add_to_hash(uint64 hash, const HashedColumn *column, Datum value, bool isnull)
{
	uint32		bits = 0;

	if (isnull)
		bits = 0;
	else if (column->equal_hash != NULL)
		bits = DatumGetUInt32(FunctionCall1Coll(column->equal_hash, column->collation, value));
	else
		bits = datum_image_hash(value, column->by_value, column->len);
	return hash_combine64(hash, murmurhash32(bits) + (uint64) !isnull);
}

static void
note(uint64 hash, TimestampTz time)
{
	if (notes.nrows == notes.max_rows)
	{
		notes.max_rows = Max(notes.max_rows * 2, 1024);
		if (notes.rows == NULL)
			notes.rows = MemoryContextAllocHuge(notes.context, sizeof(RowTime) * notes.max_rows);
		else
			notes.rows = repalloc_huge(notes.rows, sizeof(RowTime) * notes.max_rows);
	}
	notes.rows[notes.nrows].hash = hash;
	notes.rows[notes.nrows].time = time;
	notes.nrows++;
}

/* Finds the time of a row; see the header. */
TimestampTz
kv_row_time(Oid relid, RowTimeCursor *cursor, const Datum *values, const bool *nulls)
{
	uint64		hash = 0;

	if (relid != notes.relid)
		return DT_NOBEGIN;
	if (notes.kind == ROW_TIME_COLUMN)
	{
		int			index = notes.columns[0].index;

		return nulls[index] ? DT_NOBEGIN : DatumGetTimestampTz(values[index]);
	}
	for (int i = 0; i < notes.ncolumns; i++)
		hash = add_to_hash(hash, &notes.columns[i], values[notes.columns[i].index], nulls[notes.columns[i].index]);
	if (cursor->round != notes.round)
		*cursor = (RowTimeCursor) {.round = notes.round};
	return notes.kind == ROW_TIME_ORDER ? next_in_order(cursor, hash, notes.nrows) : time_of_key(cursor, hash);
}

/* Gives the next note of such a row before `end`; rows that the trigger was not fired for are passed over. */
static TimestampTz
next_in_order(RowTimeCursor *cursor, uint64 hash, int64 end)
{
	for (int64 i = cursor->next; i < end; i++)
	{
		if (notes.rows[i].hash != hash)
			continue;
		cursor->next = i + 1;
		return notes.rows[i].time;
	}
	return DT_NOBEGIN;
}

/* Gives the note of a key. */
static TimestampTz
time_of_key(RowTimeCursor *cursor, uint64 hash)
{
	TimestampTz time = next_in_order(cursor, hash, Min(notes.nrows, cursor->next + LOOK_AHEAD));
	KeyTime    *key;

	if (time != DT_NOBEGIN)
		return time;
	if (notes.index == NULL)
		notes.index = key_times_create(notes.context, Min(notes.nrows, PG_INT32_MAX), NULL);
	for (; notes.indexed < notes.nrows; notes.indexed++)
	{
		bool		found;

		key_times_insert(notes.index, notes.rows[notes.indexed].hash, &found)->row = notes.indexed;
	}
	key = key_times_lookup(notes.index, hash);
	if (key == NULL)
		return DT_NOBEGIN;
	cursor->next = key->row + 1;
	return notes.rows[key->row].time;
}
