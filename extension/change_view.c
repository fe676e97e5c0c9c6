/*
 * change_view.c: what happens to a continuous view after its creation: direct
 * writes, DROP, pause and resume, identity.
 *
 * Invariant: rows of kafka_state go in the transaction that drops the relation
 * they belong to, whatever statement does it (DROP TABLE, CASCADE from a topic, a schema
 * or a role): the sql_drop event trigger sees them all.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "ddl.h"
#include "fault_point.h"
#include "identity.h"
#include "incomplete.h"
#include "outbox.h"
#include "run_sql.h"
#include "shared.h"
#include "view_objects.h"

PG_FUNCTION_INFO_V1(kafka_refuse_write);
PG_FUNCTION_INFO_V1(kafka_on_drop);
PG_FUNCTION_INFO_V1(kafka_pause_pipeline);
PG_FUNCTION_INFO_V1(kafka_pause_view);
PG_FUNCTION_INFO_V1(kafka_resume_pipeline);
PG_FUNCTION_INFO_V1(kafka_resume_view);
PG_FUNCTION_INFO_V1(kafka_resume_published);
PG_FUNCTION_INFO_V1(kafka_resume_transactions);
PG_FUNCTION_INFO_V1(kafka_adopt);
PG_FUNCTION_INFO_V1(kafka_fork);

static List *find_dropped(bool *servers);
static void refuse_dropped_sinks(void);
static void forget_servers(void);
static int64 pipeline_of_view(Oid relid);
static void check_owner(int64 pipeline);
static void set_paused(int64 pipeline, bool paused);
static void take_identity(bool new_names, bool take_over);
static void warn_of_empty_views(void);


/* ------------------------------------------------------------------ triggers */

/*
 * Refuses direct writes to a result table, and to the state of a view in kafka_state. Maintenance itself passes: kv_maintaining
 * is set and no trigger stands between the statement and this one, so a user's trigger that
 * runs within the maintenance cannot write either. So do the rows of a dump whose data come after its triggers: where nothing is
 * maintained yet, a superuser puts them in.
 */
Datum
kafka_refuse_write(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	LOCAL_FCINFO(depth, 0);

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("kafka_state.refuse_write() can only be called as a trigger")));
	InitFunctionCallInfoData(*depth, NULL, 0, InvalidOid, NULL, NULL);
	if (kv_maintaining && DatumGetInt32(pg_trigger_depth(depth)) == 1)
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && TRIGGER_FIRED_BEFORE(trigger->tg_event) && superuser() && !kv_identity_is_settled())
		return PointerGetDatum(NULL);
	if (RelationGetNamespace(trigger->tg_relation) == get_namespace_oid(KV_STATE_SCHEMA, true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot change table \"%s\"", RelationGetRelationName(trigger->tg_relation)),
				 errdetail("It holds the state of a continuous view."),
				 errhint("Write to the topics that the view reads, or drop the view.")));
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot change continuous view \"%s\"", RelationGetRelationName(trigger->tg_relation)),
			 errdetail("Its rows follow from its query and its topics."),
			 errhint("Write to the topics that it reads.")));
}

/*
 * Forgets what belonged to dropped relations and servers: event trigger on sql_drop. Most that is dropped in a
 * database, temporary tables above all, is none of ours, and must cost one look at the list and wake nobody.
 */
Datum
kafka_on_drop(PG_FUNCTION_ARGS)
{
	List	   *relids;
	bool		servers;
	KvSql		sql;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("kafka_state.on_drop() can only be called as an event trigger")));
	if (!kv_catalog_installed())
		PG_RETURN_VOID();

	relids = find_dropped(&servers);
	if (relids == NIL && !servers)
		PG_RETURN_VOID();
	kv_sql_enter_engine(&sql);
	if (relids != NIL)
		refuse_dropped_sinks();
	if (servers)
		forget_servers();
	kv_sql_leave(&sql);

	if (relids != NIL)
	{
		KV_FAULT_POINT("drop_before");
		kv_catalog_forget(relids);
		KV_FAULT_POINT("drop_forgotten");
		kv_wake_at_commit(SLOT_SUPERVISOR, MyDatabaseId, 0);
		kv_wake_at_commit(SLOT_WORKER, MyDatabaseId, -1);
	}
	PG_RETURN_VOID();
}

