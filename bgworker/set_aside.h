/* set_aside.h: kafka_state.dead_letter: records, and rows that no record made, that could not be applied. */
#ifndef KV_SET_ASIDE_H
#define KV_SET_ASIDE_H

#include "pipeline.h"
#include "skipped.h"

/*
 * Keeps a record aside by its topic's on_error (dead_letter, skip), and out of reloads; view NULL: for all views of the pipeline. One that has
 * been kept before and is tried again stays so, whatever on_error says: where it failed before, with this error (retry.c writes it).
 */
extern void kv_set_aside_record(Pipeline *pipeline, const RowSource *source, PipelineView *view,
								int sqlstate, const char *message, const char *detail);
/* Notes why one that has been kept before could not be applied again; detail NULL: none. */
extern void kv_set_aside_again(Pipeline *pipeline, KeptRecord *kept, int sqlstate, const char *message, const char *detail);
/*
 * Keeps the only row of a store aside for a view, which got it from the topic or view source (its own group: itself), by on_error of the topic; for a view
 * it is 'stop', which raises the error instead, where a topic of the pipeline says so, and 'skip', by which the row is only counted, where all do.
 */
extern void kv_set_aside_row(Pipeline *pipeline, PipelineView *view, Oid source, TupleDesc desc, Tuplestorestate *row, ErrorData *error);

/* Stores a record that a reload must leave out of an input of a view (SKIPPED_EVERY_INPUT: of all of them); view 0: out of every view. */
extern void kv_set_aside_skip(Pipeline *pipeline, Partition *partition, int64 offset, int64 view, int input);

#endif							/* KV_SET_ASIDE_H */
