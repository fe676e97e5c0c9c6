/* publish_pipeline.h: takes the outbox of a pipeline to Kafka, step by step. */
#ifndef KV_PUBLISH_PIPELINE_H
#define KV_PUBLISH_PIPELINE_H

#include "output.h"

extern Output *kv_output_make(MemoryContext context, int64 pipeline, KvSlot *slot);
/* Forgets an output without a producer, and frees its slot. */
extern void kv_output_free(Output *output);
/* Is nothing under way, so that the next step looks for something to do? */
extern bool kv_output_is_at_rest(const Output *output);
/* Is a call to Kafka under way? Its end, which kv_call_fd() tells, has to be awaited before any other function here but kv_output_tell. */
extern bool kv_output_is_busy(const Output *output);
/* Does the next step; a body for kv_process_attempt. Raises an error where one failed: kv_output_give_up is next. Blocks: no. */
extern void kv_output_advance(void *output);
/* Has Kafka been asked to commit, so that only its answer tells whether messages are out? */
extern bool kv_output_may_be_out(const Output *output);
/* Says in kafka.pipelines that it waits, and for what, once that takes long. */
extern void kv_output_tell(Output *output);
/* After an error, or because it has other names now: aborts what is open, and closes a producer that is of no use any more. Raises nothing. */
extern void kv_output_give_up(Output *output);
/* Goes on with that, while the state is OUTPUT_ABORTING; true: it is at rest. Raises nothing. */
extern bool kv_output_has_given_up(Output *output);

#endif							/* KV_PUBLISH_PIPELINE_H */
