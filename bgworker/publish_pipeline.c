/*
 * publish_pipeline.c: takes what a pipeline has committed to its outbox to Kafka, one Kafka transaction after the other (DESIGN.md 5.2).
 *
 * Invariant: nothing is published that Postgres could still forget. A batch is
 * read with a snapshot; then WAL is flushed up to now, which covers every commit the
 * snapshot shows, also those of the worker, which commits asynchronously; then a
 * synchronous standby is waited for; only then the Kafka transaction begins. It carries
 * the batch's messages, positions and number together, so whether a batch is
 * out is never in doubt: recovery.c reads it there. The note in Postgres and the
 * deletion of published rows come after, and may be lost in a crash.
 *
 * States:
 *
 *	UNKNOWN -> RECOVERING -> READY -something to publish-> PUBLISHING -noted-> READY
 *	READY -nothing for kafka.idle_commit_interval-> CHECKING -> PUBLISHING (the positions again) -> READY
 *	an error -> ABORTING -> READY, or UNKNOWN where the producer is gone; the next attempt after a back-off
 *
 * No transaction of Postgres is open while Kafka is waited for, which is between two calls of kv_output_advance.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "drain.h"
#include "fault_point.h"
#include "outbox_load.h"
#include "processes.h"
#include "publish_pipeline.h"
#include "recovery.h"
#include "run_sql.h"
#include "steady_clock.h"

/* After so long kafka.pipelines says that Kafka is waited for, and librdkafka's words why. */
#define SLOW_MS 5000

static void look(Output *output);
static void check_positions(Output *output, const List *offsets);
static void publish(Output *output);
static void after_publishing(Output *output);
static void truncate_outbox(const Output *output);
static void keep_offsets(Output *output, const Load *load);
static void note_owed(Output *output);
static void note_published(Output *output);
static bool note(Output *output, bool *decided);
static bool lock_note(int64 pipeline);
static bool store_note(Output *output, bool *decided);
static void delete_published(Output *output);
static int64 last_seq(OutboxPlace place);
static void tell_lock(const Output *output);
static void close_producer(Output *output);


/* See the header. */
Output *
kv_output_make(MemoryContext context, int64 pipeline, KvSlot *slot)
{
	Output	   *output = MemoryContextAllocZero(context, sizeof(Output));

	output->pipeline = pipeline;
	output->slot = slot;
	output->due = true;
	output->context = AllocSetContextCreate(context, "kv output", ALLOCSET_DEFAULT_SIZES);
	output->load_context = AllocSetContextCreate(context, "kv output load", ALLOCSET_DEFAULT_SIZES);
	return output;
}

/* See the header. */
void
kv_output_free(Output *output)
{
	MemoryContextDelete(output->context);
	MemoryContextDelete(output->load_context);
	kv_slot_free(output->slot);
	if (output->owner_before != NULL)
		pfree(output->owner_before);
	if (output->name != NULL)
		pfree(output->name);
	if (output->token != NULL)
		pfree(output->token);
	if (output->producer_token != NULL)
		pfree(output->producer_token);
	pfree(output);
}

/* See the header. */
bool
kv_output_is_at_rest(const Output *output)
{
	return output->state == OUTPUT_UNKNOWN || output->state == OUTPUT_READY;
}

/* See the header. */
bool
kv_output_is_busy(const Output *output)
{
	switch (output->state)
	{
		case OUTPUT_RECOVERING:
			return kv_recovery_is_busy(output);
		case OUTPUT_CHECKING:
			return kv_group_is_busy(output->question);
		case OUTPUT_PUBLISHING:
		case OUTPUT_ABORTING:
			return kv_txn_is_busy(output->txn);
		default:
			return false;
	}
}

/* See the header. */
void
kv_output_advance(void *arg)
{
	Output	   *output = arg;
	List	   *offsets;

	if (kv_output_is_at_rest(output))
	{
		output->due = false;
		if (output->state == OUTPUT_READY)
			look(output);
		else if (kv_recovery_begin(output))
			output->state = OUTPUT_RECOVERING;
		else if (output->owes_note)
			note_owed(output);
	}
	else if (output->state == OUTPUT_RECOVERING && kv_recovery_advance(output))
	{
		output->state = OUTPUT_READY;
		output->due = true;
	}
	else if (output->state == OUTPUT_CHECKING && kv_group_answered(output->question, &offsets))
		check_positions(output, offsets);
	else if (output->state == OUTPUT_PUBLISHING && kv_txn_advance(output->txn))
		after_publishing(output);
}

