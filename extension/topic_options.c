/*-------------------------------------------------------------------------
 * topic_options.c
 *	  The words of options: the validator, and how their values are read.
 *
 * Why it exists: the validator is called before an option is stored, with the
 * options of one catalog object and nothing else. It checks names, values and
 * combinations within a column; what needs the whole table is topic.c's.
 *
 * Invariant: the functions that read a value for topic.c are those that checked it
 * here, so a stored option can be read, and no setting of a session changes its meaning.
 *-------------------------------------------------------------------------
 */
#include "topic_options.h"

#include "access/reloptions.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "client_options.h"
#include "commands/defrem.h"
#include "utils/builtins.h"

/* Longest name a broker accepts. */
#define TOPIC_NAME_LIMIT 249

#define LATER (-1)

const OptionWord kv_format_words[] = {
	{"json", FORMAT_JSON}, {"text", FORMAT_TEXT}, {"bytea", FORMAT_BYTEA},
	{"avro", LATER}, {"protobuf", LATER}, {"csv", LATER}, {NULL}
};
const OptionWord kv_key_format_words[] = {{"text", KEY_TEXT}, {"json", KEY_JSON}, {"kafka", KEY_KAFKA}, {NULL}};
const OptionWord kv_mode_words[] = {{"append", MODE_APPEND}, {"upsert", MODE_UPSERT}, {NULL}};
const OptionWord kv_on_error_words[] = {
	{"dead_letter", ON_ERROR_DEAD_LETTER}, {"skip", ON_ERROR_SKIP}, {"stop", ON_ERROR_STOP}, {NULL}
};
const OptionWord kv_metadata_words[] = {
	{"partition", COLUMN_PARTITION}, {"offset", COLUMN_OFFSET}, {"timestamp", COLUMN_TIMESTAMP},
	{"key", COLUMN_RAW_KEY}, {"value", COLUMN_RAW_VALUE}, {"headers", COLUMN_HEADERS}, {NULL}
};

/* An option of a table or a column, by the catalog it may stand in. */
typedef struct TopicOption
{
	const char *name;
	Oid			catalog;
	const OptionWord *words;	/* NULL: free text */
	bool		later;			/* known, not supported */
} TopicOption;

static const TopicOption topic_options[] = {
	{"topic", ForeignTableRelationId},
	{"format", ForeignTableRelationId, kv_format_words},
	{"key_format", ForeignTableRelationId, kv_key_format_words},
	{"mode", ForeignTableRelationId, kv_mode_words},
	{"event_time", ForeignTableRelationId},
	{"start", ForeignTableRelationId},
	{"on_error", ForeignTableRelationId, kv_on_error_words},
	{"envelope", ForeignTableRelationId, NULL, true},
	{"registry", ForeignTableRelationId, NULL, true},
	{"key", AttributeRelationId},
	{"path", AttributeRelationId},
	{"metadata", AttributeRelationId, kv_metadata_words},
	{NULL}
};

static void check_client_options(List *options, Oid catalog);
static void check_topic_options(List *options, Oid catalog);
static void raise_unknown_option(const char *name, Oid catalog);
static void check_topic_option(const TopicOption *option, DefElem *def);
static void check_topic_name(const char *topic);
static bool is_absolute_time(const char *value);

PG_FUNCTION_INFO_V1(kafka_fdw_validator);

/* Checks the options of one catalog object, before they are stored. */
Datum
kafka_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);

	if (catalog == ForeignServerRelationId || catalog == UserMappingRelationId)
		check_client_options(options, catalog);
	else
		check_topic_options(options, catalog);
	PG_RETURN_VOID();
}

/* Options of servers and user mappings are librdkafka's properties. */
static void
check_client_options(List *options, Oid catalog)
{
	List	   *names = NIL;
	bool		has_brokers = false;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst_node(DefElem, cell);
		const char *name = kv_client_check_option(def->defname, defGetString(def), catalog == UserMappingRelationId);
		ListCell   *other;

		foreach(other, names)
		{
			if (strcmp(lfirst(other), name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_SYNTAX_ERROR),
						 errmsg("property \"%s\" is given twice", name),
						 errhint("An underscore in an option's name stands for a dot.")));
		}
		names = lappend(names, (void *) name);
		has_brokers |= strcmp(name, "bootstrap.servers") == 0 || strcmp(name, "metadata.broker.list") == 0;
	}
	if (catalog == ForeignServerRelationId && !has_brokers)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"bootstrap_servers\" is missing"),
				 errhint("Write OPTIONS (bootstrap_servers 'host:9092').")));
}

/* Options of tables and columns are ours. */
static void
check_topic_options(List *options, Oid catalog)
{
	bool		has_topic = false;
	const char *column_source = NULL;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst_node(DefElem, cell);
		const TopicOption *option = topic_options;

		while (option->name != NULL &&
			   (option->catalog != catalog || strcmp(option->name, def->defname) != 0))
			option++;
		if (option->name == NULL)
			raise_unknown_option(def->defname, catalog);
		check_topic_option(option, def);
		has_topic |= strcmp(option->name, "topic") == 0;
		if (strcmp(option->name, "metadata") == 0)
			column_source = "metadata";
	}
	if (column_source != NULL && list_length(options) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"metadata\" cannot stand beside \"key\" or \"path\""),
				 errdetail("A metadata column comes from the record itself, not from its key or value."),
				 errhint("Use two columns.")));
	if (catalog == ForeignTableRelationId && !has_topic)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"topic\" is missing"),
				 errhint("Write OPTIONS (topic 'name of the topic').")));
}

