/*
 * cluster.c: to which Kafka cluster a server leads.
 *
 * Why it exists: ALTER SERVER, or a name that is resolved otherwise, may lead to another cluster whose topics have the same names. Offsets of the one
 * mean nothing in the other, and nothing else tells: the pipeline would read on in the middle of other records.
 *
 * Invariant: a pipeline reads and publishes in the cluster that it began with. kafka.resume(pipeline, published => n) forgets
 * which that was, for a cluster that has the same records at the same offsets. Brokers that do not give their cluster's id are trusted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "broker.h"
#include "catalog.h"
#include "cluster.h"
#include "run_sql.h"

#define ANSWER_TIMEOUT_MS 10000

static bool changed = false;

static void raise_other_cluster(KvClient *client, int64 pipeline, const char *name, const char *known, const char *id) pg_attribute_noreturn();
static int64 last_published(int64 pipeline);
static void note_change(Datum arg, int cache, uint32 hash);


/* See the header. */
bool
kv_cluster_check(KvClient *client, int64 pipeline, const char *name, bool wait)
{
	const Oid	types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(pipeline), (Datum) 0};
	MemoryContext save = CurrentMemoryContext;
	char	   *id = kv_broker_cluster(client, ANSWER_TIMEOUT_MS);
	char	   *known = NULL;
	bool		other;
	bool		checked;
	KvSql		sql;

	if (id == NULL)
		return true;
	values[1] = CStringGetTextDatum(id);
	StartTransactionCommand();
	kv_sql_enter_engine(&sql);
	other = kv_sql_read("SELECT cluster FROM kafka_state.pipeline WHERE pipeline = $1 AND cluster IS DISTINCT FROM $2", 2, types, values, NULL, 1) > 0;
	if (other)
		known = kv_sql_text(0, 1);
	if (known != NULL)
		raise_other_cluster(client, pipeline, name, known, id);
	checked = !other || wait || kv_pipeline_try_lock(pipeline);
	if (other && checked)
		kv_sql_run("UPDATE kafka_state.pipeline SET cluster = $2 WHERE pipeline = $1 AND cluster IS NULL", 2, types, values, NULL);
	kv_sql_leave(&sql);
	CommitTransactionCommand();
	MemoryContextSwitchTo(save);
	pfree(id);
	return checked;
}

/* Inside the engine's scope. */
static void
raise_other_cluster(KvClient *client, int64 pipeline, const char *name, const char *known, const char *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("server \"%s\" leads to another Kafka cluster than the one that pipeline \"%s\" has read", client->server_name, name),
			 errdetail("The pipeline has read cluster \"%s\", the brokers are of \"%s\".", known, id),
			 errhint("Set the option bootstrap_servers back. If this cluster has the same records at the same offsets: SELECT kafka.resume('%s', published => "
					 INT64_FORMAT "). Otherwise drop the views of the pipeline and create them again to read its topics from their start.",
					 name, last_published(pipeline))));
}

/* Gives the last batch that is noted as published as a whole. */
static int64
last_published(int64 pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);

	if (kv_sql_read("SELECT batch - (part <> 0)::integer FROM kafka_state.published WHERE pipeline = $1", 1, types, &value, NULL, 1) == 0)
		return 0;
	return kv_sql_int8(0, 1);
}

/* See the header. */
bool
kv_cluster_may_have_changed(void)
{
	static bool registered = false;
	bool		result = changed;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, note_change, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, note_change, (Datum) 0);
		registered = true;
	}
	changed = false;
	return result;
}

static void
note_change(Datum arg, int cache, uint32 hash)
{
	changed = true;
}
