/*
 * upper_rows.c: what a dead letter of a view over views needs besides its record.
 *
 * The views below have applied the record; what they made of it depends on what they had then, and cannot be made again. So the rows that
 * the view could not bear are kept with the dead letter, as the text of their composite type, written and read under the same settings:
 * {"id of the view": ["(1,a)", ...]}. A row of an append-only view is final. A row of a keyed view may have been changed since;
 * its key says which rows the view must learn of, and these are read from the keyed view as they are now, or
 * are gone: so it does not matter what the view has learnt of them meanwhile.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "run_sql.h"
#include "statement.h"
#include "subtransaction.h"
#include "upper_rows.h"

/* More than so many bytes of one view's rows are not kept: then there is null in their place, and the dead letter cannot be tried again. */
#define LARGEST_ROWS (16 * 1024 * 1024)

static bool reads(const PipelineView *view, const PipelineView *upper);
static char *pack_rows(PipelineView *upper);
static bool are_too_large(const char *rows);
static void enter_upper(KvSql *sql, PipelineView *upper);
static List *column_names(const PipelineView *upper);
static void give(Pipeline *pipeline, const char *json, ResourceOwner owner);
static void give_rows(PipelineView *upper, Datum rows);
static char *given_query(PipelineView *upper);
static char *current_rows(PipelineView *upper, List *names);


/* Packs rows; see upper_rows.h. Runs: in a transaction, between begin and end of views' rows. */
char *
kv_upper_rows_pack(Pipeline *pipeline, const PipelineView *view)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *upper = &pipeline->views[i];
		char	   *rows = upper->rows != NULL && reads(view, upper) ? pack_rows(upper) : NULL;

		if (rows != NULL)
			appendStringInfo(&json, "%s\"" INT64_FORMAT "\":%s", json.len == 0 ? "{" : ",", upper->row->view, rows);
	}
	if (json.len == 0)
		return NULL;
	appendStringInfoChar(&json, '}');
	return json.data;
}

static bool
reads(const PipelineView *view, const PipelineView *upper)
{
	for (int i = 0; i < view->view->ninputs; i++)
		if (view->view->inputs[i].relid == upper->row->relation)
			return true;
	return false;
}

/* Gives the rows of a view as a JSON array of texts; NULL: it has none. */
static char *
pack_rows(PipelineView *upper)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *rows;
	char	   *json = NULL;
	KvSql		sql;

	enter_upper(&sql, upper);
	tuplestore_select_read_pointer(upper->rows, 0);
	tuplestore_rescan(upper->rows);
	kv_sql_register("kv_given", upper->row_desc, upper->rows, 1);
	rows = psprintf("(SELECT ROW(%s)::pg_catalog.text FROM kv_given g) AS r (row_text)", kv_statement_columns(column_names(upper), "g."));
	if (are_too_large(rows))
		json = "null";
	else
	{
		kv_sql_read(psprintf("SELECT pg_catalog.to_jsonb(pg_catalog.array_agg(row_text))::pg_catalog.text FROM %s", rows), 0, NULL, NULL, NULL, 0);
		json = kv_sql_text(0, 1);
	}
	if (json != NULL)
		json = MemoryContextStrdup(caller, json);
	kv_sql_leave(&sql);
	return json;
}

/* Tells whether rows are more than a dead letter should have, or jsonb could. */
static bool
are_too_large(const char *rows)
{
	bool		isnull;
	int64		size;

	kv_sql_read(psprintf("SELECT pg_catalog.sum(pg_catalog.octet_length(row_text)) FROM %s", rows), 0, NULL, NULL, NULL, 0);
	size = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	return !isnull && size > LARGEST_ROWS;
}

/* Enters the role of a view, with its settings but for those by which text of values could lose something. */
static void
enter_upper(KvSql *sql, PipelineView *upper)
{
	kv_sql_enter_role(sql, upper->view->owner, upper->row->settings);
	kv_sql_run("SET LOCAL datestyle = 'ISO, MDY'", 0, NULL, NULL, NULL);
	kv_sql_run("SET LOCAL intervalstyle = 'postgres'", 0, NULL, NULL, NULL);
	kv_sql_run("SET LOCAL extra_float_digits = 1", 0, NULL, NULL, NULL);
}

/* Lists the columns of a view. */
static List *
column_names(const PipelineView *upper)
{
	TupleDesc	desc = upper->view->result;
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			names = lappend(names, NameStr(TupleDescAttr(desc, i)->attname));
	return names;
}

