/* kept_records.h: rows of kafka_state.dead_letter and kafka_state.retried as structs; what becomes of a dead letter that was tried again. */
#ifndef KV_KEPT_RECORDS_H
#define KV_KEPT_RECORDS_H

#include "pipeline.h"

/* Tells whether dead letters of the pipeline wait to be tried again. */
extern bool kv_kept_any_requested(Pipeline *pipeline);
/*
 * Reads those in CurrentMemoryContext, at most so many and of some MB, by topic, partition and offset; gives their number. One whose
 * topic or partition the pipeline does not read (any more) has no partition.
 */
extern int	kv_kept_read_requested(Pipeline *pipeline, int64 limit, KeptRecord **records);
/* Reads records that were retried and may be in buffers, those with an id above after, in its order. */
extern int	kv_kept_read_retried(Pipeline *pipeline, int64 after, KeptRecord **records);

/* Gives the time of the record that Kafka has; it must have one. */
extern TimestampTz kv_kept_record_time(const KeptRecord *kept);
/* Locks dead letters that still wait to be tried again; gives how many of records these are, and moves them to its beginning. */
extern int	kv_kept_lock(KeptRecord *records, int nrecords);
/* Stores what became of them: those that failed stay, with the new error; the others go. */
extern void kv_kept_store(Pipeline *pipeline, const KeptRecord *records, int nrecords);
/* Forgets records of a topic that were retried and are in no buffer any more: those before a time. Runs: in a transaction. */
extern void kv_kept_prune(Pipeline *pipeline, const TopicInput *input, TimestampTz before);
/* Forgets those of other topics than the given ones (oid[]), which are all with buffers. Runs: in a transaction. */
extern void kv_kept_prune_others(int64 pipeline, Datum buffered);
/* Takes back the request to try any again. Runs: in a transaction. */
extern void kv_kept_withdraw(int64 pipeline);

#endif							/* KV_KEPT_RECORDS_H */
