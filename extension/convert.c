/*
 * convert.c: one value of a record to a Datum.
 *
 * Invariant: without `catching` nothing here raises an error for what a record
 * says, and no catalog is read, so the common types cost no subtransaction and
 * need no transaction. Strings in a JSON document are UTF-8 (format_json.cc has
 * checked it); in a database of another encoding every text is converted, which
 * may raise and so needs catching.
 */
#include "convert.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "scalar_text.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

typedef enum ConverterKind
{
	CONVERT_BOOL, CONVERT_INT2, CONVERT_INT4, CONVERT_INT8, CONVERT_FLOAT4, CONVERT_FLOAT8, CONVERT_NUMERIC,
	CONVERT_TEXT, CONVERT_BYTEA, CONVERT_UUID, CONVERT_TIMESTAMPTZ, CONVERT_TIMESTAMP, CONVERT_DATE,
	CONVERT_JSON, CONVERT_JSONB, CONVERT_ARRAY, CONVERT_COMPOSITE, CONVERT_RANGE, CONVERT_DOMAIN,
	CONVERT_INPUT
} ConverterKind;

struct Converter
{
	ConverterKind kind;
	Oid			type;
	int32		typmod;
	MemoryContext context;
	FmgrInfo	input;			/* of the type; for a domain of the domain itself */
	Oid			ioparam;
	/* array: of its elements; domain: of the base type; range: of the bounds */
	Converter  *element;
	int16		element_len;
	bool		element_by_value;
	char		element_align;
	/* composite */
	TupleDesc	desc;
	Converter **attributes;
	TypeCacheEntry *range;
	void	   *domain_state;
};

static ConverterKind kind_of_type(Oid type);
static ConvertResult convert_string(Converter *c, const JsonField *field, bool catching, Datum *value, DecodeError *error);
static ConvertResult convert_chars(Converter *c, const char *text, size_t len, bool catching, Datum *value,
								   DecodeError *error);
static ConvertResult convert_raw(Converter *c, const char *text, size_t len, bool is_number, bool catching,
								 Datum *value, DecodeError *error);
static ConvertResult convert_integer(Converter *c, const char *text, size_t len, bool catching, Datum *value,
									 DecodeError *error);
static ConvertResult convert_float(Converter *c, const char *text, size_t len, bool catching, Datum *value,
								   DecodeError *error);
static ConvertResult convert_time(Converter *c, const char *text, size_t len, bool catching, Datum *value,
								  DecodeError *error);
static ConvertResult convert_epoch(Converter *c, const char *text, size_t len, Datum *value, DecodeError *error);
static ConvertResult convert_text(Converter *c, const char *text, size_t len, bool catching, Datum *value,
								  DecodeError *error);
static ConvertResult convert_json_text(Converter *c, const JsonField *field, bool catching, Datum *value);
static ConvertResult convert_container(Converter *c, const JsonField *field, Datum *value, DecodeError *error);
static ConvertResult convert_array(Converter *c, const JsonField *field, Datum *value, DecodeError *error);
static ConvertResult convert_composite(Converter *c, const JsonField *field, Datum *value, DecodeError *error);
static ConvertResult convert_range(Converter *c, const JsonField *field, Datum *value, DecodeError *error);
static ConvertResult call_input(Converter *c, const char *text, size_t len, bool catching, Datum *value,
								DecodeError *error);

