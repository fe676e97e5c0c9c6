/*
 * outbox.c: messages on their way from a trigger or an INSERT to a table of
 * kafka_state, packed many to a row.
 *
 * Invariant: a message is in the table exactly if the (sub)transaction that
 * appended it commits, and the rows of one target, in the order of seq, hold its
 * messages in the order in which they were appended; between transactions, a message
 * that was appended after another transaction had committed comes after that one's.
 *
 * Two targets. In a batch (kv_outbox_begin_batch: the worker, attach_sink) it
 * is kafka_state.outbox_<pipeline>, rows (batch, seq, messages); the caller holds
 * the pipeline's row lock, so batches do not interleave. Everywhere else it is
 * kafka_state.transaction_outbox, rows (server, xid, seq, messages), where seq
 * comes from a sequence when the row is written: a row that is written after another
 * transaction's commit has a higher one.
 *
 * Every subtransaction level has its own buffer of some 8 kB. A full buffer is written
 * together with those of the levels above it, which come before it; theirs
 * are marked with the subtransaction that wrote them, and if that one rolls
 * back, they count as not written again. So nothing has to be written just
 * because a subtransaction starts or ends, and PL/pgSQL's exception blocks cost nothing. The rows' format is packed_row.c's.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/xid8.h"

#include "client_options.h"
#include "fault_point.h"
#include "outbox.h"
#include "run_sql.h"
#include "shared.h"
#include "steady_clock.h"

/* Packed bytes that fill a page with the row's header and its other columns. */
#define ROW_BYTES 8000

/* Largest row that stays in its page: TOAST_TUPLE_TARGET_MAIN of an 8 kB page. */
#define TOAST_TARGET "8160"

/* What librdkafka reckons with besides the bytes of key, value and headers, in a message and in each of its headers. */
#define MESSAGE_OVERHEAD 36
#define HEADER_OVERHEAD 4

/* A session warns again after so long. */
#define WARN_AGAIN_MS 60000

/* Where messages go: a batch of a pipeline (pipeline <> 0) or the ordinary outbox of a server. */
typedef struct OutboxTarget
{
	int64		pipeline;
	int64		batch;
	Oid			serverid;
} OutboxTarget;

/* Messages of one subtransaction level for one target that are not in the table yet. */
typedef struct OutboxBuffer
{
	OutboxTarget target;
	SubTransactionId subid;		/* the level they belong to */
	SubTransactionId written_by;	/* a level below that has put them in the table; Invalid: none */
	int			topic_at;		/* where in bytes the topic of the last message stands; -1: none yet */
	StringInfoData bytes;
} OutboxBuffer;

/* The batch this backend writes now. */
typedef struct OutboxBatchState
{
	bool		active;
	bool		written;		/* has put rows into the table */
	SubTransactionId subid;		/* level that began it */
	OutboxTarget target;
	int64		seq;			/* of the last row */
} OutboxBatchState;

bool		kv_outbox_held_back = false;
TimestampTz kv_outbox_default_time = DT_NOBEGIN;

static MemoryContext outbox_context = NULL; /* of this transaction: child of TopTransactionContext */
static MemoryContext row_context = NULL;	/* of a row that is being written: child of outbox_context */
static List *buffers = NIL;		/* OutboxBuffer *, outer levels first */
static List *written_servers = NIL; /* Oids: whose publishers to wake at commit */
static OutboxBatchState batch_state;

static void check_size(const TopicDef *topic, const OutboxMessage *message);
static OutboxBuffer *current_buffer(const TopicDef *topic);
static OutboxTarget current_target(const TopicDef *topic);
static Oid	pipeline_server(int64 pipeline);
static bool same_target(const OutboxTarget *a, const OutboxTarget *b);
static Size pending_bytes(const OutboxTarget *target);
static void write_buffers(const OutboxTarget *target);
static void write_row(OutboxBuffer *buffer);
static void reset_buffer(OutboxBuffer *buffer);
static void warn_of_limit(Relation rel, Oid serverid);
static void write_all(void);
static void wake_publishers(void);
static void end_of_transaction(XactEvent event, void *arg);
static void end_of_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg);


/* Registers transaction callbacks. */
void
kv_outbox_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}

