/*
 * encode.c: one row to the key and value of a message, by a plan made once per topic
 * and row type.
 *
 * The plan of a JSON value is a list of steps, each a piece of constant text
 * ({"order":{"id":) and a column behind it: every column is always written, null as
 * null, so names, braces and commas are known when the plan is made.
 *
 * Invariant: what is encoded here, format.c decodes to the same row. A column of the row
 * that has another type than the topic's is assigned to it first, as INSERT would.
 */
#include "encode.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "headers.h"
#include "json_put.h"
#include "scalar_put.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

typedef struct EncodeColumn
{
	const TopicColumn *column;
	int			index;			/* in the row */
	bool		by_value;
	int16		len;
	JsonWriter *writer;
	ExprState  *assign;			/* to the topic's type; NULL: as it is */
} EncodeColumn;

/* A piece of text, then a column (NULL at the end). */
typedef struct EncodeStep
{
	const char *text;
	int			len;
	EncodeColumn *column;
} EncodeStep;

/* Steps under way. */
typedef struct StepList
{
	StringInfoData text;
	EncodeStep *steps;
	int			count;
} StepList;

struct Encoder
{
	const TopicDef *topic;
	ExprContext *econtext;		/* for assignments */
	EncodeColumn *columns;		/* parallel to topic->columns; column NULL: not written */
	EncodeColumn **keys;
	EncodeStep *value_steps;	/* JSON value */
	EncodeStep *key_steps;		/* JSON key of several columns */
	EncodeColumn *whole;		/* text or bytea value */
	EncodeColumn *time;			/* event time or metadata timestamp */
	EncodeColumn *headers;
};

static void plan_column(Encoder *encoder, EncodeColumn *target, const TopicColumn *column, TupleDesc desc);
static ExprState *plan_assignment(Encoder *encoder, const TopicColumn *column, Form_pg_attribute att);
static EncodeStep *plan_value(Encoder *encoder);
static void plan_object(Encoder *encoder, StepList *list, List *members, int depth);
static EncodeStep *plan_key(Encoder *encoder);
static void put_name(StringInfo out, const char *name);
static void add_step(StepList *list, EncodeColumn *column);
static Datum column_value(Encoder *encoder, EncodeColumn *column, const Datum *values, const bool *nulls, bool *isnull);
static void run_steps(Encoder *encoder, const EncodeStep *steps, StringInfo out, const Datum *values, const bool *nulls);
static bool put_key(Encoder *encoder, StringInfo key, const Datum *values, const bool *nulls);
static void finish_text(StringInfo out, int from);

/* Makes an encoder. */
Encoder *
kv_encoder_make(MemoryContext context, const TopicDef *topic, TupleDesc desc)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Encoder    *encoder = palloc0(sizeof(Encoder));
	int			time_index;

	topic = encoder->topic = kv_topic_copy(context, topic);
	encoder->econtext = CreateStandaloneExprContext();
	encoder->columns = palloc0(sizeof(EncodeColumn) * Max(topic->ncolumns, 1));
	encoder->keys = palloc0(sizeof(EncodeColumn *) * Max(topic->nkeys, 1));
	for (int i = 0; i < topic->ncolumns; i++)
	{
		const TopicColumn *column = &topic->columns[i];

		if (column->source != COLUMN_PARTITION && column->source != COLUMN_OFFSET &&
			column->source != COLUMN_RAW_KEY && column->source != COLUMN_RAW_VALUE)
			plan_column(encoder, &encoder->columns[i], column, desc);
		if (column->source == COLUMN_HEADERS && encoder->columns[i].column != NULL)
			encoder->headers = &encoder->columns[i];
		if (column->source == COLUMN_VALUE && topic->format != FORMAT_JSON)
			encoder->whole = &encoder->columns[i];
	}
	for (int i = 0; i < topic->nkeys; i++)
		encoder->keys[i] = &encoder->columns[topic->keys[i]];
	time_index = topic->timestamp_attno > 0 ? kv_topic_column_index(topic, topic->timestamp_attno) : -1;
	if (time_index < 0 || encoder->columns[time_index].column == NULL)
		time_index = topic->time_attno > 0 ? kv_topic_column_index(topic, topic->time_attno) : -1;
	if (time_index >= 0 && encoder->columns[time_index].column != NULL)
		encoder->time = &encoder->columns[time_index];
	if (topic->format == FORMAT_JSON)
		encoder->value_steps = plan_value(encoder);
	if (topic->key_format == KEY_JSON && topic->nkeys > 1)
		encoder->key_steps = plan_key(encoder);
	MemoryContextSwitchTo(old);
	return encoder;
}

/* Finds a topic column in the row, which may lack only metadata. */
static void
plan_column(Encoder *encoder, EncodeColumn *target, const TopicColumn *column, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), column->name) != 0)
			continue;
		target->column = column;
		target->index = i;
		target->by_value = att->attbyval;
		target->len = att->attlen;
		target->assign = plan_assignment(encoder, column, att);
		target->writer = kv_writer_make(CurrentMemoryContext, column->type);
		return;
	}
	if (column->source < COLUMN_PARTITION)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of topic table %s is missing in the rows to be written to it",
						column->name, encoder->topic->relation_name),
				 errhint("Every column of the topic table except metadata must exist there under the same name.")));
}