/* Reads what there is, and begins to publish it. */
static void
look(Output *output)
{
	MemoryContext save;
	Load	   *load;

	MemoryContextReset(output->load_context);
	save = MemoryContextSwitchTo(output->load_context);
	load = output->load = palloc0(sizeof(Load));
	kv_load_read(output, load, output->load_context);
	KV_FAULT_POINT("publish_read");
	if (load->end.batch != 0)
		publish(output);
	else if (!load->locked && output->noffsets > 0 && kv_steady_now() > TimestampTzPlusMilliseconds(output->committed_at, kv_idle_commit_interval_ms))
	{
		output->question = kv_recovery_ask(output, output->load_context);
		output->state = OUTPUT_CHECKING;
	}
	else if (!load->locked)
	{
		if (kv_place_is_before(output->noted, output->published))
			note_published(output);
		truncate_outbox(output);
	}
	MemoryContextSwitchTo(save);
}

/* Commits the positions of an idle group again, if Kafka still has them. */
static void
check_positions(Output *output, const List *offsets)
{
	output->state = OUTPUT_READY;
	output->question = NULL;
	/* if it raises an error, recovery asks again: with a new producer no answer is an old one */
	output->slot->recovered = false;
	kv_recovery_check_topics(output, offsets);
	output->slot->recovered = true;
	publish(output);
}

/* Begins to publish a load, which may have positions only, or (an idle commit) nothing new at all. */
static void
publish(Output *output)
{
	const Load *load = output->load;
	OutboxPlace end = load->end.batch != 0 ? load->end : output->published;
	bool		own = load->noffsets > 0;
	char	   *metadata = kv_metadata_write(end, own ? load->frontiers : output->frontiers);

	if (!own && output->noffsets == 0)
		elog(ERROR, "batch " INT64_FORMAT " of pipeline \"%s\" has no positions", end.batch, output->name);
	if (load->end.batch != 0)
		kv_drain_flush();
	KV_FAULT_POINT("publish_flushed");
	kv_txn_publish(output->txn, load->messages, own ? load->offsets : output->offsets, own ? load->noffsets : output->noffsets, metadata);
	output->state = OUTPUT_PUBLISHING;
}

/* Takes over that the load is out, and notes it. */
static void
after_publishing(Output *output)
{
	const Load *load = output->load;

	output->state = OUTPUT_READY;
	if (load->end.batch != 0)
		output->published = load->end;
	if (load->noffsets > 0)
		keep_offsets(output, load);
	output->committed_at = kv_steady_now();
	output->slot->batches++;
	output->slot->published_messages += kv_txn_produced(output->txn);
	output->slot->last_batch_at = output->committed_at;
	kv_my_slot->published_messages += kv_txn_produced(output->txn);
	/* when it was last in Kafka is noted too (made_again.c), so an idle commit is noted as well */
	note_published(output);
	if (load->more)
		output->due = true;
	else
		truncate_outbox(output);
}

/* Empties the outbox where everything is out, and noted. */
static void
truncate_outbox(const Output *output)
{
	if (!kv_place_is_before(output->noted, output->published))
		kv_drain_truncate(output->pipeline, output->published.batch);
}

/* Keeps the positions for the Kafka transactions after it that have none of their own. */
static void
keep_offsets(Output *output, const Load *load)
{
	MemoryContext save = MemoryContextSwitchTo(output->context);

	for (int i = 0; i < output->noffsets; i++)
		pfree(output->offsets[i].topic);
	if (output->offsets != NULL)
		pfree(output->offsets);
	if (output->frontiers != NULL)
		pfree(output->frontiers);
	output->offsets = palloc(sizeof(KafkaOffset) * load->noffsets);
	output->noffsets = load->noffsets;
	for (int i = 0; i < load->noffsets; i++)
	{
		output->offsets[i] = load->offsets[i];
		output->offsets[i].topic = pstrdup(load->offsets[i].topic);
	}
	output->frontiers = pstrdup(load->frontiers);
	MemoryContextSwitchTo(save);
}

/* Notes what the last producer has published, before there is one of another name; where that is locked, it is done again after a pause. */
static void
note_owed(Output *output)
{
	bool		locked;

	note_published(output);
	locked = kv_place_is_before(output->noted, output->published);
	kv_recovery_note_lock(output, locked);
	output->due = true;
	/* as it was without a producer */
	MemoryContextReset(output->context);
	output->delete_messages = NULL;
	output->deleted = (OutboxPlace) {0, 0};
}

