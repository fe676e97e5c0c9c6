/*
 * format.h: one record to one row by a column plan made once per topic and
 * projection. A bad record is a result, not an error: nothing is raised for the
 * record's own faults.
 */
#ifndef KV_FORMAT_H
#define KV_FORMAT_H

#include "decoder.h"
#include "record.h"

typedef enum DecodeResult
{
	DECODE_ROW,
	DECODE_DELETE,				/* upsert topic, null value: only the key columns are set */
	DECODE_NOTHING,				/* null value in an append topic: counted, no row */
	DECODE_BAD					/* see decoder->bad */
} DecodeResult;

/*
 * Decodes one record into values/nulls (desc->natts entries; columns not wanted
 * are null). By-reference values live in CurrentMemoryContext or point into the
 * record: both must outlive their use. *time_us is the row's event time (for
 * DECODE_DELETE the record's timestamp). A null or infinite event time is DECODE_BAD.
 */
extern DecodeResult kv_decode(Decoder *decoder, const TopicRecord *record,
							  Datum *values, bool *nulls, TimestampTz *time_us, DecodeError *bad);
/*
 * Is a record too far ahead to be believed (DESIGN.md 2.2): its timestamp more than kafka.max_ahead
 * after the clock, or its event time as much after its timestamp (after the clock where
 * it has none)? *why gets a static sentence. kv_decode has looked already.
 */
extern TimestampTz kv_time_clock;	/* the clock by which this is said; 0: that of now; DT_NOEND: nothing is */
extern bool kv_time_too_far(int64 record_timestamp_ms, TimestampTz event_time, const char **why);

/* Can an error only come from the data of a record? Everything else is retried. */
extern bool kv_fault_of_record(const ErrorData *error);

#endif							/* KV_FORMAT_H */
