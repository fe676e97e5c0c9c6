/*
 * ddl.c: the utility hook. It answers two questions, is this statement ours and
 * who handles it, and leaves everything else to whoever comes next in the chain.
 *
 * Invariant: a statement that has nothing to do with continuous views, topics or
 * the extension passes through untouched, and without a catalog look-up that it
 * would not cause itself (ROLLBACK must work in an aborted transaction).
 *
 * A stored continuous view is a table to Postgres and a materialized view to its user, so
 * DROP, ALTER and COMMENT ON MATERIALIZED VIEW are turned into those of a table. An
 * unstored one is a view to both.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "ddl.h"
#include "fault_point.h"
#include "pass_on.h"
#include "publish.h"
#include "shared.h"
#include "sink_names.h"
#include "view_relations.h"

static void process_utility(PlannedStmt *pstmt, const char *source_text, bool read_only_tree,
							ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
							DestReceiver *dest, QueryCompletion *completion);
static Node *own_copy(Utility *utility);
static void handle_create_as(Utility *utility, CreateTableAsStmt *stmt);
static void handle_create_view(Utility *utility, ViewStmt *stmt);
static void refuse_refresh(RefreshMatViewStmt *stmt);
static void refuse_explain(ExplainStmt *stmt);
static void handle_drop(Utility *utility, DropStmt *stmt);
static void handle_alter_table(Utility *utility, AlterTableStmt *stmt);
static void handle_rename(Utility *utility, RenameStmt *stmt);
static void handle_comment(Utility *utility, CommentStmt *stmt);
static void handle_set_schema(Utility *utility, AlterObjectSchemaStmt *stmt);
static void pass_on_and_name_sinks(Utility *utility);
static void refuse_inherited(List *names, bool parents);
static void handle_create_topic(Utility *utility, CreateForeignTableStmt *stmt);
static void handle_create_trigger(Utility *utility, CreateTrigStmt *stmt);
static void refuse_rule(RuleStmt *stmt);
static void handle_transaction(Utility *utility, TransactionStmt *stmt);
static void handle_create_extension(Utility *utility, CreateExtensionStmt *stmt);
static bool names_extension(List *objects);
static char *string_option(List *options, const char *name);
static Oid	view_named(RangeVar *name);
static bool names_stored_view(RangeVar *name);
static bool names_topic(RangeVar *name);
static Oid	relation_named(RangeVar *name);
static List *topics_of(Oid relid);


void
kv_ddl_init(void)
{
	kv_pass_on_to(ProcessUtility_hook);
	ProcessUtility_hook = process_utility;
}

/* Sends a statement to its handler. */
static void
process_utility(PlannedStmt *pstmt, const char *source_text, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	Utility		utility = {pstmt, source_text, read_only_tree, context, params, environment, dest, completion};
	Node	   *stmt = pstmt->utilityStmt;

	switch (nodeTag(stmt))
	{
		case T_CreateTableAsStmt:
			handle_create_as(&utility, (CreateTableAsStmt *) stmt);
			return;
		case T_ViewStmt:
			handle_create_view(&utility, (ViewStmt *) stmt);
			return;
		case T_RefreshMatViewStmt:
			refuse_refresh((RefreshMatViewStmt *) stmt);
			break;
		case T_ExplainStmt:
			refuse_explain((ExplainStmt *) stmt);
			break;
		case T_DropStmt:
			handle_drop(&utility, (DropStmt *) stmt);
			return;
		case T_AlterTableStmt:
			handle_alter_table(&utility, (AlterTableStmt *) stmt);
			return;
		case T_RenameStmt:
			handle_rename(&utility, (RenameStmt *) stmt);
			return;
		case T_CommentStmt:
			handle_comment(&utility, (CommentStmt *) stmt);
			return;
		case T_AlterObjectSchemaStmt:
			handle_set_schema(&utility, (AlterObjectSchemaStmt *) stmt);
			return;
		case T_CreateStmt:
			refuse_inherited(((CreateStmt *) stmt)->inhRelations, true);
			break;
		case T_CreateForeignTableStmt:
			handle_create_topic(&utility, (CreateForeignTableStmt *) stmt);
			return;
		case T_CreateTrigStmt:
			handle_create_trigger(&utility, (CreateTrigStmt *) stmt);
			return;
		case T_RuleStmt:
			refuse_rule((RuleStmt *) stmt);
			break;
		case T_TransactionStmt:
			handle_transaction(&utility, (TransactionStmt *) stmt);
			return;
		case T_CreateExtensionStmt:
			handle_create_extension(&utility, (CreateExtensionStmt *) stmt);
			return;
		case T_DropdbStmt:
			kv_pass_on_held(&utility, ((DropdbStmt *) stmt)->dbname, false);
			return;
		case T_AlterDatabaseStmt:
			if (string_option(((AlterDatabaseStmt *) stmt)->options, "tablespace") == NULL)
				break;
			kv_pass_on_held(&utility, ((AlterDatabaseStmt *) stmt)->dbname, false);
			return;
		case T_CreatedbStmt:
			kv_pass_on_held(&utility, string_option(((CreatedbStmt *) stmt)->options, "template"), true);
			return;
		default:
			break;
	}
	kv_pass_on(&utility);
}

