/* redo.h: what Kafka has and Postgres has lost is applied again, and not published again (DESIGN.md 5.4). */
#ifndef KV_REDO_H
#define KV_REDO_H

#include "pipeline.h"

/*
 * Notes that a pipeline has to go through it; frontiers NULL: not known. False: a transaction holds its row. Runs: in
 * a publisher, in a transaction. Blocks: no.
 */
extern bool kv_redo_note(int64 pipeline, const char *token, int64 batch, const char *positions, const char *frontiers);

/* Could Kafka have more than this pipeline? False only where nothing was ever published under its name. Runs: outside. Blocks: 30 s. */
extern bool kv_redo_is_possible(Pipeline *pipeline);
/* Sets the pipeline up for it where there is a note. Runs: outside. */
extern void kv_redo_load(Pipeline *pipeline);
/* Locks the pipeline's row as a batch does, without a number. */
extern void kv_redo_lock(Pipeline *pipeline);
/* Keeps the views' next frontiers at those that Kafka has, and brings them there once all records are applied. */
extern void kv_redo_limit_frontiers(Pipeline *pipeline);
/* Is everything applied that Kafka has? The batch that finds it so is the last one. */
extern bool kv_redo_is_over(Pipeline *pipeline);
/* Deletes the note, in the last batch; after its commit, lets the pipeline publish and go on. */
extern void kv_redo_finish(Pipeline *pipeline);
extern void kv_redo_end(Pipeline *pipeline);

#endif							/* KV_REDO_H */
