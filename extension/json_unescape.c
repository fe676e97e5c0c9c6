/*
 * json_unescape.c: the text of a JSON string, and the faults of JSON in words.
 *
 * Apart from format_json.cc because it needs nothing of simdjson; like it, it calls nothing of
 * Postgres, so that it can be tested and fuzzed alone. Invariant: what comes out
 * is valid UTF-8 without NUL if what goes in is, and never longer.
 */
#include "format_json.h"

#include <stdint.h>
#include <string.h>

static JsonFault read_code_point(const char **p, const char *end, uint32_t *c);
static int32_t hex4(const char *p, const char *end);
static char *put_utf8(char *out, uint32_t c);

/* Resolves the escapes of a string. */
JsonFault
kv_json_unescape(const char *text, size_t len, char *dst, size_t *dst_len)
{
	const char *p = text;
	const char *end = text + len;
	char	   *out = dst;

	while (p < end)
	{
		const char *slash = memchr(p, '\\', end - p);
		size_t		plain = (slash == NULL ? end : slash) - p;
		uint32_t	c;

		memcpy(out, p, plain);
		out += plain;
		p += plain;
		if (slash == NULL)
			break;
		if (end - p < 2)
			return JSON_BAD_ESCAPE;
		p += 2;
		switch (p[-1])
		{
			case '"':
			case '\\':
			case '/':
				c = (uint8_t) p[-1];
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

/* Reads what follows \u, with the second half of a surrogate pair; moves *p behind it. */
static JsonFault
read_code_point(const char **p, const char *end, uint32_t *c)
{
	int32_t		high = hex4(*p, end);
	int32_t		low;

	if (high < 0)
		return JSON_BAD_ESCAPE;
	*p += 4;
	if (high == 0)
		return JSON_NUL;
	*c = (uint32_t) high;
	if (high < 0xD800 || high > 0xDFFF)
		return JSON_FINE;
	if (high > 0xDBFF || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return JSON_BAD_ESCAPE;
	low = hex4(*p + 2, end);
	if (low < 0xDC00 || low > 0xDFFF)
		return JSON_BAD_ESCAPE;
	*p += 6;
	*c = 0x10000 + (((uint32_t) high - 0xD800) << 10) + ((uint32_t) low - 0xDC00);
	return JSON_FINE;
}

/* Reads four hex digits; -1 if they are not. */
static int32_t
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

/* Writes a code point as UTF-8. */
static char *
put_utf8(char *out, uint32_t c)
{
	if (c < 0x80)
		*out++ = (char) c;
	else if (c < 0x800)
	{
		*out++ = (char) (0xC0 | (c >> 6));
		*out++ = (char) (0x80 | (c & 0x3F));
	}
	else if (c < 0x10000)
	{
		*out++ = (char) (0xE0 | (c >> 12));
		*out++ = (char) (0x80 | ((c >> 6) & 0x3F));
		*out++ = (char) (0x80 | (c & 0x3F));
	}
	else
	{
		*out++ = (char) (0xF0 | (c >> 18));
		*out++ = (char) (0x80 | ((c >> 12) & 0x3F));
		*out++ = (char) (0x80 | ((c >> 6) & 0x3F));
		*out++ = (char) (0x80 | (c & 0x3F));
	}
	return out;
}

/* Gives the fault in words. */
const char *
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
