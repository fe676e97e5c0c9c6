/*
 * format.c: one record to one row, by a plan made once per topic and projection (decoder.c).
 *
 * Invariant: what is wrong with a record is a result (DECODE_BAD), never an error, so that its
 * neighbours live. Common types are converted without a chance of an error. Where a
 * type's input function must be asked, the rest of the row is converted inside one
 * subtransaction (a transaction if there is none), and only errors that a record can
 * be blamed for (DESIGN.md 2.6) become a result. Only there code of users runs: an input function, the CHECK of
 * a domain. A worker, which is superuser, does that as the owner of its pipeline.
 */
#include "format.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "run_sql.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/xml.h"

/*
 * Before this an event time is none, in us: 3700 years after the first of all times, some 1000 BC. From the times of records others are computed, by
 * subtracting how long rows are kept (join_graph.c, view_options.c), and where there is no such time neither a batch nor its end can be.
 */
#define EARLIEST_TIME (MIN_TIMESTAMP + INT64CONST(3700) * 36525 * (USECS_PER_DAY / 100))

TimestampTz kv_time_clock = 0;

static DecodeResult decode_part(Decoder *decoder, DecodePart *part, const char *what, const char *bytes, size_t len,
								Datum *values, bool *nulls, DecodeError *bad);
static ConvertResult convert_columns(Decoder *decoder, DecodePart *part, const char *bytes, size_t len, bool catching,
									 volatile int *at, Datum *values, bool *nulls, DecodeError *bad);
static ConvertResult convert_catching(Decoder *decoder, DecodePart *part, const char *bytes, size_t len,
									  volatile int *at, Datum *values, bool *nulls, DecodeError *bad);
static DecodeResult bad_record(DecodeError *bad, int sqlstate, const char *message, const char *detail);
static bool set_metadata(Decoder *decoder, const TopicRecord *record, Datum *values, bool *nulls, DecodeError *bad);
static bool set_raw(const TopicColumn *column, const char *bytes, size_t len, Datum *value, bool *isnull, DecodeError *bad);
static bool event_time(Decoder *decoder, int64 record_ms, Datum *values, bool *nulls, TimestampTz *time_us,
					   DecodeError *bad);
static TimestampTz time_of_ms(int64 ms);


/* Decodes one record. */
DecodeResult
kv_decode(Decoder *decoder, const TopicRecord *record, Datum *values, bool *nulls, TimestampTz *time_us,
		  DecodeError *bad)
{
	const TopicDef *topic = decoder->topic;
	DecodePart *key = record->value == NULL ? &decoder->deleted_key : &decoder->key;
	DecodeResult result = DECODE_ROW;
	const char *why;

	memset(nulls, true, decoder->natts * sizeof(bool));
	if (record->value == NULL && topic->mode == MODE_APPEND)
		return DECODE_NOTHING;
	if (record->key == NULL && topic->mode == MODE_UPSERT)
		return bad_record(bad, ERRCODE_NOT_NULL_VIOLATION, "record without a key",
						  "A table keeps the last value per key.");
	if (key->ncolumns > 0 && record->key != NULL)
		result = decode_part(decoder, key, "key", record->key, record->key_len, values, nulls, bad);
	if (result == DECODE_ROW && record->value != NULL)
		result = decode_part(decoder, &decoder->value, "value", record->value, record->value_len, values, nulls, bad);
	if (result != DECODE_ROW)
		return result;
	if (!set_metadata(decoder, record, values, nulls, bad))
		return DECODE_BAD;
	if (!event_time(decoder, record->timestamp_ms, record->value == NULL ? NULL : values, nulls, time_us, bad))
		return DECODE_BAD;
	if (kv_time_too_far(record->timestamp_ms, *time_us, &why))
		return bad_record(bad, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, "record from the future", why);
	if (decoder->time_index >= 0 && !decoder->time_wanted)
		nulls[decoder->time_index] = true;
	return record->value == NULL ? DECODE_DELETE : DECODE_ROW;
}

