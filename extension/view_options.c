/*
 * view_options.c: WITH (kafka.*) of a continuous view, and the settings that are
 * captured with it.
 *
 * Invariant: an option is checked when it is given and means the same when it is
 * read back from kafka_state.view, because both go through apply_option. None is
 * accepted without effect.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "commands/defrem.h"
#include "common/int.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "view_options.h"

/* Settings on which the text, the names or the values of a query can depend (DESIGN.md 1.3). */
static const char *const captured_settings[] = {
	"search_path", "TimeZone", "DateStyle", "IntervalStyle", "lc_monetary", "lc_numeric", "lc_time",
	"bytea_output", "extra_float_digits", "default_text_search_config", "timezone_abbreviations", "array_nulls",
	"quote_all_identifiers", "xmlbinary", "xmloption"
};

/* As long as a bound of a join may be: subtracted from a time of a record (format.c) these all are times. */
#define LONGEST_DAYS 366000

/* Stored where no grace was given: kafka.default_grace of then. Not an option: who gives none has not asked windows to close. */
#define RESOLVED_GRACE "default_grace"

static const char *const option_names[] = {
	"continuous", "emit", "grace", "event_time", "pipeline", "bootstrap", "start", "retention", "bound"
};

static void apply_option(ContinuousOptions *options, const char *name, const char *value);
static void refuse_unknown(const char *name);
static bool parse_flag(const char *name, const char *value);
static int64 parse_duration(const char *name, const char *value);
static char *parse_start(const char *value);


/* Tells whether an option stands in our namespace. */
bool
kv_has_view_options(List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (option->defnamespace != NULL && strcmp(option->defnamespace, KV_OPTION_NAMESPACE) == 0)
			return true;
	}
	return false;
}

/* Reads and checks the options of a statement; see the header. */
ContinuousOptions *
kv_view_options_from_list(List *list, const char *view_name, ArrayType **given, List **others)
{
	ContinuousOptions *options = palloc0(sizeof(ContinuousOptions));
	Datum	   *texts = palloc(sizeof(Datum) * (list_length(list) + 1));
	int			count = 0;
	bool		continuous = false;
	List	   *seen = NIL;
	ListCell   *cell;

	options->grace_us = options->retention_us = options->bound_us = -1;
	options->bootstrap = true;
	*others = NIL;
	foreach(cell, list)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		char	   *value;

		if (option->defnamespace == NULL || strcmp(option->defnamespace, KV_OPTION_NAMESPACE) != 0)
		{
			*others = lappend(*others, option);
			continue;
		}
		if (list_member(seen, makeString(option->defname)))
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("option \"kafka.%s\" is given twice", option->defname)));
		seen = lappend(seen, makeString(option->defname));
		value = option->arg == NULL ? pstrdup("true") : defGetString(option);
		if (strcmp(option->defname, "continuous") == 0)
		{
			continuous = parse_flag(option->defname, value);
			continue;
		}
		apply_option(options, option->defname, value);
		if (strcmp(option->defname, "start") == 0)
			value = options->start;
		texts[count++] = CStringGetTextDatum(psprintf("%s=%s", option->defname, value));
	}
	if (!options->bound_given && kv_default_bound_ms >= 0)
		options->bound_us = kv_default_bound_ms * INT64CONST(1000);
	/* the default is resolved once: a later change of it must not change which rows are late */
	if (options->grace_us < 0)
	{
		options->grace_us = kv_default_grace_ms * INT64CONST(1000);
		texts[count++] = CStringGetTextDatum(psprintf(RESOLVED_GRACE "=%dms", kv_default_grace_ms));
	}
	if (!continuous)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("view \"%s\" has options of a continuous view, but is none", view_name),
				 errhint("Add kafka.continuous to WITH, or leave the other options out.")));
	*given = construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT);
	return options;
}

/* Reads the options back as they are stored. */
ContinuousOptions *
kv_view_options_from_array(ArrayType *array)
{
	ContinuousOptions *options = palloc0(sizeof(ContinuousOptions));
	Datum	   *elements;
	bool	   *isnull;
	int			count;

	options->grace_us = options->retention_us = options->bound_us = -1;
	options->bootstrap = true;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &isnull, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *pair = TextDatumGetCString(elements[i]);
		char	   *equals = strchr(pair, '=');

		if (equals == NULL)
			elog(ERROR, "stored option \"%s\" has no value", pair);
		*equals = '\0';
		if (strcmp(pair, RESOLVED_GRACE) == 0)
			options->grace_us = parse_duration(pair, equals + 1);
		else
			apply_option(options, pair, equals + 1);
	}
	return options;
}

