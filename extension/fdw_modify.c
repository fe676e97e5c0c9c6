/*-------------------------------------------------------------------------
 * fdw_modify.c
 *	  INSERT and DELETE on a topic.
 *
 * Why it exists: writing to a topic must be as transactional as writing to a
 * table. So nothing is sent here: a row becomes a message in the outbox, which commits
 * or rolls back with the transaction and is published afterwards (DESIGN.md 5.3).
 *
 * Invariant: a topic is never read to be written. Therefore DELETE needs the key as a
 * value (it becomes a tombstone, whether the key exists or not), and what would need the
 * rows that are there, UPDATE and any other DELETE, is refused when it is planned.
 *-------------------------------------------------------------------------
 */
#include "fdw_modify.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "encode.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "outbox.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "topic.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Of an INSERT or a DELETE, in the query's context. */
typedef struct ModifyState
{
	TopicDef   *topic;
	Encoder    *encoder;
	StringInfoData key;
	StringInfoData value;
	MemoryContext row_context;	/* reset after each row */
	List	   *key_values;		/* DELETE: ExprState, in key order */
} ModifyState;

static List *plan_modify(PlannerInfo *root, ModifyTable *plan, Index relation, int subplan);
static bool finds_nothing(const Plan *plan);
static void raise_refusal(const TopicDef *topic, CmdType operation) pg_attribute_noreturn();
static void begin_modify(ModifyTableState *mtstate, ResultRelInfo *result, List *private, int subplan, int eflags);
static void begin_insert(ModifyTableState *mtstate, ResultRelInfo *result);
static ModifyState *make_state(EState *estate, Relation relation);
static TupleTableSlot *exec_insert(EState *estate, ResultRelInfo *result, TupleTableSlot *slot, TupleTableSlot *plan_slot);
static void check_writable(const TopicDef *topic, TupleTableSlot *slot);
static void append_message(ModifyState *modify, const Datum *values, const bool *nulls, bool tombstone);
static TupleTableSlot *exec_delete(EState *estate, ResultRelInfo *result, TupleTableSlot *slot, TupleTableSlot *plan_slot);
static int	is_updatable(Relation relation);
static bool plan_direct(PlannerInfo *root, ModifyTable *plan, Index relation, int subplan);
static ForeignScan *find_scan(ModifyTable *plan, Index relation);
static List *key_values(const TopicDef *topic, Index relation, List *clauses);
static Expr *match_key(const TopicDef *topic, Index relation, Node *clause, int *key);
static bool is_key_column(const TopicDef *topic, Index relation, Node *node, int *key);
static bool is_equality(Oid opno);
static void begin_direct(ForeignScanState *node, int eflags);
static TupleTableSlot *iterate_direct(ForeignScanState *node);
static void end_direct(ForeignScanState *node);
static void explain_direct(ForeignScanState *node, ExplainState *es);
static void explain_modify(ModifyTableState *mtstate, ResultRelInfo *result, List *private, int subplan, ExplainState *es);

void
kv_modify_routine(FdwRoutine *routine)
{
	routine->PlanForeignModify = plan_modify;
	routine->BeginForeignModify = begin_modify;
	routine->ExecForeignInsert = exec_insert;
	routine->ExecForeignDelete = exec_delete;
	routine->BeginForeignInsert = begin_insert;
	routine->IsForeignRelUpdatable = is_updatable;
	routine->PlanDirectModify = plan_direct;
	routine->BeginDirectModify = begin_direct;
	routine->IterateDirectModify = iterate_direct;
	routine->EndDirectModify = end_direct;
	routine->ExplainDirectModify = explain_direct;
	routine->ExplainForeignModify = explain_modify;
}

