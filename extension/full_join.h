/* full_join.h: a FULL JOIN of tables as two arms whose rows are united. */
#ifndef KV_FULL_JOIN_H
#define KV_FULL_JOIN_H

#include "refuse.h"

/* Does a normalised query begin with a FULL JOIN? */
extern bool kv_is_full_join(Query *query);
/* Appends to arms (List of Query *) the rows of the first side, with or without a match, and those of the second that have none. */
extern Refusal *kv_full_join_arms(Query *query, List **arms);

#endif							/* KV_FULL_JOIN_H */
