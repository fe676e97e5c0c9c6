/*
 * sink_snapshot.c: the rows that a view has when a sink is attached, as a batch of
 * messages of their own.
 *
 * Invariant: the caller has taken the batch's number, and so holds the pipeline's row: what
 * is published here and what the worker publishes afterwards are together every row once.
 * The rows of a stored view are read with a snapshot taken under that lock, whatever the
 * transaction's isolation level; those of an unstored one are what its query gives over the applied records.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "analyze.h"
#include "applied.h"
#include "identity.h"
#include "note_times.h"
#include "outbox.h"
#include "position.h"
#include "publish.h"
#include "run_sql.h"
#include "sink_snapshot.h"

static bool has_given_rows(const ViewRow *row, const ViewDef *view);
static void publish_stored(Relation rel, const TopicDef *topic, Encoder *encoder);
static void publish_given(const ViewRow *row, Relation rel, const TopicDef *topic, Encoder *encoder);
static void store_batch(int64 pipeline, int64 batch);
static char *positions_json(int64 pipeline);


/* Publishes the rows a view has now; see the header. */
void
kv_sink_snapshot(const ViewRow *row, int64 batch, Oid topic_relid)
{
	bool		stored = row->relation != row->definition;
	ViewDef    *view = kv_view_load(row->view);
	KvSql		sql;
	MemoryContext context;
	Relation	rel;
	TopicDef   *topic;
	Encoder    *encoder;

	if (!stored && !has_given_rows(row, view))
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "kv sink snapshot", ALLOCSET_DEFAULT_SIZES);
	rel = table_open(row->relation, AccessShareLock);
	topic = kv_topic_copy(context, kv_topic_get(topic_relid));

	/* what depends on a setting is written as the worker will write it */
	kv_sql_enter_role(&sql, view->owner, row->settings);
	encoder = kv_encoder_make(context, topic, RelationGetDescr(rel));
	kv_note_times_begin(view);
	kv_outbox_begin_batch(row->pipeline, batch);
	if (stored)
		publish_stored(rel, topic, encoder);
	else
		publish_given(row, rel, topic, encoder);
	kv_row_times_end();
	kv_sql_leave(&sql);
	if (kv_outbox_end_batch())
		store_batch(row->pipeline, batch);
	table_close(rel, NoLock);
	MemoryContextDelete(context);
}

/* Tells whether an unstored view can have given rows already; raises an error where nobody can say which. */
static bool
has_given_rows(const ViewRow *row, const ViewDef *view)
{
	/* the worker will compute the first rows of a view over views, and write them to its sinks */
	for (int i = 0; i < view->ninputs; i++)
	{
		if (view->inputs[i].kind == INPUT_VIEW && !row->initialized)
			return false;
	}
	if (!kv_applied_any(row->pipeline))
		return false;
	if (!view->has_oracle || view->reads_expiring)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot publish the rows that continuous view \"%s\" has given already", get_rel_name(row->relation)),
				 view->has_oracle ? errdetail("They are not stored, and a view that it reads, or one above that, removes rows that are old.") :
				 errdetail("They are not stored, and it has looked up rows of a table as they were when each record arrived."),
				 errhint("Attach the sink with snapshot => false, or in the transaction that creates the view.")));
	return true;
}

/* Appends all rows that stand in a result table to the outbox. */
static void
publish_stored(Relation rel, const TopicDef *topic, Encoder *encoder)
{
	RowTimeCursor cursor = {0};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		kv_publish_values(topic, encoder, slot->tts_values, slot->tts_isnull, false,
						  kv_row_time(RelationGetRelid(rel), &cursor, slot->tts_values, slot->tts_isnull));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

/* Appends all rows that an unstored view has given to the outbox. */
static void
publish_given(const ViewRow *row, Relation rel, const TopicDef *topic, Encoder *encoder)
{
	RowTimeCursor cursor = {0};
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);

	kv_applied_rows(row, rows);
	kv_publish_store(topic, encoder, row->relation, &cursor, RelationGetDescr(rel), rows, 0);
	tuplestore_end(rows);
}

/* Stores what the Kafka commit of the batch carries: positions as they are, for it consumes nothing. */
static void
store_batch(int64 pipeline, int64 batch)
{
	static const char text[] =
		"INSERT INTO kafka_state.outbox_batch (pipeline, batch, positions, made_in, frontiers) "
		"SELECT $1, $2, $3::pg_catalog.jsonb, $4, coalesce((SELECT pg_catalog.jsonb_object_agg(v.view::text, v.frontier) "
		" FROM kafka_state.view v WHERE v.pipeline = $1 AND v.initialized), '{}') || pg_catalog.jsonb_build_object('clock', $5)";
	const Oid	types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[5];
	KvSql		sql;

	values[0] = Int64GetDatum(pipeline);
	values[1] = Int64GetDatum(batch);
	values[2] = CStringGetTextDatum(positions_json(pipeline));
	values[3] = CStringGetTextDatum(kv_identity_here());
	values[4] = TimestampTzGetDatum(GetCurrentTimestamp());
	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 5, types, values, NULL);
	kv_sql_leave(&sql);
}

/* Topic names need no escape in JSON. */
static char *
positions_json(int64 pipeline)
{
	StringInfoData json;
	ListCell   *cell;

	initStringInfo(&json);
	foreach(cell, kv_position_list(pipeline))
	{
		PositionRow *position = lfirst(cell);

		appendStringInfo(&json, "%c{\"topic\":\"%s\",\"partition\":%d,\"offset\":" INT64_FORMAT "}",
						 json.len == 0 ? '[' : ',', kv_topic_get(position->relation)->topic, position->partition,
						 position->next_offset);
	}
	appendStringInfoString(&json, json.len == 0 ? "[]" : "]");
	return json.data;
}
