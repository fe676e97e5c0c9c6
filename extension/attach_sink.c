/*
 * attach_sink.c: kafka.attach_sink, kafka.create_sink and kafka.detach_sink: a topic that
 * follows a continuous view from now on, with the rows that are there already.
 *
 * Invariant: every row of the view is published once: the rows that stand when the
 * pipeline's row is locked, by this transaction, as a batch of their own
 * (sink_snapshot.c); what comes after, by the triggers that this transaction creates, or by the worker,
 * to which an unstored view's sinks are told (sink_list.c). The worker holds the
 * same lock from the start of a batch to its commit.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "analyze.h"
#include "catalog.h"
#include "ddl.h"
#include "fault_point.h"
#include "incomplete.h"
#include "outbox.h"
#include "publish.h"
#include "run_sql.h"
#include "shared.h"
#include "sink_list.h"
#include "sink_snapshot.h"

PG_FUNCTION_INFO_V1(kafka_attach_sink);
PG_FUNCTION_INFO_V1(kafka_create_sink);
PG_FUNCTION_INFO_V1(kafka_detach_sink);

static ViewRow *owned_view(Oid relid);
static void attach(ViewRow *view, Oid topic_relid, bool snapshot);
static bool is_stored(const ViewRow *view);
static void add_sink(const ViewRow *view, Oid topic_relid);
static bool drop_triggers(Oid relid, Oid topic_relid);
static List *key_of(ViewRow *view, List *keys);
static void create_triggers(ViewRow *view, Oid topic_relid, const char *topic_name);
static void create_trigger(Oid topic_relid, const char *event, const char *transition, const char *table,
						   const char *topic_name);
static char *sink_table_name(const char *topic, Oid schema);
static char *column_list(Oid relid, List *keys);
static List *key_columns(Oid relid, ArrayType *key);


/* kafka.attach_sink(view, topic_table, snapshot) */
Datum
kafka_attach_sink(PG_FUNCTION_ARGS)
{
	attach(owned_view(PG_GETARG_OID(0)), PG_GETARG_OID(1), PG_GETARG_BOOL(2));
	PG_RETURN_VOID();
}

/* kafka.create_sink(view, topic, key, server, snapshot): makes the foreign table too, beside the view; gives back its oid. */
Datum
kafka_create_sink(PG_FUNCTION_ARGS)
{
	Oid			relid;
	ViewRow    *view;
	char	   *topic;
	List	   *unique;
	List	   *keys;
	Oid			schema;
	char	   *name;
	char	   *server;
	bool		upsert;
	Oid			topic_relid;
	KvSql		sql;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("kafka.create_sink needs a view and a topic")));
	relid = PG_GETARG_OID(0);
	view = owned_view(relid);
	topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
	keys = PG_ARGISNULL(2) ? NIL : key_columns(relid, PG_GETARG_ARRAYTYPE_P(2));
	unique = key_of(view, keys);
	if (PG_ARGISNULL(2))
		keys = unique;
	/* a topic whose key names fewer columns than the view's keeps every change instead of the last */
	upsert = unique != NIL && list_difference_int(unique, keys) == NIL;
	if (PG_ARGISNULL(3))
	{
		List	   *pipeline = kv_outbox_pipelines(view->pipeline);

		if (pipeline == NIL)
			elog(ERROR, "pipeline " INT64_FORMAT " reads no topic", view->pipeline);
		server = GetForeignServer(((OutboxPipeline *) linitial(pipeline))->serverid)->servername;
	}
	else
		server = NameStr(*PG_GETARG_NAME(3));

	schema = get_rel_namespace(relid);
	name = sink_table_name(topic, schema);
	kv_sql_enter_role(&sql, GetUserId(), NULL);
	kv_sql_ddl("CREATE FOREIGN TABLE %s (%s) SERVER %s OPTIONS (topic %s, mode %s)",
			   quote_qualified_identifier(get_namespace_name(schema), name), column_list(relid, keys),
			   quote_identifier(server), quote_literal_cstr(topic), upsert ? "'upsert'" : "'append'");
	kv_sql_leave(&sql);
	topic_relid = get_relname_relid(name, schema);
	attach(view, topic_relid, PG_ARGISNULL(4) || PG_GETARG_BOOL(4));
	PG_RETURN_OID(topic_relid);
}

