/*-------------------------------------------------------------------------
 * topic.c
 *	  Options of foreign tables and columns, checked and kept as TopicDef.
 *
 * Why it exists: the rest of the code knows a topic only as a TopicDef, in
 * which every option has been read and every combination makes sense, so
 * nothing below checks options again.
 *
 * Options are checked at three moments. The validator (topic_options.c) sees those of
 * one catalog object: names, values, combinations within a column. kv_topic_check, called
 * after CREATE and ALTER FOREIGN TABLE, sees the whole table, but lets pass what
 * a later ALTER may complete, because pg_dump writes column options as ALTERs
 * after the CREATE. kv_topic_get requires everything.
 *
 * Invariant: a TopicDef is never freed by an invalidation, only marked; the next
 * kv_topic_get of that relation makes a new one.
 *-------------------------------------------------------------------------
 */
#include "topic.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "storage/lmgr.h"
#include "client_options.h"
#include "topic_options.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

typedef struct CacheEntry
{
	Oid			relid;			/* hash key */
	MemoryContext context;		/* of topic; NULL: none yet */
	TopicDef   *topic;
	bool		valid;			/* cleared by invalidations */
} CacheEntry;

static HTAB *topic_cache = NULL;
static int64 invalidations = 0;

static void init_cache(void);
static void invalidate_relation(Datum arg, Oid relid);
static void invalidate_all(Datum arg, int cacheid, uint32 hashvalue);
static TopicDef *build_topic(Oid relid, bool complete);
static void read_table_options(TopicDef *topic, List *options, char **event_time, bool *key_format_given);
static void read_column(TopicDef *topic, Form_pg_attribute attribute);
static void check_column_type(const TopicDef *topic, const TopicColumn *column);
static void raise_column_type(const TopicColumn *column, const char *what, const char *types);
static void set_event_time(TopicDef *topic, const char *event_time);
static void check_nature(TopicDef *topic, bool complete);
static void check_key_types(const TopicDef *topic);

TopicDef *
kv_topic_get(Oid relid)
{
	CacheEntry *entry;
	bool		found;

	if (topic_cache == NULL)
		init_cache();
	entry = hash_search(topic_cache, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->context = NULL;
		entry->topic = NULL;
		entry->valid = false;
	}
	if (!entry->valid)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kv topic", ALLOCSET_SMALL_SIZES);
		MemoryContext before = MemoryContextSwitchTo(context);
		int64		invalidations_before;
		TopicDef   *topic;

		/* what a transaction that holds the table has changed is told now, and not when half of it has been read */
		if (kv_topic_is(relid))
			LockRelationOid(relid, AccessShareLock);
		invalidations_before = invalidations;
		topic = build_topic(relid, true);
		MemoryContextSwitchTo(before);
		if (entry->context != NULL)
			MemoryContextDelete(entry->context);
		MemoryContextSetParent(context, CacheMemoryContext);
		entry->context = context;
		entry->topic = topic;
		entry->valid = invalidations == invalidations_before;
	}
	return entry->topic;
}

static void
init_cache(void)
{
	HASHCTL		control = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(CacheEntry),
		.hcxt = CacheMemoryContext
	};

	topic_cache = hash_create("kv topics", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate_all, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_all, (Datum) 0);
}