/* Appends a message of the topic to what this backend writes now. */
void
kv_outbox_append(const TopicDef *topic, const OutboxMessage *message)
{
	OutboxBuffer *buffer;

	if (kv_outbox_held_back)
		return;
	check_size(topic, message);
	buffer = current_buffer(topic);
	kv_packed_row_add(&buffer->bytes, &buffer->topic_at, topic->topic, message, kv_outbox_default_time);
	if (pending_bytes(&buffer->target) >= ROW_BYTES)
		write_buffers(&buffer->target);
}

/*
 * Refuses a message that is larger than the server's producers take: it would stop everything behind it. In a batch it is the
 * fault of the record that caused it. The limit is read anew, because the topic at hand may be a copy from before ALTER SERVER.
 */
static void
check_size(const TopicDef *topic, const OutboxMessage *message)
{
	int64		size = (int64) MESSAGE_OVERHEAD + message->key_len + message->value_len;
	int64		limit;

	if (message->headers != NULL)
	{
		int16		count;

		memcpy(&count, message->headers, sizeof(count));
		size += message->headers_len + HEADER_OVERHEAD * count;
	}
	if (size <= KV_MESSAGE_LIMIT_MIN || size <= (limit = kv_topic_get(topic->relid)->max_message_bytes))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("a message of " INT64_FORMAT " bytes is too large for %s", size, topic->relation_name),
			 errdetail("Server \"%s\" takes messages of up to " INT64_FORMAT " bytes.", topic->server_name, limit),
			 errhint("Raise max.message.bytes of the topic in Kafka, then message_max_bytes of the server: ALTER SERVER %s OPTIONS (%s message_max_bytes '...').",
					 quote_identifier(topic->server_name), limit == KV_MESSAGE_LIMIT ? "ADD" : "SET")));
}

/* Finds or makes the buffer of this subtransaction for where messages of the topic go now. */
static OutboxBuffer *
current_buffer(const TopicDef *topic)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	OutboxTarget target = current_target(topic);
	OutboxBuffer *buffer;
	MemoryContext save;
	ListCell   *cell;

	/* the innermost level's come last; one for each target it writes to */
	for (int i = list_length(buffers) - 1; i >= 0; i--)
	{
		buffer = list_nth(buffers, i);
		if (buffer->subid != subid)
			break;
		if (same_target(&buffer->target, &target))
			return buffer;
	}

	/* what ended levels have left empty: a loop with exception blocks would pile them up */
	foreach(cell, buffers)
	{
		buffer = lfirst(cell);
		if (buffer->bytes.len > 0)
			continue;
		buffers = foreach_delete_current(buffers, cell);
		pfree(buffer->bytes.data);
		pfree(buffer);
	}
	if (outbox_context == NULL)
	{
		outbox_context = AllocSetContextCreate(TopTransactionContext, "kv outbox", ALLOCSET_DEFAULT_SIZES);
		row_context = AllocSetContextCreate(outbox_context, "kv outbox row", ALLOCSET_DEFAULT_SIZES);
	}
	save = MemoryContextSwitchTo(outbox_context);
	buffer = palloc0(sizeof(OutboxBuffer));
	buffer->target = target;
	buffer->subid = subid;
	initStringInfo(&buffer->bytes);
	reset_buffer(buffer);
	buffers = lappend(buffers, buffer);
	MemoryContextSwitchTo(save);
	return buffer;
}

/* Gives the target of a message; raises an error for a sink that a pipeline cannot write to. */
static OutboxTarget
current_target(const TopicDef *topic)
{
	OutboxTarget target = {.serverid = topic->serverid};

	if (!batch_state.active)
		return target;
	if (batch_state.target.serverid == InvalidOid)
		batch_state.target.serverid = pipeline_server(batch_state.target.pipeline);
	kv_outbox_check_server(batch_state.target.pipeline, topic);
	return batch_state.target;
}

/* Refuses a sink on another server than the pipeline's; see the header. */
void
kv_outbox_check_server(int64 pipeline, const TopicDef *topic)
{
	if (pipeline_server(pipeline) != topic->serverid)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a continuous view cannot write to %s", topic->relation_name),
				 errdetail("The topic is on server \"%s\", and the view reads from another one; one Kafka transaction "
						   "carries both its output and its positions.", topic->server_name),
				 errhint("Use a topic of the server that the view reads from.")));
}

