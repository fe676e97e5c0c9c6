/*
 * pipeline.h: what the rooms of a pipeline worker share: Pipeline (filled by
 * worker.c) with its topics, partitions and views.
 *
 * A record's way: consumer (polled messages per partition) > merge (processing order,
 * stream time) > format (row) > delta (one tuplestore per topic) > batch (statements,
 * positions, commit).
 *
 * A Pipeline lives for one run: from reading the definitions to the next change of
 * them, pause, error or stop. Then its context is deleted whole, the consumer with it.
 */
#ifndef KV_PIPELINE_H
#define KV_PIPELINE_H

#include "kafka_views.h"
#include "maintenance.h"
#include "analyze.h"
#include "buffer_share.h"
#include "catalog.h"
#include "client.h"
#include "encode.h"
#include "format.h"
#include "record.h"
#include "run_sql.h"
#include "shared.h"
#include "utils/resowner.h"

struct TopicInput;

/* One partition of one topic this pipeline reads. */
typedef struct Partition
{
	struct TopicInput *input;
	int32		number;
	int64		start_offset;
	int64		next_offset;	/* of the first record that merge has not given out */
	TimestampTz stream_time;	/* greatest event time given out, DT_NOBEGIN */
	int64		limit;			/* redo.c: nothing from here on is given out; PG_INT64_MAX: no limit */

	/*
	 * ring.c: polled messages or copies of them, oldest first. The first
	 * fifo_given of them were given out by merge and stay until the batch
	 * commits, so that a failed batch gives them out again and a dead letter
	 * has its bytes.
	 */
	bool		started;
	bool		parked;			/* fetching.c: started, but not fetched of now */
	int64		fetched_offset; /* what comes next has this offset or a greater one */
	TopicRecord **fifo;
	int			fifo_size,		/* a power of two */
				fifo_head,
				fifo_given,
				fifo_count;
	int64		fifo_bytes;		/* what they take in memory */
	MemoryContext fifo_context; /* holds them */
	bool		hurried;		/* fetching.c: the client was told to hurry since the last one came */
	bool		at_end;			/* the broker said end of partition, nothing far behind it since */
	int64		eof_offset;		/* the end as last told: may lie behind control records */
	int32		leader;			/* the broker that served it when they were asked last; below 0: none */
	bool		leaderless;		/* none did then: it may have more records than anybody can tell */
	bool		unanswered;		/* ends.c: its leader gave no answer when it was asked last: the same */
	int64		log_end;		/* ends.c, of tables in bootstrap: where the log ended when all that could be read had been; -1: not yet */
	bool		uncommitted;	/* ends.c: a transaction was open in it when its leader answered last: the same */

	/* merge.c: the decoded record that is next */
	bool		head_valid;
	Datum	   *head_values;	/* topic's columns, then kv_time, kv_before, kv_row (, kv_deleted) */
	bool	   *head_nulls;
	DecodeResult head_result;
	TimestampTz head_time;		/* event time */
	TimestampTz head_order;		/* greatest(stream_time, head_time): its place */
	DecodeError head_bad;		/* with DECODE_BAD */
	MemoryContext head_context; /* holds its values */

	TimestampTz given_at;		/* clock of the batch that took its last record; 0: none in this run */
	TimestampTz idle_since;		/* advance.c, worker's clock: at its end with nothing new; 0: not idle */
	TimestampTz confirmed_at;	/* ends.c, worker's clock: when its leader was asked that has said there is no more; 0: it has not */

	/* committed state, to go back to when a batch fails */
	int64		committed_offset;
	TimestampTz committed_stream_time;
	int64		committed_mark;
	TimestampTz committed_mark_time;

	/* marks.c */
	int64		last_mark;		/* offset of the last mark of this run, or where it began */
	TimestampTz last_mark_time; /* stream time there; DT_NOBEGIN: no mark in this run */
} Partition;

