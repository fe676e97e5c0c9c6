/*
 * kept_records.c: records that were kept aside (set_aside.c), read to be tried again, and what becomes of them.
 *
 * A dead letter that could be applied goes in the transaction that applies it. Where its row may be in a buffer that a crash empties, its
 * bytes go to kafka_state.retried: a reload passes over its place in the topic, as before, and puts it in from there. For its place says
 * nothing of when it was applied, and the topic may have deleted it. In kafka_state.skipped it is marked, because who
 * asks for the rows of a query must see it again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "kept_records.h"
#include "run_sql.h"

/* Keys and values that are read at once. */
#define KEPT_BYTES (16 * 1024 * 1024)

#define KEPT_COLUMNS "id, relation::oid, view::oid, partition, record_offset, record_time, key, value, headers, "
#define KEPT_SIZE "(coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0))"
#define KEPT_SIZE_WITH_ROWS "(" KEPT_SIZE " + coalesce(pg_column_size(upper_rows), 0))"

static int	read_records(Pipeline *pipeline, const char *text, int64 parameter, KeptRecord **records);
static void read_record(Pipeline *pipeline, uint64 row, KeptRecord *kept, MemoryContext context);
static PipelineView *find_view(Pipeline *pipeline, Oid relation);
static Partition *find_partition(Pipeline *pipeline, Oid relation, int32 number);
static const char *read_bytes(uint64 row, int column, MemoryContext context, size_t *len);
static int64 milliseconds(TimestampTz time);
static Datum id_array(const KeptRecord *records, int nrecords, bool (*wanted) (const KeptRecord *));
static bool every_record(const KeptRecord *kept);
static bool is_applied(const KeptRecord *kept);
static bool is_buffered(const KeptRecord *kept);
static void store_failed(const KeptRecord *kept);
static void keep_for_reloads(const KeptRecord *records, int nrecords);


bool
kv_kept_any_requested(Pipeline *pipeline)
{
	static KvPlan *plan;
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline->row->pipeline);
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_plan_run_kept(&plan, "SELECT FROM kafka_state.dead_letter WHERE pipeline = $1 AND retry_requested IS NOT NULL LIMIT 1", 1, types, &value, NULL);
	kv_sql_leave(&sql);
	return count > 0;
}

/* Reads dead letters that wait; see kept_records.h. Runs: in a transaction. */
int
kv_kept_read_requested(Pipeline *pipeline, int64 limit, KeptRecord **records)
{
	static const char text[] =
		"SELECT " KEPT_COLUMNS "attempts, NULL::bigint, upper_rows::pg_catalog.text, upper_rows @? '$.* ? (@ == null)', rows_only FROM ("
		"SELECT *, sum(" KEPT_SIZE_WITH_ROWS ") OVER (ORDER BY relation, partition, record_offset, id) - " KEPT_SIZE_WITH_ROWS " AS before FROM ("
		"SELECT * FROM kafka_state.dead_letter WHERE pipeline = $1 AND retry_requested IS NOT NULL"
		" ORDER BY relation, partition, record_offset, id LIMIT $2) l) s WHERE before < $3 ORDER BY relation, partition, record_offset, id";

	return read_records(pipeline, text, limit, records);
}

/* Reads what was retried; see kept_records.h. Runs: in a transaction. */
int
kv_kept_read_retried(Pipeline *pipeline, int64 after, KeptRecord **records)
{
	static const char text[] =
		"SELECT " KEPT_COLUMNS "0, event_time, NULL, false, false FROM ("
		"SELECT *, sum(" KEPT_SIZE ") OVER (ORDER BY id) - " KEPT_SIZE " AS before FROM kafka_state.retried"
		" WHERE pipeline = $1 AND id > $2) s WHERE before < $3 ORDER BY id";

	return read_records(pipeline, text, after, records);
}

static int
read_records(Pipeline *pipeline, const char *text, int64 parameter, KeptRecord **records)
{
	const Oid	types[] = {INT8OID, INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(pipeline->row->pipeline), Int64GetDatum(parameter), Int64GetDatum(KEPT_BYTES)};
	MemoryContext caller = CurrentMemoryContext;
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 3, types, values, NULL, 0);
	*records = MemoryContextAllocExtended(caller, sizeof(KeptRecord) * Max(count, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 i = 0; i < count; i++)
		read_record(pipeline, i, &(*records)[i], caller);
	kv_sql_leave(&sql);
	return (int) count;
}

