/*
 * dead_letter.c: finds the record whose fault an error is and keeps it aside.
 *
 * A (sub)batch is applied inside a subtransaction. If it fails with an error that
 * can only come from the data (kv_fault_of_record), it is applied again in two halves of
 * its processing order, down to the single record; there every view has a subtransaction
 * of its own, and those that fail do without the record. Everything else (deadlock,
 * cancel, disk full) is raised again and fails the batch.
 *
 * Invariant: what is applied together with a dead letter does not depend on it:
 * lateness is a predicate of each row and of the frontier before the batch, both the
 * same however the batch is cut.
 *
 * Every dead letter is also in kafka_state.skipped, so that a reload of buffers
 * leaves the record out of the same views.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "apply.h"
#include "dead_letter.h"
#include "delta.h"
#include "merge.h"
#include "run_sql.h"

typedef struct RowRange
{
	int64		from;			/* half-open, in kv_row */
	int64		to;
} RowRange;

static ErrorData *try_apply(Pipeline *pipeline, PipelineView *only);
static void apply_range(Pipeline *pipeline, RowRange range);
static void apply_single(Pipeline *pipeline, int64 row);
static bool in_range(int64 row, void *arg);
static void set_aside(Pipeline *pipeline, Partition *partition, rd_kafka_message_t *msg, PipelineView *view,
					  int sqlstate, const char *message, const char *detail);
static void insert_letter(Pipeline *pipeline, Partition *partition, rd_kafka_message_t *msg, Oid view,
						  int sqlstate, const char *message, const char *detail);


/* Applies the current (sub)batch with all views. Runs: in the batch's transaction. */
void
kv_dead_letter_apply(Pipeline *pipeline)
{
	RowRange	all = {0, pipeline->nsources};
	ErrorData  *error = try_apply(pipeline, NULL);

	if (error == NULL)
		return;
	if (!kv_fault_of_record(error) || pipeline->nsources == 0)
		ReThrowError(error);
	if (pipeline->nsources == 1)
		apply_single(pipeline, 0);
	else
	{
		RowRange	first = {all.from, all.to / 2};
		RowRange	second = {all.to / 2, all.to};

		apply_range(pipeline, first);
		apply_range(pipeline, second);
	}
}

/*
 * Runs the statements of all views or of one in a subtransaction; gives the error if
 * they fail, with nothing of them left. The PG_TRY turns an error into a choice: whose fault is it?
 */
static ErrorData *
try_apply(Pipeline *pipeline, PipelineView *only)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	int64	   *late_rows = palloc(sizeof(int64) * Max(pipeline->nviews, 1));

	for (int i = 0; i < pipeline->nviews; i++)
		late_rows[i] = pipeline->views[i].late_rows;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (only != NULL)
			kv_apply_view(pipeline, only);
		else
		{
			kv_delta_begin_views(pipeline);
			kv_apply_views(pipeline);
			kv_delta_end_views(pipeline);
		}
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		kv_maintaining = false;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		for (int i = 0; i < pipeline->nviews; i++)
			pipeline->views[i].late_rows = late_rows[i];
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* Applies a part of the (sub)batch whose whole has failed. */
static void
apply_range(Pipeline *pipeline, RowRange range)
{
	DeltaSaved *saved = kv_delta_narrow(pipeline, in_range, &range);
	int64		middle = range.from + (range.to - range.from) / 2;
	ErrorData  *error;

	CHECK_FOR_INTERRUPTS();
	if (range.to - range.from == 1)
		apply_single(pipeline, range.from);
	else if ((error = try_apply(pipeline, NULL)) != NULL)
	{
		RowRange	first = {range.from, middle};
		RowRange	second = {middle, range.to};

		if (!kv_fault_of_record(error))
			ReThrowError(error);
		FreeErrorData(error);
		apply_range(pipeline, first);
		apply_range(pipeline, second);
	}
	kv_delta_restore(pipeline, saved);
}

static bool
in_range(int64 row, void *arg)
{
	RowRange   *range = arg;

	return row >= range->from && row < range->to;
}