/* One topic (foreign table) this pipeline reads. */
typedef struct TopicInput
{
	TopicDef   *topic;
	bool		is_table;		/* upsert: looked up */
	Bitmapset  *not_behind;		/* places of topics whose records look up what this one's change: behind one of theirs its record begins a sub-batch */
	bool		has_buffers;	/* some view keeps its rows in a buffer, which may be unlogged: needs marks */
	int64		mark_every_us;	/* marks.c: after so much event time at the latest */
	TimestampTz buffers_since;	/* buffer_logging.c: no record in buffers is older by the clock; 0: not known yet, DT_NOBEGIN: nobody knows */
	Bitmapset  *wanted;			/* attnos that views use */
	Decoder    *decoder;
	rd_kafka_topic_t *handle;
	int			npartitions;
	Partition  *partitions;
	TimestampTz watermark;		/* advance.c; DT_NOBEGIN: none yet */
	bool		silent;			/* advance.c: it never had a record and is idle, so it holds no view's time back */
	TimestampTz idle_from;		/* advance.c, worker's clock: since when all partitions are idle; 0: not all are */
	TimestampTz idle_base;		/* event time that was reached by then: where kafka.idle_advance goes on from */
	/* delta.c: rows of the current (sub)batch */
	TupleDesc	delta_desc;		/* topic's columns + kv_time, kv_before, kv_row (+ kv_deleted boolean for tables) */
	Tuplestorestate *delta;
	int64		delta_rows;
} TopicInput;

/* A topic that an unstored view writes to (sinks.c). */
typedef struct ViewSink
{
	TopicDef   *topic;
	Encoder    *encoder;
} ViewSink;

/* One continuous view of the pipeline. */
typedef struct PipelineView
{
	ViewRow    *row;
	ViewDef    *view;
	List	   *reads;			/* Oid: what its query reads with somebody's rights */
	MaintenancePlan *plan;
	List	   *compiled;		/* KvPlan * parallel to plan->statements */
	int64		applied;		/* rows of inputs since the run began */
	int64		replan_at;		/* when applied reaches this, tables have grown too much for the kept plans */
	bool		closes;			/* it has CLOSE statements: something happens when its frontier moves */
	bool		evicts;			/* it has EVICT statements */
	bool		needs_frontier; /* it closes, some input can be late or is buffered, or a view over it needs one */
	TimestampTz watermark;		/* least of its driving inputs'; DT_NOBEGIN: none yet */
	bool		silent;			/* all of its driving inputs are */
	TimestampTz frontier;		/* closed frontier before the current batch */
	TimestampTz next_frontier;	/* after it */
	TimestampTz redo_frontier;	/* redo.c: the one that Kafka has */
	bool		left_out;		/* redo.c: the predecessor had published no first rows of it, so it gets them afterwards */
	TimestampTz evicted_at;		/* frontier at the last eviction */
	int64		late_rows;		/* since the last commit */
	List	   *sinks;			/* of ViewSink *; only of an unstored view */
	/* rows this view got in the current (sub)batch, when views read it or when it is unstored */
	bool		is_read;
	TupleDesc	row_desc;		/* its columns without dropped ones, of a keyed view with kv_deleted behind them */
	Tuplestorestate *rows;
	Tuplestorestate *given;		/* upper_rows.c: rows that it gave the readers once, and gives to pipeline->only_view again; NULL: none */
	int64		published;		/* of rows: how many went to the sinks of an unstored view */
	TupleDesc	delta_desc;		/* its columns + kv_time, kv_before, kv_row (+ kv_deleted) */
	Tuplestorestate *delta;		/* made of rows by the first reader; NULL: not yet */
	int64		delta_rows;
	Tuplestorestate *untimed;	/* rows that readers cannot take, for want of an event time, where time made them; NULL: none */
} PipelineView;

/* A record that was kept aside, while it is tried again (retry.c) or put back into buffers (reload.c). */
typedef struct KeptRecord
{
	int64		id;				/* kafka_state.dead_letter's */
	TopicRecord record;
	Partition  *partition;
	PipelineView *view;			/* for this one only; NULL: for every view that reads the topic */
	const char *upper_rows;		/* of views that the view reads (upper_rows.c); NULL: none */
	bool		rows_lost;		/* some of them were too large to be kept */
	bool		rows_only;		/* the view gets those and not the record */
	int32		attempts;		/* that have failed before */
	TimestampTz time;			/* its event time, once it is decoded; DT_NOBEGIN */
	bool		failed;			/* again, by these */
	int			sqlstate;
	const char *message;
	const char *detail;			/* NULL: none */
} KeptRecord;

/* Where a row of the current (sub)batch came from; its index is its kv_row. */
typedef struct RowSource
{
	Partition  *partition;
	int64		offset;
	const TopicRecord *record;	/* in its ring */
	KeptRecord *kept;			/* in the place of that */
} RowSource;

