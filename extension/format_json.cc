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

/*
 * The tokens of a document. The place in them is not kept here but handed from function to
 * function (each gives the token behind what it passed, or 0 for a fault): in
 * memory it would cost a third of the whole walk.
 */
struct Walk
{
	const uint8_t *text;
	size_t		len;
	const uint32_t *index;		/* position of each token */
	uint32_t	count;
	uint32_t	fault_at;		/* token */
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

/* Gives the first byte of a token, 0 behind the last one. */
inline uint8_t
peek(const Walk &w, uint32_t at)
{
	return at < w.count ? w.text[w.index[at]] : 0;
}

/* Notes a fault; what is missing behind the last token was cut off. */
uint32_t
fail(Walk &w, uint32_t at, JsonFault fault)
{
	w.fault = fault == JSON_SYNTAX && at >= w.count ? JSON_TRUNCATED : fault;
	w.fault_at = at;
	return 0;
}

/* Finds the end of a scalar: everything up to the next token except space. */
inline size_t
token_end(const Walk &w, uint32_t at)
{
	size_t		begin = w.index[at];
	size_t		end = at + 1 < w.count ? w.index[at + 1] : w.len;

	while (end > begin + 1 && is_space(w.text[end - 1]))
		end--;
	return end;
}

/* Skips digits, eight at a time where there are so many. */
inline const uint8_t *
skip_digits(const uint8_t *p, const uint8_t *end)
{
	while (end - p >= 8)
	{
		uint64_t	word;

		memcpy(&word, p, 8);
		/* all high nibbles are 3, before and after 6 is added to each byte */
		if (((word & 0xF0F0F0F0F0F0F0F0) | (((word + 0x0606060606060606) & 0xF0F0F0F0F0F0F0F0) >> 4)) != 0x3333333333333333)
			break;
		p += 8;
	}
	while (p < end && is_digit(*p))
		p++;
	return p;
}

/* Checks a number against the grammar. */
inline bool
check_number(const uint8_t *p, const uint8_t *end, bool *exponent)
{
	if (p < end && *p == '-')
		p++;
	if (p == end || !is_digit(*p))
		return false;
	if (*p == '0')
		p++;
	else
		p = skip_digits(p, end);
	if (p < end && *p == '.')
	{
		p++;
		if (p == end || !is_digit(*p))
			return false;
		p = skip_digits(p, end);
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		*exponent = true;
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if (p == end || !is_digit(*p))
			return false;
		p = skip_digits(p, end);
	}
	return p == end;
}

/* Passes a scalar and describes it. */
inline uint32_t
pass_scalar(Walk &w, uint32_t at, JsonField *field)
{
	size_t		len;
	const uint8_t *p;

	if (at >= w.count)
		return fail(w, at, JSON_SYNTAX);
	p = w.text + w.index[at];
	len = token_end(w, at) - w.index[at];
	field->text = reinterpret_cast<const char *>(p);
	field->len = len;
	field->exponent = false;
	switch (*p)
	{
		case '"':
			if (len < 2 || p[len - 1] != '"')
				return fail(w, at, JSON_SYNTAX);
			field->kind = FIELD_STRING;
			field->text = reinterpret_cast<const char *>(p + 1);
			field->len = len - 2;
			break;
		case 't':
			if (len != 4 || memcmp(p, "true", 4) != 0)
				return fail(w, at, JSON_SYNTAX);
			field->kind = FIELD_TRUE;
			break;
		case 'f':
			if (len != 5 || memcmp(p, "false", 5) != 0)
				return fail(w, at, JSON_SYNTAX);
			field->kind = FIELD_FALSE;
			break;
		case 'n':
			if (len != 4 || memcmp(p, "null", 4) != 0)
				return fail(w, at, JSON_SYNTAX);
			field->kind = FIELD_NULL;
			break;
		default:
			if (!check_number(p, p + len, &field->exponent))
				return fail(w, at, JSON_SYNTAX);
			field->kind = FIELD_NUMBER;
			if (field->exponent)
				w.exponent = true;
			break;
	}
	return at + 1;
}

/* Passes a name and the colon behind it. */
inline uint32_t
pass_name(Walk &w, uint32_t at, JsonField *name)
{
	const uint8_t *p;
	size_t		len;

	if (peek(w, at) != '"')
		return fail(w, at, JSON_SYNTAX);
	p = w.text + w.index[at];
	len = token_end(w, at) - w.index[at];
	if (len < 2 || p[len - 1] != '"')
		return fail(w, at, JSON_SYNTAX);
	name->kind = FIELD_STRING;
	name->exponent = false;
	name->text = reinterpret_cast<const char *>(p + 1);
	name->len = len - 2;
	if (peek(w, at + 1) != ':')
		return fail(w, at + 1, JSON_SYNTAX);
	return at + 2;
}

/* Passes an object or array with all there is in it, checking the grammar, without recursion. */
uint32_t
pass_container(Walk &w, uint32_t at, int depth)
{
	uint64_t	is_object[KV_JSON_MAX_DEPTH / 64 + 1];
	int			base = depth;
	bool		object;
	JsonField	field;

open:
	if (depth >= KV_JSON_MAX_DEPTH)
		return fail(w, at, JSON_TOO_DEEP);
	object = peek(w, at) == '{';
	if (object)
		is_object[depth / 64] |= UINT64_C(1) << (depth % 64);
	else
		is_object[depth / 64] &= ~(UINT64_C(1) << (depth % 64));
	depth++;
	at++;
	if (peek(w, at) == (object ? '}' : ']'))
		goto close;
member:
	if (object && (at = pass_name(w, at, &field)) == 0)
		return 0;
	if (peek(w, at) == '{' || peek(w, at) == '[')
		goto open;
	if ((at = pass_scalar(w, at, &field)) == 0)
		return 0;
next:
	if (peek(w, at) == ',')
	{
		at++;
		goto member;
	}
	if (peek(w, at) != (object ? '}' : ']'))
		return fail(w, at, JSON_SYNTAX);
close:
	at++;
	if (--depth == base)
		return at;
	object = (is_object[(depth - 1) / 64] >> ((depth - 1) % 64)) & 1;
	goto next;
}

/* Describes the object or array from one token to before another. */
inline void
describe_container(const Walk &w, uint32_t begin, uint32_t end, JsonField *field)
{
	field->kind = peek(w, begin) == '{' ? FIELD_OBJECT : FIELD_ARRAY;
	field->exponent = w.exponent;
	field->text = reinterpret_cast<const char *>(w.text + w.index[begin]);
	field->len = w.index[end - 1] + 1 - w.index[begin];
}

/* Passes any value and describes it. */
inline uint32_t
pass_any(Walk &w, uint32_t at, JsonField *field, int depth)
{
	uint8_t		c = peek(w, at);
	bool		outside;
	uint32_t	end;

	if (c != '{' && c != '[')
		return pass_scalar(w, at, field);
	outside = w.exponent;
	w.exponent = false;
	end = pass_container(w, at, depth);
	if (end == 0)
		return 0;
	describe_container(w, at, end, field);
	w.exponent |= outside;
	return end;
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

/* Compares without the cost of calling memcmp for a few bytes. */
inline bool
same_bytes(const char *a, const char *b, size_t len)
{
	uint64_t	x,
				y;

	if (len < 8)
	{
		for (size_t i = 0; i < len; i++)
			if (a[i] != b[i])
				return false;
		return true;
	}
	for (size_t i = 0; i + 8 < len; i += 8)
	{
		memcpy(&x, a + i, 8);
		memcpy(&y, b + i, 8);
		if (x != y)
			return false;
	}
	memcpy(&x, a + len - 8, 8);
	memcpy(&y, b + len - 8, 8);
	return x == y;
}

inline bool
name_is(const JsonField &name, const JsonNode &node)
{
	return name.len == node.len && node.plain && same_bytes(name.text, node.name, name.len);
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

uint32_t	pass_wanted(Walk &w, uint32_t at, const JsonNode &node, int depth);

/* Passes an object some of whose members are wanted. */
uint32_t
pass_object(Walk &w, uint32_t at, const JsonNode &node, int depth)
{
	JsonField	name,
				skipped;
	int			hint = 0;

	at++;
	if (peek(w, at) == '}')
		return at + 1;
	for (;;)
	{
		const JsonNode *child;

		at = pass_name(w, at, &name);
		if (at == 0)
			return 0;
		child = find_child(node, name, &hint);
		if (child != nullptr && child->nchildren > 0)
			at = pass_wanted(w, at, *child, depth);
		else
			at = pass_any(w, at, child == nullptr ? &skipped : &w.fields[child->slot], depth);
		if (at == 0)
			return 0;
		if (peek(w, at) == '}')
			return at + 1;
		if (peek(w, at) != ',')
			return fail(w, at, JSON_SYNTAX);
		at++;
	}
}

/* Passes a value with wanted fields below it and fills the slots of its subtree. */
uint32_t
pass_wanted(Walk &w, uint32_t at, const JsonNode &node, int depth)
{
	JsonField	ignored;
	JsonField  *field = node.slot >= 0 ? &w.fields[node.slot] : &ignored;
	bool		outside = w.exponent;
	uint32_t	end;

	/* an earlier duplicate's fields do not count */
	for (int i = node.slot_begin; i < node.slot_end; i++)
		w.fields[i].kind = FIELD_ABSENT;
	if (node.nchildren == 0 || peek(w, at) != '{')
	{
		end = pass_any(w, at, field, depth);
		/* null has no fields below it, but a document that is null has no columns either */
		if (end == 0 || node.nchildren == 0 || node.slot >= 0 || (field->kind == FIELD_NULL && depth > 0))
			return end;
		return fail(w, at, JSON_NOT_OBJECT);
	}
	w.exponent = false;
	end = pass_object(w, at, node, depth + 1);
	if (end == 0)
		return 0;
	describe_container(w, at, end, field);
	w.exponent |= outside;
	return end;
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
	w->fault_at = 0;
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
	uint32_t	end;

	*position = 0;
	for (int i = root->slot_begin; i < root->slot_end; i++)
		fields[i].kind = FIELD_ABSENT;
	fault = find_tokens(parser, text, len, &w);
	if (fault != JSON_FINE)
		return fault;
	w.fields = fields;
	end = pass_wanted(w, 0, *root, 0);
	if (end == w.count)
		return JSON_FINE;
	if (end != 0)
		fail(w, end, JSON_SYNTAX);
	*position = w.fault_at < w.count ? w.index[w.fault_at] : len;
	return w.fault;
}

extern "C" JsonFault
kv_json_members(JsonParser *parser, const char *text, size_t len,
				JsonMember *members, size_t max, size_t *count)
{
	Walk		w;
	JsonFault	fault = find_tokens(parser, text, len, &w);
	uint32_t	at = 0;
	uint8_t		close;

	*count = 0;
	if (fault != JSON_FINE)
		return fault;
	if (peek(w, at) != '{' && peek(w, at) != '[')
		return JSON_SYNTAX;
	close = peek(w, at) == '{' ? '}' : ']';
	at++;
	if (peek(w, at) == close)
		return JSON_FINE;
	for (;;)
	{
		JsonMember	ignored;
		JsonMember *member = *count < max ? &members[*count] : &ignored;

		member->key.kind = FIELD_ABSENT;
		if (close == '}' && (at = pass_name(w, at, &member->key)) == 0)
			return w.fault;
		if ((at = pass_any(w, at, &member->value, 1)) == 0)
			return w.fault;
		(*count)++;
		if (peek(w, at) == close)
			return JSON_FINE;
		if (peek(w, at) != ',')
			return JSON_SYNTAX;
		at++;
	}
}
