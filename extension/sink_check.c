/*
 * sink_check.c: may the rows of a relation be published to a topic?
 *
 * Invariant: what passes here can be published without an error that is not a
 * row's own: the relation has the topic's columns, its owner may write to the
 * topic, and the key of an upsert topic identifies the relation's rows. It is asked when a
 * trigger is created and when it first fires, because a trigger outlives renames and grants, and
 * because a dump that is restored makes it before them. What
 * the trigger itself must be (its time, its transition tables) is asked when it is created.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/regproc.h"

#include "catalog.h"
#include "encode.h"
#include "equality.h"
#include "outbox.h"
#include "sink_check.h"

static void check_moment(CreateTrigStmt *stmt);
static void check_transitions(Relation rel, const TopicDef *topic, CreateTrigStmt *stmt);
static void require_transition(CreateTrigStmt *stmt, bool is_new);
static char *qualified_name(Oid relid);
static void check_sink_key(Relation rel, const TopicDef *topic);
static void check_key_types(Relation rel, const TopicDef *topic);
static bool keeps_identity(Form_pg_attribute from, Form_pg_attribute column, const TopicColumn *to);
static bool covers_unique_index(Relation rel, const TopicDef *topic);
static bool are_key_columns(Relation rel, List *columns, const TopicDef *topic);


/* Gives the oid of kafka.publish(), InvalidOid without the extension. */
Oid
kv_publish_function(void)
{
	return LookupFuncName(list_make2(makeString(KV_SCHEMA), makeString("publish")), 0, NULL, true);
}

/* Checks a CREATE TRIGGER; see the header. */
char *
kv_publish_check_trigger(Oid relid, CreateTrigStmt *stmt)
{
	const char *topic_name;
	Relation	rel;

	if (list_length(stmt->args) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kafka.publish takes one argument, the name of a topic table"),
				 errhint("For example kafka.publish('emails_to_send').")));
	check_moment(stmt);
	topic_name = strVal(linitial(stmt->args));
	/* so dumps say that what is named may come later: they restore rights last, and keys and what is a view in any order */
	if (!check_function_bodies)
		return qualified_name(kv_sink_resolve(topic_name, false));
	if (!stmt->row)
	{
		rel = table_open(relid, AccessShareLock);
		check_transitions(rel, kv_topic_get(kv_sink_resolve(topic_name, false)), stmt);
		table_close(rel, NoLock);
	}
	return kv_publish_check(relid, topic_name);
}

/* Refuses what fires before the change, or does not say which rows it changes. */
static void
check_moment(CreateTrigStmt *stmt)
{
	if (stmt->timing == TRIGGER_TYPE_AFTER && !TRIGGER_FOR_TRUNCATE(stmt->events))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("kafka.publish must be fired AFTER INSERT, UPDATE or DELETE"),
			 errdetail("TRUNCATE does not say which rows it removes, and before the change a row may still become another one."),
			 errhint("Create the trigger with AFTER INSERT, AFTER UPDATE or AFTER DELETE.")));
}

/* Requires the transition tables in which a statement trigger finds its rows, and the keys that are gone. */
static void
check_transitions(Relation rel, const TopicDef *topic, CreateTrigStmt *stmt)
{
	bool		upsert = topic->mode == MODE_UPSERT;

	if (TRIGGER_FOR_INSERT(stmt->events) || TRIGGER_FOR_UPDATE(stmt->events))
		require_transition(stmt, true);
	if (upsert && (TRIGGER_FOR_DELETE(stmt->events) ||
				   (TRIGGER_FOR_UPDATE(stmt->events) && !kv_sink_key_is_fixed(rel, topic))))
		require_transition(stmt, false);
}

static void
require_transition(CreateTrigStmt *stmt, bool is_new)
{
	ListCell   *cell;

	foreach(cell, stmt->transitionRels)
	{
		if (lfirst_node(TriggerTransition, cell)->isNew == is_new)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("trigger \"%s\" needs a transition table", stmt->trigname),
			 errdetail("kafka.publish FOR EACH STATEMENT reads the changed rows from there; an upsert topic needs the old "
					   "rows too, for the tombstones of keys that are gone."),
			 errhint("Add REFERENCING %s to CREATE TRIGGER, or create it FOR EACH ROW.", is_new ? "NEW TABLE AS new" : "OLD TABLE AS old")));
}

