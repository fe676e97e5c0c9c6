/*
 * input_tables.c: buffers of streams and copies of tables, in kafka_state.
 *
 * A copy has the columns that the view uses, one row per key. Invariant: after the statements of a (sub)batch it is the table
 * as its records up to there left it, for this view: a record that became a dead letter of the view is in no copy of it. So
 * two views, and two inputs of one view, have copies of their own. Columns are found by position, so that renaming those
 * of a topic does not touch them.
 */
#include "input_tables.h"

#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/regproc.h"

#include "delta_query.h"
#include "equality.h"

static List *probe_values(const Probe *probe);
static char *probe_index(const ViewInput *input, const Probe *probe);
static char *index_predicate(const ViewInput *input);
static char *index_expression(const ViewInput *input, const ProbeExpr *probe);
static List *copy_columns(const ViewInput *input);
static List *updated_columns(const ViewInput *input);

/*
 * Gives the statements that create an input's buffer or copy. A buffer of a topic holds recent
 * records and begins unlogged, because most topics can give these again after a crash; the worker changes it
 * over where its topic cannot. One of a view's rows, and a copy of a table, is state (DESIGN.md 5.2).
 */
List *
kv_input_tables(ViewInput *input, bool unlogged)
{
	List	   *names = kv_input_columns(input);
	List	   *indexed = NIL;
	List	   *statements;
	StringInfoData sql;
	ListCell   *cell;
	int			attno = -1;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTABLE %s (", unlogged ? "UNLOGGED " : "", input->buffer_name);
	foreach(cell, names)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		attno = bms_next_member(input->columns, attno);
		get_atttypetypmodcoll(input->relid, attno, &type, &typmod, &collation);
		appendStringInfo(&sql, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 kv_statement_column_definition(lfirst(cell), type, typmod, collation));
	}
	if (kv_input_drives(input))
		appendStringInfo(&sql, "%s" KV_COL_TIME " timestamptz NOT NULL)", names ? ", " : "");
	else
		appendStringInfoString(&sql, ") WITH (fillfactor = 80)");
	statements = list_make1(sql.data);

	if (kv_input_is_table(input))
	{
		indexed = list_make1(input->keys);
		statements = lappend(statements, psprintf("CREATE UNIQUE INDEX ON %s (%s) NULLS NOT DISTINCT", input->buffer_name,
												  kv_statement_columns(kv_input_keys(input, names), "")));
	}
	foreach(cell, input->probes)
	{
		Probe	   *probe = lfirst(cell);
		List	   *compared = probe->exprs == NIL ? probe->columns : list_make2(probe->columns, probe_values(probe));
		char	   *index = list_member(indexed, compared) ? NULL : probe_index(input, probe);

		indexed = lappend(indexed, compared);
		if (index)
			statements = lappend(statements, index);
	}
	/* finds the rows that time closes */
	if (input->preserved)
		statements = lappend(statements, psprintf("CREATE INDEX ON %s (" KV_COL_TIME ")", input->buffer_name));
	return statements;
}

/* Tells whether a crash empties the buffer of a stream; see input_tables.h. */
bool
kv_buffer_is_unlogged(const ViewInput *input)
{
	RangeVar   *name = makeRangeVarFromNameList(stringToQualifiedNameList(input->buffer_name));

	return get_rel_persistence(RangeVarGetRelid(name, NoLock, false)) == RELPERSISTENCE_UNLOGGED;
}

/* Lists the expressions of a probe, each with its collation. */
static List *
probe_values(const Probe *probe)
{
	List	   *values = NIL;
	ListCell   *cell;

	foreach(cell, probe->exprs)
	{
		ProbeExpr  *value = lfirst(cell);

		values = lappend(values, list_make2(value->expr, list_make1_oid(value->collation)));
	}
	return values;
}