/*
 * Gives the views and foreign tables among the dropped objects, palloc'd: nothing in kafka_state belongs to any other
 * relation; *servers: there are foreign servers too. Raises an error for the outbox of a pipeline that stays, without which nothing of it
 * would be published: no view can depend on it, since it belongs to several.
 */
static List *
find_dropped(bool *servers)
{
	static const char text[] =
		"SELECT d.objid, d.object_type = 'server', d.pipeline FROM (SELECT d.*, CASE WHEN d.object_type = 'table' AND d.schema_name = '" KV_STATE_SCHEMA "'"
		" THEN (SELECT p.name FROM kafka_state.pipeline p WHERE d.object_name = 'outbox_' || p.pipeline) END AS pipeline"
		" FROM pg_catalog.pg_event_trigger_dropped_objects() d) d"
		" WHERE d.object_type IN ('foreign table', 'server') OR d.pipeline IS NOT NULL OR d.object_type IN ('table', 'view')"
		" AND EXISTS (SELECT FROM kafka_state.view v WHERE v.relation::pg_catalog.oid = d.objid)";
	static KvPlan *plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	List	   *relids = NIL;
	uint64		count;
	KvSql		sql;

	*servers = false;
	kv_sql_enter_engine(&sql);
	count = kv_plan_run_kept(&plan, text, 0, NULL, NULL, NULL);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;

		if (kv_sql_text(i, 3) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop the outbox of pipeline \"%s\"", kv_sql_text(i, 3)),
					 errdetail("What its views publish goes through it."),
					 errhint("Drop the views of the pipeline.")));
		if (DatumGetBool(kv_sql_value(i, 2, &isnull)))
			*servers = true;
		else
			relids = lappend_oid(relids, DatumGetObjectId(kv_sql_value(i, 1, &isnull)));
	}
	kv_sql_leave(&sql);
	return relids;
}

/* Refuses to drop the topic table of an unstored view that stays: it has no trigger that could depend on the table. In the engine's scope. */
static void
refuse_dropped_sinks(void)
{
	static const char text[] =
		"SELECT v.relation::pg_catalog.text, d.object_identity FROM pg_catalog.pg_event_trigger_dropped_objects() d"
		" JOIN kafka_state.sink s ON s.topic_table::pg_catalog.oid = d.objid JOIN kafka_state.view v USING (view)"
		" WHERE d.object_type = 'foreign table' AND NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() o"
		" WHERE o.classid = d.classid AND o.objid = v.relation::pg_catalog.oid)";

	if (kv_sql_run(text, 0, NULL, NULL, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop topic table %s because continuous view %s publishes to it", kv_sql_text(0, 2), kv_sql_text(0, 1)),
				 errhint("SELECT kafka.detach_sink('%s', '%s') first, or drop the view too.", kv_sql_text(0, 1), kv_sql_text(0, 2))));
}

/* Deletes what ordinary transactions have left for dropped servers: one of the same name may be another cluster. In the engine's scope. */
static void
forget_servers(void)
{
	static const char text[] =
		"WITH dropped AS (SELECT address_names[1] AS server FROM pg_catalog.pg_event_trigger_dropped_objects()"
		" WHERE classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass),"
		" batches AS (DELETE FROM kafka_state.transaction_batch b USING dropped d WHERE b.server = d.server),"
		" messages AS (DELETE FROM kafka_state.transaction_outbox o USING dropped d WHERE o.server = d.server RETURNING d.server)"
		" SELECT server FROM messages GROUP BY server ORDER BY server";
	uint64		count = kv_sql_run(text, 0, NULL, NULL, NULL);

	for (uint64 i = 0; i < count; i++)
		ereport(WARNING,
				(errmsg("messages of ordinary transactions to server \"%s\" are lost with it", kv_sql_text(i, 1)),
				 errdetail("They were not published yet.")));
}

/* ------------------------------------------------------------------ pause and resume */

