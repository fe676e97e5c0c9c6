/*
 * recovery.c: what a publisher finds out before it publishes for a pipeline
 * (DESIGN.md 5.4).
 *
 * Invariant: no batch is published twice and none is left out, whoever was killed when. The
 * metadata of the group's offsets is the truth, because it commits with the
 * messages; Postgres's own note may be behind it by what was published between the Kafka commit and
 * the note. So: fence (an open transaction of a predecessor is aborted or
 * completed by that, and nothing older than it is read after it: kafka_txn.c), then read the metadata, then go on after the greater of both.
 *
 *	killed						found here						repaired by
 *	before the Kafka commit		metadata = note					the batch is published again; nobody saw the aborted one
 *	between commit and note		metadata > note					going on after metadata
 *	after the note				metadata = note, rows deleted	nothing to do
 *
 * Every producer commits its owner with the metadata. One that is fenced looks there: another
 * owner's name means that another server publishes for this pipeline, and it stops; its
 * own name means a transaction that timed out, and it starts again. So does the name that
 * it found there before it committed its own, if that commit was what timed out.
 *
 * Kafka is waited for between two steps, while the publisher serves others:
 *
 *	(OWNER, after a fence) -> FENCING -> FINDING -> SETTLING -> METADATA -> DECIDING -> COMMITTING -> done; an error ends it, and the next attempt begins again
 *
 * So is whoever holds the pipeline's row, a batch of the worker or a session, where something is to be noted there: the step is done again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "cluster.h"
#include "diverged.h"
#include "fault_point.h"
#include "group_offsets.h"
#include "incomplete.h"
#include "known.h"
#include "made_again.h"
#include "metadata.h"
#include "recovery.h"
#include "redo.h"
#include "steady_clock.h"

/* Between two looks at a row that is locked: a tenth of the time that it has been so, within these. */
#define ROW_PAUSE_MS 20
#define ROW_PAUSE_MAX_MS 200

typedef enum RecoveryStep
{
	RECOVERY_OWNER,				/* asks who has fenced the last producer */
	RECOVERY_FENCING,			/* opens a producer */
	RECOVERY_FINDING,			/* asks for the group, whatever the answer */
	RECOVERY_SETTLING,			/* has Kafka give no old answer (kafka_txn.c) */
	RECOVERY_METADATA,			/* asks what Kafka has */
	RECOVERY_DECIDING,			/* compares that with what Postgres has */
	RECOVERY_COMMITTING			/* commits who publishes now */
} RecoveryStep;

/* A recovery that is under way; in output->context. */
typedef struct Recovery
{
	RecoveryStep step;
	Known		known;
	GroupQuestion *question;	/* that is on its way; NULL: the producer is doing something */
	MemoryContext note_context;
	List	   *answer;			/* what Kafka has: KafkaOffset * */
	OutboxMetadata metadata;	/* the greatest in it */
} Recovery;

static void ask(Output *output, RecoveryStep step);
static ReaderOfTopics reader_of(const Output *output);
static void fence(Output *output);
static void after_owner(Output *output, const List *offsets);
static void after_fencing(Output *output);
static void after_finding(Output *output);
static void after_metadata(Output *output, List *offsets);
static void decide_and_commit(Output *output);
static void after_commit(Output *output);
static void read_metadata(Output *output, const List *offsets, OutboxMetadata *metadata);
static void check_owner(Output *output, const OutboxMetadata *metadata);
static void keep_owner(Output *output, const char *owner);
static void check_replaced(Output *output, const Known *known, const OutboxMetadata *metadata);
static bool decide(Output *output, const Known *known, OutboxMetadata *metadata);
static bool note_redo(Output *output, const Known *known, OutboxMetadata *metadata);
static bool note_compared(Output *output);


/* See the header. */
bool
kv_recovery_begin(Output *output)
{
	MemoryContext save = MemoryContextSwitchTo(output->context);
	Recovery   *recovery = palloc0(sizeof(Recovery));

	output->slot->phase = PIPELINE_STARTING;
	recovery->note_context = AllocSetContextCreate(output->context, "kv note", ALLOCSET_SMALL_SIZES);
	kv_known_read(output, &recovery->known);
	output->owes_note = recovery->known.reads && output->producer_token != NULL && strcmp(output->producer_token, recovery->known.token) != 0 &&
		kv_place_is_before(output->noted, output->published);
	if (recovery->known.reads && !output->owes_note)
	{
		if (output->producer_token != NULL)
			pfree(output->producer_token);
		output->producer_token = MemoryContextStrdup(TopMemoryContext, recovery->known.token);
		KV_FAULT_POINT("recover_read");
		output->recovery = recovery;
		if (output->fenced)
			ask(output, RECOVERY_OWNER);
		else
			fence(output);
	}
	MemoryContextSwitchTo(save);
	if (output->recovery == NULL)
		MemoryContextReset(output->context);
	return output->recovery != NULL;
}

