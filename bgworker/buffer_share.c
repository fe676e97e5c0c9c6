/*
 * buffer_share.c: divides kafka.buffer_limit over the partitions of a pipeline.
 *
 * A record is in one of two places until its batch has committed: the queue of its partition inside
 * librdkafka, and then the ring of its partition (consumer.c). Both are bounded per partition, because
 * the merge needs the next record of each: were there one common bound, those that are far ahead could take all of it
 * and the one that is waited for would have no room. So of the limit are
 *
 *	1/4 values in the queues, 3/8 what librdkafka needs for each record there: by partition
 *	1/8 rings: by partition; 1/4 rings: whoever comes first, so that one that has most of the records gets large batches
 *
 * The bound is not exact. One record is let in however large it is, as is one batch of a producer; compressed batches grow
 * when they arrive; and no share falls below what keeps a partition going (LEAST_*), so with thousands of partitions
 * the sum is more than a small limit.
 */
#include "postgres.h"

#include "buffer_share.h"

/* More in one place does not make anything faster. */
#define MOST_QUEUE_KB (64 * 1024)
#define MOST_FETCH_BYTES (4 * 1024 * 1024)

#define LEAST_RING_BYTES (64 * 1024)
#define LEAST_QUEUE_KB 64
#define LEAST_QUEUE_RECORDS 100
#define LEAST_FETCH_BYTES (64 * 1024)

/* A queue is asked to be filled in so many steps, each of which may overshoot. */
#define FETCHES_PER_QUEUE 8


BufferShare
kv_buffer_share(int partitions)
{
	BufferShare share = {.limit_kb = kv_buffer_limit_kb,.partitions = partitions};
	int64		limit = (int64) kv_buffer_limit_kb * 1024;
	int64		part = limit / Max(partitions, 1);

	/* ten batches ahead: with less the fetches become the bottleneck (ENGINEERING.md) */
	int64		batches = Min(Max(10 * (int64) kv_batch_rows, 100000), 1000000);

	share.ring_bytes = Max(part / 8, LEAST_RING_BYTES);
	share.rings_bytes = limit / 4;
	share.queue_kb = Min(Max(part / 4 / 1024, LEAST_QUEUE_KB), MOST_QUEUE_KB);
	share.queue_records = Min(Max(part * 3 / 8 / RECORD_OVERHEAD, LEAST_QUEUE_RECORDS), batches);
	share.fetch_bytes = Min(Max(share.queue_kb * 1024 / FETCHES_PER_QUEUE, LEAST_FETCH_BYTES), MOST_FETCH_BYTES);
	return share;
}