/* Lets only a plain INSERT pass; a DELETE that is possible was planned by plan_direct. */
static List *
plan_modify(PlannerInfo *root, ModifyTable *plan, Index relation, int subplan)
{
	const TopicDef *topic = kv_topic_get(planner_rt_fetch(relation, root)->relid);

	if (plan->operation == CMD_DELETE && topic->mode == MODE_UPSERT && finds_nothing(outerPlan(plan)))
		return NIL;
	if (plan->operation != CMD_INSERT)
		raise_refusal(topic, plan->operation);
	if (plan->onConflictAction != ONCONFLICT_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("INSERT into topic %s cannot have ON CONFLICT", topic->relation_name),
				 errdetail("A topic is not read when it is written, so no conflict is ever seen."),
				 errhint("Leave ON CONFLICT out; in an upsert topic the last value of a key wins.")));
	return NIL;
}

/* Has the planner seen that no row qualifies, as with a null key? */
static bool
finds_nothing(const Plan *plan)
{
	return IsA(plan, Result) && outerPlan(plan) == NULL;
}

static void
raise_refusal(const TopicDef *topic, CmdType operation)
{
	if (operation == CMD_UPDATE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot update topic %s", topic->relation_name),
				 errdetail("Records of a topic do not change."),
				 topic->mode == MODE_UPSERT ?
				 errhint("INSERT a row with the same key: the last value of a key wins.") :
				 errhint("INSERT another record.")));
	if (topic->mode == MODE_UPSERT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot delete from topic %s by anything but its key", topic->relation_name),
				 errdetail("A tombstone is written for one key, and the topic is not read to find others."),
				 errhint("Write DELETE ... WHERE every key column = a value, without RETURNING, USING or a row trigger.")));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot delete from append topic %s", topic->relation_name),
			 errdetail("Records of a stream of facts stay until Kafka's retention removes them."),
			 errhint("Tombstones exist in topics with the option mode 'upsert'.")));
}

static void
begin_modify(ModifyTableState *mtstate, ResultRelInfo *result, List *private, int subplan, int eflags)
{
	if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		result->ri_FdwState = make_state(mtstate->ps.state, result->ri_RelationDesc);
}

/* COPY, and rows routed to a partition that is a topic. */
static void
begin_insert(ModifyTableState *mtstate, ResultRelInfo *result)
{
	result->ri_FdwState = make_state(mtstate->ps.state, result->ri_RelationDesc);
}

static ModifyState *
make_state(EState *estate, Relation relation)
{
	MemoryContext before = MemoryContextSwitchTo(estate->es_query_cxt);
	ModifyState *modify = palloc0(sizeof(ModifyState));

	modify->topic = kv_topic_copy(estate->es_query_cxt, kv_topic_get(RelationGetRelid(relation)));
	modify->encoder = kv_encoder_make(estate->es_query_cxt, modify->topic, modify->topic->desc);
	initStringInfo(&modify->key);
	initStringInfo(&modify->value);
	modify->row_context = AllocSetContextCreate(estate->es_query_cxt, "kv row", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(before);
	return modify;
}

static TupleTableSlot *
exec_insert(EState *estate, ResultRelInfo *result, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	ModifyState *modify = result->ri_FdwState;

	slot_getallattrs(slot);
	check_writable(modify->topic, slot);
	append_message(modify, slot->tts_values, slot->tts_isnull, false);
	return slot;
}

/* Raises an error for a value in a column that only Kafka fills. */
static void
check_writable(const TopicDef *topic, TupleTableSlot *slot)
{
	for (int i = 0; i < topic->ncolumns; i++)
	{
		const TopicColumn *column = &topic->columns[i];

		if (slot->tts_isnull[column->attno - 1])
			continue;
		if (column->source == COLUMN_PARTITION || column->source == COLUMN_OFFSET ||
			column->source == COLUMN_RAW_KEY || column->source == COLUMN_RAW_VALUE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot insert a value into column \"%s\" of topic %s", column->name, topic->relation_name),
					 errdetail("It is metadata of the record, which Kafka or the other columns determine."),
					 errhint("Leave the column out of the INSERT; metadata timestamp and headers can be written.")));
	}
}

