/* identity.h: who this database is to Kafka (DESIGN.md 5.5). */
#ifndef KV_IDENTITY_H
#define KV_IDENTITY_H

#include "kafka_views.h"

/* Looks at the data directory; called once by _PG_init, in it. */
extern void kv_identity_init(void);
extern char *kv_identity_prefix(void);	/* what every name in Kafka begins with: "<instance>.<database oid>" */
/* Names timeline and data directory: another name elsewhere, and where this cluster was promoted or restored. Runs: not in recovery. */
extern char *kv_identity_here(void);
extern int64 kv_identity_adoptions(void);	/* how often kafka.adopt() has put a copy in the place of the original */
/* Writes the fingerprint if there is none yet: before the first pipeline, before the first publishing of transactions. */
extern void kv_identity_ensure(void);
/* Makes this database, as it is now, the one that is known to Kafka; new_tokens: under new names (kafka.fork). */
extern void kv_identity_take(bool new_names);
extern bool kv_identity_matches(char **reason);	/* *reason: why not, with a HINT's worth of words */
/* Is this database known to Kafka as it is? Not a copy before kafka.adopt() or kafka.fork(), nor one that is being restored, nor a new one. */
extern bool kv_identity_is_settled(void);

#endif							/* KV_IDENTITY_H */