/* Checks a sink of a relation; see the header. */
char *
kv_publish_check(Oid relid, const char *topic_name)
{
	Oid			topic_relid = kv_sink_resolve(topic_name, false);
	ViewRow    *view = kv_view_by_relation(relid, true);
	Relation	rel = table_open(relid, AccessShareLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kv publish check", ALLOCSET_SMALL_SIZES);

	kv_sink_check(rel, topic_relid);
	if (view != NULL)
		kv_outbox_check_server(view->pipeline, kv_topic_get(topic_relid));
	(void) kv_encoder_make(context, kv_topic_get(topic_relid), RelationGetDescr(rel));
	MemoryContextDelete(context);
	table_close(rel, NoLock);
	return qualified_name(topic_relid);
}

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Gives the oid of a topic table by its name as a trigger's argument has it; InvalidOid if missing_ok and there is none. */
Oid
kv_sink_resolve(const char *name, bool missing_ok)
{
	RangeVar   *range = makeRangeVarFromNameList(stringToQualifiedNameList(name));
	Oid			relid = RangeVarGetRelid(range, NoLock, true);

	if (!OidIsValid(relid) && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("topic table \"%s\" of kafka.publish does not exist", name),
				 errhint("If it was renamed or moved, create the trigger again with its new name.")));
	return relid;
}

/*
 * Checks a topic as a sink of a relation: it is one, the relation's owner may write to it, and
 * an upsert topic's key identifies the relation's rows.
 */
void
kv_sink_check(Relation rel, Oid topic_relid)
{
	TopicDef   *topic = kv_topic_get(topic_relid);
	AclResult	acl = pg_class_aclcheck(topic_relid, rel->rd_rel->relowner, ACL_INSERT);

	if (acl != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for topic table %s", topic->relation_name),
				 errdetail("Role \"%s\", which owns \"%s\", may not INSERT into it.",
						   GetUserNameFromId(rel->rd_rel->relowner, false), RelationGetRelationName(rel)),
				 errhint("GRANT INSERT on it to that role.")));
	if (topic->mode == MODE_UPSERT)
		check_sink_key(rel, topic);
}

/* Raises an error unless the key columns of an upsert topic identify a row of the relation. */
static void
check_sink_key(Relation rel, const TopicDef *topic)
{
	if (covers_unique_index(rel, topic))
	{
		check_key_types(rel, topic);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("the key of upsert topic %s is not a key of \"%s\"", topic->relation_name, RelationGetRelationName(rel)),
			 errdetail("Two rows with the same key would overwrite each other in the topic."),
			 errhint("Use the GROUP BY columns of a view, or the columns of a unique index of a table (NOT NULL, or NULLS NOT "
					 "DISTINCT), as the topic's key; or use a topic in append mode.")));
}

/* Raises an error where the assignment to a key column could make one key of two. */
static void
check_key_types(Relation rel, const TopicDef *topic)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < topic->nkeys; i++)
	{
		const TopicColumn *key = &topic->columns[topic->keys[i]];

		for (int j = 0; j < desc->natts; j++)
		{
			Form_pg_attribute column = TupleDescAttr(desc, j);

			if (column->attisdropped || namestrcmp(&column->attname, key->name) != 0 || keeps_identity(column, TupleDescAttr(topic->desc, key->attno - 1), key))
				continue;
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("the key of upsert topic %s is not a key of \"%s\"", topic->relation_name, RelationGetRelationName(rel)),
					 errdetail("Different values of column \"%s\", of type %s, can be the same in the topic, as %s.", key->name,
							   format_type_with_typemod(column->atttypid, column->atttypmod), format_type_with_typemod(key->type, key->typmod)),
					 errhint("Give the column the same type and collation in both.")));
		}
	}
}

