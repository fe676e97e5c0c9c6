/*
 * transaction_batch.c: the batch of ordinary transactions that is under way or was the last one: kafka_state.transaction_batch, one row a
 * server, and the rows of the outbox that belong to it.
 *
 * Invariants: number and snapshots are committed and flushed before the batch is read, so it is made of the same rows whoever reads
 * it again; and what is noted of a batch is noted only under the name (token) that it went out with.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "fault_point.h"
#include "metadata.h"
#include "run_sql.h"
#include "transaction_batch.h"

/* Rows of the outbox that are read at a time, some 8 kB each. */
#define READ_ROWS 1000

/* Rows of the current batch of server $1 behind seq $2, in order. */
#define BATCH_ROWS \
	" FROM kafka_state.transaction_outbox o, kafka_state.transaction_batch b" \
	" WHERE b.server = $1 AND o.server = $1 AND o.seq > $2 AND " KV_IN_BATCH " ORDER BY o.seq"

static bool read_batch_row(TransactionBatch *batch, Oid serverid);
static bool has_rows(const TransactionBatch *batch);
static void insert_batch_row(const TransactionBatch *batch);
static void read_first_topic(TransactionBatch *batch);
static void note_topic(const OutboxMessage *message, void *arg);
static void update_batch(const TransactionBatch *batch, const char *change, int64 value);


