/*
 * statement.c: small pieces of the text of maintenance statements.
 *
 * Every name that gets into a statement outside the deparser goes through here or
 * through quote_identifier; no value is ever spliced into text but as a quoted literal.
 */
#include "statement.h"

#include "access/htup_details.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "equality.h"

/* So many columns of a key make a part of the query each time one more of them is null; the others are compared afterwards. */
#define NULL_PATTERN_COLUMNS 4

static Oid	operator_namespace(Oid operator);
static char *find_by_patterns(const char *table, List *names, const char *other, List *types, List *nullable, const char *also, int first);

/* Gives the name of a phase, a constant. */
const char *
kv_phase_name(StatementPhase phase)
{
	static const char *const names[] = {"lookup", "compute", "append", "close", "close", "close", "evict", "late"};

	return names[phase];
}

/* Makes a statement; title and sql are kept. */
MaintenanceStatement *
kv_statement(StatementPhase phase, char *title, char *sql, int input)
{
	MaintenanceStatement *statement = palloc0(sizeof(MaintenanceStatement));

	statement->phase = phase;
	statement->title = title;
	statement->sql = sql;
	statement->input = input;
	return statement;
}

/* Makes a statement return what it writes; see statement.h. */
void
kv_statement_return_rows(const ViewDef *view, MaintenanceStatement *statement, bool deleted)
{
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);

	statement->writes_view = true;
	if (!view->read_by_views)
		return;
	statement->sql = psprintf("%s\nRETURNING %s", statement->sql, kv_statement_columns(columns, "t."));
	statement->capture_desc = view->result;
	if (view->shape != SHAPE_KEYED)
		return;
	statement->sql = psprintf("%s, %s AS " KV_COL_DELETED, statement->sql, deleted ? "true" : "false");
	statement->capture_desc = kv_statement_keyed_desc(view->result);
}

/* Makes the row type of a keyed view's news; see statement.h. */
TupleDesc
kv_statement_keyed_desc(TupleDesc result)
{
	TupleDesc	desc = CreateTemplateTupleDesc(result->natts + 1);

	for (int i = 1; i <= result->natts; i++)
		TupleDescCopyEntry(desc, i, result, i);
	TupleDescInitEntry(desc, result->natts + 1, KV_COL_DELETED, BOOLOID, -1, 0);
	return desc;
}

/* Gives names as a quoted, comma-separated list, each behind prefix ("" or "t."). */
char *
kv_statement_columns(List *names, const char *prefix)
{
	StringInfoData buf;
	ListCell   *cell;

	initStringInfo(&buf);
	foreach(cell, names)
		appendStringInfo(&buf, "%s%s%s", foreach_current_index(cell) > 0 ? ", " : "", prefix, quote_identifier(lfirst(cell)));
	return buf.data;
}

/* Gives the first count column names of a relation. */
List *
kv_statement_relation_columns(Oid relid, int count)
{
	List	   *names = NIL;

	for (int i = 1; i <= count; i++)
		names = lappend(names, get_attname(relid, i, false));
	return names;
}

/* Gives the equality of a type as an operator in SQL. */
char *
kv_statement_equality(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;

	if (!OidIsValid(operator))
		elog(ERROR, "type %s has no equality", format_type_be(type));
	return kv_statement_operator(operator);
}

/* Gives the order of a type as an operator in SQL. */
char *
kv_statement_less(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr;

	if (!OidIsValid(operator))
		elog(ERROR, "type %s has no order", format_type_be(type));
	return kv_statement_operator(operator);
}

/* Gives an operator by its name, qualified unless it is Postgres' own. */
char *
kv_statement_operator(Oid operator)
{
	if (operator_namespace(operator) == PG_CATALOG_NAMESPACE)
		return get_opname(operator);
	return psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(operator_namespace(operator))), get_opname(operator));
}

/* Gives the condition that columns of two rows are the same; see statement.h. */
char *
kv_statement_match(const char *left, List *left_names, const char *right, List *right_names, List *types, List *nullable)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < list_length(left_names); i++)
	{
		char	   *a = psprintf("%s.%s", left, quote_identifier(list_nth(left_names, i)));
		char	   *b = psprintf("%s.%s", right, quote_identifier(list_nth(right_names, i)));
		char	   *equal = kv_statement_equality(list_nth_oid(types, i));

		if (i > 0)
			appendStringInfoString(&sql, " AND ");
		if (list_nth_int(nullable, i))
			appendStringInfo(&sql, "(%s %s %s OR %s IS NULL AND %s IS NULL)", a, equal, b, a, b);
		else
			appendStringInfo(&sql, "%s %s %s", a, equal, b);
	}
	return sql.data;
}