/* Encodes a row, or only its key, and hands it to the outbox. */
static void
append_message(ModifyState *modify, const Datum *values, const bool *nulls, bool tombstone)
{
	MemoryContext before = MemoryContextSwitchTo(modify->row_context);
	OutboxMessage message = {0};
	TimestampTz time_us;
	Datum		headers;
	bool		has_headers;
	bool		has_key;

	resetStringInfo(&modify->key);
	resetStringInfo(&modify->value);
	has_key = kv_encode(modify->encoder, values, nulls, &modify->key, tombstone ? NULL : &modify->value,
						&time_us, &headers, &has_headers);
	message.relid = modify->topic->relid;
	message.topic = modify->topic->topic;
	message.time_ms = -1;
	if (!tombstone && !TIMESTAMP_NOT_FINITE(time_us))
		message.time_ms = time_us / 1000 - (time_us % 1000 < 0) +
			(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000);
	if (has_key)
	{
		message.key = modify->key.data;
		message.key_len = modify->key.len;
	}
	if (!tombstone)
	{
		message.value = modify->value.data;
		message.value_len = modify->value.len;
	}
	if (has_headers)
	{
		message.headers = VARDATA_ANY(DatumGetPointer(headers));
		message.headers_len = VARSIZE_ANY_EXHDR(DatumGetPointer(headers));
	}
	message.upsert = modify->topic->mode == MODE_UPSERT;
	kv_outbox_append(modify->topic, &message);
	MemoryContextSwitchTo(before);
	MemoryContextReset(modify->row_context);
}

/* Stands here because the executor looks for it before a direct DELETE. */
static TupleTableSlot *
exec_delete(EState *estate, ResultRelInfo *result, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	raise_refusal(kv_topic_get(RelationGetRelid(result->ri_RelationDesc)), CMD_DELETE);
}

static int
is_updatable(Relation relation)
{
	return 1 << CMD_INSERT | (kv_topic_get(RelationGetRelid(relation))->mode == MODE_UPSERT ? 1 << CMD_DELETE : 0);
}

/*
 * Plans a DELETE that names every key column of an upsert topic and nothing
 * else: the scan below is turned into the writer of one tombstone.
 */
static bool
plan_direct(PlannerInfo *root, ModifyTable *plan, Index relation, int subplan)
{
	const TopicDef *topic = kv_topic_get(planner_rt_fetch(relation, root)->relid);
	ForeignScan *scan;
	List	   *values;

	if (plan->operation != CMD_DELETE || topic->mode != MODE_UPSERT || plan->returningLists != NIL)
		return false;
	scan = find_scan(plan, relation);
	if (scan == NULL)
		return false;
	values = key_values(topic, relation, scan->scan.plan.qual);
	if (values == NIL)
		return false;
	scan->operation = CMD_DELETE;
	scan->resultRelation = relation;
	scan->scan.plan.qual = NIL;
	scan->fdw_exprs = values;
	scan->fdw_private = NIL;
	scan->fdw_recheck_quals = NIL;
	return true;
}

/* Gives back the scan of the relation if it is all there is below the DELETE. */
static ForeignScan *
find_scan(ModifyTable *plan, Index relation)
{
	Plan	   *below = outerPlan(plan);

	if (IsA(below, Result) && outerPlan(below) != NULL && ((Result *) below)->resconstantqual == NULL)
		below = outerPlan(below);
	if (!IsA(below, ForeignScan) || ((ForeignScan *) below)->scan.scanrelid != relation)
		return NULL;
	return (ForeignScan *) below;
}