typedef struct Pipeline
{
	/* who */
	PipelineRow *row;
	Oid			owner;
	Oid			serverid;
	char	   *kafka_name;
	char	   *definitions;	/* members.c: a digest of the catalog rows that the run is made of */
	List	   *row_types;		/* members.c: relations of the composite types that are decoded */
	/* members, in creation order */
	int			nviews;
	PipelineView *views;
	int			ntopics;
	TopicInput *topics;
	/* input */
	KvClient   *consumer;
	rd_kafka_queue_t *queue;	/* fetched messages of all partitions */
	WaitEventSet *wait_set;
	BufferShare share;			/* what queue and rings may hold */
	int64		rings_bytes;	/* what all rings do */
	int64		most_bytes;		/* and did, since memory was last given back */
	bool		copies;			/* fetching.c: rings get copies of messages */
	int64		record_bytes;	/* of the last record that came */
	bool		queue_empty;	/* fetching.c: it was when it was last polled */
	int64		polled_bytes,	/* values taken from it since it was empty before */
				polled_records; /* and how many */
	/* the current (sub)batch */
	RowSource  *sources;
	int64		nsources,
				max_sources;
	ResourceOwner rows_owner;	/* of the rows and deltas of views */
	MemoryContext rows_context; /* the same */
	TimestampTz batch_time;		/* greatest event time of its streams' records */
	TimestampTz batch_table_time;	/* and of its tables', which cause output where no stream does */
	TimestampTz clock;			/* when it, or the last one, began; 0: none has in this run */
	bool		broker_silent;	/* it did not answer when it was asked last */
	struct EndsQuestion *ends;	/* ends.c: what leaders are being asked; NULL: nothing */
	bool		cut_off;		/* broker_silent, or some partition has records that nobody sees: the slot says so until it is over */
	/* dead_letter.c: the record at which on_error 'stop' ends a batch, so that what comes before it is committed; NULL: none */
	Partition  *stop_partition;
	int64		stop_offset;
	/* retry.c: records that are tried again */
	bool		retry_requested;	/* when it was last looked */
	struct RetryRun *retry;		/* those of the current batch; NULL: it is of records that were polled */
	PipelineView *only_view;	/* the topics' rows of the current sub-batch are for this one; NULL: for all */
	/* redo.c: what Kafka has and Postgres has lost is being applied again */
	bool		redo;
	bool		redo_frontiers; /* the views' redo_frontier is known */
	int64		redo_batch;		/* the last one that Kafka has */
	TimestampTz redo_clock;		/* when that was made; 0: not known */
	/* state */
	bool		bootstrap_done; /* false: only tables are read so far */
	int64		batch_number;
	int64		batch_size;		/* batch_size.c: most records of a batch; 0: kafka.batch_rows */
	int64		singles;		/* records of the batch that were applied one by one */
	List	   *marks;			/* marks.c: MarkRow * that the batch will store */
	int			fitting_batches;	/* of that size, in a row */
	bool		outbox_written;
	KvPlan	   *outbox_size;	/* outbox_limit.c: counts what waits in the outbox; NULL: not needed so far */
	int64		uncommitted_dead_letters,	/* of the current batch */
				uncommitted_null_values,
				uncommitted_records;
	TimestampTz last_offsets_commit;	/* when the publisher last got positions */
	bool		offsets_moved;	/* since then */
	MemoryContext context;		/* kv run: everything above */
	MemoryContext batch;		/* kv batch: reset after every batch */
} Pipeline;

/* Set by wake-ups: look whether the definitions have changed (worker.c). */
extern volatile bool kv_look_at_members;

/* The topic with a foreign table, the view with a result table; it is an error where the pipeline has none. */
extern TopicInput *kv_pipeline_topic(Pipeline *pipeline, Oid relid);
extern PipelineView *kv_pipeline_view(Pipeline *pipeline, Oid relid);
extern bool kv_pipeline_is_buffer(const ViewInput *input, const TopicInput *topic);
/* Do batches leave a view out, which has no first rows of the views that it reads yet? */
extern bool kv_pipeline_leaves_out(const PipelineView *view);
/* The time before which no buffer of a topic needs a record; the longest for which one keeps a row, in us of event time. */
extern TimestampTz kv_pipeline_reload_bound(Pipeline *pipeline, const TopicInput *topic);
extern int64 kv_pipeline_longest_stay(Pipeline *pipeline, const TopicInput *topic);

#endif							/* KV_PIPELINE_H */
