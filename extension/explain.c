/*
 * explain.c: kafka.explain: the statements that maintain a view, and how a small batch runs them.
 *
 * A plan is the one that the worker keeps for a delta of a few rows: made by the same
 * code, as the view's owner under the view's settings, over deltas of the same types, which are empty here.
 * Nothing is run. What the planner knows of the tables is of now; the worker plans again when they have grown.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "analyze.h"
#include "catalog.h"
#include "delta_desc.h"
#include "input_tables.h"
#include "maintenance.h"
#include "run_sql.h"

PG_FUNCTION_INFO_V1(kafka_explain);

/* Rows that the planner is told of each delta. */
#define FEW_ROWS 5

static void put_buffers(ViewDef *view, ReturnSetInfo *result);
static List *register_deltas(ViewDef *view, List *statements);
static bool is_registered(List *deltas, const char *name);
static EphemeralNamedRelation register_empty(const char *name, TupleDesc desc);

/* kafka.explain(view, plans): the maintenance statements in the order in which a batch runs them, and the buffers of streams. */
Datum
kafka_explain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = PG_GETARG_OID(0);
	bool		with_plans = PG_GETARG_BOOL(1);
	ViewRow    *row = kv_view_by_relation(relid, false);
	ViewDef    *view;
	List	   *statements;
	List	   *deltas = NIL;
	KvSql		sql;
	ListCell   *cell;

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_MATVIEW, get_rel_name(relid));
	InitMaterializedSRF(fcinfo, 0);
	view = kv_view_load(row->view);
	kv_sql_enter_role(&sql, view->owner, row->settings);
	statements = kv_maintenance(view)->statements;
	if (with_plans)
		deltas = register_deltas(view, statements);
	foreach(cell, statements)
	{
		MaintenanceStatement *statement = lfirst(cell);
		Datum		values[4];
		bool		nulls[4] = {false, false, false, !with_plans};

		values[0] = CStringGetTextDatum(kv_phase_name(statement->phase));
		values[1] = CStringGetTextDatum(statement->title);
		values[2] = CStringGetTextDatum(statement->sql);
		if (with_plans)
		{
			KvPlan	   *plan = kv_maintenance_make_plan(CurrentMemoryContext, view, statement);

			values[3] = CStringGetTextDatum(kv_plan_explain(plan, kv_size_class(FEW_ROWS), deltas));
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	put_buffers(view, result);
	kv_sql_leave(&sql);
	return (Datum) 0;
}

/* Adds a row for each buffer of a stream: what a crash does to it. */
static void
put_buffers(ViewDef *view, ReturnSetInfo *result)
{
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];
		bool		unlogged;
		Datum		values[4] = {0};
		bool		nulls[4] = {false, false, false, true};

		if (input->kind != INPUT_STREAM || input->buffer_name == NULL)
			continue;
		unlogged = kv_buffer_is_unlogged(input);
		values[0] = CStringGetTextDatum("buffer");
		values[1] = CStringGetTextDatum(psprintf("%s buffer of %s", unlogged ? "unlogged" : "logged", get_rel_name(input->relid)));
		values[2] = CStringGetTextDatum(linitial(kv_input_tables(input, unlogged)));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* Registers empty deltas of all inputs, and of what statements capture for later ones. */
static List *
register_deltas(ViewDef *view, List *statements)
{
	List	   *deltas = NIL;
	ListCell   *cell;

	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];

		if (input->kind != INPUT_RELATION && !is_registered(deltas, input->delta_name))
			deltas = lappend(deltas, register_empty(input->delta_name, kv_delta_desc_of_input(input)));
	}
	foreach(cell, statements)
	{
		MaintenanceStatement *statement = lfirst(cell);

		if (statement->captures != NULL && !is_registered(deltas, statement->captures))
			deltas = lappend(deltas, register_empty(statement->captures, statement->capture_desc));
	}
	return deltas;
}

static bool
is_registered(List *deltas, const char *name)
{
	ListCell   *cell;

	foreach(cell, deltas)
	{
		if (strcmp(((EphemeralNamedRelation) lfirst(cell))->md.name, name) == 0)
			return true;
	}
	return false;
}

static EphemeralNamedRelation
register_empty(const char *name, TupleDesc desc)
{
	return kv_sql_register(name, desc, tuplestore_begin_heap(false, false, work_mem), FEW_ROWS);
}