/* Makes a converter for a type. */
Converter *
kv_converter_make(MemoryContext context, Oid type, int32 typmod)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Converter  *c = palloc0(sizeof(Converter));
	Oid			input;
	char		category;
	Oid			element = InvalidOid;

	c->type = type;
	c->typmod = typmod;
	c->context = context;
	c->kind = kind_of_type(type);
	getTypeInputInfo(type, &input, &c->ioparam);
	fmgr_info_cxt(input, &c->input, context);
	category = get_typtype(type);
	if (category == TYPTYPE_DOMAIN)
	{
		int32		base_typmod = typmod;
		Oid			base = getBaseTypeAndTypmod(type, &base_typmod);

		c->kind = CONVERT_DOMAIN;
		c->element = kv_converter_make(context, base, base_typmod);
	}
	else if (category == TYPTYPE_COMPOSITE)
	{
		c->kind = CONVERT_COMPOSITE;
		c->desc = lookup_rowtype_tupdesc_copy(type, typmod);
		c->attributes = palloc0(sizeof(Converter *) * c->desc->natts);
		for (int i = 0; i < c->desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(c->desc, i);

			if (!att->attisdropped)
				c->attributes[i] = kv_converter_make(context, att->atttypid, att->atttypmod);
		}
	}
	else if (category == TYPTYPE_RANGE)
	{
		c->kind = CONVERT_RANGE;
		c->range = lookup_type_cache(type, TYPECACHE_RANGE_INFO);
		c->element = kv_converter_make(context, c->range->rngelemtype->type_id, -1);
	}
	else if (c->kind == CONVERT_INPUT && OidIsValid(element = get_element_type(type)))
	{
		c->kind = CONVERT_ARRAY;
		c->element = kv_converter_make(context, element, typmod);
		get_typlenbyvalalign(element, &c->element_len, &c->element_by_value, &c->element_align);
	}
	MemoryContextSwitchTo(old);
	return c;
}

/* Gives the short way for a built-in type. */
static ConverterKind
kind_of_type(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return CONVERT_BOOL;
		case INT2OID:
			return CONVERT_INT2;
		case INT4OID:
			return CONVERT_INT4;
		case INT8OID:
			return CONVERT_INT8;
		case FLOAT4OID:
			return CONVERT_FLOAT4;
		case FLOAT8OID:
			return CONVERT_FLOAT8;
		case NUMERICOID:
			return CONVERT_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return CONVERT_TEXT;
		case BYTEAOID:
			return CONVERT_BYTEA;
		case UUIDOID:
			return CONVERT_UUID;
		case TIMESTAMPTZOID:
			return CONVERT_TIMESTAMPTZ;
		case TIMESTAMPOID:
			return CONVERT_TIMESTAMP;
		case DATEOID:
			return CONVERT_DATE;
		case JSONOID:
			return CONVERT_JSON;
		case JSONBOID:
			return CONVERT_JSONB;
		default:
			return CONVERT_INPUT;
	}
}

/* Says whether a whole object of JSON is a value of the type. */
bool
kv_converter_takes_object(const Converter *converter)
{
	if (converter->kind == CONVERT_DOMAIN)
		return kv_converter_takes_object(converter->element);
	return converter->kind == CONVERT_JSON || converter->kind == CONVERT_JSONB ||
		converter->kind == CONVERT_COMPOSITE || converter->kind == CONVERT_RANGE;
}

/* Notes a fault. */
ConvertResult
kv_convert_bad(DecodeError *error, int sqlstate, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(error->detail, sizeof(error->detail), format, args);
	va_end(args);
	/* a message cut in the middle of a character could not be stored */
	error->detail[pg_mbcliplen(error->detail, strlen(error->detail), sizeof(error->detail) - 1)] = '\0';
	error->sqlstate = sqlstate;
	return CONVERT_BAD;
}

