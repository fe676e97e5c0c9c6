/*
 * publish_transactions.c: what ordinary transactions wrote to topics of a server,
 * to Kafka (DESIGN.md 5.3).
 *
 * Transactions commit in another order than they write, so a batch cannot be
 * "all up to a number". Batch n is the rows visible in snapshot n and not in snapshot n-1, in
 * the order of seq. Number and snapshots are one row, kafka_state.transaction_batch, which is committed
 * and flushed before the batch is published, so that after a crash the same batch is made of the same rows.
 *
 * Invariant: rows are deleted only with published = true, and a batch with
 * published = false is out exactly if Kafka's metadata has its number: committed in the same Kafka transaction, for
 * partition 0 of the topic of the batch's first message, which is how recovery finds it again.
 *
 * A batch that is larger than a Kafka transaction goes out in parts; the metadata says up to which seq.
 *
 * States: published = true -new snapshot-> published = false -Kafka transaction, or found there-> published = true.
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
#include "message_set.h"
#include "publisher.h"
#include "run_sql.h"

/* Rows of the outbox that are read at a time, some 8 kB each. */
#define READ_ROWS 1000

struct TransactionOutput
{
	Oid			serverid;
	KafkaTxn   *txn;
	bool		checked;		/* how much of an unfinished batch is out has been found out with this producer */
	bool		more;			/* the last attempt found something to publish */
	MemoryContext context;		/* of the producer */
	MemoryContext batch;		/* of one batch */
};

/* kafka_state.transaction_batch, and what the producer is called. */
typedef struct TransactionBatch
{
	bool		exists;
	int64		batch;
	bool		published;
	int64		part;			/* not published yet, but for rows up to this seq */
	char	   *kafka_name;
	char	   *server;
	Oid			role;
} TransactionBatch;

static bool next_batch(TransactionOutput *output, TransactionBatch *current);
static void read_batch_row(TransactionOutput *output, TransactionBatch *current);
static bool has_rows(const TransactionBatch *current);
static void begin_batch(TransactionBatch *current);
static char *read_first_topic(TransactionOutput *output, const TransactionBatch *current);
static void note_topic(const OutboxMessage *message, void *arg);
static MessageSet *read_part(TransactionOutput *output, const TransactionBatch *current, int64 *end);
static void find_out(TransactionOutput *output, TransactionBatch *current, const char *topic);
static int64 publish_part(TransactionOutput *output, const TransactionBatch *current, int64 end, const char *topic, MessageSet *messages);
static void note_part(TransactionBatch *current, int64 end);
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
	TransactionBatch current;

	MemoryContextReset(output->batch);
	output->more = next_batch(output, &current);
	if (output->more)
	{
		char	   *topic = read_first_topic(output, &current);

		if (output->txn == NULL)
		{
			output->txn = kv_txn_open(output->context, output->serverid, current.role, current.kafka_name);
			output->checked = false;
		}
		if (!output->checked && topic != NULL)
			find_out(output, &current, topic);
		output->checked = true;
		if (!current.published && topic != NULL)
		{
			int64		end;
			MessageSet *messages = read_part(output, &current, &end);

			kv_my_slot->published_messages += publish_part(output, &current, end, topic, messages);
			if (end != 0)
			{
				note_part(&current, end);
				return;
			}
		}
		finish_batch(&current);
		kv_publisher_truncate("transaction_outbox", 0);
	}
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
}

