/*
 * verify.c: a continuous view held against its query, and the statements that
 * maintain it.
 *
 * kafka.verify locks the pipeline's row, so that no batch commits meanwhile, and bounds
 * the scans of the topics by its positions: then query and view speak of the same records; and where
 * rows of the view wait for time, of the same frontier.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "maintenance.h"
#include "analyze.h"
#include "applied.h"
#include "catalog.h"
#include "closed_query.h"
#include "ddl.h"
#include "delta_query.h"
#include "open_columns.h"
#include "retention.h"
#include "run_sql.h"
#include "session_query.h"
#include "statement.h"
#include "tied_rows.h"
#include "view_relations.h"
#include "window_end.h"

PG_FUNCTION_INFO_V1(kafka_verify);

static void check_verifiable(ViewDef *view);
static void lock_pipeline(int64 pipeline);
static void tell_open_columns(ViewDef *view, Bitmapset *open);
static char *comparison(ViewDef *view, Oid definition);
static char *sessions_query(ViewDef *view);
static char *comparable_rows(ViewDef *view, Oid definition);
static char *comparable_columns(TupleDesc desc, Bitmapset *left_out);
static char *result_columns(TupleDesc desc);
static void put_differences(ReturnSetInfo *result, ViewRow *row, const char *text);


/* kafka.verify(view): rows of the query that the view lacks, and rows of the view that the query has not. */
Datum
kafka_verify(PG_FUNCTION_ARGS)
{
	ViewRow    *row = kv_view_by_relation(PG_GETARG_OID(0), false);
	ViewDef    *view = kv_view_load(row->view);
	char	   *text;

	check_verifiable(view);
	InitMaterializedSRF(fcinfo, 0);
	LockRelationOid(view->relid, AccessShareLock);	/* before the pipeline's row, as everybody does */
	lock_pipeline(row->pipeline);
	row = kv_view_get(row->view, false);	/* its frontier of the same moment */
	text = comparison(view, row->definition);

	PG_TRY();
	{
		kv_applied_begin(row->pipeline);
		put_differences((ReturnSetInfo *) fcinfo->resultinfo, row, text);
	}
	PG_FINALLY();
	{
		kv_applied_end();
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* Raises an error for a view that the role may not verify, or that its query says nothing about. */
static void
check_verifiable(ViewDef *view)
{
	if (!pg_class_ownercheck(view->relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, get_rel_name(view->relid));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot verify a continuous view in a transaction with one snapshot"),
				 errdetail("Positions and rows must be of the same moment."),
				 errhint("Use READ COMMITTED.")));
	if (view->unstored)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot be verified", get_rel_name(view->relid)),
				 errdetail("Its rows are not stored, so there is nothing to compare with its query."),
				 errhint("Select from it to see the rows of its query, or from the topics that are its sinks.")));
	if (view->reads_expiring)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot be verified", get_rel_name(view->relid)),
				 errdetail("A view that it reads, or one above that, removes rows that are old; its query does not see them any more."),
				 errhint("Verify a view of the streams alone.")));
	if (!view->has_oracle)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot be verified", get_rel_name(view->relid)),
				 errdetail("It looks up rows of a table as they were when each record arrived; its query sees them as they are now."),
				 errhint("Verify a view of the streams alone.")));
	if (kv_having_is_open(view) || bms_num_members(kv_open_columns(view)) == view->result->natts)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot be verified", get_rel_name(view->relid)),
				 kv_having_is_open(view) ? errdetail("Which groups it has depends on the order in which rows are aggregated, which its query leaves open.") :
				 errdetail("All its values depend on the order in which rows are aggregated, which its query leaves open."),
				 errhint("Compare it with its query by what does not depend on the order, for example with sorted arrays.")));
}

/* Says which columns are not compared. */
static void
tell_open_columns(ViewDef *view, Bitmapset *open)
{
	List	   *names = NIL;
	int			attno = -1;

	while ((attno = bms_next_member(open, attno)) >= 0)
		names = lappend(names, get_attname(view->relid, attno, false));
	if (names != NIL)
		ereport(NOTICE,
				(errmsg("not all columns of continuous view \"%s\" are compared", get_rel_name(view->relid)),
				 errdetail("Values of these depend on the order in which rows are aggregated, which the query leaves open: %s.", kv_statement_columns(names, ""))));
}

