/*
 * apply.c: runs the statements of one view over the deltas of a (sub)batch, as its
 * owner and with its settings.
 *
 * Invariant: a view sees the deltas by name and the tables as the statements before
 * left them, in the order accumulate.c gave; what one statement captures is read by
 * later ones of the same view, and by the views over it, in the same (sub)batch.
 * It takes no decision about the batch: batch.c calls it within its transaction,
 * dead_letter.c within a subtransaction, advance.c to close and evict and reload.c to refill.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "apply.h"
#include "closed_rows.h"
#include "delta.h"
#include "fault_point.h"
#include "note_times.h"
#include "outbox.h"
#include "row_time.h"
#include "run_sql.h"
#include "set_aside.h"
#include "sinks.h"

/* Result rows that later statements of the same view read by name. */
typedef struct Capture
{
	const char *name;
	TupleDesc	desc;
	Tuplestorestate *rows;
	int64		nrows;
	bool		registered;
} Capture;

typedef struct ViewRun
{
	Pipeline   *pipeline;
	PipelineView *view;
	Datum		frontiers[2];	/* $1 and $2 of every statement */
	const char *title;			/* statement that is running, for the error context */
	List	   *captures;		/* of Capture * */
} ViewRun;

/* Rows of an input that time closes, and what else has been captured. */
typedef struct ClosedInput
{
	ViewRun    *run;
	MaintenanceStatement *take;
	List	   *captures;
} ClosedInput;

/* A statement that is run on parts of the rows it reads. */
typedef struct RowStatement
{
	ViewRun    *run;
	KvPlan	   *plan;
	Capture    *capture;
} RowStatement;

static void apply_without_topics(Pipeline *pipeline, PipelineView *view);
static bool no_row(int64 row, void *arg);
static void apply_inputs(Pipeline *pipeline, PipelineView *view);
static void refresh_plans(PipelineView *view, int64 nrows);
static void run_statements(Pipeline *pipeline, PipelineView *view, bool closing);
static void run_all(ViewRun *run, bool (*wanted) (const MaintenanceStatement *));
static bool is_for_records(const MaintenanceStatement *statement);
static bool is_for_closed_rows(const MaintenanceStatement *statement);
static bool is_for_closing(const MaintenanceStatement *statement);
static void run_closed_inputs(ViewRun *run);
static void run_on_closed_rows(Tuplestorestate *rows, int64 nrows, void *arg);
static void enter_view(ViewRun *run, KvSql *sql, Pipeline *pipeline, PipelineView *view, TimestampTz frontier, TimestampTz next_frontier);
static void leave_view(ViewRun *run, KvSql *sql);
static void register_deltas(ViewRun *run);
static int64 input_rows(Pipeline *pipeline, const ViewInput *input);
static void run_statement(ViewRun *run, MaintenanceStatement *statement, KvPlan *plan);
static int64 register_capture(ViewRun *run, const char *name);
static void run_by_row(ViewRun *run, KvPlan *plan, Capture *capture);
static void run_on_rows(Tuplestorestate *rows, int64 nrows, void *arg);
static uint64 run_silently(ViewRun *run, KvPlan *plan, int size_class, Tuplestorestate *target);
static void run_late_statement(ViewRun *run, const MaintenanceStatement *statement, KvPlan *plan, int size_class);
static Capture *find_capture(ViewRun *run, const char *name, TupleDesc desc);
static void add_view_context(void *arg);
static void skip_rows(Pipeline *pipeline, PipelineView *view, int input, Datum rows);


/* Runs the statements of all views over the current deltas. Runs: in a subtransaction, between begin and end of views' rows. */
void
kv_apply_views(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
		kv_apply_view(pipeline, &pipeline->views[i]);
}

/* Runs the statements of one view over what its inputs got; those of topics may be for another view only. */
void
kv_apply_view(Pipeline *pipeline, PipelineView *view)
{
	if (pipeline->only_view == NULL || pipeline->only_view == view)
		apply_inputs(pipeline, view);
	else
		apply_without_topics(pipeline, view);
}

