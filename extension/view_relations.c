/*
 * view_relations.c: which relations are a continuous view's, and whose they are.
 *
 * Invariant: what a view owns in kafka_state depends internally on its result table and has the owner of that.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "run_sql.h"
#include "shared.h"
#include "view_relations.h"

static void give_to(Oid relation, Oid owner);


/* Tells whether relid is a continuous view's result table, or an unstored one; costs two syscache look-ups for any relation without triggers. */
bool
kv_is_continuous_view(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		candidate = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		candidate = (form->relkind == RELKIND_RELATION || form->relkind == RELKIND_VIEW) && form->relhastriggers;
		ReleaseSysCache(tuple);
	}
	return candidate && kv_catalog_installed() && kv_view_by_relation(relid, true) != NULL;
}

Oid
kv_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Lists the relations of kafka_state that depend internally on a result table. */
List *
kv_view_relations(Oid relid)
{
	Oid			state_schema = get_namespace_oid(KV_STATE_SCHEMA, false);
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	List	   *result = NIL;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->deptype == DEPENDENCY_INTERNAL && form->classid == RelationRelationId &&
			form->objsubid == 0 && get_rel_namespace(form->objid) == state_schema)
			result = lappend_oid(result, form->objid);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return result;
}

/* Gives a relation of kafka_state to the owner of a result table and makes it live and die with that. */
void
kv_view_adopt_relation(Oid relid, Oid relation)
{
	ObjectAddress table;
	ObjectAddress member;

	give_to(relation, kv_relation_owner(relid));
	ObjectAddressSet(table, RelationRelationId, relid);
	ObjectAddressSet(member, RelationRelationId, relation);
	recordDependencyOn(&member, &table, DEPENDENCY_INTERNAL);
}

/* Gives a view's relations in kafka_state to the new owner of its result table. */
void
kv_view_change_owner(Oid relid)
{
	Oid			owner = kv_relation_owner(relid);
	ListCell   *cell;

	foreach(cell, kv_view_relations(relid))
		give_to(lfirst_oid(cell), owner);
	kv_pipeline_wake(kv_view_by_relation(relid, false)->pipeline);
}

/* Changes the owner of a relation of kafka_state, as the engine. */
static void
give_to(Oid relation, Oid owner)
{
	KvSql		sql;

	if (kv_relation_owner(relation) == owner)
		return;
	kv_sql_enter_engine(&sql);
	kv_sql_ddl("ALTER TABLE kafka_state.%s OWNER TO %s", quote_identifier(get_rel_name(relation)),
			   quote_identifier(GetUserNameFromId(owner, false)));
	kv_sql_leave(&sql);
}
