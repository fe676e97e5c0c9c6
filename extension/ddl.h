/* ddl.h: the utility hook and the handlers it gives statements to. */
#ifndef KV_DDL_H
#define KV_DDL_H

#include "kafka_views.h"
#include "nodes/parsenodes.h"
#include "analyze.h"

extern void kv_ddl_init(void);	/* installs the hook; by _PG_init */

/* create_view.c */
extern Oid	kv_create_view(RangeVar *name, List *column_aliases, Query *query, const char *source_text, List *options, bool with_data);
extern ViewOptions *kv_view_options_from_array(ArrayType *options);	/* as stored in kafka_state.view.options */
/* change_view.c: is it a continuous view's result table? (cheap: cached by relid) */
extern bool kv_is_continuous_view(Oid relid);

#endif							/* KV_DDL_H */
