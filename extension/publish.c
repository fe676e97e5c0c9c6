/*
 * publish.c: kafka.publish('topic_table'), the trigger function that turns
 * changed rows into messages.
 *
 * Invariant: for an upsert topic the last message of every key tells whether a
 * row with that key stands and what it is. So a deleted row gives a tombstone,
 * and so does the old key of a row whose key changed, but never after the
 * message of a row that lives on under that key: the statement form writes all
 * tombstones first, and none for a key that the statement's new rows have.
 * An append topic is a list of facts and gets no tombstones.
 *
 * What a trigger needs (topic, encoder for its table's rows) is kept per
 * trigger for the session and made anew after a relcache invalidation of table or
 * topic. The messages go to outbox.c, which knows whose transaction this is.
 */
#include "postgres.h"

#include "access/table.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "parser/parse_func.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "converter.h"
#include "encode.h"
#include "identity.h"
#include "outbox.h"
#include "publish.h"
#include "row_time.h"
#include "sink_check.h"

PG_FUNCTION_INFO_V1(kafka_publish);

/* What a trigger needs to publish, per trigger (its oid) for the session. */
typedef struct PublishPlan
{
	Oid			trigger;		/* hash key */
	bool		valid;
	bool		stale;			/* invalidated, perhaps while it is being made */
	Oid			relid;
	Oid			topic_relid;
	TopicDef   *topic;
	Encoder    *encoder;
	List	   *row_types;		/* relations of the composite types in the rows: their attributes are in the encoder */
	bool		key_is_fixed;	/* no update changes the topic's key */
	RowTimeCursor cursor;
	MemoryContext context;
} PublishPlan;

/* The encoded key of a row that stands. */
typedef struct LivingKey
{
	const char *data;
	int			len;
} LivingKey;

/* Buffers of the row at hand. */
static MemoryContext row_context = NULL;
static StringInfoData key_bytes;
static StringInfoData value_bytes;

static HTAB *plans = NULL;

static bool is_restored(TriggerData *trigger);
static PublishPlan *get_plan(TriggerData *trigger);
static void make_plan(PublishPlan *plan, TriggerData *trigger);
static void invalidate_plans(Datum arg, Oid relid);
static void invalidate_all_plans(Datum arg, int cache, uint32 hash);
static void publish_row(PublishPlan *plan, TriggerData *trigger);
static void publish_statement(PublishPlan *plan, TriggerData *trigger);
static void require_table(TriggerData *trigger, Tuplestorestate *rows, const char *clause);
static void publish_all_tombstones(PublishPlan *plan, TupleDesc desc, Tuplestorestate *rows);
static bool any_key_differs(PublishPlan *plan, TupleDesc desc, Tuplestorestate *old_rows, Tuplestorestate *new_rows);
static void publish_gone_keys(PublishPlan *plan, TupleDesc desc, Tuplestorestate *old_rows, Tuplestorestate *new_rows);
static HTAB *collect_keys(PublishPlan *plan, TupleDesc desc, Tuplestorestate *rows);
static LivingKey encode_key(PublishPlan *plan, TupleTableSlot *slot);
static uint32 hash_key(const void *key, Size keysize);
static int	match_keys(const void *a, const void *b, Size keysize);
static int	open_rows(Tuplestorestate *rows);
static bool next_row(Tuplestorestate *rows, int pointer, TupleTableSlot *slot);
static void publish_slot(PublishPlan *plan, TupleTableSlot *slot, bool tombstone);
static void make_row_memory(void);


/* The trigger function. */
Datum
kafka_publish(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	PublishPlan *plan;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("kafka.publish must be called as a trigger")));
	if (!TRIGGER_FIRED_AFTER(trigger->tg_event) || TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("kafka.publish must be fired AFTER INSERT, UPDATE or DELETE"),
				 errdetail("TRUNCATE does not say which rows it removes, and before the change a row may still become another one."),
				 errhint("Create the trigger with AFTER INSERT, AFTER UPDATE or AFTER DELETE.")));
	if (is_restored(trigger))
		return PointerGetDatum(NULL);
	plan = get_plan(trigger);
	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		publish_row(plan, trigger);
	else
		publish_statement(plan, trigger);
	return PointerGetDatum(NULL);
}