/*
 * Notes in Postgres what has been published and deletes it. Not flushed: if it is lost in a crash, Kafka's metadata
 * says the same. But not under other names: what went out before kafka.fork() committed is flushed, and waits for a synchronous standby,
 * before anything goes on under the new ones. The last row of positions stays, for people to look at. Where a session is dropping the pipeline,
 * has the row of the note, after kafka.resume(), or is giving the database new names, the next look does it.
 */
static void
note_published(Output *output)
{
	MemoryContext save = CurrentMemoryContext;
	bool		decided = false;
	bool		noted;

	KV_FAULT_POINT("note_before");
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	noted = kv_load_lock_outbox(output->pipeline, RowExclusiveLock) && note(output, &decided);
	PopActiveSnapshot();
	CommitTransactionCommand();
	KV_FAULT_POINT("note_committed");
	MemoryContextSwitchTo(save);
	if (decided)
		kv_drain_flush();
	if (noted)
		output->noted = output->deleted = output->published;
}

/*
 * Writes the note and deletes what it says is out; false: a session has the row. *decided: it holds under names of which Kafka has no sign. In a
 * transaction, with the outbox locked.
 */
static bool
note(Output *output, bool *decided)
{
	bool		locked;
	KvSql		sql;

	kv_sql_enter_by_index(&sql);
	/* not while a kafka.fork() is under way or waits: what went out under the old name holds under the new one, of which Kafka has no sign */
	locked = kv_catalog_try_lock("published", RowExclusiveLock) && lock_note(output->pipeline);
	/* a pipeline that is being dropped has no row any more, and its outbox goes with it */
	if (locked && store_note(output, decided))
	{
		KV_FAULT_POINT("note_written");
		delete_published(output);
	}
	kv_sql_leave(&sql);
	KV_FAULT_POINT("note_rows_deleted");
	return locked;
}

/*
 * Locks the row of the note, or for the first one that of the pipeline; false: a session has it, and nobody waits for that. The newest
 * version is found as by KV_NEWEST. Inside the engine's scope.
 */
static bool
lock_note(int64 pipeline)
{
	static KvPlan *plan;
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);

	if (kv_plan_run_kept(&plan, "SELECT FROM kafka_state.published WHERE pipeline >= $1 AND pipeline <= $1 ORDER BY pipeline DESC LIMIT 1"
						 " FOR NO KEY UPDATE SKIP LOCKED", 1, types, &value, NULL) > 0)
		return true;
	return kv_sql_read("SELECT FROM kafka_state.published WHERE pipeline = $1", 1, types, &value, NULL, 1) == 0 &&
		kv_sql_run("SELECT FROM kafka_state.pipeline WHERE pipeline = $1 FOR KEY SHARE SKIP LOCKED", 1, types, &value, NULL) > 0;
}

/* Writes the note; false: there is no such pipeline any more. Inside the engine's scope, with the notes locked. */
static bool
store_note(Output *output, bool *decided)
{
	static KvRowPlan plan;
	const Oid	token_types[] = {INT8OID, TEXTOID};
	const Oid	types[] = {INT8OID, INT8OID, INT8OID, BOOLOID};
	Datum		token[] = {Int64GetDatum(output->pipeline), CStringGetTextDatum(output->producer_token)};
	Datum		values[] = {Int64GetDatum(output->pipeline), Int64GetDatum(output->published.batch), Int64GetDatum(output->published.part), (Datum) 0};
	bool		isnull;

	if (kv_sql_read("SELECT token <> $2, batch FROM " KV_NEWEST("pipeline", "pipeline", "$1") " p", 2, token_types, token, NULL, 1) == 0)
		return false;
	values[3] = kv_sql_value(0, 1, &isnull);
	*decided = DatumGetBool(values[3]);
	/* of what was to be done again under the old name nothing is out under the new one, where it has these numbers */
	if (*decided && kv_sql_int8(0, 2) < output->published.batch)
	{
		values[1] = Int64GetDatum(kv_sql_int8(0, 2));
		values[2] = Int64GetDatum(0);
	}
	if (kv_plan_change_row(&plan, "UPDATE kafka_state.published SET batch = $2, part = $3, at = pg_catalog.clock_timestamp(), decided = $4 WHERE %s",
						   KV_THE_ROW("published", "pipeline"), 4, types, values, NULL) == 0)
		kv_sql_run("INSERT INTO kafka_state.published (pipeline, batch, part, at, decided)"
				   " SELECT p.pipeline, $2, $3, pg_catalog.clock_timestamp(), $4 FROM kafka_state.pipeline p WHERE p.pipeline = $1 FOR KEY SHARE"
				   " ON CONFLICT (pipeline) DO UPDATE SET batch = excluded.batch, part = excluded.part, at = excluded.at, decided = excluded.decided",
				   4, types, values, NULL);
	return true;
}

