/*
 * result_rows.c: rows of a view over tables are written by its key.
 *
 * Invariant: a row is written only if it differs in its bytes from the one that stands, so what stays is neither
 * published again nor news for the views over it.
 */
#include "result_rows.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "equality.h"

static char *assignments(ViewDef *view, const char *fresh, char **differs);

List *
kv_result_key_names(const ViewDef *view)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, view->keys)
		names = lappend(names, get_attname(view->relid, lfirst_int(cell), false));
	return names;
}

List *
kv_result_key_types(const ViewDef *view)
{
	List	   *types = NIL;
	ListCell   *cell;

	foreach(cell, view->keys)
		types = lappend_oid(types, TupleDescAttr(view->result, lfirst_int(cell) - 1)->atttypid);
	return types;
}

List *
kv_result_key_nullable(const ViewDef *view)
{
	List	   *nullable = NIL;
	ListCell   *cell;

	foreach(cell, view->keys)
		nullable = lappend_int(nullable, !bms_is_member(lfirst_int(cell), view->not_null));
	return nullable;
}

/* Writes rows; see result_rows.h. */
MaintenanceStatement *
kv_result_upsert(ViewDef *view, char *title, const char *rows)
{
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	char	   *differs;
	char	   *assigned = assignments(view, "excluded", &differs);
	char	   *sql = psprintf("INSERT INTO %s AS t (%s)\n%s\nON CONFLICT (%s) DO %s%s%s%s", view->name, kv_statement_columns(columns, ""), rows,
							   kv_statement_columns(kv_result_key_names(view), ""), assigned ? "UPDATE SET " : "NOTHING", assigned ? assigned : "",
							   assigned ? "\n  WHERE " : "", assigned ? differs : "");
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, title, sql, -1);

	kv_statement_return_rows(view, statement, false);
	return statement;
}

/* Writes the only row; see result_rows.h. */
MaintenanceStatement *
kv_result_update(ViewDef *view, char *title, const char *rows)
{
	List	   *columns = kv_statement_relation_columns(view->relid, view->result->natts);
	char	   *differs;
	char	   *assigned = assignments(view, "final", &differs);
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, title, psprintf("UPDATE %s AS t\n   SET %s\n   FROM (%s) AS final (%s)\n  WHERE %s",
																				  view->name, assigned, rows, kv_statement_columns(columns, ""), differs), -1);

	kv_statement_return_rows(view, statement, false);
	return statement;
}

/* Gives what SET says to take the columns that a new row of the same key may change from fresh, and the condition that it does; NULL: none may. */
static char *
assignments(ViewDef *view, const char *fresh, char **differs)
{
	List	   *attnos = NIL;
	List	   *stored = NIL;
	List	   *new = NIL;
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 1; i <= view->result->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(view->result, i - 1);
		const char *name = quote_identifier(get_attname(view->relid, i, false));

		/* an equal key may have other digits: 1.0 and 1.00 */
		if (list_member_int(view->keys, i) && kv_equality_is_identity(column->atttypid, column->attcollation))
			continue;
		appendStringInfo(&sql, "%s%s = %s.%s", attnos == NIL ? "" : ", ", name, fresh, name);
		attnos = lappend_int(attnos, i);
		stored = lappend(stored, psprintf("t.%s", name));
		new = lappend(new, psprintf("%s.%s", fresh, name));
	}
	if (attnos == NIL)
		return NULL;
	*differs = kv_statement_difference(view->result, attnos, stored, new);
	return sql.data;
}

/* Deletes rows; see result_rows.h. */
MaintenanceStatement *
kv_result_delete(ViewDef *view, char *title, const char *keys)
{
	List	   *names = kv_result_key_names(view);
	List	   *nullable = kv_result_key_nullable(view);
	char	   *columns = kv_statement_columns(names, "");
	List	   *types = kv_result_key_types(view);
	MaintenanceStatement *statement;
	char	   *sql;

	/* with nulls spelled out every row is one probe of the key's index, whatever column comes first in it, a constant for one */
	if (list_member_int(nullable, true))
		sql = psprintf("DELETE FROM %s AS t\n  USING (%s) AS gone (%s),\n    LATERAL (%s) AS found\n  WHERE t.ctid = found.ctid",
					   view->name, keys, columns, kv_statement_find(view->name, names, "gone", types, nullable, ""));
	else
		sql = psprintf("DELETE FROM %s AS t\n  USING (%s) AS gone (%s)\n  WHERE %s", view->name, keys, columns,
					   kv_statement_match("t", names, "gone", names, types, nullable));
	statement = kv_statement(PHASE_COMPUTE, title, sql, -1);
	kv_statement_return_rows(view, statement, true);
	return statement;
}
