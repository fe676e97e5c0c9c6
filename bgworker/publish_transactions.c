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
 * published = false is out exactly if Kafka's metadata has its number and its owner, the process that publishes it: committed in the same Kafka
 * transaction, for partition 0 of the topic of the batch's first message. A greater number of the same owner says it too, for a process has one batch
 * after the other. A number alone says nothing: a copy of this database, or a server that has taken its place, gives the same numbers
 * to other rows. So a batch that is not out is noted as this process' own before it publishes it, and gets a greater number where
 * others have used the one that it had; what a server that is gone has published of it, and others have written over, goes out again.
 * No process gives a number that Kafka has: before a batch is made, predecessors are fenced and the greatest one is read.
 *
 * Whoever is fenced and finds greater numbers of another server, which has not been adopted less often, has a rival, and stops before it publishes
 * anything; so does one that finds them of a copy that has been started beside it (kv_metadata_is_of_copy). A transaction
 * that has timed out leaves no greater numbers.
 *
 * Kafka forgets what has not been committed for some days. So before a batch goes out its topic has the number of the one
 * before (a claim, once an hour), and only then the batch counts as one that may be out (claimed). Where such a
 * batch is found and Kafka has no number for its topic at all, nobody knows, and a person decides (kafka.resume_transactions): but not where this
 * process alone has tried it and has never come to a commit, as when its topic is deleted.
 *
 * A batch that is larger than a Kafka transaction goes out in parts; the metadata says up to which seq.
 *
 * States of a batch: published = true -new snapshot-> published = false -claim-> claimed -Kafka transaction, or found there-> published = true.
 *
 * Its output: AT_REST -rows wait-> (OPENING -> FINDING the group -> SETTLING -> ASKING what Kafka has) -> (CLAIMING) -> PUBLISHING -> AT_REST; an error -> ABORTING -> AT_REST without
 * a producer. Kafka is waited for between two calls of kv_transactions_advance, with no transaction of Postgres open.
 *
 * Messages go out with the user mapping of the server's owner: one transaction's messages may come from many roles.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "drain.h"
#include "fault_point.h"
#include "metadata.h"
#include "processes.h"
#include "publish_transactions.h"
#include "steady_clock.h"

/* A claim holds so long in this process: far less than Kafka remembers. */
#define CLAIM_MS (60 * 60 * 1000)

/* After so long the publisher's status says that Kafka is waited for. */
#define SLOW_MS 5000

/* A topic whose partition 0 has a number of ours. */
typedef struct Claim
{
	TimestampTz at;
	char		topic[FLEXIBLE_ARRAY_MEMBER];
} Claim;

static void look(TransactionOutput *output);
static void find_group(TransactionOutput *output);
static void settle(TransactionOutput *output);
static void ask(TransactionOutput *output);
static void go_on(TransactionOutput *output);
static bool begin_batch(TransactionOutput *output);
static bool find_out(TransactionOutput *output, const List *offsets);
static bool may_be_out(const TransactionOutput *output);
static bool take_batch(TransactionOutput *output, int64 others);
static bool is_rival(const TransactionOutput *output, const OutboxMetadata *metadata);
static bool is_replaced(const TransactionOutput *output);
static void set_replaced(TransactionOutput *output, const OutboxMetadata *by);
static void stop_replaced(const TransactionOutput *output) pg_attribute_noreturn();
static void stop_forgotten(const TransactionBatch *current) pg_attribute_noreturn();
static void claim(TransactionOutput *output);
static void after_claiming(TransactionOutput *output);
static bool is_claimed(TransactionOutput *output, const char *topic);
static void note_claim(TransactionOutput *output, const char *topic);
static void publish_part(TransactionOutput *output);
static void after_publishing(TransactionOutput *output);
static void note(TransactionOutput *output, OutboxPlace place);
static void note_owed(TransactionOutput *output);
static void finish(TransactionOutput *output);
static void close_producer(TransactionOutput *output);


/* See the header. */
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

/* See the header. */
bool
kv_transactions_are_busy(const TransactionOutput *output)
{
	switch (output->state)
	{
		case TRANSACTIONS_AT_REST:
			return false;
		case TRANSACTIONS_FINDING:
		case TRANSACTIONS_ASKING:
			return kv_group_is_busy(output->question);
		default:
			return kv_txn_is_busy(output->txn);
	}
}