/* See the header. */
bool
kv_recovery_advance(Output *output)
{
	MemoryContext save = MemoryContextSwitchTo(output->context);
	Recovery   *recovery = output->recovery;
	List	   *offsets;

	for (;;)
	{
		bool		over = recovery->question != NULL ? kv_group_answered(recovery->question, &offsets) : kv_txn_advance(output->txn);

		if (!over)
			break;
		recovery->question = NULL;
		if (recovery->step == RECOVERY_OWNER)
			after_owner(output, offsets);
		else if (recovery->step == RECOVERY_FENCING)
			after_fencing(output);
		else if (recovery->step == RECOVERY_FINDING)
			after_finding(output);
		else if (recovery->step == RECOVERY_SETTLING)
			ask(output, RECOVERY_METADATA);
		else if (recovery->step == RECOVERY_METADATA)
			after_metadata(output, offsets);
		else if (recovery->step == RECOVERY_DECIDING)
			decide_and_commit(output);
		else
			after_commit(output);
		if (output->recovery == NULL || output->try_at != 0)
			break;
	}
	MemoryContextSwitchTo(save);
	return output->recovery == NULL;
}

/* See the header. */
bool
kv_recovery_is_busy(const Output *output)
{
	const Recovery *recovery = output->recovery;

	return recovery->question != NULL ? kv_group_is_busy(recovery->question) : kv_txn_is_busy(output->txn);
}

/* See the header. */
char *
kv_recovery_waits_for(const Output *output, int limit_ms, char **detail)
{
	const Recovery *recovery = output->recovery;

	return recovery->question != NULL ? kv_group_waits_for(recovery->question, limit_ms, detail) : kv_txn_waits_for(output->txn, limit_ms, detail);
}

/* Asks Kafka for the group's offsets. */
static void
ask(Output *output, RecoveryStep step)
{
	output->recovery->step = step;
	output->recovery->question = kv_recovery_ask(output, output->context);
}

/* Opens the producer, which aborts or completes what a predecessor has left open. */
static void
fence(Output *output)
{
	output->recovery->step = RECOVERY_FENCING;
	output->txn = kv_txn_open(output->context, output->serverid, output->owner, output->kafka_name);
}

static void
after_owner(Output *output, const List *offsets)
{
	OutboxMetadata metadata = {0};

	read_metadata(output, offsets, &metadata);
	check_owner(output, &metadata);
	fence(output);
}

static void
after_fencing(Output *output)
{
	bool		checked;

	KV_FAULT_POINT("recover_fenced");
	/* does not block: the producer has had an answer from a broker */
	checked = kv_cluster_check(kv_txn_client(output->txn), output->pipeline, output->name, false);
	kv_recovery_note_lock(output, !checked);
	if (!checked)
		return;
	output->recovery->step = RECOVERY_FINDING;
	output->recovery->question = kv_group_ask(output->context, output->serverid, output->owner, output->kafka_name, NULL, 0);
}

/* Has Kafka, which has found the group, answer nothing from some time ago. */
static void
after_finding(Output *output)
{
	output->recovery->step = RECOVERY_SETTLING;
	kv_txn_settle(output->txn, output->recovery->known.topic, output->recovery->known.partition);
}

static void
after_metadata(Output *output, List *offsets)
{
	Recovery   *recovery = output->recovery;

	recovery->answer = offsets;
	read_metadata(output, offsets, &recovery->metadata);
	KV_FAULT_POINT("recover_metadata_read");
	recovery->step = RECOVERY_DECIDING;
}

/* Decides where to go on, and commits who publishes now. */
static void
decide_and_commit(Output *output)
{
	OutboxMetadata *metadata = &output->recovery->metadata;
	bool		decided;

	/* not from before the question, which takes seconds: kafka.resume() may have come meanwhile, and is taken whole or not at all */
	kv_known_read_note(output, &output->recovery->known, output->recovery->note_context);
	KV_FAULT_POINT("recover_note_read");
	decided = decide(output, &output->recovery->known, metadata);
	kv_recovery_note_lock(output, !decided);
	if (!decided)
		return;
	output->slot->recovered = true;
	if (output->recovery->known.decided)
		kv_known_hold_positions(output, metadata);
	else
	{
		ReaderOfTopics reader = reader_of(output);

		kv_made_again_compare(&reader, &output->recovery->known.positions, output->recovery->answer);
	}
	keep_owner(output, metadata->owner);
	output->recovery->step = RECOVERY_COMMITTING;
	/* the first commit of a new pipeline comes with its first batch */
	if (output->noffsets > 0)
		kv_txn_publish(output->txn, NULL, output->offsets, output->noffsets, kv_metadata_write(output->published, output->frontiers));
}

