/*
 * catalog.c: pipelines and views of kafka_state as structs.
 *
 * Invariant: only here are rows of kafka_state.pipeline and view made, read whole and deleted, with everything that goes with them. Other
 * rooms name a column of theirs only to find or lock a row, to join it with what a statement of theirs is about, or where the
 * field is theirs: token and compared (identity.c, and who asks for them: incomplete.c, recovery.c, publish_pipeline.c), cluster
 * (cluster.c), the batch number that Kafka has (redo.c, change_view.c).
 *
 * Functions run under the engine's role in the caller's transaction; results are palloc'd in the context that was current at
 * the call. Times: see kv_sql_time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "catalog.h"
#include "identity.h"
#include "run_sql.h"

static const Oid pipeline_type[] = {INT8OID};

static List *read_pipelines(const char *text, int nparams, const Oid *types, const Datum *values);
static List *read_views(const char *text, int nparams, const Oid *types, const Datum *values);
static void forget_pipelines(void);
static void warn_of_unpublished(int64 pipeline, const char *name);


bool
kv_catalog_installed(void)
{
	return OidIsValid(get_extension_oid(KV_EXTENSION, true));
}

/* ------------------------------------------------------------------ pipelines */

/* Inserts a pipeline with a new id and a new token. */
PipelineRow *
kv_pipeline_insert(const char *name)
{
	static const char text[] =
		"INSERT INTO kafka_state.pipeline (name, token, compared) VALUES ($1, left(gen_random_uuid()::text, 8), $2) "
		"RETURNING pipeline, token, name, paused, batch";
	const Oid	types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum(kv_identity_here())};

	kv_identity_ensure();
	return linitial(read_pipelines(text, 2, types, values));
}

PipelineRow *
kv_pipeline_get(int64 pipeline, bool missing_ok)
{
	Datum		value = Int64GetDatum(pipeline);
	List	   *rows = read_pipelines("SELECT pipeline, token, name, paused, batch FROM " KV_NEWEST("pipeline", "pipeline", "$1") " p",
									  1, pipeline_type, &value);

	if (rows == NIL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("pipeline " INT64_FORMAT " does not exist", pipeline)));
	return rows == NIL ? NULL : linitial(rows);
}

PipelineRow *
kv_pipeline_by_name(const char *name, bool missing_ok)
{
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(name);
	List	   *rows = read_pipelines("SELECT pipeline, token, name, paused, batch FROM kafka_state.pipeline WHERE name = $1",
									  1, types, &value);

	if (rows == NIL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("pipeline \"%s\" does not exist", name),
				 errhint("kafka.pipelines lists them; a pipeline has the name of its first view unless the view was created with kafka.pipeline.")));
	return rows == NIL ? NULL : linitial(rows);
}

List *
kv_pipeline_list(void)
{
	return read_pipelines("SELECT pipeline, token, name, paused, batch FROM kafka_state.pipeline ORDER BY pipeline", 0, NULL, NULL);
}

/* Runs a statement that gives pipelines in the order of PipelineRow's fields. */
static List *
read_pipelines(const char *text, int nparams, const Oid *types, const Datum *values)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *result = NIL;
	KvSql		sql;
	uint64		count;

	kv_sql_enter_by_index(&sql);
	count = kv_sql_run(text, nparams, types, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		PipelineRow *row = MemoryContextAllocZero(caller, sizeof(PipelineRow));
		MemoryContext spi;
		bool		isnull;

		row->pipeline = kv_sql_int8(i, 1);
		row->token = kv_sql_text(i, 2);
		row->name = kv_sql_text(i, 3);
		row->paused = DatumGetBool(kv_sql_value(i, 4, &isnull));
		row->batch = kv_sql_int8(i, 5);
		spi = MemoryContextSwitchTo(caller);
		result = lappend(result, row);
		MemoryContextSwitchTo(spi);
	}
	kv_sql_leave(&sql);
	return result;
}

/* Locks the pipeline's row and takes the next batch number. */
int64
kv_pipeline_next_batch(int64 pipeline)
{
	static KvRowPlan plan;
	Datum		value = Int64GetDatum(pipeline);
	int64		batch;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	if (kv_plan_change_row(&plan, "UPDATE kafka_state.pipeline SET batch = batch + 1 WHERE %s RETURNING batch", KV_THE_ROW("pipeline", "pipeline"),
						   1, pipeline_type, &value, NULL) != 1)
		kv_pipeline_is_gone(pipeline);
	batch = kv_sql_int8(0, 1);
	kv_sql_leave(&sql);
	return batch;
}

/* See the header. */
void
kv_pipeline_is_gone(int64 pipeline)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("pipeline " INT64_FORMAT " does not exist any more", pipeline)));
}

