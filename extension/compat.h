/*
 * compat.h: every difference between the supported versions of Postgres
 * (15 now) stands here, so that no other file has a version in an #if.
 */
#ifndef KV_COMPAT_H
#define KV_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "kafka_views needs PostgreSQL 15 or later (UNIQUE NULLS NOT DISTINCT)"
#endif

#if PG_VERSION_NUM >= 170000
#define kv_create_wait_event_set(context, nevents) CreateWaitEventSet(NULL, (nevents))
#else
#define kv_create_wait_event_set(context, nevents) CreateWaitEventSet((context), (nevents))
#endif

#if PG_VERSION_NUM >= 180000
#define kv_executor_run(desc, direction, count) ExecutorRun((desc), (direction), (count))
#else
#define kv_executor_run(desc, direction, count) ExecutorRun((desc), (direction), (count), true)
#endif

#if PG_VERSION_NUM >= 160000
#define kv_check_query_permissions(query) ExecCheckPermissions((query)->rtable, (query)->rteperminfos, true)
#else
#define kv_check_query_permissions(query) ExecCheckRTPerms((query)->rtable, true)
#endif

/* The role as which a foreign scan reads; needs nodes/execnodes.h and executor/executor.h where it is used. */
#if PG_VERSION_NUM >= 160000
#define kv_foreign_scan_user(node) \
	(((ForeignScan *) (node)->ss.ps.plan)->checkAsUser)
#else
#define kv_foreign_scan_user(node) \
	(exec_rt_fetch(((ForeignScan *) (node)->ss.ps.plan)->scan.scanrelid, (node)->ss.ps.state)->checkAsUser)
#endif

#endif							/* KV_COMPAT_H */