/* Finds the batch to be published: one that is not finished, or a new one of what is visible now. False: there is nothing. */
static bool
next_batch(TransactionOutput *output, TransactionBatch *current)
{
	MemoryContext save = MemoryContextSwitchTo(output->batch);
	bool		found = false;

	memset(current, 0, sizeof(*current));
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(output->batch);
	if (kv_catalog_installed())
	{
		read_batch_row(output, current);
		found = current->exists && !current->published;
		if (!found && has_rows(current))
		{
			begin_batch(current);
			/* flushed, and with it the transactions it shows, whatever synchronous_commit says */
			ForceSyncCommit();
			found = true;
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return found;
}

/* Reads the batch's row and makes the names; the strings live in output->batch. */
static void
read_batch_row(TransactionOutput *output, TransactionBatch *current)
{
	ForeignServer *server = GetForeignServer(output->serverid);
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(server->servername);
	char	   *instance = kv_instance_name();
	KvSql		sql;

	current->server = server->servername;
	current->role = server->owner;
	kv_sql_enter_engine(&sql);
	if (kv_sql_read("SELECT batch, published, token, part FROM kafka_state.transaction_batch WHERE server = $1", 1, types, &value, NULL, 1) > 0)
	{
		bool		isnull;

		current->exists = true;
		current->batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
		current->published = DatumGetBool(kv_sql_value(0, 2, &isnull));
		current->part = DatumGetInt64(kv_sql_value(0, 4, &isnull));
		current->kafka_name = psprintf("%s.%u.tx.%s.%s", instance, MyDatabaseId, current->server, kv_sql_text(0, 3));
		current->kafka_name = MemoryContextStrdup(output->batch, current->kafka_name);
	}
	kv_sql_leave(&sql);
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

/* Makes the next batch of what is visible now. Its rows are those of the statement's own snapshot. */
static void
begin_batch(TransactionBatch *current)
{
	static const char text[] =
		"INSERT INTO kafka_state.transaction_batch AS b (server, token, batch, snapshot, previous, published)"
		" VALUES ($1, pg_catalog.substr(pg_catalog.md5(pg_catalog.gen_random_uuid()::text), 1, 8), 1, pg_catalog.pg_current_snapshot(), NULL, false)"
		" ON CONFLICT (server) DO UPDATE SET batch = b.batch + 1, previous = b.snapshot, snapshot = excluded.snapshot, published = false, part = 0"
		" RETURNING batch, token";
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(current->server);
	MemoryContext save = CurrentMemoryContext;
	char	   *instance = kv_instance_name();
	bool		isnull;
	char	   *name;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 1, types, &value, NULL);
	current->batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	current->published = false;
	current->part = 0;
	name = psprintf("%s.%u.tx.%s.%s", instance, MyDatabaseId, current->server, kv_sql_text(0, 2));
	current->kafka_name = MemoryContextStrdup(save, name);
	kv_sql_leave(&sql);
}

/* Rows of the current batch of server $1 behind seq $2, in order. */
#define BATCH_ROWS \
	" FROM kafka_state.transaction_outbox o, kafka_state.transaction_batch b" \
	" WHERE b.server = $1 AND o.server = $1 AND o.seq > $2 AND pg_catalog.pg_visible_in_snapshot(o.xid, b.snapshot)" \
	" AND (b.previous IS NULL OR NOT pg_catalog.pg_visible_in_snapshot(o.xid, b.previous))" \
	" ORDER BY o.seq"

/* Gives the topic of the first message of the batch, which holds its number in Kafka; NULL: the batch is empty. */
static char *
read_first_topic(TransactionOutput *output, const TransactionBatch *current)
{
	const Oid	types[] = {TEXTOID, INT8OID};
	Datum		values[2] = {0, Int64GetDatum(0)};
	MemoryContext save = CurrentMemoryContext;
	char	   *topic = NULL;
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(current->server);
	kv_sql_enter_engine(&sql);
	if (kv_sql_read("SELECT o.messages" BATCH_ROWS " LIMIT 1", 2, types, values, NULL, 1) > 0)
	{
		bool		isnull;
		bytea	   *row = DatumGetByteaPCopy(kv_sql_value(0, 1, &isnull));

		kv_packed_row_read(VARDATA(row), VARSIZE(row) - VARHDRSZ, note_topic, &topic);
		topic = MemoryContextStrdup(output->batch, topic);
	}
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return topic;
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

/* Finds out how much of the batch Kafka has already. The producer that could still be writing it has been fenced. */
static void
find_out(TransactionOutput *output, TransactionBatch *current, const char *topic)
{
	KafkaOffset offset = {.topic = (char *) topic,.partition = 0,.offset = RD_KAFKA_OFFSET_INVALID};
	MemoryContext save = MemoryContextSwitchTo(output->batch);
	OutboxPlace noted = {current->batch, current->part};
	OutboxPlace out;
	char	   *owner;
	char	   *frontiers;

	kv_txn_read_offsets(output->serverid, current->role, current->kafka_name, &offset, 1);
	if (offset.metadata != NULL && kv_recovery_parse(offset.metadata, &out, &owner, &frontiers))
	{
		current->published = out.batch > current->batch || (out.batch == current->batch && out.part == 0);
		if (out.batch == current->batch && (noted.part == 0 || kv_place_is_before(noted, out)))
			current->part = out.part;
	}
	MemoryContextSwitchTo(save);
}

/* Publishes messages of the batch with its number and where they end; gives back how many. */
static int64
publish_part(TransactionOutput *output, const TransactionBatch *current, int64 end, const char *topic, MessageSet *messages)
{
	OutboxPlace place = {current->batch, end};
	KafkaOffset offset = {.topic = (char *) topic};
	int64		produced;

	pgstat_report_activity(STATE_RUNNING, "publishing");
	kv_publisher_flush();
	kv_txn_begin(output->txn);
	produced = kv_messages_produce(messages, output->txn);
	kv_txn_commit(output->txn, &offset, 1, kv_recovery_metadata(place, "{}"));
	pgstat_report_activity(STATE_IDLE, NULL);
	return produced;
}

/* Notes that a part of the batch is out. */
static void
note_part(TransactionBatch *current, int64 end)
{
	const Oid	types[] = {TEXTOID, INT8OID};
	MemoryContext save = CurrentMemoryContext;
	Datum		values[2];
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(current->server);
	values[1] = Int64GetDatum(end);
	kv_sql_enter_engine(&sql);
	kv_sql_run("UPDATE kafka_state.transaction_batch SET part = $2 WHERE server = $1", 2, types, values, NULL);
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}

/* Notes that the batch is out and deletes its rows. */
static void
finish_batch(const TransactionBatch *current)
{
	const Oid	types[] = {TEXTOID};
	MemoryContext save = CurrentMemoryContext;
	Datum		value;
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	value = CStringGetTextDatum(current->server);
	kv_sql_enter_engine(&sql);
	kv_sql_run("DELETE FROM kafka_state.transaction_outbox o USING kafka_state.transaction_batch b"
			   " WHERE b.server = $1 AND o.server = $1 AND pg_catalog.pg_visible_in_snapshot(o.xid, b.snapshot)", 1, types, &value, NULL);
	kv_sql_run("UPDATE kafka_state.transaction_batch SET published = true WHERE server = $1", 1, types, &value, NULL);
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}