/* Checks one option and puts it into its field. */
static void
apply_option(ContinuousOptions *options, const char *name, const char *value)
{
	if (strcmp(name, "grace") == 0)
	{
		options->grace_us = parse_duration(name, value);
		options->grace_given = true;
	}
	else if (strcmp(name, "bound") == 0)
	{
		options->bound_us = parse_duration(name, value);
		options->bound_given = true;
	}
	else if (strcmp(name, "event_time") == 0)
		options->event_time = pstrdup(value);
	else if (strcmp(name, "pipeline") == 0)
	{
		if (value[0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"kafka.pipeline\" needs a name")));
		options->pipeline = pstrdup(value);
	}
	else if (strcmp(name, "bootstrap") == 0)
		options->bootstrap = parse_flag(name, value);
	else if (strcmp(name, "start") == 0)
		options->start = parse_start(value);
	else if (strcmp(name, "emit") == 0)
	{
		options->final = strcmp(value, "final") == 0;
		if (!options->final && strcmp(value, "changes") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"kafka.emit\" cannot be \"%s\"", value),
					 errhint("It is changes or final.")));
	}
	else if (strcmp(name, "retention") == 0)
		options->retention_us = parse_duration(name, value);
	else
		refuse_unknown(name);
}

/* Raises the error for an unknown option, with the nearest name as hint. */
static void
refuse_unknown(const char *name)
{
	const char *closest = NULL;
	int			least = 4;		/* more edits than this are another word */

	for (int i = 0; i < lengthof(option_names); i++)
	{
		int			distance = varstr_levenshtein_less_equal(name, strlen(name), option_names[i],
															 strlen(option_names[i]), 1, 1, 1, least, true);

		if (distance < least)
		{
			least = distance;
			closest = option_names[i];
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"kafka.%s\" of a continuous view", name),
			 closest != NULL ? errhint("Perhaps you meant the option \"kafka.%s\".", closest) :
			 errhint("The options are continuous, emit, grace, retention, bound, event_time, pipeline, bootstrap and start.")));
}

static bool
parse_flag(const char *name, const char *value)
{
	bool		result;

	if (!parse_bool(value, &result))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"kafka.%s\" cannot be \"%s\"", name, value),
				 errhint("It is true or false.")));
	return result;
}

/* Reads an interval of a fixed length; gives microseconds. */
static int64
parse_duration(const char *name, const char *value)
{
	Interval   *interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(value),
																 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	int64		result;

	if (interval->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"kafka.%s\" cannot be \"%s\"", name, value),
				 errdetail("Months and years have no fixed length."),
				 errhint("Give it in days or shorter units.")));
	if (pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &result) ||
		pg_add_s64_overflow(result, interval->time, &result) || result < 0 || result > LONGEST_DAYS * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"kafka.%s\" cannot be \"%s\"", name, value),
				 errhint("It is an interval of 0 to %d days.", LONGEST_DAYS)));
	return result;
}

/* Checks a place to start from: earliest, latest or a timestamp, which is given back in UTC for every DateStyle. */
static char *
parse_start(const char *value)
{
	struct pg_tm tm;
	fsec_t		fsec;
	char		text[MAXDATELEN + 1];
	TimestampTz time;

	if (strcmp(value, "earliest") == 0 || strcmp(value, "latest") == 0)
		return pstrdup(value);

	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(value),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"kafka.start\" cannot be \"%s\"", value),
				 errhint("It is earliest, latest or a timestamp.")));
	EncodeDateTime(&tm, fsec, true, 0, NULL, USE_ISO_DATES, text);
	return pstrdup(text);
}

/* Captures the settings of this session that a view's result may depend on. */
ArrayType *
kv_capture_settings(void)
{
	Datum		texts[lengthof(captured_settings)];

	for (int i = 0; i < lengthof(captured_settings); i++)
	{
		const char *value = GetConfigOption(captured_settings[i], false, false);

		texts[i] = CStringGetTextDatum(psprintf("%s=%s", captured_settings[i], value));
	}
	return construct_array(texts, lengthof(captured_settings), TEXTOID, -1, false, TYPALIGN_INT);
}
