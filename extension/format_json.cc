/*
 * format_json.cc: the wanted fields of one JSON document, in one pass.
 *
 * simdjson's first stage finds every structural character and the start of every
 * scalar, and checks UTF-8, quotes and control characters of the whole document. The
 * walk over these positions is ours rather than the on-demand API's, for two reasons:
 * on-demand leaves what it skips unchecked (a document truncated behind the last wanted
 * field passes), and it needs a padded copy of each message. The first stage does not.
 *
 * Invariant: a document is either grammatical to its last byte, or a fault; only
 * escapes inside strings are left to kv_json_unescape, which sees the wanted ones.
 * No Postgres call, no exception, no recursion that the document controls: only
 * steps of the plan recurse.
 */
#include "format_json.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <simdjson.h>

using simdjson::internal::dom_parser_implementation;

struct JsonParser
{
	std::unique_ptr<dom_parser_implementation> stage;
};

namespace
{

struct Walk
{
	const uint8_t *text;
	size_t		len;
	const uint32_t *index;		/* position of each token */
	uint32_t	count;
	uint32_t	at;				/* current token */
	JsonField  *fields;
	JsonFault	fault;
	bool		exponent;		/* a number with an exponent was passed */
};

inline bool
is_space(uint8_t c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

inline bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* Gives the first byte of the current token, 0 behind the last one. */
inline uint8_t
peek(const Walk &w)
{
	return w.at < w.count ? w.text[w.index[w.at]] : 0;
}

inline bool
fail(Walk &w, JsonFault fault)
{
	w.fault = fault == JSON_SYNTAX && w.at >= w.count ? JSON_TRUNCATED : fault;
	return false;
}

/* Finds the end of the current scalar: everything up to the next token except space. */
inline size_t
token_end(const Walk &w)
{
	size_t		begin = w.index[w.at];
	size_t		end = w.at + 1 < w.count ? w.index[w.at + 1] : w.len;

	while (end > begin + 1 && is_space(w.text[end - 1]))
		end--;
	return end;
}

/* Checks a number against the grammar. */
bool
check_number(const uint8_t *p, const uint8_t *end, bool *exponent)
{
	if (p < end && *p == '-')
		p++;
	if (p == end || !is_digit(*p))
		return false;
	if (*p == '0')
		p++;
	else
		while (p < end && is_digit(*p))
			p++;
	if (p < end && *p == '.')
	{
		p++;
		if (p == end || !is_digit(*p))
			return false;
		while (p < end && is_digit(*p))
			p++;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		*exponent = true;
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if (p == end || !is_digit(*p))
			return false;
		while (p < end && is_digit(*p))
			p++;
	}
	return p == end;
}

/* Passes a scalar and describes it. */
inline bool
walk_scalar(Walk &w, JsonField *field)
{
	size_t		begin,
				end;
	const uint8_t *p;

	if (w.at >= w.count)
		return fail(w, JSON_SYNTAX);
	begin = w.index[w.at];
	end = token_end(w);
	p = w.text + begin;
	field->text = reinterpret_cast<const char *>(p);
	field->len = end - begin;
	field->exponent = false;
	switch (*p)
	{
		case '"':
			if (end < begin + 2 || w.text[end - 1] != '"')
				return fail(w, JSON_SYNTAX);
			field->kind = FIELD_STRING;
			field->text++;
			field->len -= 2;
			break;
		case 't':
			if (end - begin != 4 || memcmp(p, "true", 4) != 0)
				return fail(w, JSON_SYNTAX);
			field->kind = FIELD_TRUE;
			break;
		case 'f':
			if (end - begin != 5 || memcmp(p, "false", 5) != 0)
				return fail(w, JSON_SYNTAX);
			field->kind = FIELD_FALSE;
			break;
		case 'n':
			if (end - begin != 4 || memcmp(p, "null", 4) != 0)
				return fail(w, JSON_SYNTAX);
			field->kind = FIELD_NULL;
			break;
		default:
			if (!check_number(p, p + (end - begin), &field->exponent))
				return fail(w, JSON_SYNTAX);
			field->kind = FIELD_NUMBER;
			w.exponent |= field->exponent;
			break;
	}
	w.at++;
	return true;
}

/* Passes a name and the colon behind it. */
inline bool
walk_name(Walk &w, JsonField *name)
{
	if (peek(w) != '"')
		return fail(w, JSON_SYNTAX);
	if (!walk_scalar(w, name))
		return false;
	if (peek(w) != ':')
		return fail(w, JSON_SYNTAX);
	w.at++;
	return true;
}

/* Passes an object or array with all there is in it, checking the grammar, without recursion. */
bool
skip_container(Walk &w, int depth)
{
	uint64_t	is_object[KV_JSON_MAX_DEPTH / 64 + 1];
	int			base = depth;
	bool		object;
	JsonField	field;

open:
	if (depth >= KV_JSON_MAX_DEPTH)
		return fail(w, JSON_TOO_DEEP);
	object = peek(w) == '{';
	if (object)
		is_object[depth / 64] |= UINT64_C(1) << (depth % 64);
	else
		is_object[depth / 64] &= ~(UINT64_C(1) << (depth % 64));
	depth++;
	w.at++;
	if (peek(w) == (object ? '}' : ']'))
		goto close;
member:
	if (object && !walk_name(w, &field))
		return false;
	if (peek(w) == '{' || peek(w) == '[')
		goto open;
	if (!walk_scalar(w, &field))
		return false;
next:
	if (peek(w) == ',')
	{
		w.at++;
		goto member;
	}
	if (peek(w) != (object ? '}' : ']'))
		return fail(w, JSON_SYNTAX);
close:
	w.at++;
	if (--depth == base)
		return true;
	object = (is_object[(depth - 1) / 64] >> ((depth - 1) % 64)) & 1;
	goto next;
}

/* Passes any value and describes it. */
inline bool
walk_any(Walk &w, JsonField *field, int depth)
{
	uint8_t		c = peek(w);
	bool		outside = w.exponent;

	if (c != '{' && c != '[')
		return walk_scalar(w, field);
	field->kind = c == '{' ? FIELD_OBJECT : FIELD_ARRAY;
	field->text = reinterpret_cast<const char *>(w.text + w.index[w.at]);
	w.exponent = false;
	if (!skip_container(w, depth))
		return false;
	field->exponent = w.exponent;
	w.exponent |= outside;
	field->len = reinterpret_cast<const char *>(w.text + w.index[w.at - 1]) + 1 - field->text;
	return true;
}

/* Compares a name that has escapes. */
bool
escaped_name_is(const JsonField &name, const JsonNode &node)
{
	char		small[256];
	char	   *buffer = small;
	std::unique_ptr<char[]> large;
	size_t		len;

	if (name.len > sizeof(small))
	{
		large.reset(new (std::nothrow) char[name.len]);
		buffer = large.get();
		if (buffer == nullptr)
			return false;
	}
	return kv_json_unescape(name.text, name.len, buffer, &len) == JSON_FINE &&
		len == node.len && memcmp(buffer, node.name, len) == 0;
}

inline bool
name_is(const JsonField &name, const JsonNode &node)
{
	return name.len == node.len && node.plain && memcmp(name.text, node.name, name.len) == 0;
}

/* Finds the child with a name; *hint is where it stands if the document keeps the order of the columns. */
inline const JsonNode *
find_child(const JsonNode &node, const JsonField &name, int *hint)
{
	if (*hint >= node.nchildren)
		*hint = 0;
	if (name_is(name, node.children[*hint]))
		return &node.children[(*hint)++];
	for (int i = 0; i < node.nchildren; i++)
		if (name_is(name, node.children[i]))
		{
			*hint = i + 1;
			return &node.children[i];
		}
	if (memchr(name.text, '\\', name.len) != nullptr)
	{
		for (int i = 0; i < node.nchildren; i++)
			if (escaped_name_is(name, node.children[i]))
				return &node.children[i];
	}
	return nullptr;
}

bool		walk_node(Walk &w, const JsonNode &node, int depth);

/* Passes an object some of whose members are wanted. */
bool
walk_object(Walk &w, const JsonNode &node, int depth)
{
	JsonField	name,
				skipped;
	int			hint = 0;

	w.at++;
	if (peek(w) == '}')
	{
		w.at++;
		return true;
	}
	for (;;)
	{
		const JsonNode *child;

		if (!walk_name(w, &name))
			return false;
		child = find_child(node, name, &hint);
		if (child == nullptr ? !walk_any(w, &skipped, depth) : !walk_node(w, *child, depth))
			return false;
		if (peek(w) == ',')
			w.at++;
		else if (peek(w) == '}')
			break;
		else
			return fail(w, JSON_SYNTAX);
	}
	w.at++;
	return true;
}

/* Passes a wanted value and fills the slots of its subtree. */
bool
walk_node(Walk &w, const JsonNode &node, int depth)
{
	JsonField	ignored;
	JsonField  *field = node.slot >= 0 ? &w.fields[node.slot] : &ignored;
	uint32_t	begin = w.at;
	bool		outside = w.exponent;

	if (node.nchildren == 0)
		return walk_any(w, field, depth);
	/* an earlier duplicate's fields do not count */
	for (int i = node.slot_begin; i < node.slot_end; i++)
		w.fields[i].kind = FIELD_ABSENT;
	if (peek(w) != '{')
	{
		if (!walk_any(w, field, depth))
			return false;
		/* null has no fields below it, but a document that is null has no columns either */
		if (node.slot >= 0 || (field->kind == FIELD_NULL && depth > 0))
			return true;
		w.at = begin;
		return fail(w, JSON_NOT_OBJECT);
	}
	w.exponent = false;
	if (!walk_object(w, node, depth + 1))
		return false;
	field->kind = FIELD_OBJECT;
	field->exponent = w.exponent;
	field->text = reinterpret_cast<const char *>(w.text + w.index[begin]);
	field->len = reinterpret_cast<const char *>(w.text + w.index[w.at - 1]) + 1 - field->text;
	w.exponent |= outside;
	return true;
}

/* Runs simdjson's first stage over a document. */
JsonFault
find_tokens(JsonParser *parser, const char *text, size_t len, Walk *w)
{
	dom_parser_implementation *stage = parser->stage.get();

	if (len == 0)
		return JSON_EMPTY;
	if (len > UINT32_MAX - 64)
		return JSON_NO_MEMORY;
	if (len > stage->capacity() &&
		stage->allocate(len < 4096 ? 4096 : len, stage->max_depth()) != simdjson::SUCCESS)
		return JSON_NO_MEMORY;
	w->text = reinterpret_cast<const uint8_t *>(text);
	w->len = len;
	w->at = 0;
	w->fault = JSON_FINE;
	w->exponent = false;
	switch (stage->stage1(w->text, len, simdjson::stage1_mode::regular))
	{
		case simdjson::SUCCESS:
			break;
		case simdjson::EMPTY:
			return JSON_EMPTY;
		case simdjson::UNCLOSED_STRING:
			return JSON_TRUNCATED;
		case simdjson::UTF8_ERROR:
			return JSON_BAD_UTF8;
		case simdjson::UNESCAPED_CHARS:
			return JSON_CONTROL_CHARACTER;
		default:
			return JSON_SYNTAX;
	}
	w->index = stage->structural_indexes.get();
	w->count = stage->n_structural_indexes;
	return JSON_FINE;
}

/* Writes a code point as UTF-8. */
char *
put_utf8(char *out, uint32_t c)
{
	if (c < 0x80)
		*out++ = static_cast<char>(c);
	else if (c < 0x800)
	{
		*out++ = static_cast<char>(0xC0 | (c >> 6));
		*out++ = static_cast<char>(0x80 | (c & 0x3F));
	}
	else if (c < 0x10000)
	{
		*out++ = static_cast<char>(0xE0 | (c >> 12));
		*out++ = static_cast<char>(0x80 | ((c >> 6) & 0x3F));
		*out++ = static_cast<char>(0x80 | (c & 0x3F));
	}
	else
	{
		*out++ = static_cast<char>(0xF0 | (c >> 18));
		*out++ = static_cast<char>(0x80 | ((c >> 12) & 0x3F));
		*out++ = static_cast<char>(0x80 | ((c >> 6) & 0x3F));
		*out++ = static_cast<char>(0x80 | (c & 0x3F));
	}
	return out;
}

/* Reads four hex digits; -1 if they are not. */
int32_t
hex4(const char *p, const char *end)
{
	int32_t		value = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = p[i];

		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value = value * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return value;
}

/* Reads what follows \u, with the second half of a surrogate pair; moves *p behind it. */
JsonFault
read_code_point(const char **p, const char *end, uint32_t *c)
{
	int32_t		high = hex4(*p, end);
	int32_t		low;

	if (high < 0)
		return JSON_BAD_ESCAPE;
	*p += 4;
	if (high == 0)
		return JSON_NUL;
	*c = static_cast<uint32_t>(high);
	if (high < 0xD800 || high > 0xDFFF)
		return JSON_FINE;
	if (high > 0xDBFF || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return JSON_BAD_ESCAPE;
	low = hex4(*p + 2, end);
	if (low < 0xDC00 || low > 0xDFFF)
		return JSON_BAD_ESCAPE;
	*p += 6;
	*c = 0x10000 + ((static_cast<uint32_t>(high) - 0xD800) << 10) + (static_cast<uint32_t>(low) - 0xDC00);
	return JSON_FINE;
}

}								/* namespace */

extern "C" JsonParser *
kv_json_parser_make(void)
{
	JsonParser *parser = new (std::nothrow) JsonParser;

	if (parser == nullptr)
		return nullptr;
	if (simdjson::get_active_implementation()->create_dom_parser_implementation(4096, 16, parser->stage) != simdjson::SUCCESS)
	{
		delete parser;
		return nullptr;
	}
	return parser;
}

extern "C" void
kv_json_parser_free(JsonParser *parser)
{
	delete parser;
}

extern "C" JsonFault
kv_json_extract(JsonParser *parser, const char *text, size_t len,
				const JsonNode *root, JsonField *fields, size_t *position)
{
	Walk		w;
	JsonFault	fault;

	*position = 0;
	for (int i = root->slot_begin; i < root->slot_end; i++)
		fields[i].kind = FIELD_ABSENT;
	fault = find_tokens(parser, text, len, &w);
	if (fault != JSON_FINE)
		return fault;
	w.fields = fields;
	if (walk_node(w, *root, 0))
	{
		if (w.at == w.count)
			return JSON_FINE;
		w.fault = JSON_SYNTAX;
	}
	*position = w.at < w.count ? w.index[w.at] : len;
	return w.fault;
}

extern "C" JsonFault
kv_json_members(JsonParser *parser, const char *text, size_t len,
				JsonMember *members, size_t max, size_t *count)
{
	Walk		w;
	JsonFault	fault = find_tokens(parser, text, len, &w);
	uint8_t		close;

	*count = 0;
	if (fault != JSON_FINE)
		return fault;
	if (peek(w) != '{' && peek(w) != '[')
		return JSON_SYNTAX;
	close = peek(w) == '{' ? '}' : ']';
	w.at++;
	if (peek(w) == close)
		return JSON_FINE;
	for (;;)
	{
		JsonMember	ignored;
		JsonMember *member = *count < max ? &members[*count] : &ignored;

		member->key.kind = FIELD_ABSENT;
		if (close == '}' && !walk_name(w, &member->key))
			return w.fault;
		if (!walk_any(w, &member->value, 1))
			return w.fault;
		(*count)++;
		if (peek(w) == close)
			return JSON_FINE;
		if (peek(w) != ',')
			return JSON_SYNTAX;
		w.at++;
	}
}

extern "C" JsonFault
kv_json_unescape(const char *text, size_t len, char *dst, size_t *dst_len)
{
	const char *p = text;
	const char *end = text + len;
	char	   *out = dst;

	while (p < end)
	{
		const char *slash = static_cast<const char *>(memchr(p, '\\', end - p));
		size_t		plain = (slash == nullptr ? end : slash) - p;
		uint32_t	c;

		memcpy(out, p, plain);
		out += plain;
		p += plain;
		if (slash == nullptr)
			break;
		if (end - p < 2)
			return JSON_BAD_ESCAPE;
		p += 2;
		switch (p[-1])
		{
			case '"':
			case '\\':
			case '/':
				c = static_cast<uint8_t>(p[-1]);
				break;
			case 'b':
				c = '\b';
				break;
			case 'f':
				c = '\f';
				break;
			case 'n':
				c = '\n';
				break;
			case 'r':
				c = '\r';
				break;
			case 't':
				c = '\t';
				break;
			case 'u':
				{
					JsonFault	fault = read_code_point(&p, end, &c);

					if (fault != JSON_FINE)
						return fault;
					break;
				}
			default:
				return JSON_BAD_ESCAPE;
		}
		out = put_utf8(out, c);
	}
	*dst_len = out - dst;
	return JSON_FINE;
}

extern "C" const char *
kv_json_fault_text(JsonFault fault)
{
	switch (fault)
	{
		case JSON_FINE:
			return "no fault";
		case JSON_EMPTY:
			return "It is empty.";
		case JSON_TRUNCATED:
			return "It ends before the JSON is complete.";
		case JSON_SYNTAX:
			return "It is not valid JSON.";
		case JSON_TOO_DEEP:
			return "Its objects and arrays are nested more than 1000 deep.";
		case JSON_BAD_UTF8:
			return "It is not valid UTF-8.";
		case JSON_CONTROL_CHARACTER:
			return "A string contains a control character that is not escaped.";
		case JSON_NOT_OBJECT:
			return "A JSON object was expected.";
		case JSON_BAD_ESCAPE:
			return "A string contains an invalid escape sequence.";
		case JSON_NUL:
			return "A string contains \\u0000, which text cannot hold.";
		case JSON_NO_MEMORY:
			return "There was not enough memory to read it.";
	}
	return "unknown fault";
}