/* Decodes the value or the key; gives DECODE_ROW or DECODE_BAD. */
static DecodeResult
decode_part(Decoder *decoder, DecodePart *part, const char *what, const char *bytes, size_t len,
			Datum *values, bool *nulls, DecodeError *bad)
{
	volatile int at = 0;
	ConvertResult result;
	const char *column;

	if (part->is_json)
	{
		size_t		position;
		JsonFault	fault = kv_json_extract(kv_json_parser(), bytes, len, &part->root, part->fields, &position);

		if (fault == JSON_FINE && part->object_only && part->fields[0].kind != FIELD_OBJECT)
			fault = JSON_NOT_OBJECT;
		if (fault != JSON_FINE)
		{
			snprintf(bad->message, sizeof(bad->message), "could not read the %s of a record of %s", what,
					 decoder->topic->relation_name);
			if (position > 0)
				snprintf(bad->detail, sizeof(bad->detail), "%s The fault is at byte %zu of %zu.",
						 kv_json_fault_text(fault), position, len);
			else
				strlcpy(bad->detail, kv_json_fault_text(fault), sizeof(bad->detail));
			bad->sqlstate = fault == JSON_BAD_UTF8 ? ERRCODE_CHARACTER_NOT_IN_REPERTOIRE : ERRCODE_INVALID_TEXT_REPRESENTATION;
			return DECODE_BAD;
		}
	}
	result = convert_columns(decoder, part, bytes, len, false, &at, values, nulls, bad);
	if (result == CONVERT_CATCH)
		result = convert_catching(decoder, part, bytes, len, &at, values, nulls, bad);
	if (result != CONVERT_BAD)
		return DECODE_ROW;
	column = part->columns[at].column->name;
	snprintf(bad->message, sizeof(bad->message), "could not read column \"%s\" of %s from the %s", column,
			 decoder->topic->relation_name, what);
	return DECODE_BAD;
}

/* Converts columns from *at on; stops at the first that is bad or must be caught, with its number in *at. */
static ConvertResult
convert_columns(Decoder *decoder, DecodePart *part, const char *bytes, size_t len, bool catching,
				volatile int *at, Datum *values, bool *nulls, DecodeError *bad)
{
	bool		is_kafka = part != &decoder->value && decoder->topic->key_format == KEY_KAFKA;

	for (int i = *at; i < part->ncolumns; i++)
	{
		DecodeColumn *column = &part->columns[i];
		Datum	   *value = &values[column->index];
		ConvertResult result;

		*at = i;
		if (part->is_json)
		{
			const JsonField *field = &part->fields[column->slot];

			if (column->bare_slot >= 0 && part->fields[column->bare_slot].kind != FIELD_OBJECT)
				field = &part->fields[column->bare_slot];
			result = kv_convert_json(column->converter, field, catching, value, bad);
		}
		else if (is_kafka)
			result = kv_convert_kafka(column->converter, bytes, len, value, bad);
		else
			result = kv_convert_bytes(column->converter, bytes, len, catching, value, bad);
		if (result == CONVERT_BAD || result == CONVERT_CATCH)
			return result;
		nulls[column->index] = result == CONVERT_NULL;
	}
	return CONVERT_FINE;
}

/* Settings that input functions of times look at. */
typedef struct InputSettings
{
	pg_tz	   *zone;
	int			date_order;
	int			interval_style;
	int			xml_option;
	bool		array_nulls;
} InputSettings;

/*
 * Sets what a time without a zone means (UTC), the order of 1/2/2026 and the like, whoever reads: the same record
 * must be the same row in the worker and in every session. The variables behind the settings, because
 * this is for one call, and SET would cost more than the conversion.
 */
static InputSettings
fix_input_settings(void)
{
	static pg_tz *utc = NULL;
	InputSettings before = {session_timezone, DateOrder, IntervalStyle, xmloption, Array_nulls};

	if (utc == NULL)
		utc = pg_tzset("GMT");
	session_timezone = utc;
	DateOrder = DATEORDER_MDY;
	IntervalStyle = INTSTYLE_POSTGRES;
	xmloption = XMLOPTION_CONTENT;
	Array_nulls = true;
	return before;
}

