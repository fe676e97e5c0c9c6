/* view_objects.h: the relations a continuous view consists of. */
#ifndef KV_VIEW_OBJECTS_H
#define KV_VIEW_OBJECTS_H

#include "ddl.h"
#include "nodes/primnodes.h"

/* A view on its way into the catalogs (create_view.c fills it from the top down). */
typedef struct NewView
{
	/* what was asked for */
	IntoClause *into;
	bool		stored;
	Query	   *query;			/* analysed, columns renamed, not rewritten */
	Oid			owner;
	char	   *name;
	char	   *schema;
	char	   *qualified;
	ContinuousOptions *options;
	ArrayType  *given;			/* options as stored */
	ArrayType  *settings;
	List	   *table_options;	/* DefElem: fillfactor and the like */
	/* what became of it */
	Oid			server;			/* of its topics; InvalidOid for a view over views */
	PipelineRow *pipeline;
	int64		id;
	Oid			definition;
	Oid			relid;
} NewView;

extern void kv_make_definition(NewView *new);
extern void kv_make_unstored(NewView *new);
extern void kv_make_result_table(NewView *new, ViewDef *view);
/* Compiles the stored definition and makes the tables its statements need. */
extern void kv_make_buffers(NewView *new);
/* Makes buffers, lookup tables and companion live and die with the result table, for its owner, where they do not yet. */
extern void kv_bind_view(ViewDef *view);

#endif							/* KV_VIEW_OBJECTS_H */