/* Gives back the values of the key columns in key order, or NIL if the clauses are not exactly these. */
static List *
key_values(const TopicDef *topic, Index relation, List *clauses)
{
	Expr	  **values = palloc0(sizeof(Expr *) * topic->nkeys);
	List	   *list = NIL;
	ListCell   *cell;

	if (list_length(clauses) != topic->nkeys)
		return NIL;
	foreach(cell, clauses)
	{
		int			key;
		Expr	   *value = match_key(topic, relation, lfirst(cell), &key);

		if (value == NULL || values[key] != NULL)
			return NIL;
		values[key] = value;
	}
	for (int i = 0; i < topic->nkeys; i++)
		list = lappend(list, values[i]);
	return list;
}

/* Gives back the value of "key column = value", of the column's type; *key is the column's place among the keys. */
static Expr *
match_key(const TopicDef *topic, Index relation, Node *clause, int *key)
{
	OpExpr	   *op = (OpExpr *) clause;
	const TopicColumn *column;
	Node	   *value;

	if (!IsA(clause, OpExpr) || list_length(op->args) != 2 || !is_equality(op->opno))
		return NULL;
	if (is_key_column(topic, relation, linitial(op->args), key))
		value = lsecond(op->args);
	else if (is_key_column(topic, relation, lsecond(op->args), key))
		value = linitial(op->args);
	else
		return NULL;
	if (contain_var_clause(value) || contain_volatile_functions(value))
		return NULL;
	column = &topic->columns[topic->keys[*key]];
	return (Expr *) coerce_to_target_type(NULL, value, exprType(value), column->type, column->typmod,
										  COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
}

static bool
is_key_column(const TopicDef *topic, Index relation, Node *node, int *key)
{
	int			index;

	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (!IsA(node, Var) || ((Var *) node)->varno != relation)
		return false;
	index = kv_topic_column_index(topic, ((Var *) node)->varattno);
	if (index < 0 || !topic->columns[index].is_key)
		return false;
	*key = topic->columns[index].key_index;
	return true;
}

static bool
is_equality(Oid opno)
{
	List	   *interpretations = get_op_btree_interpretation(opno);
	ListCell   *cell;

	foreach(cell, interpretations)
	{
		if (((OpBtreeInterpretation *) lfirst(cell))->strategy == BTEqualStrategyNumber)
			return true;
	}
	return false;
}

static void
begin_direct(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	ModifyState *modify = make_state(node->ss.ps.state, node->resultRelInfo->ri_RelationDesc);

	modify->key_values = ExecInitExprList(plan->fdw_exprs, &node->ss.ps);
	node->fdw_state = modify;
}

/* Writes the tombstone, once; a null key equals nothing. */
static TupleTableSlot *
iterate_direct(ForeignScanState *node)
{
	ModifyState *modify = node->fdw_state;
	const TopicDef *topic = modify->topic;
	EState	   *estate = node->ss.ps.state;
	Datum	   *values = palloc0(sizeof(Datum) * topic->desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * topic->desc->natts);
	ListCell   *cell;
	int			key = 0;

	memset(nulls, true, sizeof(bool) * topic->desc->natts);
	foreach(cell, modify->key_values)
	{
		int			attribute = topic->columns[topic->keys[key++]].attno - 1;

		values[attribute] = ExecEvalExpr(lfirst(cell), node->ss.ps.ps_ExprContext, &nulls[attribute]);
		if (nulls[attribute])
			return NULL;
	}
	append_message(modify, values, nulls, true);
	if (((ModifyTable *) estate->es_plannedstmt->planTree)->canSetTag)
		estate->es_processed++;
	return NULL;
}

static void
end_direct(ForeignScanState *node)
{
	node->fdw_state = NULL;		/* all of it lies in the query's context */
}

static void
explain_direct(ForeignScanState *node, ExplainState *es)
{
	ModifyState *modify = node->fdw_state;

	ExplainPropertyText("Tombstone", modify->topic->topic, es);
}

static void
explain_modify(ModifyTableState *mtstate, ResultRelInfo *result, List *private, int subplan, ExplainState *es)
{
	ExplainPropertyText("Topic", kv_topic_get(RelationGetRelid(result->ri_RelationDesc))->topic, es);
}