/* Keeps the pipeline from committing a batch until this transaction ends. */
static void
lock_pipeline(int64 pipeline)
{
	const Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(pipeline);
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	kv_sql_run("SELECT FROM kafka_state.pipeline WHERE pipeline = $1 FOR UPDATE", 1, types, &value, NULL);
	kv_sql_leave(&sql);
}

/* Makes the statement that compares definition and result table, both ways and with duplicates. */
static char *
comparison(ViewDef *view, Oid definition)
{
	Bitmapset  *open = kv_open_columns(view);
	char	   *columns = comparable_columns(view->result, open);
	char	   *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(view->relid)), get_rel_name(view->relid));
	char	   *query = quote_qualified_identifier(KV_STATE_SCHEMA, get_rel_name(definition));
	char	   *closed = view->sessions ? sessions_query(view) : kv_closed_query(view);
	char	   *from = closed ? psprintf("(%s) AS t (%s)", closed, result_columns(view->result)) : psprintf("%s AS t", query);
	char	   *condition = comparable_rows(view, definition);
	char	   *tied = kv_tied_rows(view, open, condition);

	tell_open_columns(view, open);
	return psprintf("WITH q AS MATERIALIZED (SELECT %s FROM %s%s), v AS MATERIALIZED (SELECT %s FROM %s), %s "
					"SELECT 'missing', pg_catalog.to_jsonb(d) FROM (SELECT * FROM must_be EXCEPT ALL SELECT * FROM v) d "
					"UNION ALL "
					"SELECT 'unexpected', pg_catalog.to_jsonb(d) FROM (SELECT * FROM v EXCEPT ALL SELECT * FROM must_be) d",
					columns, from, condition, columns, table, tied ? tied : "must_be AS (SELECT * FROM q)");
}

/* Gives a query with sessions in a form that runs. */
static char *
sessions_query(ViewDef *view)
{
	int			nest = kv_delta_begin_printing();
	char	   *query = kv_session_query(view);

	AtEOXact_GUC(true, nest);
	return query;
}

/* Gives the condition on the query's rows that the view can have at the frontier, $1: those of closed windows under emit = 'final', and not too old. */
static char *
comparable_rows(ViewDef *view, Oid definition)
{
	StringInfoData text;
	int			nest = kv_delta_begin_printing();

	initStringInfo(&text);
	if (view->final)
		appendStringInfo(&text, " WHERE %s", kv_window_ended(view->window, definition, view->window->key, 1,
															 view->window_grace_us + view->window->delay_us));
	if (view->retention_us >= 0)
		appendStringInfo(&text, "%s (%s) IS NOT TRUE", view->final ? " AND" : " WHERE",
						 kv_retention_expired(view, definition, kv_retention_attno(view), 1));
	AtEOXact_GUC(true, nest);
	return text.data;
}

/* Lists the columns that are compared. */
static char *
comparable_columns(TupleDesc desc, Bitmapset *left_out)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (!bms_is_member(i + 1, left_out))
			appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", kv_tied_column(NameStr(column->attname), column->atttypid));
	}
	return text.data;
}

/* Lists the names of the columns. */
static char *
result_columns(TupleDesc desc)
{
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
		names = lappend(names, NameStr(TupleDescAttr(desc, i)->attname));
	return kv_statement_columns(names, "");
}

/* Runs the comparison as the owner of the view, with its settings. */
static void
put_differences(ReturnSetInfo *result, ViewRow *row, const char *text)
{
	const Oid	types[] = {TIMESTAMPTZOID};
	Datum		frontier = TimestampTzGetDatum(row->frontier);
	uint64		count;
	KvSql		sql;

	kv_sql_enter_role(&sql, kv_relation_owner(row->relation), row->settings);
	count = kv_sql_read(text, 1, types, &frontier, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		Datum		values[2];
		bool		nulls[2];

		values[0] = kv_sql_value(i, 1, &nulls[0]);
		values[1] = kv_sql_value(i, 2, &nulls[1]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	kv_sql_leave(&sql);
}