/* See the header. */
void
kv_transactions_advance(void *arg)
{
	TransactionOutput *output = arg;
	MemoryContext save = MemoryContextSwitchTo(output->batch);
	List	   *offsets;

	switch (output->state)
	{
		case TRANSACTIONS_AT_REST:
			look(output);
			break;
		case TRANSACTIONS_OPENING:
			if (kv_txn_advance(output->txn))
				find_group(output);
			break;
		case TRANSACTIONS_FINDING:
			if (kv_group_answered(output->question, &offsets))
				settle(output);
			break;
		case TRANSACTIONS_SETTLING:
			if (kv_txn_advance(output->txn))
				ask(output);
			break;
		case TRANSACTIONS_ASKING:
			if (kv_group_answered(output->question, &offsets))
			{
				output->question = NULL;
				output->state = TRANSACTIONS_AT_REST;
				if (find_out(output, offsets))
					go_on(output);
			}
			break;
		case TRANSACTIONS_CLAIMING:
			if (kv_txn_advance(output->txn))
				after_claiming(output);
			break;
		case TRANSACTIONS_PUBLISHING:
			if (kv_txn_advance(output->txn))
				after_publishing(output);
			break;
		case TRANSACTIONS_ABORTING:
			break;
	}
	MemoryContextSwitchTo(save);
}

/* Looks for something to publish, and begins with it; it may have to open a producer first. */
static void
look(TransactionOutput *output)
{
	TransactionBatch *current = &output->current;

	MemoryContextReset(output->batch);
	output->due = kv_transaction_batch_look(current, output->serverid, output->topic, output->topic_of, output->batch);
	if (!current->locked)
		output->locked_at = 0;
	else if (output->locked_at == 0)
		output->locked_at = kv_steady_now();
	if (!output->due)
	{
		/* it may have been locked when the last batch was out */
		if (current->server != NULL)
			kv_drain_truncate(0, 0);
		return;
	}
	KV_FAULT_POINT("transactions_read");
	if (output->owed.batch != 0)
	{
		note_owed(output);
		return;
	}
	if (strncmp(output->kafka_name, current->kafka_name, MAX_NAME - 1) != 0)
	{
		close_producer(output);
		set_replaced(output, NULL);
		output->adoptions = -1;
		strlcpy(output->kafka_name, current->kafka_name, MAX_NAME);
	}
	/* kafka.adopt(take_over => true): whoever has fenced this server is gone for good */
	if (output->adoptions != kv_metadata_adoptions())
		output->asked = output->fenced = output->beside = false;
	output->adoptions = kv_metadata_adoptions();
	if (is_replaced(output))
		stop_replaced(output);
	set_replaced(output, NULL);
	output->begin = current->published; /* nothing is unfinished */
	if (output->txn == NULL)
	{
		output->txn = kv_txn_open(output->context, output->serverid, current->role, current->kafka_name);
		output->state = TRANSACTIONS_OPENING;
	}
	else
		go_on(output);
}

/* Asks for the group, which waits for its coordinator. */
static void
find_group(TransactionOutput *output)
{
	const TransactionBatch *current = &output->current;

	output->question = kv_group_ask(output->batch, output->serverid, current->role, current->kafka_name, NULL, 0);
	output->state = TRANSACTIONS_FINDING;
}

/* Has Kafka answer nothing from some time ago; where there is no topic, there is no message either. */
static void
settle(TransactionOutput *output)
{
	char	   *topic = kv_transaction_batch_topic(&output->current);

	output->question = NULL;
	if (topic == NULL)
	{
		ask(output);
		return;
	}
	kv_txn_settle(output->txn, topic, 0);
	output->state = TRANSACTIONS_SETTLING;
}

/* Asks what Kafka has, now that nobody else can write there any more. */
static void
ask(TransactionOutput *output)
{
	const TransactionBatch *current = &output->current;
	KafkaOffset *claimed = MemoryContextAllocZero(output->batch, sizeof(KafkaOffset));

	/* what was claimed stands at the topic's partition 0 */
	claimed->topic = current->topic;
	output->question = kv_group_ask(output->batch, output->serverid, current->role, current->kafka_name, claimed,
									!current->published && current->claimed && current->topic != NULL ? 1 : 0);
	output->state = TRANSACTIONS_ASKING;
}