/* See the header. */
bool
kv_transaction_batch_look(TransactionBatch *batch, Oid serverid, MemoryContext context)
{
	MemoryContext save = MemoryContextSwitchTo(context);
	bool		found = false;

	memset(batch, 0, sizeof(*batch));
	batch->context = context;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	if (kv_catalog_installed())
	{
		bool		exists = read_batch_row(batch, serverid);

		kv_metadata_note_era();
		found = (exists && !batch->published) || has_rows(batch);
		if (found && !exists)
		{
			insert_batch_row(batch);
			UpdateActiveSnapshotCommandId();
			(void) read_batch_row(batch, serverid);
		}
		if (found && !batch->published)
			read_first_topic(batch);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return found;
}

/* Reads the batch's row and makes the names; the strings live in batch->context. False: there is none yet. */
static bool
read_batch_row(TransactionBatch *batch, Oid serverid)
{
	ForeignServer *server = GetForeignServer(serverid);
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(server->servername);
	char	   *prefix = kv_identity_prefix();
	bool		exists;
	KvSql		sql;

	batch->server = server->servername;
	batch->role = server->owner;
	kv_sql_enter_engine(&sql);
	exists = kv_sql_read("SELECT batch, published, token, part, claimed FROM kafka_state.transaction_batch WHERE server = $1",
						 1, types, &value, NULL, 1) > 0;
	if (exists)
	{
		bool		isnull;

		batch->batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
		batch->published = DatumGetBool(kv_sql_value(0, 2, &isnull));
		batch->part = DatumGetInt64(kv_sql_value(0, 4, &isnull));
		batch->claimed = DatumGetBool(kv_sql_value(0, 5, &isnull));
		batch->token = MemoryContextStrdup(batch->context, kv_sql_text(0, 3));
		batch->kafka_name = psprintf("%s.tx.%s.%s", prefix, batch->server, batch->token);
		batch->kafka_name = MemoryContextStrdup(batch->context, batch->kafka_name);
	}
	kv_sql_leave(&sql);
	return exists;
}

/* Is there anything to publish? All rows that stand are unpublished while the last batch is published. */
static bool
has_rows(const TransactionBatch *batch)
{
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(batch->server);
	bool		found;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	found = kv_sql_read("SELECT FROM kafka_state.transaction_outbox WHERE server = $1 LIMIT 1", 1, types, &value, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return found;
}

/* Gives the server its name in Kafka, before anything of it goes there. */
static void
insert_batch_row(const TransactionBatch *batch)
{
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(batch->server);
	KvSql		sql;

	kv_identity_ensure();
	kv_sql_enter_engine(&sql);
	kv_sql_run("INSERT INTO kafka_state.transaction_batch (server, token, batch, published)"
			   " VALUES ($1, pg_catalog.substr(pg_catalog.md5(pg_catalog.gen_random_uuid()::text), 1, 8), 0, true)",
			   1, types, &value, NULL);
	kv_sql_leave(&sql);
}

/* Finds the topic of the first message of the batch. */
static void
read_first_topic(TransactionBatch *batch)
{
	const Oid	types[] = {TEXTOID, INT8OID};
	Datum		values[2] = {CStringGetTextDatum(batch->server), Int64GetDatum(0)};
	char	   *topic = NULL;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	if (kv_sql_read("SELECT o.messages" BATCH_ROWS " LIMIT 1", 2, types, values, NULL, 1) > 0)
	{
		bool		isnull;
		bytea	   *row = DatumGetByteaPCopy(kv_sql_value(0, 1, &isnull));

		kv_packed_row_read(VARDATA(row), VARSIZE(row) - VARHDRSZ, note_topic, &topic);
		topic = MemoryContextStrdup(batch->context, topic);
	}
	kv_sql_leave(&sql);
	batch->topic = topic;
}

static void
note_topic(const OutboxMessage *message, void *arg)
{
	char	  **topic = arg;

	if (*topic == NULL)
		*topic = pstrdup(message->topic);
}

/* See the header. */
bool
kv_transaction_batch_begin(TransactionBatch *batch, int64 known)
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
	values[0] = CStringGetTextDatum(batch->server);
	values[1] = Int64GetDatum(known);
	kv_sql_enter_engine(&sql);
	begun = kv_sql_run(text, 2, types, values, NULL) == 1;
	if (begun)
		batch->batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	kv_sql_leave(&sql);
	if (begun)
	{
		batch->published = batch->claimed = false;
		batch->part = 0;
		UpdateActiveSnapshotCommandId();
		read_first_topic(batch);
	}
	ForceSyncCommit();
	KV_FAULT_POINT("transactions_numbered");
	PopActiveSnapshot();
	CommitTransactionCommand();
	KV_FAULT_POINT("transactions_begun");
	MemoryContextSwitchTo(save);
	return begun;
}

/* See the header. */
MessageSet *
kv_transaction_batch_read(const TransactionBatch *batch, int64 *end)
{
	const Oid	types[] = {TEXTOID, INT8OID};
	Datum		values[2];
	MessageSet *messages = kv_messages_make(batch->context);
	MemoryContext save = CurrentMemoryContext;
	int64		last = batch->part;
	uint64		count;
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(batch->server);
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

/* See the header. */
void
kv_transaction_batch_note_claim(TransactionBatch *batch)
{
	update_batch(batch, "claimed = $2 <> 0", 1);
	batch->claimed = true;
}

/* See the header. */
void
kv_transaction_batch_note_part(TransactionBatch *batch, int64 end)
{
	update_batch(batch, "part = $2", end);
}

/* Changes a column of the batch's row to $2, unless the batch is another's in Kafka by now. */
static void
update_batch(const TransactionBatch *batch, const char *change, int64 value)
{
	const Oid	types[] = {TEXTOID, INT8OID, TEXTOID};
	MemoryContext save = CurrentMemoryContext;
	Datum		values[3];
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(batch->server);
	values[1] = Int64GetDatum(value);
	values[2] = CStringGetTextDatum(batch->token);
	kv_sql_enter_engine(&sql);
	kv_sql_run(psprintf("UPDATE kafka_state.transaction_batch SET %s WHERE server = $1 AND token = $3", change), 3, types, values, NULL);
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}

/* See the header. */
void
kv_transaction_batch_finish(const TransactionBatch *batch)
{
	const Oid	types[] = {TEXTOID, TEXTOID};
	MemoryContext save = CurrentMemoryContext;
	Datum		values[2];
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = CStringGetTextDatum(batch->server);
	values[1] = CStringGetTextDatum(batch->token);
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