/* Gives the parser of this process, made at its first use. */
JsonParser *
kv_json_parser(void)
{
	static JsonParser *parser = NULL;

	if (parser == NULL)
	{
		parser = kv_json_parser_make();
		if (parser == NULL)
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	return parser;
}

/* Converts a JSON value. */
ConvertResult
kv_convert_json(Converter *c, const JsonField *field, bool catching, Datum *value, DecodeError *error)
{
	if (c->kind == CONVERT_DOMAIN)
	{
		ConvertResult result;

		if (!catching)
			return CONVERT_CATCH;
		*value = (Datum) 0;
		result = kv_convert_json(c->element, field, true, value, error);
		if (result != CONVERT_BAD)
			domain_check(*value, result == CONVERT_NULL, c->type, &c->domain_state, c->context);
		return result;
	}
	if (field->kind == FIELD_ABSENT || field->kind == FIELD_NULL)
		return CONVERT_NULL;
	if (c->kind == CONVERT_JSON || c->kind == CONVERT_JSONB)
		return convert_json_text(c, field, catching, value);
	switch (field->kind)
	{
		case FIELD_STRING:
			return convert_string(c, field, catching, value, error);
		case FIELD_TRUE:
		case FIELD_FALSE:
			if (c->kind == CONVERT_BOOL)
			{
				*value = BoolGetDatum(field->kind == FIELD_TRUE);
				return CONVERT_FINE;
			}
			return convert_raw(c, field->text, field->len, false, catching, value, error);
		case FIELD_NUMBER:
			return convert_raw(c, field->text, field->len, true, catching, value, error);
		default:
			if (c->kind == CONVERT_TEXT)
				return convert_text(c, field->text, field->len, catching, value, error);
			if (!catching)
				return CONVERT_CATCH;
			return convert_container(c, field, value, error);
	}
}

/* Converts the bytes of a key or value that is not JSON. */
ConvertResult
kv_convert_bytes(Converter *c, const char *bytes, size_t len, bool catching, Datum *value, DecodeError *error)
{
	if (c->kind == CONVERT_BYTEA)
	{
		*value = PointerGetDatum(cstring_to_text_with_len(bytes, len));
		return CONVERT_FINE;
	}
	if (memchr(bytes, '\0', len) != NULL || pg_encoding_verifymbstr(PG_UTF8, bytes, len) != len)
		return kv_convert_bad(error, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "It is not valid UTF-8 text.");
	if (c->kind == CONVERT_DOMAIN)
	{
		ConvertResult result;

		if (!catching)
			return CONVERT_CATCH;
		result = kv_convert_bytes(c->element, bytes, len, true, value, error);
		if (result != CONVERT_BAD)
			domain_check(*value, result == CONVERT_NULL, c->type, &c->domain_state, c->context);
		return result;
	}
	return convert_chars(c, bytes, len, catching, value, error);
}

/* Converts what Java's serialisers write. */
ConvertResult
kv_convert_kafka(Converter *c, const char *bytes, size_t len, bool catching, Datum *value, DecodeError *error)
{
	size_t		expected;
	uint64		bits = 0;

	switch (c->kind)
	{
		case CONVERT_BOOL:
			expected = 1;
			break;
		case CONVERT_INT2:
			expected = 2;
			break;
		case CONVERT_INT4:
		case CONVERT_FLOAT4:
			expected = 4;
			break;
		case CONVERT_INT8:
		case CONVERT_FLOAT8:
			expected = 8;
			break;
		default:
			return kv_convert_bytes(c, bytes, len, catching, value, error);
	}
	if (len != expected)
		return kv_convert_bad(error, ERRCODE_INVALID_BINARY_REPRESENTATION,
							  "A big-endian value of this type has %zu bytes, not %zu.", expected, len);
	for (size_t i = 0; i < len; i++)
		bits = bits << 8 | (unsigned char) bytes[i];
	switch (c->kind)
	{
		case CONVERT_BOOL:
			*value = BoolGetDatum(bits != 0);
			break;
		case CONVERT_INT2:
			*value = Int16GetDatum((int16) bits);
			break;
		case CONVERT_INT4:
			*value = Int32GetDatum((int32) bits);
			break;
		case CONVERT_INT8:
			*value = Int64GetDatum((int64) bits);
			break;
		case CONVERT_FLOAT4:
			{
				uint32		half = (uint32) bits;
				float		f;

				memcpy(&f, &half, sizeof(f));
				*value = Float4GetDatum(f);
				break;
			}
		default:
			{
				double		d;

				memcpy(&d, &bits, sizeof(d));
				*value = Float8GetDatum(d);
				break;
			}
	}
	return CONVERT_FINE;
}

/* Converts a JSON string, resolving its escapes first. */
static ConvertResult
convert_string(Converter *c, const JsonField *field, bool catching, Datum *value, DecodeError *error)
{
	char	   *copy;
	size_t		len;
	JsonFault	fault;
	ConvertResult result;

	if (memchr(field->text, '\\', field->len) == NULL)
		return convert_chars(c, field->text, field->len, catching, value, error);
	copy = palloc_extended(field->len + 1, MCXT_ALLOC_HUGE);
	fault = kv_json_unescape(field->text, field->len, copy, &len);
	if (fault == JSON_FINE)
		result = convert_chars(c, copy, len, catching, value, error);
	else
		result = kv_convert_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION, "%s", kv_json_fault_text(fault));
	pfree(copy);
	return result;
}