/* Publishes the batch that is unfinished or the next one, or notes that it is out. */
static void
go_on(TransactionOutput *output)
{
	const TransactionBatch *current = &output->current;

	output->state = TRANSACTIONS_AT_REST;
	if (output->begin && !begin_batch(output))
		return;
	if (current->published || current->topic == NULL)
		finish(output);
	else if (current->claimed)
		publish_part(output);
	else
		claim(output);
}

/* Makes the next batch. False: kafka.fork() has given another name meanwhile. */
static bool
begin_batch(TransactionOutput *output)
{
	TransactionBatch *current = &output->current;

	if (!kv_transaction_batch_begin(current, output->known))
		return false;
	/* flushed before the batch goes out, as everything is */
	if (current->topic != NULL && is_claimed(output, current->topic))
		kv_transaction_batch_note_claim(current);
	return true;
}

/*
 * Finds out what Kafka has, and how much of an unfinished batch. The producers that could still be writing have been fenced. False: a session has
 * decided about the batch meanwhile.
 */
static bool
find_out(TransactionOutput *output, const List *offsets)
{
	TransactionBatch *current = &output->current;
	OutboxPlace own = {0, 0};
	int64		others = 0;
	bool		found = false;
	ListCell   *cell;

	foreach(cell, offsets)
	{
		KafkaOffset *offset = lfirst(cell);
		OutboxMetadata metadata;

		if (offset->metadata == NULL || !kv_metadata_parse(offset->metadata, &metadata))
			continue;
		if (is_rival(output, &metadata))
		{
			set_replaced(output, &metadata);
			stop_replaced(output);
		}
		found = found || (current->topic != NULL && strcmp(offset->topic, current->topic) == 0);
		if (metadata.claim || strcmp(metadata.owner, current->owner) != 0)
			others = Max(others, metadata.place.batch);
		else if (kv_place_is_before(own, metadata.place))
			own = metadata.place;
	}
	kv_my_slot->undecided = 0;
	output->known = Max(own.batch, others);
	output->asked = true;
	output->fenced = false;

	if (current->published || current->topic == NULL)
		return true;
	if (own.batch > current->batch || (own.batch == current->batch && own.part == 0))
	{
		current->published = true;
		return true;
	}
	if (current->claimed && !found)
	{
		if (may_be_out(output))
			stop_forgotten(current);
		current->claimed = false;	/* its topic was deleted, and gets a number again */
	}
	if (own.batch == current->batch)
		current->part = Max(current->part, own.part);
	return take_batch(output, others);
}

/* May the batch be out, whatever Kafka has of it? Not where this process alone has tried, and has never come to a commit. */
static bool
may_be_out(const TransactionOutput *output)
{
	return strcmp(output->current.owner, kv_metadata_owner()) != 0 || output->committed == output->current.batch;
}

/* Makes an unfinished batch, which is not out, one of this process; others: the greatest number that Kafka has for other batches. */
static bool
take_batch(TransactionOutput *output, int64 others)
{
	TransactionBatch *current = &output->current;
	int64		number = others >= current->batch ? others + 1 : current->batch;

	if (number == current->batch && strcmp(current->owner, kv_metadata_owner()) == 0)
		return true;
	return kv_transaction_batch_take(current, number);
}

/* Is it from a server that publishes in the place of this one, so that this one must not? See the head of the file. */
static bool
is_rival(const TransactionOutput *output, const OutboxMetadata *metadata)
{
	const TransactionBatch *current = &output->current;

	if (kv_metadata_is_replaced(metadata))
		return true;
	if (kv_metadata_is_surpassed(metadata) || strcmp(metadata->owner, kv_metadata_owner()) == 0)
		return false;
	if (output->fenced && output->asked && metadata->place.batch > output->known)
		return true;
	/* what this server has published before lies behind its last batch, or is this batch */
	return metadata->place.batch >= current->batch && strcmp(metadata->owner, current->owner) != 0 &&
		kv_metadata_is_of_copy(metadata, current->made_in);
}

