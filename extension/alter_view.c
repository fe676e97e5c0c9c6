/*
 * alter_view.c: which ALTER a continuous view and a topic under one can bear.
 *
 * Invariant: the columns of a result table stay those of its definition, its
 * key stays unique, and the trigger that refuses direct writes stays on.
 * What a topic is to its views (which topic, which mode, which time) does not
 * change under them, nor what the engine keeps of a view. Everything else is
 * Postgres' and the owner's business.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "ddl.h"
#include "identity.h"
#include "run_sql.h"
#include "topic.h"

/* Options that say what a topic is, not how it is read or written. */
static const char *const fixed_options[] = {"topic", "mode", "event_time", "key_format"};

static const char *why_not(AlterTableCmd *command);
static bool is_refuse_trigger(AlterTableCmd *command);
static bool is_unique_constraint(Oid relid, const char *name);
static void check_alter_column(Oid relid, AlterTableCmd *command);
static bool is_fixed_option(DefElem *option);
static bool says_what_holds(const TopicColumn *column, DefElem *option);
static const TopicColumn *topic_column(Oid relid, const char *name);
static bool has_path(Oid relid, AttrNumber attno);
static bool topic_is_used(Oid relid);


/* Refuses subcommands that would break the maintenance of a continuous view. */
void
kv_check_alter_view(Oid relid, AlterTableStmt *stmt)
{
	ListCell   *cell;

	foreach(cell, stmt->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);
		const char *reason = why_not(command);

		if (reason != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot alter continuous view \"%s\" this way", get_rel_name(relid)),
					 errdetail("%s", reason),
					 errhint("Create a view with the new definition, and drop this one.")));
		if (is_refuse_trigger(command) && (!superuser() || kv_identity_is_settled()))	/* a restore does, and enables it again */
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot disable trigger \"%s\" of continuous view \"%s\"", KV_REFUSE_TRIGGER, get_rel_name(relid)),
					 errdetail("It keeps everything but the view's own maintenance from writing to it."),
					 errhint("Disable other triggers by name.")));
		if (command->subtype == AT_DropConstraint && is_unique_constraint(relid, command->name))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot drop constraint \"%s\" of continuous view \"%s\"", command->name, get_rel_name(relid)),
					 errdetail("The maintenance finds the row of a group by it.")));
	}
}

/* Gives the reason why a subcommand cannot be done to a continuous view, or NULL. */
static const char *
why_not(AlterTableCmd *command)
{
	switch (command->subtype)
	{
		case AT_AddColumn:
		case AT_DropColumn:
		case AT_AlterColumnType:
		case AT_ColumnDefault:
		case AT_AddIdentity:
		case AT_SetIdentity:
		case AT_DropIdentity:
		case AT_DropExpression:
			return "Its columns are those of its query.";
		case AT_SetUnLogged:
			return "Its rows and its positions in the topics must survive together.";
		case AT_AddInherit:
		case AT_DropInherit:
		case AT_AddOf:
		case AT_DropOf:
		case AT_AttachPartition:
		case AT_DetachPartition:
			return "It is not part of another table.";
		case AT_ForceRowSecurity:
			return "Its maintenance runs as its owner and must see every row.";
		default:
			return NULL;
	}
}

static bool
is_refuse_trigger(AlterTableCmd *command)
{
	switch (command->subtype)
	{
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
			return true;
		case AT_DisableTrig:
		case AT_EnableReplicaTrig:
			return strcmp(command->name, KV_REFUSE_TRIGGER) == 0;
		default:
			return false;
	}
}

/* Tells whether a constraint is a unique one over the view's key (or looks like it). */
static bool
is_unique_constraint(Oid relid, const char *name)
{
	ViewDef    *view = kv_view_load(kv_view_by_relation(relid, false)->view);
	Oid			constraint = get_relation_constraint_oid(relid, name, true);
	HeapTuple	tuple;
	bool		result;

	if (!OidIsValid(constraint) || view->keys == NIL)
		return false;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_UNIQUE;
	if (result)
	{
		bool		isnull;
		Datum		value = SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_conkey, &isnull);
		ArrayType  *columns = isnull ? NULL : DatumGetArrayTypeP(value);
		int			count = isnull ? 0 : ARR_DIMS(columns)[0];

		result = count == list_length(view->keys);
		for (int i = 0; result && i < count; i++)
			result = list_member_int(view->keys, ((int16 *) ARR_DATA_PTR(columns))[i]);
	}
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Refuses to change a relation of kafka_state: those of a view belong to its owner, as whom its maintenance runs, but what is in them is
 * the engine's. Superusers may (a restore is one); InvalidOid passes.
 */
void
kv_check_not_state(Oid relid)
{
	char	   *schema = OidIsValid(relid) ? get_namespace_name(get_rel_namespace(relid)) : NULL;

	if (schema == NULL || strcmp(schema, KV_STATE_SCHEMA) != 0 || superuser() || GetUserId() == kv_sql_engine_role())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot change relation \"%s\"", get_rel_name(relid)),
			 errdetail("It holds the state of a continuous view."),
			 errhint("What is done to the view itself is done to its state where that is needed.")));
}