static void
after_commit(Output *output)
{
	/* not before: who has compared here, and finds metadata of elsewhere, takes them for those of a copy */
	bool		noted = note_compared(output);

	kv_recovery_note_lock(output, !noted);
	if (!noted)
		return;
	if (output->noffsets > 0)
	{
		output->committed_at = kv_steady_now();
		keep_owner(output, NULL);
	}
	KV_FAULT_POINT("recover_owner_committed");
	output->recovery = NULL;
	kv_wake(SLOT_WORKER, MyDatabaseId, output->pipeline);
}

/*
 * Takes over the group's offsets into output->offsets and finds the greatest batch among their metadata. Kafka was asked for all of
 * them, for this database may have lost the positions of partitions and topics that are new.
 */
static void
read_metadata(Output *output, const List *offsets, OutboxMetadata *metadata)
{
	ListCell   *cell;

	output->noffsets = 0;
	output->offsets = palloc(sizeof(KafkaOffset) * Max(list_length(offsets), 1));
	foreach(cell, offsets)
	{
		const KafkaOffset *offset = lfirst(cell);
		OutboxMetadata one = {.found = true};

		if (offset->offset >= 0)
			output->offsets[output->noffsets++] = *offset;
		if (offset->metadata == NULL || !kv_metadata_parse(offset->metadata, &one))
			continue;
		if (!metadata->found || kv_place_is_before(metadata->place, one.place))
			*metadata = one;
	}
}

/* Raises an error if the producer that fenced ours belongs to somebody else. */
static void
check_owner(Output *output, const OutboxMetadata *metadata)
{
	bool		other = metadata->found && strcmp(metadata->owner, kv_metadata_owner()) != 0;

	check_replaced(output, &output->recovery->known, metadata);
	if (other && (output->owner_before == NULL || strcmp(metadata->owner, output->owner_before) != 0))
	{
		output->stopped = true;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("pipeline \"%s\" is published by another server", output->name),
				 errdetail("Its owner in Kafka is %s; this server is %s.", metadata->owner, kv_metadata_owner()),
				 errhint("If both are meant to run, run kafka.fork() in one of the two; otherwise stop the other one, and then here: SELECT kafka.resume('%s').",
						 output->name)));
	}
	output->fenced = false;
}

/* Keeps whom Kafka names while this process is not; NULL: nobody. It outlives the producer. */
static void
keep_owner(Output *output, const char *owner)
{
	if (output->owner_before != NULL)
		pfree(output->owner_before);
	output->owner_before = owner == NULL ? NULL : MemoryContextStrdup(TopMemoryContext, owner);
}

/* Raises an error if a copy of this database has taken its place in Kafka. */
static void
check_replaced(Output *output, const Known *known, const OutboxMetadata *metadata)
{
	if (!metadata->found || !(kv_metadata_is_replaced(metadata) || kv_metadata_is_of_copy(metadata, known->compared)))
		return;
	output->stopped = true;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("pipeline \"%s\" is published by a server that has taken the place of this one", output->name),
			 errdetail("Its owner in Kafka is %s. This database does not have what was published since.", metadata->owner),
			 errhint("Make this server a standby of that one, or run kafka.fork() here, to go on under new names. "
					 "If that one is gone for good, kafka.adopt(take_over => true) goes on in its place.")));
}

/* Sets output->published; raises an error where Kafka and Postgres contradict each other. False: a transaction holds the pipeline's row. */
static bool
decide(Output *output, const Known *known, OutboxMetadata *metadata)
{
	check_replaced(output, known, metadata);
	if (metadata->found && kv_place_is_before(known->note, metadata->place))
		kv_diverged_check(output, metadata, known->note, known->last_batch);
	if (metadata->found && metadata->place.batch > known->last_batch)
	{
		if (metadata->place.part != 0 && !(known->decided && known->note.batch == metadata->place.batch - 1))
		{
			output->stopped = true;
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("pipeline \"%s\" has published a part of a batch that this database has lost", output->name),
					 errdetail("Kafka has batch " INT64_FORMAT " in part, this database has made " INT64_FORMAT
							   ". It was restored from a backup, or failed over to a standby that was behind. The part cannot be told from the rest.",
							   metadata->place.batch, known->last_batch),
					 errhint("SELECT kafka.resume('%s', published => " INT64_FORMAT ") publishes all of the batch, and that part twice. "
							 "Or go back to the server that was ahead.", output->name, metadata->place.batch - 1)));
		}
		if (!note_redo(output, known, metadata))
			return false;
	}
	/* not stopped: it is asked again after the back-off, for a broker may not have had its groups yet */
	if (!metadata->found && known->noted && !known->decided && known->note.batch > 0 && known->unpublished)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("Kafka has forgotten what pipeline \"%s\" has published", output->name),
				 errdetail("This database has noted batch " INT64_FORMAT " and has later ones, which may have been published or not. "
						   "Kafka forgets the offsets of a group after some days without a commit, and those of a deleted topic at once.",
						   known->note.batch),
				 errhint(KV_OLD_ANSWER_HINT "Look which of them are in the sinks, then SELECT kafka.resume('%s', published => N): batches after N are published. N is "
						 INT64_FORMAT " if none of them is there, " INT64_FORMAT " if all are.",
						 output->name, known->note.batch - (known->note.part != 0), known->last_batch)));
	output->noted = known->note;
	output->published = metadata->found && kv_place_is_before(known->note, metadata->place) ? metadata->place : known->note;
	/* metadata without frontiers: there are some, and they are not known */
	if (!metadata->found)
		output->frontiers = pstrdup("{}");
	else
		output->frontiers = metadata->frontiers;
	return true;
}