/* Compiles the assignment of a column to the topic's type; NULL where the type is the same. */
static ExprState *
plan_assignment(Encoder *encoder, const TopicColumn *column, Form_pg_attribute att)
{
	CaseTestExpr *source;
	Node	   *assigned;

	if (att->atttypid == column->type && (att->atttypmod == column->typmod || column->typmod < 0))
		return NULL;
	source = makeNode(CaseTestExpr);
	source->typeId = att->atttypid;
	source->typeMod = att->atttypmod;
	source->collation = att->attcollation;
	assigned = coerce_to_target_type(NULL, (Node *) source, att->atttypid, column->type, column->typmod,
									 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (assigned == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of topic table %s is of type %s, but the row has %s",
						column->name, encoder->topic->relation_name,
						format_type_be(column->type), format_type_be(att->atttypid)),
				 errhint("Cast the column to the topic's type, or change the topic table.")));
	return ExecInitExpr(expression_planner((Expr *) assigned), NULL);
}

/* One member of the JSON value while it is planned. */
typedef struct Member
{
	List	   *path;			/* of char * */
	EncodeColumn *column;
} Member;

/* Plans the JSON value. */
static EncodeStep *
plan_value(Encoder *encoder)
{
	const TopicDef *topic = encoder->topic;
	StepList	list = {.count = 0};
	List	   *members = NIL;

	initStringInfo(&list.text);
	list.steps = palloc0(sizeof(EncodeStep) * (topic->ncolumns + 1));
	for (int i = 0; i < topic->ncolumns; i++)
	{
		const TopicColumn *column = &topic->columns[i];
		Member	   *member;

		if (column->source >= COLUMN_PARTITION)
			continue;
		member = palloc(sizeof(Member));
		member->path = column->source == COLUMN_KEY ? list_make1(column->name) : column->path;
		member->column = &encoder->columns[i];
		members = lappend(members, member);
	}
	plan_object(encoder, &list, members, 0);
	add_step(&list, NULL);
	return list.steps;
}

/* Plans the members that share the first depth steps of their paths. */
static void
plan_object(Encoder *encoder, StepList *list, List *members, int depth)
{
	List	   *rest = members;
	const char *comma = "";

	if (list_length(members) == 1 && list_length(((Member *) linitial(members))->path) == depth)
	{
		add_step(list, ((Member *) linitial(members))->column);
		return;
	}
	kv_put_char(&list->text, '{');
	while (rest != NIL)
	{
		Member	   *first = linitial(rest);
		List	   *same = NIL;
		List	   *others = NIL;
		ListCell   *cell;

		foreach(cell, rest)
		{
			Member	   *member = lfirst(cell);

			if (list_length(member->path) <= depth)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
						 errmsg("cannot write to topic table %s", encoder->topic->relation_name),
						 errdetail("Column \"%s\" and another column are written to the same place in the value.",
								   member->column->column->name),
						 errhint("Write to a table for the same topic whose columns have paths apart from each other.")));
			if (strcmp(list_nth(member->path, depth), list_nth(first->path, depth)) == 0)
				same = lappend(same, member);
			else
				others = lappend(others, member);
		}
		appendStringInfoString(&list->text, comma);
		comma = ",";
		put_name(&list->text, list_nth(first->path, depth));
		plan_object(encoder, list, same, depth + 1);
		rest = others;
	}
	kv_put_char(&list->text, '}');
}

/* Plans the JSON key of several columns. */
static EncodeStep *
plan_key(Encoder *encoder)
{
	StepList	list = {.count = 0};

	initStringInfo(&list.text);
	list.steps = palloc0(sizeof(EncodeStep) * (encoder->topic->nkeys + 1));
	for (int i = 0; i < encoder->topic->nkeys; i++)
	{
		appendStringInfoChar(&list.text, i == 0 ? '{' : ',');
		put_name(&list.text, encoder->keys[i]->column->name);
		add_step(&list, encoder->keys[i]);
	}
	appendStringInfoChar(&list.text, '}');
	add_step(&list, NULL);
	return list.steps;
}

/* Appends a name and its colon. */
static void
put_name(StringInfo out, const char *name)
{
	kv_put_json_string(out, name, strlen(name));
	kv_put_char(out, ':');
}

/* Ends a step: the text so far, then the column. */
static void
add_step(StepList *list, EncodeColumn *column)
{
	list->steps[list->count++] = (EncodeStep) {
		.text = pnstrdup(list->text.data, list->text.len),.len = list->text.len,.column = column
	};
	resetStringInfo(&list->text);
}

