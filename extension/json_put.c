/*
 * json_put.c: one Datum as JSON, appended to the caller's buffer.
 *
 * Invariant: convert.c reads what is written here as the same value, whatever the
 * settings of the session: times are ISO 8601, floats the shortest text that reads back,
 * bytea hex. What JSON cannot say as a number (NaN, infinity) is a string. Text is in the
 * database's encoding; encode.c converts the finished message.
 */
#include "json_put.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "scalar_put.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

typedef enum WriterKind
{
	WRITE_BOOL, WRITE_INT2, WRITE_INT4, WRITE_INT8, WRITE_FLOAT4, WRITE_FLOAT8, WRITE_NUMERIC, WRITE_TEXT, WRITE_BYTEA,
	WRITE_UUID, WRITE_TIMESTAMPTZ, WRITE_TIMESTAMP, WRITE_DATE, WRITE_INTERVAL, WRITE_JSON, WRITE_JSONB, WRITE_ARRAY, WRITE_COMPOSITE,
	WRITE_RANGE, WRITE_OUTPUT
} WriterKind;

struct JsonWriter
{
	WriterKind	kind;
	MemoryContext context;
	FmgrInfo	output;
	/* array: of the elements; range: of the bounds */
	JsonWriter *element;
	int16		element_len;
	bool		element_by_value;
	char		element_align;
	TypeCacheEntry *range;
	/* composite: of the row type met last */
	TupleDesc	desc;
	JsonWriter **attributes;
};

static WriterKind kind_of_type(Oid type);
static void put_float(StringInfo out, double value, bool is_float4);
static void put_quoted_output(JsonWriter *writer, StringInfo out, Datum value);
static void put_array(JsonWriter *writer, StringInfo out, ArrayType *array);
static void put_dimension(JsonWriter *writer, StringInfo out, const int *dims, int ndims,
						  const Datum *values, const bool *nulls, int *at);
static void put_composite(JsonWriter *writer, StringInfo out, HeapTupleHeader row);
static void meet_row_type(JsonWriter *writer, HeapTupleHeader row);
static void put_range(JsonWriter *writer, StringInfo out, RangeType *range);
static void put_big_endian(StringInfo out, uint64 bits, int len);

/* Makes a writer for a type. */
JsonWriter *
kv_writer_make(MemoryContext context, Oid type)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	JsonWriter *writer = palloc0(sizeof(JsonWriter));
	Oid			base = getBaseType(type);
	Oid			output;
	Oid			element;
	bool		is_varlena;

	writer->context = context;
	writer->kind = kind_of_type(base);
	getTypeOutputInfo(base, &output, &is_varlena);
	fmgr_info_cxt(output, &writer->output, context);
	if (type_is_rowtype(base))
		writer->kind = WRITE_COMPOSITE;
	else if (get_typtype(base) == TYPTYPE_RANGE)
	{
		writer->kind = WRITE_RANGE;
		writer->range = lookup_type_cache(base, TYPECACHE_RANGE_INFO);
		writer->element = kv_writer_make(context, writer->range->rngelemtype->type_id);
	}
	else if (writer->kind == WRITE_OUTPUT && OidIsValid(element = get_element_type(base)))
	{
		writer->kind = WRITE_ARRAY;
		writer->element = kv_writer_make(context, element);
		get_typlenbyvalalign(element, &writer->element_len, &writer->element_by_value, &writer->element_align);
	}
	MemoryContextSwitchTo(old);
	return writer;
}

/* Gives the short way for a built-in type. */
static WriterKind
kind_of_type(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return WRITE_BOOL;
		case INT2OID:
			return WRITE_INT2;
		case INT4OID:
			return WRITE_INT4;
		case INT8OID:
			return WRITE_INT8;
		case FLOAT4OID:
			return WRITE_FLOAT4;
		case FLOAT8OID:
			return WRITE_FLOAT8;
		case NUMERICOID:
			return WRITE_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return WRITE_TEXT;
		case BYTEAOID:
			return WRITE_BYTEA;
		case UUIDOID:
			return WRITE_UUID;
		case TIMESTAMPTZOID:
			return WRITE_TIMESTAMPTZ;
		case TIMESTAMPOID:
			return WRITE_TIMESTAMP;
		case DATEOID:
			return WRITE_DATE;
		case INTERVALOID:
			return WRITE_INTERVAL;
		case JSONOID:
			return WRITE_JSON;
		case JSONBOID:
			return WRITE_JSONB;
		default:
			return WRITE_OUTPUT;
	}
}

