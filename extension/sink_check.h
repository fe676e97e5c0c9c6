/* sink_check.h: may the rows of a relation be published to a topic? */
#ifndef KV_SINK_CHECK_H
#define KV_SINK_CHECK_H

#include "topic.h"
#include "utils/relcache.h"

/* Oid of kafka.publish(), InvalidOid if the extension is not there. */
extern Oid	kv_publish_function(void);
/*
 * Checks a CREATE TRIGGER ... EXECUTE FUNCTION kafka.publish('topic') on relid and
 * gives back the qualified name of the topic table to be put in its argument. Raises
 * an error for columns the relation lacks and for an upsert sink whose key is not a key of the view.
 */
extern char *kv_publish_check(Oid relid, const char *topic_name);
/* The topic table of a trigger's argument; InvalidOid if missing_ok and there is none. */
extern Oid	kv_sink_resolve(const char *name, bool missing_ok);
/* Raises an error unless the relation's owner may write to the topic and an upsert topic's key identifies its rows. */
extern void kv_sink_check(Relation rel, Oid topic_relid);

#endif							/* KV_SINK_CHECK_H */
