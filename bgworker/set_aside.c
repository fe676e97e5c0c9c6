/*
 * set_aside.c: what could not be applied, as rows of kafka_state.dead_letter.
 *
 * A record is kept as it came, for a view over views with the rows that these made of it (upper_rows.c). It is also in kafka_state.skipped, so that a reload of buffers leaves
 * it out of the same views. A row that time made or closed (closed_rows.c) is kept as JSON, and where a view made it, that is
 * in the place of the topic's table.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "fault_point.h"
#include "read_again.h"
#include "run_sql.h"
#include "set_aside.h"
#include "upper_rows.h"

static bool is_for_another(const KeptRecord *kept);
static void insert_record(Pipeline *pipeline, const RowSource *source, PipelineView *view,
						  int sqlstate, const char *message, const char *detail);
static TopicOnError on_error_of(Pipeline *pipeline, Oid source);
static char *row_as_json(PipelineView *view, TupleDesc desc, Tuplestorestate *row);


/* Keeps a record aside; see set_aside.h. */
void
kv_set_aside_record(Pipeline *pipeline, const RowSource *source, PipelineView *view,
					int sqlstate, const char *message, const char *detail)
{
	KeptRecord *kept = source->kept;
	MemoryContext memory;
	MemoryContext old;

	if (kept != NULL && kept->view == view)
	{
		kv_set_aside_again(pipeline, kept, sqlstate, message, detail);
		return;
	}
	KV_FAULT_POINT("set_aside_before");
	/* of its own: there may be as many of them as the batch has records */
	memory = AllocSetContextCreate(CurrentMemoryContext, "kv set aside", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(memory);
	pipeline->uncommitted_dead_letters++;
	if (kept != NULL || source->partition->input->topic->on_error == ON_ERROR_DEAD_LETTER)
		insert_record(pipeline, source, view, sqlstate, message, detail);
	/* a reload may find it sound: the clock has gone on, or the columns have been changed */
	if (!is_for_another(kept))
		kv_set_aside_skip(pipeline, source->partition, source->offset, view ? view->row->view : 0, SKIPPED_EVERY_INPUT);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(memory);
	KV_FAULT_POINT("set_aside_inserted");
}

/* Tells whether a record is tried again for one view, while another fails: that one had the record, and has got rows of the first only. */
static bool
is_for_another(const KeptRecord *kept)
{
	return kept != NULL && kept->view != NULL;
}

/* Notes an error; see set_aside.h. */
void
kv_set_aside_again(Pipeline *pipeline, KeptRecord *kept, int sqlstate, const char *message, const char *detail)
{
	kept->failed = true;
	kept->sqlstate = sqlstate;
	kept->message = MemoryContextStrdup(pipeline->batch, message ? message : "");
	kept->detail = detail ? MemoryContextStrdup(pipeline->batch, detail) : NULL;
}

static bytea *
make_bytea(const void *data, size_t len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), data, len);
	return result;
}

