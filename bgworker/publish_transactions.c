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

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "drain.h"
#include "fault_point.h"
#include "group_offsets.h"
#include "message_set.h"
#include "publish_transactions.h"
#include "recovery.h"
#include "run_sql.h"

/* Rows of the outbox that are read at a time, some 8 kB each. */
#define READ_ROWS 1000

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
	char	   *replaced_by;	/* the owner of the server that has taken the place of this one, until the name changes; NULL: none has */
	bool		more;			/* the last attempt found something to publish */
	MemoryContext context;		/* of the producer */
	MemoryContext batch;		/* of one batch */
};

/* kafka_state.transaction_batch, and what the producer is called. */
typedef struct TransactionBatch
{
	int64		batch;
	bool		published;
	bool		claimed;
	int64		part;			/* not published yet, but for rows up to this seq */
	char	   *topic;			/* of its first message, which holds its number in Kafka; NULL: the batch is empty */
	char	   *token;			/* in kafka_name; another one: kafka.fork() came in between */
	char	   *kafka_name;
	char	   *server;
	Oid			role;
} TransactionBatch;

static bool look(TransactionOutput *output, TransactionBatch *current);
static bool read_batch_row(TransactionOutput *output, TransactionBatch *current);
static bool has_rows(const TransactionBatch *current);
static void insert_batch_row(const TransactionBatch *current);
static bool begin_batch(TransactionOutput *output, TransactionBatch *current);
static void read_first_topic(TransactionOutput *output, TransactionBatch *current);
static void note_topic(const OutboxMessage *message, void *arg);
static MessageSet *read_part(TransactionOutput *output, const TransactionBatch *current, int64 *end);
static void find_out(TransactionOutput *output, TransactionBatch *current);
static void stop_replaced(const TransactionOutput *output, const TransactionBatch *current) pg_attribute_noreturn();
static void stop_forgotten(const TransactionBatch *current) pg_attribute_noreturn();
static void claim(TransactionOutput *output, TransactionBatch *current);
static bool is_claimed(TransactionOutput *output, const char *topic);
static void note_claim(TransactionOutput *output, const char *topic);
static int64 publish_part(TransactionOutput *output, const TransactionBatch *current, int64 end, MessageSet *messages);
static void update_batch(const TransactionBatch *current, const char *change, int64 value);
static void finish_batch(const TransactionBatch *current);


/* Makes it, without a producer. */
TransactionOutput *
kv_transactions_make(MemoryContext context, Oid serverid)
{
	TransactionOutput *output = MemoryContextAllocZero(context, sizeof(TransactionOutput));

	output->serverid = serverid;
	output->context = AllocSetContextCreate(context, "kv transactions", ALLOCSET_DEFAULT_SIZES);
	output->batch = AllocSetContextCreate(context, "kv transactions batch", ALLOCSET_DEFAULT_SIZES);
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
	output->more = look(output, &current);
	if (!output->more)
		return;
	KV_FAULT_POINT("transactions_read");
	if (strncmp(output->kafka_name, current.kafka_name, MAX_NAME - 1) != 0)
	{
		kv_transactions_failed(output);
		output->replaced_by = NULL;
		strlcpy(output->kafka_name, current.kafka_name, MAX_NAME);
	}
	if (output->replaced_by != NULL)
		stop_replaced(output, &current);
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
		messages = read_part(output, &current, &end);
		kv_my_slot->published_messages += publish_part(output, &current, end, messages);
		if (end != 0)
		{
			update_batch(&current, "part = $2", end);
			return;
		}
	}
	KV_FAULT_POINT("transactions_published");
	finish_batch(&current);
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
	output->txn = NULL;
	output->claims = NIL;
}