/* Gives the statement that creates the index for a probe, NULL: its columns have no order. */
static char *
probe_index(const ViewInput *input, const Probe *probe)
{
	List	   *names = NIL;
	StringInfoData keys;
	ListCell   *cell;

	foreach(cell, probe->columns)
	{
		AttrNumber	attno = lfirst_int(cell);

		if (!OidIsValid(GetDefaultOpClass(get_atttype(input->relid, attno), BTREE_AM_OID)))
			return NULL;
		names = lappend(names, get_attname(input->relid, attno, false));
	}
	initStringInfo(&keys);
	appendStringInfoString(&keys, kv_statement_columns(names, ""));
	foreach(cell, probe->exprs)
		appendStringInfo(&keys, "%s%s", keys.len > 0 ? ", " : "", index_expression(input, lfirst(cell)));
	/* the event time behind the keys makes a bound on it a range of the index */
	if (input->time_attno > 0 && !list_member_int(probe->columns, input->time_attno))
		appendStringInfo(&keys, ", %s", quote_identifier(get_attname(input->relid, input->time_attno, false)));
	return psprintf("CREATE INDEX ON %s (%s)%s", input->buffer_name, keys.data, probe->exprs ? index_predicate(input) : "");
}

/* Gives the WHERE of an index on an expression, which may raise an error for rows that the query leaves out. */
static char *
index_predicate(const ViewInput *input)
{
	Node	   *selection;

	if (input->selection == NIL)
		return "";
	selection = (Node *) make_ands_explicit(copyObject(input->selection));
	ChangeVarNodes(selection, input->rti, 1, 0);
	return psprintf(" WHERE %s", deparse_expression(selection, deparse_context_for(get_rel_name(input->relid), input->relid), false, false));
}

/* Gives an expression as a key of an index on the input's table, whose columns have the names of the input's. */
static char *
index_expression(const ViewInput *input, const ProbeExpr *probe)
{
	Node	   *expr = copyObject(probe->expr);
	char	   *text;

	ChangeVarNodes(expr, input->rti, 1, 0);
	text = deparse_expression(expr, deparse_context_for(get_rel_name(input->relid), input->relid), false, false);
	if (!IsA(expr, Var))
		text = psprintf("(%s)", text);
	if (OidIsValid(probe->collation) && probe->collation != exprCollation(expr))
		text = psprintf("%s COLLATE %s", text, generate_collation_name(probe->collation));
	return text;
}

/* Gives the names of an input's used columns; see input_tables.h. */
List *
kv_input_columns(const ViewInput *input)
{
	List	   *names = NIL;
	int			attno = -1;

	while ((attno = bms_next_member(input->columns, attno)) >= 0)
		names = lappend(names, get_attname(input->relid, attno, false));
	return names;
}

/* Picks the key columns out of names of the used columns; see input_tables.h. */
List *
kv_input_keys(const ViewInput *input, List *names)
{
	List	   *keys = NIL;
	ListCell   *cell;

	foreach(cell, input->keys)
		keys = lappend(keys, list_nth(names, bms_member_index(input->columns, lfirst_int(cell))));
	return keys;
}

/* Makes the row type of an input's used columns; see input_tables.h. */
TupleDesc
kv_input_desc(const ViewInput *input, bool with_deleted)
{
	int			natts = bms_num_members(input->columns);
	TupleDesc	desc = CreateTemplateTupleDesc(natts + (with_deleted ? 1 : 0));
	AttrNumber	position = 0;
	int			attno = -1;

	while ((attno = bms_next_member(input->columns, attno)) >= 0)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(input->relid, attno, &type, &typmod, &collation);
		TupleDescInitEntry(desc, ++position, get_attname(input->relid, attno, false), type, typmod, 0);
		TupleDescInitEntryCollation(desc, position, collation);
	}
	if (with_deleted)
		TupleDescInitEntry(desc, natts + 1, KV_COL_DELETED, BOOLOID, -1, 0);
	return desc;
}