/* Converts plain characters by the type's short way or its input function. */
static ConvertResult
convert_chars(Converter *c, const char *text, size_t len, bool catching, Datum *value, DecodeError *error)
{
	switch (c->kind)
	{
		case CONVERT_TEXT:
			return convert_text(c, text, len, catching, value, error);
		case CONVERT_TIMESTAMPTZ:
		case CONVERT_TIMESTAMP:
		case CONVERT_DATE:
			return convert_time(c, text, len, catching, value, error);
		case CONVERT_BOOL:
			{
				bool		flag;

				if (!parse_bool_with_len(text, len, &flag))
					return call_input(c, text, len, catching, value, error);
				*value = BoolGetDatum(flag);
				return CONVERT_FINE;
			}
		case CONVERT_UUID:
			{
				pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

				if (kv_text_uuid(text, len, uuid) != TEXT_FINE)
					return call_input(c, text, len, catching, value, error);
				*value = UUIDPGetDatum(uuid);
				return CONVERT_FINE;
			}
		case CONVERT_INT2:
		case CONVERT_INT4:
		case CONVERT_INT8:
		case CONVERT_FLOAT4:
		case CONVERT_FLOAT8:
		case CONVERT_NUMERIC:
			return convert_raw(c, text, len, false, catching, value, error);
		default:
			return call_input(c, text, len, catching, value, error);
	}
}

/* Converts a number, or a word such as true, as it stands in the document. */
static ConvertResult
convert_raw(Converter *c, const char *text, size_t len, bool is_number, bool catching, Datum *value,
			DecodeError *error)
{
	switch (c->kind)
	{
		case CONVERT_INT2:
		case CONVERT_INT4:
		case CONVERT_INT8:
			return convert_integer(c, text, len, catching, value, error);
		case CONVERT_FLOAT4:
		case CONVERT_FLOAT8:
			return convert_float(c, text, len, catching, value, error);
		case CONVERT_NUMERIC:
			{
				Numeric		numeric;

				switch (kv_text_numeric(text, len, c->typmod, &numeric))
				{
					case TEXT_FINE:
						*value = NumericGetDatum(numeric);
						return CONVERT_FINE;
					case TEXT_RANGE:
						return kv_convert_bad(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
											  "The number %.*s does not fit.", (int) Min(len, 100), text);
					default:
						return call_input(c, text, len, catching, value, error);
				}
			}
		case CONVERT_TIMESTAMPTZ:
		case CONVERT_TIMESTAMP:
		case CONVERT_DATE:
			if (is_number)
				return convert_epoch(c, text, len, value, error);
			return call_input(c, text, len, catching, value, error);
		default:
			return convert_chars(c, text, len, catching, value, error);
	}
}

