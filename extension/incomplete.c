/*
 * incomplete.c: refuses to read views that are behind what has been published from them.
 *
 * After a failover to a standby that was behind, or a restore, Kafka has more than Postgres: the pipeline applies again what
 * was published already (bgworker's redo.c), and its row stands in kafka_state.redo until it has. Whether it is so is known when the
 * publisher has reached Kafka: until then pipeline.compared names another timeline or data directory. A server that starts again
 * where it was needs no comparison, for nothing is published that its WAL could lose. A standby is behind as standbys are, and may be read.
 *
 * Invariant: no query sees such a view's rows unless kafka.allow_incomplete_reads is on; its own snapshot is asked, which may be older than
 * the last batch of a redo: that of a cursor, or of a query that calls a STABLE function which reads a view. Every query passes
 * here, so a backend remembers that a snapshot had no such pipeline: as long as nothing changes in kafka_state.redo
 * (kv_incomplete_changed) and the server is not promoted, neither has a later one.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "catalog.h"
#include "identity.h"
#include "incomplete.h"
#include "run_sql.h"
#include "shared.h"
#include "view_relations.h"

#define WAIT_MS 10000
#define POLL_MS 50

static ExecutorCheckPerms_hook_type previous_check;
static Oid	redo_relid = InvalidOid;	/* set: all were complete when this backend looked */
static bool looked_in_recovery; /* when it did */
static TransactionId looked_xmax;	/* of the snapshot that it looked with */
static uint32 looked_running;	/* transactions below it that ran then */

static bool check_reads(List *range_table, bool raise);
static bool may_be_incomplete(void);
static bool is_remembered(void);
static void remember(Oid redo);
static uint32 running_in(Snapshot snapshot);
static bool is_seen_incomplete(int64 pipeline, bool *noted);
static Oid	state_table(const char *name);
static bool any_behind(Snapshot snapshot);
static bool has_row(Oid relid, bool (*is_such) (HeapTuple row, TupleDesc desc), int64 pipeline, Snapshot snapshot);
static bool is_elsewhere(HeapTuple row, TupleDesc desc);
static Datum column_of(HeapTuple row, TupleDesc desc, const char *name);
static void forget(Datum arg, Oid relid);
static bool is_compared(int64 pipeline);
static void raise_incomplete(const char *view) pg_attribute_noreturn();
static void raise_not_compared(const char *view) pg_attribute_noreturn();
static bool has_published(int64 pipeline);


/* See the header. */
void
kv_incomplete_init(void)
{
	previous_check = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_reads;
}

/* Refuses a query that reads an incomplete view; ours are exempt, they make it complete. */
static bool
check_reads(List *range_table, bool raise)
{
	Oid			ours;
	ListCell   *cell;

	if (previous_check != NULL && !previous_check(range_table, raise))
		return false;
	if (kv_allow_incomplete_reads || kv_my_slot != NULL || IsParallelWorker() || !may_be_incomplete())
		return true;
	ours = get_namespace_oid(KV_STATE_SCHEMA, true);
	foreach(cell, range_table)
	{
		RangeTblEntry *rte = lfirst(cell);
		ViewRow    *view;
		bool		noted;

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION || !(rte->requiredPerms & ACL_SELECT) ||
			get_rel_namespace(rte->relid) == ours || !kv_is_continuous_view(rte->relid))
			continue;
		view = kv_view_by_relation(rte->relid, true);
		if (view == NULL || !is_seen_incomplete(view->pipeline, &noted))
			continue;
		if (!raise)
			return false;
		if (noted)
			raise_incomplete(get_rel_name(rte->relid));
		raise_not_compared(get_rel_name(rte->relid));
	}
	return true;
}

/* Tells whether there may be a pipeline that is behind. */
static bool
may_be_incomplete(void)
{
	static bool registered = false;
	Oid			redo;

	if (!IsTransactionState())
		return false;
	/* a transaction that has all its locks would hear of a change only when it has ended */
	AcceptInvalidationMessages();
	if (is_remembered() || !kv_catalog_installed())
		return false;
	redo = state_table("redo");
	if (!OidIsValid(redo))
		return false;			/* the extension is being made or dropped */
	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
	remember(redo);				/* a change from here on resets it */
	/* this snapshot may be older than a change that is known already */
	if (any_behind(NULL) || (ActiveSnapshotSet() && any_behind(GetActiveSnapshot())))
		redo_relid = InvalidOid;
	return !OidIsValid(redo_relid);
}

/* Is it known that the query's snapshot has no pipeline that is behind? That of a later moment sees more transactions as over. */
static bool
is_remembered(void)
{
	Snapshot	snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;

	if (!OidIsValid(redo_relid) || looked_in_recovery != RecoveryInProgress())
		return false;
	return snapshot == NULL || TransactionIdFollows(snapshot->xmax, looked_xmax) ||
		(snapshot->xmax == looked_xmax && running_in(snapshot) <= looked_running);
}

static void
remember(Oid redo)
{
	Snapshot	snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : GetLatestSnapshot();

	redo_relid = redo;
	looked_in_recovery = RecoveryInProgress();
	looked_xmax = snapshot->xmax;
	looked_running = running_in(snapshot);
}

static uint32
running_in(Snapshot snapshot)
{
	return snapshot->takenDuringRecovery ? snapshot->subxcnt : snapshot->xcnt;
}

