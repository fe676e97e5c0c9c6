/*
 * retry_request.c: kafka.retry_dead_letters, which asks the workers to try dead letters again, and kafka.discard_dead_letters, which forgets them.
 *
 * Why the first only asks: results, positions and outbox of a pipeline are written by its worker's batches and by nobody else,
 * so that each has one order. The request is a mark on the dead letters; it commits or rolls back with the caller's transaction.
 *
 * To discard one changes nothing of what is applied: its record was left out and stays so, for a reload too, because kafka_state.skipped keeps its place.
 * The row is locked by whoever decides about it. A worker that tries it has the lock to the end of its batch, so it is waited for, and then
 * it is gone, or failed again and is discarded; and a worker passes over what a session is discarding.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "fault_point.h"
#include "run_sql.h"
#include "shared.h"
#include "skipped.h"
#include "topic.h"

/* Dead letters that are meant: of a topic those that no view has got, of a view its own. */
#define MEANT "(relation::oid = $1 AND view IS NULL OR view::oid = $1) AND ($2 IS NULL OR id = ANY ($2))"

PG_FUNCTION_INFO_V1(kafka_retry_dead_letters);
PG_FUNCTION_INFO_V1(kafka_discard_dead_letters);

static void check_right(Oid relid);
static void tell_of_rows(Oid relid, Datum ids, bool all);
static int64 request(Oid relid, Datum ids, bool all);
static int64 discard(Oid relid, Datum ids, bool all);
static void keep_places(Datum ids);
static void forget_places(Oid relid);


/* kafka.retry_dead_letters(relation, ids): gives how many will be tried again. */
Datum
kafka_retry_dead_letters(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Datum		ids = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	relid = PG_GETARG_OID(0);
	check_right(relid);
	tell_of_rows(relid, ids, PG_ARGISNULL(1));
	PG_RETURN_INT64(request(relid, ids, PG_ARGISNULL(1)));
}

/* Raises an error unless the relation is a topic table or a continuous view of the role, who sees its dead letters. */
static void
check_right(Oid relid)
{
	bool		is_topic = get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE;

	if (is_topic)
		(void) kv_topic_get(relid);
	else
		(void) kv_view_by_relation(relid, false);
	if (!pg_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, is_topic ? OBJECT_FOREIGN_TABLE : OBJECT_MATVIEW, get_rel_name(relid));
}

/* Says what is left out: rows that no record of now has made. */
static void
tell_of_rows(Oid relid, Datum ids, bool all)
{
	static const char text[] = "SELECT count(*) FROM kafka_state.dead_letter WHERE record_offset IS NULL AND " MEANT;
	const Oid	types[] = {OIDOID, INT8ARRAYOID};
	Datum		values[] = {ObjectIdGetDatum(relid), ids};
	int64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_read(text, 2, types, values, all ? " n" : NULL, 0);
	count = kv_sql_int8(0, 1);
	kv_sql_leave(&sql);
	if (count > 0)
		ereport(NOTICE,
				(errmsg_plural("%lld dead letter of %s cannot be tried again", "%lld dead letters of %s cannot be tried again",
							   (unsigned long) count, (long long) count, get_rel_name(relid)),
				 errdetail("They are rows that time has made or closed, not records, and what has closed stays closed.")));
}

/* Marks them, and wakes the workers when this transaction commits. */
static int64
request(Oid relid, Datum ids, bool all)
{
	static const char text[] =
		"WITH marked AS (UPDATE kafka_state.dead_letter SET retry_requested = coalesce(retry_requested, pg_catalog.now())"
		" WHERE record_offset IS NOT NULL AND " MEANT " RETURNING pipeline)"
		" SELECT pipeline, count(*) FROM marked GROUP BY pipeline";
	const Oid	types[] = {OIDOID, INT8ARRAYOID};
	Datum		values[] = {ObjectIdGetDatum(relid), ids};
	int64		total = 0;
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_run(text, 2, types, values, all ? " n" : NULL);
	for (uint64 i = 0; i < count; i++)
	{
		total += kv_sql_int8(i, 2);
		kv_wake_at_commit(SLOT_WORKER, MyDatabaseId, kv_sql_int8(i, 1));
	}
	kv_sql_leave(&sql);
	KV_FAULT_POINT("retry_requested");
	return total;
}