/* See the header. */
bool
kv_pipeline_try_lock(int64 pipeline)
{
	Datum		value = Int64GetDatum(pipeline);
	bool		locked;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	locked = kv_sql_run("SELECT FROM kafka_state.pipeline WHERE pipeline = $1 FOR UPDATE SKIP LOCKED", 1, pipeline_type, &value, NULL) > 0;
	kv_sql_leave(&sql);
	return locked;
}

void
kv_pipeline_set_paused(int64 pipeline, bool paused)
{
	const Oid	types[] = {INT8OID, BOOLOID};
	Datum		values[] = {Int64GetDatum(pipeline), BoolGetDatum(paused)};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("UPDATE kafka_state.pipeline SET paused = $2, resumed = resumed + (NOT $2)::integer WHERE pipeline = $1 AND NOT (paused AND $2)",
			   2, types, values, NULL);
	kv_sql_leave(&sql);
}

/* See the header. */
bool
kv_pipeline_set_compared(int64 pipeline, bool *changed)
{
	const Oid	types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(pipeline), CStringGetTextDatum(kv_identity_here())};
	bool		known;
	bool		locked;
	KvSql		sql;

	*changed = false;
	kv_sql_enter_engine(&sql);
	known = kv_sql_read("SELECT FROM kafka_state.pipeline WHERE pipeline = $1 AND compared <> $2", 2, types, values, NULL, 1) == 0;
	locked = !known && kv_pipeline_try_lock(pipeline);
	if (locked)
		*changed = kv_sql_run("UPDATE kafka_state.pipeline SET compared = $2 WHERE pipeline = $1 AND compared <> $2", 2, types, values, NULL) > 0;
	kv_sql_leave(&sql);
	return known || locked;
}

/* ------------------------------------------------------------------ views */

/* Takes the id of a view that is about to be made; its objects are named by it. */
int64
kv_view_reserve_id(void)
{
	int64		id;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("SELECT nextval('kafka_state.view_view_seq')", 0, NULL, NULL, NULL);
	id = kv_sql_int8(0, 1);
	kv_sql_leave(&sql);
	return id;
}

void
kv_view_insert(int64 view, int64 pipeline, Oid relation, Oid definition, ArrayType *options,
			   ArrayType *settings, bool initialized)
{
	static const char text[] =
		"INSERT INTO kafka_state.view (view, pipeline, relation, definition, options, settings, initialized) "
		"OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7)";
	const Oid	types[] = {INT8OID, INT8OID, REGCLASSOID, REGCLASSOID, TEXTARRAYOID, TEXTARRAYOID, BOOLOID};
	Datum		values[] = {
		Int64GetDatum(view), Int64GetDatum(pipeline), ObjectIdGetDatum(relation), ObjectIdGetDatum(definition),
		PointerGetDatum(options), PointerGetDatum(settings), BoolGetDatum(initialized)
	};
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 7, types, values, NULL);
	kv_sql_leave(&sql);
}

#define VIEW_COLUMNS "view, pipeline, relation, definition, options, settings, initialized, frontier, late_rows"

ViewRow *
kv_view_get(int64 view, bool missing_ok)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(view);
	List	   *rows = read_views("SELECT " VIEW_COLUMNS " FROM " KV_NEWEST("view", "view", "$1") " v", 1, types, &value);

	if (rows == NIL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("continuous view " INT64_FORMAT " does not exist", view)));
	return rows == NIL ? NULL : linitial(rows);
}

ViewRow *
kv_view_by_relation(Oid relation, bool missing_ok)
{
	const Oid	types[] = {REGCLASSOID};
	Datum		value = ObjectIdGetDatum(relation);
	List	   *rows = read_views("SELECT " VIEW_COLUMNS " FROM " KV_NEWEST("view", "relation", "$1") " v", 1, types, &value);

	if (rows == NIL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a continuous view",
						DatumGetCString(DirectFunctionCall1(regclassout, ObjectIdGetDatum(relation)))),
				 errhint("kafka.views lists the continuous views.")));
	return rows == NIL ? NULL : linitial(rows);
}

/* Lists the views of a pipeline, or all of them (0), in creation order: inputs come before their readers. */
List *
kv_view_list(int64 pipeline)
{
	Datum		value = Int64GetDatum(pipeline);

	return read_views("SELECT " VIEW_COLUMNS " FROM " KV_NEWEST_OF_ALL("view", "view") " v WHERE $1 IN (0, pipeline) ORDER BY view",
					  1, pipeline_type, &value);
}

