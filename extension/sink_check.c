/*
 * sink_check.c: may the rows of a relation be published to a topic?
 *
 * Invariant: what passes here can be published without an error that is not a
 * row's own: the relation has the topic's columns, its owner may write to the
 * topic, and the key of an upsert topic identifies the relation's rows. It is asked when a
 * trigger is created and when it first fires, because a trigger outlives renames and grants.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_index.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/regproc.h"

#include "encode.h"
#include "sink_check.h"

static void check_sink_key(Relation rel, const TopicDef *topic);
static bool covers_unique_index(Relation rel, const TopicDef *topic);
static bool index_is_covered(Form_pg_index index, Relation rel, const TopicDef *topic);


/* Gives the oid of kafka.publish(), InvalidOid without the extension. */
Oid
kv_publish_function(void)
{
	return LookupFuncName(list_make2(makeString(KV_SCHEMA), makeString("publish")), 0, NULL, true);
}

/* Checks a sink of a relation; see the header. */
char *
kv_publish_check(Oid relid, const char *topic_name)
{
	Oid			topic_relid = kv_sink_resolve(topic_name, false);
	Relation	rel = table_open(relid, AccessShareLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kv publish check", ALLOCSET_SMALL_SIZES);

	kv_sink_check(rel, topic_relid);
	(void) kv_encoder_make(context, kv_topic_get(topic_relid), RelationGetDescr(rel));
	MemoryContextDelete(context);
	table_close(rel, NoLock);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(topic_relid)), get_rel_name(topic_relid));
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
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("the key of upsert topic %s is not a key of \"%s\"", topic->relation_name, RelationGetRelationName(rel)),
			 errdetail("Two rows with the same key would overwrite each other in the topic."),
			 errhint("Use the GROUP BY columns of a view, or the columns of a unique index of a table, as the topic's key; "
					 "or use a topic in append mode.")));
}

static bool
covers_unique_index(Relation rel, const TopicDef *topic)
{
	bool		covered = false;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		covered = covered || (RelationGetIndexPredicate(index) == NIL && index_is_covered(index->rd_index, rel, topic));
		index_close(index, AccessShareLock);
	}
	return covered;
}

/* Is it a unique index all of whose columns are, by name, key columns of the topic? */
static bool
index_is_covered(Form_pg_index index, Relation rel, const TopicDef *topic)
{
	if (!index->indisunique || !index->indisvalid || !index->indimmediate)
		return false;
	for (int i = 0; i < index->indnkeyatts; i++)
	{
		bool		found = false;

		if (index->indkey.values[i] <= 0)
			return false;
		for (int j = 0; j < topic->nkeys; j++)
		{
			TopicColumn *column = &topic->columns[topic->keys[j]];

			found = found || namestrcmp(&TupleDescAttr(RelationGetDescr(rel), index->indkey.values[i] - 1)->attname,
										column->name) == 0;
		}
		if (!found)
			return false;
	}
	return true;
}