/* kafka.discard_dead_letters(relation, ids): gives how many are gone. */
Datum
kafka_discard_dead_letters(PG_FUNCTION_ARGS)
{
	Oid			relid;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	relid = PG_GETARG_OID(0);
	check_right(relid);
	PG_RETURN_INT64(discard(relid, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1)));
}

/* Deletes them, once nobody tries them. Blocks: for a batch of dead letters that are tried again. */
static int64
discard(Oid relid, Datum ids, bool all)
{
	/* in the order of ids, so that sessions do not wait for each other in a circle */
	static const char lock[] =
		"SELECT pg_catalog.array_agg(l.id) FROM (SELECT id FROM kafka_state.dead_letter WHERE " MEANT " ORDER BY id FOR UPDATE) l";
	static const char delete[] =
		"DELETE FROM kafka_state.dead_letter d USING pg_catalog.unnest($1) i (id) WHERE d.id = i.id";
	const Oid	types[] = {OIDOID, INT8ARRAYOID};
	Datum		values[] = {ObjectIdGetDatum(relid), ids};
	int64		total = 0;
	Datum		locked;
	bool		none;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run(lock, 2, types, values, all ? " n" : NULL);
	locked = kv_sql_value(0, 1, &none);
	if (!none)
	{
		keep_places(locked);
		total = kv_sql_run(delete, 1, &types[1], &locked, NULL);
		forget_places(relid);
	}
	kv_sql_leave(&sql);
	return total;
}

/*
 * Notes that these records were not applied, where somebody may ask: another dead letter of a table, which is tried again only if no newer record of
 * its key has been applied (newer_records.c). In the engine's scope.
 */
static void
keep_places(Datum ids)
{
	static const char text[] =
		"WITH discarded AS (SELECT d.* FROM kafka_state.dead_letter d JOIN pg_catalog.unnest($1) i (id) USING (id)),"
		" others AS (SELECT DISTINCT d.pipeline, d.relation FROM kafka_state.dead_letter d"
		" WHERE NOT EXISTS (SELECT FROM pg_catalog.unnest($1) i (id) WHERE i.id = d.id))"
		" INSERT INTO kafka_state.skipped (pipeline, relation, partition, record_offset, view)"
		" SELECT d.pipeline, d.relation, d.partition, d.record_offset, v.view FROM discarded d"
		" JOIN pg_catalog.pg_foreign_table t ON t.ftrelid = d.relation AND 'mode=upsert' = ANY (t.ftoptions)"
		" JOIN others o ON o.pipeline = d.pipeline AND o.relation = d.relation"
		" LEFT JOIN kafka_state.view v ON v.relation = d.view"
		" WHERE NOT d.rows_only AND (d.view IS NULL OR v.view IS NOT NULL)"
		" ON CONFLICT DO NOTHING";
	const Oid	types[] = {INT8ARRAYOID};

	kv_sql_run(text, 1, types, &ids, NULL);
}

/*
 * Forgets such places where the last dead letter is gone for which they were kept; of tables that unstored views may read as well, when the next run begins
 * (read_again.c). In the engine's scope.
 */
static void
forget_places(Oid relid)
{
	static const char text[] =
		"DELETE FROM kafka_state.skipped s USING pg_catalog.pg_foreign_table t WHERE t.ftrelid = s.relation AND 'mode=upsert' = ANY (t.ftoptions)"
		" AND (s.relation::oid = $1 OR s.pipeline = (SELECT v.pipeline FROM kafka_state.view v WHERE v.relation::oid = $1))"
		" AND NOT " KV_HAS_DEAD_LETTERS("s")
		" AND NOT EXISTS (SELECT FROM kafka_state.view v WHERE v.pipeline = s.pipeline AND v.relation = v.definition AND v.view = coalesce(s.view, v.view))";
	const Oid	types[] = {OIDOID};
	Datum		value = ObjectIdGetDatum(relid);

	kv_sql_run(text, 1, types, &value, NULL);
}
