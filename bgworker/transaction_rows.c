/*
 * transaction_rows.c: which rows of kafka_state.transaction_outbox are a batch's, and in which order.
 *
 * Invariant: each row is of one batch and is read in the order of seq. What is done here does not cost more because many rows have been
 * published and deleted, or because a large transaction is being written. While somebody holds an old snapshot, deleted rows stay in table and index, and whoever looks for the others from one end of the
 * index meets them all again in each batch. So rows are found by transaction id: those of snapshot n and not of n-1 have ids in the
 * gaps between the transactions that run in n, above the end of n-1, or are of one that ran in n-1. In these runs of ids
 * nothing has been published, and nothing is unfinished.
 *
 * The order is that of seq, in which the rows of one batch have been written. The seqs are sorted once, also where the batch goes
 * out in many parts, and the rows are then fetched by them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "run_sql.h"
#include "transaction_rows.h"

/* Rows that are fetched at a time, some ROW_KB each; not many more than fit into a Kafka transaction, or the others are fetched again for the next one. */
#define READ_ROWS 1000
#define ROW_KB 8

/* Seqs that are sorted and kept at a time. */
#define LIST_ROWS "1000000"

/* The runs (low <= id < high) of transaction ids that snapshot b.snapshot shows and b.previous (null: none) does not. */
#define RUNS \
	"(SELECT x, (x::text::bigint + 1)::text::xid8 FROM pg_catalog.pg_snapshot_xip(b.previous) x" \
	"   WHERE pg_catalog.pg_visible_in_snapshot(x, b.snapshot)" \
	" UNION ALL" \
	" SELECT coalesce((pg_catalog.lag(e::text::bigint) OVER (ORDER BY e) + 1)::text::xid8, pg_catalog.pg_snapshot_xmax(b.previous), '0'), e" \
	"   FROM (SELECT x FROM pg_catalog.pg_snapshot_xip(b.snapshot) x WHERE b.previous IS NULL OR x >= pg_catalog.pg_snapshot_xmax(b.previous)" \
	"     UNION ALL SELECT pg_catalog.pg_snapshot_xmax(b.snapshot)) edges(e)) r(low, high)"

/* The row of server $1. */
#define BATCH KV_NEWEST("transaction_batch", "server", "$1")

/*
 * The rows o of server $1 in the runs r. OFFSET keeps the planner from turning this round, to a walk over the index that asks of each
 * entry whether it is in a run: it knows nothing of the dead ones, and takes a drained table for empty.
 */
#define ROWS_IN_RUNS \
	RUNS ", LATERAL (SELECT o.ctid AS at, o.seq FROM kafka_state.transaction_outbox o" \
	"   WHERE o.server = $1 AND o.xid >= r.low AND o.xid < r.high OFFSET 0) o"

struct TransactionRows
{
	MemoryContext context;		/* of seqs */
	int64		batch;			/* they are of; 0: none */
	int64		after;			/* seq of the last one that has been read */
	int64	   *seqs;
	int			count;
	int			next;
	bool		last;			/* the batch has none behind these */
};

static char *read_topic(const char *text, const char *server);
static void note_topic(const OutboxMessage *message, void *arg);
static void list_seqs(TransactionRows *rows, Datum server);
static uint64 fetch(const TransactionRows *rows, Datum server, int count);


