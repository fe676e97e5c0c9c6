/* publish.h: rows of a trigger as messages of a topic; attach_sink, create_sink. */
#ifndef KV_PUBLISH_H
#define KV_PUBLISH_H

#include "topic.h"

/* Oid of kafka.publish(), InvalidOid if the extension is not there. */
extern Oid	kv_publish_function(void);
/*
 * Checks a CREATE TRIGGER ... EXECUTE FUNCTION kafka.publish('topic') on relid and
 * gives back the qualified name of the topic table to be put in its argument. Raises
 * an error for columns the relation lacks and for an upsert sink whose key is not a key of the view.
 */
extern char *kv_publish_check(Oid relid, const char *topic_name);
/* Oids of topic tables that triggers with kafka.publish on relid write to (list of Oid). */
extern List *kv_publish_sinks(Oid relid);

#endif							/* KV_PUBLISH_H */
