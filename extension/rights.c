/*
 * rights.c: may somebody read what the query of a continuous view reads?
 *
 * The worker gives records and rows of other views to a view's statements itself, so Postgres, which checks what
 * these read and call whenever they run, would not notice that a topic or another view is among it. So it is
 * checked here: at creation, when a run of the pipeline begins, and when rights may have changed.
 *
 * Plain views are expanded, and what they read is read with the rights of their owners, as everywhere in Postgres.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "rights.h"
#include "run_sql.h"
#include "topic.h"
#include "view_relations.h"

static bool check_walker(Node *node, void *context);
static bool check_execution(Oid function, void *context);
static void say_whose(void *arg);


/* Checks a query, its functions and the servers of its topics; see the header. */
List *
kv_rights_check(Query *query)
{
	List	   *rewritten = QueryRewrite(copyObject(query));
	List	   *read = NIL;

	check_walker((Node *) linitial(rewritten), &read);
	return read;
}

/* Checks a query and those in it; context: where to list what is read. */
static bool
check_walker(Node *node, void *context)
{
	List	  **read = context;
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
	{
		(void) check_functions_in_node(node, check_execution, NULL);
		return expression_tree_walker(node, check_walker, context);
	}

	kv_check_query_permissions((Query *) node);
	foreach(cell, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind == RTE_RELATION)
			*read = list_append_unique_oid(*read, rte->relid);
		if (rte->rtekind == RTE_RELATION && kv_topic_is(rte->relid))
		{
			TopicDef   *topic = kv_topic_get(rte->relid);

			if (pg_foreign_server_aclcheck(topic->serverid, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
				aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FOREIGN_SERVER, topic->server_name);
		}
	}
	return query_tree_walker((Query *) node, check_walker, context, 0);
}

static bool
check_execution(Oid function, void *context)
{
	AclResult	allowed = pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, get_func_prokind(function) == PROKIND_AGGREGATE ? OBJECT_AGGREGATE : OBJECT_FUNCTION, get_func_name(function));
	return false;
}

/* Checks the definition of a view as its owner; see the header. */
List *
kv_rights_check_view(const ViewRow *view)
{
	ErrorContextCallback context = {error_context_stack, say_whose, unconstify(ViewRow *, view)};
	MemoryContext caller = CurrentMemoryContext;
	Relation	definition = table_open(view->definition, AccessShareLock);
	Query	   *query = copyObject(get_view_query(definition));
	List	   *read;
	KvSql		sql;

	AcquireRewriteLocks(query, true, false);
	kv_sql_enter_role(&sql, kv_relation_owner(view->relation), view->settings);
	error_context_stack = &context;
	read = kv_rights_check(query);
	error_context_stack = context.previous;
	MemoryContextSwitchTo(caller);
	read = list_copy(read);
	kv_sql_leave(&sql);
	table_close(definition, NoLock);
	return read;
}

/* Adds to an error about a missing right who has lost it. */
static void
say_whose(void *arg)
{
	const ViewRow *view = arg;

	if (geterrcode() != ERRCODE_INSUFFICIENT_PRIVILEGE)
		return;
	errdetail("Continuous view \"%s\" is maintained with the rights of its owner, role \"%s\".", get_rel_name(view->relation),
			  GetUserNameFromId(kv_relation_owner(view->relation), false));
	errhint("GRANT what is missing, or give the view to a role that has it. The pipeline goes on by itself then, at once with kafka.resume.");
}
