/*
 * fdw_modify.h: INSERT and DELETE on a topic.
 */
#ifndef KV_FDW_MODIFY_H
#define KV_FDW_MODIFY_H

#include "kafka_views.h"
#include "foreign/fdwapi.h"

/* Fills in the functions that write. */
extern void kv_modify_routine(FdwRoutine *routine);

#endif							/* KV_FDW_MODIFY_H */