/* Selects the last row of every key; see input_tables.h. */
char *
kv_input_last_rows(const ViewInput *input, bool keys_only)
{
	List	   *names = kv_input_columns(input);
	char	   *keys = kv_statement_columns(kv_input_keys(input, names), "");

	if (keys_only)
		names = kv_input_keys(input, names);
	return psprintf("SELECT DISTINCT ON (%s) %s, " KV_COL_DELETED "\n           FROM %s\n          ORDER BY %s, " KV_COL_ROW " DESC", keys,
					kv_statement_columns(names, ""), quote_identifier(input->delta_name), keys);
}

/* Deletes the keys whose last row is a deletion; see input_tables.h. */
MaintenanceStatement *
kv_copy_delete(ViewInput *input, const char *last)
{
	char	   *sql = psprintf("DELETE FROM %s AS t\n  USING %s AS last\n  WHERE last." KV_COL_DELETED " AND %s", input->buffer_name, last,
							   kv_copy_match(input));
	MaintenanceStatement *statement = kv_statement(PHASE_LOOKUP, psprintf("apply deletions of %s", get_rel_name(input->relid)), sql, input->number);

	statement->null_safe = kv_input_has_null_keys(input);
	return statement;
}

/* Writes the rows that are not deletions; see input_tables.h. */
MaintenanceStatement *
kv_copy_upsert(ViewInput *input, const char *last)
{
	List	   *ours = copy_columns(input);
	List	   *updated = updated_columns(input);
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (%s)\nSELECT %s\n   FROM %s AS last\n  WHERE NOT " KV_COL_DELETED "\nON CONFLICT (%s) DO ",
					 input->buffer_name, kv_statement_columns(ours, ""), kv_statement_columns(kv_input_columns(input), ""), last,
					 kv_statement_columns(kv_input_keys(input, ours), ""));
	foreach(cell, updated)
		appendStringInfo(&sql, "%s%s = excluded.%s", foreach_current_index(cell) == 0 ? "UPDATE SET " : ", ",
						 quote_identifier(lfirst(cell)), quote_identifier(lfirst(cell)));
	if (updated == NIL)
		appendStringInfoString(&sql, "NOTHING");
	return kv_statement(PHASE_LOOKUP, psprintf("apply new rows of %s", get_rel_name(input->relid)), sql.data, input->number);
}

/* Gives the condition for the same key; see input_tables.h. */
char *
kv_copy_match(const ViewInput *input)
{
	List	   *ours = kv_input_keys(input, copy_columns(input));
	List	   *theirs = kv_input_keys(input, kv_input_columns(input));
	List	   *types = NIL;
	List	   *nullable = NIL;
	ListCell   *cell;

	foreach(cell, input->keys)
	{
		types = lappend_oid(types, get_atttype(input->relid, lfirst_int(cell)));
		nullable = lappend_int(nullable, !bms_is_member(lfirst_int(cell), input->not_null));
	}
	return kv_statement_match("t", ours, "last", theirs, types, nullable);
}

/* Tells whether a part of the key may be null; see input_tables.h. */
bool
kv_input_has_null_keys(const ViewInput *input)
{
	ListCell   *cell;

	foreach(cell, input->keys)
		if (!bms_is_member(lfirst_int(cell), input->not_null))
			return true;
	return false;
}

/* Gives the names of the copy's columns. */
static List *
copy_columns(const ViewInput *input)
{
	return kv_statement_relation_columns(kv_delta_table(input->buffer_name), bms_num_members(input->columns));
}

/* Gives the names of the copy's columns that a new row of the same key may change: the key's where equal values differ in their digits. */
static List *
updated_columns(const ViewInput *input)
{
	List	   *names = copy_columns(input);
	List	   *updated = NIL;
	ListCell   *cell;
	int			attno = -1;

	foreach(cell, names)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		attno = bms_next_member(input->columns, attno);
		get_atttypetypmodcoll(input->relid, attno, &type, &typmod, &collation);
		if (!list_member_int(input->keys, attno) || !kv_equality_is_identity(type, collation))
			updated = lappend(updated, lfirst(cell));
	}
	return updated;
}
