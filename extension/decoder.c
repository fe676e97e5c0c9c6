/*
 * decoder.c: the plan by which records of a topic become rows: which columns come from which part of a record.
 *
 * A part is the value, the key of a record that has a value, or the key of one that has none, which is all there is of it. Each has a
 * tree of the wanted JSON fields (format_json.h) and a converter per column (convert.h).
 */
#include "decoder.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

typedef enum PartKind
{
	PART_VALUE, PART_KEY, PART_DELETED_KEY
} PartKind;

static bool column_is_wanted(const Decoder *decoder, const TopicColumn *column, const Bitmapset *wanted);
static void make_part(Decoder *decoder, DecodePart *part, PartKind kind, const Bitmapset *wanted);
static bool part_reads(const Decoder *decoder, PartKind kind, const TopicColumn *column, const Bitmapset *wanted);
static JsonNode *add_step(JsonNode *node, const char *name);
static void number_slots(JsonNode *node, int *next);


/* Makes a decoder. */
Decoder *
kv_decoder_make(MemoryContext context, const TopicDef *topic, const Bitmapset *wanted, Oid role)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Decoder    *decoder = palloc0(sizeof(Decoder));

	decoder->topic = kv_topic_copy(context, topic);
	topic = decoder->topic;
	decoder->role = role;
	decoder->natts = topic->desc->natts;
	decoder->time_index = topic->time_attno - 1;
	if (decoder->time_index >= 0)
		decoder->time_wanted = wanted == NULL || bms_is_member(topic->time_attno, wanted);
	make_part(decoder, &decoder->value, PART_VALUE, wanted);
	make_part(decoder, &decoder->key, PART_KEY, wanted);
	if (topic->mode == MODE_UPSERT)
		make_part(decoder, &decoder->deleted_key, PART_DELETED_KEY, wanted);

	decoder->metadata = palloc0(sizeof(DecodeColumn) * topic->ncolumns);
	for (int i = 0; i < topic->ncolumns; i++)
	{
		const TopicColumn *column = &topic->columns[i];

		if (column->source < COLUMN_PARTITION || !column_is_wanted(decoder, column, wanted))
			continue;
		decoder->metadata[decoder->nmetadata++] = (DecodeColumn) {
			.column = column,.index = column->attno - 1
		};
	}
	MemoryContextSwitchTo(old);
	return decoder;
}

/* Says whether a column is asked for, by the caller or as the event time. */
static bool
column_is_wanted(const Decoder *decoder, const TopicColumn *column, const Bitmapset *wanted)
{
	return wanted == NULL || bms_is_member(column->attno, wanted) || column->attno == decoder->topic->time_attno;
}

/* Plans what is read from the value, or from the key. */
static void
make_part(Decoder *decoder, DecodePart *part, PartKind kind, const Bitmapset *wanted)
{
	const TopicDef *topic = decoder->topic;
	JsonNode  **leaves = palloc0(sizeof(JsonNode *) * topic->ncolumns);
	bool		single_key = kind != PART_VALUE && topic->nkeys == 1;
	bool		named = false;
	bool		whole = false;

	part->is_json = kind == PART_VALUE ? topic->format == FORMAT_JSON : topic->key_format == KEY_JSON;
	part->columns = palloc0(sizeof(DecodeColumn) * topic->ncolumns);
	part->root.slot = -1;
	for (int i = 0; i < topic->ncolumns; i++)
	{
		const TopicColumn *column = &topic->columns[i];
		DecodeColumn *target = &part->columns[part->ncolumns];

		if (kind == PART_VALUE && (column->source == COLUMN_VALUE || column->source == COLUMN_KEY_IN_VALUE))
		{
			named |= column->path != NIL;
			whole |= column->path == NIL;
		}
		if (!part_reads(decoder, kind, column, wanted))
			continue;
		part->ncolumns++;
		target->column = column;
		target->index = column->attno - 1;
		target->converter = kv_converter_make(CurrentMemoryContext, column->type, column->typmod);
		target->slot = target->bare_slot = -1;
	}
	if (!part->is_json)
		return;
	part->object_only = named && !whole && part->ncolumns == 0;
	if (part->object_only)
		part->root.slot = 0;

	/* first the names (adding a child moves its siblings), then the slots in depth-first order */
	for (int pass = 0; pass < 2; pass++)
	{
		for (int i = 0; i < part->ncolumns; i++)
		{
			const TopicColumn *column = part->columns[i].column;
			JsonNode   *node = &part->root;
			ListCell   *cell;

			if (kind == PART_VALUE)
			{
				foreach(cell, column->path)
					node = add_step(node, lfirst(cell));
			}
			else if (!single_key || !kv_converter_takes_object(part->columns[i].converter))
				node = add_step(node, column->name);
			node->slot = 0;
			if (single_key)
				part->root.slot = 0;
			leaves[i] = node;
		}
	}
	number_slots(&part->root, &part->nfields);
	for (int i = 0; i < part->ncolumns; i++)
	{
		part->columns[i].slot = leaves[i]->slot;
		part->columns[i].bare_slot = single_key ? part->root.slot : -1;
	}
	part->fields = palloc0(sizeof(JsonField) * Max(part->nfields, 1));
}

/* Says whether a column is read from this part of the record. */
static bool
part_reads(const Decoder *decoder, PartKind kind, const TopicColumn *column, const Bitmapset *wanted)
{
	if (kind == PART_DELETED_KEY)
		return column->is_key;
	if (kind == PART_KEY)
		return column->source == COLUMN_KEY &&
			(decoder->topic->mode == MODE_UPSERT || column_is_wanted(decoder, column, wanted));
	if (column->source == COLUMN_KEY_IN_VALUE && decoder->topic->mode == MODE_UPSERT)
		return true;
	return (column->source == COLUMN_VALUE || column->source == COLUMN_KEY_IN_VALUE) &&
		column_is_wanted(decoder, column, wanted);
}

/* Finds or makes the child of a name. */
static JsonNode *
add_step(JsonNode *node, const char *name)
{
	char	   *utf8 = pg_server_to_any(name, strlen(name), PG_UTF8);
	size_t		len = strlen(utf8);
	JsonNode   *child;

	for (int i = 0; i < node->nchildren; i++)
	{
		child = &node->children[i];
		if (child->len == len && memcmp(child->name, utf8, len) == 0)
			return child;
	}
	if (node->nchildren == 0)
		node->children = palloc(sizeof(JsonNode));
	else
		node->children = repalloc(node->children, sizeof(JsonNode) * (node->nchildren + 1));
	child = &node->children[node->nchildren++];
	*child = (JsonNode) {
		.name = utf8,.len = len,.plain = strchr(utf8, '\\') == NULL,.slot = -1
	};
	return child;
}

/* Numbers the slots depth first, so that a subtree's are side by side. */
static void
number_slots(JsonNode *node, int *next)
{
	node->slot_begin = *next;
	if (node->slot >= 0)
		node->slot = (*next)++;
	for (int i = 0; i < node->nchildren; i++)
		number_slots(&node->children[i], next);
	node->slot_end = *next;
}
