/*
 * topic_options.h: what the options of topics and columns may say, and how their
 * values are read. Part of the room topic.c.
 */
#ifndef KV_TOPIC_OPTIONS_H
#define KV_TOPIC_OPTIONS_H

#include "kafka_views.h"
#include "nodes/pg_list.h"

typedef enum TopicFormat
{
	FORMAT_JSON, FORMAT_TEXT, FORMAT_BYTEA
} TopicFormat;

typedef enum TopicKeyFormat
{
	KEY_TEXT, KEY_JSON, KEY_KAFKA
} TopicKeyFormat;

typedef enum TopicMode
{
	MODE_APPEND,				/* a stream of facts */
	MODE_UPSERT					/* a table: the last value per key, null deletes */
} TopicMode;

typedef enum TopicOnError
{
	ON_ERROR_DEAD_LETTER, ON_ERROR_SKIP, ON_ERROR_STOP
} TopicOnError;

typedef enum TopicStart
{
	START_EARLIEST, START_LATEST, START_TIME
} TopicStart;

typedef enum ColumnSource
{
	COLUMN_VALUE,				/* from the value, at path */
	COLUMN_KEY,					/* from the record key (key 'true' without a path) */
	COLUMN_KEY_IN_VALUE,		/* key 'true' with a path: read from the value, written to both */
	COLUMN_PARTITION, COLUMN_OFFSET, COLUMN_TIMESTAMP, COLUMN_RAW_KEY, COLUMN_RAW_VALUE, COLUMN_HEADERS
} ColumnSource;

/* One word that an option may have as its value; lists end with a NULL word. */
typedef struct OptionWord
{
	const char *word;
	int			value;			/* of the option's enum; -1: known, not supported */
} OptionWord;

extern const OptionWord kv_format_words[];
extern const OptionWord kv_key_format_words[];
extern const OptionWord kv_mode_words[];
extern const OptionWord kv_on_error_words[];
extern const OptionWord kv_metadata_words[];

/* Gives back the enum value of a word; raises an error for another one. */
extern int	kv_option_word(const char *option, const OptionWord *words, const char *value);
/* Reads the option start; *time_ms is set with START_TIME. */
extern TopicStart kv_option_start(const char *value, int64 *time_ms);
/* Splits a path at its dots; NIL for $, the whole value. */
extern List *kv_option_path(const char *value);

#endif							/* KV_TOPIC_OPTIONS_H */