/* Gives a subquery that finds rows by a key with a null in it; see statement.h. */
char *
kv_statement_find_with_nulls(const char *table, List *names, const char *other, List *types)
{
	return find_by_patterns(table, names, other, types, NIL, "", list_length(names) <= NULL_PATTERN_COLUMNS ? 1 : 0);
}

/* Gives a subquery that finds rows by a key, with a null in it or without; see statement.h. */
char *
kv_statement_find(const char *table, List *names, const char *other, List *types, List *nullable, const char *also)
{
	return find_by_patterns(table, names, other, types, nullable, also, 0);
}

/*
 * Spells the patterns of nulls out, from the one with number first on; bits stand for columns. Those that are not nullable (NIL: all are) are
 * null in none. Of columns beyond NULL_PATTERN_COLUMNS any may be null.
 */
static char *
find_by_patterns(const char *table, List *names, const char *other, List *types, List *nullable, const char *also, int first)
{
	int			nspelled = Min(list_length(names), NULL_PATTERN_COLUMNS);
	int			never = 0;
	List	   *rest = list_copy_tail(names, nspelled);
	List	   *rest_nullable = NIL;
	StringInfoData sql;

	for (int i = 0; i < list_length(names); i++)
	{
		bool		is_nullable = nullable == NIL || list_nth_int(nullable, i);

		if (i >= nspelled)
			rest_nullable = lappend_int(rest_nullable, is_nullable);
		else if (!is_nullable)
			never |= 1 << i;
	}
	initStringInfo(&sql);
	for (int nulls = first; nulls < 1 << nspelled; nulls++)
	{
		if (nulls & never)
			continue;
		appendStringInfo(&sql, "%sSELECT x.ctid FROM %s AS x WHERE ", sql.len > 0 ? "\n           UNION ALL " : "", table);
		for (int i = 0; i < nspelled; i++)
		{
			const char *name = quote_identifier(list_nth(names, i));

			appendStringInfoString(&sql, i > 0 ? " AND " : "");
			if (nulls & 1 << i)
				appendStringInfo(&sql, "x.%s IS NULL AND %s.%s IS NULL", name, other, name);
			else
				appendStringInfo(&sql, "x.%s %s %s.%s", name, kv_statement_equality(list_nth_oid(types, i)), other, name);
		}
		if (rest != NIL)
			appendStringInfo(&sql, " AND %s", kv_statement_match("x", rest, other, rest, list_copy_tail(types, nspelled), rest_nullable));
		appendStringInfoString(&sql, also);
	}
	/* the only part would be one join with whatever is around it, and the planner might begin with this table */
	if (first == 0 && never == (1 << nspelled) - 1)
		appendStringInfoString(&sql, " OFFSET 0");
	return sql.data;
}

/* Gives a column of CREATE TABLE. */
char *
kv_statement_column_definition(const char *name, Oid type, int32 typmod, Oid collation)
{
	char	   *definition = psprintf("%s %s", quote_identifier(name), format_type_with_typemod(type, typmod));

	if (OidIsValid(collation) && collation != get_typcollation(type))
		definition = psprintf("%s COLLATE %s", definition, generate_collation_name(collation));
	return definition;
}

/* Gives the condition that stored columns differ from new values; see statement.h. */
char *
kv_statement_difference(TupleDesc desc, List *attnos, List *stored, List *fresh)
{
	StringInfoData images;
	StringInfoData new_images;
	StringInfoData sql;
	ListCell   *attno;
	ListCell   *old;
	ListCell   *new;

	initStringInfo(&images);
	initStringInfo(&new_images);
	initStringInfo(&sql);
	forthree(attno, attnos, old, stored, new, fresh)
	{
		Form_pg_attribute column = TupleDescAttr(desc, lfirst_int(attno) - 1);
		const char *comma = images.len > 0 ? ", " : "";

		if (kv_equality_is_identity(column->atttypid, column->attcollation))
			appendStringInfo(&sql, "%s%s IS DISTINCT FROM %s", sql.len > 0 ? " OR " : "", (char *) lfirst(old), (char *) lfirst(new));
		else
		{
			appendStringInfo(&images, "%s%s", comma, (char *) lfirst(old));
			appendStringInfo(&new_images, "%s%s", comma, (char *) lfirst(new));
		}
	}
	if (images.len > 0)
		appendStringInfo(&sql, "%sROW(%s)::record OPERATOR(pg_catalog.*<>) ROW(%s)::record", sql.len > 0 ? " OR " : "",
						 images.data, new_images.data);
	return sql.data;
}

static Oid
operator_namespace(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Oid			namespace;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	namespace = ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace;
	ReleaseSysCache(tuple);
	return namespace;
}
