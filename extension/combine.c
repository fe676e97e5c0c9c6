/*
 * combine.c: the SQL by which the states of groups are combined (aggregate.c says what they are).
 *
 * In all of them a null is the state of no row, except that of a count, which is 0. A stored state comes before the partial result, and is
 * of earlier rows.
 */
#include "combine.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

static char *combine_standing(List *columns, const StateColumn *column, const char *name, List *names, const char *delta);

/* Gives SQL that combines a stored column with a partial result; see combine.h. Of equal values the newer stays, as in core. */
char *
kv_combine_partial(List *columns, int number, List *names, const char *delta)
{
	const StateColumn *column = list_nth(columns, number);
	const char *name = quote_identifier(list_nth(names, number));
	const char *operator = NULL;

	switch (column->combine)
	{
		case COMBINE_COUNT:
			return psprintf("t.%s + %s.%s", name, delta, name);
		case COMBINE_LEAST:
			return psprintf("LEAST(%s.%s, t.%s)", delta, name, name);
		case COMBINE_GREATEST:
			return psprintf("GREATEST(%s.%s, t.%s)", delta, name, name);
		case COMBINE_ADD:
			operator = "+";
			break;
		case COMBINE_AND:
			operator = "AND";
			break;
		case COMBINE_OR:
			operator = "OR";
			break;
		case COMBINE_BIT_AND:
			operator = "&";
			break;
		case COMBINE_BIT_OR:
			operator = "|";
			break;
		case COMBINE_BIT_XOR:
			operator = "#";
			break;
		case COMBINE_APPEND:
			operator = "||";
			break;
		case COMBINE_APPEND_TEXT:
			operator = psprintf("|| %s ||", column->argument);
			break;
		case COMBINE_APPEND_JSON_ARRAY:
			return psprintf("COALESCE((left(t.%s::text, -1) || ', '%s || substr(%s.%s::text, 2))::json, t.%s, %s.%s)", name,
							column->argument ? psprintf(" || CASE WHEN starts_with(%s.%s::text, '[null') THEN '' ELSE %s END", delta, name, column->argument) : "",
							delta, name, name, delta, name);
		case COMBINE_APPEND_JSON_OBJECT:
			return psprintf("COALESCE((left(t.%s::text, -2) || ', ' || substr(%s.%s::text, 3))::json, t.%s, %s.%s)", name, delta, name, name, delta, name);
		case COMBINE_FIRST:
		case COMBINE_LAST:
			return combine_standing(columns, column, name, names, delta);
		case COMBINE_STATES:
			return psprintf("kafka_state.agg_combine(%s, t.%s, %s.%s%s)", column->argument, name, delta, name, column->types);
		case COMBINE_ROWS:
			return psprintf("kafka_state.agg_continue(%s, t.%s, %s.%s)", column->argument, name, delta, name);
		case COMBINE_NONE:
			elog(ERROR, "aggregate state without a way to combine it");
	}
	return psprintf("COALESCE(t.%s %s %s.%s, t.%s, %s.%s)", name, operator, delta, name, name, delta, name);
}

/* Takes the partial result where its row takes the place of the standing one. */
static char *
combine_standing(List *columns, const StateColumn *column, const char *name, List *names, const char *delta)
{
	const char *sort = NULL;
	char	   *before;
	ListCell   *cell;

	foreach(cell, columns)
		if (lfirst(cell) == column->sort)
			sort = quote_identifier(list_nth(names, foreach_current_index(cell)));
	before = psprintf("%s.%s %s t.%s", delta, sort, column->argument, sort);
	if (column->combine == COMBINE_LAST)
		before = psprintf("NOT %s", before);
	return psprintf("CASE WHEN t.%s IS NULL OR %s THEN %s.%s ELSE t.%s END", sort, before, delta, name, name);
}

/* Gives SQL that merges the states of groups: the partial's own aggregate, of counts their sum; see combine.h. */
char *
kv_combine_merge(const StateColumn *column, const char *name)
{
	Oid			function = column->partial->aggfnoid;

	if (column->combine == COMBINE_STATES)
		return psprintf("kafka_state.agg_merge(%s, %s%s)", column->argument, name, column->types ? column->types : "");
	return psprintf("%s.%s(%s)::%s", quote_identifier(get_namespace_name(get_func_namespace(function))),
					column->combine == COMBINE_COUNT ? "sum" : quote_identifier(get_func_name(function)), name,
					format_type_with_typemod(column->type, -1));
}
