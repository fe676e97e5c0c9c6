/* diverged.h: is what Kafka has under the number of a batch what this database has under it? */
#ifndef KV_DIVERGED_H
#define KV_DIVERGED_H

#include "output.h"

/*
 * Raises an error, and stops the output, where the last batch in Kafka, which is beyond the note, is of a server that has parted from this one;
 * last_batch is the last of this database, output->offsets are those of the group. Runs: outside a transaction.
 */
extern void kv_diverged_check(Output *output, const OutboxMetadata *metadata, OutboxPlace note, int64 last_batch);
/* The same of a whole batch that is not here, once more, now that its worker cannot go on. Runs: in a transaction that has the pipeline's row. */
extern void kv_diverged_check_positions(Output *output);
/* The same of batches here that move no position. */
extern void kv_diverged_check_standing(Output *output, const OutboxMetadata *metadata, OutboxPlace note);

#endif							/* KV_DIVERGED_H */
