/*
 * analyze.h: a defining query as a ViewDef: inputs, join graph, keys, time. Made
 * anew from the definition whenever it is needed, never stored. Everything that
 * cannot be maintained exactly comes back as a Refusal (refuse.h).
 */
#ifndef KV_ANALYZE_H
#define KV_ANALYZE_H

#include "kafka_views.h"
#include "utils/array.h"
#include "view_def.h"

struct Refusal;

/* Options as stored in kafka_state.view.options (view_options.c). */
extern ContinuousOptions *kv_view_options_from_array(ArrayType *options);

/*
 * Analyses a defining query. On refusal gives NULL and sets *refusal. The result
 * lives in CurrentMemoryContext. view_id and relid are 0 while it is being created: then
 * names of buffers are made from view_id when it is known (kv_view_set_id).
 */
extern ViewDef *kv_analyze(Query *query, const ContinuousOptions *options, struct Refusal **refusal);
extern void kv_view_set_id(ViewDef *view, int64 id, int64 pipeline, Oid relid);
/* Finds out what kind of input a relation of a query is, its keys and event time; refuses those that cannot be read. */
extern struct Refusal *kv_analyze_input(ViewInput *input, RangeTblEntry *rte);
/* Loads the definition of a continuous view by its id; raises an error if it can no longer be maintained. */
extern ViewDef *kv_view_load(int64 id);

#endif							/* KV_ANALYZE_H */
