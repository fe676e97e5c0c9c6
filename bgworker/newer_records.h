/* newer_records.h: records of tables that are tried again when their keys have newer ones. */
#ifndef KV_NEWER_RECORDS_H
#define KV_NEWER_RECORDS_H

#include "pipeline.h"

/*
 * Fails the records of upsert topics that must not be applied any more, because a newer one of their key has been, or may have
 * been; records are in the order of their offsets. Runs: in a transaction. Blocks: while it reads their topics, from the first of them to the positions.
 */
extern void kv_newer_records_fail(Pipeline *pipeline, KeptRecord *records, int nrecords);

#endif							/* KV_NEWER_RECORDS_H */
