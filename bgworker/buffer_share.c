/*
 * buffer_share.c: divides kafka.buffer_limit over what holds the records of a pipeline.
 *
 * A record is in one of two places until its batch has committed: the queue of the client, one for all partitions, and then the ring of
 * its partition (ring.c). What is in the queue cannot be chosen, so it only has to last for the time of a batch. What
 * is in the rings can (fetching.c). Of the limit are
 *
 *	1/8 values in the queue, and 1/8 what the client needs for each record there: it stops fetching when either is full, and not before
 *	1/32 values in a response that is on its way, of each broker, and some 1/10 what the client needs for them where they are small
 *	3/8 rings: whoever comes first, so that one that has most of the records gets most of it
 *	3/16 rings: what a batch has taken beyond that, because it waits for a partition while others are far ahead
 *	1/16 rings: by partition, beyond that, for the same reason
 *
 * A record in a ring is a copy where the messages could hold half of the limit beyond that (share.copies), or a ring had to be parked.
 * So the producers' batches count where they are whole, in the queue and on their way, one or two at a time, and not once for each partition.
 * The bound is not exact. One record is let in however large it is, as is one batch of a producer in a response; compressed batches grow
 * when they arrive, and so does a response that is full of them; no share falls below what keeps things going
 * (LEAST_*), so with hundreds of partitions the sum is more than a small limit; and malloc keeps some of what was freed.
 */
#include "postgres.h"

#include "buffer_share.h"

/* More in one place does not make anything faster. */
#define MOST_QUEUE_KB (64 * 1024)
#define MOST_QUEUE_RECORDS 1000000
/* A response is of as many partitions as go into it; the others come first in one of the next. */
#define MOST_RESPONSE_BYTES (32 * 1024 * 1024)
#define MOST_FETCH_BYTES (4 * 1024 * 1024)

/*
 * What Kafka lets a producer's batch have if nobody says otherwise. With messages a ring holds two of them, or two responses, at its ends, of each
 * of which a single record may be all that waits.
 */
#define COMMON_BATCH_BYTES (1024 * 1024)

#define LEAST_RING_BYTES (64 * 1024)
#define LEAST_QUEUE_KB 64
#define LEAST_QUEUE_RECORDS 1000
#define LEAST_FETCH_BYTES (32 * 1024)


BufferShare
kv_buffer_share(int partitions)
{
	BufferShare share = {.limit_kb = kv_buffer_limit_kb,.partitions = partitions};
	int64		limit = (int64) kv_buffer_limit_kb * 1024;

	share.rings_bytes = limit * 3 / 8;
	share.ring_bytes = Max(limit / 16 / Max(partitions, 1), LEAST_RING_BYTES);
	share.queue_kb = Min(Max(limit / 8 / 1024, LEAST_QUEUE_KB), MOST_QUEUE_KB);
	share.queue_records = Min(Max(limit / 8 / RECORD_OVERHEAD, LEAST_QUEUE_RECORDS), MOST_QUEUE_RECORDS);
	share.response_bytes = Min(Max(limit / 32, LEAST_FETCH_BYTES), MOST_RESPONSE_BYTES);
	share.copies = 2 * (int64) partitions * Max(share.response_bytes, COMMON_BATCH_BYTES) > limit / 2;
	share.fetch_bytes = Min(Max(limit / 32 / Max(partitions, 1), LEAST_FETCH_BYTES), MOST_FETCH_BYTES);
	return share;
}