static void
restore_input_settings(InputSettings before)
{
	session_timezone = before.zone;
	DateOrder = before.date_order;
	IntervalStyle = before.interval_style;
	xmloption = before.xml_option;
	Array_nulls = before.array_nulls;
}

/*
 * Goes on with input functions that may raise. The PG_TRY turns an error that the record is to
 * blame for into a bad record; without it one record would end the whole batch. The role ends with an
 * abort, of whichever transaction.
 */
static ConvertResult
convert_catching(Decoder *decoder, DecodePart *part, const char *bytes, size_t len,
				 volatile int *at, Datum *values, bool *nulls, DecodeError *bad)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		own_transaction = !IsTransactionState();
	/* a parallel plan allows no subtransactions: there the statement fails with the input function's error */
	bool		may_catch = !IsInParallelMode();
	volatile ConvertResult result = CONVERT_FINE;
	InputSettings before;
	KvSql		role;

	if (own_transaction)
		StartTransactionCommand();
	else if (may_catch)
		BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	before = fix_input_settings();
	PG_TRY();
	{
		if (OidIsValid(decoder->role))
			kv_sql_act_as(&role, decoder->role);
		result = convert_columns(decoder, part, bytes, len, true, at, values, nulls, bad);
		if (OidIsValid(decoder->role))
			kv_sql_act_as_before(&role);
		restore_input_settings(before);
		if (own_transaction)
			CommitTransactionCommand();
		else if (may_catch)
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		restore_input_settings(before);
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!may_catch || !kv_fault_of_record(error))
			PG_RE_THROW();
		FlushErrorState();
		if (own_transaction)
			AbortCurrentTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
		result = kv_convert_bad(bad, error->sqlerrcode, "%s%s%s", error->message, error->detail ? ": " : "",
								error->detail ? error->detail : "");
		MemoryContextSwitchTo(context);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return result;
}

/*
 * Tells whether an error is one that a record can be blamed for (DESIGN.md 2.6). Extensions call a value that their type cannot
 * read a syntax error, like one in a statement, which however has a place in its text.
 */
bool
kv_fault_of_record(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_SYNTAX_ERROR)
		return error->cursorpos == 0 && error->internalpos == 0;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case MAKE_SQLSTATE('2', '1', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '2', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('2', 'F', '0', '0', '0'):
		case MAKE_SQLSTATE('3', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('3', '9', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '4', '0', '0', '0'):
		case MAKE_SQLSTATE('P', '0', '0', '0', '0'):
			return true;
		default:
			return false;
	}
}

/* Notes what is wrong with a record as a whole. */
static DecodeResult
bad_record(DecodeError *bad, int sqlstate, const char *message, const char *detail)
{
	bad->sqlstate = sqlstate;
	strlcpy(bad->message, message, sizeof(bad->message));
	strlcpy(bad->detail, detail, sizeof(bad->detail));
	return DECODE_BAD;
}

/* Fills the metadata columns; false if one cannot hold its value. */
static bool
set_metadata(Decoder *decoder, const TopicRecord *record, Datum *values, bool *nulls, DecodeError *bad)
{
	for (int i = 0; i < decoder->nmetadata; i++)
	{
		const TopicColumn *column = decoder->metadata[i].column;
		int			at = decoder->metadata[i].index;

		nulls[at] = false;
		switch (column->source)
		{
			case COLUMN_PARTITION:
				values[at] = Int32GetDatum(record->partition);
				break;
			case COLUMN_OFFSET:
				values[at] = Int64GetDatum(record->offset);
				break;
			case COLUMN_TIMESTAMP:
				nulls[at] = record->timestamp_ms < 0;
				if (!nulls[at])
					values[at] = TimestampTzGetDatum(time_of_ms(record->timestamp_ms));
				break;
			case COLUMN_RAW_KEY:
				if (!set_raw(column, record->key, record->key_len, &values[at], &nulls[at], bad))
					return false;
				break;
			case COLUMN_RAW_VALUE:
				if (!set_raw(column, record->value, record->value_len, &values[at], &nulls[at], bad))
					return false;
				break;
			case COLUMN_HEADERS:
				values[at] = kv_record_headers(record, &nulls[at]);
				break;
			default:
				elog(ERROR, "unknown metadata column");
		}
	}
	return true;
}