/* Inserts a record into kafka_state.dead_letter. */
static void
insert_record(Pipeline *pipeline, const RowSource *source, PipelineView *view,
			  int sqlstate, const char *message, const char *detail)
{
	static KvPlan *plan;
	static const char text[] =
		"INSERT INTO kafka_state.dead_letter (pipeline, relation, view, topic, partition, record_offset, record_time, "
		"key, value, headers, sqlstate, message, detail, attempts, upper_rows, rows_only) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::pg_catalog.jsonb, $16)";
	const Oid	types[] = {INT8OID, OIDOID, OIDOID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID,
	BYTEAOID, BYTEAOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, BOOLOID};
	TopicDef   *topic = source->partition->input->topic;
	TopicRecord record = source->kept ? source->kept->record : *source->record;
	char	   *upper_rows = view ? kv_upper_rows_pack(pipeline, view) : NULL;
	char		nulls[] = "                ";
	Datum		values[16];
	bool		no_headers;
	KvSql		sql;

	values[0] = Int64GetDatum(pipeline->row->pipeline);
	values[1] = ObjectIdGetDatum(topic->relid);
	values[2] = ObjectIdGetDatum(view ? view->row->relation : InvalidOid);
	nulls[2] = view ? ' ' : 'n';
	values[3] = CStringGetTextDatum(topic->topic);
	values[4] = Int32GetDatum(record.partition);
	values[5] = Int64GetDatum(record.offset);
	values[6] = TimestampTzGetDatum(record.timestamp_ms * 1000 - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
	nulls[6] = record.timestamp_ms < 0 ? 'n' : ' ';
	values[7] = record.key ? PointerGetDatum(make_bytea(record.key, record.key_len)) : (Datum) 0;
	nulls[7] = record.key ? ' ' : 'n';
	values[8] = record.value ? PointerGetDatum(make_bytea(record.value, record.value_len)) : (Datum) 0;
	nulls[8] = record.value ? ' ' : 'n';
	values[9] = kv_record_headers(&record, &no_headers);
	nulls[9] = no_headers ? 'n' : ' ';
	values[10] = CStringGetTextDatum(unpack_sql_state(sqlstate));
	values[11] = CStringGetTextDatum(message ? message : "");
	values[12] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	nulls[12] = detail ? ' ' : 'n';
	values[13] = Int32GetDatum(source->kept ? source->kept->attempts + 1 : 1);
	values[14] = upper_rows ? CStringGetTextDatum(upper_rows) : (Datum) 0;
	nulls[14] = upper_rows ? ' ' : 'n';
	values[15] = BoolGetDatum(is_for_another(source->kept));
	kv_sql_enter_engine(&sql);
	kv_plan_run_kept(&plan, text, 16, types, values, nulls);
	kv_sql_leave(&sql);
}

/* Keeps a row aside; see set_aside.h. */
void
kv_set_aside_row(Pipeline *pipeline, PipelineView *view, Oid source, TupleDesc desc, Tuplestorestate *row, ErrorData *error)
{
	static const char text[] =
		"INSERT INTO kafka_state.dead_letter (pipeline, relation, view, value, sqlstate, message, detail) "
		"VALUES ($1, $2, $3, pg_catalog.convert_to($4, 'UTF8'), $5, $6, $7)";
	const Oid	types[] = {INT8OID, OIDOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	TopicOnError on_error = on_error_of(pipeline, source);
	char		nulls[] = "       ";
	Datum		values[7];
	KvSql		sql;

	if (on_error == ON_ERROR_STOP)
	{
		if (error->hint == NULL)
			error->hint = "A topic of the pipeline says on_error 'stop'. Correct the function, constraint or trigger that failed, and the pipeline goes on "
				"by itself; or set on_error to 'dead_letter' or 'skip'.";
		ReThrowError(error);
	}
	pipeline->uncommitted_dead_letters++;
	if (on_error == ON_ERROR_SKIP)
		return;
	values[0] = Int64GetDatum(pipeline->row->pipeline);
	values[1] = ObjectIdGetDatum(source);
	values[2] = ObjectIdGetDatum(view->row->relation);
	values[3] = CStringGetTextDatum(row_as_json(view, desc, row));
	values[4] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[5] = CStringGetTextDatum(error->message ? error->message : "");
	values[6] = error->detail ? CStringGetTextDatum(error->detail) : (Datum) 0;
	nulls[6] = error->detail ? ' ' : 'n';
	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 7, types, values, nulls);
	kv_sql_leave(&sql);
}

/* Gives what a row of a topic is treated by, or one of a view, which may come from any of the pipeline's topics: stop before dead_letter before skip. */
static TopicOnError
on_error_of(Pipeline *pipeline, Oid source)
{
	TopicOnError strictest = ON_ERROR_SKIP;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicOnError on_error = pipeline->topics[i].topic->on_error;

		if (pipeline->topics[i].topic->relid == source)
			return on_error;
		if (on_error == ON_ERROR_STOP || strictest == ON_ERROR_SKIP)
			strictest = on_error;
	}
	return strictest;
}

/* Gives a row as JSON, without what the engine adds to rows of a delta. */
static char *
row_as_json(PipelineView *view, TupleDesc desc, Tuplestorestate *row)
{
	char	   *json;
	KvSql		sql;

	kv_sql_enter_role(&sql, view->view->owner, view->row->settings);
	kv_sql_register("closed_row", desc, row, 1);
	kv_sql_read("SELECT (pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.-) '{" KV_COL_TIME "," KV_COL_BEFORE "," KV_COL_ROW "}'::pg_catalog.text[])::pg_catalog.text "
				"FROM closed_row r", 0, NULL, NULL, NULL, 0);
	json = kv_sql_text(0, 1);
	kv_sql_leave(&sql);
	return json;
}

/* Inserts into kafka_state.skipped; see set_aside.h. */
void
kv_set_aside_skip(Pipeline *pipeline, Partition *partition, int64 offset, int64 view, int input)
{
	static KvPlan *plan;
	static const char text[] =
		"INSERT INTO kafka_state.skipped (pipeline, relation, partition, record_offset, view, input) "
		"VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
	const Oid	types[] = {INT8OID, OIDOID, INT4OID, INT8OID, INT8OID, INT4OID};
	char		nulls[] = "      ";
	Datum		values[6];
	KvSql		sql;

	if (!kv_read_again(pipeline, partition->input, view))
		return;
	values[0] = Int64GetDatum(pipeline->row->pipeline);
	values[1] = ObjectIdGetDatum(partition->input->topic->relid);
	values[2] = Int32GetDatum(partition->number);
	values[3] = Int64GetDatum(offset);
	values[4] = Int64GetDatum(view);
	nulls[4] = view == 0 ? 'n' : ' ';
	values[5] = Int32GetDatum(input);
	nulls[5] = input == SKIPPED_EVERY_INPUT ? 'n' : ' ';
	kv_sql_enter_engine(&sql);
	kv_plan_run_kept(&plan, text, 6, types, values, nulls);
	kv_sql_leave(&sql);
}
