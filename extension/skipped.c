/*
 * skipped.c: kafka_state.skipped as a set in memory: records that an input of a view, a view, or every
 * view of a pipeline has gone without.
 *
 * Why it exists: whoever reads a topic a second time (a reload of buffers, the rows an
 * unstored view has given so far) must leave out what the first reading left out for reasons that the
 * record alone does not show: the clock of then, the frontier of then.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/hsearch.h"

#include "run_sql.h"
#include "skipped.h"

/* A row of kafka_state.skipped; view 0: for all, input SKIPPED_EVERY_INPUT: for all of the view's. */
typedef struct SkippedKey
{
	int64		offset;
	int64		view;
	Oid			relation;
	int32		partition;
	int			input;
} SkippedKey;

static bool has_key(HTAB *skipped, Oid relation, int32 partition, int64 offset, int64 view, int input);

/* Reads what the views of a pipeline have skipped into context. */
HTAB *
kv_skipped_read(MemoryContext context, int64 pipeline)
{
	static const char text[] =
		"SELECT relation::oid, partition, record_offset, coalesce(view, 0), coalesce(input, -1) FROM kafka_state.skipped WHERE pipeline = $1";
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);
	HASHCTL		control = {.keysize = sizeof(SkippedKey),.entrysize = sizeof(SkippedKey),.hcxt = context};
	HTAB	   *skipped = hash_create("kv skipped", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	uint64		nrows;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	nrows = kv_sql_read(text, 1, types, &value, NULL, 0);
	for (uint64 row = 0; row < nrows; row++)
	{
		SkippedKey	key;
		bool		isnull;

		memset(&key, 0, sizeof(key));
		key.relation = DatumGetObjectId(kv_sql_value(row, 1, &isnull));
		key.partition = DatumGetInt32(kv_sql_value(row, 2, &isnull));
		key.offset = DatumGetInt64(kv_sql_value(row, 3, &isnull));
		key.view = DatumGetInt64(kv_sql_value(row, 4, &isnull));
		key.input = DatumGetInt32(kv_sql_value(row, 5, &isnull));
		(void) hash_search(skipped, &key, HASH_ENTER, NULL);
	}
	kv_sql_leave(&sql);
	return skipped;
}

/* Tells whether a record was skipped; see skipped.h. */
bool
kv_skipped_has(HTAB *skipped, Oid relation, int32 partition, int64 offset, int64 view, int input)
{
	if (has_key(skipped, relation, partition, offset, 0, SKIPPED_EVERY_INPUT))
		return true;
	if (view != 0 && has_key(skipped, relation, partition, offset, view, SKIPPED_EVERY_INPUT))
		return true;
	return input != SKIPPED_EVERY_INPUT && has_key(skipped, relation, partition, offset, view, input);
}

static bool
has_key(HTAB *skipped, Oid relation, int32 partition, int64 offset, int64 view, int input)
{
	SkippedKey	key;

	memset(&key, 0, sizeof(key));
	key.relation = relation;
	key.partition = partition;
	key.offset = offset;
	key.view = view;
	key.input = input;
	return hash_search(skipped, &key, HASH_FIND, NULL) != NULL;
}