/* Gives rows again; see upper_rows.h. Runs: in the batch's transaction. The PG_TRY turns an error into an answer for one dead letter alone. */
ErrorData *
kv_upper_rows_give(Pipeline *pipeline, const char *json)
{
	SubTransaction sub;
	ErrorData  *volatile error = NULL;

	kv_subtransaction_begin(&sub);
	PG_TRY();
	{
		give(pipeline, json, sub.owner);
		kv_subtransaction_release(&sub);
	}
	PG_CATCH();
	{
		error = kv_subtransaction_failed(&sub);
		kv_upper_rows_end(pipeline);
	}
	PG_END_TRY();
	return error;
}

/* Fills stores that belong to owner, for they outlive the subtransaction. */
static void
give(Pipeline *pipeline, const char *json, ResourceOwner owner)
{
	static const char text[] = "SELECT r.value::pg_catalog.text FROM pg_catalog.jsonb_each($1::pg_catalog.jsonb) r WHERE r.key::bigint = $2";
	const Oid	types[] = {TEXTOID, INT8OID};
	ResourceOwner current = CurrentResourceOwner;
	Datum		values[] = {CStringGetTextDatum(json), (Datum) 0};

	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *upper = &pipeline->views[i];
		KvSql		sql;
		char	   *rows = NULL;

		values[1] = Int64GetDatum(upper->row->view);
		kv_sql_enter_engine(&sql);
		if (kv_sql_read(text, 2, types, values, NULL, 1) > 0)
			rows = MemoryContextStrdup(pipeline->batch, kv_sql_text(0, 1));
		kv_sql_leave(&sql);
		if (rows == NULL || upper->row_desc == NULL)
			continue;
		CurrentResourceOwner = owner;
		upper->given = tuplestore_begin_heap(false, false, work_mem);
		CurrentResourceOwner = current;
		give_rows(upper, CStringGetTextDatum(rows));
	}
}

static void
give_rows(PipelineView *upper, Datum rows)
{
	const Oid	types[] = {TEXTOID};
	KvPlan	   *plan = kv_plan_make(CurrentMemoryContext, given_query(upper), 1, types);
	KvSql		sql;

	enter_upper(&sql, upper);
	(void) kv_plan_run(plan, 0, &rows, NULL, upper->given);
	kv_sql_leave(&sql);
	kv_plan_free(plan);
}

/* Makes the query that gives the rows of a view from their texts, $1. */
static char *
given_query(PipelineView *upper)
{
	bool		keyed = upper->view->shape == SHAPE_KEYED;
	List	   *names = column_names(upper);
	char	   *with = psprintf("WITH g AS (SELECT (v::%s).* FROM pg_catalog.jsonb_array_elements_text($1::pg_catalog.jsonb) v)\n",
								format_type_be_qualified(get_rel_type_id(upper->row->relation)));

	if (!keyed)
		return psprintf("%sSELECT %s FROM g", with, kv_statement_columns(names, ""));
	if (upper->view->keys == NIL)
		return psprintf("SELECT %s, false FROM %s WHERE $1 IS NOT NULL", kv_statement_columns(names, ""), upper->view->name);
	return psprintf("%s%s", with, current_rows(upper, names));
}

/* Makes the part of it that gives the rows of a keyed view as they are now, or as deleted. */
static char *
current_rows(PipelineView *upper, List *names)
{
	List	   *keys = NIL;
	List	   *types = NIL;
	char	   *find;
	ListCell   *cell;

	foreach(cell, upper->view->keys)
	{
		Form_pg_attribute column = TupleDescAttr(upper->view->result, lfirst_int(cell) - 1);

		keys = lappend(keys, NameStr(column->attname));
		types = lappend_oid(types, column->atttypid);
	}
	find = kv_statement_find(upper->view->name, keys, "g", types, NIL, "");
	return psprintf("SELECT %s, false FROM g CROSS JOIN LATERAL (%s) f JOIN %s t ON t.ctid = f.ctid\n"
					"UNION ALL SELECT %s, true FROM g WHERE NOT EXISTS (SELECT FROM (%s) f)",
					kv_statement_columns(names, "t."), find, upper->view->name, kv_statement_columns(names, "g."), find);
}

/* Ends it. */
void
kv_upper_rows_end(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		if (pipeline->views[i].given != NULL)
			tuplestore_end(pipeline->views[i].given);
		pipeline->views[i].given = NULL;
	}
}
