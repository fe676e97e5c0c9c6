/*
 * maintenance.h: what keeps a view up to date, as SQL text over named deltas: by accumulating
 * (accumulate.h) or by computing again (recompute.h). kafka.explain prints it, the worker runs it.
 */
#ifndef KV_MAINTENANCE_H
#define KV_MAINTENANCE_H

#include "run_sql.h"
#include "statement.h"
#include "view_def.h"

typedef struct MaintenancePlan
{
	List	   *statements;		/* of MaintenanceStatement *, in the order in which a batch runs them */
	List	   *reload;			/* of MaintenanceStatement *: PHASE_APPEND without the COMPUTE, to refill buffers; input set */
} MaintenancePlan;

extern MaintenancePlan *kv_maintenance(ViewDef *view);
/* Makes the plan of one of them, which lives as long as context; it is prepared when it is first run or explained. */
extern KvPlan *kv_maintenance_make_plan(MemoryContext context, const ViewDef *view, const MaintenanceStatement *statement);
/*
 * CREATE TABLE / INDEX statements (char *) for what the view needs besides its result, in order; after
 * kv_view_set_id, once the result table exists. The engine runs them.
 */
extern List *kv_maintenance_tables(ViewDef *view);
/*
 * INSERT statements (char *) for rows that are there before any record: the one row of an aggregate without
 * GROUP BY. The owner runs them, with kv_maintaining set, once the tables are his.
 */
extern List *kv_maintenance_first_rows(ViewDef *view);
/* Qualified names (char *) of these tables. */
extern List *kv_maintenance_relations(ViewDef *view);

#endif							/* KV_MAINTENANCE_H */
