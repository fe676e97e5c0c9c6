/*
 * redo.c: what Kafka has and Postgres has lost is applied again, and not published again.
 *
 * Kafka is ahead after a failover to a standby that was behind, after a restore of a backup or of a dump: batches were
 * published whose results are gone. The publisher finds that out when it recovers (recovery.c) and notes in kafka_state.redo the last batch,
 * the positions of all partitions and the frontiers that Kafka has. The worker waits for that after every start of the
 * server, and then applies the records up to those positions with publishing held back, without batch numbers, and
 * closes what those frontiers had closed.
 *
 * Invariant: until the last batch of this has committed, nothing goes into the outbox, no record behind the positions is
 * applied and no frontier passes Kafka's; that batch deletes the note and takes over Kafka's batch number. So a crash in
 * between goes on where it was, and what comes after is published from exactly where the predecessor had ended. A partition that
 * Kafka has no position of had nothing published: the note has all that the group has, whatever this database knew of them.
 *
 * Batches end elsewhere than they did. A row that is late by the stream time of its own partition is so again; one that was late by the closed
 * frontier alone, of a partition that was idle or of a view over a join or a view, may be judged otherwise, for Kafka has the last frontiers only.
 * Whether a record is from the future (kafka.max_ahead) is said by the clock of the last batch that Kafka has, and by that of now where it is not known: what the
 * predecessor applied is applied again. What it set aside is so again too, but for a record that would have been none from the future by the end of the lost batches.
 *
 * A view over views that was added to a pipeline gets first rows in a batch of their own. Where the last batch of the predecessor names other views
 * and not this one, that had not published them: the view is left out, and the run that comes after this gives it its first rows, with a number.
 * Where frontiers did not fit into the metadata it is not known, and the first rows that are computed meanwhile count as published.
 *
 * Dead letters that were tried again in what is lost are dead letters again, and Kafka does not say whether they were published. So requests
 * to try them again are withdrawn: a person decides.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "fault_point.h"
#include "group_offsets.h"
#include "incomplete.h"
#include "kept_records.h"
#include "members.h"
#include "merge.h"
#include "outbox.h"
#include "redo.h"
#include "run_sql.h"
#include "start_offsets.h"

static void read_note(Pipeline *pipeline);
static void limit_partitions(Pipeline *pipeline);
static void set_limit(Pipeline *pipeline, const char *topic, int32 number, int64 offset);
static void check_limits(Pipeline *pipeline);
static void read_frontiers(Pipeline *pipeline);
static void leave_out(Pipeline *pipeline);


/* See the header. A number that was given meanwhile says that the note is not needed any more, another token that it is of the old name. */
bool
kv_redo_note(int64 pipeline, const char *token, int64 batch, const char *positions, const char *frontiers)
{
	static const char text[] =
		"INSERT INTO kafka_state.redo (pipeline, batch, positions, frontiers)"
		" SELECT p.pipeline, $2, $3::pg_catalog.jsonb, $4::pg_catalog.jsonb FROM kafka_state.pipeline p WHERE p.pipeline = $1 AND p.batch < $2"
		" AND p.token = $5"
		" ON CONFLICT (pipeline) DO UPDATE SET batch = excluded.batch, positions = excluded.positions, frontiers = excluded.frontiers";
	const Oid	types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		Int64GetDatum(pipeline), Int64GetDatum(batch), CStringGetTextDatum(positions),
		frontiers == NULL ? (Datum) 0 : CStringGetTextDatum(frontiers), CStringGetTextDatum(token)
	};
	KvSql		sql;

	if (!kv_pipeline_try_lock(pipeline))
		return false;
	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 5, types, values, frontiers == NULL ? "   n " : NULL);
	kv_sql_leave(&sql);
	KV_FAULT_POINT("redo_noted");
	kv_incomplete_changed();
	return true;
}