/* See the header. */
bool
kv_transaction_rows_wait(const char *server)
{
	static const char text[] =
		"SELECT FROM (SELECT (SELECT n.snapshot FROM " BATCH " n), pg_catalog.pg_current_snapshot())"
		"     b(previous, snapshot),"
		" LATERAL " ROWS_IN_RUNS " LIMIT 1";
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(server);
	bool		found;
	KvSql		sql;

	kv_sql_enter_by_index(&sql);
	found = kv_sql_read(text, 1, types, &value, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return found;
}

/* See the header. */
char *
kv_transaction_rows_topic(const char *server)
{
	return read_topic("SELECT o.messages FROM kafka_state.transaction_outbox o WHERE o.server = $1 AND o.seq ="
					  " (SELECT pg_catalog.min(o.seq) FROM " BATCH " b, LATERAL " ROWS_IN_RUNS ")", server);
}

/* See the header. */
char *
kv_transaction_rows_any_topic(const char *server)
{
	return read_topic("SELECT o.messages FROM kafka_state.transaction_outbox o WHERE o.server = $1", server);
}

/* Gives the topic of the first message of the first row of a query with a server for $1, in the caller's memory. */
static char *
read_topic(const char *text, const char *server)
{
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(server);
	MemoryContext caller = CurrentMemoryContext;
	char	   *topic = NULL;
	KvSql		sql;

	kv_sql_enter_by_index(&sql);
	if (kv_sql_read(text, 1, types, &value, NULL, 1) > 0)
	{
		bool		isnull;
		bytea	   *row = DatumGetByteaPCopy(kv_sql_value(0, 1, &isnull));

		kv_packed_row_read(VARDATA(row), VARSIZE(row) - VARHDRSZ, note_topic, &topic);
		topic = MemoryContextStrdup(caller, topic);
	}
	kv_sql_leave(&sql);
	return topic;
}

static void
note_topic(const OutboxMessage *message, void *arg)
{
	char	  **topic = arg;

	if (*topic == NULL)
		*topic = pstrdup(message->topic);
}

/* See the header. */
void
kv_transaction_rows_delete(const char *server)
{
	static const char text[] =
		"DELETE FROM kafka_state.transaction_outbox WHERE ctid = ANY (ARRAY("
		"  SELECT o.at FROM " BATCH " b, LATERAL " ROWS_IN_RUNS "))";
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(server);
	KvSql		sql;

	kv_sql_enter_by_index(&sql);
	kv_sql_run(text, 1, types, &value, NULL);
	kv_sql_leave(&sql);
}

/* Makes it, of no batch. */
TransactionRows *
kv_transaction_rows_make(MemoryContext context)
{
	TransactionRows *rows = MemoryContextAllocZero(context, sizeof(TransactionRows));

	rows->context = AllocSetContextCreate(context, "kv transaction rows", ALLOCSET_DEFAULT_SIZES);
	return rows;
}

/* Forgets the batch: the next one to be read is listed anew, whatever its number. */
void
kv_transaction_rows_forget(TransactionRows *rows)
{
	MemoryContextReset(rows->context);
	rows->batch = rows->after = 0;
	rows->seqs = NULL;
	rows->count = rows->next = 0;
	rows->last = false;
}

/* See the header. */
MessageSet *
kv_transaction_rows_read(TransactionRows *rows, MemoryContext context, const char *server, int64 batch, int64 after, int64 *end)
{
	MessageSet *messages = kv_messages_make(context);
	MemoryContext save = CurrentMemoryContext;
	bool		full = false;
	Datum		name;
	KvSql		sql;

	if (rows->batch != batch || rows->after != after)
	{
		kv_transaction_rows_forget(rows);
		rows->batch = batch;
		rows->after = after;
	}
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	name = CStringGetTextDatum(server);
	kv_sql_enter_by_index(&sql);
	while (!full)
	{
		int			count;
		uint64		fetched;

		if (rows->next == rows->count)
		{
			if (rows->last)
				break;
			list_seqs(rows, name);
			continue;
		}
		count = Min(Min(READ_ROWS, kv_transaction_size_kb / ROW_KB + 1), rows->count - rows->next);
		fetched = fetch(rows, name, count);
		for (uint64 i = 0; i < fetched && !full; i++)
		{
			bool		isnull;

			full = messages->bytes >= (Size) kv_transaction_size_kb * 1024;
			if (full)
				break;
			kv_messages_add(messages, kv_sql_value(i, 1, &isnull));
			rows->after = kv_sql_int8(i, 2);
		}
		SPI_freetuptable(SPI_tuptable);
		while (count-- > 0 && rows->seqs[rows->next] <= rows->after)
			rows->next++;
		/* kafka.resume_transactions has deleted the others */
		if (fetched == 0)
			rows->next = rows->count;
		CHECK_FOR_INTERRUPTS();
	}
	kv_sql_leave(&sql);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	*end = full ? rows->after : 0;
	return messages;
}

/* Lists the next rows of the batch that have not been read. */
static void
list_seqs(TransactionRows *rows, Datum server)
{
	static const char text[] =
		"SELECT pg_catalog.array_agg(s.seq ORDER BY s.seq), pg_catalog.count(*) = " LIST_ROWS
		" FROM (SELECT o.seq FROM " BATCH " b, LATERAL " ROWS_IN_RUNS
		"   WHERE o.seq > $2 ORDER BY o.seq LIMIT " LIST_ROWS ") s";
	const Oid	types[] = {TEXTOID, INT8OID};
	Datum		values[2] = {server, Int64GetDatum(rows->after)};
	bool		isnull;
	Datum		array;

	MemoryContextReset(rows->context);
	rows->count = rows->next = 0;
	kv_sql_read(text, 2, types, values, NULL, 1);
	rows->last = !DatumGetBool(kv_sql_value(0, 2, &isnull));
	array = kv_sql_value(0, 1, &isnull);
	if (!isnull)
	{
		ArrayType  *seqs = DatumGetArrayTypeP(array);

		rows->count = ArrayGetNItems(ARR_NDIM(seqs), ARR_DIMS(seqs));
		rows->seqs = MemoryContextAlloc(rows->context, sizeof(int64) * rows->count);
		memcpy(rows->seqs, ARR_DATA_PTR(seqs), sizeof(int64) * rows->count);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Fetches so many of the listed rows, in order. */
static uint64
fetch(const TransactionRows *rows, Datum server, int count)
{
	static const char text[] =
		"SELECT o.messages, o.seq FROM pg_catalog.unnest($2) k(seq),"
		" LATERAL (SELECT * FROM kafka_state.transaction_outbox o WHERE o.server = $1 AND o.seq = k.seq OFFSET 0) o ORDER BY o.seq";
	const Oid	types[] = {TEXTOID, INT8ARRAYOID};
	Datum		seqs[READ_ROWS];
	Datum		values[2] = {server};

	for (int i = 0; i < count; i++)
		seqs[i] = Int64GetDatum(rows->seqs[rows->next + i]);
	values[1] = PointerGetDatum(construct_array(seqs, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	return kv_sql_read(text, 2, types, values, NULL, 0);
}
