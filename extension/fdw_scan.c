/*-------------------------------------------------------------------------
 * fdw_scan.c
 *	  SELECT from a topic, and the handler of the wrapper.
 *
 * Why it exists: a topic that can be queried needs no tool beside psql, and a
 * query over topics is the oracle of the views (kafka.verify).
 *
 * Invariant: a scan gives what was committed up to the end the topic had when
 * the scan began: of an append topic every record, of an upsert topic the
 * last row per key. Records that are dead letters to a view are none here: they
 * are counted in one NOTICE at the end, or an error where on_error is stop.
 *
 * Where reading begins and ends is scan_bounds.c's, how it goes topic_reader.c's,
 * the last row per key upsert_rows.c's. Planning does not ask the broker.
 *-------------------------------------------------------------------------
 */
#include "fdw_scan.h"

#include "commands/explain.h"
#include "executor/executor.h"
#include "fdw_modify.h"
#include "foreign/fdwapi.h"
#include "format.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "scan_bounds.h"
#include "topic_reader.h"
#include "upsert_rows.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* Nothing is known about a topic without asking its broker, which planning must not. */
#define ASSUMED_RECORDS 100000
#define CONNECT_COST 1000
#define FEW_ROWS 10000

/* Places in ForeignScan.fdw_private. */
enum ScanPrivateIndex
{
	SCAN_BOUND_KINDS,			/* integers, see PlannedBounds */
	SCAN_BOUND_STRATEGIES,		/* integers */
	SCAN_COLUMNS,				/* integers: attribute numbers to decode */
	SCAN_FEW					/* integer list of one: 1 if a LIMIT will stop the scan early */
};

typedef struct TopicScan
{
	TopicDef   *topic;
	Decoder    *decoder;
	Oid			user;
	bool		few;
	List	   *kinds;
	List	   *strategies;
	List	   *values;			/* ExprState */
	TopicReader *reader;		/* NULL before the first row is asked for */
	bool		started;		/* the reader has been given its bounds */
	UpsertRows *upsert;			/* of an upsert topic, once it has been read */
	MemoryContext scan_context;
	MemoryContext record_context;	/* of the row that was given last */
	uint64		records;		/* read, for EXPLAIN */
	uint64		bad_records;
	DecodeError first_bad;
	int			first_bad_partition;
	int64		first_bad_offset;
} TopicScan;

ScanOverride kv_scan_start_override = NULL;
ScanOverride kv_scan_end_override = NULL;
ScanSkip	kv_scan_skip = NULL;

static void get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid);
static void get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid);
static ForeignScan *get_plan(PlannerInfo *root, RelOptInfo *baserel, Oid relid, ForeignPath *path,
							 List *tlist, List *clauses, Plan *outer_plan);
static List *columns_to_decode(RelOptInfo *baserel, const TopicDef *topic);
static void begin_scan(ForeignScanState *node, int eflags);
static TupleTableSlot *iterate_scan(ForeignScanState *node);
static void start_reading(ForeignScanState *node, TopicScan *scan);
static void evaluate_bounds(ForeignScanState *node, TopicScan *scan, ScanBounds *bounds);
static void partition_range(TopicScan *scan, const ScanBounds *bounds, int partition, int64 *start, int64 *end);
static DecodeResult next_row(TopicScan *scan, TupleTableSlot *slot, const rd_kafka_message_t **msg, TimestampTz *time_us);
static void note_bad_record(TopicScan *scan, const rd_kafka_message_t *msg, const DecodeError *bad);
static void read_upsert_rows(TopicScan *scan, TupleTableSlot *slot);
static void rescan(ForeignScanState *node);
static void end_scan(ForeignScanState *node);
static void explain_scan(ForeignScanState *node, ExplainState *es);
static void explain_bounds(ForeignScan *plan, BoundKind kind, const char *label, ExplainState *es);

PG_FUNCTION_INFO_V1(kafka_fdw_handler);