/* Makes the statement ours to change; plan caches keep the original. */
static Node *
own_copy(Utility *utility)
{
	utility->pstmt = copyObject(utility->pstmt);
	utility->read_only_tree = false;
	return utility->pstmt->utilityStmt;
}

/* ------------------------------------------------------------------ creating and refreshing */

static void
handle_create_as(Utility *utility, CreateTableAsStmt *stmt)
{
	if (stmt->objtype != OBJECT_MATVIEW || !kv_has_view_options(stmt->into->options))
	{
		kv_pass_on(utility);
		return;
	}
	kv_create_view(stmt->into, castNode(Query, stmt->query), utility->source_text, stmt->if_not_exists, true);
}

/* CREATE VIEW: a continuous view whose rows are not stored, or one that shall take the place of such a view. */
static void
handle_create_view(Utility *utility, ViewStmt *stmt)
{
	if (stmt->replace && OidIsValid(view_named(stmt->view)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replace continuous view \"%s\"", stmt->view->relname),
				 errdetail("What it has written to its sinks came from its present query."),
				 errhint("Create a view with the new query, attach its sinks, and drop this one.")));
	if (kv_has_view_options(stmt->options))
		kv_create_unstored_view(stmt, utility->pstmt, utility->source_text);
	else
		kv_pass_on(utility);
}

static void
refuse_refresh(RefreshMatViewStmt *stmt)
{
	if (OidIsValid(view_named(stmt->relation)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot refresh continuous view \"%s\"", stmt->relation->relname),
				 errdetail("It is kept up to date as records arrive."),
				 errhint("kafka.verify(view) compares it with its query. To compute it anew, drop and create it.")));
}

static void
refuse_explain(ExplainStmt *stmt)
{
	Query	   *query = (Query *) stmt->query;
	CreateTableAsStmt *create;

	if (!IsA(query, Query) || query->utilityStmt == NULL || !IsA(query->utilityStmt, CreateTableAsStmt))
		return;
	create = (CreateTableAsStmt *) query->utilityStmt;
	if (create->objtype == OBJECT_MATVIEW && kv_has_view_options(create->into->options))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot explain the creation of continuous view \"%s\"", create->into->rel->relname),
				 errdetail("It is not filled by running its query."),
				 errhint("Create it, and use kafka.explain(view).")));
}

/* ------------------------------------------------------------------ changing and dropping */