/* Does it as if topics had given nothing, nor views what they only give again. What a view gets now is new to its readers. */
static void
apply_without_topics(Pipeline *pipeline, PipelineView *view)
{
	DeltaSaved *saved = kv_delta_narrow(pipeline, no_row, NULL);
	DeltaSaved *saved_views = kv_delta_hide_given(pipeline);

	PG_TRY();
	{
		apply_inputs(pipeline, view);
	}
	PG_FINALLY();
	{
		kv_delta_show_given(pipeline, saved_views);
		kv_delta_restore(pipeline, saved);
	}
	PG_END_TRY();
}

static bool
no_row(int64 row, void *arg)
{
	return false;
}

static void
apply_inputs(Pipeline *pipeline, PipelineView *view)
{
	int64		nrows = 0;

	if (kv_pipeline_leaves_out(view))
		return;
	for (int i = 0; i < view->view->ninputs; i++)
	{
		ViewInput  *input = &view->view->inputs[i];

		if (kv_input_is_view(input))
			kv_delta_of_view(pipeline, kv_pipeline_view(pipeline, input->relid), false);
		nrows += input_rows(pipeline, input);
	}
	if (nrows == 0)
		return;

	refresh_plans(view, nrows);
	run_statements(pipeline, view, false);
}

/* Runs the statements that the move of the view's frontier asks for; kv_apply_view has been called before. */
void
kv_apply_close(Pipeline *pipeline, PipelineView *view)
{
	/* what time alone makes has no other cause */
	kv_outbox_default_time = view->next_frontier;
	run_statements(pipeline, view, true);
	kv_outbox_default_time = DT_NOBEGIN;
}

/*
 * Runs the statements of a (sub)batch, or those of the batch's end, as the view's owner, with deferred constraints checked by
 * each statement. What reads captures (the aggregate over joined rows) has its turn in both, on the rows captured there.
 */
static void
run_statements(Pipeline *pipeline, PipelineView *view, bool closing)
{
	ErrorContextCallback context = {error_context_stack, add_view_context, NULL};
	ViewRun		run;
	KvSql		sql;

	context.arg = &run;
	enter_view(&run, &sql, pipeline, view, view->frontier, closing ? view->next_frontier : view->frontier);
	error_context_stack = &context;
	/* before the statements: a deferred trigger would fire outside of the role, which Postgres refuses to queue */
	run.title = "deferred constraints";
	kv_sql_run("SET CONSTRAINTS ALL IMMEDIATE", 0, NULL, NULL, NULL);
	register_deltas(&run);
	if (closing)
		run_closed_inputs(&run);
	run_all(&run, closing ? is_for_closing : is_for_records);
	run.title = "write to sinks";
	kv_sinks_publish(view);
	error_context_stack = context.previous;
	leave_view(&run, &sql);
}

static void
run_all(ViewRun *run, bool (*wanted) (const MaintenanceStatement *))
{
	ListCell   *statement;
	ListCell   *plan;

	forboth(statement, run->view->plan->statements, plan, run->view->compiled)
	{
		MaintenanceStatement *next = lfirst(statement);

		if (!wanted(next))
			continue;
		KV_FAULT_POINT_OF("before", kv_phase_name(next->phase));
		run_statement(run, next, lfirst(plan));
		KV_FAULT_POINT_OF("after", kv_phase_name(next->phase));
	}
}

static bool
is_for_records(const MaintenanceStatement *statement)
{
	return statement->phase == PHASE_LOOKUP || statement->phase == PHASE_COMPUTE || statement->phase == PHASE_APPEND || statement->phase == PHASE_LATE;
}

static bool
is_for_closed_rows(const MaintenanceStatement *statement)
{
	return statement->phase == PHASE_UNMATCHED ||
		((statement->phase == PHASE_COMPUTE || statement->phase == PHASE_LATE) && statement->reads != NULL);
}

static bool
is_for_closing(const MaintenanceStatement *statement)
{
	return statement->phase == PHASE_CLOSE;
}

