/*
 * diverged.c: finds out whether what Kafka has under the number of a batch is what this database has under it.
 *
 * Why it exists: two copies of a database that both run under the same names in Kafka, one after the other, number their batches alike and cut
 * them differently. Whoever comes second would take its own unpublished batches for those that the first has published, and lose
 * what only its own have.
 *
 * Invariant: this database is a part of what Kafka's owner had: a batch that both have ends at the same positions, and where Kafka has a
 * batch that is not here, nothing was applied here beyond its positions. Of a part of a batch that cannot be told. Positions say nothing of a batch
 * that moves none: the rows of a new sink, the first ones of a view, dead letters that were tried again, what time has closed. Where one
 * was made says it: what this very server has made and not published is not what another one has published under its number.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "diverged.h"
#include "identity.h"
#include "incomplete.h"
#include "position.h"
#include "run_sql.h"
#include "topic.h"

static int64 offset_in_kafka(const Output *output, const char *topic, int partition);
static char *differing_batch(const Output *output, OutboxPlace place);
static char *applied_beyond(const Output *output);
static char *standing_batch(const Output *output, const OutboxMetadata *metadata, OutboxPlace note);
static void raise_diverged(Output *output, const char *where) pg_attribute_noreturn();


/* See the header. */
void
kv_diverged_check(Output *output, const OutboxMetadata *metadata, OutboxPlace note, int64 last_batch)
{
	OutboxPlace place = metadata->place;
	char	   *where;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* a part of a batch has the positions of the one before, and records without a message may have been applied behind that */
	if (place.part != 0)
		where = NULL;
	else if (place.batch <= last_batch)
		where = differing_batch(output, place);
	else
		where = kv_incomplete_noted(output->pipeline) ? NULL : applied_beyond(output);
	if (where == NULL)
		where = standing_batch(output, metadata, note);
	if (where != NULL)
		where = MemoryContextStrdup(output->context, where);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(output->context);
	if (where != NULL)
		raise_diverged(output, where);
}

/* See the header. */
void
kv_diverged_check_positions(Output *output)
{
	char	   *where = applied_beyond(output);

	if (where != NULL)
		raise_diverged(output, where);
}

/* See the header. */
void
kv_diverged_check_standing(Output *output, const OutboxMetadata *metadata, OutboxPlace note)
{
	char	   *where = standing_batch(output, metadata, note);

	if (where != NULL)
		raise_diverged(output, where);
}

static void
raise_diverged(Output *output, const char *where)
{
	output->stopped = true;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("pipeline \"%s\" has gone another way than the server that published for it", output->name),
			 errdetail("%s So batches that wait here are not those that Kafka has under the same numbers.", where),
			 errhint("Make this server a standby of that one, or restore it from a backup made before they parted, or run kafka.fork() "
					 "here: it goes on under new names, and publishes again what waits here.")));
}

/* Gives the offset of a partition that the group has in Kafka, below 0 for none. */
static int64
offset_in_kafka(const Output *output, const char *topic, int partition)
{
	for (int i = 0; i < output->noffsets; i++)
	{
		if (output->offsets[i].partition == partition && strcmp(output->offsets[i].topic, topic) == 0)
			return output->offsets[i].offset;
	}
	return -1;
}

/* Says where an unpublished batch of this database ends elsewhere than in Kafka; NULL: nowhere, or it is not kept any more. */
static char *
differing_batch(const Output *output, OutboxPlace place)
{
	static const char text[] =
		"SELECT p.topic, p.partition, p.\"offset\" FROM kafka_state.outbox_batch b,"
		" pg_catalog.jsonb_to_recordset(b.positions) AS p (topic text, partition integer, \"offset\" bigint)"
		" WHERE b.pipeline = $1 AND b.batch = $2";
	const Oid	types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(output->pipeline), Int64GetDatum(place.batch)};
	MemoryContext caller = CurrentMemoryContext;
	char	   *where = NULL;
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 2, types, values, NULL, 0);
	for (uint64 i = 0; i < count && where == NULL; i++)
	{
		bool		isnull;
		char	   *topic = kv_sql_text(i, 1);
		int			partition = DatumGetInt32(kv_sql_value(i, 2, &isnull));
		int64		offset = kv_sql_int8(i, 3);
		int64		in_kafka = offset_in_kafka(output, topic, partition);

		if (in_kafka >= 0 && in_kafka != offset)
		{
			MemoryContext save = MemoryContextSwitchTo(caller);

			where = psprintf("Batch " INT64_FORMAT " ends before offset " INT64_FORMAT " of topic \"%s\", partition %d here, before offset "
							 INT64_FORMAT " in Kafka.", place.batch, offset, topic, partition, in_kafka);
			MemoryContextSwitchTo(save);
		}
	}
	kv_sql_leave(&sql);
	return where;
}

/* Says where this database has applied records beyond the positions of a batch in Kafka that it does not have; NULL: nowhere. */
static char *
applied_beyond(const Output *output)
{
	ListCell   *cell;

	foreach(cell, kv_position_list(output->pipeline))
	{
		const PositionRow *position = lfirst(cell);
		const char *topic = kv_topic_name(position->relation);
		int64		in_kafka = offset_in_kafka(output, topic, position->partition);

		if (in_kafka >= 0 && position->next_offset > in_kafka)
			return psprintf("It has applied records up to offset " INT64_FORMAT " of topic \"%s\", partition %d, and Kafka has, after more batches, "
							"only what lies before " INT64_FORMAT ".", position->next_offset, topic, position->partition, in_kafka);
	}
	return NULL;
}

/* Says which unpublished batch that moves no position was made by this server, where another one has published under its number; NULL: none. */
static char *
standing_batch(const Output *output, const OutboxMetadata *metadata, OutboxPlace note)
{
	static const char text[] =
		"SELECT batch FROM kafka_state.outbox_batch WHERE pipeline = $1 AND batch > $2 AND batch <= $3 AND made_in = $4 ORDER BY batch";
	const Oid	types[] = {INT8OID, INT8OID, INT8OID, TEXTOID};
	const char *here = kv_identity_here();
	Datum		values[] = {
		Int64GetDatum(output->pipeline), Int64GetDatum(note.part == 0 ? note.batch : note.batch - 1),
		Int64GetDatum(metadata->place.batch), CStringGetTextDatum(here)
	};
	int64		batch = 0;
	KvSql		sql;

	if (metadata->here == NULL || strcmp(metadata->here, here) == 0)
		return NULL;
	kv_sql_enter_engine(&sql);
	if (kv_sql_read(text, 4, types, values, NULL, 1) > 0)
		batch = kv_sql_int8(0, 1);
	kv_sql_leave(&sql);
	return batch == 0 ? NULL : psprintf("Batch " INT64_FORMAT " was made here without records, for a sink, a view, dead letters or windows of this server, and another "
										"server has published " INT64_FORMAT ".", batch, metadata->place.batch);
}
