/*
 * upsert_rows.h: the last row of every key of an upsert topic. Part of the room
 * fdw_scan.c.
 */
#ifndef KV_UPSERT_ROWS_H
#define KV_UPSERT_ROWS_H

#include "kafka_views.h"
#include "access/htup_details.h"
#include "record.h"
#include "topic.h"
#include <librdkafka/rdkafka.h>

typedef struct UpsertRows UpsertRows;

/* Makes an empty set in a child of parent for a topic of so many partitions; topic must live as long. */
extern UpsertRows *kv_upsert_make(MemoryContext parent, const TopicDef *topic, int npartitions);
/* Takes a decoded record, of a deletion only its key. */
extern void kv_upsert_add(UpsertRows *rows, const rd_kafka_message_t *msg, TimestampTz time_us,
						  Datum *values, bool *nulls, bool deleted);
/* Takes a key whose last record is asked for, instead of rows; one of its records. */
extern void kv_upsert_watch(UpsertRows *rows, const Datum *values, const bool *nulls);
extern void kv_upsert_see(UpsertRows *rows, const TopicRecord *record, const Datum *values, const bool *nulls);
/*
 * Tells whether a newer record of a watched key was seen: in the same partition by its offset, in another one, to which the key went when the topic got
 * more of them, by its time.
 */
extern bool kv_upsert_has_newer(UpsertRows *rows, const Datum *values, const bool *nulls, int partition, int64 offset, int64 time_ms);
/* Begins (again) to give the rows. */
extern void kv_upsert_rewind(UpsertRows *rows);
/* Gives back the next row, or NULL at the end; it lives as long as the set. */
extern MinimalTuple kv_upsert_next(UpsertRows *rows);

#endif							/* KV_UPSERT_ROWS_H */