/* Converts an exact integer. */
static ConvertResult
convert_integer(Converter *c, const char *text, size_t len, bool catching, Datum *value, DecodeError *error)
{
	int64		number;

	switch (kv_text_int64(text, len, &number))
	{
		case TEXT_FINE:
			break;
		case TEXT_FRACTION:
			return kv_convert_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "The number %.*s is not an integer.", (int) Min(len, 100), text);
		case TEXT_RANGE:
			return kv_convert_bad(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
								  "The number %.*s is out of range.", (int) Min(len, 100), text);
		default:
			return call_input(c, text, len, catching, value, error);
	}
	if ((c->kind == CONVERT_INT2 && (number < PG_INT16_MIN || number > PG_INT16_MAX)) ||
		(c->kind == CONVERT_INT4 && (number < PG_INT32_MIN || number > PG_INT32_MAX)))
		return kv_convert_bad(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							  "The number %.*s is out of range.", (int) Min(len, 100), text);
	if (c->kind == CONVERT_INT2)
		*value = Int16GetDatum((int16) number);
	else if (c->kind == CONVERT_INT4)
		*value = Int32GetDatum((int32) number);
	else
		*value = Int64GetDatum(number);
	return CONVERT_FINE;
}

/* Converts a floating-point number. */
static ConvertResult
convert_float(Converter *c, const char *text, size_t len, bool catching, Datum *value, DecodeError *error)
{
	TextResult	result;
	double		d = 0;
	float		f = 0;

	if (c->kind == CONVERT_FLOAT8)
		result = kv_text_float8(text, len, &d);
	else
		result = kv_text_float4(text, len, &f);
	if (result == TEXT_RANGE)
		return kv_convert_bad(error, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							  "The number %.*s is out of range.", (int) Min(len, 100), text);
	if (result != TEXT_FINE)
		return call_input(c, text, len, catching, value, error);
	*value = c->kind == CONVERT_FLOAT8 ? Float8GetDatum(d) : Float4GetDatum(f);
	return CONVERT_FINE;
}

/* Says whether a time is given by a word that means something else at every reading. */
static bool
names_the_clock(const char *text, size_t len)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	size_t		at = 0;

	while (at < len)
	{
		size_t		begin = at;

		while (at < len && ((text[at] | 0x20) >= 'a' && (text[at] | 0x20) <= 'z'))
			at++;
		for (int i = 0; i < lengthof(words); i++)
			if (at - begin == strlen(words[i]) && pg_strncasecmp(text + begin, words[i], at - begin) == 0)
				return true;
		if (at == begin)
			at++;
	}
	return false;
}

/* Converts a timestamp or date written as text. */
static ConvertResult
convert_time(Converter *c, const char *text, size_t len, bool catching, Datum *value, DecodeError *error)
{
	Timestamp	time;
	bool		has_zone;

	if (c->kind == CONVERT_DATE)
	{
		DateADT		date;

		if (kv_text_date(text, len, &date) == TEXT_FINE)
		{
			*value = DateADTGetDatum(date);
			return CONVERT_FINE;
		}
	}
	else if (kv_text_timestamp(text, len, &time, &has_zone) == TEXT_FINE &&
			 has_zone == (c->kind == CONVERT_TIMESTAMPTZ))
	{
		AdjustTimestampForTypmod(&time, c->typmod);
		*value = TimestampGetDatum(time);
		return CONVERT_FINE;
	}
	if (names_the_clock(text, len))
		return kv_convert_bad(error, ERRCODE_INVALID_DATETIME_FORMAT,
							  "\"%.*s\" would mean another time whenever the record is read.",
							  pg_mbcliplen(text, len, 100), text);
	return call_input(c, text, len, catching, value, error);
}

