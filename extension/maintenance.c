/*
 * maintenance.c: what keeps a view up to date, whichever way.
 *
 * Why it exists: who runs, shows or stores the statements of a view need not know what drives it.
 */
#include "maintenance.h"

#include "catalog/pg_type.h"

#include "accumulate.h"
#include "distinct_values.h"
#include "recompute.h"

/* Compiles the statements; see maintenance.h. */
MaintenancePlan *
kv_maintenance(ViewDef *view)
{
	MaintenancePlan *plan = palloc0(sizeof(MaintenancePlan));

	if (kv_view_is_table_driven(view))
		plan->statements = kv_recompute(view);
	else
		kv_accumulate(view, &plan->statements, &plan->reload);
	return plan;
}

/* Makes the plan of a statement; see maintenance.h. */
KvPlan *
kv_maintenance_make_plan(MemoryContext context, const ViewDef *view, const MaintenanceStatement *statement)
{
	const Oid	types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	KvPlan	   *plan = kv_plan_make(context, statement->sql, lengthof(types), types);

	if ((statement->phase == PHASE_COMPUTE || statement->phase == PHASE_UNMATCHED) && !kv_view_is_table_driven(view) && !kv_view_is_direct(view))
		kv_plan_probe_only(plan);
	if (statement->null_safe)
		kv_plan_allow_bitmaps(plan);
	if (statement->deltas_only)
		kv_plan_allow_all(plan);
	return plan;
}

/* Gives the statements that create tables; see maintenance.h. */
List *
kv_maintenance_tables(ViewDef *view)
{
	return kv_view_is_table_driven(view) ? kv_recompute_tables(view) : kv_accumulate_tables(view);
}

/* Gives the statements for first rows; see maintenance.h. */
List *
kv_maintenance_first_rows(ViewDef *view)
{
	return kv_view_is_table_driven(view) ? kv_recompute_first_rows(view) : kv_accumulate_first_rows(view);
}

/* Lists the tables; see maintenance.h. */
List *
kv_maintenance_relations(ViewDef *view)
{
	List	   *names = NIL;

	for (int i = 0; i < view->ninputs; i++)
		if (view->inputs[i].buffer_name)
			names = lappend(names, view->inputs[i].buffer_name);
	for (int i = 0; i < view->narms; i++)
		if (view->arms[i].rows_name)
			names = lappend(names, view->arms[i].rows_name);
	if (view->groups_name)
		names = lappend(names, view->groups_name);
	if (view->groups_name && !kv_view_is_table_driven(view))
		names = list_concat(names, kv_distinct_table_names(view));
	if (view->session_rows_name)
		names = lappend(names, view->session_rows_name);
	return names;
}
