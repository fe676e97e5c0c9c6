/*
 * publish_transactions.c: what ordinary transactions wrote to topics of a server,
 * to Kafka (DESIGN.md 5.3).
 *
 * Transactions commit in another order than they write, so a batch cannot be
 * "all up to a number". Batch n is the rows visible in snapshot n and not in snapshot n-1, in
 * the order of seq. Number and snapshots are one row, kafka_state.transaction_batch, which is committed
 * and flushed before the batch is published, so that after a crash the same batch is made of the same rows.
 *
 * Invariants: rows are deleted only with published = true, and a batch with
 * published = false is out exactly if Kafka's metadata has its number: committed in the same Kafka transaction, for
 * partition 0 of the topic of the batch's first message. Numbers are never used twice, not by a server that this one has
 * replaced either: before a batch is made, predecessors are fenced and the greatest number that Kafka has is read.
 *
 * Kafka forgets what has not been committed for some days. So before a batch goes out its topic has the number of the one
 * before (a claim, once an hour), and only then the batch counts as one that may be out (claimed). Where such a
 * batch is found and Kafka has no number for its topic at all, nobody knows, and a person decides (kafka.resume_transactions).
 *
 * A batch that is larger than a Kafka transaction goes out in parts; the metadata says up to which seq.
 *
 * States: published = true -new snapshot-> published = false -claim-> claimed -Kafka transaction, or found there-> published = true.
 *
 * Messages go out with the user mapping of the server's owner: one transaction's messages may come from many roles.
 */
#include "postgres.h"

#include "pgstat.h"
#include "utils/memutils.h"

#include "drain.h"
#include "fault_point.h"
#include "group_offsets.h"
#include "metadata.h"
#include "publish_transactions.h"
#include "shared.h"
#include "transaction_batch.h"
#include "transaction_rows.h"

/* A claim holds so long in this process: far less than Kafka remembers. */
#define CLAIM_MS (60 * 60 * 1000)

/* Instance, database, server and token, with room to spare; a longer one is only compared as far as that. */
#define MAX_NAME 512

/* A topic whose partition 0 has a number of ours. */
typedef struct Claim
{
	TimestampTz at;
	char		topic[FLEXIBLE_ARRAY_MEMBER];
} Claim;

struct TransactionOutput
{
	Oid			serverid;
	KafkaTxn   *txn;
	bool		checked;		/* with this producer: known is read, and how much of an unfinished batch is out */
	int64		known;			/* greatest batch that Kafka has */
	List	   *claims;			/* Claim *, in context */
	char		kafka_name[MAX_NAME];	/* of the producer */
	char	   *replaced_by;	/* the owner of the server that has taken the place of this one; NULL: none has */
	OutboxMetadata replacing;	/* what it has left in Kafka, but for the pointers */
	bool		more;			/* the last attempt found something to publish */
	MemoryContext context;		/* of the producer */
	MemoryContext batch;		/* of one batch */
	TransactionRows *rows;		/* of one that goes out in parts */
};

static bool begin_batch(TransactionOutput *output, TransactionBatch *current);
static void find_out(TransactionOutput *output, TransactionBatch *current);
static void stop_replaced(const TransactionOutput *output, const TransactionBatch *current) pg_attribute_noreturn();
static void stop_forgotten(const TransactionBatch *current) pg_attribute_noreturn();
static void claim(TransactionOutput *output, TransactionBatch *current);
static bool is_claimed(TransactionOutput *output, const char *topic);
static void note_claim(TransactionOutput *output, const char *topic);
static int64 publish_part(TransactionOutput *output, const TransactionBatch *current, int64 end, MessageSet *messages);


/* Makes it, without a producer. */
TransactionOutput *
kv_transactions_make(MemoryContext context, Oid serverid)
{
	TransactionOutput *output = MemoryContextAllocZero(context, sizeof(TransactionOutput));

	output->serverid = serverid;
	output->context = AllocSetContextCreate(context, "kv transactions", ALLOCSET_DEFAULT_SIZES);
	output->batch = AllocSetContextCreate(context, "kv transactions batch", ALLOCSET_DEFAULT_SIZES);
	output->rows = kv_transaction_rows_make(context);
	return output;
}