/* Runs a statement that gives VIEW_COLUMNS. */
static List *
read_views(const char *text, int nparams, const Oid *types, const Datum *values)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *result = NIL;
	KvSql		sql;
	uint64		count;

	kv_sql_enter_by_index(&sql);
	count = kv_sql_read(text, nparams, types, values, NULL, 0);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < count; i++)
	{
		ViewRow    *row = palloc0(sizeof(ViewRow));
		bool		isnull;

		row->view = kv_sql_int8(i, 1);
		row->pipeline = kv_sql_int8(i, 2);
		row->relation = DatumGetObjectId(kv_sql_value(i, 3, &isnull));
		row->definition = DatumGetObjectId(kv_sql_value(i, 4, &isnull));
		row->options = DatumGetArrayTypePCopy(kv_sql_value(i, 5, &isnull));
		row->settings = DatumGetArrayTypePCopy(kv_sql_value(i, 6, &isnull));
		row->initialized = DatumGetBool(kv_sql_value(i, 7, &isnull));
		row->frontier = kv_sql_time(i, 8);
		row->late_rows = kv_sql_int8(i, 9);
		result = lappend(result, row);
	}
	kv_sql_leave(&sql);
	return result;
}

/* Raises the closed frontier of a view (it never goes back) and counts late rows. */
void
kv_view_set_progress(int64 view, TimestampTz frontier, int64 late_rows_added)
{
	static KvRowPlan plan;
	static const char text[] =
		"UPDATE kafka_state.view SET frontier = greatest(frontier, $2), late_rows = late_rows + $3 WHERE %s";
	const Oid	types[] = {INT8OID, INT8OID, INT8OID};
	char		nulls[] = {' ', ' ', ' ', '\0'};
	Datum		values[3];
	KvSql		sql;

	values[0] = Int64GetDatum(view);
	values[1] = kv_sql_time_datum(frontier, &nulls[1]);
	values[2] = Int64GetDatum(late_rows_added);
	kv_sql_enter_engine(&sql);
	kv_plan_change_row(&plan, text, KV_THE_ROW("view", "view"), 3, types, values, nulls);
	kv_sql_leave(&sql);
}

/* See the header. */
bool
kv_catalog_has(const char *text, Oid type, Datum value)
{
	bool		found;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	found = kv_sql_read(text, 1, &type, &value, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return found;
}

void
kv_view_set_initialized(int64 view)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(view);
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("UPDATE kafka_state.view SET initialized = true WHERE view = $1", 1, types, &value, NULL);
	kv_sql_leave(&sql);
}

/* Deletes what belonged to just dropped relations: views, topics' positions, and pipelines left without a view. */
void
kv_catalog_forget(List *relids)
{
	static const char *const statements[] = {
		"DELETE FROM kafka_state.sink WHERE topic_table::oid = ANY ($1) "
		"OR view IN (SELECT view FROM kafka_state.view WHERE relation::oid = ANY ($1))",
		"DELETE FROM kafka_state.view WHERE relation::oid = ANY ($1)",
		"DELETE FROM kafka_state.position WHERE relation::oid = ANY ($1)",
		"DELETE FROM kafka_state.mark WHERE relation::oid = ANY ($1)",
		/* before what was skipped: whoever discards dead letters at the moment has locked them, and notes them there */
		"DELETE FROM kafka_state.dead_letter WHERE relation::oid = ANY ($1) OR view::oid = ANY ($1)",
		"DELETE FROM kafka_state.skipped WHERE relation::oid = ANY ($1)",
		"DELETE FROM kafka_state.retried WHERE relation::oid = ANY ($1) OR view::oid = ANY ($1)"
	};
	const Oid	types[] = {OIDARRAYOID};
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(relids), 1));
	Datum		value;
	ListCell   *cell;
	KvSql		sql;
	int			count = 0;

	foreach(cell, relids)
		elements[count++] = ObjectIdGetDatum(lfirst_oid(cell));
	value = PointerGetDatum(construct_array(elements, count, OIDOID, sizeof(Oid), true, TYPALIGN_INT));

	kv_sql_enter_engine(&sql);
	for (int i = 0; i < lengthof(statements); i++)
		kv_sql_run(statements[i], 1, types, &value, NULL);
	forget_pipelines();
	kv_sql_leave(&sql);
}

