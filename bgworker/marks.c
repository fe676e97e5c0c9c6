/*
 * marks.c: places in topics from which unlogged buffers can be reloaded (reload.c).
 *
 * Invariant: a reload begins at the last mark whose stream time is before what buffers need, and that is no more than the topic's mark_every_us before, or
 * its next record is needed: so it asks a topic for no record much older than those, which brokers may have deleted (buffer_logging.c counts on that).
 * Therefore marks are noted record by record, not batch by batch: a batch may hold all that a topic has, of days.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "marks.h"
#include "position.h"

/* Records of a partition between two marks: a reload reads at most so many too much. */
#define MARK_EVERY 10000

/* So many marks in the time for which buffers keep a row; where they keep none for long, the time between two (us). */
#define MARKS_A_STAY 8
#define LEAST_DISTANCE_US (10 * USECS_PER_MINUTE)

static bool is_due(const Partition *partition);


/* See the header. Runs: either. Blocks: no. */
void
kv_marks_set_distances(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		TopicInput *input = &pipeline->topics[i];

		input->mark_every_us = Max(kv_pipeline_longest_stay(pipeline, input) / MARKS_A_STAY, LEAST_DISTANCE_US);
	}
}

/* See the header. Runs: in a transaction. Blocks: no. */
void
kv_marks_note(Pipeline *pipeline, Partition *partition)
{
	MarkRow    *mark;
	MemoryContext old;

	if (!partition->input->has_buffers || !is_due(partition))
		return;
	old = MemoryContextSwitchTo(pipeline->batch);
	mark = palloc(sizeof(MarkRow));
	mark->relation = partition->input->topic->relid;
	mark->partition = partition->number;
	mark->offset = partition->next_offset;
	mark->stream_time = partition->stream_time;
	pipeline->marks = lappend(pipeline->marks, mark);
	MemoryContextSwitchTo(old);
	partition->last_mark = partition->next_offset;
	partition->last_mark_time = partition->stream_time;
}

/* Tells whether a partition wants a mark: where it has moved in this run without one, after many records, and after some time. */
static bool
is_due(const Partition *partition)
{
	if (partition->stream_time == DT_NOBEGIN)
		return false;
	return partition->last_mark_time == DT_NOBEGIN || partition->next_offset - partition->last_mark >= MARK_EVERY ||
		partition->stream_time - partition->last_mark_time >= partition->input->mark_every_us;
}

/* See the header. Blocks: no. */
void
kv_marks_store(Pipeline *pipeline)
{
	if (pipeline->marks != NIL)
		kv_mark_insert(pipeline->row->pipeline, pipeline->marks);
	pipeline->marks = NIL;
}
