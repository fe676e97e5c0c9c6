/*
 * pass_on.h: statements that go on to the next utility hook.
 */
#ifndef KV_PASS_ON_H
#define KV_PASS_ON_H

#include "kafka_views.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

/* Everything a statement came with, to be passed on. */
typedef struct Utility
{
	PlannedStmt *pstmt;
	const char *source_text;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *environment;
	DestReceiver *dest;
	QueryCompletion *completion;
} Utility;

extern void kv_pass_on_to(ProcessUtility_hook_type hook);
/* Gives the statement to the next in the chain. */
extern void kv_pass_on(Utility *utility);
/* The same while our processes of a database are away: DROP EXTENSION, ALTER SERVER RENAME, and what needs a database without connections. */
extern void kv_pass_on_drop_extension(Utility *utility);
extern void kv_pass_on_rename_server(Utility *utility, RenameStmt *stmt);
extern void kv_pass_on_held(Utility *utility, const char *name, bool as_template);

#endif							/* KV_PASS_ON_H */
