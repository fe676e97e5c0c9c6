/*
 * sink_names.c: the topic table that the argument of a kafka.publish trigger names, through drops and renames.
 *
 * Invariant: while such a trigger stands, its argument names the topic table that it was created with. To Postgres the argument
 * is a string, so a dependency keeps the table from being dropped under the trigger, and whatever gives the table, or its schema,
 * another name writes that into the argument. Otherwise the next change of the trigger's table would fail, or, where
 * another topic table has got the name, be published to the wrong topic.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "sink_check.h"
#include "sink_names.h"

static char *argument_of(Relation triggers, HeapTuple tuple);
static void set_argument(Relation triggers, HeapTuple tuple, const char *name);
static char *qualified_name(Oid relid);


/* See the header. */
void
kv_sink_names_depend(Oid relid, const char *trigger_name, Oid topic_relid)
{
	ObjectAddress trigger = {TriggerRelationId, get_trigger_oid(relid, trigger_name, false), 0};
	ObjectAddress topic = {RelationRelationId, topic_relid, 0};

	recordDependencyOn(&trigger, &topic, DEPENDENCY_NORMAL);
}

/* See the header. */
List *
kv_sink_names_list(void)
{
	Oid			publish = kv_publish_function();
	List	   *sinks = NIL;
	Relation	triggers;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(publish))
		return NIL;
	triggers = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(triggers, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (form->tgfoid == publish && form->tgnargs == 1)
		{
			SinkName   *sink = palloc(sizeof(SinkName));

			sink->trigger = form->oid;
			sink->topic_relid = kv_sink_resolve(argument_of(triggers, tuple), true);
			sinks = lappend(sinks, sink);
		}
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return sinks;
}

/* See the header. */
void
kv_sink_names_update(List *sinks)
{
	Relation	triggers = table_open(TriggerRelationId, RowExclusiveLock);
	ListCell   *cell;

	foreach(cell, sinks)
	{
		const SinkName *sink = lfirst(cell);
		char	   *name = OidIsValid(sink->topic_relid) ? qualified_name(sink->topic_relid) : NULL;
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		if (name == NULL)
			continue;
		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(sink->trigger));
		scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
		tuple = systable_getnext(scan);
		if (HeapTupleIsValid(tuple) && strcmp(argument_of(triggers, tuple), name) != 0)
			set_argument(triggers, tuple, name);
		systable_endscan(scan);
	}
	table_close(triggers, RowExclusiveLock);
}

/* Gives the only argument: pg_trigger has arguments one behind the other, each with a zero byte at its end. */
static char *
argument_of(Relation triggers, HeapTuple tuple)
{
	bool		isnull;
	Datum		arguments = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(triggers), &isnull);

	return isnull ? pstrdup("") : pstrdup(VARDATA_ANY(DatumGetByteaPP(arguments)));
}

/* Writes the only argument, and has every session read the trigger again. */
static void
set_argument(Relation triggers, HeapTuple tuple, const char *name)
{
	Datum		values[Natts_pg_trigger] = {0};
	bool		nulls[Natts_pg_trigger] = {0};
	bool		replaces[Natts_pg_trigger] = {0};
	Size		size = strlen(name) + 1;
	bytea	   *arguments = palloc(VARHDRSZ + size);
	HeapTuple	changed;

	SET_VARSIZE(arguments, VARHDRSZ + size);
	memcpy(VARDATA(arguments), name, size);
	values[Anum_pg_trigger_tgargs - 1] = PointerGetDatum(arguments);
	replaces[Anum_pg_trigger_tgargs - 1] = true;
	changed = heap_modify_tuple(tuple, RelationGetDescr(triggers), values, nulls, replaces);
	CatalogTupleUpdate(triggers, &tuple->t_self, changed);
	CacheInvalidateRelcacheByRelid(((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid);
}

/* Gives the name that is put into the argument, NULL for a table that is gone. */
static char *
qualified_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	return name == NULL ? NULL : quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}