/* Publishes one batch, or a part of it, if there is anything. */
void
kv_transactions_publish(void *arg)
{
	TransactionOutput *output = arg;
	TransactionBatch current = {0};
	MessageSet *messages;
	bool		begin;
	int64		end;

	MemoryContextReset(output->batch);
	output->more = kv_transaction_batch_look(&current, output->serverid, output->batch);
	if (!output->more)
		return;
	KV_FAULT_POINT("transactions_read");
	if (strncmp(output->kafka_name, current.kafka_name, MAX_NAME - 1) != 0)
	{
		kv_transactions_failed(output);
		output->replaced_by = NULL;
		strlcpy(output->kafka_name, current.kafka_name, MAX_NAME);
	}
	if (output->replaced_by != NULL && kv_metadata_is_replaced(&output->replacing))
		stop_replaced(output, &current);
	output->replaced_by = NULL;
	if (output->txn == NULL)
	{
		output->txn = kv_txn_open(output->context, output->serverid, current.role, current.kafka_name);
		output->checked = false;
	}
	begin = current.published;	/* nothing is unfinished */
	if (!output->checked)
		find_out(output, &current);
	if (begin && !begin_batch(output, &current))
		return;
	if (!current.published && current.topic != NULL)
	{
		if (!current.claimed)
			claim(output, &current);
		messages = kv_transaction_rows_read(output->rows, output->batch, current.server, current.batch, current.part, &end);
		kv_my_slot->published_messages += publish_part(output, &current, end, messages);
		if (end != 0)
		{
			kv_transaction_batch_note_part(&current, end);
			return;
		}
	}
	KV_FAULT_POINT("transactions_published");
	kv_transaction_batch_finish(&current);
	KV_FAULT_POINT("transactions_noted");
	kv_drain_truncate("transaction_outbox", 0);
}

/* Did the last attempt find something? Then there may be more. */
bool
kv_transactions_more(const TransactionOutput *output)
{
	return output->more;
}

/*
 * After an error. Whether the batch is out may be unknown: the next attempt asks Kafka, with a new producer, so that
 * a transaction that hangs is over when it asks.
 */
void
kv_transactions_failed(TransactionOutput *output)
{
	if (output->txn != NULL)
		(void) kv_txn_abort(output->txn);
	MemoryContextReset(output->context);
	kv_transaction_rows_forget(output->rows);
	output->txn = NULL;
	output->claims = NIL;
}

/* Makes the next batch. False: kafka.fork() has made the rows that wait one meanwhile. */
static bool
begin_batch(TransactionOutput *output, TransactionBatch *current)
{
	if (!kv_transaction_batch_begin(current, output->known))
		return false;
	/* flushed before the batch goes out, as everything is */
	if (current->topic != NULL && is_claimed(output, current->topic))
		kv_transaction_batch_note_claim(current);
	return true;
}

/*
 * Finds out what Kafka has, and how much of an unfinished batch. The producers that could still be writing have been fenced. A
 * greater number than the batch's was given after it was out.
 */
static void
find_out(TransactionOutput *output, TransactionBatch *current)
{
	MemoryContext save = MemoryContextSwitchTo(output->batch);
	OutboxPlace greatest = {0, 0};
	bool		found = false;
	List	   *offsets = kv_group_offsets(output->serverid, current->role, current->kafka_name);
	ListCell   *cell;

	foreach(cell, offsets)
	{
		KafkaOffset *offset = lfirst(cell);
		OutboxMetadata metadata;

		if (offset->metadata == NULL || !kv_metadata_parse(offset->metadata, &metadata))
			continue;
		if (kv_metadata_is_replaced(&metadata))
		{
			output->replaced_by = MemoryContextStrdup(TopMemoryContext, metadata.owner);
			output->replacing = metadata;
			stop_replaced(output, current);
		}
		found = found || (current->topic != NULL && strcmp(offset->topic, current->topic) == 0);
		if (kv_place_is_before(greatest, metadata.place))
			greatest = metadata.place;
	}
	MemoryContextSwitchTo(save);

	if (!current->published && current->topic != NULL)
	{
		if (greatest.batch > current->batch || (greatest.batch == current->batch && greatest.part == 0))
			current->published = true;
		else if (greatest.batch == current->batch)
			current->part = Max(current->part, greatest.part);
		else if (current->claimed && !found)
			stop_forgotten(current);
	}
	output->known = greatest.batch;
	output->checked = true;
}