/* Applies the rows that time closes, input by input, so that one that makes it fail can be set aside. */
static void
run_closed_inputs(ViewRun *run)
{
	ListCell   *statement;
	ListCell   *plan;

	forboth(statement, run->view->plan->statements, plan, run->view->compiled)
	{
		MaintenanceStatement *take = lfirst(statement);
		ClosedInput input = {run, take, run->captures};
		ClosedRows	closed = {.pipeline = run->pipeline,.view = run->view,.desc = take->capture_desc,.apply = run_on_closed_rows,.arg = &input};

		if (take->phase != PHASE_TAKE)
			continue;
		run->title = take->title;
		closed.source = run->view->view->inputs[take->input].relid;
		closed.rows = tuplestore_begin_heap(false, false, work_mem);
		closed.nrows = kv_plan_run(lfirst(plan), 0, run->frontiers, NULL, closed.rows);
		kv_closed_rows_apply(&closed);
		run->captures = input.captures;
		tuplestore_end(closed.rows);
	}
}

/* Makes what some closed rows of an input make, with captures of their own. */
static void
run_on_closed_rows(Tuplestorestate *rows, int64 nrows, void *arg)
{
	ClosedInput *input = arg;
	Capture		taken = {input->take->captures, input->take->capture_desc, rows, nrows};
	ListCell   *lc;

	input->run->captures = list_make1(&taken);
	run_all(input->run, is_for_closed_rows);
	kv_sinks_publish(input->run->view);
	foreach(lc, input->run->captures)
	{
		if (lfirst(lc) != &taken)
			tuplestore_end(((Capture *) lfirst(lc))->rows);
	}
}

/* Enters the owner's role with the view's settings; writes to the engine's tables are let through until leave_view. */
static void
enter_view(ViewRun *run, KvSql *sql, Pipeline *pipeline, PipelineView *view, TimestampTz frontier, TimestampTz next_frontier)
{
	run->pipeline = pipeline;
	run->view = view;
	run->frontiers[0] = TimestampTzGetDatum(frontier);
	run->frontiers[1] = TimestampTzGetDatum(next_frontier);
	run->title = NULL;
	run->captures = NIL;
	kv_sql_enter_role(sql, view->view->owner, view->row->settings);
	kv_note_times_begin(view->view);
	kv_maintaining = true;
}

static void
leave_view(ViewRun *run, KvSql *sql)
{
	ListCell   *lc;

	kv_maintaining = false;
	kv_row_times_end();
	foreach(lc, run->captures)
		tuplestore_end(((Capture *) lfirst(lc))->rows);
	kv_sql_leave(sql);
}

/* Makes the deltas of a view's inputs readable by name; a relation that stands in it twice has one. */
static void
register_deltas(ViewRun *run)
{
	for (int i = 0; i < run->view->view->ninputs; i++)
	{
		ViewInput  *input = &run->view->view->inputs[i];
		bool		done = input->kind == INPUT_RELATION;

		for (int j = 0; j < i && !done; j++)
			done = run->view->view->inputs[j].kind != INPUT_RELATION &&
				strcmp(run->view->view->inputs[j].delta_name, input->delta_name) == 0;
		if (done)
			continue;
		if (kv_input_is_view(input))
		{
			PipelineView *upper = kv_pipeline_view(run->pipeline, input->relid);

			kv_sql_register(input->delta_name, upper->delta_desc, upper->delta, upper->delta_rows);
		}
		else
		{
			TopicInput *topic = kv_pipeline_topic(run->pipeline, input->relid);

			kv_sql_register(input->delta_name, topic->delta_desc, topic->delta, topic->delta_rows);
		}
	}
}

/* Gives how many rows the delta of an input has; an ordinary table has none. */
static int64
input_rows(Pipeline *pipeline, const ViewInput *input)
{
	switch (input->kind)
	{
		case INPUT_STREAM:
		case INPUT_LOOKUP:
			return kv_pipeline_topic(pipeline, input->relid)->delta_rows;
		case INPUT_VIEW:
		case INPUT_KEYED:
			return kv_pipeline_view(pipeline, input->relid)->delta_rows;
		case INPUT_RELATION:
			break;
	}
	return 0;
}

