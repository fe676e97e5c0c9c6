/*
 * topic.h: options of a foreign table and its columns, checked once and kept as
 * a TopicDef, the only form in which the rest of the code knows a topic.
 */
#ifndef KV_TOPIC_H
#define KV_TOPIC_H

#include "kafka_views.h"
#include "access/tupdesc.h"
#include "topic_options.h"

typedef struct TopicColumn
{
	AttrNumber	attno;
	char	   *name;			/* of the column */
	Oid			type;
	int32		typmod;
	Oid			collation;
	ColumnSource source;
	bool		is_key;
	int			key_index;		/* place among the key columns, from 0; -1 */
	List	   *path;			/* of char *: steps from the root; NIL is the whole value ($) */
} TopicColumn;

typedef struct TopicDef
{
	/* who */
	Oid			relid;
	Oid			serverid;
	char	   *server_name;
	int			max_message_bytes;	/* that the server's producers take */
	char	   *relation_name;	/* qualified, for messages */
	char	   *topic;
	/* nature */
	TopicMode	mode;
	TopicFormat format;
	TopicKeyFormat key_format;
	TopicOnError on_error;
	TopicStart	start;
	int64		start_time_ms;	/* Unix ms, with START_TIME */
	AttrNumber	time_attno;		/* event-time column; 0: the record's timestamp */
	AttrNumber	timestamp_attno;	/* first column with metadata 'timestamp'; 0: none */
	/* plan */
	TupleDesc	desc;			/* of the foreign table */
	int			ncolumns;		/* not counting dropped ones */
	TopicColumn *columns;
	int			nkeys;
	int		   *keys;			/* indexes into columns, in key order */
} TopicDef;

/*
 * The definition of a foreign table of our wrapper, cached until the relation,
 * its server or its columns change; valid until the next call after CommandCounterIncrement
 * or the end of the transaction. Raises ERRCODE_WRONG_OBJECT_TYPE for another relation.
 */
extern TopicDef *kv_topic_get(Oid relid);
extern TopicDef *kv_topic_copy(MemoryContext context, const TopicDef *topic);
/* The topic's name alone, palloc'd, as it is committed: nobody who changes or drops the table is waited for. */
extern char *kv_topic_name(Oid relid);
/* Is it a foreign table of our wrapper? Raises nothing. */
extern bool kv_topic_is(Oid relid);
/*
 * Checks the options of a foreign table against each other, after CREATE and
 * ALTER FOREIGN TABLE; what a later ALTER may add (a key, as pg_dump does) is not missed.
 */
extern void kv_topic_check(Oid relid);
extern int	kv_topic_column_index(const TopicDef *topic, AttrNumber attno);	/* -1: dropped or none */

#endif							/* KV_TOPIC_H */