Datum
kafka_pause_pipeline(PG_FUNCTION_ARGS)
{
	set_paused(kv_pipeline_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false)->pipeline, true);
	PG_RETURN_VOID();
}

Datum
kafka_pause_view(PG_FUNCTION_ARGS)
{
	set_paused(pipeline_of_view(PG_GETARG_OID(0)), true);
	PG_RETURN_VOID();
}

Datum
kafka_resume_pipeline(PG_FUNCTION_ARGS)
{
	set_paused(kv_pipeline_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false)->pipeline, false);
	PG_RETURN_VOID();
}

Datum
kafka_resume_view(PG_FUNCTION_ARGS)
{
	set_paused(pipeline_of_view(PG_GETARG_OID(0)), false);
	PG_RETURN_VOID();
}

/*
 * Notes which batch of a pipeline was published last, where Kafka cannot tell, and lets it go on. Numbers up to that one are
 * not used any more.
 */
Datum
kafka_resume_published(PG_FUNCTION_ARGS)
{
	const Oid	types[] = {INT8OID, INT8OID};
	PipelineRow *pipeline = kv_pipeline_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	Datum		values[] = {Int64GetDatum(pipeline->pipeline), PG_GETARG_DATUM(1)};
	KvSql		sql;

	if (PG_GETARG_INT64(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a batch has no number below 0"),
				 errhint("Give the number that the error in kafka.sinks or kafka.pipelines names, or 0 if nothing of the pipeline is published.")));
	check_owner(pipeline->pipeline);
	/* before it is changed: where nothing was noted so far, the publisher sees by that, without waiting, that a note is on its way */
	kv_sql_enter_engine(&sql);
	kv_sql_run("SELECT FROM kafka_state.pipeline WHERE pipeline = $1 FOR UPDATE", 1, types, values, NULL);
	kv_sql_leave(&sql);
	set_paused(pipeline->pipeline, false);
	kv_sql_enter_engine(&sql);
	kv_sql_run("UPDATE kafka_state.pipeline SET batch = greatest(batch, $2), cluster = NULL WHERE pipeline = $1", 2, types, values, NULL);
	kv_sql_run("INSERT INTO kafka_state.published AS p (pipeline, batch, part, at, decided)"
			   " SELECT q.pipeline, $2, 0, pg_catalog.clock_timestamp(), true FROM kafka_state.pipeline q WHERE q.pipeline = $1 FOR KEY SHARE"
			   " ON CONFLICT (pipeline) DO UPDATE SET batch = excluded.batch, part = 0, at = excluded.at, decided = true", 2, types, values, NULL);
	kv_sql_leave(&sql);
	KV_FAULT_POINT("resume_stored");
	PG_RETURN_VOID();
}

/*
 * Decides about the batch of ordinary transactions that may be out or not: deletes its messages, or lets them be published. Only about
 * the one that the publisher has asked about: any other is on its way, and its messages would be lost or go out again. The
 * publisher is at the same point again and again, so its back-off may end at once.
 */
Datum
kafka_resume_transactions(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ForeignServer *server = GetForeignServerByName(name, false);
	const Oid	types[] = {TEXTOID};
	Datum		value = CStringGetTextDatum(server->servername);
	bool		undecided;
	KvSlot	   *slot = kv_slot_get(SLOT_PUBLISHER, MyDatabaseId, server->serverid, false);
	KvSql		sql;

	if (!pg_foreign_server_ownercheck(server->serverid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_SERVER, server->servername);
	kv_sql_enter_engine(&sql);
	undecided = kv_sql_run("SELECT batch FROM kafka_state.transaction_batch WHERE server = $1 AND NOT published FOR UPDATE", 1, types, &value, NULL) > 0 &&
		slot != NULL && slot->undecided == kv_sql_int8(0, 1);
	if (!undecided)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no batch of ordinary transactions waits for a decision on server \"%s\"", name),
				 errhint("Its publisher goes on by itself; what stops it, if anything does, is publish_error in kafka.topics.")));
	if (PG_GETARG_BOOL(1))
	{
		kv_sql_run("DELETE FROM kafka_state.transaction_outbox o USING kafka_state.transaction_batch b"
				   " WHERE b.server = $1 AND o.server = $1 AND " KV_IN_BATCH, 1, types, &value, NULL);
		kv_sql_run("UPDATE kafka_state.transaction_batch SET published = true WHERE server = $1", 1, types, &value, NULL);
	}
	else
		kv_sql_run("UPDATE kafka_state.transaction_batch SET claimed = false, part = 0 WHERE server = $1", 1, types, &value, NULL);
	kv_sql_leave(&sql);
	kv_slot_clear_error(slot);
	kv_wake_at_commit(SLOT_PUBLISHER, MyDatabaseId, server->serverid);
	PG_RETURN_VOID();
}