/* Deletes pipelines without views, and their outbox tables; inside the engine's scope. */
static void
forget_pipelines(void)
{
	static const char *const tables[] = {
		"position", "mark", "dead_letter", "skipped", "sentinel", "published", "redo", "outbox_batch", "retried", "pipeline"
	};
	uint64		count = kv_sql_run("SELECT pipeline, name FROM kafka_state.pipeline p "
								   "WHERE NOT EXISTS (SELECT FROM kafka_state.view v WHERE v.pipeline = p.pipeline) FOR UPDATE",
								   0, NULL, NULL, NULL);
	int64	   *pipelines = palloc(sizeof(int64) * Max(count, 1));
	char	  **names = palloc(sizeof(char *) * Max(count, 1));

	for (uint64 i = 0; i < count; i++)
	{
		pipelines[i] = kv_sql_int8(i, 1);
		names[i] = kv_sql_text(i, 2);
	}
	for (uint64 i = 0; i < count; i++)
	{
		Datum		value = Int64GetDatum(pipelines[i]);

		warn_of_unpublished(pipelines[i], names[i]);
		for (int j = 0; j < lengthof(tables); j++)
		{
			char	   *text = psprintf("DELETE FROM kafka_state.%s WHERE pipeline = $1", tables[j]);

			kv_sql_run(text, 1, pipeline_type, &value, NULL);
		}
		kv_sql_ddl("DROP TABLE IF EXISTS kafka_state.outbox_" INT64_FORMAT, pipelines[i]);
	}
}

/* Says that messages go with a pipeline; inside the engine's scope. */
static void
warn_of_unpublished(int64 pipeline, const char *name)
{
	char	   *text = psprintf("SELECT min(o.batch), max(o.batch) FROM kafka_state.outbox_" INT64_FORMAT " o"
								" LEFT JOIN kafka_state.published p ON p.pipeline = $1"
								" WHERE p.batch IS NULL OR o.batch > p.batch OR (o.batch = p.batch AND p.part <> 0 AND o.seq > p.part)"
								" HAVING count(*) > 0", pipeline);
	Datum		value = Int64GetDatum(pipeline);

	if (OidIsValid(get_relname_relid(psprintf("outbox_" INT64_FORMAT, pipeline), get_namespace_oid(KV_STATE_SCHEMA, false))) &&
		kv_sql_run(text, 1, pipeline_type, &value, NULL) > 0)
		ereport(WARNING,
				(errmsg("messages of pipeline \"%s\" that were not published yet are lost with it", name),
				 errdetail("They are those of its batches " INT64_FORMAT " to " INT64_FORMAT ".", kv_sql_int8(0, 1), kv_sql_int8(0, 2)),
				 errhint("To publish everything before you drop a view: kafka.pause('%s'), then wait until kafka.sinks shows nothing unpublished.", name)));
}

/*
 * Renames a server in the outbox of ordinary transactions. The server is locked as DROP locks it. So writers, who lock it too, have finished, and the
 * statements see what they wrote; the next ones find the new name. Its publisher looks for nothing meanwhile, and finds its batch locked if it
 * has looked before. A batch that may be half out keeps its server's name, by which Kafka is asked for it.
 */
void
kv_outbox_rename_server(const char *name, const char *new_name)
{
	const Oid	types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum(new_name)};
	bool		isnull;
	KvSql		sql;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot rename server \"%s\" in a transaction of level REPEATABLE READ or SERIALIZABLE", name),
				 errdetail("It would not see all messages that wait to be published."),
				 errhint("Rename it in a transaction of level READ COMMITTED.")));
	kv_sql_enter_engine(&sql);
	if (kv_sql_run("SELECT published FROM kafka_state.transaction_batch WHERE server = $1 FOR UPDATE", 1, types, values, NULL) > 0 &&
		!DatumGetBool(kv_sql_value(0, 1, &isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot rename server \"%s\" while messages are being published", name),
				 errdetail("The batch under way is known to Kafka by the name of the server."),
				 errhint("Try again when kafka_state.transaction_batch shows it as published.")));
	/* what an earlier server of the new name has left behind is in nobody's way */
	kv_sql_run("DELETE FROM kafka_state.transaction_batch WHERE server = $1", 1, types, &values[1], NULL);
	kv_sql_run("DELETE FROM kafka_state.transaction_outbox WHERE server = $1", 1, types, &values[1], NULL);
	kv_sql_run("UPDATE kafka_state.transaction_batch SET server = $2 WHERE server = $1", 2, types, values, NULL);
	kv_sql_run("UPDATE kafka_state.transaction_outbox SET server = $2 WHERE server = $1", 2, types, values, NULL);
	kv_sql_leave(&sql);
}

/* See the header. */
bool
kv_catalog_try_lock(const char *table, LOCKMODE mode)
{
	Oid			relid = get_relname_relid(table, get_namespace_oid(KV_STATE_SCHEMA, false));

	return !OidIsValid(relid) || ConditionalLockRelationOid(relid, mode);
}

/* Makes the name of a pipeline in Kafka: its group and its transactional id. */
char *
kv_pipeline_kafka_name(const PipelineRow *pipeline)
{
	return psprintf("%s." INT64_FORMAT ".%s", kv_identity_prefix(), pipeline->pipeline, pipeline->token);
}
