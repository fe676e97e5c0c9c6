/*
 * outbox_load.c: what the next Kafka transaction of a pipeline takes from its outbox.
 *
 * Invariants: messages and positions are those of one snapshot. Positions go with the last part of their batch, so a consumer of them
 * never sees half a batch as done.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "outbox_load.h"
#include "position.h"
#include "run_sql.h"

/* A Kafka transaction takes whole batches until it has so many messages, or kafka.transaction_size of them; a larger batch goes in parts. */
#define TRANSACTION_MESSAGES 100000

static int64 read_messages(Output *output, Load *load);
static bool is_full(const MessageSet *messages, int first, Size first_bytes);
static void read_offsets(Output *output, Load *load, int64 up_to);
static void read_start_offsets(Output *output, Load *load);


/* See the header. */
void
kv_load_read(Output *output, Load *load, MemoryContext context)
{
	MemoryContext save = CurrentMemoryContext;
	int64		up_to;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* one snapshot for both reads: with two, a batch between them would have its number taken and not its messages */
	XactIsoLevel = XACT_REPEATABLE_READ;
	PushActiveSnapshot(GetTransactionSnapshot());
	load->context = context;
	load->messages = kv_messages_make(context);
	load->locked = !kv_load_lock_outbox(output->pipeline, AccessShareLock);
	if (!load->locked)
	{
		up_to = read_messages(output, load);
		read_offsets(output, load, up_to);
		if (load->end.batch != 0 && load->noffsets == 0 && output->noffsets == 0)
			read_start_offsets(output, load);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}

/* See the header. */
bool
kv_load_lock_outbox(int64 pipeline, LOCKMODE mode)
{
	return kv_catalog_try_lock(psprintf("outbox_" INT64_FORMAT, pipeline), mode);
}

/*
 * Reads messages in order: whole batches until the transaction is full, or a part of one that is larger than that. Gives back
 * the last batch whose positions may go with them: the last whole one, or no limit at the outbox's end.
 */
static int64
read_messages(Output *output, Load *load)
{
	Oid			schema = get_namespace_oid(KV_STATE_SCHEMA, false);
	Oid			table_oid = get_relname_relid(psprintf("outbox_" INT64_FORMAT, output->pipeline), schema);
	Oid			index_oid = get_relname_relid(psprintf("outbox_" INT64_FORMAT "_order", output->pipeline), schema);
	Relation	table;
	Relation	index;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	int			batch_first = 0;	/* where the messages of load->end.batch begin */
	Size		batch_bytes = 0;	/* and what came before them */

	if (!OidIsValid(table_oid) || !OidIsValid(index_oid))
		return PG_INT64_MAX;	/* dropped a moment ago */
	table = table_open(table_oid, AccessShareLock);
	index = index_open(index_oid, AccessShareLock);
	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(output->published.batch));
	scan = systable_beginscan_ordered(table, index, GetActiveSnapshot(), 1, &key);
	while ((tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		OutboxPlace row;

		row.batch = DatumGetInt64(heap_getattr(tuple, 1, RelationGetDescr(table), &isnull));
		row.part = DatumGetInt64(heap_getattr(tuple, 2, RelationGetDescr(table), &isnull));
		if (!kv_place_is_before(output->published, row))
			continue;
		if (row.batch != load->end.batch)
		{
			load->more = is_full(load->messages, 0, 0);
			batch_first = load->messages->count;
			batch_bytes = load->messages->bytes;
		}
		else
			load->more = is_full(load->messages, batch_first, batch_bytes);
		if (load->more)
		{
			if (row.batch != load->end.batch)
				load->end.part = 0;
			break;
		}
		load->end = row;
		kv_messages_add(load->messages, heap_getattr(tuple, 3, RelationGetDescr(table), &isnull));
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	if (!load->more)
	{
		load->end.part = 0;		/* at the outbox's end every batch is whole: it is committed at once */
		return PG_INT64_MAX;
	}
	return load->end.part == 0 ? load->end.batch : load->end.batch - 1;
}

/* Is there enough for one Kafka transaction in what came after the first messages? */
static bool
is_full(const MessageSet *messages, int first, Size first_bytes)
{
	return messages->count - first >= TRANSACTION_MESSAGES || messages->bytes - first_bytes >= (Size) kv_transaction_size_kb * 1024;
}

/* Reads the positions that go with the load: those of the last batch in it that has some. */
static void
read_offsets(Output *output, Load *load, int64 up_to)
{
	static const char text[] =
		"SELECT b.batch, b.frontiers::text, p.value->>'topic', (p.value->>'partition')::integer, (p.value->>'offset')::bigint"
		" FROM (SELECT * FROM kafka_state.outbox_batch WHERE pipeline = $1 AND batch > $2 AND batch <= $3"
		"   ORDER BY batch DESC LIMIT 1) b"
		" CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(b.positions) p";
	const Oid	types[] = {INT8OID, INT8OID, INT8OID};
	/* the positions of a batch that is out in part go with its last part */
	int64		after = output->published.part == 0 ? output->published.batch : output->published.batch - 1;
	Datum		values[] = {Int64GetDatum(output->pipeline), Int64GetDatum(after), Int64GetDatum(up_to)};
	uint64		count;
	KvSql		sql;

	kv_sql_enter_by_index(&sql);
	count = kv_sql_read(text, 3, types, values, NULL, 0);
	load->offsets = MemoryContextAlloc(load->context, sizeof(KafkaOffset) * Max(count, 1));
	for (uint64 i = 0; i < count; i++)
	{
		KafkaOffset *offset = &load->offsets[load->noffsets++];
		bool		isnull;

		offset->topic = MemoryContextStrdup(load->context, kv_sql_text(i, 3));
		offset->partition = DatumGetInt32(kv_sql_value(i, 4, &isnull));
		offset->offset = DatumGetInt64(kv_sql_value(i, 5, &isnull));
		offset->metadata = NULL;
		if (i > 0)
			continue;
		if (load->end.part == 0)
			load->end.batch = Max(load->end.batch, DatumGetInt64(kv_sql_value(i, 1, &isnull)));
		load->frontiers = MemoryContextStrdup(load->context, kv_sql_text(i, 2));
	}
	kv_sql_leave(&sql);
}

/* The first batch of a pipeline goes out in parts, and no batch is whole yet: the positions are those from which it began. */
static void
read_start_offsets(Output *output, Load *load)
{
	MemoryContext save = MemoryContextSwitchTo(load->context);
	List	   *positions = kv_position_list(output->pipeline);
	ListCell   *cell;

	load->offsets = palloc(sizeof(KafkaOffset) * Max(list_length(positions), 1));
	foreach(cell, positions)
	{
		PositionRow *position = lfirst(cell);
		KafkaOffset *offset = &load->offsets[load->noffsets++];

		offset->topic = kv_topic_name(position->relation);
		offset->partition = position->partition;
		offset->offset = position->start_offset;
		offset->metadata = NULL;
	}
	load->frontiers = pstrdup("{}");
	MemoryContextSwitchTo(save);
}