/* Fills in a record from a row of the last result. */
static void
read_record(Pipeline *pipeline, uint64 row, KeptRecord *kept, MemoryContext context)
{
	TopicRecord *record = &kept->record;
	Datum		view;
	Datum		time;
	bool		isnull;
	Oid			relation = DatumGetObjectId(kv_sql_value(row, 2, &isnull));

	kept->id = kv_sql_int8(row, 1);
	record->partition = DatumGetInt32(kv_sql_value(row, 4, &isnull));
	kept->partition = find_partition(pipeline, relation, record->partition);
	view = kv_sql_value(row, 3, &isnull);
	if (!isnull && (kept->view = find_view(pipeline, DatumGetObjectId(view))) == NULL)
		kept->partition = NULL;
	record->offset = kv_sql_int8(row, 5);
	time = kv_sql_value(row, 6, &isnull);
	record->timestamp_ms = isnull ? -1 : milliseconds(DatumGetTimestampTz(time));
	record->key = read_bytes(row, 7, context, &record->key_len);
	record->value = read_bytes(row, 8, context, &record->value_len);
	record->headers = kv_sql_value(row, 9, &record->no_headers);
	if (!record->no_headers)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		record->headers = PointerGetDatum(PG_DETOAST_DATUM_COPY(record->headers));
		MemoryContextSwitchTo(old);
	}
	kept->attempts = DatumGetInt32(kv_sql_value(row, 10, &isnull));
	kept->time = kv_sql_time(row, 11);
	kept->upper_rows = kv_sql_text(row, 12);
	if (kept->upper_rows != NULL)
		kept->upper_rows = MemoryContextStrdup(context, kept->upper_rows);
	kept->rows_lost = DatumGetBool(kv_sql_value(row, 13, &isnull)) && !isnull;
	kept->rows_only = DatumGetBool(kv_sql_value(row, 14, &isnull));
}

/* Finds a view; NULL: this run leaves it out. */
static PipelineView *
find_view(Pipeline *pipeline, Oid relation)
{
	for (int i = 0; i < pipeline->nviews; i++)
		if (pipeline->views[i].row->relation == relation)
			return &pipeline->views[i];
	return NULL;
}

/* Finds a partition of a topic; NULL: the pipeline does not read it. */
static Partition *
find_partition(Pipeline *pipeline, Oid relation, int32 number)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		if (input->topic->relid == relation && number < input->npartitions)
			return &input->partitions[number];
	}
	return NULL;
}

/* Gives a bytea's bytes, in context; NULL for null. */
static const char *
read_bytes(uint64 row, int column, MemoryContext context, size_t *len)
{
	bool		isnull;
	Datum		value = kv_sql_value(row, column, &isnull);
	bytea	   *bytes;
	char	   *copy;

	*len = 0;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPP(value);
	*len = VARSIZE_ANY_EXHDR(bytes);
	copy = MemoryContextAllocHuge(context, *len + 1);
	memcpy(copy, VARDATA_ANY(bytes), *len);
	return copy;
}