/* Applies one record view by view; a view that fails goes without it, and so do those that would have read its rows. */
static void
apply_single(Pipeline *pipeline, int64 row)
{
	RowSource  *source = &pipeline->sources[row];

	kv_delta_begin_views(pipeline);
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];
		ErrorData  *error = try_apply(pipeline, view);

		if (error == NULL)
			continue;
		if (!kv_fault_of_record(error) || source->partition->input->topic->on_error == ON_ERROR_STOP)
			ReThrowError(error);
		if (view->rows != NULL)
			tuplestore_clear(view->rows);
		set_aside(pipeline, source->partition, source->msg, view, error->sqlerrcode, error->message, error->detail);
		FreeErrorData(error);
	}
	kv_delta_end_views(pipeline);
}

/* Deals with a head that could not be decoded; with on_error = stop it raises the error. */
void
kv_dead_letter_head(Pipeline *pipeline, Partition *partition)
{
	TopicDef   *topic = partition->input->topic;
	rd_kafka_message_t *msg = kv_merge_message(partition);
	DecodeError *bad = &partition->head_bad;

	if (topic->on_error == ON_ERROR_STOP)
		ereport(ERROR,
				(errcode(bad->sqlstate),
				 errmsg("record " INT64_FORMAT " of topic \"%s\" partition %d is bad: %s",
						msg->offset, topic->topic, partition->number, bad->message),
				 bad->detail[0] ? errdetail("%s", bad->detail) : 0,
				 errhint("Foreign table %s says on_error 'stop'. Set it to 'dead_letter' or 'skip' to go on.", topic->relation_name)));
	set_aside(pipeline, partition, msg, NULL, bad->sqlstate, bad->message, bad->detail[0] ? bad->detail : NULL);
}

/* Keeps a record aside by its topic's on_error; view NULL: for all views of the pipeline. */
static void
set_aside(Pipeline *pipeline, Partition *partition, rd_kafka_message_t *msg, PipelineView *view,
		  int sqlstate, const char *message, const char *detail)
{
	pipeline->uncommitted_dead_letters++;
	if (partition->input->topic->on_error == ON_ERROR_DEAD_LETTER)
		insert_letter(pipeline, partition, msg, view ? view->row->relation : InvalidOid, sqlstate, message, detail);
	/* a reload may find it sound: the clock has gone on, or the columns have been changed */
	kv_apply_skip(pipeline, partition, msg->offset, view ? view->row->view : 0);
}

static bytea *
make_bytea(const void *data, size_t len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), data, len);
	return result;
}

/* Inserts into kafka_state.dead_letter. */
static void
insert_letter(Pipeline *pipeline, Partition *partition, rd_kafka_message_t *msg, Oid view,
			  int sqlstate, const char *message, const char *detail)
{
	static const char text[] =
		"INSERT INTO kafka_state.dead_letter (pipeline, relation, view, topic, partition, record_offset, record_time, "
		"key, value, headers, sqlstate, message, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
	const Oid	types[] = {INT8OID, OIDOID, OIDOID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID,
	BYTEAOID, BYTEAOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID};
	char		nulls[] = "             ";
	Datum		values[13];
	rd_kafka_timestamp_type_t kind;
	int64		record_ms = rd_kafka_message_timestamp(msg, &kind);
	bool		no_headers;
	KvSql		sql;

	values[0] = Int64GetDatum(pipeline->row->pipeline);
	values[1] = ObjectIdGetDatum(partition->input->topic->relid);
	values[2] = ObjectIdGetDatum(view);
	nulls[2] = OidIsValid(view) ? ' ' : 'n';
	values[3] = CStringGetTextDatum(partition->input->topic->topic);
	values[4] = Int32GetDatum(partition->number);
	values[5] = Int64GetDatum(msg->offset);
	values[6] = TimestampTzGetDatum(record_ms * 1000 - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
	nulls[6] = kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? 'n' : ' ';
	values[7] = msg->key ? PointerGetDatum(make_bytea(msg->key, msg->key_len)) : (Datum) 0;
	nulls[7] = msg->key ? ' ' : 'n';
	values[8] = msg->payload ? PointerGetDatum(make_bytea(msg->payload, msg->len)) : (Datum) 0;
	nulls[8] = msg->payload ? ' ' : 'n';
	values[9] = kv_headers_jsonb(msg, &no_headers);
	nulls[9] = no_headers ? 'n' : ' ';
	values[10] = CStringGetTextDatum(unpack_sql_state(sqlstate));
	values[11] = CStringGetTextDatum(message ? message : "");
	values[12] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	nulls[12] = detail ? ' ' : 'n';
	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 13, types, values, nulls);
	kv_sql_leave(&sql);
}
