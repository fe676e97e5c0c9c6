/* recovery.h: what Kafka knows of an output. */
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

#endif							/* KV_RECOVERY_H */
