/*
 * drain.c: what is done before messages of an outbox go out, and when it is empty; for pipelines and ordinary transactions alike.
 *
 * Invariants: what goes to Kafka is durable here, and at a synchronous standby, before; and a table of the outbox is
 * truncated only with a lock that keeps writers out and a snapshot that shows nothing unpublished in it.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "drain.h"
#include "fault_point.h"
#include "run_sql.h"

/* A drained outbox of so many pages is truncated: below, vacuum and reuse are cheaper than a new file. */
#ifdef KV_FAULT_POINTS
#define TRUNCATE_BLOCKS 1
#else
#define TRUNCATE_BLOCKS (16 * 1024 * 1024 / BLCKSZ)
#endif

/* See the header. */
void
kv_drain_flush(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();
	uint32		in_page = lsn % XLOG_BLCKSZ;
	uint32		header = (lsn - in_page) % wal_segment_size == 0 ? SizeOfXLogLongPHD : SizeOfXLogShortPHD;

	/* at a page's start the insert position lies behind a page header that is not written yet, so nothing is there to flush */
	if (in_page == header)
		lsn -= in_page;
	XLogFlush(lsn);
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(lsn, true);
	RESUME_INTERRUPTS();
	/* a wait that was given up proves nothing: this ends the process before it publishes */
	CHECK_FOR_INTERRUPTS();
}

/*
 * Empties a drained table of the outbox. Under the lock nobody can add a row, and a
 * snapshot taken after it shows every row there is: only if none of them is
 * unpublished the table is truncated. Where the lock is not free, later.
 */
void
kv_drain_truncate(int64 pipeline, int64 batch)
{
	const char *table = pipeline != 0 ? psprintf("outbox_" INT64_FORMAT, pipeline) : "transaction_outbox";
	Oid			relid;
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(batch);
	MemoryContext save = CurrentMemoryContext;
	KvSql		sql;

	StartTransactionCommand();
	relid = get_relname_relid(table, get_namespace_oid(KV_STATE_SCHEMA, false));
	if (OidIsValid(relid) && ConditionalLockRelationOid(relid, AccessShareLock))
	{
		Relation	rel = try_relation_open(relid, NoLock);
		bool		large = rel != NULL && RelationGetNumberOfBlocks(rel) >= TRUNCATE_BLOCKS;

		if (rel != NULL)
			relation_close(rel, NoLock);
		if (large && ConditionalLockRelationOid(relid, AccessExclusiveLock))
		{
			/*
			 * The lock is held until the commit is over. That must not wait for a standby which is away, or whoever writes or reads there would
			 * wait too. A standby that takes over without the new file has the old one, where what is out is deleted, or its recovery
			 * finds that it is out; and whatever was written after this is lost with it.
			 */
			(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
			PushActiveSnapshot(GetTransactionSnapshot());
			KV_FAULT_POINT("truncate_locked");
			/* what is live lies behind the dead rows, of which there may be many under an old snapshot */
			kv_sql_enter_by_index(&sql);
			if (kv_sql_read(psprintf(pipeline != 0 ? "SELECT FROM kafka_state.%s WHERE batch > $1 ORDER BY batch, seq LIMIT 1"
									 : "SELECT FROM kafka_state.%s WHERE $1 IS NOT NULL ORDER BY server DESC, seq DESC LIMIT 1", table),
							1, types, &value, NULL, 1) == 0)
				kv_sql_ddl("TRUNCATE kafka_state.%s", table);
			KV_FAULT_POINT("truncate_done");
			kv_sql_leave(&sql);
			PopActiveSnapshot();
		}
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
}
