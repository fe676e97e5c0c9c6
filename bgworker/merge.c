/*
 * merge.c: gives out the records of all partitions in processing order:
 * (stream time of the partition at the record, tables first, topic, partition, offset).
 *
 * Invariants: offset order within a partition is kept, because a record's place is
 * the greatest event time up to and including it; stream time only grows; a record
 * that is no row (null value, bad) takes its partition's stream time as its place
 * and never advances it. While a partition is not at its end and has nothing polled,
 * nothing is given out: its next record may come before all others. No I/O here.
 *
 * Partitions are few, so the next one is found by a scan of their heads.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "consumer.h"
#include "merge.h"
#include "ring.h"

static bool comes_before(const Partition *a, const Partition *b);
static void skip_to_end(Partition *partition);


/* Finds the next record; see the header. During bootstrap only tables are looked at. Runs: in a transaction. Blocks: no. */
MergeResult
kv_merge_peek(Pipeline *pipeline, Partition **result)
{
	Partition  *best = NULL;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		if (!pipeline->bootstrap_done && !input->is_table)
			continue;
		for (int n = 0; n < input->npartitions; n++)
		{
			Partition  *partition = &input->partitions[n];

			if (kv_merge_at_limit(partition))
				continue;
			if (!partition->head_valid && !kv_merge_decode_head(pipeline, partition))
			{
				if (!partition->at_end)
					return MERGE_WAIT;
				skip_to_end(partition);
			}
			else if (best == NULL || comes_before(partition, best))
				best = partition;
		}
	}
	if (best == NULL)
		return MERGE_EMPTY;
	*result = best;
	return MERGE_RECORD;
}

/* Tells whether a batch would find a record: something is polled and no partition has to be waited for. */
bool
kv_merge_ready(Pipeline *pipeline)
{
	bool		any = false;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions && (pipeline->bootstrap_done || input->is_table); n++)
		{
			Partition  *partition = &input->partitions[n];

			if (kv_merge_at_limit(partition))
				continue;
			if (partition->fifo_given < partition->fifo_count)
				any = true;
			else if (!partition->at_end)
				return false;
		}
	}
	return any;
}

/* Tells whether everything there is has been given out; during bootstrap: of the tables. */
bool
kv_merge_at_end(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions && (pipeline->bootstrap_done || input->is_table); n++)
		{
			Partition  *partition = &input->partitions[n];

			if (!kv_merge_at_limit(partition) && (partition->fifo_given < partition->fifo_count || !partition->at_end))
				return false;
		}
	}
	return true;
}

/* Tells whether the pipeline keeps up: all partitions were at their ends, and what came since is less than a batch. */
bool
kv_merge_is_live(Pipeline *pipeline)
{
	if (!pipeline->bootstrap_done || pipeline->redo || kv_consumer_pending(pipeline) >= kv_batch_rows)
		return false;
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			if (!pipeline->topics[i].partitions[n].at_end)
				return false;
		}
	}
	return true;
}

/*
 * Tells whether a partition with nothing polled has its end behind its position. Not while a partition
 * has to be waited for: a batch would stop there and move nothing, again and again.
 */
bool
kv_merge_end_moved(Pipeline *pipeline)
{
	bool		moved = false;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		for (int n = 0; n < input->npartitions && (pipeline->bootstrap_done || input->is_table); n++)
		{
			Partition  *partition = &input->partitions[n];

			if (kv_merge_at_limit(partition) || partition->fifo_given < partition->fifo_count)
				continue;
			if (!partition->at_end)
				return false;
			moved = moved || partition->eof_offset > partition->next_offset;
		}
	}
	return moved;
}

/* See the header. Records that compaction has taken, and control records, leave the position short of the limit. */
bool
kv_merge_at_limit(Partition *partition)
{
	if (partition->limit == PG_INT64_MAX)
		return false;
	if (partition->next_offset < partition->limit &&
		(partition->fifo_given < partition->fifo_count ? kv_merge_record(partition)->offset >= partition->limit
		 : partition->at_end && partition->eof_offset >= partition->limit))
		partition->next_offset = partition->limit;
	return partition->next_offset >= partition->limit;
}

/* Orders two heads; topics and partitions are scanned in order, so only what differs before that is compared. */
static bool
comes_before(const Partition *a, const Partition *b)
{
	if (a->head_order != b->head_order)
		return a->head_order < b->head_order;
	return a->input->is_table && !b->input->is_table;
}

/* Moves the position over control records at the end, which are never given out. */
static void
skip_to_end(Partition *partition)
{
	if (partition->eof_offset > partition->next_offset)
		partition->next_offset = partition->eof_offset;
}

/* Decodes the oldest message that was not given out into the partition's head; false if none is polled. */
bool
kv_merge_decode_head(Pipeline *pipeline, Partition *partition)
{
	MemoryContext old;

	if (partition->head_valid)
		return true;
	if (partition->fifo_given == partition->fifo_count)
		return false;

	MemoryContextReset(partition->head_context);
	old = MemoryContextSwitchTo(partition->head_context);
	partition->head_result = kv_decode(partition->input->decoder, kv_merge_record(partition), partition->head_values, partition->head_nulls,
									   &partition->head_time, &partition->head_bad);
	MemoryContextSwitchTo(old);

	if (partition->head_result == DECODE_ROW || partition->head_result == DECODE_DELETE)
		partition->head_order = Max(partition->stream_time, partition->head_time);
	else
		partition->head_order = partition->stream_time;
	partition->head_valid = true;
	return true;
}

/* Gives the record of the head. */
const TopicRecord *
kv_merge_record(const Partition *partition)
{
	return RING_AT(partition, partition->fifo_given);
}

/* Moves past the head. */
void
kv_merge_consume(Partition *partition)
{
	Assert(partition->head_valid);
	partition->next_offset = kv_merge_record(partition)->offset + 1;
	partition->stream_time = partition->head_order;
	partition->fifo_given++;
	partition->head_valid = false;
	partition->idle_since = 0;
}