/* Are these rows of a continuous view that come from a dump? They were published, or are in the outbox, which comes with them. */
static bool
is_restored(TriggerData *trigger)
{
	const TriggerDesc *triggers = trigger->tg_relation->trigdesc;
	bool		of_view = false;

	if (kv_outbox_in_batch() || kv_outbox_held_back)
		return false;
	for (int i = 0; i < triggers->numtriggers && !of_view; i++)
		of_view = strcmp(triggers->triggers[i].tgname, KV_REFUSE_TRIGGER) == 0;
	return of_view && !kv_identity_is_settled();
}

/* Gives the trigger's plan, made anew if what it rests on has changed. */
static PublishPlan *
get_plan(TriggerData *trigger)
{
	Oid			oid = trigger->tg_trigger->tgoid;
	PublishPlan *plan;
	bool		found;

	if (plans == NULL)
	{
		HASHCTL		info = {.keysize = sizeof(Oid),.entrysize = sizeof(PublishPlan),.hcxt = TopMemoryContext};

		plans = hash_create("kv publish plans", 32, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		CacheRegisterRelcacheCallback(invalidate_plans, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, invalidate_all_plans, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, invalidate_all_plans, (Datum) 0);
	}
	make_row_memory();
	plan = hash_search(plans, &oid, HASH_ENTER, &found);
	if (!found)
	{
		plan->valid = false;
		plan->row_types = NIL;
		plan->context = NULL;
	}
	if (!plan->valid)
		make_plan(plan, trigger);
	return plan;
}

/* Resolves, checks and compiles; what an earlier trigger of that oid left is freed. */
static void
make_plan(PublishPlan *plan, TriggerData *trigger)
{
	Relation	rel = trigger->tg_relation;
	MemoryContext save;

	if (trigger->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kafka.publish takes one argument, the name of a topic table"),
				 errhint("For example kafka.publish('emails_to_send').")));
	if (plan->context != NULL)
		MemoryContextReset(plan->context);
	else
		plan->context = AllocSetContextCreate(CacheMemoryContext, "kv publish plan", ALLOCSET_SMALL_SIZES);

	plan->stale = false;
	plan->row_types = NIL;
	plan->relid = RelationGetRelid(rel);
	plan->topic_relid = kv_sink_resolve(trigger->tg_trigger->tgargs[0], false);
	kv_sink_check(rel, plan->topic_relid);
	save = MemoryContextSwitchTo(plan->context);
	plan->topic = kv_topic_copy(plan->context, kv_topic_get(plan->topic_relid));
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
		plan->row_types = kv_row_types(plan->row_types, TupleDescAttr(RelationGetDescr(rel), i)->atttypid);
	for (int i = 0; i < plan->topic->ncolumns; i++)
		plan->row_types = kv_row_types(plan->row_types, plan->topic->columns[i].type);
	plan->encoder = kv_encoder_make(plan->context, plan->topic, CreateTupleDescCopy(RelationGetDescr(rel)));
	MemoryContextSwitchTo(save);
	plan->key_is_fixed = kv_sink_key_is_fixed(rel, plan->topic);
	plan->valid = !plan->stale;
}

/* Marks plans that rest on a relation; InvalidOid: all. */
static void
invalidate_plans(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	PublishPlan *plan;

	hash_seq_init(&scan, plans);
	while ((plan = hash_seq_search(&scan)) != NULL)
	{
		if (relid == InvalidOid || plan->relid == relid || plan->topic_relid == relid || list_member_oid(plan->row_types, relid))
		{
			plan->valid = false;
			plan->stale = true;
		}
	}
}

/* A role that has changed may have lost its right to write. */
static void
invalidate_all_plans(Datum arg, int cache, uint32 hash)
{
	invalidate_plans(arg, InvalidOid);
}

/* Publishes one changed row. */
static void
publish_row(PublishPlan *plan, TriggerData *trigger)
{
	bool		upsert = plan->topic->mode == MODE_UPSERT;
	TupleTableSlot *old_slot = trigger->tg_trigslot;

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		publish_slot(plan, trigger->tg_trigslot, false);
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		if (upsert)
			publish_slot(plan, old_slot, true);
	}
	else
	{
		TupleTableSlot *new_slot = trigger->tg_newslot;

		slot_getallattrs(old_slot);
		slot_getallattrs(new_slot);
		if (upsert && kv_encoder_key_differs(plan->encoder, old_slot->tts_values, old_slot->tts_isnull,
											 new_slot->tts_values, new_slot->tts_isnull))
			publish_slot(plan, old_slot, true);
		publish_slot(plan, new_slot, false);
	}
}

