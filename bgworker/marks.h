/* marks.h: places in topics from which buffers can be reloaded. */
#ifndef KV_MARKS_H
#define KV_MARKS_H

#include "pipeline.h"

/* Sets how far apart in time the marks of each topic with buffers are, once the views are known. */
extern void kv_marks_set_distances(Pipeline *pipeline);
/* Notes the place behind the record that merge has given out last of a partition, if a mark is due. */
extern void kv_marks_note(Pipeline *pipeline, Partition *partition);
/* Stores what the batch has noted. Runs: in its transaction. */
extern void kv_marks_store(Pipeline *pipeline);

#endif							/* KV_MARKS_H */