Datum
kafka_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = get_rel_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
	routine->BeginForeignScan = begin_scan;
	routine->IterateForeignScan = iterate_scan;
	routine->ReScanForeignScan = rescan;
	routine->EndForeignScan = end_scan;
	routine->ExplainForeignScan = explain_scan;
	kv_modify_routine(routine);
	PG_RETURN_POINTER(routine);
}

static void
get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	baserel->tuples = ASSUMED_RECORDS;
	set_baserel_size_estimates(root, baserel);
}

static void
get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	Cost		run = baserel->tuples * (cpu_tuple_cost + baserel->baserestrictcost.per_tuple) * 4;

	add_path(baserel, (Path *) create_foreignscan_path(root, baserel, NULL, baserel->rows, CONNECT_COST, CONNECT_COST + run,
													   NIL, baserel->lateral_relids, NULL, NIL));
}

static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *baserel, Oid relid, ForeignPath *path,
		 List *tlist, List *clauses, Plan *outer_plan)
{
	const TopicDef *topic = kv_topic_get(relid);
	bool		few = root->limit_tuples >= 0 && root->limit_tuples < FEW_ROWS && bms_num_members(root->all_baserels) == 1;
	PlannedBounds bounds;
	List	   *private;

	clauses = extract_actual_clauses(clauses, false);
	kv_bounds_find(topic, baserel->relid, clauses, &bounds);
	private = list_make4(bounds.kinds, bounds.strategies, columns_to_decode(baserel, topic), list_make1_int(few));
	return make_foreignscan(tlist, clauses, baserel->relid, bounds.values, private, NIL, bounds.clauses, outer_plan);
}

/* Lists the attribute numbers that the query needs. */
static List *
columns_to_decode(RelOptInfo *baserel, const TopicDef *topic)
{
	Bitmapset  *used = NULL;
	List	   *columns = NIL;
	ListCell   *cell;
	bool		whole_row;

	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid, &used);
	foreach(cell, baserel->baserestrictinfo)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, cell)->clause, baserel->relid, &used);
	whole_row = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, used);
	for (int i = 0; i < topic->ncolumns; i++)
	{
		AttrNumber	attno = topic->columns[i].attno;

		if (whole_row || bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, used))
			columns = lappend_int(columns, attno);
	}
	return columns;
}

static void
begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	EState	   *estate = node->ss.ps.state;
	TopicScan  *scan = palloc0(sizeof(TopicScan));
	Bitmapset  *wanted = bms_make_singleton(0); /* not NULL, which asks for all columns */
	ListCell   *cell;

	node->fdw_state = scan;
	scan->scan_context = estate->es_query_cxt;
	scan->topic = kv_topic_copy(scan->scan_context, kv_topic_get(RelationGetRelid(node->ss.ss_currentRelation)));
	scan->user = kv_foreign_scan_user(node);
	if (!OidIsValid(scan->user))
		scan->user = GetUserId();
	scan->kinds = list_nth(plan->fdw_private, SCAN_BOUND_KINDS);
	scan->strategies = list_nth(plan->fdw_private, SCAN_BOUND_STRATEGIES);
	scan->few = linitial_int(list_nth(plan->fdw_private, SCAN_FEW)) != 0;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	scan->values = ExecInitExprList(plan->fdw_exprs, &node->ss.ps);
	foreach(cell, (List *) list_nth(plan->fdw_private, SCAN_COLUMNS))
		wanted = bms_add_member(wanted, lfirst_int(cell));
	scan->decoder = kv_decoder_make(scan->scan_context, scan->topic, wanted, InvalidOid);
	scan->record_context = AllocSetContextCreate(scan->scan_context, "kv record", ALLOCSET_DEFAULT_SIZES);
}

static TupleTableSlot *
iterate_scan(ForeignScanState *node)
{
	TopicScan  *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	const rd_kafka_message_t *msg;
	TimestampTz time_us;

	if (!scan->started)
		start_reading(node, scan);
	if (scan->topic->mode == MODE_UPSERT)
	{
		MinimalTuple tuple;

		if (scan->upsert == NULL)
			read_upsert_rows(scan, slot);
		tuple = kv_upsert_next(scan->upsert);
		if (tuple != NULL)
			ExecForceStoreMinimalTuple(tuple, slot, false);
		else
			ExecClearTuple(slot);
		return slot;
	}
	while (next_row(scan, slot, &msg, &time_us) != DECODE_ROW && msg != NULL)
		 /* a record that is no row */ ;
	if (msg != NULL)
		ExecStoreVirtualTuple(slot);
	return slot;
}