static void
invalidate_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	CacheEntry *entry;

	invalidations++;
	if (OidIsValid(relid))
	{
		entry = hash_search(topic_cache, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&status, topic_cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

static void
invalidate_all(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidate_relation(arg, InvalidOid);
}

/* See the header. The whole definition needs the table's columns, and with them its lock. */
char *
kv_topic_name(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(FOREIGNTABLEREL, ObjectIdGetDatum(relid));
	char	   *name = NULL;
	Datum		options;
	bool		isnull = true;
	ListCell   *cell;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic table with OID %u does not exist any more", relid)));
	options = SysCacheGetAttr(FOREIGNTABLEREL, tuple, Anum_pg_foreign_table_ftoptions, &isnull);
	foreach(cell, isnull ? NIL : untransformRelOptions(options))
	{
		DefElem    *def = lfirst_node(DefElem, cell);

		if (strcmp(def->defname, "topic") == 0)
			name = pstrdup(defGetString(def));
	}
	ReleaseSysCache(tuple);
	if (name == NULL)
		elog(ERROR, "foreign table %u has no topic", relid);
	return name;
}

bool
kv_topic_is(Oid relid)
{
	if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		return false;
	return strcmp(GetForeignDataWrapper(GetForeignServer(GetForeignTable(relid)->serverid)->fdwid)->fdwname, KV_FDW) == 0;
}

void
kv_topic_check(Oid relid)
{
	build_topic(relid, false);
}

/*
 * Makes the definition in CurrentMemoryContext. Without complete, what a later
 * ALTER may add is not missed.
 */
static TopicDef *
build_topic(Oid relid, bool complete)
{
	TopicDef   *topic = palloc0(sizeof(TopicDef));
	char	   *event_time = NULL;
	bool		key_format_given = false;
	Relation	relation;
	ForeignTable *table;
	ForeignServer *server;

	if (!kv_topic_is(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a topic", get_rel_name(relid)),
				 errhint("A topic is a foreign table of a server with FOREIGN DATA WRAPPER " KV_FDW ".")));
	table = GetForeignTable(relid);
	topic->relid = relid;
	server = GetForeignServer(table->serverid);
	topic->serverid = table->serverid;
	topic->server_name = pstrdup(server->servername);
	topic->max_message_bytes = kv_client_message_limit(server->options);
	topic->relation_name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	read_table_options(topic, table->options, &event_time, &key_format_given);

	/* a caller may ask about a table it has not locked yet */
	relation = table_open(relid, AccessShareLock);
	topic->desc = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	table_close(relation, NoLock);
	topic->columns = palloc0(sizeof(TopicColumn) * Max(topic->desc->natts, 1));
	topic->keys = palloc0(sizeof(int) * Max(topic->desc->natts, 1));
	for (int i = 0; i < topic->desc->natts; i++)
	{
		if (!TupleDescAttr(topic->desc, i)->attisdropped)
			read_column(topic, TupleDescAttr(topic->desc, i));
	}
	if (!key_format_given)
		topic->key_format = topic->nkeys > 1 ? KEY_JSON : KEY_TEXT;
	set_event_time(topic, event_time);
	check_nature(topic, complete);
	check_key_types(topic);
	return topic;
}

static void
read_table_options(TopicDef *topic, List *options, char **event_time, bool *key_format_given)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst_node(DefElem, cell);
		const char *name = def->defname;
		char	   *value = pstrdup(defGetString(def));

		if (strcmp(name, "topic") == 0)
			topic->topic = value;
		else if (strcmp(name, "format") == 0)
			topic->format = kv_option_word(name, kv_format_words, value);
		else if (strcmp(name, "mode") == 0)
			topic->mode = kv_option_word(name, kv_mode_words, value);
		else if (strcmp(name, "event_time") == 0)
			*event_time = value;
		else if (strcmp(name, "start") == 0)
			topic->start = kv_option_start(value, &topic->start_time_ms);
		else if (strcmp(name, "on_error") == 0)
			topic->on_error = kv_option_word(name, kv_on_error_words, value);
		else if (strcmp(name, "key_format") == 0)
		{
			topic->key_format = kv_option_word(name, kv_key_format_words, value);
			*key_format_given = true;
		}
	}
}

static void
read_column(TopicDef *topic, Form_pg_attribute attribute)
{
	TopicColumn *column = &topic->columns[topic->ncolumns];
	bool		has_path = false;
	ListCell   *cell;

	column->attno = attribute->attnum;
	column->name = pstrdup(NameStr(attribute->attname));
	column->type = attribute->atttypid;
	column->typmod = attribute->atttypmod;
	column->collation = attribute->attcollation;
	column->source = COLUMN_VALUE;
	column->key_index = -1;
	foreach(cell, GetForeignColumnOptions(topic->relid, attribute->attnum))
	{
		DefElem    *def = lfirst_node(DefElem, cell);

		if (strcmp(def->defname, "key") == 0)
			column->is_key = defGetBoolean(def);
		else if (strcmp(def->defname, "metadata") == 0)
			column->source = kv_option_word(def->defname, kv_metadata_words, defGetString(def));
		else if (strcmp(def->defname, "path") == 0)
		{
			column->path = kv_option_path(defGetString(def));
			has_path = true;
		}
	}
	if (!has_path && topic->format == FORMAT_JSON)
		column->path = list_make1(column->name);
	if (column->is_key)
	{
		column->source = has_path ? COLUMN_KEY_IN_VALUE : COLUMN_KEY;
		column->key_index = topic->nkeys;
		topic->keys[topic->nkeys++] = topic->ncolumns;
	}
	if (column->source == COLUMN_TIMESTAMP && topic->timestamp_attno == 0)
		topic->timestamp_attno = column->attno;
	check_column_type(topic, column);
	topic->ncolumns++;
}

static void
check_column_type(const TopicDef *topic, const TopicColumn *column)
{
	bool		raw = column->type == BYTEAOID || column->type == TEXTOID;

	if (column->source == COLUMN_PARTITION && column->type != INT4OID)
		raise_column_type(column, "metadata partition", "integer");
	if (column->source == COLUMN_OFFSET && column->type != INT8OID)
		raise_column_type(column, "metadata offset", "bigint");
	if (column->source == COLUMN_TIMESTAMP && column->type != TIMESTAMPTZOID)
		raise_column_type(column, "metadata timestamp", "timestamp with time zone");
	if (column->source == COLUMN_HEADERS && column->type != JSONBOID)
		raise_column_type(column, "metadata headers", "jsonb");
	if (column->source == COLUMN_RAW_KEY && !raw)
		raise_column_type(column, "metadata key", "bytea or text");
	if (column->source == COLUMN_RAW_VALUE && !raw)
		raise_column_type(column, "metadata value", "bytea or text");
	if (topic->format == FORMAT_JSON)
		return;
	if (column->source == COLUMN_KEY_IN_VALUE || (column->source == COLUMN_VALUE && column->path != NIL))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("column \"%s\" of topic %s cannot have a path", column->name, topic->relation_name),
				 errdetail("A value of format text or bytea has no fields."),
				 errhint("Leave the option path out, or use format 'json'.")));
}

