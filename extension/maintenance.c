/*
 * maintenance.c: what keeps a view up to date, whichever way.
 *
 * Why it exists: who runs, shows or stores the statements of a view need not know what drives it. Invariant: they are compiled as the view's owner.
 */
#include "maintenance.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "accumulate.h"
#include "distinct_values.h"
#include "recompute.h"

/* Who was current before a compilation. */
typedef struct Caller
{
	Oid			user;
	int			sec_context;
} Caller;

static void become_owner(const ViewDef *view, Caller *caller);

/* Compiles the statements; see maintenance.h. */
MaintenancePlan *
kv_maintenance(ViewDef *view)
{
	MaintenancePlan *plan = palloc0(sizeof(MaintenancePlan));
	Caller		caller;

	become_owner(view, &caller);
	if (kv_view_is_table_driven(view))
		plan->statements = kv_recompute(view);
	else
		kv_accumulate(view, &plan->statements, &plan->reload);
	SetUserIdAndSecContext(caller.user, caller.sec_context);
	return plan;
}

/*
 * Becomes the view's owner, because compiling folds expressions, and that calls functions of the
 * view: as anybody else, a worker above all, it would lend that role to whoever wrote them. An error goes back by its abort.
 */
static void
become_owner(const ViewDef *view, Caller *caller)
{
	GetUserIdAndSecContext(&caller->user, &caller->sec_context);
	SetUserIdAndSecContext(view->owner, caller->sec_context | SECURITY_RESTRICTED_OPERATION);
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
	List	   *statements;
	Caller		caller;

	become_owner(view, &caller);
	statements = kv_view_is_table_driven(view) ? kv_recompute_tables(view) : kv_accumulate_tables(view);
	SetUserIdAndSecContext(caller.user, caller.sec_context);
	return statements;
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
