/* recovery.h: what Kafka knows of an output, and what its metadata say. */
#ifndef KV_RECOVERY_H
#define KV_RECOVERY_H

#include "output.h"

/*
 * Fences a predecessor, finds out what has been published, and commits who publishes now. False: the pipeline has
 * no position yet, so there is nothing to publish either. Raises an error, with output->stopped set where
 * a person must act. Runs: outside a transaction. Blocks: some 90 s at most.
 */
extern bool kv_recover(Output *output);
/* Raises an error if Kafka has lost positions that it had been given: to commit them again would hide it. Runs: outside. Blocks: 30 s at most. */
extern void kv_recovery_check_topics(const Output *output);
/* Metadata of a Kafka transaction; palloc'd. frontiers NULL: not known. */
extern char *kv_recovery_metadata(OutboxPlace place, const char *frontiers);
/* Reads it; false: it is none of ours. */
extern bool kv_recovery_parse(const char *text, OutboxMetadata *metadata);
/* Reads what metadata says of this database; before kv_recovery_metadata and kv_recovery_is_replaced. Runs: in a transaction. */
extern void kv_recovery_note_era(void);
/*
 * Is it from a database that has taken this one's place: adopted more often, or on a later timeline? That one has gone its own
 * way since, so the numbers it gave mean something else here.
 */
extern bool kv_recovery_is_replaced(const OutboxMetadata *metadata);
/* Is a behind b? */
extern bool kv_place_is_before(OutboxPlace a, OutboxPlace b);

#endif							/* KV_RECOVERY_H */