/* Reads the last batch and, where it is unfinished, its topic. False: there is nothing to publish. */
static bool
look(TransactionOutput *output, TransactionBatch *current)
{
	MemoryContext save = MemoryContextSwitchTo(output->batch);
	bool		found = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(output->batch);
	if (kv_catalog_installed())
	{
		bool		exists = read_batch_row(output, current);

		kv_recovery_note_era();
		found = (exists && !current->published) || has_rows(current);
		if (found && !exists)
		{
			insert_batch_row(current);
			UpdateActiveSnapshotCommandId();
			(void) read_batch_row(output, current);
		}
		if (found && !current->published)
			read_first_topic(output, current);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return found;
}

/* Reads the batch's row and makes the names; the strings live in output->batch. False: there is none yet. */
static bool
read_batch_row(TransactionOutput *output, TransactionBatch *current)
{
	ForeignServer *server = GetForeignServer(output->serverid);
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(server->servername);
	char	   *prefix = kv_identity_prefix();
	bool		exists;
	KvSql		sql;

	current->server = server->servername;
	current->role = server->owner;
	kv_sql_enter_engine(&sql);
	exists = kv_sql_read("SELECT batch, published, token, part, claimed FROM kafka_state.transaction_batch WHERE server = $1",
						 1, types, &value, NULL, 1) > 0;
	if (exists)
	{
		bool		isnull;

		current->batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
		current->published = DatumGetBool(kv_sql_value(0, 2, &isnull));
		current->part = DatumGetInt64(kv_sql_value(0, 4, &isnull));
		current->claimed = DatumGetBool(kv_sql_value(0, 5, &isnull));
		current->token = MemoryContextStrdup(output->batch, kv_sql_text(0, 3));
		current->kafka_name = psprintf("%s.tx.%s.%s", prefix, current->server, current->token);
		current->kafka_name = MemoryContextStrdup(output->batch, current->kafka_name);
	}
	kv_sql_leave(&sql);
	return exists;
}

/* Is there anything to publish? All rows that stand are unpublished while the last batch is published. */
static bool
has_rows(const TransactionBatch *current)
{
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(current->server);
	bool		found;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	found = kv_sql_read("SELECT FROM kafka_state.transaction_outbox WHERE server = $1 LIMIT 1", 1, types, &value, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return found;
}

/* Gives the server its name in Kafka, before anything of it goes there. */
static void
insert_batch_row(const TransactionBatch *current)
{
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(current->server);
	KvSql		sql;

	kv_identity_ensure();
	kv_sql_enter_engine(&sql);
	kv_sql_run("INSERT INTO kafka_state.transaction_batch (server, token, batch, published)"
			   " VALUES ($1, pg_catalog.substr(pg_catalog.md5(pg_catalog.gen_random_uuid()::text), 1, 8), 0, true)",
			   1, types, &value, NULL);
	kv_sql_leave(&sql);
}

/*
 * Makes the next batch of what is visible now: its rows are those of the statement's own snapshot. Flushed, and with it
 * the transactions it shows, whatever synchronous_commit says. False: kafka.fork() has made the rows that wait a batch meanwhile.
 */
static bool
begin_batch(TransactionOutput *output, TransactionBatch *current)
{
	static const char text[] =
		"UPDATE kafka_state.transaction_batch SET batch = greatest(batch, $2) + 1, previous = snapshot, snapshot = pg_catalog.pg_current_snapshot(),"
		" published = false, claimed = false, part = 0 WHERE server = $1 AND published RETURNING batch";
	const Oid	types[] = {TEXTOID, INT8OID};
	Datum		values[2];
	MemoryContext save = CurrentMemoryContext;
	bool		isnull;
	bool		begun;
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(current->server);
	values[1] = Int64GetDatum(output->known);
	kv_sql_enter_engine(&sql);
	begun = kv_sql_run(text, 2, types, values, NULL) == 1;
	if (begun)
		current->batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	kv_sql_leave(&sql);
	if (begun)
	{
		current->published = current->claimed = false;
		current->part = 0;
		UpdateActiveSnapshotCommandId();
		read_first_topic(output, current);
	}
	ForceSyncCommit();
	KV_FAULT_POINT("transactions_numbered");
	PopActiveSnapshot();
	CommitTransactionCommand();
	KV_FAULT_POINT("transactions_begun");
	MemoryContextSwitchTo(save);
	if (!begun)
		return false;
	/* flushed before the batch goes out, as everything is */
	if (current->topic != NULL && is_claimed(output, current->topic))
	{
		update_batch(current, "claimed = $2 <> 0", 1);
		current->claimed = true;
	}
	return true;
}

/* Rows of the current batch of server $1 behind seq $2, in order. */
#define BATCH_ROWS \
	" FROM kafka_state.transaction_outbox o, kafka_state.transaction_batch b" \
	" WHERE b.server = $1 AND o.server = $1 AND o.seq > $2 AND " KV_IN_BATCH " ORDER BY o.seq"

/* Finds the topic of the first message of the batch. */
static void
read_first_topic(TransactionOutput *output, TransactionBatch *current)
{
	const Oid	types[] = {TEXTOID, INT8OID};
	Datum		values[2] = {CStringGetTextDatum(current->server), Int64GetDatum(0)};
	char	   *topic = NULL;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	if (kv_sql_read("SELECT o.messages" BATCH_ROWS " LIMIT 1", 2, types, values, NULL, 1) > 0)
	{
		bool		isnull;
		bytea	   *row = DatumGetByteaPCopy(kv_sql_value(0, 1, &isnull));

		kv_packed_row_read(VARDATA(row), VARSIZE(row) - VARHDRSZ, note_topic, &topic);
		topic = MemoryContextStrdup(output->batch, topic);
	}
	kv_sql_leave(&sql);
	current->topic = topic;
}

static void
note_topic(const OutboxMessage *message, void *arg)
{
	char	  **topic = arg;

	if (*topic == NULL)
		*topic = pstrdup(message->topic);
}

/* Reads the messages of the batch that are not out, until a Kafka transaction is full; *end: seq of its last row, 0: the batch ends there. */
static MessageSet *
read_part(TransactionOutput *output, const TransactionBatch *current, int64 *end)
{
	const Oid	types[] = {TEXTOID, INT8OID};
	Datum		values[2];
	MessageSet *messages = kv_messages_make(output->batch);
	MemoryContext save = CurrentMemoryContext;
	int64		last = current->part;
	uint64		count;
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(current->server);
	kv_sql_enter_engine(&sql);
	*end = 0;
	do
	{
		values[1] = Int64GetDatum(last);
		count = kv_sql_read("SELECT o.messages, o.seq" BATCH_ROWS, 2, types, values, NULL, READ_ROWS);
		for (uint64 i = 0; i < count && *end == 0; i++)
		{
			bool		isnull;

			if (messages->bytes >= (Size) kv_transaction_size_kb * 1024)
				*end = last;
			else
			{
				kv_messages_add(messages, kv_sql_value(i, 1, &isnull));
				last = DatumGetInt64(kv_sql_value(i, 2, &isnull));
			}
		}
		CHECK_FOR_INTERRUPTS();
	} while (count == READ_ROWS && *end == 0);
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return messages;
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

		if (offset->metadata == NULL || !kv_recovery_parse(offset->metadata, &metadata))
			continue;
		if (kv_recovery_is_replaced(&metadata))
		{
			output->replaced_by = MemoryContextStrdup(TopMemoryContext, metadata.owner);
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
			 errhint("Make this server a standby of that one, or run kafka.fork() here, to go on under new names.")));
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
	kv_txn_commit(output->txn, &offset, 1, kv_recovery_metadata(before, "{}"));
	note_claim(output, current->topic);
	KV_FAULT_POINT("transactions_claim_in_kafka");
	/* flushed before the batch goes out, as everything is */
	update_batch(current, "claimed = $2 <> 0", 1);
	current->claimed = true;
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
	kv_txn_commit(output->txn, &offset, 1, kv_recovery_metadata(place, "{}"));
	note_claim(output, current->topic);
	pgstat_report_activity(STATE_IDLE, NULL);
	return produced;
}

/* Changes a column of the batch's row to $2, unless the batch is another's in Kafka by now. */
static void
update_batch(const TransactionBatch *current, const char *change, int64 value)
{
	const Oid	types[] = {TEXTOID, INT8OID, TEXTOID};
	MemoryContext save = CurrentMemoryContext;
	Datum		values[3];
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(current->server);
	values[1] = Int64GetDatum(value);
	values[2] = CStringGetTextDatum(current->token);
	kv_sql_enter_engine(&sql);
	kv_sql_run(psprintf("UPDATE kafka_state.transaction_batch SET %s WHERE server = $1 AND token = $3", change), 3, types, values, NULL);
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}

/* Notes that the batch is out and deletes its rows, and no others; after kafka.fork() it is not out, under its new name. */
static void
finish_batch(const TransactionBatch *current)
{
	const Oid	types[] = {TEXTOID, TEXTOID};
	MemoryContext save = CurrentMemoryContext;
	Datum		values[2];
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(current->server);
	values[1] = CStringGetTextDatum(current->token);
	kv_sql_enter_engine(&sql);
	if (kv_sql_run("UPDATE kafka_state.transaction_batch SET published = true WHERE server = $1 AND token = $2", 2, types, values, NULL) > 0)
		kv_sql_run("DELETE FROM kafka_state.transaction_outbox o USING kafka_state.transaction_batch b"
				   " WHERE b.server = $1 AND o.server = $1 AND " KV_IN_BATCH, 1, types, values, NULL);
	KV_FAULT_POINT("transactions_rows_deleted");
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}