static void
raise_column_type(const TopicColumn *column, const char *what, const char *types)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
			 errmsg("column \"%s\" cannot have type %s", column->name, format_type_be(column->type)),
			 errdetail("A column of %s has type %s.", what, types),
			 errhint("Change the type of the column or its options.")));
}

static void
set_event_time(TopicDef *topic, const char *event_time)
{
	if (event_time == NULL)
		return;
	for (int i = 0; i < topic->ncolumns; i++)
	{
		const TopicColumn *column = &topic->columns[i];

		if (strcmp(column->name, event_time) != 0)
			continue;
		if (column->type != TIMESTAMPTZOID && column->type != TIMESTAMPOID)
			raise_column_type(column, "event_time", "timestamp with or without time zone");
		topic->time_attno = column->attno;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
			 errmsg("event_time of topic %s names column \"%s\", which does not exist", topic->relation_name, event_time),
			 errhint("Name a column of the table, or leave event_time out to use the record's timestamp.")));
}

/* Checks what the whole table must be: keys of an upsert topic, one value column of text and bytea. */
static void
check_nature(TopicDef *topic, bool complete)
{
	int			nvalues = 0;
	const TopicColumn *value = NULL;

	for (int i = 0; i < topic->ncolumns; i++)
	{
		if (topic->columns[i].source == COLUMN_VALUE)
		{
			value = &topic->columns[i];
			nvalues++;
		}
	}
	if (!complete)
		return;
	if (topic->mode == MODE_UPSERT && topic->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("upsert topic %s has no key column", topic->relation_name),
				 errdetail("In mode upsert the last value of a key wins."),
				 errhint("Mark the key: ALTER FOREIGN TABLE %s ALTER COLUMN ... OPTIONS (ADD key 'true').", topic->relation_name)));
	if (topic->format == FORMAT_JSON)
		return;
	if (nvalues != 1)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
				 errmsg("topic %s needs exactly one value column", topic->relation_name),
				 errdetail("A value of format text or bytea fills one column; %d columns are neither key nor metadata.", nvalues),
				 errhint("Mark the others as key or metadata, or use format 'json'.")));
	if (topic->format == FORMAT_BYTEA && value->type != BYTEAOID)
		raise_column_type(value, "format bytea", "bytea");
}

/* Java's serializers know integers, floats, text, bytes and uuid; only one of them makes a key. */
static void
check_key_types(const TopicDef *topic)
{
	if (topic->key_format == KEY_JSON || topic->nkeys == 0)
		return;
	if (topic->nkeys > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("key_format of topic %s cannot hold %d key columns", topic->relation_name, topic->nkeys),
				 errdetail("Key formats text and kafka are one value."),
				 errhint("Use key_format 'json'.")));
	if (topic->key_format == KEY_KAFKA)
	{
		const TopicColumn *key = &topic->columns[topic->keys[0]];

		if (key->type != INT2OID && key->type != INT4OID && key->type != INT8OID)
			raise_column_type(key, "key_format kafka", "smallint, integer or bigint");
	}
}

TopicDef *
kv_topic_copy(MemoryContext context, const TopicDef *topic)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	TopicDef   *copy = palloc(sizeof(TopicDef));

	*copy = *topic;
	copy->server_name = pstrdup(topic->server_name);
	copy->relation_name = pstrdup(topic->relation_name);
	copy->topic = pstrdup(topic->topic);
	copy->desc = CreateTupleDescCopyConstr(topic->desc);
	copy->columns = palloc0(sizeof(TopicColumn) * Max(topic->desc->natts, 1));
	copy->keys = palloc0(sizeof(int) * Max(topic->desc->natts, 1));
	memcpy(copy->keys, topic->keys, sizeof(int) * topic->nkeys);
	for (int i = 0; i < topic->ncolumns; i++)
	{
		ListCell   *cell;

		copy->columns[i] = topic->columns[i];
		copy->columns[i].name = pstrdup(topic->columns[i].name);
		copy->columns[i].path = NIL;
		foreach(cell, topic->columns[i].path)
			copy->columns[i].path = lappend(copy->columns[i].path, pstrdup(lfirst(cell)));
	}
	MemoryContextSwitchTo(before);
	return copy;
}

int
kv_topic_column_index(const TopicDef *topic, AttrNumber attno)
{
	for (int i = 0; i < topic->ncolumns; i++)
	{
		if (topic->columns[i].attno == attno)
			return i;
	}
	return -1;
}