/* DROP MATERIALIZED VIEW of continuous views drops their tables; a list may hold both kinds. */
static void
handle_drop(Utility *utility, DropStmt *stmt)
{
	List	   *ours = NIL;
	List	   *others = NIL;
	ListCell   *cell;

	if (stmt->removeType == OBJECT_MATVIEW)
	{
		foreach(cell, stmt->objects)
		{
			if (names_stored_view(makeRangeVarFromNameList(lfirst(cell))))
				ours = lappend(ours, lfirst(cell));
			else
				others = lappend(others, lfirst(cell));
		}
	}
	if (ours != NIL)
	{
		stmt = (DropStmt *) own_copy(utility);
		stmt->removeType = OBJECT_TABLE;
		stmt->objects = ours;
		kv_pass_on(utility);
		if (others == NIL)
			return;
		CommandCounterIncrement();
		stmt = (DropStmt *) own_copy(utility);
		stmt->removeType = OBJECT_MATVIEW;
		stmt->objects = others;
	}
	if (stmt->removeType == OBJECT_EXTENSION && names_extension(stmt->objects))
	{
		kv_pass_on_drop_extension(utility);
		return;
	}
	if (stmt->removeType == OBJECT_INDEX)
	{
		foreach(cell, stmt->objects)
			kv_check_not_state(relation_named(makeRangeVarFromNameList(lfirst(cell))));
	}
	if (stmt->removeType == OBJECT_TRIGGER || stmt->removeType == OBJECT_RULE || stmt->removeType == OBJECT_POLICY)
	{
		foreach(cell, stmt->objects)
		{
			List	   *name = lfirst(cell);
			RangeVar   *table = makeRangeVarFromNameList(list_copy_head(name, list_length(name) - 1));

			kv_check_not_state(relation_named(table));
			if (stmt->removeType == OBJECT_TRIGGER && strcmp(strVal(llast(name)), KV_REFUSE_TRIGGER) == 0 && OidIsValid(view_named(table)))
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot drop trigger \"%s\" of continuous view \"%s\"", KV_REFUSE_TRIGGER, table->relname),
						 errdetail("It keeps everything but the view's own maintenance from writing to it.")));
		}
	}
	kv_pass_on(utility);
	if (stmt->removeType == OBJECT_TRIGGER)
	{
		kv_wake_at_commit(SLOT_SUPERVISOR, MyDatabaseId, 0);
		kv_wake_at_commit(SLOT_WORKER, MyDatabaseId, -1);
	}
}

/* ALTER TABLE, MATERIALIZED VIEW, VIEW and FOREIGN TABLE. */
static void
handle_alter_table(Utility *utility, AlterTableStmt *stmt)
{
	Oid			relid = InvalidOid;
	bool		is_view;
	List	   *topics;
	ListCell   *cell;

	kv_check_not_state(relation_named(stmt->relation));
	if (stmt->objtype == OBJECT_TABLE || stmt->objtype == OBJECT_MATVIEW || stmt->objtype == OBJECT_VIEW ||
		stmt->objtype == OBJECT_FOREIGN_TABLE)
		relid = relation_named(stmt->relation);
	is_view = OidIsValid(relid) && kv_is_continuous_view(relid);
	if (is_view)
	{
		kv_check_alter_view(relid, stmt);
		if (stmt->objtype == OBJECT_MATVIEW && names_stored_view(stmt->relation))
			((AlterTableStmt *) own_copy(utility))->objtype = OBJECT_TABLE;
		KV_FAULT_POINT("alter_checked");
		kv_pass_on(utility);
		KV_FAULT_POINT("alter_passed_on");
		CommandCounterIncrement();
		foreach(cell, stmt->cmds)
		{
			if (lfirst_node(AlterTableCmd, cell)->subtype == AT_ChangeOwner)
				kv_view_change_owner(relid);
		}
		return;
	}
	foreach(cell, stmt->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (command->subtype == AT_AddInherit)
			refuse_inherited(list_make1(command->def), true);
		if (command->subtype == AT_AttachPartition)
			refuse_inherited(list_make1(castNode(PartitionCmd, command->def)->name), false);
	}
	topics = topics_of(relid);
	foreach(cell, topics)
		kv_check_alter_topic(lfirst_oid(cell), stmt, utility->context == PROCESS_UTILITY_SUBCOMMAND);
	kv_pass_on(utility);
	if (topics != NIL)
		CommandCounterIncrement();
	if (topics != NIL)
		KV_FAULT_POINT("topic_altered");
	foreach(cell, topics)
		kv_topic_check(lfirst_oid(cell));	/* raises an error for options that do not go together */
}

/*
 * Refuses continuous views among the parents or partitions of a table, whose rows would be written to them, and topics among the
 * parents: a view that reads one reads its records, and not the rows of its children.
 */
static void
refuse_inherited(List *names, bool parents)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		RangeVar   *name = lfirst_node(RangeVar, cell);

		Oid			relid = relation_named(name);

		kv_check_not_state(relid);
		if (OidIsValid(relid) && kv_is_continuous_view(relid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("continuous view \"%s\" cannot be a parent or a partition of another table", name->relname),
					 errdetail("Its rows are those of its query, and only its maintenance writes them."),
					 errhint("To read it together with other tables, unite them in a query or an ordinary view.")));
		if (OidIsValid(relid) && parents && kv_topic_is(relid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("topic table \"%s\" cannot be the parent of another table", name->relname),
					 errdetail("Its rows are the records of its topic."),
					 errhint("To read it together with other tables, unite them in a query or a view.")));
	}
}

