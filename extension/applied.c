/*
 * applied.c: queries over exactly what a pipeline has applied of its topics.
 *
 * Why it exists: the rows an unstored view has given so far are nowhere, and the
 * rows a stored one ought to have are those of its query; both are found by running
 * the query with its scans bounded by the pipeline's positions.
 *
 * Invariant: the caller holds the pipeline's row, so no batch commits meanwhile; the
 * bound is of this backend and ends with kv_applied_end, error or not.
 *
 * For a join of streams that is more than the view has given where rows came too late:
 * lateness is not part of the query. Where tables are looked up the query does not say
 * what the view has given (ViewDef.has_oracle).
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "analyze.h"
#include "applied.h"
#include "closed_query.h"
#include "fdw_scan.h"
#include "position.h"
#include "run_sql.h"
#include "skipped.h"

/* What the scans of this backend are bounded by; NIL and NULL: by nothing. */
static List *applied_positions = NIL;	/* of PositionRow * */
static HTAB *skipped_records = NULL;
static List *skipping_views = NIL;	/* of ViewDef *: whose skipped records are passed over */

static PositionRow *position_of(Oid relid, int partition);
static int64 bound_start(Oid relid, int partition, int64 start);
static int64 bound_end(Oid relid, int partition, int64 end);
static bool is_skipped(Oid relid, int partition, int64 offset);
static bool skipped_by(const ViewDef *view, Oid relid, int partition, int64 offset);
static List *unstored_views(ViewDef *view, List *views);


/* Bounds the scans of topics by a pipeline's positions; see the header. */
void
kv_applied_begin(int64 pipeline)
{
	applied_positions = kv_position_list(pipeline);
	kv_scan_start_override = bound_start;
	kv_scan_end_override = bound_end;
}

/* Ends the bound. */
void
kv_applied_end(void)
{
	kv_scan_start_override = NULL;
	kv_scan_end_override = NULL;
	kv_scan_skip = NULL;
	applied_positions = NIL;
	skipped_records = NULL;
	skipping_views = NIL;
}

static PositionRow *
position_of(Oid relid, int partition)
{
	ListCell   *cell;

	foreach(cell, applied_positions)
	{
		PositionRow *position = lfirst(cell);

		if (position->relation == relid && position->partition == partition)
			return position;
	}
	return NULL;
}

/* Begins the scan of a partition where the pipeline began. */
static int64
bound_start(Oid relid, int partition, int64 start)
{
	PositionRow *position = position_of(relid, partition);

	return position == NULL ? start : Max(start, position->start_offset);
}

/* Ends the scan of a partition at what the pipeline has applied of it. */
static int64
bound_end(Oid relid, int partition, int64 end)
{
	PositionRow *position = position_of(relid, partition);

	return position == NULL ? 0 : Min(end, position->next_offset);
}

static bool
is_skipped(Oid relid, int partition, int64 offset)
{
	ListCell   *cell;

	foreach(cell, skipping_views)
	{
		if (skipped_by(lfirst(cell), relid, partition, offset))
			return true;
	}
	return false;
}

/* Tells whether a view has gone without a record wherever its topic stands in the query: its scans cannot be told apart. */
static bool
skipped_by(const ViewDef *view, Oid relid, int partition, int64 offset)
{
	bool		reads = false;

	for (int i = 0; i < view->ninputs; i++)
	{
		if (view->inputs[i].relid != relid)
			continue;
		reads = true;
		if (!kv_skipped_has(skipped_records, relid, partition, offset, view->id, i))
			return false;
	}
	return reads;
}

/* Tells whether anything of a stream has been applied by a pipeline: before that its views have given no rows. */
bool
kv_applied_any(int64 pipeline)
{
	ListCell   *cell;

	foreach(cell, kv_position_list(pipeline))
	{
		PositionRow *position = lfirst(cell);

		if (position->next_offset > position->start_offset && kv_topic_get(position->relation)->mode == MODE_APPEND)
			return true;
	}
	return false;
}

/* Puts the rows that an unstored view has given so far into rows; see the header. */
void
kv_applied_rows(const ViewRow *row, Tuplestorestate *rows)
{
	MemoryContext context;
	ViewDef    *view;
	char	   *text;
	KvPlan	   *plan;
	KvSql		sql;

	if (!kv_applied_any(row->pipeline))
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "kv applied rows", ALLOCSET_DEFAULT_SIZES);
	view = kv_view_load(row->view);
	text = kv_closed_query(view);
	plan = kv_plan_make(context, text ? text : psprintf("SELECT * FROM %s", view->name), 0, NULL);
	kv_sql_enter_role(&sql, view->owner, row->settings);
	PG_TRY();
	{
		kv_applied_begin(row->pipeline);
		skipped_records = kv_skipped_read(context, row->pipeline, false);
		skipping_views = unstored_views(view, NIL);
		if (hash_get_num_entries(skipped_records) > 0)
			kv_scan_skip = is_skipped;
		(void) kv_plan_run(plan, kv_size_class(1e9), NULL, NULL, rows);
	}
	PG_FINALLY();
	{
		kv_applied_end();
	}
	PG_END_TRY();
	kv_sql_leave(&sql);
	MemoryContextDelete(context);
}

/* Adds a view and the unstored ones that it reads to views. */
static List *
unstored_views(ViewDef *view, List *views)
{
	views = lappend(views, view);
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewRow    *upper = view->inputs[i].kind == INPUT_VIEW ? kv_view_by_relation(view->inputs[i].relid, false) : NULL;

		if (upper != NULL && upper->relation == upper->definition)
			views = unstored_views(kv_view_load(upper->view), views);
	}
	return views;
}
