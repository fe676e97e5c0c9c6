/*
 * converter.c: JSON arrays and objects to SQL arrays, composites and ranges, part
 * by part through the converters of their parts, so that what holds for a column holds
 * for an element: a number in an array of timestamps is milliseconds, too.
 *
 * Invariant: a document has been checked as a whole before; its containers are only taken
 * apart again here. The depth of recursion is that of the type, and of at most
 * MAXDIM inner arrays, never that of the document. May raise, as constructors of
 * Postgres do: the caller catches.
 */
#include "converter.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"

/* Says whether a whole object of JSON is a value of the type. */
bool
kv_converter_takes_object(const Converter *converter)
{
	if (converter->kind == CONVERT_DOMAIN)
		return kv_converter_takes_object(converter->element);
	return converter->kind == CONVERT_JSON || converter->kind == CONVERT_JSONB ||
		converter->kind == CONVERT_COMPOSITE || converter->kind == CONVERT_RANGE;
}

/* Notes a fault. */
ConvertResult
kv_convert_bad(DecodeError *error, int sqlstate, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(error->detail, sizeof(error->detail), format, args);
	va_end(args);
	/* a message cut in the middle of a character could not be stored */
	error->detail[pg_mbcliplen(error->detail, strlen(error->detail), sizeof(error->detail) - 1)] = '\0';
	error->sqlstate = sqlstate;
	return CONVERT_BAD;
}

/* Gives the parser of this process, made at its first use. */
JsonParser *
kv_json_parser(void)
{
	static JsonParser *parser = NULL;

	if (parser == NULL)
	{
		parser = kv_json_parser_make();
		if (parser == NULL)
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	return parser;
}

/* Gives the members of a container, palloc'd. */
static JsonMember *
list_members(const JsonField *field, size_t *count)
{
	size_t		max = 16;
	JsonMember *members = palloc(sizeof(JsonMember) * max);
	JsonFault	fault = kv_json_members(kv_json_parser(), field->text, field->len, members, max, count);

	if (fault == JSON_FINE && *count > max)
	{
		max = *count;
		members = repalloc_huge(members, sizeof(JsonMember) * max);
		fault = kv_json_members(kv_json_parser(), field->text, field->len, members, max, count);
	}
	if (fault != JSON_FINE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), errmsg("%s", kv_json_fault_text(fault))));
	return members;
}

/* What an array is being built from. */
typedef struct ArrayBuild
{
	Converter  *array;
	Datum	   *values;
	bool	   *nulls;
	int			count;
	int			size;
	int			ndims;
	int			dims[MAXDIM];
} ArrayBuild;

/* Collects the elements of one level; all arrays of a level must be of one length. */
static ConvertResult
collect_elements(ArrayBuild *build, const JsonField *field, int level, DecodeError *error)
{
	size_t		count;
	JsonMember *members = list_members(field, &count);
	bool		elements_are_json = kv_converter_takes_object(build->array->element) &&
		build->array->element->kind != CONVERT_COMPOSITE && build->array->element->kind != CONVERT_RANGE;

	if (level >= MAXDIM)
		return kv_convert_bad(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "An array has more than %d dimensions.", MAXDIM);
	if (level >= build->ndims)
	{
		if (build->count > 0)
			return kv_convert_bad(error, ERRCODE_ARRAY_SUBSCRIPT_ERROR, "An array mixes arrays and plain elements.");
		build->ndims = level + 1;
		build->dims[level] = (int) count;
	}
	else if (build->dims[level] != (int) count)
		return kv_convert_bad(error, ERRCODE_ARRAY_SUBSCRIPT_ERROR, "Inner arrays differ in length.");
	for (size_t i = 0; i < count; i++)
	{
		const JsonField *element = &members[i].value;
		ConvertResult result;

		if (element->kind == FIELD_ARRAY && !elements_are_json)
		{
			result = collect_elements(build, element, level + 1, error);
			if (result != CONVERT_FINE)
				return result;
			continue;
		}
		if (level + 1 != build->ndims)
			return kv_convert_bad(error, ERRCODE_ARRAY_SUBSCRIPT_ERROR, "An array mixes arrays and plain elements.");
		if (build->count == build->size)
		{
			build->size *= 2;
			build->values = repalloc_huge(build->values, sizeof(Datum) * build->size);
			build->nulls = repalloc_huge(build->nulls, sizeof(bool) * build->size);
		}
		build->values[build->count] = (Datum) 0;
		result = build->array->element->convert(build->array->element, element, true, &build->values[build->count], error);
		if (result == CONVERT_BAD)
			return result;
		build->nulls[build->count++] = result == CONVERT_NULL;
	}
	pfree(members);
	return CONVERT_FINE;
}

