/*
 * sink_list.c: kafka_state.sink, the topics that unstored views write to.
 *
 * Why it exists: the sinks of a stored view are triggers on its table. On a plain view
 * none would fire, so they are rows here, which the worker reads at the start of a run.
 *
 * Invariant: whoever changes the list of a view holds a lock on the view that conflicts with the worker's, and
 * tells the relcache, so that no batch runs with another list than the one that stands.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/inval.h"

#include "run_sql.h"
#include "sink_list.h"

static uint64 run_for_sink(const char *text, const ViewRow *view, Oid topic_relid);


/* Adds a topic table to the sinks of a view; false: it is there already. */
bool
kv_sink_add(const ViewRow *view, Oid topic_relid)
{
	return run_for_sink("INSERT INTO kafka_state.sink (view, topic_table) VALUES ($1, $2) ON CONFLICT DO NOTHING", view, topic_relid) > 0;
}

/* Takes a topic table from the sinks of a view; false: it is not there. */
bool
kv_sink_remove(const ViewRow *view, Oid topic_relid)
{
	return run_for_sink("DELETE FROM kafka_state.sink WHERE view = $1 AND topic_table = $2", view, topic_relid) > 0;
}

/* Runs a statement about one sink, and makes the worker read the list again. */
static uint64
run_for_sink(const char *text, const ViewRow *view, Oid topic_relid)
{
	const Oid	types[] = {INT8OID, REGCLASSOID};
	Datum		values[] = {Int64GetDatum(view->view), ObjectIdGetDatum(topic_relid)};
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_run(text, 2, types, values, NULL);
	kv_sql_leave(&sql);
	CacheInvalidateRelcacheByRelid(view->relation);
	return count;
}

/* Lists the topic tables (Oid) that an unstored view writes to. */
List *
kv_sink_list(int64 view)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(view);
	MemoryContext caller = CurrentMemoryContext;
	List	   *result = NIL;
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_read("SELECT topic_table FROM kafka_state.sink WHERE view = $1 ORDER BY topic_table::oid", 1, types, &value, NULL, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;

		result = lappend_oid(result, DatumGetObjectId(kv_sql_value(i, 1, &isnull)));
	}
	kv_sql_leave(&sql);
	return result;
}