static int64
pipeline_of_view(Oid relid)
{
	return kv_view_by_relation(relid, false)->pipeline;
}

/* Raises an error unless the user owns all views of a pipeline. */
static void
check_owner(int64 pipeline)
{
	ListCell   *cell;

	foreach(cell, kv_view_list(pipeline))
	{
		Oid			relid = ((ViewRow *) lfirst(cell))->relation;

		if (!pg_class_ownercheck(relid, GetUserId()))
			aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, get_rel_name(relid));
	}
}

/* Pauses or resumes a pipeline for the owner of all its views. */
static void
set_paused(int64 pipeline, bool paused)
{
	check_owner(pipeline);
	kv_pipeline_set_paused(pipeline, paused);
	KV_FAULT_POINT("pause_stored");
	kv_pipeline_wake(pipeline);
}

/* ------------------------------------------------------------------ identity (DESIGN.md 5.5) */

/* Goes on as the instance that the stored fingerprint names; take_over: even where Kafka knows a server that has taken its place. */
Datum
kafka_adopt(PG_FUNCTION_ARGS)
{
	take_identity(false, PG_GETARG_BOOL(0));
	PG_RETURN_VOID();
}

/* Goes on as another instance, under new names in Kafka. */
Datum
kafka_fork(PG_FUNCTION_ARGS)
{
	take_identity(true, false);
	PG_RETURN_VOID();
}

/* Takes over the identity, and binds what a restore has left unbound. */
static void
take_identity(bool new_names, bool take_over)
{
	char	   *mismatch;
	ListCell   *cell;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to change who this database is to Kafka"),
				 errhint("Only a superuser can do that.")));
	if (!new_names && !take_over && kv_identity_matches(&mismatch))
		ereport(NOTICE, (errmsg("this database is the one that Kafka knows already")));
	else
	{
		kv_identity_take(new_names);
		kv_incomplete_changed();
		warn_of_empty_views();
	}
	KV_FAULT_POINT("identity_taken");
	foreach(cell, kv_view_list(0))
		kv_bind_view(kv_view_load(((ViewRow *) lfirst(cell))->view));
	KV_FAULT_POINT("identity_bound");
	kv_wake_at_commit(SLOT_SUPERVISOR, MyDatabaseId, 0);
	kv_wake_at_commit(SLOT_PUBLISHER, MyDatabaseId, -1);
}

/*
 * Warns of views that have nothing though their pipelines have read something. A restore of data into a schema that is there already may not write
 * their rows, and a view would go on from nothing.
 */
static void
warn_of_empty_views(void)
{
	static const char text[] =
		"SELECT v.relation::pg_catalog.text, sum(x.next_offset - x.start_offset)::bigint FROM kafka_state.view v JOIN kafka_state.position x USING (pipeline)"
		" WHERE v.initialized AND v.relation::oid <> v.definition AND pg_catalog.pg_relation_size(v.relation) = 0"
		" GROUP BY v.relation HAVING sum(x.next_offset - x.start_offset) > 0";
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 0, NULL, NULL, NULL, 0);
	for (uint64 i = 0; i < count; i++)
		ereport(WARNING,
				(errmsg("continuous view %s is empty", kv_sql_text(i, 1)),
				 errdetail("Its pipeline has read " INT64_FORMAT " records before.", kv_sql_int8(i, 2)),
				 errhint("That is as it should be if none of them belongs to the view. If schema and data were restored one after the other, "
						 "its rows were refused: restore all of the dump at once.")));
	kv_sql_leave(&sql);
}
