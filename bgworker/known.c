/*
 * known.c: what this database knows of what a pipeline has published, which recovery.c compares with what Kafka has.
 *
 * Invariant: what is compared is read with one snapshot after Kafka has answered. Number, note and messages of different moments could
 * make a batch seem lost, or published, that a session has just decided about.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "known.h"
#include "outbox_load.h"
#include "run_sql.h"
#include "topic.h"

static void hold_position(Output *output, KafkaOffset offset);


/* See the header. */
void
kv_known_read(Output *output, Known *known)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(output->pipeline);
	PipelineRow *row;
	bool		isnull;
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	kv_metadata_note_era();
	row = kv_pipeline_get(output->pipeline, false);
	output->kafka_name = MemoryContextStrdup(output->context, kv_pipeline_kafka_name(row));
	known->token = MemoryContextStrdup(output->context, row->token);

	kv_sql_enter_engine(&sql);
	kv_sql_read("SELECT compared FROM kafka_state.pipeline WHERE pipeline = $1", 1, types, &value, NULL, 1);
	known->compared = MemoryContextStrdup(output->context, kv_sql_text(0, 1));
	known->reads = kv_sql_read("SELECT relation::oid, partition FROM kafka_state.position WHERE pipeline = $1", 1, types, &value, NULL, 1) > 0;
	if (known->reads)
	{
		known->topic = MemoryContextStrdup(output->context, kv_topic_name(DatumGetObjectId(kv_sql_value(0, 1, &isnull))));
		known->partition = DatumGetInt32(kv_sql_value(0, 2, &isnull));
	}
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(output->context);
}

/* See the header. */
void
kv_known_read_note(const Output *output, Known *known, MemoryContext context)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(output->pipeline);
	bool		isnull;
	KvSql		sql;

	MemoryContextReset(context);
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	PushActiveSnapshot(GetTransactionSnapshot());
	known->last_batch = kv_pipeline_get(output->pipeline, false)->batch;
	if (!kv_load_lock_outbox(output->pipeline, AccessShareLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the outbox of pipeline \"%s\" is locked by a session", output->name),
				 errdetail("That has dropped the pipeline and not committed, or rewrites the table."),
				 errhint("Publishing goes on by itself when it ends.")));

	kv_sql_enter_engine(&sql);
	known->noted = kv_sql_read("SELECT batch, part, decided FROM kafka_state.published WHERE pipeline = $1", 1, types, &value, NULL, 1) > 0;
	if (known->noted)
	{
		known->note.batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
		known->note.part = DatumGetInt64(kv_sql_value(0, 2, &isnull));
		known->decided = DatumGetBool(kv_sql_value(0, 3, &isnull));
	}
	/* rows of a batch that is out in part are unpublished too */
	value = Int64GetDatum(known->note.part == 0 ? known->note.batch : known->note.batch - 1);
	known->unpublished = kv_sql_read(psprintf("SELECT FROM kafka_state.outbox_" INT64_FORMAT " WHERE batch > $1 LIMIT 1", output->pipeline),
									 1, types, &value, NULL, 1) > 0;
	kv_sql_leave(&sql);
	kv_made_again_read(output->pipeline, &known->positions, context);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(output->context);
}

/* See the header. */
void
kv_known_hold_positions(Output *output, const OutboxMetadata *metadata)
{
	static const char text[] =
		"SELECT p.value->>'topic', (p.value->>'partition')::integer, (p.value->>'offset')::bigint, b.frontiers::text"
		" FROM (SELECT * FROM kafka_state.outbox_batch WHERE pipeline = $1 AND batch <= $2 ORDER BY batch DESC LIMIT 1) b"
		" CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(b.positions) p";
	const Oid	types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(output->pipeline), Int64GetDatum(output->published.batch - (output->published.part != 0))};
	uint64		count;
	KvSql		sql;

	StartTransactionCommand();
	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 2, types, values, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		KafkaOffset offset = {0};
		bool		isnull;

		offset.topic = kv_sql_text(i, 1);
		offset.partition = DatumGetInt32(kv_sql_value(i, 2, &isnull));
		offset.offset = DatumGetInt64(kv_sql_value(i, 3, &isnull));
		hold_position(output, offset);
		if (i == 0 && !metadata->found)
			output->frontiers = MemoryContextStrdup(output->context, kv_sql_text(i, 4));
	}
	kv_sql_leave(&sql);
	CommitTransactionCommand();
	MemoryContextSwitchTo(output->context);
}

/* Adds a position unless Kafka has one. */
static void
hold_position(Output *output, KafkaOffset offset)
{
	for (int i = 0; i < output->noffsets; i++)
	{
		if (output->offsets[i].partition == offset.partition && strcmp(output->offsets[i].topic, offset.topic) == 0)
			return;
	}
	offset.topic = MemoryContextStrdup(output->context, offset.topic);
	output->offsets = repalloc(output->offsets, sizeof(KafkaOffset) * (output->noffsets + 1));
	output->offsets[output->noffsets++] = offset;
}