/* Appends a value as JSON. */
void
kv_put_json(JsonWriter *writer, StringInfo out, Datum value)
{
	switch (writer->kind)
	{
		case WRITE_BOOL:
		case WRITE_INT2:
		case WRITE_INT4:
		case WRITE_INT8:
		case WRITE_JSON:
		case WRITE_JSONB:
			kv_put_bytes(writer, out, value);
			break;
		case WRITE_FLOAT4:
			put_float(out, DatumGetFloat4(value), true);
			break;
		case WRITE_FLOAT8:
			put_float(out, DatumGetFloat8(value), false);
			break;
		case WRITE_NUMERIC:
			{
				Numeric		numeric = (Numeric) PG_DETOAST_DATUM_PACKED(value);
				bool		quoted = kv_numeric_is_special(numeric);

				if (quoted)
					kv_put_char(out, '"');
				kv_put_numeric(out, numeric);
				if (quoted)
					kv_put_char(out, '"');
				break;
			}
		case WRITE_TEXT:
			{
				text	   *t = DatumGetTextPP(value);

				kv_put_json_string(out, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
				break;
			}
		case WRITE_BYTEA:
			{
				bytea	   *bytes = DatumGetByteaPP(value);

				kv_put_text(out, "\"\\\\x", 4);
				kv_put_hex(out, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
				kv_put_char(out, '"');
				break;
			}
		case WRITE_UUID:
		case WRITE_TIMESTAMPTZ:
		case WRITE_TIMESTAMP:
		case WRITE_DATE:
		case WRITE_INTERVAL:
			kv_put_char(out, '"');
			kv_put_bytes(writer, out, value);
			kv_put_char(out, '"');
			break;
		case WRITE_ARRAY:
			put_array(writer, out, DatumGetArrayTypeP(value));
			break;
		case WRITE_COMPOSITE:
			put_composite(writer, out, DatumGetHeapTupleHeader(value));
			break;
		case WRITE_RANGE:
			put_range(writer, out, DatumGetRangeTypeP(value));
			break;
		case WRITE_OUTPUT:
			put_quoted_output(writer, out, value);
			break;
	}
}

/* Appends a value as plain text: what the input function reads. */
void
kv_put_bytes(JsonWriter *writer, StringInfo out, Datum value)
{
	switch (writer->kind)
	{
		case WRITE_BOOL:
			if (DatumGetBool(value))
				kv_put_text(out, "true", 4);
			else
				kv_put_text(out, "false", 5);
			break;
		case WRITE_INT2:
			kv_put_int64(out, DatumGetInt16(value));
			break;
		case WRITE_INT4:
			kv_put_int64(out, DatumGetInt32(value));
			break;
		case WRITE_INT8:
			kv_put_int64(out, DatumGetInt64(value));
			break;
		case WRITE_FLOAT4:
			kv_put_float4(out, DatumGetFloat4(value));
			break;
		case WRITE_FLOAT8:
			kv_put_float8(out, DatumGetFloat8(value));
			break;
		case WRITE_NUMERIC:
			kv_put_numeric(out, (Numeric) PG_DETOAST_DATUM_PACKED(value));
			break;
		case WRITE_TEXT:
		case WRITE_BYTEA:
		case WRITE_JSON:
			{
				struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

				kv_put_text(out, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
				break;
			}
		case WRITE_JSONB:
			{
				Jsonb	   *jsonb = DatumGetJsonbP(value);

				(void) JsonbToCString(out, &jsonb->root, VARSIZE(jsonb));
				break;
			}
		case WRITE_UUID:
			kv_put_uuid(out, DatumGetUUIDP(value));
			break;
		case WRITE_TIMESTAMPTZ:
			kv_put_timestamp(out, DatumGetTimestampTz(value), true);
			break;
		case WRITE_TIMESTAMP:
			kv_put_timestamp(out, DatumGetTimestamp(value), false);
			break;
		case WRITE_DATE:
			kv_put_date(out, DatumGetDateADT(value));
			break;
		case WRITE_INTERVAL:
			kv_put_interval(out, DatumGetIntervalP(value));
			break;
		default:
			appendStringInfoString(out, kv_scalar_output(&writer->output, value));
			break;
	}
}

/* Appends an integer as Java's serialisers do, big-endian. */
void
kv_put_kafka(JsonWriter *writer, StringInfo out, Datum value)
{
	if (writer->kind == WRITE_INT2)
		put_big_endian(out, (uint64) DatumGetInt16(value), 2);
	else if (writer->kind == WRITE_INT4)
		put_big_endian(out, (uint64) DatumGetInt32(value), 4);
	else
		put_big_endian(out, (uint64) DatumGetInt64(value), 8);
}

/* Appends the low bytes of an integer, highest first. */
static void
put_big_endian(StringInfo out, uint64 bits, int len)
{
	for (int shift = (len - 1) * 8; shift >= 0; shift -= 8)
		kv_put_char(out, (char) (bits >> shift));
}

/* Appends a float, quoted where JSON has no number for it. */
static void
put_float(StringInfo out, double value, bool is_float4)
{
	bool		quoted = isnan(value) || isinf(value);

	if (quoted)
		kv_put_char(out, '"');
	if (is_float4)
		kv_put_float4(out, (float) value);
	else
		kv_put_float8(out, value);
	if (quoted)
		kv_put_char(out, '"');
}

/* Says whether a byte cannot stand in a JSON string as it is. */
static inline bool
needs_escape(unsigned char c)
{
	return c < 0x20 || c == '"' || c == '\\';
}

/* Says whether any of eight bytes needs an escape (may say yes too often, never no). */
static inline bool
word_needs_escape(uint64 word)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 high = UINT64CONST(0x8080808080808080);
	uint64		quote = word ^ (ones * '"');
	uint64		slash = word ^ (ones * '\\');

	return (((word - ones * 0x20) | (quote - ones) | (slash - ones)) & ~word & high) != 0;
}

/* Appends a JSON string: whole runs that need no escape are copied at once. */
void
kv_put_json_string(StringInfo out, const char *text, size_t len)
{
	const char *end = text + len;

	kv_reserve(out, len + 3);
	kv_put_char(out, '"');
	while (text < end)
	{
		const char *run = text;
		unsigned char c;

		while (end - text >= 8)
		{
			uint64		word;

			memcpy(&word, text, sizeof(word));
			if (word_needs_escape(word))
				break;
			text += 8;
		}
		while (text < end && !needs_escape(*text))
			text++;
		kv_put_text(out, run, text - run);
		if (text == end)
			break;
		c = *text++;
		switch (c)
		{
			case '"':
				kv_put_text(out, "\\\"", 2);
				break;
			case '\\':
				kv_put_text(out, "\\\\", 2);
				break;
			case '\n':
				kv_put_text(out, "\\n", 2);
				break;
			case '\r':
				kv_put_text(out, "\\r", 2);
				break;
			case '\t':
				kv_put_text(out, "\\t", 2);
				break;
			default:
				appendStringInfo(out, "\\u%04x", c);
				break;
		}
	}
	kv_put_char(out, '"');
}

/* Appends what the output function says, as a string. */
static void
put_quoted_output(JsonWriter *writer, StringInfo out, Datum value)
{
	char	   *text = kv_scalar_output(&writer->output, value);

	kv_put_json_string(out, text, strlen(text));
	pfree(text);
}

/* Appends an array, arrays of arrays for several dimensions. */
static void
put_array(JsonWriter *writer, StringInfo out, ArrayType *array)
{
	Datum	   *values;
	bool	   *nulls;
	int			count;
	int			at = 0;

	if (ARR_NDIM(array) == 0)
	{
		kv_put_text(out, "[]", 2);
		return;
	}
	deconstruct_array(array, ARR_ELEMTYPE(array), writer->element_len, writer->element_by_value, writer->element_align,
					  &values, &nulls, &count);
	put_dimension(writer, out, ARR_DIMS(array), ARR_NDIM(array), values, nulls, &at);
}

/* Appends one array of the outermost dimension given. */
static void
put_dimension(JsonWriter *writer, StringInfo out, const int *dims, int ndims,
			  const Datum *values, const bool *nulls, int *at)
{
	kv_put_char(out, '[');
	for (int i = 0; i < dims[0]; i++)
	{
		if (i > 0)
			kv_put_char(out, ',');
		if (ndims > 1)
			put_dimension(writer, out, dims + 1, ndims - 1, values, nulls, at);
		else if (nulls[*at])
		{
			kv_put_text(out, "null", 4);
			(*at)++;
		}
		else
			kv_put_json(writer->element, out, values[(*at)++]);
	}
	kv_put_char(out, ']');
}

/* Appends a row as an object. */
static void
put_composite(JsonWriter *writer, StringInfo out, HeapTupleHeader row)
{
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row),.t_data = row};
	Datum	   *values;
	bool	   *nulls;
	const char *comma = "";

	meet_row_type(writer, row);
	values = palloc(sizeof(Datum) * writer->desc->natts);
	nulls = palloc(sizeof(bool) * writer->desc->natts);
	heap_deform_tuple(&tuple, writer->desc, values, nulls);
	kv_put_char(out, '{');
	for (int i = 0; i < writer->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(writer->desc, i);

		if (att->attisdropped)
			continue;
		appendStringInfoString(out, comma);
		comma = ",";
		kv_put_json_string(out, NameStr(att->attname), strlen(NameStr(att->attname)));
		kv_put_char(out, ':');
		if (nulls[i])
			kv_put_text(out, "null", 4);
		else
			kv_put_json(writer->attributes[i], out, values[i]);
	}
	kv_put_char(out, '}');
}