static void
handle_rename(Utility *utility, RenameStmt *stmt)
{
	List	   *topics = NIL;
	ListCell   *cell;

	if (stmt->relation != NULL)
		kv_check_not_state(relation_named(stmt->relation));
	if (stmt->renameType == OBJECT_DATABASE)
	{
		kv_pass_on_held(utility, stmt->subname, false);
		return;
	}
	if (stmt->renameType == OBJECT_FOREIGN_SERVER)
	{
		kv_pass_on_rename_server(utility, stmt);
		return;
	}
	if (stmt->renameType == OBJECT_COLUMN &&
		(stmt->relationType == OBJECT_MATVIEW || stmt->relationType == OBJECT_VIEW || stmt->relationType == OBJECT_TABLE) &&
		OidIsValid(view_named(stmt->relation)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rename a column of continuous view \"%s\"", stmt->relation->relname),
				 errdetail("Its columns are those of its query, and sinks find them by name."),
				 errhint("Create a view with the new name of the column, and drop this one.")));
	if (stmt->renameType == OBJECT_MATVIEW && names_stored_view(stmt->relation))
		((RenameStmt *) own_copy(utility))->renameType = OBJECT_TABLE;
	if (stmt->renameType == OBJECT_TRIGGER && stmt->subname != NULL && strcmp(stmt->subname, KV_REFUSE_TRIGGER) == 0 &&
		OidIsValid(view_named(stmt->relation)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rename trigger \"%s\" of continuous view \"%s\"", KV_REFUSE_TRIGGER, stmt->relation->relname)));
	if (stmt->renameType == OBJECT_COLUMN &&
		(stmt->relationType == OBJECT_FOREIGN_TABLE || stmt->relationType == OBJECT_TABLE))
		topics = topics_of(relation_named(stmt->relation));
	foreach(cell, topics)
		kv_check_rename_topic_column(lfirst_oid(cell), stmt->subname);
	if (stmt->renameType == OBJECT_SCHEMA || names_topic(stmt->relation))
		pass_on_and_name_sinks(utility);
	else
		kv_pass_on(utility);
	KV_FAULT_POINT("rename_passed_on");
	if (topics != NIL)
		CommandCounterIncrement();
	foreach(cell, topics)
		kv_topic_check(lfirst_oid(cell));	/* event_time names its column */
}

static void
handle_comment(Utility *utility, CommentStmt *stmt)
{
	if (stmt->objtype == OBJECT_MATVIEW && names_stored_view(makeRangeVarFromNameList(castNode(List, stmt->object))))
		((CommentStmt *) own_copy(utility))->objtype = OBJECT_TABLE;
	kv_pass_on(utility);
}

static void
handle_set_schema(Utility *utility, AlterObjectSchemaStmt *stmt)
{
	if (stmt->relation != NULL)
		kv_check_not_state(relation_named(stmt->relation));
	if (stmt->objectType == OBJECT_MATVIEW && names_stored_view(stmt->relation))
		((AlterObjectSchemaStmt *) own_copy(utility))->objectType = OBJECT_TABLE;
	if (names_topic(stmt->relation))
		pass_on_and_name_sinks(utility);
	else
		kv_pass_on(utility);
}

/* Gives on what may change the names of topic tables, and tells the triggers that publish to them. */
static void
pass_on_and_name_sinks(Utility *utility)
{
	List	   *sinks = kv_sink_names_list();

	kv_pass_on(utility);
	CommandCounterIncrement();
	kv_sink_names_update(sinks);
}

/* ------------------------------------------------------------------ topics, triggers, rules */

/* CREATE FOREIGN TABLE: what each option is worth alone is known; whether they go together is checked when all are there. */
static void
handle_create_topic(Utility *utility, CreateForeignTableStmt *stmt)
{
	Oid			relid;

	refuse_inherited(stmt->base.inhRelations, true);
	kv_pass_on(utility);
	CommandCounterIncrement();
	relid = relation_named(stmt->base.relation);
	if (OidIsValid(relid) && kv_topic_is(relid))
		kv_topic_check(relid);	/* pg_dump adds a key by ALTER: what is missing is missed at first use */
}