/* Gives a record's time as Kafka writes it. */
static int64
milliseconds(TimestampTz time)
{
	return (time + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
}

/* Gives a record's time as Postgres writes it. */
TimestampTz
kv_kept_record_time(const KeptRecord *kept)
{
	return kept->record.timestamp_ms * 1000 - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/* Locks dead letters; see kept_records.h. Those of whoever changes them now are passed over: the pipeline does not wait for a session. */
int
kv_kept_lock(KeptRecord *records, int nrecords)
{
	static const char text[] =
		"SELECT id FROM kafka_state.dead_letter WHERE id = ANY ($1) AND retry_requested IS NOT NULL FOR UPDATE SKIP LOCKED";
	const Oid	types[] = {INT8ARRAYOID};
	Datum		value = id_array(records, nrecords, every_record);
	int			kept = 0;
	uint64		count;
	int64	   *locked;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_run(psprintf("WITH l AS (%s) SELECT id FROM l ORDER BY id", text), 1, types, &value, NULL);
	locked = palloc(sizeof(int64) * Max(count, 1));
	for (uint64 i = 0; i < count; i++)
		locked[i] = kv_sql_int8(i, 1);
	for (int i = 0; i < nrecords; i++)
	{
		uint64		low = 0;
		uint64		high = count;

		while (low < high)
		{
			uint64		middle = (low + high) / 2;

			if (locked[middle] < records[i].id)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < count && locked[low] == records[i].id)
			records[kept++] = records[i];
	}
	kv_sql_leave(&sql);
	return kept;
}

/* Makes an array of the ids of some records. */
static Datum
id_array(const KeptRecord *records, int nrecords, bool (*wanted) (const KeptRecord *))
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(nrecords, 1));
	int			count = 0;

	for (int i = 0; i < nrecords; i++)
		if (wanted(&records[i]))
			elements[count++] = Int64GetDatum(records[i].id);
	return PointerGetDatum(construct_array(elements, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static bool
every_record(const KeptRecord *kept)
{
	return true;
}

static bool
is_applied(const KeptRecord *kept)
{
	return !kept->failed;
}

/* Was it applied, and may its row be in a buffer? */
static bool
is_buffered(const KeptRecord *kept)
{
	return !kept->failed && kept->partition->input->has_buffers && kept->time != DT_NOBEGIN;
}

/* Stores what became of dead letters; see kept_records.h. */
void
kv_kept_store(Pipeline *pipeline, const KeptRecord *records, int nrecords)
{
	static const char mark[] =
		"UPDATE kafka_state.skipped s SET retried = true FROM kafka_state.dead_letter d LEFT JOIN kafka_state.view v ON v.relation = d.view"
		" WHERE d.id = ANY ($1) AND s.pipeline = d.pipeline AND s.relation = d.relation AND s.partition = d.partition"
		" AND s.record_offset = d.record_offset AND s.view IS NOT DISTINCT FROM v.view AND s.input IS NULL AND NOT d.rows_only";
	const Oid	types[] = {INT8ARRAYOID};
	Datum		value = id_array(records, nrecords, is_applied);
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	for (int i = 0; i < nrecords; i++)
		if (records[i].failed)
			store_failed(&records[i]);
	kv_sql_run(mark, 1, types, &value, NULL);
	keep_for_reloads(records, nrecords);
	kv_sql_run("DELETE FROM kafka_state.dead_letter WHERE id = ANY ($1)", 1, types, &value, NULL);
	kv_sql_leave(&sql);
}

static void
store_failed(const KeptRecord *kept)
{
	static KvPlan *plan;
	static const char text[] =
		"UPDATE kafka_state.dead_letter SET attempts = attempts + 1, retry_requested = NULL, retried_at = pg_catalog.now(), "
		"sqlstate = $2, message = $3, detail = $4 WHERE id = $1";
	const Oid	types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4];

	values[0] = Int64GetDatum(kept->id);
	values[1] = CStringGetTextDatum(unpack_sql_state(kept->sqlstate));
	values[2] = CStringGetTextDatum(kept->message);
	values[3] = kept->detail ? CStringGetTextDatum(kept->detail) : (Datum) 0;
	kv_plan_run_kept(&plan, text, 4, types, values, kept->detail ? "    " : "   n");
}

/* Keeps the bytes of those that may be in buffers until these need them no more. */
static void
keep_for_reloads(const KeptRecord *records, int nrecords)
{
	static const char text[] =
		"INSERT INTO kafka_state.retried (id, pipeline, relation, view, partition, record_offset, record_time, event_time, key, value, headers)"
		" SELECT d.id, d.pipeline, d.relation, d.view, d.partition, d.record_offset, d.record_time, n.event_time, d.key, d.value, d.headers"
		" FROM kafka_state.dead_letter d JOIN unnest($1, $2) n (id, event_time) USING (id)";
	const Oid	types[] = {INT8ARRAYOID, INT8ARRAYOID};
	Datum	   *times = palloc(sizeof(Datum) * Max(nrecords, 1));
	Datum		values[2];
	int			count = 0;

	for (int i = 0; i < nrecords; i++)
		if (is_buffered(&records[i]))
			times[count++] = Int64GetDatum(records[i].time);
	if (count == 0)
		return;
	values[0] = id_array(records, nrecords, is_buffered);
	values[1] = PointerGetDatum(construct_array(times, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	kv_sql_run(text, 2, types, values, NULL);
}

/* Takes back requests; see kept_records.h. */
void
kv_kept_withdraw(int64 pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("UPDATE kafka_state.dead_letter SET retry_requested = NULL WHERE pipeline = $1 AND retry_requested IS NOT NULL", 1, types, &value, NULL);
	kv_sql_leave(&sql);
}

/* Forgets what no reload needs; see kept_records.h. */
void
kv_kept_prune(Pipeline *pipeline, const TopicInput *input, TimestampTz before)
{
	const Oid	types[] = {INT8OID, OIDOID, INT8OID};
	Datum		values[] = {Int64GetDatum(pipeline->row->pipeline), ObjectIdGetDatum(input->topic->relid), Int64GetDatum(before)};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("DELETE FROM kafka_state.retried WHERE pipeline = $1 AND relation::oid = $2 AND event_time < $3", 3, types, values, NULL);
	kv_sql_leave(&sql);
}

/* Forgets what no reload will ask for; see kept_records.h. */
void
kv_kept_prune_others(int64 pipeline, Datum buffered)
{
	const Oid	types[] = {INT8OID, OIDARRAYOID};
	Datum		values[] = {Int64GetDatum(pipeline), buffered};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("DELETE FROM kafka_state.retried WHERE pipeline = $1 AND relation::oid <> ALL ($2)", 2, types, values, NULL);
	kv_sql_leave(&sql);
}