/* Has another server, as far as this process knows, still the place of this one? kafka.adopt(take_over => true) gives it back. */
static bool
is_replaced(const TransactionOutput *output)
{
	if (output->replaced_by == NULL)
		return false;
	return kv_metadata_is_replaced(&output->replacing) || output->beside;
}

/* Keeps who has taken the place of this server; NULL: nobody has. */
static void
set_replaced(TransactionOutput *output, const OutboxMetadata *by)
{
	if (output->replaced_by != NULL)
		pfree(output->replaced_by);
	output->replaced_by = NULL;
	if (by == NULL)
		return;
	output->replaced_by = MemoryContextStrdup(TopMemoryContext, by->owner);
	output->replacing = *by;
	output->beside = !kv_metadata_is_replaced(by);
}

/* Raises the error of a database whose place has been taken; without asking Kafka again, which would fence whoever has it. */
static void
stop_replaced(const TransactionOutput *output)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("messages of ordinary transactions are published to server \"%s\" by a server that has taken the place of this one",
					output->current.server),
			 errdetail("Their owner in Kafka is %s. This database does not have what was published since.", output->replaced_by),
			 errhint("Make this server a standby of that one, or run kafka.fork() here, to go on under new names. "
					 "If that one is gone for good, kafka.adopt(take_over => true) goes on in its place.")));
}

/* Raises the error of a batch of which nobody knows whether it is out, and lets a person decide. */
static void
stop_forgotten(const TransactionBatch *current)
{
	kv_my_slot->undecided = current->batch;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("Kafka has forgotten whether messages of ordinary transactions have been published to server \"%s\"", current->server),
			 errdetail("Batch " INT64_FORMAT " was under way, and group \"%s\" has no offset for topic \"%s\" any more, which would tell. "
					   "Kafka forgets the offsets of a group after some days without a commit, and those of a deleted topic at once.",
					   current->batch, current->kafka_name, current->topic),
			 errhint(KV_OLD_ANSWER_HINT "Look whether the messages are in the topic: SELECT kafka.resume_transactions('%s', published => true) if they are, "
					 "published => false to publish them.", current->server)));
}

/* Gives the batch's topic the number of the one before, so that a batch of which Kafka has nothing is one that Kafka has forgotten. */
static void
claim(TransactionOutput *output)
{
	KafkaOffset offset = {.topic = output->current.topic};

	kv_txn_publish(output->txn, NULL, &offset, 1, kv_metadata_write_claim(output->current.batch - 1));
	output->state = TRANSACTIONS_CLAIMING;
}

static void
after_claiming(TransactionOutput *output)
{
	note_claim(output, output->current.topic);
	KV_FAULT_POINT("transactions_claim_in_kafka");
	/* flushed before the batch goes out, as everything is */
	kv_transaction_batch_note_claim(&output->current);
	publish_part(output);
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
			return kv_steady_now() < TimestampTzPlusMilliseconds(found->at, CLAIM_MS);
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
	made->at = kv_steady_now();
	strcpy(made->topic, topic);
	output->claims = lappend(output->claims, made);
	MemoryContextSwitchTo(save);
}

/* Begins to publish messages of the batch, with its number and where they end. */
static void
publish_part(TransactionOutput *output)
{
	const TransactionBatch *current = &output->current;
	OutboxPlace place = {current->batch, 0};
	KafkaOffset offset = {.topic = current->topic};
	MessageSet *messages;

	Assert(strcmp(current->owner, kv_metadata_owner()) == 0);
	messages = kv_transaction_rows_read(output->rows, output->batch, current->server, current->batch, current->part, &output->end);

	place.part = output->end;
	kv_drain_flush();
	KV_FAULT_POINT("transactions_flushed");
	kv_txn_publish(output->txn, messages, &offset, 1, kv_metadata_write(place, "{}"));
	output->state = TRANSACTIONS_PUBLISHING;
}

