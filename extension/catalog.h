/*
 * catalog.h: rows of kafka_state as structs. One function per statement; each
 * enters the engine's role itself (run_sql.h) and works in the caller's transaction.
 * Results are palloc'd in CurrentMemoryContext.
 */
#ifndef KV_CATALOG_H
#define KV_CATALOG_H

#include "kafka_views.h"
#include "identity.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/array.h"

typedef struct PipelineRow
{
	int64		pipeline;
	char	   *token;
	char	   *name;
	bool		paused;
	int64		batch;
} PipelineRow;

typedef struct ViewRow
{
	int64		view;
	int64		pipeline;
	Oid			relation;
	Oid			definition;
	ArrayType  *options;		/* text[] */
	ArrayType  *settings;		/* text[] */
	bool		initialized;
	TimestampTz frontier;		/* DT_NOBEGIN: none yet */
	int64		late_rows;
} ViewRow;

extern bool kv_catalog_installed(void);	/* is the extension in this database (no error otherwise) */
/* Does a fixed query of one parameter find a row? */
extern bool kv_catalog_has(const char *text, Oid type, Datum value);

extern PipelineRow *kv_pipeline_insert(const char *name);	/* makes id and token */
extern PipelineRow *kv_pipeline_get(int64 pipeline, bool missing_ok);
extern PipelineRow *kv_pipeline_by_name(const char *name, bool missing_ok);
extern List *kv_pipeline_list(void);	/* PipelineRow *, by id */
/* Locks the row (waits), adds one to batch and gives back the new number. Whoever also locks result tables locks them first. */
extern int64 kv_pipeline_next_batch(int64 pipeline);
extern void kv_pipeline_is_gone(int64 pipeline) pg_attribute_noreturn();	/* raises the error of one that was dropped meanwhile */
/* Locks the row unless a transaction holds it, a batch or a session; false: one does, or there is no such row. Blocks: no. */
extern bool kv_pipeline_try_lock(int64 pipeline);
extern void kv_pipeline_set_paused(int64 pipeline, bool paused);
/* Notes that what Kafka has is known here; changed: it was not. False: a transaction holds the row. Blocks: no. */
extern bool kv_pipeline_set_compared(int64 pipeline, bool *changed);

extern int64 kv_view_reserve_id(void);	/* the id names the objects of a view before its row can be written */
extern void kv_view_insert(int64 view, int64 pipeline, Oid relation, Oid definition, ArrayType *options, ArrayType *settings, bool initialized);
extern ViewRow *kv_view_get(int64 view, bool missing_ok);
extern ViewRow *kv_view_by_relation(Oid relation, bool missing_ok);
extern List *kv_view_list(int64 pipeline);	/* ViewRow *, by id; 0: all */
extern void kv_view_set_progress(int64 view, TimestampTz frontier, int64 late_rows_added);
extern void kv_view_set_initialized(int64 view);
/* Deletes rows of dropped views and of pipelines that have no view left; relids of just dropped relations. */
extern void kv_catalog_forget(List *relids);

/* Gives what ordinary transactions have written to a server its new name, which no other server has. The server is locked: see the body. */
extern void kv_outbox_rename_server(const char *name, const char *new_name);
/*
 * Locks a table of kafka_state until the transaction ends, before statements that would wait for whoever drops, rewrites or locks it. False: it is
 * not free now. Blocks: no.
 */
extern bool kv_catalog_try_lock(const char *table, LOCKMODE mode);

/* "<instance>.<database oid>.<pipeline>.<token>": group.id and transactional.id of a pipeline. */
extern char *kv_pipeline_kafka_name(const PipelineRow *pipeline);

#endif							/* KV_CATALOG_H */