/* Connects, unless a scan before this one has, and seeks. */
static void
start_reading(ForeignScanState *node, TopicScan *scan)
{
	ScanBounds	bounds;
	int64	   *starts,
			   *ends;
	int			npartitions;

	evaluate_bounds(node, scan, &bounds);
	if (scan->reader == NULL)
		scan->reader = kv_reader_open(scan->scan_context, scan->topic, scan->user, scan->few);
	npartitions = kv_reader_partitions(scan->reader);
	starts = palloc0(sizeof(int64) * npartitions);
	ends = palloc0(sizeof(int64) * npartitions);
	for (int i = 0; i < npartitions; i++)
	{
		if (kv_bounds_partition(&bounds, i))
			partition_range(scan, &bounds, i, &starts[i], &ends[i]);
	}
	kv_reader_start(scan->reader, starts, ends);
	pfree(starts);
	pfree(ends);
	scan->started = true;
}

/* Evaluates the values of the conditions, which cannot change during a scan. */
static void
evaluate_bounds(ForeignScanState *node, TopicScan *scan, ScanBounds *bounds)
{
	ExprContext *context = node->ss.ps.ps_ExprContext;
	MemoryContext before = MemoryContextSwitchTo(context->ecxt_per_tuple_memory);
	ListCell   *kind,
			   *strategy,
			   *value;

	kv_bounds_init(bounds);
	forthree(kind, scan->kinds, strategy, scan->strategies, value, scan->values)
	{
		bool		isnull;
		Datum		datum = ExecEvalExpr(lfirst(value), context, &isnull);

		kv_bounds_add(bounds, lfirst_int(kind), lfirst_int(strategy), datum, isnull);
	}
	MemoryContextSwitchTo(before);
}

static void
partition_range(TopicScan *scan, const ScanBounds *bounds, int partition, int64 *start, int64 *end)
{
	int64		low,
				high;

	kv_reader_range(scan->reader, partition, &low, &high);
	if (kv_scan_start_override != NULL)
		low = Max(low, kv_scan_start_override(scan->topic->relid, partition, low));
	if (kv_scan_end_override != NULL)
		high = Min(high, kv_scan_end_override(scan->topic->relid, partition, high));
	*start = Max(low, bounds->min_offset);
	*end = Min(high, bounds->end_offset);
	if (*start >= *end || bounds->min_time == DT_NOBEGIN)
		return;
	if (bounds->min_time == DT_NOEND)
		*end = *start;			/* no record is that late */
	else
	{
		int64		time_ms = bounds->min_time / 1000 - (bounds->min_time % 1000 < 0) +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000);

		*start = Max(*start, kv_reader_seek_time(scan->reader, partition, time_ms));
	}
}

/*
 * Reads and decodes the next record into the cleared slot's arrays; *msg is NULL at the end.
 * Bad records are counted or raised.
 */
static DecodeResult
next_row(TopicScan *scan, TupleTableSlot *slot, const rd_kafka_message_t **msg, TimestampTz *time_us)
{
	MemoryContext before;
	TopicRecord record;
	DecodeResult result;
	DecodeError bad;

	ExecClearTuple(slot);
	*msg = kv_reader_next(scan->reader);
	if (*msg == NULL)
		return DECODE_NOTHING;
	scan->records++;
	if (kv_scan_skip != NULL && kv_scan_skip(scan->topic->relid, (*msg)->partition, (*msg)->offset))
		return DECODE_NOTHING;
	MemoryContextReset(scan->record_context);
	before = MemoryContextSwitchTo(scan->record_context);
	record = kv_record_of(*msg);
	result = kv_decode(scan->decoder, &record, slot->tts_values, slot->tts_isnull, time_us, &bad);
	MemoryContextSwitchTo(before);
	if (result == DECODE_BAD)
		note_bad_record(scan, *msg, &bad);
	return result;
}

