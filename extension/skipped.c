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

/* Is a row s for one of these views (bigint[])? */
#define IS_FOR(views) "(cardinality(" views ") > 0 AND coalesce(s.view = ANY (" views "), true))"

/* A row of kafka_state.skipped; view 0: for all, input SKIPPED_EVERY_INPUT: for all of the view's. */
typedef struct SkippedKey
{
	int64		offset;
	int64		view;
	Oid			relation;
	int32		partition;
	int			input;
} SkippedKey;


/* Reads what the views of a pipeline have skipped into context; see skipped.h. */
HTAB *
kv_skipped_read(MemoryContext context, int64 pipeline, bool retried)
{
	static const char text[] =
		"SELECT relation::oid, partition, record_offset, coalesce(view, 0), coalesce(input, -1) FROM kafka_state.skipped WHERE pipeline = $1 AND retried <= $2";
	const Oid	types[] = {INT8OID, BOOLOID};
	Datum		values[] = {Int64GetDatum(pipeline), BoolGetDatum(retried)};
	HASHCTL		control = {.keysize = sizeof(SkippedKey),.entrysize = sizeof(SkippedKey),.hcxt = context};
	HTAB	   *skipped = hash_create("kv skipped", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	uint64		nrows;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	nrows = kv_sql_read(text, 2, types, values, NULL, 0);
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
	if (kv_skipped_by_itself(skipped, relation, partition, offset, 0, SKIPPED_EVERY_INPUT))
		return true;
	if (view != 0 && kv_skipped_by_itself(skipped, relation, partition, offset, view, SKIPPED_EVERY_INPUT))
		return true;
	return input != SKIPPED_EVERY_INPUT && kv_skipped_by_itself(skipped, relation, partition, offset, view, input);
}

/* Looks for one row; see skipped.h. */
bool
kv_skipped_by_itself(HTAB *skipped, Oid relation, int32 partition, int64 offset, int64 view, int input)
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

/* Forgets what nobody will read again; see skipped.h. */
void
kv_skipped_prune(int64 pipeline, Oid relation, int32 partition, int64 before, Datum unstored)
{
	static const char text[] =
		"DELETE FROM kafka_state.skipped s WHERE pipeline = $1 AND relation::oid = $2 AND partition = $3 AND record_offset < $4 AND NOT " IS_FOR("$5")
		" AND NOT EXISTS (SELECT FROM kafka_state.retried r WHERE r.pipeline = $1 AND r.relation = s.relation AND r.partition = s.partition"
		" AND r.record_offset = s.record_offset)";
	const Oid	types[] = {INT8OID, OIDOID, INT4OID, INT8OID, INT8ARRAYOID};
	Datum		values[] = {Int64GetDatum(pipeline), ObjectIdGetDatum(relation), Int32GetDatum(partition), Int64GetDatum(before), unstored};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 5, types, values, NULL);
	kv_sql_leave(&sql);
}

/* Does it for a topic without buffers; see skipped.h. */
void
kv_skipped_prune_unbuffered(int64 pipeline, Oid relation, Datum unstored, bool is_table)
{
	static const char text[] =
		"DELETE FROM kafka_state.skipped s WHERE pipeline = $1 AND relation::oid = $2 AND NOT " IS_FOR("$3") " AND NOT ($4 AND " KV_HAS_DEAD_LETTERS("s") ")";
	const Oid	types[] = {INT8OID, OIDOID, INT8ARRAYOID, BOOLOID};
	Datum		values[] = {Int64GetDatum(pipeline), ObjectIdGetDatum(relation), unstored, BoolGetDatum(is_table)};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 4, types, values, NULL);
	kv_sql_leave(&sql);
}

/* Does it for all other topics than those given; see skipped.h. */
void
kv_skipped_prune_others(int64 pipeline, Datum topics)
{
	const Oid	types[] = {INT8OID, OIDARRAYOID};
	Datum		values[] = {Int64GetDatum(pipeline), topics};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("DELETE FROM kafka_state.skipped WHERE pipeline = $1 AND relation::oid <> ALL ($2)", 2, types, values, NULL);
	kv_sql_leave(&sql);
}