/* Do different values stay different (or raise an error) when they are assigned to the topic's column? */
static bool
keeps_identity(Form_pg_attribute from, Form_pg_attribute column, const TopicColumn *to)
{
	int32		from_typmod = from->atttypmod;
	int32		to_typmod = to->typmod;
	Oid			from_type = getBaseTypeAndTypmod(from->atttypid, &from_typmod);
	Oid			to_type = getBaseTypeAndTypmod(to->type, &to_typmod);
	bool		from_integer = from_type == INT2OID || from_type == INT4OID || from_type == INT8OID;

	/* of values that the topic's collation finds equal, the relation has one if its own finds them equal too */
	if (OidIsValid(column->attcollation) && !get_collation_isdeterministic(column->attcollation) && column->attcollation != from->attcollation)
		return false;
	if (from_type == to_type)
		return to_typmod < 0 || to_typmod == from_typmod;
	if (to_typmod >= 0)
		return false;
	if (from_integer && (to_type == INT2OID || to_type == INT4OID || to_type == INT8OID || to_type == NUMERICOID))
		return true;
	/* the text of a value tells it from all others; a char's has lost its spaces, but these do not count */
	return to_type == TEXTOID || to_type == VARCHAROID;
}

static bool
covers_unique_index(Relation rel, const TopicDef *topic)
{
	bool		covered = false;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		bool		nulls;
		List	   *columns = kv_sink_index_key(rel, index, &nulls);

		/* a JSON key can be null; the other key formats refuse each null */
		covered = covered || (columns != NIL && !(nulls && topic->key_format == KEY_JSON) && are_key_columns(rel, columns, topic));
		index_close(index, AccessShareLock);
	}
	return covered;
}

/* See the header. */
List *
kv_sink_index_key(Relation rel, Relation index, bool *nulls)
{
	Form_pg_index form = index->rd_index;
	List	   *columns = NIL;

	*nulls = false;
	if (!form->indisunique || !form->indisvalid || !form->indimmediate || RelationGetIndexPredicate(index) != NIL)
		return NIL;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber	attno = form->indkey.values[i];

		/* an expression, or a system column */
		if (attno <= 0)
			return NIL;
		*nulls = *nulls || (!form->indnullsnotdistinct && !TupleDescAttr(RelationGetDescr(rel), attno - 1)->attnotnull);
		columns = lappend_int(columns, attno);
	}
	return columns;
}

/* Are all these columns (attnos) of the relation, by name, key columns of the topic? */
static bool
are_key_columns(Relation rel, List *columns, const TopicDef *topic)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		Name		name = &TupleDescAttr(RelationGetDescr(rel), lfirst_int(cell) - 1)->attname;
		bool		found = false;

		for (int i = 0; i < topic->nkeys; i++)
			found = found || namestrcmp(name, topic->columns[topic->keys[i]].name) == 0;
		if (!found)
			return false;
	}
	return true;
}

/* Gives the columns by which the rows of a continuous view are kept; see the header. */
List *
kv_sink_view_key(Relation rel)
{
	Oid			oldest = InvalidOid;
	List	   *columns = NIL;
	ListCell   *cell;

	if (kv_view_by_relation(RelationGetRelid(rel), true) == NULL)
		return NIL;
	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Oid			constraint = index->rd_index->indisunique ? get_index_constraint(lfirst_oid(cell)) : InvalidOid;

		if (OidIsValid(constraint) && (!OidIsValid(oldest) || constraint < oldest))
		{
			oldest = constraint;
			columns = NIL;
			for (int i = 0; i < index->rd_index->indnkeyatts; i++)
				columns = lappend_int(columns, index->rd_index->indkey.values[i]);
		}
		index_close(index, AccessShareLock);
	}
	return columns;
}

/* Can no update change the topic's key? See the header. */
bool
kv_sink_key_is_fixed(Relation rel, const TopicDef *topic)
{
	List	   *fixed = kv_sink_view_key(rel);

	for (int i = 0; i < topic->nkeys; i++)
	{
		AttrNumber	attno = get_attnum(RelationGetRelid(rel), topic->columns[topic->keys[i]].name);
		Form_pg_attribute column;

		if (!list_member_int(fixed, attno))
			return false;
		/* an equal key may come with other digits: 1.0 and 1.00 are two keys in Kafka */
		column = TupleDescAttr(RelationGetDescr(rel), attno - 1);
		if (!kv_equality_is_identity(column->atttypid, column->attcollation))
			return false;
	}
	return true;
}