static void
note_bad_record(TopicScan *scan, const rd_kafka_message_t *msg, const DecodeError *bad)
{
	if (scan->topic->on_error == ON_ERROR_STOP)
		ereport(ERROR,
				(errcode(bad->sqlstate),
				 errmsg("%s", bad->message),
				 errdetail("Topic \"%s\", partition %d, offset %lld.%s%s", scan->topic->topic, msg->partition,
						   (long long) msg->offset, bad->detail[0] != '\0' ? " " : "", bad->detail),
				 errhint("With on_error 'dead_letter' or 'skip' such records are left out.")));
	if (scan->bad_records++ > 0)
		return;
	scan->first_bad = *bad;
	scan->first_bad_partition = msg->partition;
	scan->first_bad_offset = msg->offset;
}

/* Reads an upsert topic to its end. */
static void
read_upsert_rows(TopicScan *scan, TupleTableSlot *slot)
{
	const rd_kafka_message_t *msg;
	TimestampTz time_us;
	UpsertRows *rows = kv_upsert_make(scan->scan_context, scan->topic, kv_reader_partitions(scan->reader));

	while (true)
	{
		DecodeResult result = next_row(scan, slot, &msg, &time_us);

		if (msg == NULL)
			break;
		if (result == DECODE_ROW || result == DECODE_DELETE)
			kv_upsert_add(rows, msg, time_us, slot->tts_values, slot->tts_isnull, result == DECODE_DELETE);
	}
	scan->upsert = rows;
}

/* Begins again; the ends stay those of the first scan. */
static void
rescan(ForeignScanState *node)
{
	TopicScan  *scan = node->fdw_state;

	if (scan->upsert != NULL && node->ss.ps.chgParam == NULL)
	{
		kv_upsert_rewind(scan->upsert);
		return;
	}
	scan->started = false;
	scan->upsert = NULL;
}

static void
end_scan(ForeignScanState *node)
{
	TopicScan  *scan = node->fdw_state;

	if (scan == NULL || scan->reader == NULL)
		return;
	ExecClearTuple(node->ss.ss_ScanTupleSlot);
	kv_reader_close(scan->reader);
	scan->reader = NULL;
	if (scan->bad_records > 0)
		ereport(NOTICE,
				(errmsg_plural("%llu bad record of topic \"%s\" was left out", "%llu bad records of topic \"%s\" were left out",
							   scan->bad_records, (unsigned long long) scan->bad_records, scan->topic->topic),
				 errdetail("The first, at partition %d, offset %lld: %s. %s", scan->first_bad_partition,
						   (long long) scan->first_bad_offset, scan->first_bad.message, scan->first_bad.detail)));
}

static void
explain_scan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	TopicScan  *scan = node->fdw_state;

	ExplainPropertyText("Topic", scan->topic->topic, es);
	explain_bounds(plan, BOUND_PARTITION, "Partitions", es);
	explain_bounds(plan, BOUND_OFFSET, "Offsets", es);
	explain_bounds(plan, BOUND_TIMESTAMP, "Timestamps", es);
	if (es->analyze)
		ExplainPropertyUInteger("Records Read", NULL, scan->records, es);
}

/* Shows the conditions of one kind that became seeks. */
static void
explain_bounds(ForeignScan *plan, BoundKind kind, const char *label, ExplainState *es)
{
	List	   *context = set_deparse_context_plan(es->deparse_cxt, &plan->scan.plan, NIL);
	List	   *clauses = NIL;
	ListCell   *kind_cell,
			   *clause;

	forboth(kind_cell, (List *) list_nth(plan->fdw_private, SCAN_BOUND_KINDS), clause, plan->fdw_recheck_quals)
	{
		if (lfirst_int(kind_cell) == kind)
			clauses = lappend(clauses, lfirst(clause));
	}
	if (clauses != NIL)
		ExplainPropertyText(label, deparse_expression((Node *) make_ands_explicit(clauses), context,
													  list_length(es->rtable) > 1 || es->verbose, false), es);
}