/* Encodes one row. */
bool
kv_encode(Encoder *encoder, const Datum *values, const bool *nulls,
		  StringInfo key, StringInfo value, TimestampTz *time_us, Datum *headers, bool *has_headers)
{
	bool		has_key;
	bool		isnull;
	Datum		datum;

	ResetExprContext(encoder->econtext);
	has_key = put_key(encoder, key, values, nulls);
	*time_us = DT_NOBEGIN;
	*has_headers = false;
	/* the times in an old row are not when it went */
	if (value == NULL)
		return has_key;
	if (encoder->time != NULL)
	{
		datum = column_value(encoder, encoder->time, values, nulls, &isnull);
		if (!isnull && !TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(datum)))
			*time_us = DatumGetTimestampTz(datum);
	}
	if (encoder->headers != NULL)
	{
		datum = column_value(encoder, encoder->headers, values, nulls, &isnull);
		*has_headers = !isnull;
		if (!isnull)
			*headers = PointerGetDatum(kv_headers_pack(DatumGetJsonbP(datum)));
	}
	if (encoder->whole == NULL)
		run_steps(encoder, encoder->value_steps, value, values, nulls);
	else
	{
		int			from = value->len;

		datum = column_value(encoder, encoder->whole, values, nulls, &isnull);
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" cannot be written to %s",
							encoder->whole->column->name, encoder->topic->relation_name),
					 errdetail("The column is the whole value of the message.")));
		kv_put_bytes(encoder->whole->writer, value, datum);
		if (encoder->whole->column->type != BYTEAOID)
			finish_text(value, from);
	}
	return has_key;
}

/* Gives a column's value in the topic's type. */
static Datum
column_value(Encoder *encoder, EncodeColumn *column, const Datum *values, const bool *nulls, bool *isnull)
{
	ExprContext *econtext = encoder->econtext;

	*isnull = nulls[column->index];
	if (column->assign == NULL)
		return values[column->index];
	econtext->caseValue_datum = values[column->index];
	econtext->caseValue_isNull = *isnull;
	return ExecEvalExprSwitchContext(column->assign, econtext, isnull);
}

/* Writes text and columns in turn. */
static void
run_steps(Encoder *encoder, const EncodeStep *steps, StringInfo out, const Datum *values, const bool *nulls)
{
	int			from = out->len;

	for (const EncodeStep *step = steps;; step++)
	{
		Datum		datum;
		bool		isnull;

		kv_put_text(out, step->text, step->len);
		if (step->column == NULL)
			break;
		datum = column_value(encoder, step->column, values, nulls, &isnull);
		if (isnull)
			kv_put_text(out, "null", 4);
		else
			kv_put_json(step->column->writer, out, datum);
	}
	finish_text(out, from);
}

/* Appends the record key; false if it is null. */
static bool
put_key(Encoder *encoder, StringInfo key, const Datum *values, const bool *nulls)
{
	const TopicDef *topic = encoder->topic;
	int			from = key->len;
	EncodeColumn *column;
	Datum		datum;
	bool		isnull;

	if (topic->nkeys == 0)
		return false;
	if (encoder->key_steps != NULL)
	{
		run_steps(encoder, encoder->key_steps, key, values, nulls);
		return true;
	}
	column = encoder->keys[0];
	datum = column_value(encoder, column, values, nulls, &isnull);
	if (isnull && topic->key_format == KEY_JSON)
		appendStringInfoString(key, "null");
	else if (isnull && topic->mode == MODE_UPSERT)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null key in column \"%s\" cannot be written to %s", column->column->name, topic->relation_name),
				 errdetail("The topic keeps the last value per key, and key_format text and kafka cannot write a null."),
				 errhint("Use key_format 'json', which writes it as a JSON null.")));
	else if (isnull)
		return false;
	else if (topic->key_format == KEY_JSON)
		kv_put_json(column->writer, key, datum);
	else if (topic->key_format == KEY_KAFKA)
	{
		kv_put_kafka(column->writer, key, datum);
		return true;
	}
	else
		kv_put_bytes(column->writer, key, datum);
	if (column->column->type != BYTEAOID)
		finish_text(key, from);
	return true;
}

/* Ends what was appended from byte `from` on with a zero; in a database of another encoding makes it UTF-8. */
static void
finish_text(StringInfo out, int from)
{
	char	   *utf8;

	*kv_reserve(out, 0) = '\0';
	if (GetDatabaseEncoding() == PG_UTF8)
		return;
	utf8 = pg_server_to_any(out->data + from, out->len - from, PG_UTF8);
	if (utf8 == out->data + from)
		return;
	out->len = from;
	appendStringInfoString(out, utf8);
	pfree(utf8);
}

/* Compares the key columns of two rows. */
bool
kv_encoder_key_differs(Encoder *encoder, const Datum *a, const bool *anulls, const Datum *b, const bool *bnulls)
{
	for (int i = 0; i < encoder->topic->nkeys; i++)
	{
		EncodeColumn *key = encoder->keys[i];
		int			at = key->index;

		if (anulls[at] != bnulls[at])
			return true;
		if (!anulls[at] && !datum_image_eq(a[at], b[at], key->by_value, key->len))
			return true;
	}
	return false;
}
