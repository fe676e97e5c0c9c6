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

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "scalar_text.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

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
	c->convert = kv_convert_json;
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
kv_convert_kafka(Converter *c, const char *bytes, size_t len, Datum *value, DecodeError *error)
{
	size_t		expected = c->kind == CONVERT_INT2 ? 2 : c->kind == CONVERT_INT4 ? 4 : 8;
	uint64		bits = 0;

	if (len != expected)
		return kv_convert_bad(error, ERRCODE_INVALID_BINARY_REPRESENTATION,
							  "A big-endian integer of this type has %zu bytes, not %zu.", expected, len);
	for (size_t i = 0; i < len; i++)
		bits = bits << 8 | (unsigned char) bytes[i];
	if (c->kind == CONVERT_INT2)
		*value = Int16GetDatum((int16) bits);
	else if (c->kind == CONVERT_INT4)
		*value = Int32GetDatum((int32) bits);
	else
		*value = Int64GetDatum((int64) bits);
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
	/* a timestamptz without a zone is UTC; a timestamp with one is what the input function makes of it */
	else if (kv_text_timestamp(text, len, &time, &has_zone) == TEXT_FINE &&
			 (!has_zone || c->kind == CONVERT_TIMESTAMPTZ))
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
		return kv_convert_array(c, field, value, error);
	if (c->kind == CONVERT_COMPOSITE && field->kind == FIELD_OBJECT)
		return kv_convert_composite(c, field, value, error);
	if (c->kind == CONVERT_RANGE && field->kind == FIELD_OBJECT)
		return kv_convert_range(c, field, value, error);
	if (c->kind != CONVERT_INPUT)
		return kv_convert_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  "A JSON %s is not a value of type %s.",
							  field->kind == FIELD_ARRAY ? "array" : "object", format_type_be(c->type));
	return call_input(c, field->text, field->len, true, value, error);
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
