/* ddl.h: the utility hook and the handlers it gives statements to. */
#ifndef KV_DDL_H
#define KV_DDL_H

#include "kafka_views.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "analyze.h"
#include "catalog.h"
#include "view_options.h"

extern void kv_ddl_init(void);	/* installs the hook; by _PG_init */

/* create_view.c */
/* stored: its rows are kept in a table; else it is a plain view, and they go to its sinks and to views over it only. */
extern Oid	kv_create_view(IntoClause *into, Query *query, const char *source_text, bool if_not_exists, bool stored);

/* unstored_view.c: CREATE VIEW with options of ours */
extern Oid	kv_create_unstored_view(ViewStmt *stmt, PlannedStmt *pstmt, const char *source_text);

/* alter_view.c: raise an error for what would break the maintenance of a continuous view or of views over a topic */
extern void kv_check_alter_view(Oid relid, AlterTableStmt *stmt);
extern void kv_check_not_state(Oid relid);
extern void kv_check_alter_topic(Oid relid, AlterTableStmt *stmt, bool of_new_column);
extern void kv_check_rename_topic_column(Oid relid, const char *column);
extern void kv_check_view_trigger(Oid relid, CreateTrigStmt *stmt);

#endif							/* KV_DDL_H */