/* Tells whether a pipeline is behind, or nobody knows, in the query's snapshot; whether it is noted there, or not compared. */
static bool
is_seen_incomplete(int64 pipeline, bool *noted)
{
	Snapshot	snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;
	bool		elsewhere = has_row(state_table("pipeline"), is_elsewhere, pipeline, snapshot);
	char	   *reason;

	/* in this order, as in kv_incomplete_is */
	*noted = has_row(state_table("redo"), NULL, pipeline, snapshot);
	return *noted || (elsewhere && kv_identity_matches(&reason));
}

/* Gives a table of kafka_state; InvalidOid while the extension is being made. */
static Oid
state_table(const char *name)
{
	return get_relname_relid(name, get_namespace_oid(KV_STATE_SCHEMA, true));
}

static bool
any_behind(Snapshot snapshot)
{
	return has_row(state_table("pipeline"), is_elsewhere, 0, snapshot) || has_row(state_table("redo"), NULL, 0, snapshot);
}

/* Has a table a row that is such, of a pipeline or of any (0)? Asked with a snapshot, or that of now (NULL). */
static bool
has_row(Oid relid, bool (*is_such) (HeapTuple row, TupleDesc desc), int64 pipeline, Snapshot snapshot)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	bool		found = false;
	HeapTuple	row;

	while (!found && (row = systable_getnext(scan)) != NULL)
		found = (pipeline == 0 || DatumGetInt64(column_of(row, desc, "pipeline")) == pipeline) &&
			(is_such == NULL || is_such(row, desc));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Was a pipeline compared with Kafka elsewhere only? Asked with its row. */
static bool
is_elsewhere(HeapTuple row, TupleDesc desc)
{
	return !RecoveryInProgress() && strcmp(TextDatumGetCString(column_of(row, desc, "compared")), kv_identity_here()) != 0;
}

/* Gives a column that is never null. */
static Datum
column_of(HeapTuple row, TupleDesc desc, const char *name)
{
	bool		isnull;

	for (int i = 0; i < desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return heap_getattr(row, i + 1, desc, &isnull);
	}
	elog(ERROR, "a table of " KV_STATE_SCHEMA " has no column \"%s\"", name);
}

/* Looks again at the next query, since the table has changed; relcache callback. */
static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == redo_relid)
		redo_relid = InvalidOid;
}

/* See the header. */
void
kv_incomplete_changed(void)
{
	CacheInvalidateRelcacheByRelid(get_relname_relid("redo", get_namespace_oid(KV_STATE_SCHEMA, false)));
}

/* See the header. */
bool
kv_incomplete_noted(int64 pipeline)
{
	return kv_catalog_has("SELECT FROM kafka_state.redo WHERE pipeline = $1", INT8OID, Int64GetDatum(pipeline));
}

/* See the header. */
bool
kv_incomplete_is(int64 pipeline)
{
	/* in this order: what the publisher finds out it notes first, and then that it has compared */
	return !is_compared(pipeline) || kv_incomplete_noted(pipeline);
}

/* Is it known, since the server was promoted or restored, what Kafka has of a pipeline? A copy that is nobody's successor yet may be read. */
static bool
is_compared(int64 pipeline)
{
	const Oid	types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(pipeline), (Datum) 0};
	char	   *reason;
	bool		elsewhere;
	KvSql		sql;

	if (RecoveryInProgress())
		return true;
	values[1] = CStringGetTextDatum(kv_identity_here());
	kv_sql_enter_by_index(&sql);
	elsewhere = kv_sql_read("SELECT FROM " KV_NEWEST("pipeline", "pipeline", "$1") " p WHERE compared <> $2", 2, types, values, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return !elsewhere || !kv_identity_matches(&reason);
}

static void
raise_incomplete(const char *view)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("continuous view \"%s\" is behind what has been published from it", view),
			 errdetail("After a failover or a restore its pipeline applies again what Kafka has already."),
			 errhint("Wait until kafka_state.redo has no row of it, or set kafka.allow_incomplete_reads to see what there is.")));
}

static void
raise_not_compared(const char *view)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("it is not known yet whether continuous view \"%s\" is behind what has been published from it", view),
			 errdetail("After a failover or a restore the publisher asks Kafka first."),
			 errhint("Try again in a moment. If that lasts, look at publish_error in kafka.pipelines, or set kafka.allow_incomplete_reads to see what there is.")));
}

/* See the header. */
void
kv_incomplete_refuse(int64 pipeline, const char *view)
{
	for (int waited = 0; has_published(pipeline); waited += POLL_MS)
	{
		KvSlot	   *slot = kv_slot_get(SLOT_OUTPUT, MyDatabaseId, pipeline, false);

		if (slot != NULL && slot->recovered)
			break;
		if (waited >= WAIT_MS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the pipeline of \"%s\" does not know yet what has been published from it", view),
					 errdetail("Its publisher asks Kafka after each start of the server."),
					 errhint("Look at publish_error in kafka.pipelines, and try again.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	/* as of now: the transaction's own snapshot may be older than the lock that the caller has */
	if (has_row(state_table("redo"), NULL, pipeline, NULL))
		raise_incomplete(view);
}

static bool
has_published(int64 pipeline)
{
	return kv_catalog_has("SELECT FROM kafka_state.published WHERE pipeline = $1", INT8OID, Int64GetDatum(pipeline));
}
