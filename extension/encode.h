/*
 * encode.h: one row to key and value bytes by the column plan of the topic it
 * is written to. The hot half of publishing: appends to caller's buffers, no palloc a row
 * for the common types.
 */
#ifndef KV_ENCODE_H
#define KV_ENCODE_H

#include "topic.h"
#include "lib/stringinfo.h"

typedef struct Encoder Encoder;

/*
 * Makes an encoder that writes rows of desc (matched to the topic's columns by
 * name; metadata columns key, value, partition, offset are not written). Raises
 * ERRCODE_UNDEFINED_COLUMN for a topic column that desc lacks, ERRCODE_DATATYPE_MISMATCH
 * for one that cannot be assigned. Lives in context.
 */
extern Encoder *kv_encoder_make(MemoryContext context, const TopicDef *topic, TupleDesc desc);
/*
 * Appends the record key and value of a row. False: the record's key is null (the topic has no
 * key columns, or an append topic's text or kafka key is null). A null key column gives a JSON null in a json key; raises
 * ERRCODE_NOT_NULL_VIOLATION for an upsert topic whose text or kafka key is null. value NULL: only the key (a tombstone).
 * *time_us: from a metadata 'timestamp' column, or else the topic's event_time
 * column, DT_NOBEGIN if neither, and for a tombstone. *headers: a palloc'd bytea whose content is packed as outbox.h says, if *has_headers.
 */
extern bool kv_encode(Encoder *encoder, const Datum *values, const bool *nulls,
					  StringInfo key, StringInfo value, TimestampTz *time_us, Datum *headers, bool *has_headers);
/* Do the key columns of two rows differ? */
extern bool kv_encoder_key_differs(Encoder *encoder, const Datum *a, const bool *anulls,
								   const Datum *b, const bool *bnulls);

#endif							/* KV_ENCODE_H */