/*
 * Has the worker apply again, and not publish again, what this database has lost. A batch that was published in part is not among it, for
 * the positions are those before it; its number is not used again. False: a transaction holds the pipeline's row.
 */
static bool
note_redo(Output *output, const Known *known, OutboxMetadata *metadata)
{
	StringInfoData positions;
	bool		whole = metadata->place.part == 0;
	bool		noted_before;
	bool		begins = false;
	bool		noted;

	initStringInfo(&positions);
	for (int i = 0; i < output->noffsets; i++)
		appendStringInfo(&positions, "%s{\"topic\":\"%s\",\"partition\":%d,\"offset\":" INT64_FORMAT "}", positions.len == 0 ? "[" : ",",
						 output->offsets[i].topic, output->offsets[i].partition, output->offsets[i].offset);
	appendStringInfoChar(&positions, ']');
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	noted_before = kv_incomplete_noted(output->pipeline);
	noted = kv_redo_note(output->pipeline, output->producer_token, metadata->place.batch, positions.data, metadata->frontiers);
	if (noted)
	{
		/* the worker may have applied a batch, a session have attached a sink, since it was asked whether the two have parted */
		if (whole && !noted_before)
			kv_diverged_check_positions(output);
		kv_diverged_check_standing(output, metadata, known->note);
		ForceSyncCommit();
		metadata->place.part = 0;
		/* there is no note where the worker has got beyond that number meanwhile */
		begins = !noted_before && kv_incomplete_noted(output->pipeline);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(output->context);
	/* nobody expects it of a server that has only crashed: what went out was flushed before */
	if (begins)
		ereport(LOG,
				(errmsg("pipeline \"%s\" lacks what was published from it, and applies that again without publishing", output->name),
				 errdetail("Kafka has its batches up to " INT64_FORMAT ", this database up to " INT64_FORMAT
						   ". It was behind when it took over from another server, was restored from a backup, or its disk has lost what was flushed.",
						   metadata->place.batch, known->last_batch)));
	pfree(positions.data);
	return noted;
}

/*
 * Notes that here, on this timeline, it is known what Kafka has: views that are not to be done again may be read. False: a transaction holds
 * the pipeline's row.
 */
static bool
note_compared(Output *output)
{
	bool		noted;
	bool		changed;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	noted = kv_pipeline_set_compared(output->pipeline, &changed);
	if (changed)
		kv_incomplete_changed();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(output->context);
	return noted;
}

/* See the header. */
void
kv_recovery_note_lock(Output *output, bool locked)
{
	TimestampTz now = kv_steady_now();

	if (!locked)
	{
		output->locked_at = output->try_at = 0;
		return;
	}
	if (output->locked_at == 0)
		output->locked_at = now;
	output->try_at = TimestampTzPlusMilliseconds(now, Min(Max((now - output->locked_at) / 1000 / 10, ROW_PAUSE_MS), ROW_PAUSE_MAX_MS));
}

/* See the header. */
GroupQuestion *
kv_recovery_ask(const Output *output, MemoryContext context)
{
	MemoryContext save = MemoryContextSwitchTo(context);
	PublishedPositions published;

	kv_made_again_published(output->pipeline, &published);
	MemoryContextSwitchTo(save);
	return kv_group_ask(context, output->serverid, output->owner, output->kafka_name, published.offsets, published.count);
}

/* See the header. */
void
kv_recovery_check_topics(const Output *output, const List *offsets)
{
	ReaderOfTopics reader = reader_of(output);
	PublishedPositions published;

	kv_made_again_published(output->pipeline, &published);
	kv_made_again_compare(&reader, &published, offsets);
}

static ReaderOfTopics
reader_of(const Output *output)
{
	return (ReaderOfTopics) {
		.pipeline = output->pipeline, .name = output->name, .serverid = output->serverid, .owner = output->owner,
		.kafka_name = output->kafka_name
	};
}