/* Converts milliseconds since 1970, taken as UTC. */
static ConvertResult
convert_epoch(Converter *c, const char *text, size_t len, Datum *value, DecodeError *error)
{
	Timestamp	time;

	if (kv_text_epoch_ms(text, len, &time) != TEXT_FINE)
		return kv_convert_bad(error, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
							  "%.*s milliseconds since 1970 are out of range.", (int) Min(len, 100), text);
	if (c->kind == CONVERT_DATE)
	{
		int64		days = time / USECS_PER_DAY;

		if (time % USECS_PER_DAY < 0)
			days--;
		*value = DateADTGetDatum((DateADT) days);
		return CONVERT_FINE;
	}
	AdjustTimestampForTypmod(&time, c->typmod);
	*value = TimestampGetDatum(time);
	return CONVERT_FINE;
}

/* Converts characters to text, varchar or char; the length is looked at only where it could matter. */
static ConvertResult
convert_text(Converter *c, const char *text, size_t len, bool catching, Datum *value, DecodeError *error)
{
	if (len > MaxAllocSize - VARHDRSZ)
		return kv_convert_bad(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "The text has %zu bytes.", len);
	if (GetDatabaseEncoding() != PG_UTF8 ||
		(c->typmod >= (int32) VARHDRSZ && (c->type == BPCHAROID || len > (size_t) (c->typmod - VARHDRSZ))))
		return call_input(c, text, len, catching, value, error);
	*value = PointerGetDatum(cstring_to_text_with_len(text, len));
	return CONVERT_FINE;
}

/* Says whether a JSON value holds nothing that json_in or jsonb_in might refuse. */
static bool
is_plain_json(const char *text, size_t len, bool for_jsonb, bool exponent)
{
	const char *p = text;
	const char *end = text + len;

	if (for_jsonb && (exponent || len > 100000))
		return false;
	while ((p = memchr(p, '\\', end - p)) != NULL)
	{
		if (end - p < 2 || p[1] == '\0' || strchr("\"\\/bfnrt", p[1]) == NULL)
			return false;
		p += 2;
	}
	return true;
}

/* Converts to json or jsonb: the value as it stands. */
static ConvertResult
convert_json_text(Converter *c, const JsonField *field, bool catching, Datum *value)
{
	const char *text = field->text;
	size_t		len = field->len;
	char	   *copy;

	if (field->kind == FIELD_STRING)
	{
		text--;
		len += 2;
	}
	if (!catching && (GetDatabaseEncoding() != PG_UTF8 ||
					  !is_plain_json(text, len, c->kind == CONVERT_JSONB, field->exponent)))
		return CONVERT_CATCH;
	if (c->kind == CONVERT_JSON && !catching)
	{
		*value = PointerGetDatum(cstring_to_text_with_len(text, len));
		return CONVERT_FINE;
	}
	copy = pnstrdup(text, len);
	*value = InputFunctionCall(&c->input, pg_any_to_server(copy, len, PG_UTF8), c->ioparam, c->typmod);
	return CONVERT_FINE;
}

/* Converts an object or array to an array, a composite, a range; else its text by the input function. */
static ConvertResult
convert_container(Converter *c, const JsonField *field, Datum *value, DecodeError *error)
{
	if (c->kind == CONVERT_ARRAY && field->kind == FIELD_ARRAY)
		return convert_array(c, field, value, error);
	if (c->kind == CONVERT_COMPOSITE && field->kind == FIELD_OBJECT)
		return convert_composite(c, field, value, error);
	if (c->kind == CONVERT_RANGE && field->kind == FIELD_OBJECT)
		return convert_range(c, field, value, error);
	if (c->kind != CONVERT_INPUT)
		return kv_convert_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  "A JSON %s is not a value of type %s.",
							  field->kind == FIELD_ARRAY ? "array" : "object", format_type_be(c->type));
	return call_input(c, field->text, field->len, true, value, error);
}