/* See the header. A name in Kafka is never used again, so offsets under it are of this pipeline. */
bool
kv_redo_is_possible(Pipeline *pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline->row->pipeline);
	KafkaOffset *offsets;
	int			noffsets = 0;
	bool		noted;
	KvSql		sql;

	StartTransactionCommand();
	kv_sql_enter_engine(&sql);
	noted = kv_sql_read("SELECT FROM kafka_state.published WHERE pipeline = $1", 1, types, &value, NULL, 1) > 0;
	kv_sql_leave(&sql);
	CommitTransactionCommand();
	MemoryContextSwitchTo(pipeline->context);
	if (noted)
		return true;

	for (int i = 0; i < pipeline->ntopics; i++)
		noffsets += pipeline->topics[i].npartitions;
	offsets = palloc0(sizeof(KafkaOffset) * Max(noffsets, 1));
	noffsets = 0;
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			offsets[noffsets].topic = pipeline->topics[i].topic->topic;
			offsets[noffsets++].partition = n;
		}
	}
	kv_group_read_offsets(pipeline->serverid, pipeline->owner, pipeline->kafka_name, offsets, noffsets);
	for (int i = 0; i < noffsets; i++)
		if (offsets[i].offset >= 0)
			return true;
	return false;
}

/* See the header. */
void
kv_redo_load(Pipeline *pipeline)
{
	StartTransactionCommand();
	MemoryContextSwitchTo(pipeline->context);
	read_note(pipeline);
	CommitTransactionCommand();
	MemoryContextSwitchTo(pipeline->context);
	kv_outbox_held_back = pipeline->redo;
	if (!pipeline->redo)
		return;
	kv_time_clock = pipeline->redo_clock;
	check_limits(pipeline);
	KV_FAULT_POINT("redo_loaded");
}

static void
read_note(Pipeline *pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline->row->pipeline);
	bool		isnull;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	pipeline->redo = kv_sql_read("SELECT batch, frontiers IS NOT NULL, coalesce((frontiers->>'clock')::bigint, 0)"
								 " FROM kafka_state.redo WHERE pipeline = $1", 1, types, &value, NULL, 1) > 0;
	if (pipeline->redo)
	{
		pipeline->redo_batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
		pipeline->redo_frontiers = DatumGetBool(kv_sql_value(0, 2, &isnull));
		pipeline->redo_clock = DatumGetTimestampTz(kv_sql_value(0, 3, &isnull));
		limit_partitions(pipeline);
		if (pipeline->redo_frontiers)
			read_frontiers(pipeline);
	}
	kv_sql_leave(&sql);
}

/* Ends every partition where Kafka's position is. */
static void
limit_partitions(Pipeline *pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline->row->pipeline);
	uint64		count;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
			pipeline->topics[i].partitions[n].limit = pipeline->topics[i].partitions[n].next_offset;
	}
	count = kv_sql_read("SELECT p.value->>'topic', (p.value->>'partition')::integer, (p.value->>'offset')::bigint"
						" FROM kafka_state.redo r CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(r.positions) p WHERE r.pipeline = $1",
						1, types, &value, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;

		set_limit(pipeline, kv_sql_text(i, 1), DatumGetInt32(kv_sql_value(i, 2, &isnull)), DatumGetInt64(kv_sql_value(i, 3, &isnull)));
	}
}

static void
set_limit(Pipeline *pipeline, const char *topic, int32 number, int64 offset)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		if (number < input->npartitions && strcmp(input->topic->topic, topic) == 0)
			input->partitions[number].limit = Max(input->partitions[number].next_offset, offset);
	}
}

/*
 * Raises an error where a topic has lost its last records (a leader that was behind, a mirror): what was published from them cannot be
 * applied again, and new records in their place would be taken for them.
 */
static void
check_limits(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions; n++)
		{
			/* positions of this database were checked when the consumer was opened */
			if (input->partitions[n].limit > input->partitions[n].next_offset)
				kv_start_check_offset(pipeline, input, n, input->partitions[n].limit);
		}
	}
}