/* Publishes the rows of a statement from its transition tables. */
static void
publish_statement(PublishPlan *plan, TriggerData *trigger)
{
	bool		upsert = plan->topic->mode == MODE_UPSERT;
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Tuplestorestate *old_rows = trigger->tg_oldtable;
	Tuplestorestate *new_rows = trigger->tg_newtable;

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		if (!upsert)
			return;
		require_table(trigger, old_rows, "OLD TABLE");
		publish_all_tombstones(plan, desc, old_rows);
		return;
	}
	require_table(trigger, new_rows, "NEW TABLE");
	if (upsert && TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && !plan->key_is_fixed)
	{
		require_table(trigger, old_rows, "OLD TABLE");
		if (any_key_differs(plan, desc, old_rows, new_rows))
			publish_gone_keys(plan, desc, old_rows, new_rows);
	}
	kv_publish_store(plan->topic, plan->encoder, plan->relid, &plan->cursor, desc, new_rows, 0);
}

/* Raises an error where the trigger was created without a transition table that is needed. */
static void
require_table(TriggerData *trigger, Tuplestorestate *rows, const char *clause)
{
	const char *name = strcmp(clause, "OLD TABLE") == 0 ? "old" : "new";

	if (rows != NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\" needs a transition table", trigger->tg_trigger->tgname),
			 errdetail("kafka.publish FOR EACH STATEMENT reads the changed rows from there; an upsert topic needs the old "
					   "rows too, for the tombstones of keys that are gone."),
			 errhint("Add REFERENCING %s AS %s to CREATE TRIGGER, or create it FOR EACH ROW.", clause, name)));
}

static void
publish_all_tombstones(PublishPlan *plan, TupleDesc desc, Tuplestorestate *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int			pointer = open_rows(rows);

	while (next_row(rows, pointer, slot))
		publish_slot(plan, slot, true);
	ExecDropSingleTupleTableSlot(slot);
}

/* Has a row another key than before? The executor appends old and new row of an update together; where it did not, says yes. */
static bool
any_key_differs(PublishPlan *plan, TupleDesc desc, Tuplestorestate *old_rows, Tuplestorestate *new_rows)
{
	TupleTableSlot *old_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	TupleTableSlot *new_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int			old_pointer = open_rows(old_rows);
	int			new_pointer = open_rows(new_rows);
	bool		differs = false;

	while (!differs)
	{
		bool		more = next_row(old_rows, old_pointer, old_slot);

		differs = next_row(new_rows, new_pointer, new_slot) != more;
		if (!more)
			break;
		differs = differs || kv_encoder_key_differs(plan->encoder, old_slot->tts_values, old_slot->tts_isnull,
													new_slot->tts_values, new_slot->tts_isnull);
	}
	ExecDropSingleTupleTableSlot(old_slot);
	ExecDropSingleTupleTableSlot(new_slot);
	return differs;
}

/* Publishes tombstones for keys of old rows that no new row has. */
static void
publish_gone_keys(PublishPlan *plan, TupleDesc desc, Tuplestorestate *old_rows, Tuplestorestate *new_rows)
{
	HTAB	   *living = collect_keys(plan, desc, new_rows);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int			pointer = open_rows(old_rows);

	while (next_row(old_rows, pointer, slot))
	{
		LivingKey	key = encode_key(plan, slot);

		if (hash_search(living, &key, HASH_FIND, NULL) == NULL)
			publish_slot(plan, slot, true);
	}
	ExecDropSingleTupleTableSlot(slot);
	hash_destroy(living);
}

