/* sink_check.h: may the rows of a relation be published to a topic? */
#ifndef KV_SINK_CHECK_H
#define KV_SINK_CHECK_H

#include "nodes/parsenodes.h"
#include "topic.h"
#include "utils/relcache.h"

/* Oid of kafka.publish(), InvalidOid if the extension is not there. */
extern Oid	kv_publish_function(void);
/*
 * Checks a CREATE TRIGGER ... EXECUTE FUNCTION kafka.publish('topic') on relid and
 * gives back the qualified name of the topic table to be put in its argument. Raises
 * an error for a trigger that could not publish, and for what kv_publish_check refuses.
 */
extern char *kv_publish_check_trigger(Oid relid, CreateTrigStmt *stmt);
/* The same for a sink alone: columns the relation lacks, an upsert sink whose key is not a key of the relation. */
extern char *kv_publish_check(Oid relid, const char *topic_name);
/* The topic table of a trigger's argument; InvalidOid if missing_ok and there is none. */
extern Oid	kv_sink_resolve(const char *name, bool missing_ok);
/* Raises an error unless the relation's owner may write to the topic and an upsert topic's key identifies its rows. */
extern void kv_sink_check(Relation rel, Oid topic_relid);

/*
 * Attnos of the columns by which the rows of a keyed continuous view are kept: those of its oldest unique constraint, which is
 * made with it and cannot be dropped. NIL for an append-only view, whose rows never change, and for an ordinary table.
 */
extern List *kv_sink_view_key(Relation rel);
/*
 * Attnos of the columns of an index of the relation by which any two of its rows differ, at any time; NIL: it is no such index. *nulls: but for
 * rows with a null in one of them, which a key that holds nulls does not tell from each other.
 */
extern List *kv_sink_index_key(Relation rel, Relation index, bool *nulls);
/* Is the topic's key made of columns of kv_sink_view_key only, so that no update changes it? */
extern bool kv_sink_key_is_fixed(Relation rel, const TopicDef *topic);

#endif							/* KV_SINK_CHECK_H */