/* Gives the server of a pipeline's topics; a pipeline never changes it. */
static Oid
pipeline_server(int64 pipeline)
{
	static int64 last_pipeline = 0;
	static Oid	last_server = InvalidOid;

	if (pipeline != last_pipeline)
	{
		List	   *found = kv_outbox_pipelines(pipeline);

		if (found == NIL)
			elog(ERROR, "pipeline " INT64_FORMAT " reads no topic", pipeline);
		last_server = ((OutboxPipeline *) linitial(found))->serverid;
		last_pipeline = pipeline;
	}
	return last_server;
}

static bool
same_target(const OutboxTarget *a, const OutboxTarget *b)
{
	return a->pipeline == b->pipeline && a->batch == b->batch && a->serverid == b->serverid;
}

/* Adds up what a target has in memory and not in the table. */
static Size
pending_bytes(const OutboxTarget *target)
{
	Size		sum = 0;
	ListCell   *cell;

	foreach(cell, buffers)
	{
		OutboxBuffer *buffer = lfirst(cell);

		if (buffer->written_by == InvalidSubTransactionId && same_target(&buffer->target, target))
			sum += buffer->bytes.len;
	}
	return sum;
}

/* Writes what a target has in memory, outer levels first. */
static void
write_buffers(const OutboxTarget *target)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	ListCell   *cell;

	foreach(cell, buffers)
	{
		OutboxBuffer *buffer = lfirst(cell);

		if (buffer->written_by != InvalidSubTransactionId || buffer->bytes.len == 0 || !same_target(&buffer->target, target))
			continue;
		write_row(buffer);
		if (buffer->subid == subid)
			reset_buffer(buffer);
		else
			buffer->written_by = subid;
	}
}

/*
 * Puts a buffer's bytes into the table as one row. Straight into the heap: SPI would cost more
 * than the row, and the writer of a topic needs no rights in kafka_state. A pipeline that was dropped in
 * this transaction has no outbox any more, and its messages go with it; so do those to a server that was.
 */
static void
write_row(OutboxBuffer *buffer)
{
	const OutboxTarget *target = &buffer->target;
	Oid			schema = get_namespace_oid(KV_STATE_SCHEMA, false);
	ForeignServer *server = NULL;
	char		name[NAMEDATALEN] = "transaction_outbox";
	Oid			relid;
	Relation	rel;
	HeapTuple	tuple;
	Datum		values[4];
	bool		nulls[4] = {false};
	int			n = 0;
	bytea	   *messages;
	MemoryContext save;

	if (target->pipeline != 0)
		snprintf(name, sizeof(name), "outbox_" INT64_FORMAT, target->pipeline);
	relid = get_relname_relid(name, schema);
	if (!OidIsValid(relid))
		return;

	save = MemoryContextSwitchTo(row_context);
	/* who renames the server has to see this row, or be seen by it: the row has the server's name */
	if (target->pipeline == 0)
	{
		LockDatabaseObject(ForeignServerRelationId, target->serverid, 0, AccessShareLock);
		server = GetForeignServerExtended(target->serverid, FSV_MISSING_OK);
		if (server == NULL)
		{
			MemoryContextSwitchTo(save);
			return;
		}
	}
	rel = table_open(relid, RowExclusiveLock);
	messages = palloc(VARHDRSZ + buffer->bytes.len);
	SET_VARSIZE(messages, VARHDRSZ + buffer->bytes.len);
	memcpy(VARDATA(messages), buffer->bytes.data, buffer->bytes.len);
	if (target->pipeline != 0)
	{
		values[n++] = Int64GetDatum(target->batch);
		values[n++] = Int64GetDatum(++batch_state.seq);
		batch_state.written = true;
	}
	else
	{
		Oid			sequence = get_relname_relid("transaction_outbox_seq_seq", schema);

		values[n++] = CStringGetTextDatum(server->servername);
		values[n++] = FullTransactionIdGetDatum(GetTopFullTransactionId());
		values[n++] = Int64GetDatum(nextval_internal(sequence, false));
	}
	values[n++] = PointerGetDatum(messages);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	CatalogTupleInsert(rel, tuple);
	if (target->pipeline == 0)
		warn_of_limit(rel, target->serverid);
	table_close(rel, NoLock);
	MemoryContextSwitchTo(outbox_context);
	written_servers = list_append_unique_oid(written_servers, target->serverid);
	MemoryContextSwitchTo(save);
	MemoryContextReset(row_context);
}

static void
reset_buffer(OutboxBuffer *buffer)
{
	resetStringInfo(&buffer->bytes);
	buffer->topic_at = -1;
	buffer->written_by = InvalidSubTransactionId;
}