/* Runs one statement unless what it reads is empty. */
static void
run_statement(ViewRun *run, MaintenanceStatement *statement, KvPlan *plan)
{
	ViewDef    *view = run->view->view;
	Tuplestorestate *target = NULL;
	Capture    *capture = NULL;
	int64		nrows = 0;
	uint64		processed;

	if (statement->input >= 0)
	{
		nrows = input_rows(run->pipeline, &view->inputs[statement->input]);
		if (nrows == 0)
			return;
	}
	else
	{
		for (int i = 0; i < view->ninputs; i++)
			nrows += input_rows(run->pipeline, &view->inputs[i]);
	}
	if (statement->reads != NULL)
	{
		nrows = register_capture(run, statement->reads);
		if (nrows == 0)
			return;
		if (statement->reads_also != NULL)
			(void) register_capture(run, statement->reads_also);
	}
	run->title = statement->title;
	if (statement->phase == PHASE_LATE)
	{
		run_late_statement(run, statement, plan, kv_size_class(nrows));
		return;
	}
	if (statement->captures != NULL)
	{
		capture = find_capture(run, statement->captures, statement->capture_desc);
		target = capture->rows;
	}
	else if (statement->writes_view)
		target = run->view->rows;

	if (statement->by_row)
	{
		run_by_row(run, plan, find_capture(run, statement->reads, NULL));
		return;
	}
	if (statement->silent)
		processed = run_silently(run, plan, kv_size_class(nrows), target);
	else
		processed = kv_plan_run(plan, kv_size_class(nrows), run->frontiers, NULL, target);
	if (capture != NULL)
		capture->nrows += processed;
}

/* Runs a statement on captured rows that do not depend on each other, so that one which makes it fail can be set aside. */
static void
run_by_row(ViewRun *run, KvPlan *plan, Capture *capture)
{
	RowStatement statement = {run, plan, capture};
	ClosedRows	closed = {
		.pipeline = run->pipeline,.view = run->view,.source = run->view->row->relation,.desc = capture->desc,.rows = capture->rows,.nrows = capture->nrows,
		.apply = run_on_rows,.arg = &statement
	};

	kv_closed_rows_apply(&closed);
	kv_sql_register(capture->name, capture->desc, capture->rows, capture->nrows);
}

static void
run_on_rows(Tuplestorestate *rows, int64 nrows, void *arg)
{
	RowStatement *statement = arg;

	kv_sql_register(statement->capture->name, statement->capture->desc, rows, nrows);
	kv_plan_run(statement->plan, kv_size_class(nrows), statement->run->frontiers, NULL, statement->run->view->rows);
}

/* Runs a statement whose triggers write nothing to topics. */
static uint64
run_silently(ViewRun *run, KvPlan *plan, int size_class, Tuplestorestate *target)
{
	bool		held_back = kv_outbox_held_back;
	uint64		processed = 0;

	kv_outbox_held_back = true;
	PG_TRY();
	{
		processed = kv_plan_run(plan, size_class, run->frontiers, NULL, target);
	}
	PG_FINALLY();
	{
		kv_outbox_held_back = held_back;
	}
	PG_END_TRY();
	return processed;
}

/* Makes captured rows readable by name; gives their number, 0 too where nothing was captured under the name. */
static int64
register_capture(ViewRun *run, const char *name)
{
	Capture    *capture = find_capture(run, name, NULL);

	if (capture == NULL)
		return 0;
	if (!capture->registered)
		kv_sql_register(capture->name, capture->desc, capture->rows, capture->nrows);
	capture->registered = true;
	return capture->nrows;
}

/*
 * Drops the kept plans each time the rows since the run began have doubled: one made for
 * tables that were nearly empty reads them whole when they are not (a batch of 25 s instead of 0.3 s).
 */
static void
refresh_plans(PipelineView *view, int64 nrows)
{
	ListCell   *lc;

	if (view->applied >= view->replan_at)
	{
		foreach(lc, view->compiled)
			kv_plan_free(lfirst(lc));
		view->replan_at = Max(view->applied * 2, 1);
	}
	view->applied += nrows;
}