/* Gives the members of a container, palloc'd. */
static JsonMember *
list_members(const JsonField *field, size_t *count)
{
	size_t		max = 16;
	JsonMember *members = palloc(sizeof(JsonMember) * max);
	JsonFault	fault = kv_json_members(kv_json_parser(), field->text, field->len, members, max, count);

	if (fault == JSON_FINE && *count > max)
	{
		max = *count;
		members = repalloc_huge(members, sizeof(JsonMember) * max);
		fault = kv_json_members(kv_json_parser(), field->text, field->len, members, max, count);
	}
	if (fault != JSON_FINE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), errmsg("%s", kv_json_fault_text(fault))));
	return members;
}

/* What an array is being built from. */
typedef struct ArrayBuild
{
	Converter  *array;
	Datum	   *values;
	bool	   *nulls;
	int			count;
	int			size;
	int			ndims;
	int			dims[MAXDIM];
} ArrayBuild;

/* Collects the elements of one level; all arrays of a level must be of one length. */
static ConvertResult
collect_elements(ArrayBuild *build, const JsonField *field, int level, DecodeError *error)
{
	size_t		count;
	JsonMember *members = list_members(field, &count);
	bool		elements_are_json = kv_converter_takes_object(build->array->element) &&
		build->array->element->kind != CONVERT_COMPOSITE && build->array->element->kind != CONVERT_RANGE;

	if (level >= MAXDIM)
		return kv_convert_bad(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "An array has more than %d dimensions.", MAXDIM);
	if (level >= build->ndims)
	{
		if (build->count > 0)
			return kv_convert_bad(error, ERRCODE_ARRAY_SUBSCRIPT_ERROR, "An array mixes arrays and plain elements.");
		build->ndims = level + 1;
		build->dims[level] = (int) count;
	}
	else if (build->dims[level] != (int) count)
		return kv_convert_bad(error, ERRCODE_ARRAY_SUBSCRIPT_ERROR, "Inner arrays differ in length.");
	for (size_t i = 0; i < count; i++)
	{
		const JsonField *element = &members[i].value;
		ConvertResult result;

		if (element->kind == FIELD_ARRAY && !elements_are_json)
		{
			result = collect_elements(build, element, level + 1, error);
			if (result != CONVERT_FINE)
				return result;
			continue;
		}
		if (level + 1 != build->ndims)
			return kv_convert_bad(error, ERRCODE_ARRAY_SUBSCRIPT_ERROR, "An array mixes arrays and plain elements.");
		if (build->count == build->size)
		{
			build->size *= 2;
			build->values = repalloc_huge(build->values, sizeof(Datum) * build->size);
			build->nulls = repalloc_huge(build->nulls, sizeof(bool) * build->size);
		}
		build->values[build->count] = (Datum) 0;
		result = kv_convert_json(build->array->element, element, true, &build->values[build->count], error);
		if (result == CONVERT_BAD)
			return result;
		build->nulls[build->count++] = result == CONVERT_NULL;
	}
	pfree(members);
	return CONVERT_FINE;
}

/* Converts a JSON array, arrays of arrays too, to an array. */
static ConvertResult
convert_array(Converter *c, const JsonField *field, Datum *value, DecodeError *error)
{
	ArrayBuild	build = {.array = c,.size = 64};
	int			lower[MAXDIM];
	ConvertResult result;

	build.values = palloc(sizeof(Datum) * build.size);
	build.nulls = palloc(sizeof(bool) * build.size);
	result = collect_elements(&build, field, 0, error);
	if (result != CONVERT_FINE)
		return result;
	for (int i = 0; i < MAXDIM; i++)
		lower[i] = 1;
	if (build.count == 0)
		*value = PointerGetDatum(construct_empty_array(c->element->type));
	else
		*value = PointerGetDatum(construct_md_array(build.values, build.nulls, build.ndims, build.dims, lower,
													c->element->type, c->element_len, c->element_by_value,
													c->element_align));
	return CONVERT_FINE;
}