/*
 * Warns where the outbox of ordinary transactions is over its limit and cannot be published; it blocks nobody. While publishing goes on,
 * the table is large because there was much, or because an old snapshot keeps it so.
 */
static void
warn_of_limit(Relation rel, Oid serverid)
{
	static TimestampTz warned_at = 0;
	KvSlot	   *publisher;
	int64		blocks = RelationGetNumberOfBlocks(rel);

	if (OidIsValid(rel->rd_rel->reltoastrelid))
	{
		Relation	toast = table_open(rel->rd_rel->reltoastrelid, AccessShareLock);

		blocks += RelationGetNumberOfBlocks(toast);
		table_close(toast, AccessShareLock);
	}
	if (blocks * BLCKSZ <= (int64) kv_outbox_limit_mb * 1024 * 1024)
		return;
	publisher = kv_slot_get(SLOT_PUBLISHER, MyDatabaseId, serverid, false);
	if ((publisher != NULL && publisher->pid != 0 && publisher->error[0] == '\0') ||
		kv_steady_now() < TimestampTzPlusMilliseconds(warned_at, WARN_AGAIN_MS))
		return;
	warned_at = kv_steady_now();
	ereport(WARNING,
			(errmsg("messages to server \"%s\" wait to be published", GetForeignServer(serverid)->servername),
			 errdetail("The outbox of ordinary transactions is larger than kafka.outbox_limit (%d MB). It goes on growing.", kv_outbox_limit_mb),
			 errhint("Look at publish_error in kafka.topics: the broker may be down.")));
}

/* Directs messages to a pipeline's own outbox; the caller holds the pipeline's row lock. */
void
kv_outbox_begin_batch(int64 pipeline, int64 batch)
{
	batch_state = (OutboxBatchState) {
		.active = true,
		.subid = GetCurrentSubTransactionId(),
		.target = {.pipeline = pipeline,.batch = batch}
	};
}

/* Ends it; tells whether it has messages. */
bool
kv_outbox_end_batch(void)
{
	if (batch_state.target.serverid != InvalidOid)
		write_buffers(&batch_state.target);
	batch_state.active = false;
	return batch_state.written;
}

bool
kv_outbox_in_batch(void)
{
	return batch_state.active;
}

/* Writes everything that is still in memory; raises no error for what a dropped extension leaves behind. */
static void
write_all(void)
{
	ListCell   *cell;

	if (buffers == NIL || !OidIsValid(get_namespace_oid(KV_STATE_SCHEMA, true)))
		return;
	KV_FAULT_POINT("outbox_before_rows");
	foreach(cell, buffers)
		write_buffers(&((OutboxBuffer *) lfirst(cell))->target);
	KV_FAULT_POINT("outbox_rows_written");
}

/* Wakes the publishers of what has been written, or the supervisor where there is none yet. */
static void
wake_publishers(void)
{
	ListCell   *cell;

	foreach(cell, written_servers)
	{
		if (!kv_wake(SLOT_PUBLISHER, MyDatabaseId, lfirst_oid(cell)))
			kv_wake(SLOT_SUPERVISOR, MyDatabaseId, 0);
	}
}

/* Writes what is left before the commit; forgets everything after it. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			write_all();
			return;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			return;
		case XACT_EVENT_COMMIT:
			if (written_servers != NIL)
				KV_FAULT_POINT("outbox_committed");
			wake_publishers();
			break;
		case XACT_EVENT_PREPARE:
			if (written_servers != NIL)
				KV_FAULT_POINT("outbox_prepared");
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
	/* the memory goes with TopTransactionContext */
	outbox_context = row_context = NULL;
	buffers = NIL;
	written_servers = NIL;
	batch_state.active = false;
	kv_outbox_default_time = DT_NOBEGIN;
}