/* Gives the catalog row of a continuous view; raises an error for another relation and for another's view. */
static ViewRow *
owned_view(Oid relid)
{
	ViewRow    *view = kv_view_by_relation(relid, true);
	char	   *name = get_rel_name(relid);

	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a continuous view", name != NULL ? name : psprintf("%u", relid)),
				 errhint("For an ordinary table, create triggers with kafka.publish.")));
	if (!pg_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, name);
	return view;
}

/* Makes a topic table a sink of a view. */
static void
attach(ViewRow *view, Oid topic_relid, bool snapshot)
{
	char	   *table = get_rel_name(topic_relid);
	char	   *topic_name;
	int64		batch;

	/* a regclass may be any number */
	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", topic_relid)));
	kv_incomplete_refuse(view->pipeline, get_rel_name(view->relation));
	topic_name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(topic_relid)), table);
	/* in the worker's order: the view, with the lock that CREATE TRIGGER needs, then the pipeline's row */
	LockRelationOid(view->relation, ShareRowExclusiveLock);
	batch = kv_pipeline_next_batch(view->pipeline);
	/* once more, now that it cannot be noted any more */
	kv_incomplete_refuse(view->pipeline, get_rel_name(view->relation));
	KV_FAULT_POINT("attach_locked");
	(void) kv_publish_check(view->relation, topic_name);
	if (is_stored(view))
		create_triggers(view, topic_relid, topic_name);
	else
		add_sink(view, topic_relid);
	KV_FAULT_POINT("attach_triggers_made");
	if (snapshot)
		kv_sink_snapshot(kv_view_get(view->view, false), batch, topic_relid);
	KV_FAULT_POINT("attach_rows_written");
}

static bool
is_stored(const ViewRow *view)
{
	return view->relation != view->definition;
}

/* Tells the worker of a sink of an unstored view. */
static void
add_sink(const ViewRow *view, Oid topic_relid)
{
	if (!kv_sink_add(view, topic_relid))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("topic table \"%s\" is a sink of \"%s\" already", get_rel_name(topic_relid), get_rel_name(view->relation)),
				 errhint("kafka.detach_sink(view, topic_table) ends it.")));
	kv_pipeline_wake(view->pipeline);
}

/* kafka.detach_sink(view, topic_table) */
Datum
kafka_detach_sink(PG_FUNCTION_ARGS)
{
	ViewRow    *view = owned_view(PG_GETARG_OID(0));
	Oid			topic_relid = PG_GETARG_OID(1);
	bool		detached;

	if (is_stored(view))
		detached = drop_triggers(view->relation, topic_relid);
	else
	{
		LockRelationOid(view->relation, ShareRowExclusiveLock);
		detached = kv_sink_remove(view, topic_relid);
		kv_pipeline_wake(view->pipeline);
	}
	if (!detached)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is not a sink of continuous view \"%s\"",
						DatumGetCString(DirectFunctionCall1(regclassout, ObjectIdGetDatum(topic_relid))), get_rel_name(view->relation)),
				 errhint("kafka.sinks lists the sinks of views.")));
	PG_RETURN_VOID();
}

/* Drops the triggers that publish a table to a topic, as the user; false: there is none. */
static bool
drop_triggers(Oid relid, Oid topic_relid)
{
	Relation	rel = table_open(relid, AccessExclusiveLock);
	char	   *table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
	List	   *names = NIL;
	ListCell   *cell;
	KvSql		sql;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgfoid == kv_publish_function() && trigger->tgnargs == 1 &&
			kv_sink_resolve(trigger->tgargs[0], true) == topic_relid)
			names = lappend(names, pstrdup(trigger->tgname));
	}
	table_close(rel, NoLock);

	kv_sql_enter_role(&sql, GetUserId(), NULL);
	foreach(cell, names)
		kv_sql_ddl("DROP TRIGGER %s ON %s", quote_identifier(lfirst(cell)), table);
	kv_sql_leave(&sql);
	KV_FAULT_POINT("detach_triggers_dropped");
	return names != NIL;
}

/*
 * Gives the columns (attnos) that identify the view's rows: its key, or those of a unique index that somebody made on it; NIL: none. The index
 * must be one that serves the topic: of columns among keys, where these are given (not NIL), and without nulls in a key of several, which is JSON.
 */