static void
raise_unknown_option(const char *name, Oid catalog)
{
	NearestName match = {name};
	const char *hint = "A foreign data wrapper of kafka_views has no options; a server has.";

	for (const TopicOption *option = topic_options; option->name != NULL; option++)
	{
		if (option->catalog == catalog && !option->later)
			kv_nearest_consider(&match, option->name);
	}
	if (match.nearest != NULL)
		hint = psprintf("Perhaps you meant the option \"%s\".", match.nearest);
	else if (catalog == ForeignTableRelationId)
		hint = "Options of a topic are topic, format, key_format, mode, event_time, start and on_error.";
	else if (catalog == AttributeRelationId)
		hint = "Options of a column are key, path and metadata.";
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("option \"%s\" is unknown", name),
			 errhint("%s", hint)));
}

static void
check_topic_option(const TopicOption *option, DefElem *def)
{
	const char *value = defGetString(def);
	int64		time_ms;

	if (option->later)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("option \"%s\" is not supported", option->name),
				 errdetail("This release reads JSON, text and bytea without an envelope or a registry."),
				 errhint("Leave the option out.")));
	if (option->words != NULL)
		kv_option_word(option->name, option->words, value);
	else if (strcmp(option->name, "topic") == 0)
		check_topic_name(value);
	else if (strcmp(option->name, "start") == 0)
		kv_option_start(value, &time_ms);
	else if (strcmp(option->name, "path") == 0)
		kv_option_path(value);
	else if (strcmp(option->name, "key") == 0)
		defGetBoolean(def);
}

/* Gives back the enum value of a word; raises an error for another one. */
int
kv_option_word(const char *option, const OptionWord *words, const char *value)
{
	StringInfoData known;

	initStringInfo(&known);
	for (; words->word != NULL; words++)
	{
		if (strcmp(words->word, value) != 0)
		{
			if (words->value != LATER)
				appendStringInfo(&known, "%s%s", known.len > 0 ? ", " : "", words->word);
			continue;
		}
		if (words->value == LATER)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s \"%s\" is not supported", option, value),
					 errdetail("This release reads and writes JSON, text and bytea."),
					 errhint("With format 'bytea' the payload is given as it is.")));
		return words->value;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", option, value),
			 errhint("Valid values are %s.", known.data)));
}

static void
check_topic_name(const char *topic)
{
	size_t		len = strlen(topic);

	if (len == 0 || len > TOPIC_NAME_LIMIT || strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0 ||
		strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid name of a topic: \"%s\"", topic),
				 errhint("Kafka allows letters, digits, \".\", \"_\" and \"-\", %d at most.", TOPIC_NAME_LIMIT)));
}

/* Reads the option start; *time_ms is set with START_TIME. */
TopicStart
kv_option_start(const char *value, int64 *time_ms)
{
	TimestampTz time;

	*time_ms = 0;
	if (strcmp(value, "earliest") == 0)
		return START_EARLIEST;
	if (strcmp(value, "latest") == 0)
		return START_LATEST;
	if (!is_absolute_time(value))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"start\": \"%s\"", value),
				 errdetail("A timestamp without a time zone would mean something else in another session."),
				 errhint("Write earliest, latest or a timestamp with its zone, such as 2026-01-31T00:00:00Z.")));
	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(value),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	*time_ms = time / 1000 + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000);
	return START_TIME;
}

/* Does the text begin with a year and end with Z or a numeric zone, so that no setting changes its meaning? */
static bool
is_absolute_time(const char *value)
{
	const char *digits = "0123456789";
	size_t		len = strlen(value);
	const char *sign = strpbrk(value, ":");

	if (strspn(value, digits) != 4 || value[4] != '-' || sign == NULL)
		return false;
	if (value[len - 1] == 'Z' || value[len - 1] == 'z')
		return true;
	sign = strpbrk(sign, "+-");
	return sign != NULL && strspn(sign + 1, digits) >= 2 && strspn(sign + 1, "0123456789:") == strlen(sign + 1);
}

/* Splits a path at its dots; NIL for $, the whole value. */
List *
kv_option_path(const char *value)
{
	List	   *path = NIL;
	const char *step = value;

	if (strcmp(value, "$") == 0)
		return NIL;
	while (true)
	{
		size_t		len = strcspn(step, ".");

		if (len == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
					 errmsg("invalid path: \"%s\"", value),
					 errhint("A path is names with dots between them, such as customer.address.city, or $ for the whole value.")));
		path = lappend(path, pnstrdup(step, len));
		if (step[len] == '\0')
			return path;
		step += len + 1;
	}
}