/* Hands the buffers of an ended subtransaction to its parent, or takes back what it wrote. Must not raise. */
static void
end_of_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	ListCell   *cell;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;

	foreach(cell, buffers)
	{
		OutboxBuffer *buffer = lfirst(cell);

		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			if (buffer->written_by == subid)
				buffer->written_by = InvalidSubTransactionId;
			if (buffer->subid != subid)
				continue;
			/* now, not with the transaction: a loop that goes on after each error would pile them up */
			buffers = foreach_delete_current(buffers, cell);
			pfree(buffer->bytes.data);
			pfree(buffer);
			continue;
		}
		if (buffer->subid == subid)
			buffer->subid = parent;
		if (buffer->written_by == subid)
			buffer->written_by = parent;
		/* what its own level has written is done with; its topic may be named by later messages only */
		if (buffer->written_by == buffer->subid)
			reset_buffer(buffer);
	}
	if (batch_state.active && batch_state.subid == subid)
	{
		if (event == SUBXACT_EVENT_ABORT_SUB)
			batch_state.active = false;
		else
			batch_state.subid = parent;
	}
}

/* Creates a pipeline's outbox, owned by the engine. Rows of a page stay in it; larger ones are not compressed. */
void
kv_outbox_create(int64 pipeline)
{
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_ddl("CREATE TABLE kafka_state.outbox_" INT64_FORMAT " (batch bigint NOT NULL, seq bigint NOT NULL, messages bytea NOT NULL) "
			   "WITH (toast_tuple_target = " TOAST_TARGET ", autovacuum_vacuum_scale_factor = 0, "
			   "autovacuum_vacuum_threshold = 1000)", pipeline);
	kv_sql_ddl("ALTER TABLE kafka_state.outbox_" INT64_FORMAT " ALTER COLUMN messages SET STORAGE EXTERNAL", pipeline);
	kv_sql_ddl("CREATE UNIQUE INDEX outbox_" INT64_FORMAT "_order ON kafka_state.outbox_" INT64_FORMAT " (batch, seq)", pipeline, pipeline);
	/* without it a publication FOR ALL TABLES would keep the publisher from deleting */
	kv_sql_ddl("ALTER TABLE kafka_state.outbox_" INT64_FORMAT " REPLICA IDENTITY USING INDEX outbox_" INT64_FORMAT "_order", pipeline, pipeline);
	kv_sql_leave(&sql);
}

/*
 * Lists pipelines that have views, with the server, which follows from the topics that the definitions read, and the owner of the
 * first view, as which the worker reads (members.c): a view of somebody else's over it does not write with other credentials.
 */
List *
kv_outbox_pipelines(int64 pipeline)
{
	static const char text[] =
		"WITH RECURSIVE views AS MATERIALIZED (SELECT * FROM " KV_NEWEST_OF_ALL("view", "view") " v WHERE $1 IN (0, v.pipeline)),"
		"reads(pipeline, relid) AS ("
		"  SELECT v.pipeline, v.definition::oid FROM views v"
		"  UNION"
		"  SELECT r.pipeline, d.refobjid FROM reads r"
		"    JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.relid"
		"    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid"
		"      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
		") "
		"SELECT p.pipeline, p.name, p.paused, pg_catalog.min(f.ftserver::bigint)::oid, "
		"  (SELECT c.relowner FROM views v JOIN pg_catalog.pg_class c ON c.oid = v.relation WHERE v.pipeline = p.pipeline ORDER BY v.view LIMIT 1), p.resumed, p.token "
		"FROM " KV_NEWEST_OF_ALL("pipeline", "pipeline") " p "
		"JOIN reads r USING (pipeline) "
		"JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = r.relid "
		"JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver "
		"JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = '" KV_FDW "' "
		"GROUP BY p.pipeline, p.name, p.paused, p.resumed, p.token ORDER BY p.pipeline";
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);
	MemoryContext result_context = CurrentMemoryContext;
	List	   *result = NIL;
	uint64		count;
	KvSql		sql;

	kv_sql_enter_by_index(&sql);
	count = kv_sql_read(text, 1, types, &value, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		MemoryContext save = MemoryContextSwitchTo(result_context);
		OutboxPipeline *found = palloc(sizeof(OutboxPipeline));
		bool		isnull;

		found->pipeline = DatumGetInt64(kv_sql_value(i, 1, &isnull));
		found->name = kv_sql_text(i, 2);
		found->paused = DatumGetBool(kv_sql_value(i, 3, &isnull));
		found->serverid = DatumGetObjectId(kv_sql_value(i, 4, &isnull));
		found->owner = DatumGetObjectId(kv_sql_value(i, 5, &isnull));
		found->resumed = DatumGetInt64(kv_sql_value(i, 6, &isnull));
		found->token = kv_sql_text(i, 7);
		result = lappend(result, found);
		MemoryContextSwitchTo(save);
	}
	kv_sql_leave(&sql);
	return result;
}
