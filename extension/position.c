/*
 * position.c: how far a pipeline has read: positions, marks and the sentinel of
 * kafka_state.
 *
 * Invariant: no other room spells the name of a column of kafka_state.position,
 * mark or sentinel in C. As in catalog.c, each function is one statement under
 * the engine's role, in the caller's transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog.h"
#include "position.h"
#include "run_sql.h"

static const Oid pipeline_type[] = {INT8OID};

List *
kv_position_list(int64 pipeline)
{
	static const char text[] =
		"SELECT relation, partition, start_offset, next_offset, stream_time FROM kafka_state.position "
		"WHERE pipeline = $1 ORDER BY relation::oid, partition";
	MemoryContext caller = CurrentMemoryContext;
	Datum		value = Int64GetDatum(pipeline);
	List	   *result = NIL;
	KvSql		sql;
	uint64		count;

	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 1, pipeline_type, &value, NULL, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < count; i++)
	{
		PositionRow *row = palloc0(sizeof(PositionRow));
		bool		isnull;

		row->relation = DatumGetObjectId(kv_sql_value(i, 1, &isnull));
		row->partition = DatumGetInt32(kv_sql_value(i, 2, &isnull));
		row->start_offset = kv_sql_int8(i, 3);
		row->next_offset = kv_sql_int8(i, 4);
		row->stream_time = kv_sql_time(i, 5);
		result = lappend(result, row);
	}
	kv_sql_leave(&sql);
	return result;
}

void
kv_position_insert(int64 pipeline, const PositionRow *position)
{
	static const char text[] =
		"INSERT INTO kafka_state.position (pipeline, relation, partition, start_offset, next_offset, stream_time) "
		"SELECT p.pipeline, $2, $3, $4, $5, $6 FROM kafka_state.pipeline p WHERE p.pipeline = $1 FOR KEY SHARE";
	const Oid	types[] = {INT8OID, REGCLASSOID, INT4OID, INT8OID, INT8OID, INT8OID};
	char		nulls[] = {' ', ' ', ' ', ' ', ' ', ' ', '\0'};
	Datum		values[6];
	KvSql		sql;

	values[0] = Int64GetDatum(pipeline);
	values[1] = ObjectIdGetDatum(position->relation);
	values[2] = Int32GetDatum(position->partition);
	values[3] = Int64GetDatum(position->start_offset);
	values[4] = Int64GetDatum(position->next_offset);
	values[5] = kv_sql_time_datum(position->stream_time, &nulls[5]);
	kv_sql_enter_engine(&sql);
	if (kv_sql_run(text, 6, types, values, nulls) != 1)
		kv_pipeline_is_gone(pipeline);
	kv_sql_leave(&sql);
}

/* Makes four arrays of columns: relations, partitions, offsets, times. */
static void
set_arrays(Datum *arrays, Datum *columns[4], int count)
{
	arrays[0] = PointerGetDatum(construct_array(columns[0], count, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
	arrays[1] = PointerGetDatum(construct_array(columns[1], count, INT4OID, 4, true, TYPALIGN_INT));
	for (int i = 2; i < 4; i++)
		arrays[i] = PointerGetDatum(construct_array(columns[i], count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Writes all changed positions by one statement. */
void
kv_position_update(int64 pipeline, PositionRow *positions, int npositions)
{
	static KvPlan *plan;
	/* the newest version of each row, as KV_NEWEST finds it: nobody else changes it, since the batch has the pipeline's row */
	static const char text[] =
		"UPDATE kafka_state.position p SET next_offset = n.next_offset, stream_time = nullif(n.stream_time, $6) "
		"FROM unnest($2, $3, $4, $5) AS n(relation, partition, next_offset, stream_time), "
		"LATERAL (SELECT q.ctid FROM kafka_state.position q WHERE q.pipeline = $1 AND q.relation::oid = n.relation "
		"  AND q.partition >= n.partition AND q.partition <= n.partition ORDER BY q.partition DESC LIMIT 1) newest "
		"WHERE p.ctid = newest.ctid";
	const Oid	types[] = {INT8OID, OIDARRAYOID, INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8OID};
	Datum	   *columns[4];
	Datum		values[6];
	KvSql		sql;

	for (int i = 0; i < 4; i++)
		columns[i] = palloc(sizeof(Datum) * Max(npositions, 1));
	for (int i = 0; i < npositions; i++)
	{
		columns[0][i] = ObjectIdGetDatum(positions[i].relation);
		columns[1][i] = Int32GetDatum(positions[i].partition);
		columns[2][i] = Int64GetDatum(positions[i].next_offset);
		columns[3][i] = Int64GetDatum(positions[i].stream_time);
	}
	values[0] = Int64GetDatum(pipeline);
	set_arrays(&values[1], columns, npositions);
	values[5] = Int64GetDatum(DT_NOBEGIN);

	kv_sql_enter_engine(&sql);
	if (kv_plan_run_kept(&plan, text, 6, types, values, NULL) != npositions)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("positions of pipeline " INT64_FORMAT " are not those its worker started from", pipeline),
				 errdetail("A topic or a view of the pipeline was dropped while the batch ran.")));
	kv_sql_leave(&sql);
}

/* Inserts marks, MarkRow *. */
void
kv_mark_insert(int64 pipeline, List *marks)
{
	static KvPlan *plan;
	static const char text[] =
		"INSERT INTO kafka_state.mark (pipeline, relation, partition, record_offset, stream_time) "
		"SELECT $1, n.relation::pg_catalog.regclass, n.partition, n.record_offset, n.stream_time "
		"FROM unnest($2, $3, $4, $5) AS n(relation, partition, record_offset, stream_time) ON CONFLICT DO NOTHING";
	const Oid	types[] = {INT8OID, OIDARRAYOID, INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
	int			nmarks = list_length(marks);
	Datum	   *columns[4];
	Datum		values[5];
	ListCell   *cell;
	KvSql		sql;

	for (int i = 0; i < 4; i++)
		columns[i] = palloc(sizeof(Datum) * Max(nmarks, 1));
	foreach(cell, marks)
	{
		const MarkRow *mark = lfirst(cell);
		int			i = foreach_current_index(cell);

		columns[0][i] = ObjectIdGetDatum(mark->relation);
		columns[1][i] = Int32GetDatum(mark->partition);
		columns[2][i] = Int64GetDatum(mark->offset);
		columns[3][i] = Int64GetDatum(mark->stream_time);
	}
	values[0] = Int64GetDatum(pipeline);
	set_arrays(&values[1], columns, nmarks);
	kv_sql_enter_engine(&sql);
	kv_plan_run_kept(&plan, text, 5, types, values, NULL);
	kv_sql_leave(&sql);
}

/* Deletes marks before a stream time, but for the last one below it. */
void
kv_mark_prune(int64 pipeline, Oid relation, int32 partition, TimestampTz before)
{
	static const char text[] =
		"DELETE FROM kafka_state.mark WHERE pipeline = $1 AND relation = $2 AND partition = $3 AND record_offset < "
		"(SELECT max(record_offset) FROM kafka_state.mark "
		"WHERE pipeline = $1 AND relation = $2 AND partition = $3 AND stream_time < $4)";
	const Oid	types[] = {INT8OID, REGCLASSOID, INT4OID, INT8OID};
	Datum		values[] = {
		Int64GetDatum(pipeline), ObjectIdGetDatum(relation), Int32GetDatum(partition), Int64GetDatum(before)
	};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 4, types, values, NULL);
	kv_sql_leave(&sql);
}

/* Deletes the marks of other topics than the given ones (oid[]). */
void
kv_mark_prune_others(int64 pipeline, Datum topics)
{
	const Oid	types[] = {INT8OID, OIDARRAYOID};
	Datum		values[] = {Int64GetDatum(pipeline), topics};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("DELETE FROM kafka_state.mark WHERE pipeline = $1 AND relation::oid <> ALL ($2)", 2, types, values, NULL);
	kv_sql_leave(&sql);
}

/* Finds the last mark below a stream time; false: none, read from the start offset. */
bool
kv_mark_find(int64 pipeline, Oid relation, int32 partition, TimestampTz before, int64 *offset,
			 TimestampTz *stream_time)
{
	static const char text[] =
		"SELECT record_offset, stream_time FROM kafka_state.mark "
		"WHERE pipeline = $1 AND relation = $2 AND partition = $3 AND stream_time < $4 "
		"ORDER BY record_offset DESC LIMIT 1";
	const Oid	types[] = {INT8OID, REGCLASSOID, INT4OID, INT8OID};
	Datum		values[] = {
		Int64GetDatum(pipeline), ObjectIdGetDatum(relation), Int32GetDatum(partition), Int64GetDatum(before)
	};
	KvSql		sql;
	bool		found;

	kv_sql_enter_engine(&sql);
	found = kv_sql_read(text, 4, types, values, NULL, 1) > 0;
	if (found)
	{
		*offset = kv_sql_int8(0, 1);
		*stream_time = kv_sql_int8(0, 2);
	}
	kv_sql_leave(&sql);
	return found;
}

bool
kv_sentinel_present(int64 pipeline)
{
	return kv_catalog_has("SELECT FROM kafka_state.sentinel WHERE pipeline = $1", INT8OID, Int64GetDatum(pipeline));
}

void
kv_sentinel_set(int64 pipeline)
{
	Datum		value = Int64GetDatum(pipeline);
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("INSERT INTO kafka_state.sentinel VALUES ($1) ON CONFLICT DO NOTHING", 1, pipeline_type, &value, NULL);
	kv_sql_leave(&sql);
}
