/*
 * rights.h: may somebody read what the query of a continuous view reads?
 */
#ifndef KV_RIGHTS_H
#define KV_RIGHTS_H

#include "catalog.h"
#include "nodes/parsenodes.h"

/* Raises an error unless the current user may run a query, which is analysed and not rewritten; gives the relations (Oid) it reads. */
extern List *kv_rights_check(Query *query);
/* The same for a continuous view and whoever owns it now. Runs: in a transaction. */
extern List *kv_rights_check_view(const ViewRow *view);

#endif							/* KV_RIGHTS_H */
