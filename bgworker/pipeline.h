/*
 * pipeline.h: what the rooms of a pipeline worker share: Pipeline (filled by
 * worker.c), its inputs, and the interfaces of consumer, merge, delta, batch, dead_letter, advance, reload.
 *
 * A record's way: consumer (polled messages per partition) > merge (processing order,
 * stream time) > format (row) > delta (one tuplestore per topic) > batch (statements,
 * positions, commit).
 */
#ifndef KV_PIPELINE_H
#define KV_PIPELINE_H

#include "kafka_views.h"
#include "accumulate.h"
#include "analyze.h"
#include "catalog.h"
#include "client.h"
#include "format.h"
#include "run_sql.h"
#include "shared.h"

/* One partition of one topic this pipeline reads. */
typedef struct Partition
{
	struct TopicInput *input;
	int32		number;
	int64		start_offset;
	int64		next_offset;	/* of the first record that merge has not given out */
	TimestampTz stream_time;	/* greatest event time given out, DT_NOBEGIN */
	/* consumer.c */
	rd_kafka_message_t **fifo;	/* ring of polled messages */
	int			fifo_size,
				fifo_head,
				fifo_count;
	bool		at_end;			/* the broker said end of partition and nothing is queued */
	bool		consumer_paused;	/* far ahead of the others */
	int64		end_offset;		/* last known */
	/* merge.c: the decoded head of the fifo */
	bool		head_valid;
	Datum	   *head_values;
	bool	   *head_nulls;
	DecodeResult head_result;
	TimestampTz head_time;		/* event time */
	TimestampTz head_order;		/* greatest(stream_time, head_time): its place */
	TimestampTz idle_since;		/* worker's clock: since when at its end with nothing new; 0: not idle */
	MemoryContext head_context;
	/* committed state, to go back to when a batch fails */
	int64		committed_offset;
	TimestampTz committed_stream_time;
	int64		last_mark;
} Partition;

/* One topic (foreign table) this pipeline reads. */
typedef struct TopicInput
{
	TopicDef   *topic;
	bool		is_table;		/* upsert: looked up */
	Decoder    *decoder;
	int			npartitions;
	Partition  *partitions;
	/* delta.c: rows of the current (sub)batch */
	TupleDesc	delta_desc;		/* topic's columns + kv_time, kv_before, kv_row (+ kv_deleted boolean for tables) */
	Tuplestorestate *delta;
	int64		delta_rows;
} TopicInput;

/* One continuous view of the pipeline. */
typedef struct PipelineView
{
	ViewRow    *row;
	ViewDef    *view;
	MaintenancePlan *plan;
	List	   *compiled;		/* KvPlan * parallel to plan->statements */
	TimestampTz frontier;		/* closed frontier before the current batch */
	TimestampTz evicted_at;		/* frontier at the last eviction */
	int64		late_rows;		/* since the last commit */
	/* rows this view got in the current batch, when views read it */
	TupleDesc	delta_desc;
	Tuplestorestate *delta;
	int64		delta_rows;
} PipelineView;

typedef struct Pipeline
{
	/* who */
	PipelineRow *row;
	Oid			owner;
	Oid			serverid;
	char	   *kafka_name;
	/* members, in creation order */
	int			nviews;
	PipelineView *views;
	int			ntopics;
	TopicInput *topics;
	bool		has_sinks;
	/* input */
	KvClient   *consumer;
	/* state */
	bool		bootstrap_done;
	bool		definitions_changed;	/* set by invalidation or a wake-up: reload members */
	TimestampTz last_offsets_commit;
	MemoryContext context;		/* kv worker */
	MemoryContext definitions;	/* dropped whole when definitions change */
	MemoryContext batch;		/* reset after every batch */
} Pipeline;

#endif							/* KV_PIPELINE_H */
