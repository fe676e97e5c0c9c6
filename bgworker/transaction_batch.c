/*
 * transaction_batch.c: the batch of ordinary transactions that is under way or was the last one: kafka_state.transaction_batch, one row a
 * server. The rows of the outbox that belong to it are transaction_rows.c's.
 *
 * Invariants: number and snapshots are committed and flushed before the batch is read, so it is made of the same rows whoever reads
 * it again; kafka.fork() and kafka.adopt() leave number and rows of an unfinished batch as they are. So what is out of it is noted by its number,
 * also where kafka.fork() has come meanwhile: it is out, whatever the name. A claim is noted only under the name (token) that has it.
 * A process publishes no batch that is not noted as its own (owner) before; it may have to get another number for that (publish_transactions.c).
 *
 * A session that has decided about a batch, and not committed, holds its row. All other outputs of the process would wait for it
 * with this one, so a change gives up, and the output tries again with back-off, first of all what it owes: that session may be giving the
 * server a name under which Kafka has no sign of the batch. So it is with a session that renames the server, or locks the tables.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "fault_point.h"
#include "identity.h"
#include "metadata.h"
#include "run_sql.h"
#include "transaction_batch.h"
#include "transaction_rows.h"

#define THE_BATCH KV_THE_ROW("transaction_batch", "server")

static bool try_lock(Oid serverid);
static bool read_batch_row(TransactionBatch *batch, Oid serverid);
static void insert_batch_row(const TransactionBatch *batch);
static void read_topic(TransactionBatch *batch);
static void set_owner(TransactionBatch *batch);
static void begin_change(const TransactionBatch *batch);
static bool update_batch(const TransactionBatch *batch, KvRowPlan *plan, const char *text, Oid type, Datum value);
static bool is_renamed(const TransactionBatch *batch);


/* See the header. */
bool
kv_transaction_batch_look(TransactionBatch *batch, Oid serverid, const char *topic, int64 topic_of, MemoryContext context)
{
	MemoryContext save = MemoryContextSwitchTo(context);
	bool		found = false;

	memset(batch, 0, sizeof(*batch));
	batch->context = context;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	if (!kv_catalog_installed())
		;
	else if (!try_lock(serverid))
		batch->locked = true;
	else
	{
		bool		exists = read_batch_row(batch, serverid);

		kv_metadata_note_era();
		found = (exists && !batch->published) || kv_transaction_rows_wait(batch->server);
		if (found && !exists)
		{
			insert_batch_row(batch);
			UpdateActiveSnapshotCommandId();
			(void) read_batch_row(batch, serverid);
		}
		if (found && !batch->published)
		{
			if (batch->batch == topic_of)
				batch->topic = MemoryContextStrdup(context, topic);
			else
				read_topic(batch);
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return found;
}

/*
 * Locks what has to stay as it is while it is looked at, without waiting: the server, whose name the rows have, and both tables. The lock of the batch
 * is for the row that may have to be inserted.
 */
static bool
try_lock(Oid serverid)
{
	return ConditionalLockDatabaseObject(ForeignServerRelationId, serverid, 0, AccessShareLock) &&
		kv_catalog_try_lock("transaction_batch", RowExclusiveLock) && kv_catalog_try_lock("transaction_outbox", AccessShareLock);
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
	kv_sql_enter_by_index(&sql);
	exists = kv_sql_read("SELECT batch, published, token, part, claimed, owner, made_in FROM " KV_NEWEST("transaction_batch", "server", "$1") " b",
						 1, types, &value, NULL, 1) > 0;
	if (exists)
	{
		bool		isnull;

		batch->batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
		batch->published = DatumGetBool(kv_sql_value(0, 2, &isnull));
		batch->part = DatumGetInt64(kv_sql_value(0, 4, &isnull));
		batch->claimed = DatumGetBool(kv_sql_value(0, 5, &isnull));
		batch->token = MemoryContextStrdup(batch->context, kv_sql_text(0, 3));
		batch->owner = MemoryContextStrdup(batch->context, kv_sql_text(0, 6));
		batch->made_in = MemoryContextStrdup(batch->context, kv_sql_text(0, 7));
		batch->kafka_name = psprintf("%s.tx.%s.%s", prefix, batch->server, batch->token);
		batch->kafka_name = MemoryContextStrdup(batch->context, batch->kafka_name);
	}
	kv_sql_leave(&sql);
	return exists;
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
read_topic(TransactionBatch *batch)
{
	char	   *topic = kv_transaction_rows_topic(batch->server);

	batch->topic = topic == NULL ? NULL : MemoryContextStrdup(batch->context, topic);
}

/* See the header. */
char *
kv_transaction_batch_topic(const TransactionBatch *batch)
{
	MemoryContext save = CurrentMemoryContext;
	char	   *topic;

	if (batch->topic != NULL)
		return batch->topic;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(batch->context);
	topic = kv_transaction_rows_any_topic(batch->server);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return topic;
}

/* Begins a transaction that changes the batch's row; raises an error where a session holds it. */
static void
begin_change(const TransactionBatch *batch)
{
	static KvRowPlan plan;
	static const char text[] = "SELECT FROM kafka_state.transaction_batch WHERE %s FOR NO KEY UPDATE SKIP LOCKED";
	const Oid	types[] = {TEXTOID};
	Datum		value;
	bool		locked;
	KvSql		sql;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	value = CStringGetTextDatum(batch->server);
	kv_sql_enter_engine(&sql);
	locked = kv_catalog_try_lock("transaction_batch", RowExclusiveLock) && kv_catalog_try_lock("transaction_outbox", RowExclusiveLock) &&
		kv_plan_change_row(&plan, text, THE_BATCH, 1, types, &value, NULL) == 1;
	kv_sql_leave(&sql);
	if (!locked)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("messages of ordinary transactions wait for a transaction that has locked their batch on server \"%s\"", batch->server),
				 errdetail("It has called kafka.resume_transactions, kafka.fork or kafka.adopt, or renames or drops the server, and has not committed."),
				 errhint("Publishing goes on by itself when it ends.")));
}

/* See the header. */
bool
kv_transaction_batch_begin(TransactionBatch *batch, int64 known)
{
	static KvRowPlan plan;
	static const char text[] =
		"UPDATE kafka_state.transaction_batch SET batch = greatest(batch, $2) + 1, previous = snapshot, snapshot = pg_catalog.pg_current_snapshot(),"
		" published = false, claimed = false, part = 0, owner = $4, made_in = $5 WHERE %s AND published AND token = $3 RETURNING batch";
	const Oid	types[] = {TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[5];
	MemoryContext save = CurrentMemoryContext;
	bool		isnull;
	bool		begun;
	KvSql		sql;

	begin_change(batch);
	values[0] = CStringGetTextDatum(batch->server);
	values[1] = Int64GetDatum(known);
	values[2] = CStringGetTextDatum(batch->token);
	values[3] = CStringGetTextDatum(kv_metadata_owner());
	values[4] = CStringGetTextDatum(kv_identity_here());
	kv_sql_enter_engine(&sql);
	begun = kv_plan_change_row(&plan, text, THE_BATCH, 5, types, values, NULL) == 1;
	if (begun)
		batch->batch = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	kv_sql_leave(&sql);
	if (begun)
	{
		batch->published = batch->claimed = false;
		batch->part = 0;
		set_owner(batch);
		UpdateActiveSnapshotCommandId();
		read_topic(batch);
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
bool
kv_transaction_batch_take(TransactionBatch *batch, int64 number)
{
	static KvRowPlan plan;
	/* a number that was claimed is not the one before a greater one */
	static const char text[] =
		"UPDATE kafka_state.transaction_batch SET batch = $3, part = $4, claimed = claimed AND batch = $3, owner = $5, made_in = $6"
		" WHERE %s AND batch = $2 AND NOT published AND token = $7 RETURNING claimed";
	const Oid	types[] = {TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[7];
	MemoryContext save = CurrentMemoryContext;
	bool		isnull;
	bool		taken;
	KvSql		sql;

	begin_change(batch);
	values[0] = CStringGetTextDatum(batch->server);
	values[1] = Int64GetDatum(batch->batch);
	values[2] = Int64GetDatum(number);
	values[3] = Int64GetDatum(batch->part);
	values[4] = CStringGetTextDatum(kv_metadata_owner());
	values[5] = CStringGetTextDatum(kv_identity_here());
	values[6] = CStringGetTextDatum(batch->token);
	kv_sql_enter_engine(&sql);
	taken = kv_plan_change_row(&plan, text, THE_BATCH, 7, types, values, NULL) == 1;
	if (taken)
		batch->claimed = DatumGetBool(kv_sql_value(0, 1, &isnull));
	kv_sql_leave(&sql);
	if (taken)
	{
		batch->batch = number;
		set_owner(batch);
	}
	ForceSyncCommit();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return taken;
}

/* Notes in memory that the batch is one of this process. */
static void
set_owner(TransactionBatch *batch)
{
	batch->owner = MemoryContextStrdup(batch->context, kv_metadata_owner());
	batch->made_in = MemoryContextStrdup(batch->context, kv_identity_here());
}

/* See the header. */
void
kv_transaction_batch_note_claim(TransactionBatch *batch)
{
	static KvRowPlan plan;
	Datum		token = CStringGetTextDatum(batch->token);

	(void) update_batch(batch, &plan, "UPDATE kafka_state.transaction_batch SET claimed = true WHERE %s AND batch = $2 AND token = $3 RETURNING token",
						TEXTOID, token);
	pfree(DatumGetPointer(token));
	batch->claimed = true;
}

/* See the header. */
bool
kv_transaction_batch_note_part(const TransactionBatch *batch, int64 end)
{
	static KvRowPlan plan;

	return update_batch(batch, &plan, "UPDATE kafka_state.transaction_batch SET part = $3 WHERE %s AND batch = $2 AND NOT published RETURNING token",
						INT8OID, Int64GetDatum(end));
}

/*
 * Changes the batch's row, where it is still that of number $2, with a value $3; the statement returns its token. In a transaction of its own.
 * True: that is another one.
 */
static bool
update_batch(const TransactionBatch *batch, KvRowPlan *plan, const char *text, Oid type, Datum value)
{
	const Oid	types[] = {TEXTOID, INT8OID, type};
	MemoryContext save = CurrentMemoryContext;
	Datum		values[3];
	bool		renamed;
	KvSql		sql;

	begin_change(batch);
	values[0] = CStringGetTextDatum(batch->server);
	values[1] = Int64GetDatum(batch->batch);
	values[2] = value;
	kv_sql_enter_engine(&sql);
	renamed = kv_plan_change_row(plan, text, THE_BATCH, 3, types, values, NULL) > 0 && is_renamed(batch);
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return renamed;
}

/* Is the token that a statement has returned another one than the batch's? */
static bool
is_renamed(const TransactionBatch *batch)
{
	return strcmp(kv_sql_text(0, 1), batch->token) != 0;
}

/* See the header. */
bool
kv_transaction_batch_finish(const TransactionBatch *batch)
{
	static KvRowPlan plan;
	static const char text[] = "UPDATE kafka_state.transaction_batch SET published = true WHERE %s AND batch = $2 AND NOT published RETURNING token";
	const Oid	types[] = {TEXTOID, INT8OID};
	MemoryContext save = CurrentMemoryContext;
	Datum		values[2];
	bool		renamed = false;
	KvSql		sql;

	begin_change(batch);
	values[0] = CStringGetTextDatum(batch->server);
	values[1] = Int64GetDatum(batch->batch);
	kv_sql_enter_engine(&sql);
	if (kv_plan_change_row(&plan, text, THE_BATCH, 2, types, values, NULL) > 0)
	{
		renamed = is_renamed(batch);
		kv_transaction_rows_delete(batch->server);
	}
	KV_FAULT_POINT("transactions_rows_deleted");
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	return renamed;
}
