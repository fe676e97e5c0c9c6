/*
 * fdw_scan.h: SELECT from a topic; the wrapper's handler is here too.
 */
#ifndef KV_FDW_SCAN_H
#define KV_FDW_SCAN_H

#include "kafka_views.h"

/*
 * Where a scan of a topic begins and ends, for whoever needs a scan that is bounded
 * from outside (kafka.verify: what a pipeline has applied). Get the foreign table, the
 * partition and what the scan would take; give back what it shall take (an end
 * at or before the start reads nothing). Set only around a query, under PG_TRY; NULL otherwise.
 */
typedef int64 (*ScanOverride) (Oid relid, int partition, int64 offset);
extern ScanOverride kv_scan_start_override;
extern ScanOverride kv_scan_end_override;

/* Which records such a scan passes over besides, as if they were not there; under the same rules. */
typedef bool (*ScanSkip) (Oid relid, int partition, int64 offset);
extern ScanSkip kv_scan_skip;

#endif							/* KV_FDW_SCAN_H */