/* Notes that a part of the batch is out, or all of it. */
static void
after_publishing(TransactionOutput *output)
{
	output->state = TRANSACTIONS_AT_REST;
	output->committed = output->current.batch;
	kv_my_slot->published_messages += kv_txn_produced(output->txn);
	note_claim(output, output->current.topic);
	if (output->end == 0)
	{
		finish(output);
		return;
	}
	output->topic_of = output->current.batch;
	strlcpy(output->topic, output->current.topic, MAX_TOPIC);
	note(output, (OutboxPlace) {output->current.batch, output->end});
}

/*
 * Notes that the batch is out, all of it or a part. Where a session has locked it that is owed. Under the name by which it went out Kafka says the
 * same, if the note is lost; not so under another one.
 */
static void
note(TransactionOutput *output, OutboxPlace place)
{
	bool		renamed;

	output->owed = place;
	if (place.part == 0)
		renamed = kv_transaction_batch_finish(&output->current);
	else
		renamed = kv_transaction_batch_note_part(&output->current, place.part);
	if (renamed)
		kv_drain_flush();
	output->owed = (OutboxPlace) {0, 0};
}

/* Notes what the last attempt could not, if the batch is still the one that it had, whatever its name is now. */
static void
note_owed(TransactionOutput *output)
{
	OutboxPlace owed = output->owed;

	output->owed = (OutboxPlace) {0, 0};
	if (output->current.published || output->current.batch != owed.batch)
		return;
	note(output, owed);
	kv_drain_flush();
}

/* Notes that the batch is out. */
static void
finish(TransactionOutput *output)
{
	KV_FAULT_POINT("transactions_published");
	note(output, (OutboxPlace) {output->current.batch, 0});
	KV_FAULT_POINT("transactions_noted");
	kv_drain_truncate(0, 0);
}

/* See the header. */
void
kv_transactions_tell(TransactionOutput *output)
{
	char	   *detail;
	char	   *message = NULL;

	if (output->locked_at != 0)
	{
		if (kv_steady_now() >= TimestampTzPlusMilliseconds(output->locked_at, SLOW_MS))
			kv_process_waits(kv_my_slot, "messages of ordinary transactions have been locked by a session",
							 "It renames or drops the server, or rewrites the tables that they are in, and has not committed.",
							 "Publishing goes on by itself when it ends.");
		return;
	}
	if (output->state == TRANSACTIONS_CLAIMING || output->state == TRANSACTIONS_PUBLISHING)
		message = kv_txn_waits_for(output->txn, SLOW_MS, &detail);
	else if ((output->state == TRANSACTIONS_OPENING || output->state == TRANSACTIONS_SETTLING) && !output->failed)
		message = kv_txn_waits_for(output->txn, SLOW_MS, &detail);
	else if ((output->state == TRANSACTIONS_FINDING || output->state == TRANSACTIONS_ASKING) && !output->failed)
		message = kv_group_waits_for(output->question, SLOW_MS, &detail);
	if (message != NULL)
		kv_process_waits(kv_my_slot, message, detail, "Check that all brokers run. Publishing goes on by itself.");
}

/*
 * See the header. Whether the batch is out may be unknown: the next attempt asks Kafka, with a new producer, so that
 * a transaction that hangs is over when it asks.
 */
void
kv_transactions_give_up(TransactionOutput *output)
{
	output->question = NULL;
	if (output->txn == NULL)
	{
		close_producer(output);
		return;
	}
	output->fenced = output->fenced || kv_txn_is_fenced(output->txn);
	if (output->state == TRANSACTIONS_PUBLISHING && kv_txn_may_be_out(output->txn))
		output->committed = output->current.batch;
	kv_txn_abort(output->txn);
	output->state = TRANSACTIONS_ABORTING;
}

/* See the header. */
bool
kv_transactions_have_given_up(TransactionOutput *output)
{
	Assert(output->state == TRANSACTIONS_ABORTING);
	if (!kv_txn_advance(output->txn))
		return false;
	close_producer(output);
	return true;
}

/* Closes the producer; the next look opens another. */
static void
close_producer(TransactionOutput *output)
{
	MemoryContextReset(output->context);
	kv_transaction_rows_forget(output->rows);
	output->topic_of = 0;
	output->txn = NULL;
	output->claims = NIL;
	output->abandoned = false;
	output->state = TRANSACTIONS_AT_REST;
}
