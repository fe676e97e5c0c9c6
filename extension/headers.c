/*
 * headers.c: headers of records to jsonb, and jsonb to headers.
 *
 * Kafka allows any bytes and the same name twice; jsonb keeps the last of a name, and bytes
 * that are not text stand there as \x and hex digits.
 */
#include "headers.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "scalar_put.h"

/* Pushes a string that may not be text. */
static JsonbValue
header_text(const char *bytes, size_t len)
{
	JsonbValue	value;
	StringInfoData hex;

	value.type = jbvString;
	if (memchr(bytes, '\0', len) == NULL && pg_encoding_verifymbstr(GetDatabaseEncoding(), bytes, len) == len)
	{
		value.val.string.val = unconstify(char *, bytes);
		value.val.string.len = len;
		return value;
	}
	initStringInfo(&hex);
	appendStringInfoString(&hex, "\\x");
	kv_put_hex(&hex, bytes, len);
	value.val.string.val = hex.data;
	value.val.string.len = hex.len;
	return value;
}

/* Gives them as an object. */
Datum
kv_headers_jsonb(const rd_kafka_headers_t *headers)
{
	JsonbParseState *state = NULL;
	const char *name;
	const void *bytes;
	size_t		len;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &bytes, &len) == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
	{
		JsonbValue	key = header_text(name, strlen(name));
		JsonbValue	value = {.type = jbvNull};

		if (bytes != NULL)
			value = header_text(bytes, len);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* Packs {"name": "value", ...}. */
bytea *
kv_headers_pack(Jsonb *headers)
{
	StringInfoData out;
	JsonbIterator *iterator = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue	part;
	int16		count = 0;

	if (!JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers of a message must be a JSON object"),
				 errhint("Write them as {\"name\": \"value\"}.")));
	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	appendBinaryStringInfo(&out, (char *) &count, sizeof(count));
	while ((token = JsonbIteratorNext(&iterator, &part, true)) != WJB_DONE)
	{
		StringInfoData text;
		int16		name_len;
		int32		value_len = -1;

		if (token == WJB_KEY)
		{
			if (part.val.string.len > PG_INT16_MAX || count == PG_INT16_MAX)
				ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("headers of a message are too long")));
			name_len = part.val.string.len;
			appendBinaryStringInfo(&out, (char *) &name_len, sizeof(name_len));
			appendBinaryStringInfo(&out, part.val.string.val, name_len);
			count++;
		}
		if (token != WJB_VALUE)
			continue;
		initStringInfo(&text);
		if (part.type == jbvString)
			appendBinaryStringInfo(&text, part.val.string.val, part.val.string.len);
		else if (part.type != jbvNull)
		{
			Jsonb	   *inner = JsonbValueToJsonb(&part);

			(void) JsonbToCString(&text, &inner->root, VARSIZE(inner));
		}
		if (part.type != jbvNull)
			value_len = text.len;
		appendBinaryStringInfo(&out, (char *) &value_len, sizeof(value_len));
		appendBinaryStringInfo(&out, text.data, text.len);
		pfree(text.data);
	}
	memcpy(out.data + VARHDRSZ, &count, sizeof(count));
	SET_VARSIZE(out.data, out.len);
	return (bytea *) out.data;
}
