/*
 * decoder.h: the plan by which format.c makes rows of records, and the fields of the one at hand.
 */
#ifndef KV_DECODER_H
#define KV_DECODER_H

#include "convert.h"
#include "converter.h"
#include "format_json.h"
#include "topic.h"
#include "nodes/bitmapset.h"

/* One column that is read from the value or the key. */
typedef struct DecodeColumn
{
	const TopicColumn *column;
	int			index;			/* in values and nulls */
	Converter  *converter;
	int			slot;			/* its JSON field, -1: the bytes as a whole */
	int			bare_slot;		/* a single JSON key: the key as a whole */
} DecodeColumn;

typedef struct DecodePart
{
	int			ncolumns;
	DecodeColumn *columns;
	bool		is_json;
	bool		object_only;	/* columns have names, but none is wanted: the value must be an object all the same */
	JsonNode	root;
	int			nfields;
	JsonField  *fields;
} DecodePart;

typedef struct Decoder
{
	TopicDef   *topic;
	Oid			role;			/* who runs code of users; InvalidOid: the current user */
	int			natts;
	DecodePart	value;
	DecodePart	key;			/* of a record with a value */
	DecodePart	deleted_key;	/* of a record without: all key columns */
	int			nmetadata;
	DecodeColumn *metadata;
	int			time_index;		/* event-time column, -1: the record's timestamp */
	bool		time_wanted;
} Decoder;

/*
 * Makes a decoder for the columns whose attno is in wanted (Bitmapset of attnos; NULL: all). Lives in context. Code of users
 * (input functions of types, CHECKs of domains) runs as role; InvalidOid: as whoever decodes, with the settings in force.
 */
extern Decoder *kv_decoder_make(MemoryContext context, const TopicDef *topic, const Bitmapset *wanted, Oid role);

#endif							/* KV_DECODER_H */
