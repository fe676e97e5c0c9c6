/* spell_out.h: operators that a query's text would leave to the search_path. */
#ifndef KV_SPELL_OUT_H
#define KV_SPELL_OUT_H

#include "kafka_views.h"
#include "nodes/parsenodes.h"

/* Gives an equal query whose text means the same under any search_path; the given one is not changed. */
extern Query *kv_spell_out(Query *query);
/* Changes a query that was made for printing, so that the columns in its ORDER BY are not taken for those of the result with the same name. */
extern void kv_qualify_sorts(Query *query);

#endif							/* KV_SPELL_OUT_H */