/* CREATE TRIGGER on a continuous view, or with kafka.publish on any table. */
static void
handle_create_trigger(Utility *utility, CreateTrigStmt *stmt)
{
	Oid			relid = relation_named(stmt->relation);
	Oid			publish = InvalidOid;
	bool		publishes = false;

	kv_check_not_state(relid);
	if (OidIsValid(relid) && kv_is_continuous_view(relid))
		kv_check_view_trigger(relid, stmt);
	if (OidIsValid(relid) && kv_catalog_installed())
		publish = kv_publish_function();
	if (OidIsValid(publish))
		publishes = LookupFuncName(stmt->funcname, 0, NULL, true) == publish;
	if (publishes)
	{
		char	   *qualified = kv_publish_check_trigger(relid, stmt);

		stmt = (CreateTrigStmt *) own_copy(utility);
		stmt->args = list_make1(makeString(qualified));
	}
	kv_pass_on(utility);
	if (publishes)
	{
		CommandCounterIncrement();
		kv_sink_names_depend(relid, stmt->trigname, kv_sink_resolve(strVal(linitial(stmt->args)), false));
		kv_wake_at_commit(SLOT_SUPERVISOR, MyDatabaseId, 0);
		kv_wake_at_commit(SLOT_WORKER, MyDatabaseId, -1);
	}
}

static void
refuse_rule(RuleStmt *stmt)
{
	kv_check_not_state(relation_named(stmt->relation));
	if (OidIsValid(view_named(stmt->relation)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot have rules", stmt->relation->relname),
				 errdetail("They would rewrite the statements that maintain it."),
				 errhint("Use an AFTER trigger.")));
}

/* COMMIT PREPARED: the callbacks that wake a publisher ran at PREPARE TRANSACTION, when there was nothing to publish yet. */
static void
handle_transaction(Utility *utility, TransactionStmt *stmt)
{
	bool		publishes = stmt->kind == TRANS_STMT_COMMIT_PREPARED;

	kv_pass_on(utility);
	if (publishes && !kv_wake(SLOT_PUBLISHER, MyDatabaseId, -1))
		(void) kv_wake(SLOT_SUPERVISOR, MyDatabaseId, 0);
}

/* ------------------------------------------------------------------ extension and databases */

static void
handle_create_extension(Utility *utility, CreateExtensionStmt *stmt)
{
	kv_pass_on(utility);
	if (strcmp(stmt->extname, KV_EXTENSION) == 0)
		kv_request_supervisor_at_commit();
}

static bool
names_extension(List *objects)
{
	ListCell   *cell;

	foreach(cell, objects)
	{
		if (strcmp(strVal(lfirst(cell)), KV_EXTENSION) == 0)
			return true;
	}
	return false;
}

static char *
string_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* ------------------------------------------------------------------ names */

/* Gives the result table, or the unstored view, of the continuous view of this name, else InvalidOid. */
static Oid
view_named(RangeVar *name)
{
	Oid			relid = relation_named(name);

	return OidIsValid(relid) && kv_is_continuous_view(relid) ? relid : InvalidOid;
}

/* Is it a continuous view whose rows are in a table? To its user that is a materialized view; an unstored one is a view to Postgres too. */
static bool
names_stored_view(RangeVar *name)
{
	Oid			relid = view_named(name);

	return OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_RELATION;
}

/* Is it a topic table? NULL, as some statements have it, is none. */
static bool
names_topic(RangeVar *name)
{
	Oid			relid = name != NULL ? relation_named(name) : InvalidOid;

	return OidIsValid(relid) && kv_topic_is(relid);
}

/* Gives the relation of this name, InvalidOid where there is none; takes no lock. */
static Oid
relation_named(RangeVar *name)
{
	return RangeVarGetRelid(name, NoLock, true);
}

/* Lists the topics that a change of a relation's columns changes: itself, and those among its children or partitions. */
static List *
topics_of(Oid relid)
{
	List	   *topics = NIL;
	ListCell   *cell;

	if (!OidIsValid(relid))
		return NIL;
	if (!has_subclass(relid))
		return kv_topic_is(relid) ? list_make1_oid(relid) : NIL;
	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
	{
		if (kv_topic_is(lfirst_oid(cell)))
			topics = lappend_oid(topics, lfirst_oid(cell));
	}
	return topics;
}