/*
 * Deletes what is noted, from where this process has deleted before: what is dead there may stay long in table and index, under an old
 * snapshot. Inside the engine's scope.
 */
static void
delete_published(Output *output)
{
	static KvPlan *positions;
	const Oid	types[] = {INT8OID, INT8OID, INT8OID, INT8OID};
	Datum		values[] = {
		Int64GetDatum(output->deleted.batch), Int64GetDatum(last_seq(output->deleted)),
		Int64GetDatum(output->published.batch), Int64GetDatum(last_seq(output->published))
	};
	Datum		batches[] = {Int64GetDatum(output->pipeline), values[0], values[2]};

	if (output->delete_messages == NULL)
		output->delete_messages = kv_plan_make(output->context, psprintf("DELETE FROM kafka_state.outbox_" INT64_FORMAT
																		  " WHERE (batch, seq) > ($1, $2) AND (batch, seq) <= ($3, $4)",
																		  output->pipeline), 4, types);
	kv_plan_run(output->delete_messages, 0, values, NULL, NULL);
	kv_plan_run_kept(&positions, "DELETE FROM kafka_state.outbox_batch WHERE pipeline = $1 AND batch >= $2 AND batch < $3", 3, types, batches, NULL);
}

/* Gives the seq of the last row that is out of the batch of a place. */
static int64
last_seq(OutboxPlace place)
{
	return place.part == 0 ? PG_INT64_MAX : place.part;
}

/* See the header. */
bool
kv_output_may_be_out(const Output *output)
{
	return output->state == OUTPUT_PUBLISHING && kv_txn_may_be_out(output->txn);
}

/* See the header. */
void
kv_output_tell(Output *output)
{
	char	   *detail;
	char	   *message = NULL;

	if (output->locked_at != 0)
	{
		tell_lock(output);
		return;
	}
	if (output->state == OUTPUT_PUBLISHING)
		message = kv_txn_waits_for(output->txn, SLOW_MS, &detail);
	else if (output->state == OUTPUT_RECOVERING && !output->failed)
		message = kv_recovery_waits_for(output, SLOW_MS, &detail);
	else if (output->state == OUTPUT_CHECKING)
		message = kv_group_waits_for(output->question, SLOW_MS, &detail);
	if (message != NULL)
		kv_process_waits(output->slot, message, detail, "Check that all brokers run. Publishing goes on by itself.");
}

static void
tell_lock(const Output *output)
{
	if (kv_steady_now() < TimestampTzPlusMilliseconds(output->locked_at, SLOW_MS))
		return;
	kv_process_waits(output->slot, psprintf("publishing waits for a transaction that has locked pipeline \"%s\"", output->name),
					 "It is that of a session, for example after kafka.attach_sink or kafka.fork, or a batch of the pipeline itself.",
					 "Publishing goes on by itself when it ends.");
}

/* See the header. */
void
kv_output_give_up(Output *output)
{
	if (output->txn != NULL)
		output->fenced = output->fenced || kv_txn_is_fenced(output->txn);
	if (output->state == OUTPUT_UNKNOWN || output->state == OUTPUT_RECOVERING)
		close_producer(output);
	else
	{
		kv_txn_abort(output->txn);
		output->state = OUTPUT_ABORTING;
	}
}

/* See the header. */
bool
kv_output_has_given_up(Output *output)
{
	Assert(output->state == OUTPUT_ABORTING);
	if (!kv_txn_advance(output->txn))
		return false;
	MemoryContextReset(output->load_context);
	output->question = NULL;
	output->state = OUTPUT_READY;
	if (kv_txn_is_dead(output->txn) || output->abandoned)
		close_producer(output);
	return true;
}

/* Closes the producer; recovery opens the next one. */
static void
close_producer(Output *output)
{
	MemoryContextReset(output->context);
	output->txn = NULL;
	output->recovery = NULL;
	output->locked_at = output->try_at = 0;
	output->offsets = NULL;
	output->noffsets = 0;
	output->delete_messages = NULL;
	output->deleted = (OutboxPlace) {0, 0};
	output->abandoned = false;
	output->state = OUTPUT_UNKNOWN;
}
