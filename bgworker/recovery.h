/* recovery.h: what Kafka knows of an output. */
#ifndef KV_RECOVERY_H
#define KV_RECOVERY_H

#include "group_offsets.h"
#include "output.h"

/*
 * Begins to fence a predecessor, to find out what has been published, and to commit who publishes now. False: the pipeline has
 * no position yet, so there is nothing to publish either; or, with output->owes_note set, something is to be noted first. Runs: outside a
 * transaction. Blocks: no.
 */
extern bool kv_recovery_begin(Output *output);
/*
 * Goes on with it. True: it is done; false: kv_call_fd() tells when to go on, or output->try_at says it. Raises an error, with output->stopped set where
 * a person must act. Runs: outside a transaction. Blocks: no.
 */
extern bool kv_recovery_advance(Output *output);
/* Is a call under way? */
extern bool kv_recovery_is_busy(const Output *output);
/* Says which answer it waits for, as kv_txn_waits_for does. */
extern char *kv_recovery_waits_for(const Output *output, int limit_ms, char **detail);
/* Notes whether a step has found a row locked, and when it is to be done again. */
extern void kv_recovery_note_lock(Output *output, bool locked);
/*
 * Asks for the group's offsets (group_offsets.h), which have been those of the noted batch at least. Runs: outside a transaction.
 * Blocks: no.
 */
extern GroupQuestion *kv_recovery_ask(const Output *output, MemoryContext context);
/* Raises an error if Kafka has lost positions that it had been given, going by the group's offsets: to commit them again would hide it. */
extern void kv_recovery_check_topics(const Output *output, const List *offsets);

#endif							/* KV_RECOVERY_H */