/* Gives a key or value as it is, bytea or text. */
static bool
set_raw(const TopicColumn *column, const char *bytes, size_t len, Datum *value, bool *isnull, DecodeError *bad)
{
	*isnull = bytes == NULL;
	if (bytes == NULL)
		return true;
	if (column->type == TEXTOID &&
		(memchr(bytes, '\0', len) != NULL || pg_encoding_verifymbstr(GetDatabaseEncoding(), bytes, len) != len))
	{
		snprintf(bad->message, sizeof(bad->message), "could not read column \"%s\"", column->name);
		strlcpy(bad->detail, "Its bytes are not text of the database's encoding.", sizeof(bad->detail));
		bad->sqlstate = ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
		return false;
	}
	*value = PointerGetDatum(cstring_to_text_with_len(bytes, len));
	return true;
}

/* Finds the row's event time; false if it has none that can be used. A deletion (values NULL) has its record's. */
static bool
event_time(Decoder *decoder, int64 record_ms, Datum *values, bool *nulls, TimestampTz *time_us, DecodeError *bad)
{
	int			index = values == NULL ? -1 : decoder->time_index;

	if (index < 0)
	{
		if (record_ms < 0)
		{
			bad_record(bad, ERRCODE_NULL_VALUE_NOT_ALLOWED, "record without a timestamp",
					   "The topic has no event_time column, and the record has no timestamp.");
			return false;
		}
		*time_us = time_of_ms(record_ms);
	}
	else if (nulls[index])
		*time_us = DT_NOEND;
	else
		*time_us = DatumGetTimestampTz(values[index]);
	if (!TIMESTAMP_NOT_FINITE(*time_us) && IS_VALID_TIMESTAMP(*time_us) && *time_us >= EARLIEST_TIME)
		return true;
	snprintf(bad->message, sizeof(bad->message), "record of %s without an event time", decoder->topic->relation_name);
	snprintf(bad->detail, sizeof(bad->detail), "Its event time is %s.",
			 index >= 0 && nulls[index] ? "null" : "infinite or out of range");
	bad->sqlstate = ERRCODE_NULL_VALUE_NOT_ALLOWED;
	return false;
}

/* Gives a Kafka timestamp in Postgres' epoch; DT_NOEND where it lies outside. */
static TimestampTz
time_of_ms(int64 ms)
{
	const int64 epoch_ms = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;

	if (ms > END_TIMESTAMP / 1000 || ms < MIN_TIMESTAMP / 1000 + epoch_ms)
		return DT_NOEND;
	return (ms - epoch_ms) * 1000;
}

/* Says whether a record is too far ahead; the clock is asked only when the last answer does not do. */
bool
kv_time_too_far(int64 record_timestamp_ms, TimestampTz event_time, const char **why)
{
	static TimestampTz answer = 0;
	TimestampTz clock = kv_time_clock != 0 ? kv_time_clock : answer;
	int64		ahead_us = (int64) kv_max_ahead_ms * 1000;
	TimestampTz record = record_timestamp_ms < 0 ? 0 : time_of_ms(record_timestamp_ms);
	TimestampTz limit = record_timestamp_ms < 0 ? event_time : record;

	if (kv_time_clock == DT_NOEND)
		return false;
	if (limit > clock + ahead_us && kv_time_clock == 0)
		clock = answer = GetCurrentTimestamp();
	if (limit > clock + ahead_us)
	{
		*why = record_timestamp_ms < 0 ? "Its event time is more than kafka.max_ahead after the clock." :
			"Its timestamp is more than kafka.max_ahead after the clock.";
		return true;
	}
	if (record_timestamp_ms >= 0 && event_time > record && event_time - record > ahead_us)
	{
		*why = "Its event time is more than kafka.max_ahead after its timestamp.";
		return true;
	}
	return false;
}