/* Counts late rows of an input, and stores those that only the frontier made late. */
static void
run_late_statement(ViewRun *run, const MaintenanceStatement *statement, KvPlan *plan, int size_class)
{
	kv_plan_run(plan, size_class, run->frontiers, NULL, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;
		Datum		late = kv_sql_value(row, 1, &isnull);

		if (!isnull)
			run->view->late_rows += DatumGetInt64(late);
		late = kv_sql_value(row, 2, &isnull);
		if (!isnull)
			skip_rows(run->pipeline, run->view, statement->input, late);
	}
}

/* Stores the records of the given kv_rows (bigint[]) as skipped for an input of the view. Rows of views are not reloaded and not stored. */
static void
skip_rows(Pipeline *pipeline, PipelineView *view, int input, Datum rows)
{
	Datum	   *elements;
	bool	   *isnull;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(rows), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, &isnull, &count);
	for (int i = 0; i < count; i++)
	{
		int64		row = DatumGetInt64(elements[i]);

		if (!isnull[i] && row >= 0 && row < pipeline->nsources)
			kv_set_aside_skip(pipeline, pipeline->sources[row].partition, pipeline->sources[row].offset, view->row->view, input);
	}
}

/* Finds the rows captured under a name; with a row type it makes them. */
static Capture *
find_capture(ViewRun *run, const char *name, TupleDesc desc)
{
	Capture    *capture;
	ListCell   *lc;

	foreach(lc, run->captures)
	{
		capture = lfirst(lc);
		if (strcmp(capture->name, name) == 0)
			return capture;
	}
	if (desc == NULL)
		return NULL;
	capture = palloc0(sizeof(Capture));
	capture->name = name;
	capture->desc = desc;
	capture->rows = tuplestore_begin_heap(false, false, work_mem);
	run->captures = lappend(run->captures, capture);
	return capture;
}

/* Deletes what no probe of the view can see any more, with the frontier after this batch. */
void
kv_apply_evict(Pipeline *pipeline, PipelineView *view)
{
	ErrorContextCallback context = {error_context_stack, add_view_context, NULL};
	ViewRun		run;
	KvSql		sql;
	ListCell   *statement;
	ListCell   *plan;

	context.arg = &run;
	enter_view(&run, &sql, pipeline, view, view->frontier, view->next_frontier);
	error_context_stack = &context;
	forboth(statement, view->plan->statements, plan, view->compiled)
	{
		MaintenanceStatement *next = lfirst(statement);

		run.title = next->title;
		if (next->phase != PHASE_EVICT)
			continue;
		KV_FAULT_POINT_OF("before", kv_phase_name(next->phase));
		kv_plan_run(lfirst(plan), 0, run.frontiers, NULL, NULL);
		KV_FAULT_POINT_OF("after", kv_phase_name(next->phase));
	}
	error_context_stack = context.previous;
	leave_view(&run, &sql);
}

/* Puts the current delta of a topic back into the buffer of an input; lateness is judged by kv_before alone. */
void
kv_apply_reload(Pipeline *pipeline, PipelineView *view, const MaintenanceStatement *statement)
{
	ErrorContextCallback context = {error_context_stack, add_view_context, NULL};
	ViewInput  *input = &view->view->inputs[statement->input];
	TopicInput *topic = kv_pipeline_topic(pipeline, input->relid);
	const Oid	types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	ViewRun		run;
	KvSql		sql;

	if (topic->delta_rows == 0)
		return;
	context.arg = &run;
	enter_view(&run, &sql, pipeline, view, DT_NOBEGIN, DT_NOBEGIN);
	error_context_stack = &context;
	run.title = statement->title;
	kv_sql_register(input->delta_name, topic->delta_desc, topic->delta, topic->delta_rows);
	kv_sql_run(statement->sql, 2, types, run.frontiers, NULL);
	error_context_stack = context.previous;
	leave_view(&run, &sql);
}

static void
add_view_context(void *arg)
{
	ViewRun    *run = arg;

	errcontext("continuous view %s: %s", run->view->view->name, run->title ? run->title : "start");
}