/* Makes the writers of a row type; a column of type record may meet several. */
static void
meet_row_type(JsonWriter *writer, HeapTupleHeader row)
{
	Oid			type = HeapTupleHeaderGetTypeId(row);
	int32		typmod = HeapTupleHeaderGetTypMod(row);
	MemoryContext old;

	if (writer->desc != NULL && writer->desc->tdtypeid == type && writer->desc->tdtypmod == typmod)
		return;
	old = MemoryContextSwitchTo(writer->context);
	writer->desc = lookup_rowtype_tupdesc_copy(type, typmod);
	writer->desc->tdtypeid = type;
	writer->desc->tdtypmod = typmod;
	writer->attributes = palloc0(sizeof(JsonWriter *) * writer->desc->natts);
	for (int i = 0; i < writer->desc->natts; i++)
		if (!TupleDescAttr(writer->desc, i)->attisdropped)
			writer->attributes[i] = kv_writer_make(writer->context, TupleDescAttr(writer->desc, i)->atttypid);
	MemoryContextSwitchTo(old);
}

/* Appends one end of a range. */
static void
put_bound(JsonWriter *writer, StringInfo out, const char *name, const RangeBound *bound)
{
	appendStringInfoString(out, name);
	if (bound->infinite)
		kv_put_text(out, "null", 4);
	else
		kv_put_json(writer->element, out, bound->val);
}

/* Appends {"start":..,"end":..}, with "bounds" where they are not [start, end); the empty range as "empty". */
static void
put_range(JsonWriter *writer, StringInfo out, RangeType *range)
{
	RangeBound	lower,
				upper;
	bool		empty;

	range_deserialize(writer->range, range, &lower, &upper, &empty);
	if (empty)
	{
		kv_put_text(out, "\"empty\"", 7);
		return;
	}
	put_bound(writer, out, "{\"start\":", &lower);
	put_bound(writer, out, ",\"end\":", &upper);
	if ((!lower.infinite && !lower.inclusive) || (!upper.infinite && upper.inclusive))
		appendStringInfo(out, ",\"bounds\":\"%c%c\"", lower.inclusive || lower.infinite ? '[' : '(',
						 upper.inclusive ? ']' : ')');
	kv_put_char(out, '}');
}
