/*
 * format_json.h: fields of one JSON document, found in a single pass. C header of
 * a C++ room: nothing in it calls Postgres, allocates by palloc or throws.
 */
#ifndef KV_FORMAT_JSON_H
#define KV_FORMAT_JSON_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Objects and arrays nested deeper than this make a document bad. */
#define KV_JSON_MAX_DEPTH 1000

typedef enum FieldKind
{
	FIELD_ABSENT, FIELD_NULL, FIELD_FALSE, FIELD_TRUE, FIELD_NUMBER, FIELD_STRING, FIELD_OBJECT, FIELD_ARRAY
} FieldKind;

/* A value as it stands in the document; text points into it. */
typedef struct JsonField
{
	FieldKind	kind;
	bool		exponent;		/* a number with an exponent, or a container with one inside */
	const char *text;			/* a string: between the quotes, still escaped; else the raw JSON */
	size_t		len;
} JsonField;

/*
 * The wanted fields as a tree of names. Slots are numbered depth first, so that a
 * subtree owns [slot_begin, slot_end); slot is -1 where only children are wanted.
 */
typedef struct JsonNode
{
	const char *name;
	size_t		len;
	bool		plain;			/* no backslash in it, so it can be compared with names as they stand */
	int			slot;
	int			slot_begin,
				slot_end;
	int			nchildren;
	struct JsonNode *children;
} JsonNode;

/* Key and value of a member of an object, or an element of an array (key absent). */
typedef struct JsonMember
{
	JsonField	key;
	JsonField	value;
} JsonMember;

typedef enum JsonFault
{
	JSON_FINE,
	JSON_EMPTY,
	JSON_TRUNCATED,
	JSON_SYNTAX,
	JSON_TOO_DEEP,
	JSON_BAD_UTF8,
	JSON_CONTROL_CHARACTER,
	JSON_NOT_OBJECT,			/* a field with wanted fields below it is neither object nor null */
	JSON_BAD_ESCAPE,
	JSON_NUL,					/* \u0000, which no text of Postgres can hold */
	JSON_NO_MEMORY
} JsonFault;

typedef struct JsonParser JsonParser;

/* Makes a parser for use again and again (its buffers grow with the documents); NULL without memory. */
extern JsonParser *kv_json_parser_make(void);
extern void kv_json_parser_free(JsonParser *parser);

/*
 * Finds the fields of the tree in a document, which is checked to its end,
 * the parts nobody asked for too (except escapes inside their strings). The last of
 * duplicate names counts, as in jsonb. *position: byte of the fault, approximately.
 */
extern JsonFault kv_json_extract(JsonParser *parser, const char *text, size_t len,
								 const JsonNode *root, JsonField *fields, size_t *position);
/* Gives the members of an object or array in order; *count may exceed max: call again with more room. */
extern JsonFault kv_json_members(JsonParser *parser, const char *text, size_t len,
								 JsonMember *members, size_t max, size_t *count);
/* Resolves the escapes of a string into dst (room for len bytes), *dst_len set. */
extern JsonFault kv_json_unescape(const char *text, size_t len, char *dst, size_t *dst_len);
/* The fault in words. */
extern const char *kv_json_fault_text(JsonFault fault);

#ifdef __cplusplus
}
#endif

#endif							/* KV_FORMAT_JSON_H */