static List *
key_of(ViewRow *view, List *keys)
{
	Relation	rel = table_open(view->relation, AccessShareLock);
	List	   *columns = kv_sink_view_key(rel);
	ListCell   *cell;

	foreach(cell, columns == NIL ? RelationGetIndexList(rel) : NIL)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		bool		nulls;

		columns = kv_sink_index_key(rel, index, &nulls);
		index_close(index, AccessShareLock);
		if ((keys != NIL && list_difference_int(columns, keys) != NIL) || (nulls && list_length(keys != NIL ? keys : columns) > 1))
			columns = NIL;
		if (columns != NIL)
			break;
	}
	table_close(rel, NoLock);
	return columns;
}

/* One trigger an event; rows of an append-only view are only ever inserted. */
static void
create_triggers(ViewRow *view, Oid topic_relid, const char *topic_name)
{
	ViewDef    *definition = kv_view_load(view->view);
	TopicDef   *topic = kv_topic_get(topic_relid);
	Relation	rel = table_open(view->relation, AccessShareLock);
	char	   *table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
	bool		upsert = topic->mode == MODE_UPSERT;
	bool		fixed = kv_sink_key_is_fixed(rel, topic);
	KvSql		sql;

	table_close(rel, NoLock);

	kv_sql_enter_role(&sql, GetUserId(), NULL);
	create_trigger(topic_relid, "insert", "NEW", table, topic_name);
	if (definition->shape == SHAPE_KEYED)
	{
		create_trigger(topic_relid, "update", upsert && !fixed ? "OLD TABLE AS kafka_old_rows NEW" : "NEW", table, topic_name);
		if (upsert)
			create_trigger(topic_relid, "delete", "OLD", table, topic_name);
	}
	kv_sql_leave(&sql);
}

static void
create_trigger(Oid topic_relid, const char *event, const char *transition, const char *table, const char *topic_name)
{
	char	   *name = makeObjectName("publish", get_rel_name(topic_relid), event);

	kv_sql_ddl("CREATE TRIGGER %s AFTER %s ON %s REFERENCING %s TABLE AS kafka_rows FOR EACH STATEMENT "
			   "EXECUTE FUNCTION kafka.publish(%s)",
			   quote_identifier(name), event, table, transition, quote_literal_cstr(topic_name));
}

/* Makes a free table name of a topic's: what an unquoted name cannot have becomes an underscore. */
static char *
sink_table_name(const char *topic, Oid schema)
{
	char	   *name = pnstrdup(topic, NAMEDATALEN - 1);

	for (char *p = name; *p != '\0'; p++)
	{
		if (!isalnum((unsigned char) *p))
			*p = '_';
		else
			*p = pg_tolower((unsigned char) *p);
	}
	/* a topic is often called like the view */
	if (OidIsValid(get_relname_relid(name, schema)))
		name = ChooseRelationName(name, NULL, "sink", schema, false);
	return name;
}

/* Writes the view's columns as column definitions, in which keys (attnos) are key columns. */
static char *
column_list(Oid relid, List *keys)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attisdropped)
			continue;
		appendStringInfo(&text, "%s%s %s%s", text.len > 0 ? ", " : "", quote_identifier(NameStr(attr->attname)),
						 format_type_extended(attr->atttypid, attr->atttypmod, FORMAT_TYPE_FORCE_QUALIFY | FORMAT_TYPE_TYPEMOD_GIVEN),
						 list_member_int(keys, attr->attnum) ? " OPTIONS (key 'true')" : "");
	}
	table_close(rel, NoLock);
	return text.data;
}

/* Gives the attnos of named columns; raises an error for a name that the view does not have. */
static List *
key_columns(Oid relid, ArrayType *key)
{
	List	   *columns = NIL;
	Datum	   *names;
	bool	   *nulls;
	int			count;

	deconstruct_array(key, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *name = nulls[i] ? "" : TextDatumGetCString(names[i]);
		AttrNumber	attno = get_attnum(relid, name);

		if (attno <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("view \"%s\" has no column \"%s\"", get_rel_name(relid), name),
					 errhint("The key of a sink is made of columns of the view.")));
		columns = lappend_int(columns, attno);
	}
	return columns;
}