/* Reads the views' frontiers as Kafka has them. Views are told from those that had none by being named. */
static void
read_frontiers(Pipeline *pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline->row->pipeline);
	uint64		count;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		pipeline->views[i].redo_frontier = DT_NOBEGIN;
		pipeline->views[i].left_out = true;
	}
	count = kv_sql_read("SELECT f.key::bigint, f.value::bigint FROM kafka_state.redo r"
						" CROSS JOIN LATERAL pg_catalog.jsonb_each_text(r.frontiers) f WHERE r.pipeline = $1 AND f.key <> 'clock'", 1, types, &value, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		int64		id = DatumGetInt64(kv_sql_value(i, 1, &isnull));

		for (int j = 0; j < pipeline->nviews; j++)
		{
			if (pipeline->views[j].row->view != id)
				continue;
			pipeline->views[j].redo_frontier = kv_sql_time(i, 2);
			pipeline->views[j].left_out = false;
		}
	}
	leave_out(pipeline);
}

/*
 * Leaves those views out, of the ones that were not named, whose first rows are not here either. Those that the pipeline began with took part
 * while the tables were read, before any view was named.
 */
static void
leave_out(Pipeline *pipeline)
{
	bool		named = false;

	for (int i = 0; i < pipeline->nviews; i++)
		named = named || !pipeline->views[i].left_out;
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		view->left_out = view->left_out && named && !view->row->initialized && kv_view_reads_views(view->view);
	}
}

/* See the header. */
void
kv_redo_lock(Pipeline *pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline->row->pipeline);
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	if (kv_sql_run("SELECT FROM kafka_state.pipeline WHERE pipeline = $1 FOR UPDATE", 1, types, &value, NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("pipeline \"%s\" does not exist any more", pipeline->row->name)));
	kv_sql_leave(&sql);
	KV_FAULT_POINT("redo_batch_locked");
}

/* See the header. Where Kafka's were too many to be kept, the watermarks alone decide, as they did before. */
void
kv_redo_limit_frontiers(Pipeline *pipeline)
{
	bool		over = kv_redo_is_over(pipeline);

	for (int i = 0; i < pipeline->nviews && pipeline->redo_frontiers; i++)
	{
		PipelineView *view = &pipeline->views[i];

		if (over || view->next_frontier > view->redo_frontier)
			view->next_frontier = Max(view->frontier, view->redo_frontier);
	}
}

/* See the header. */
bool
kv_redo_is_over(Pipeline *pipeline)
{
	if (!pipeline->bootstrap_done)
		return false;
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			if (!kv_merge_at_limit(&pipeline->topics[i].partitions[n]))
				return false;
		}
	}
	return true;
}

/* See the header. */
void
kv_redo_finish(Pipeline *pipeline)
{
	const Oid	types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(pipeline->row->pipeline), Int64GetDatum(pipeline->redo_batch)};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("UPDATE kafka_state.pipeline SET batch = greatest(batch, $2) WHERE pipeline = $1", 2, types, values, NULL);
	kv_sql_run("DELETE FROM kafka_state.redo WHERE pipeline = $1", 1, types, values, NULL);
	kv_sql_leave(&sql);
	kv_kept_withdraw(pipeline->row->pipeline);
	KV_FAULT_POINT("redo_note_deleted");
	kv_incomplete_changed();
}

/* See the header. */
void
kv_redo_end(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
			pipeline->topics[i].partitions[n].limit = PG_INT64_MAX;
	}
	KV_FAULT_POINT("redo_committed");
	for (int i = 0; i < pipeline->nviews; i++)
	{
		if (pipeline->views[i].left_out)
			kv_members_invalid = true;	/* the next run gives them their first rows */
	}
	pipeline->redo = false;
	kv_outbox_held_back = false;
	kv_time_clock = 0;
}
