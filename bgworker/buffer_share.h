/* buffer_share.h: how much of kafka.buffer_limit a partition may hold. */
#ifndef KV_BUFFER_SHARE_H
#define KV_BUFFER_SHARE_H

#include "kafka_views.h"

/* What a record costs besides its key and value in the queue: librdkafka's object of it (280 bytes measured with 2.0.2). */
#define RECORD_OVERHEAD 300

/* Limits of one run of a pipeline. The sizes are at least such that a partition goes on, however many there are. */
typedef struct BufferShare
{
	int			limit_kb;		/* the setting they were made of */
	int			partitions;		/* and the number of partitions */
	int64		rings_bytes;	/* all rings together are filled so far */
	int64		ring_bytes;		/* and one of them beyond that while it is what the others wait for */
	int			queue_kb;		/* values that the client has fetched and nobody has polled */
	int			queue_records;	/* the same in records */
	bool		copies;			/* messages would hold too much that they came with */
	int			response_bytes; /* what is asked for at once of a broker */
	int			fetch_bytes;	/* and of that of one partition */
} BufferShare;

/* Divides the present kafka.buffer_limit over so many partitions. */
extern BufferShare kv_buffer_share(int partitions);

#endif							/* KV_BUFFER_SHARE_H */
