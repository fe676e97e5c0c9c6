/*
 * create_function.c: kafka.create_view, the same as the statements, for those who make views from SQL or PL/pgSQL.
 *
 * Invariant: it only turns its arguments into what CREATE MATERIALIZED VIEW and CREATE VIEW give; every check is kv_create_view's, and
 * positions of errors are those in the query that was passed.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

#include "ddl.h"

PG_FUNCTION_INFO_V1(kafka_create_view);

static Query *parse_query(const char *text);
static void report_inside(void *text);
static List *options_from_jsonb(Jsonb *options, bool *stored);


/* kafka.create_view(name text, query text, options jsonb, with_data boolean): the same as a function. */
Datum
kafka_create_view(PG_FUNCTION_ARGS)
{
	List	   *names = textToQualifiedNameList(PG_GETARG_TEXT_PP(0));
	char	   *query_text = text_to_cstring(PG_GETARG_TEXT_PP(1));
	IntoClause *into = makeNode(IntoClause);
	ErrorContextCallback callback;
	bool		stored;
	Oid			relid;

	into->rel = makeRangeVarFromNameList(names);
	into->options = options_from_jsonb(PG_GETARG_JSONB_P(2), &stored);
	into->skipData = !PG_GETARG_BOOL(3);

	callback.callback = report_inside;
	callback.arg = query_text;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	relid = kv_create_view(into, parse_query(query_text), query_text, false, stored);
	error_context_stack = callback.previous;
	PG_RETURN_OID(relid);
}

/* Parses and analyses a text that must be one SELECT. */
static Query *
parse_query(const char *text)
{
	List	   *statements = pg_parse_query(text);
	Query	   *query = NULL;

	if (list_length(statements) == 1)
		query = parse_analyze_fixedparams(linitial_node(RawStmt, statements), text, NULL, 0, NULL);
	if (query == NULL || query->commandType != CMD_SELECT || query->utilityStmt != NULL || query->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the query of a continuous view must be one SELECT"),
				 errhint("Pass the text of the SELECT alone, without CREATE or a second statement.")));
	return query;
}

/* Moves a position from the statement that calls the function to the query that is its argument. */
static void
report_inside(void *text)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) text);
	}
}

/* Turns {"grace": "1 minute", "bootstrap": false} into options of our namespace; "stored" stands for the kind of the statement. */
static List *
options_from_jsonb(Jsonb *options, bool *stored)
{
	List	   *result = list_make1(makeDefElemExtended(KV_OPTION_NAMESPACE, "continuous", NULL, DEFELEM_UNSPEC, -1));
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options of a continuous view must be a JSON object"),
				 errhint("For example {\"grace\": \"1 minute\"}.")));
	*stored = true;
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *text;

		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (value.type == jbvString)
			text = pnstrdup(value.val.string.val, value.val.string.len);
		else if (value.type == jbvBool)
			text = pstrdup(value.val.boolean ? "true" : "false");
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" must be a string or a boolean", name),
					 errhint("Write it as in WITH, in quotes: {\"grace\": \"10 s\", \"bootstrap\": false}.")));
		if (strcmp(name, "stored") == 0 && parse_bool(text, stored))
			continue;
		result = lappend(result, makeDefElemExtended(KV_OPTION_NAMESPACE, name, (Node *) makeString(text),
													 DEFELEM_UNSPEC, -1));
	}
	return result;
}
