/* members.h: the definitions a run works with: views, their statements, the topics they read. */
#ifndef KV_MEMBERS_H
#define KV_MEMBERS_H

#include "pipeline.h"

/* Loads pipeline id for a run into context; NULL: there is none, or it has no view. */
extern Pipeline *kv_members_load(int64 id, MemoryContext context);
/* What a run depends on as one string, in the current context; "" when the pipeline is gone. */
extern char *kv_members_signature(int64 id);
/* Makes invalidations of what pipeline reads set kv_members_invalid; NULL: of nothing. Runs: in a transaction, but for NULL. */
extern void kv_members_watch(Pipeline *pipeline);
extern volatile bool kv_members_invalid;
/* Tells whether it is set; where too many invalidations came to be told one by one, definitions are compared first. Runs: either. */
extern bool kv_members_changed(Pipeline *pipeline);
/* Raises an error where they have, so that the run ends and what was done with them is undone. Runs: in a transaction. */
extern void kv_members_check(Pipeline *pipeline);
/* Raises an error where an owner has lost a right that a view or a sink of his needs; does nothing as long as no rights change. Runs: in a transaction. */
extern void kv_members_check_rights(Pipeline *pipeline);

#endif							/* KV_MEMBERS_H */