/* Finds the last member of a name; an absent field if there is none. */
static const JsonField *
find_member(const JsonMember *members, size_t count, const char *name)
{
	static const JsonField absent = {FIELD_ABSENT};
	size_t		name_len = strlen(name);
	char	   *buffer;
	size_t		len;

	for (size_t i = count; i-- > 0;)
	{
		const JsonField *key = &members[i].key;

		if (memchr(key->text, '\\', key->len) == NULL)
		{
			if (key->len == name_len && memcmp(key->text, name, name_len) == 0)
				return &members[i].value;
			continue;
		}
		buffer = palloc(key->len + 1);
		if (kv_json_unescape(key->text, key->len, buffer, &len) == JSON_FINE &&
			len == name_len && memcmp(buffer, name, len) == 0)
			return &members[i].value;
		pfree(buffer);
	}
	return &absent;
}

/* Converts an object to a row, attribute by attribute. */
static ConvertResult
convert_composite(Converter *c, const JsonField *field, Datum *value, DecodeError *error)
{
	int			natts = c->desc->natts;
	Datum	   *values = palloc0(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	size_t		count;
	JsonMember *members = list_members(field, &count);

	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(c->desc, i);
		char	   *name;
		ConvertResult result;

		nulls[i] = true;
		if (att->attisdropped)
			continue;
		name = pg_server_to_any(NameStr(att->attname), strlen(NameStr(att->attname)), PG_UTF8);
		result = kv_convert_json(c->attributes[i], find_member(members, count, name), true, &values[i], error);
		if (result == CONVERT_BAD)
			return result;
		nulls[i] = result == CONVERT_NULL;
	}
	*value = HeapTupleGetDatum(heap_form_tuple(c->desc, values, nulls));
	return CONVERT_FINE;
}

/* Reads one end of a range. */
static ConvertResult
convert_bound(Converter *c, const JsonField *field, RangeBound *bound, DecodeError *error)
{
	ConvertResult result = kv_convert_json(c->element, field, true, &bound->val, error);

	bound->infinite = result == CONVERT_NULL;
	return result == CONVERT_NULL ? CONVERT_FINE : result;
}

/* Converts {"start":..,"end":..[,"bounds":"[)"]} to a range. */
static ConvertResult
convert_range(Converter *c, const JsonField *field, Datum *value, DecodeError *error)
{
	size_t		count;
	JsonMember *members = list_members(field, &count);
	const JsonField *bounds = find_member(members, count, "bounds");
	RangeBound	lower = {.inclusive = true,.lower = true};
	RangeBound	upper = {.inclusive = false,.lower = false};
	ConvertResult result;

	if (bounds->kind != FIELD_ABSENT)
	{
		if (bounds->kind != FIELD_STRING || bounds->len != 2 ||
			strchr("[(", bounds->text[0]) == NULL || strchr("])", bounds->text[1]) == NULL)
			return kv_convert_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "The bounds of a range are one of \"[)\", \"[]\", \"(]\", \"()\".");
		lower.inclusive = bounds->text[0] == '[';
		upper.inclusive = bounds->text[1] == ']';
	}
	result = convert_bound(c, find_member(members, count, "start"), &lower, error);
	if (result == CONVERT_FINE)
		result = convert_bound(c, find_member(members, count, "end"), &upper, error);
	if (result != CONVERT_FINE)
		return result;
	*value = RangeTypePGetDatum(make_range(c->range, &lower, &upper, false));
	return CONVERT_FINE;
}

/* Converts by the type's input function. */
static ConvertResult
call_input(Converter *c, const char *text, size_t len, bool catching, Datum *value, DecodeError *error)
{
	char	   *copy;

	if (!catching)
		return CONVERT_CATCH;
	copy = palloc_extended(len + 1, MCXT_ALLOC_HUGE);
	memcpy(copy, text, len);
	copy[len] = '\0';
	*value = InputFunctionCall(&c->input, pg_any_to_server(copy, len, PG_UTF8), c->ioparam, c->typmod);
	return CONVERT_FINE;
}
