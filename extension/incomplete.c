/*
 * incomplete.c: refuses to read views that are behind what has been published from them.
 *
 * After a failover to a standby that was behind, or a restore, Kafka has more than Postgres: the pipeline applies again what
 * was published already (bgworker's redo.c), and its row stands in kafka_state.redo until it has.
 *
 * Invariant: no query sees such a view's rows unless kafka.allow_incomplete_reads is on. Every query passes here, so
 * a backend remembers that there is no such pipeline until the table changes.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/wait_event.h"

#include "catalog.h"
#include "incomplete.h"
#include "run_sql.h"
#include "shared.h"
#include "view_relations.h"

#define WAIT_MS 10000
#define POLL_MS 50

static ExecutorCheckPerms_hook_type previous_check;
static Oid	redo_relid = InvalidOid;	/* set: it was empty when this backend looked */

static bool check_reads(List *range_table, bool raise);
static bool may_be_incomplete(void);
static bool is_empty(Oid relid);
static void forget(Datum arg, Oid relid);
static bool is_incomplete(int64 pipeline);
static void raise_incomplete(const char *view) pg_attribute_noreturn();
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

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION || !(rte->requiredPerms & ACL_SELECT) ||
			get_rel_namespace(rte->relid) == ours || !kv_is_continuous_view(rte->relid))
			continue;
		view = kv_view_by_relation(rte->relid, true);
		if (view == NULL || !is_incomplete(view->pipeline))
			continue;
		if (raise)
			raise_incomplete(get_rel_name(rte->relid));
		return false;
	}
	return true;
}

/* Tells whether there may be a pipeline that is behind. */
static bool
may_be_incomplete(void)
{
	static bool registered = false;
	Oid			relid;

	if (OidIsValid(redo_relid))
		return false;
	if (!IsTransactionState() || !kv_catalog_installed())
		return false;
	relid = get_relname_relid("redo", get_namespace_oid(KV_STATE_SCHEMA, false));
	if (!OidIsValid(relid))
		return false;			/* the extension is being made or dropped */
	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
	redo_relid = relid;			/* a change from here on resets it */
	if (!is_empty(relid))
		redo_relid = InvalidOid;
	return !OidIsValid(redo_relid);
}

static bool
is_empty(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	bool		empty = systable_getnext(scan) == NULL;

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return empty;
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

static bool
is_incomplete(int64 pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);
	bool		found;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	found = kv_sql_read("SELECT FROM kafka_state.redo WHERE pipeline = $1", 1, types, &value, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return found;
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
	if (is_incomplete(pipeline))
		raise_incomplete(view);
}

static bool
has_published(int64 pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);
	bool		found;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	found = kv_sql_read("SELECT FROM kafka_state.published WHERE pipeline = $1", 1, types, &value, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return found;
}
