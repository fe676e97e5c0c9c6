/*
 * lineage.c: what a continuous view is made of.
 *
 * Dependencies of the definition views say it: they are made by Postgres with the definition, so nothing needs to be analysed.
 */
#include "lineage.h"

#include "catalog/pg_type.h"

#include "catalog.h"
#include "run_sql.h"
#include "topic.h"

static List *relations_read(Oid definition);
static void add_streams(Oid relid, List **streams, List **seen);

/* Lists append topics; see lineage.h. */
List *
kv_streams_behind(Oid relid)
{
	List	   *streams = NIL;
	List	   *seen = NIL;

	add_streams(relid, &streams, &seen);
	return streams;
}

/* Adds the append topics behind a relation. */
static void
add_streams(Oid relid, List **streams, List **seen)
{
	ViewRow    *row;
	ListCell   *cell;

	if (list_member_oid(*seen, relid))
		return;
	*seen = lappend_oid(*seen, relid);
	if (kv_topic_is(relid))
	{
		if (kv_topic_get(relid)->mode == MODE_APPEND)
			*streams = lappend_oid(*streams, relid);
		return;
	}
	row = kv_view_by_relation(relid, true);
	foreach(cell, row ? relations_read(row->definition) : relations_read(relid))
		add_streams(lfirst_oid(cell), streams, seen);
}

/* Lists the relations (Oid) that a view's query reads; nothing of a table. */
static List *
relations_read(Oid definition)
{
	static const char text[] =
		"SELECT DISTINCT d.refobjid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid "
		"WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.ev_class = $1 "
		"AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> $1";
	const Oid	types[] = {OIDOID};
	Datum		value = ObjectIdGetDatum(definition);
	MemoryContext context = CurrentMemoryContext;
	List	   *relations = NIL;
	uint64		count;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 1, types, &value, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		Oid			relation = DatumGetObjectId(kv_sql_value(i, 1, &isnull));
		MemoryContext old = MemoryContextSwitchTo(context);

		relations = lappend_oid(relations, relation);
		MemoryContextSwitchTo(old);
	}
	kv_sql_leave(&sql);
	return relations;
}