/* Converts a JSON array, arrays of arrays too, to an array. */
ConvertResult
kv_convert_array(Converter *c, const JsonField *field, Datum *value, DecodeError *error)
{
	ArrayBuild	build = {.array = c,.size = 64};
	int			lower[MAXDIM];
	ConvertResult result;

	build.values = palloc(sizeof(Datum) * build.size);
	build.nulls = palloc(sizeof(bool) * build.size);
	result = collect_elements(&build, field, 0, error);
	if (result != CONVERT_FINE)
		return result;
	for (int i = 0; i < MAXDIM; i++)
		lower[i] = 1;
	if (build.count == 0)
		*value = PointerGetDatum(construct_empty_array(c->element->type));
	else
		*value = PointerGetDatum(construct_md_array(build.values, build.nulls, build.ndims, build.dims, lower,
													c->element->type, c->element_len, c->element_by_value,
													c->element_align));
	return CONVERT_FINE;
}

/* Finds the last member of a name; an absent field if there is none. */
static const JsonField *
find_member(const JsonMember *members, size_t count, const char *name)
{
	static const JsonField absent = {FIELD_ABSENT};
	size_t		name_len = strlen(name);
	char	   *buffer;
	size_t		len;

	for (size_t i = count; i-- > 0;)
	{
		const JsonField *key = &members[i].key;

		if (memchr(key->text, '\\', key->len) == NULL)
		{
			if (key->len == name_len && memcmp(key->text, name, name_len) == 0)
				return &members[i].value;
			continue;
		}
		buffer = palloc(key->len + 1);
		if (kv_json_unescape(key->text, key->len, buffer, &len) == JSON_FINE &&
			len == name_len && memcmp(buffer, name, len) == 0)
			return &members[i].value;
		pfree(buffer);
	}
	return &absent;
}

/* Converts an object to a row, attribute by attribute. */
ConvertResult
kv_convert_composite(Converter *c, const JsonField *field, Datum *value, DecodeError *error)
{
	int			natts = c->desc->natts;
	Datum	   *values = palloc0(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	size_t		count;
	JsonMember *members = list_members(field, &count);

	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(c->desc, i);
		char	   *name;
		ConvertResult result;

		nulls[i] = true;
		if (att->attisdropped)
			continue;
		name = pg_server_to_any(NameStr(att->attname), strlen(NameStr(att->attname)), PG_UTF8);
		result = c->attributes[i]->convert(c->attributes[i], find_member(members, count, name), true, &values[i], error);
		if (result == CONVERT_BAD)
			return result;
		nulls[i] = result == CONVERT_NULL;
	}
	*value = HeapTupleGetDatum(heap_form_tuple(c->desc, values, nulls));
	return CONVERT_FINE;
}

/* Reads one end of a range. */
static ConvertResult
convert_bound(Converter *c, const JsonField *field, RangeBound *bound, DecodeError *error)
{
	ConvertResult result = c->element->convert(c->element, field, true, &bound->val, error);

	bound->infinite = result == CONVERT_NULL;
	return result == CONVERT_NULL ? CONVERT_FINE : result;
}

/* Converts {"start":..,"end":..[,"bounds":"[)"]} to a range. */
ConvertResult
kv_convert_range(Converter *c, const JsonField *field, Datum *value, DecodeError *error)
{
	size_t		count;
	JsonMember *members = list_members(field, &count);
	const JsonField *start = find_member(members, count, "start");
	const JsonField *end = find_member(members, count, "end");
	const JsonField *bounds = find_member(members, count, "bounds");
	RangeBound	lower = {.inclusive = true,.lower = true};
	RangeBound	upper = {.inclusive = false,.lower = false};
	ConvertResult result;

	if (start->kind == FIELD_ABSENT && end->kind == FIELD_ABSENT)
		return kv_convert_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  "A range is an object with \"start\", \"end\" or both.");
	if (bounds->kind != FIELD_ABSENT)
	{
		if (bounds->kind != FIELD_STRING || bounds->len != 2 ||
			strchr("[(", bounds->text[0]) == NULL || strchr("])", bounds->text[1]) == NULL)
			return kv_convert_bad(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "The bounds of a range are one of \"[)\", \"[]\", \"(]\", \"()\".");
		lower.inclusive = bounds->text[0] == '[';
		upper.inclusive = bounds->text[1] == ']';
	}
	result = convert_bound(c, start, &lower, error);
	if (result == CONVERT_FINE)
		result = convert_bound(c, end, &upper, error);
	if (result != CONVERT_FINE)
		return result;
	*value = RangeTypePGetDatum(make_range(c->range, &lower, &upper, false));
	return CONVERT_FINE;
}

/* See the header. */
List *
kv_row_types(List *types, Oid type)
{
	Oid			relation;
	Relation	rel;

	if (!OidIsValid(type))
		return types;			/* that of a dropped column */
	type = getBaseType(type);
	while (OidIsValid(get_element_type(type)))
		type = getBaseType(get_element_type(type));
	relation = get_typ_typrelid(type);
	if (!OidIsValid(relation) || list_member_oid(types, relation))
		return types;
	types = lappend_oid(types, relation);
	rel = relation_open(relation, AccessShareLock);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
		types = kv_row_types(types, TupleDescAttr(RelationGetDescr(rel), i)->atttypid);
	/* locked like a topic until the transaction ends: whoever builds upon it hears of what changes it after that */
	relation_close(rel, NoLock);
	return types;
}