/* Raises the error of a database whose place has been taken; without asking Kafka again, which would fence whoever has it. */
static void
stop_replaced(const TransactionOutput *output, const TransactionBatch *current)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("messages of ordinary transactions are published to server \"%s\" by a server that has taken the place of this one",
					current->server),
			 errdetail("Their owner in Kafka is %s. This database does not have what was published since.", output->replaced_by),
			 errhint("Make this server a standby of that one, or run kafka.fork() here, to go on under new names. "
					 "If that one is gone for good, kafka.adopt(take_over => true) goes on in its place.")));
}

/* Raises the error of a batch of which nobody knows whether it is out. */
static void
stop_forgotten(const TransactionBatch *current)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("Kafka has forgotten whether messages of ordinary transactions have been published to server \"%s\"", current->server),
			 errdetail("Batch " INT64_FORMAT " was under way, and group \"%s\" has no offset for topic \"%s\" any more, which would tell. "
					   "Kafka forgets the offsets of a group after some days without a commit, and those of a deleted topic at once.",
					   current->batch, current->kafka_name, current->topic),
			 errhint("Look whether the messages are in the topic: SELECT kafka.resume_transactions('%s', published => true) if they are, "
					 "published => false to publish them.", current->server)));
}

/* Gives the batch's topic the number of the one before, so that a batch of which Kafka has nothing is one that Kafka has forgotten. */
static void
claim(TransactionOutput *output, TransactionBatch *current)
{
	OutboxPlace before = {current->batch - 1, 0};
	KafkaOffset offset = {.topic = current->topic};

	kv_txn_begin(output->txn);
	kv_txn_commit(output->txn, &offset, 1, kv_metadata_write(before, "{}"));
	note_claim(output, current->topic);
	KV_FAULT_POINT("transactions_claim_in_kafka");
	/* flushed before the batch goes out, as everything is */
	kv_transaction_batch_note_claim(current);
}

/* Has the topic had a number from this process lately? */
static bool
is_claimed(TransactionOutput *output, const char *topic)
{
	ListCell   *cell;

	foreach(cell, output->claims)
	{
		Claim	   *found = lfirst(cell);

		if (strcmp(found->topic, topic) == 0)
			return GetCurrentTimestamp() < TimestampTzPlusMilliseconds(found->at, CLAIM_MS);
	}
	return false;
}

/* Remembers that a topic has a number as of now. */
static void
note_claim(TransactionOutput *output, const char *topic)
{
	MemoryContext save = MemoryContextSwitchTo(output->context);
	Claim	   *made;
	ListCell   *cell;

	foreach(cell, output->claims)
	{
		Claim	   *found = lfirst(cell);

		if (strcmp(found->topic, topic) != 0)
			continue;
		output->claims = foreach_delete_current(output->claims, cell);
		pfree(found);
	}
	made = palloc(offsetof(Claim, topic) + strlen(topic) + 1);
	made->at = GetCurrentTimestamp();
	strcpy(made->topic, topic);
	output->claims = lappend(output->claims, made);
	MemoryContextSwitchTo(save);
}

/* Publishes messages of the batch with its number and where they end; gives back how many. */
static int64
publish_part(TransactionOutput *output, const TransactionBatch *current, int64 end, MessageSet *messages)
{
	OutboxPlace place = {current->batch, end};
	KafkaOffset offset = {.topic = current->topic};
	int64		produced;

	pgstat_report_activity(STATE_RUNNING, "publishing");
	kv_drain_flush();
	KV_FAULT_POINT("transactions_flushed");
	kv_txn_begin(output->txn);
	produced = kv_messages_produce(messages, output->txn);
	kv_txn_commit(output->txn, &offset, 1, kv_metadata_write(place, "{}"));
	note_claim(output, current->topic);
	pgstat_report_activity(STATE_IDLE, NULL);
	return produced;
}