/* Collects the encoded keys of rows; the hash's memory holds their bytes. */
static HTAB *
collect_keys(PublishPlan *plan, TupleDesc desc, Tuplestorestate *rows)
{
	HASHCTL		info = {.keysize = sizeof(LivingKey),.entrysize = sizeof(LivingKey),.hash = hash_key,.match = match_keys};
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int			pointer = open_rows(rows);
	HTAB	   *keys;

	info.hcxt = CurrentMemoryContext;
	keys = hash_create("kv living keys", 1024, &info, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	while (next_row(rows, pointer, slot))
	{
		LivingKey	key = encode_key(plan, slot);
		LivingKey  *entry;
		bool		found;

		entry = hash_search(keys, &key, HASH_ENTER, &found);
		if (!found)
		{
			char	   *copy = palloc(Max(key.len, 1));

			memcpy(copy, key.data, key.len);
			entry->data = copy;
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	return keys;
}

/* Encodes the key of a row into key_bytes, where it stays until the next row. */
static LivingKey
encode_key(PublishPlan *plan, TupleTableSlot *slot)
{
	LivingKey	key = {0};
	TimestampTz time_us;
	Datum		headers;
	bool		has_headers;
	MemoryContext save = MemoryContextSwitchTo(row_context);

	resetStringInfo(&key_bytes);
	(void) kv_encode(plan->encoder, slot->tts_values, slot->tts_isnull, &key_bytes, NULL, &time_us, &headers, &has_headers);
	MemoryContextSwitchTo(save);
	MemoryContextReset(row_context);
	key.data = key_bytes.data;
	key.len = key_bytes.len;
	return key;
}

static uint32
hash_key(const void *key, Size keysize)
{
	const LivingKey *living = key;

	return DatumGetUInt32(hash_any((const unsigned char *) living->data, living->len));
}

static int
match_keys(const void *a, const void *b, Size keysize)
{
	const LivingKey *left = a;
	const LivingKey *right = b;

	return left->len != right->len || memcmp(left->data, right->data, left->len) != 0;
}

/* Opens a transition table for reading from its start; others may read it at the same time. */
static int
open_rows(Tuplestorestate *rows)
{
	int			pointer = tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND);

	tuplestore_select_read_pointer(rows, pointer);
	tuplestore_rescan(rows);
	return pointer;
}

/* Fetches the next row with all its columns; false at the end. */
static bool
next_row(Tuplestorestate *rows, int pointer, TupleTableSlot *slot)
{
	tuplestore_select_read_pointer(rows, pointer);
	if (!tuplestore_gettupleslot(rows, true, false, slot))
		return false;
	slot_getallattrs(slot);
	return true;
}

/* Hands a row, or the tombstone of its key, to the outbox. */
static void
publish_slot(PublishPlan *plan, TupleTableSlot *slot, bool tombstone)
{
	slot_getallattrs(slot);
	kv_publish_values(plan->topic, plan->encoder, slot->tts_values, slot->tts_isnull, tombstone,
					  kv_row_time(plan->relid, &plan->cursor, slot->tts_values, slot->tts_isnull));
}

/* Hands all rows of a tuplestore to the outbox; see the header. */
void
kv_publish_store(const TopicDef *topic, Encoder *encoder, Oid relid, RowTimeCursor *cursor, TupleDesc desc, Tuplestorestate *rows, int64 from)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int			pointer = open_rows(rows);

	(void) tuplestore_skiptuples(rows, from, true);
	while (next_row(rows, pointer, slot))
		kv_publish_values(topic, encoder, slot->tts_values, slot->tts_isnull, false,
						  kv_row_time(relid, cursor, slot->tts_values, slot->tts_isnull));
	ExecDropSingleTupleTableSlot(slot);
}

/* Encodes a row, or only its key for a tombstone, and hands it to the outbox; see the header. */
void
kv_publish_values(const TopicDef *topic, Encoder *encoder, const Datum *values, const bool *nulls, bool tombstone,
				  TimestampTz cause_time)
{
	OutboxMessage message = {.relid = topic->relid,.topic = topic->topic,.time_ms = -1};
	TimestampTz time_us;
	Datum		headers;
	bool		has_headers;
	MemoryContext save;

	make_row_memory();
	save = MemoryContextSwitchTo(row_context);
	resetStringInfo(&key_bytes);
	resetStringInfo(&value_bytes);
	if (kv_encode(encoder, values, nulls, &key_bytes, tombstone ? NULL : &value_bytes, &time_us, &headers, &has_headers))
	{
		message.key = key_bytes.data;
		message.key_len = key_bytes.len;
	}
	if (!tombstone)
	{
		message.value = value_bytes.data;
		message.value_len = value_bytes.len;
		if (has_headers)
		{
			message.headers = VARDATA_ANY(DatumGetPointer(headers));
			message.headers_len = VARSIZE_ANY_EXHDR(DatumGetPointer(headers));
		}
	}
	if (TIMESTAMP_NOT_FINITE(time_us))
		time_us = cause_time;
	if (!TIMESTAMP_NOT_FINITE(time_us))
		message.time_ms = (time_us + KV_UNIX_EPOCH_US) / 1000;
	message.upsert = topic->mode == MODE_UPSERT;
	kv_outbox_append(topic, &message);
	MemoryContextSwitchTo(save);
	MemoryContextReset(row_context);
}

static void
make_row_memory(void)
{
	MemoryContext save;

	if (row_context != NULL)
		return;
	row_context = AllocSetContextCreate(TopMemoryContext, "kv publish row", ALLOCSET_DEFAULT_SIZES);
	save = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&key_bytes);
	initStringInfo(&value_bytes);
	MemoryContextSwitchTo(save);
}
