/*
 * pass_on.c: gives statements to the next in the chain of utility hooks, some only while our processes are away.
 *
 * Why the latter: a statement may need a database without connections, or would wait for locks that our processes hold in an order of
 * their own. They are held before and released after, whatever comes of it; only for those who may do what the statement does, or
 * anyone could stop the pipelines.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "fault_point.h"
#include "pass_on.h"
#include "shared.h"

static ProcessUtility_hook_type next_hook;

static bool is_template(Oid database);
static void pass_on_alone(Utility *utility, Oid database);

/* Sets who is the next in the chain. */
void
kv_pass_on_to(ProcessUtility_hook_type hook)
{
	next_hook = hook;
}

/* Gives the statement to the next in the chain. */
void
kv_pass_on(Utility *utility)
{
	(next_hook != NULL ? next_hook : standard_ProcessUtility)
		(utility->pstmt, utility->source_text, utility->read_only_tree, utility->context, utility->params,
		 utility->environment, utility->dest, utility->completion);
}

/*
 * Runs DROP EXTENSION while our processes are away: they read the engine's tables in an order
 * of their own, which would end in deadlocks with a command that locks them all.
 */
void
kv_pass_on_drop_extension(Utility *utility)
{
	Oid			extension = get_extension_oid(KV_EXTENSION, true);

	if (OidIsValid(extension) && pg_extension_ownercheck(extension, GetUserId()))
		pass_on_alone(utility, MyDatabaseId);
	else
		kv_pass_on(utility);
	kv_wake_at_commit(SLOT_SUPERVISOR, MyDatabaseId, 0);
}

/*
 * Renames a server together with its unpublished messages, which have its name. Only those who write messages to it wait until the commit, and
 * these messages: the publisher lets go of a producer of the old name when it sees the new one.
 */
void
kv_pass_on_rename_server(Utility *utility, RenameStmt *stmt)
{
	char	   *name = strVal(stmt->object);
	Oid			server = get_foreign_server_oid(name, true);
	KvSlot	   *publisher;

	if (!OidIsValid(server) || OidIsValid(get_foreign_server_oid(stmt->newname, true)) || !pg_foreign_server_ownercheck(server, GetUserId()) || !kv_catalog_installed() ||
		strcmp(GetForeignDataWrapper(GetForeignServer(server)->fdwid)->fdwname, KV_FDW) != 0)
	{
		kv_pass_on(utility);
		return;
	}
	LockDatabaseObject(ForeignServerRelationId, server, 0, AccessExclusiveLock);
	if (get_foreign_server_oid(name, true) != server)
	{
		/* somebody else has renamed or dropped it while we waited */
		kv_pass_on_rename_server(utility, stmt);
		return;
	}
	KV_FAULT_POINT("server_locked");
	kv_outbox_rename_server(name, stmt->newname);
	kv_pass_on(utility);
	KV_FAULT_POINT("server_renamed");
	publisher = kv_slot_get(SLOT_PUBLISHER, MyDatabaseId, server, false);
	if (publisher != NULL)
		kv_slot_clear_error(publisher);
	kv_wake_at_commit(SLOT_PUBLISHER, MyDatabaseId, server);
	kv_wake_at_commit(SLOT_SUPERVISOR, MyDatabaseId, 0);
}

/*
 * Runs a statement that needs a database without connections: our processes
 * leave it before and come back after, if it still exists. Only for those who may do
 * what the statement does, or anyone could stop the pipelines.
 */
void
kv_pass_on_held(Utility *utility, const char *name, bool as_template)
{
	Oid			database = name == NULL ? InvalidOid : get_database_oid(name, true);
	bool		allowed = OidIsValid(database) && pg_database_ownercheck(database, GetUserId());

	if (OidIsValid(database) && as_template && !allowed)
		allowed = have_createdb_privilege() && is_template(database);
	if (!allowed || !kv_shared_available() || IsTransactionBlock() || database == MyDatabaseId)
	{
		kv_pass_on(utility);
		return;
	}
	pass_on_alone(utility, database);
}

/* May everyone who may create databases copy this one? */
static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		template = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return template;
}

/* Gives the statement on while our processes of a database are stopped. */
static void
pass_on_alone(Utility *utility, Oid database)
{
	kv_database_hold(database);
	PG_TRY();
	{
		kv_pass_on(utility);
	}
	PG_FINALLY();
	{
		kv_database_release(database);
	}
	PG_END_TRY();
}