/* Refuses triggers that would change or swallow the rows of a continuous view, or that would never fire. */
void
kv_check_view_trigger(Oid relid, CreateTrigStmt *stmt)
{
	if (get_rel_relkind(relid) == RELKIND_VIEW)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot have triggers", get_rel_name(relid)),
				 errdetail("Its rows are not stored, so no trigger would fire for them."),
				 errhint("Write them to a topic with kafka.attach_sink(view, topic_table), or make it a materialized view.")));
	if (stmt->row && stmt->timing == TRIGGER_TYPE_BEFORE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot have BEFORE ROW triggers", get_rel_name(relid)),
				 errdetail("They could change rows, which then would not be those of the view's query."),
				 errhint("Use an AFTER trigger.")));
}

/*
 * Refuses to turn a topic that continuous views read, or a column of it, into another one. Postgres makes the options of a column that ADD
 * COLUMN adds a statement of their own (of_new_column): no view reads that column yet, but a key would be another one.
 */
void
kv_check_alter_topic(Oid relid, AlterTableStmt *stmt, bool of_new_column)
{
	ListCell   *cell;
	ListCell   *option_cell;

	if (!topic_is_used(relid))
		return;
	foreach(cell, stmt->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (command->subtype == AT_DropColumn || command->subtype == AT_AlterColumnType)
			check_alter_column(relid, command);
		if (command->subtype != AT_GenericOptions && command->subtype != AT_AlterColumnGenericOptions)
			continue;
		foreach(option_cell, (List *) command->def)
		{
			DefElem    *option = lfirst_node(DefElem, option_cell);
			bool		fixed = command->subtype == AT_GenericOptions ? is_fixed_option(option) :
			of_new_column ? strcmp(option->defname, "key") == 0 : !says_what_holds(topic_column(relid, command->name), option);

			if (fixed)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_IN_USE),
						 errmsg("cannot change option \"%s\" of topic table \"%s\"", option->defname, get_rel_name(relid)),
						 errdetail("Continuous views have applied records of the topic as it is."),
						 errhint("Create another foreign table with the new option, and new views over it.")));
		}
	}
}

/*
 * Refuses to drop a key column, or to give key or event time another type: a view need not select them, so its definition may not
 * depend on them, and yet by them its rows were told apart and put in order.
 */
static void
check_alter_column(Oid relid, AlterTableCmd *command)
{
	const TopicColumn *column = topic_column(relid, command->name);
	bool		drop = command->subtype == AT_DropColumn;

	if (column == NULL || !(column->is_key || (!drop && column->attno == kv_topic_get(relid)->time_attno)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 drop ? errmsg("cannot drop column \"%s\" of topic table \"%s\"", command->name, get_rel_name(relid)) :
			 errmsg("cannot change the type of column \"%s\" of topic table \"%s\"", command->name, get_rel_name(relid)),
			 errdetail("It is %s, and continuous views have applied records of the topic as it is.", column->is_key ? "part of the key" : "the event time"),
			 errhint("Create another foreign table, and new views over it.")));
}

static bool
is_fixed_option(DefElem *option)
{
	for (int i = 0; i < lengthof(fixed_options); i++)
	{
		if (strcmp(option->defname, fixed_options[i]) == 0)
			return true;
	}
	return false;
}

/* Tells whether a column option only says what its name says already: ADD path 'name', before a rename. A key with a path is no longer read from the key. */
static bool
says_what_holds(const TopicColumn *column, DefElem *option)
{
	return column != NULL && !column->is_key && option->defaction != DEFELEM_SET && option->defaction != DEFELEM_DROP &&
		strcmp(option->defname, "path") == 0 && strcmp(defGetString(option), column->name) == 0;
}

/* Gives a column of a topic, NULL: it has none of this name. */
static const TopicColumn *
topic_column(Oid relid, const char *name)
{
	TopicDef   *topic = kv_topic_get(relid);
	int			index = kv_topic_column_index(topic, get_attnum(relid, name));

	return index < 0 ? NULL : &topic->columns[index];
}

/* Refuses to rename a column that continuous views read and whose name is that of a JSON field, in the value or in the key. */
void
kv_check_rename_topic_column(Oid relid, const char *name)
{
	const TopicColumn *column;
	bool		in_value;
	bool		in_key;

	if (!topic_is_used(relid))
		return;
	column = topic_column(relid, name);
	in_value = column != NULL && column->source == COLUMN_VALUE && column->path != NIL && !has_path(relid, column->attno);
	in_key = column != NULL && column->is_key && kv_topic_get(relid)->key_format == KEY_JSON;
	if (!in_value && !in_key)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("cannot rename column \"%s\" of topic table \"%s\"", name, get_rel_name(relid)),
			 errdetail("Its name says where it is in the records, and continuous views read the topic."),
			 in_key ? errhint("Create another foreign table whose key has the new name, and new views over it.") :
			 errhint("First add the column option path '%s', which keeps its place.", name)));
}

static bool
has_path(Oid relid, AttrNumber attno)
{
	ListCell   *cell;

	foreach(cell, GetForeignColumnOptions(relid, attno))
	{
		if (strcmp(lfirst_node(DefElem, cell)->defname, "path") == 0)
			return true;
	}
	return false;
}

/* Tells whether the definition of a continuous view reads the topic. */
static bool
topic_is_used(Oid relid)
{
	static const char text[] =
		"SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid "
		"JOIN kafka_state.view v ON v.definition::oid = r.ev_class "
		"WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass "
		"AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1";

	return kv_catalog_has(text, OIDOID, ObjectIdGetDatum(relid));
}
