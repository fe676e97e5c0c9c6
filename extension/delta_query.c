/*
 * delta_query.c: exchanges the inputs of a defining query for deltas, buffers and
 * lookup tables, and prints the result as SQL.
 *
 * The trees made here are printed, never planned. Two habits of the deparser are
 * relied on: it prints an RTE_CTE by its name, which is how a delta (an ephemeral
 * named relation, for which it has no case) gets into the text; and it qualifies
 * every name that the search_path in force does not find, so printing under
 * pg_catalog alone gives text that means the same under any search_path.
 *
 * Columns of buffers and lookup tables are found by position (the input's used
 * columns in order of their numbers, then kv_time), so that renaming a topic's column does
 * not touch them.
 */
#include "delta_query.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "normalize.h"
#include "outer_join.h"
#include "row_source.h"
#include "spell_out.h"

/* Columns of a delta behind the topic's own, counted from the last of those. */
#define DELTA_TIME 1
#define DELTA_BEFORE 2
#define DELTA_ROW 3

/* New attribute numbers of every range table entry's columns; NULL: unchanged. */
typedef struct ColumnMap
{
	AttrNumber **numbers;
} ColumnMap;

static int	read_inputs(ViewArm *arm, Query *query, const ViewInput *driving);
static void read_instead(RangeTblEntry *rte, char *name);
static int	read_delta(RangeTblEntry *rte, ViewInput *input);
static AttrNumber *read_table(RangeTblEntry *rte, ViewInput *input);
static AttrNumber *read_capture(RangeTblEntry *rte, ViewInput *input, char *name);
static void remap_query(Query *query, ColumnMap *map);
static Node *remap_mutator(Node *node, ColumnMap *map);
static List *row_conditions(const ViewArm *arm, const ViewInput *input);
static List *own_conditions(Node *node, int rti);
static Node *on_time(ViewInput *input, int rti, int ncolumns);
static Node *visible(const ViewInput *input);
static Node *buffered_time(const ViewInput *input);
static Node *time_column(int rti, AttrNumber attno);

/* Starts printing; see delta_query.h. */
int
kv_delta_begin_printing(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"}, {"DateStyle", "ISO, YMD"}, {"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"}, {"bytea_output", "hex"}, {"quote_all_identifiers", "off"},
		{"standard_conforming_strings", "on"},
	};
	int			nest = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

/* Prints a query without the indentation of its first line. */
char *
kv_delta_print(Query *query)
{
	char	   *text;

	kv_qualify_sorts(query);
	text = pg_get_querydef(query, false);
	while (*text == ' ')
		text++;
	return text;
}

/* Exchanges the inputs; see delta_query.h. */
Query *
kv_delta_query(ViewDef *view, Query *base, int driver)
{
	Query	   *query = copyObject(base);
	ViewArm    *arm = kv_input_arm(view, driver);
	ViewInput  *driving = &view->inputs[driver];
	int			ncolumns = read_inputs(arm, query, driving);
	JoinExpr   *outer = kv_outer_join_find(arm, query);

	if (outer)
		kv_outer_join_set_type(query, outer, JOIN_INNER);
	if (driving->lateness_us != PG_INT64_MAX)
		kv_delta_add_condition(query, on_time(driving, driving->rti, ncolumns));
	for (int i = 0; i < arm->ninputs; i++)
		if (&arm->inputs[i] != driving && kv_input_drives(&arm->inputs[i]))
			kv_delta_add_condition(query, visible(&arm->inputs[i]));
	kv_normalize_joins(query);
	return query;
}

/*
 * Selects the rows without a match; see delta_query.h. The partner of a closed row is looked for by the outer join itself,
 * whose rows with nulls are taken; a late row has none.
 */
Query *
kv_delta_unmatched(ViewDef *view, Query *base, int number, bool late)
{
	Query	   *query = copyObject(base);
	ViewArm    *arm = kv_input_arm(view, number);
	ViewInput  *preserved = &view->inputs[number];
	ViewInput  *partner = kv_outer_join_partner(arm, preserved);
	int			ncolumns = read_inputs(arm, query, late ? preserved : NULL);
	JoinExpr   *outer = kv_outer_join_find(arm, query);

	if (!late)
		read_instead(rt_fetch(preserved->rti, query->rtable), kv_delta_closed_name(preserved));
	kv_outer_join_set_type(query, outer, ((RangeTblRef *) outer->rarg)->rtindex == preserved->rti ? JOIN_RIGHT : JOIN_LEFT);
	if (late)
	{
		outer->quals = makeBoolConst(false, false);
		kv_delta_add_condition(query, (Node *) makeBoolExpr(NOT_EXPR, list_make1(on_time(preserved, preserved->rti, ncolumns)), -1));
	}
	else
	{
		NullTest   *unmatched = makeNode(NullTest);

		unmatched->arg = (Expr *) buffered_time(partner);
		unmatched->nulltesttype = IS_NULL;
		unmatched->location = -1;
		outer->quals = (Node *) make_ands_explicit(lappend(make_ands_implicit((Expr *) outer->quals), visible(partner)));
		kv_delta_add_condition(query, (Node *) unmatched);
	}
	kv_normalize_joins(query);
	return query;
}

/* Gives the name under which closed rows of an input are captured; see delta_query.h. */
char *
kv_delta_closed_name(const ViewInput *preserved)
{
	return psprintf("kv_closed_%d", preserved->number);
}

/* Gives the condition on closed rows, $1 - closing < kv_time <= $2 - closing; see delta_query.h. */
char *
kv_delta_closing(const ViewInput *preserved)
{
	char	   *closing = kv_delta_interval(preserved->close_us);

	return psprintf("(" KV_COL_TIME " > ($1 - %s)) AND (" KV_COL_TIME " <= ($2 - %s))", closing, closing);
}

/* Exchanges the inputs of an arm in its query, driving (NULL: none) for its delta; gives the number of the delta's own columns. */
static int
read_inputs(ViewArm *arm, Query *query, const ViewInput *driving)
{
	ColumnMap	map = {palloc0(sizeof(AttrNumber *) * (list_length(query->rtable) + 1))};
	int			ncolumns = 0;

	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewInput  *input = &arm->inputs[i];
		RangeTblEntry *rte = rt_fetch(input->rti, query->rtable);

		if (input == driving)
			ncolumns = read_delta(rte, input);
		else if (input->buffer_name)
			map.numbers[input->rti] = read_table(rte, input);
	}
	remap_query(query, &map);
	return ncolumns;
}

/* Exchanges the inputs of an arm over tables; see delta_query.h. */
Query *
kv_delta_over_tables(ViewArm *arm, Query *base, char **captures)
{
	Query	   *query = copyObject(base);
	ColumnMap	map = {palloc0(sizeof(AttrNumber *) * (list_length(query->rtable) + 1))};

	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewInput  *input = &arm->inputs[i];
		RangeTblEntry *rte = rt_fetch(input->rti, query->rtable);

		map.numbers[input->rti] = captures[i] ? read_capture(rte, input, captures[i]) : read_table(rte, input);
	}
	remap_query(query, &map);
	kv_normalize_joins(query);
	return query;
}

/* Selects from one delta; see delta_query.h. */
Query *
kv_delta_own_rows(ViewDef *view, int number, bool late)
{
	ViewInput  *input = &view->inputs[number];
	Query	   *whole = kv_input_arm(view, number)->query;
	Query	   *query = makeNode(Query);
	RangeTblEntry *rte = copyObject(rt_fetch(input->rti, whole->rtable));
	RangeTblRef *reference = makeNode(RangeTblRef);
	int			ncolumns = read_delta(rte, input);
	List	   *conditions = row_conditions(kv_input_arm(view, number), input);
	Node	   *condition = on_time(input, 1, ncolumns);

	reference->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->rtable = list_make1(rte);
	ChangeVarNodes((Node *) conditions, input->rti, 1, 0);
	conditions = lappend(conditions, late ? (Node *) makeBoolExpr(NOT_EXPR, list_make1(condition), -1) : condition);
	query->jointree = makeFromExpr(list_make1(reference), (Node *) make_ands_explicit(conditions));

	if (late)
	{
		Node	   *by_frontier = kv_delta_operate(">", kv_delta_operate("+", time_column(1, ncolumns + DELTA_TIME), kv_delta_interval_constant(input->lateness_us)),
										  time_column(1, ncolumns + DELTA_BEFORE));
		Var		   *row = makeVar(1, ncolumns + DELTA_ROW, INT8OID, -1, InvalidOid, 0);

		query->targetList = list_make2(makeTargetEntry((Expr *) row, 1, KV_COL_ROW, false),
									   makeTargetEntry((Expr *) by_frontier, 2, "by_frontier", false));
	}
	else
	{
		int			attno = -1;

		while ((attno = bms_next_member(input->columns, attno)) >= 0)
		{
			Oid			type;
			int32		typmod;
			Oid			collation;
			char	   *name = get_attname(input->relid, attno, false);

			get_atttypetypmodcoll(input->relid, attno, &type, &typmod, &collation);
			query->targetList = lappend(query->targetList,
										makeTargetEntry((Expr *) makeVar(1, attno, type, typmod, collation, 0),
														list_length(query->targetList) + 1, name, false));
		}
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) time_column(1, ncolumns + DELTA_TIME),
													list_length(query->targetList) + 1, KV_COL_TIME, false));
	}
	return query;
}

/* Makes a SELECT from a capture; see delta_query.h. */
Query *
kv_delta_select_from(const char *name, List *columns)
{
	Query	   *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *reference = makeNode(RangeTblRef);
	ListCell   *cell;

	rte->rtekind = RTE_CTE;
	rte->ctename = pstrdup(name);
	rte->eref = makeAlias(name, NIL);
	rte->inFromCl = true;
	foreach(cell, columns)
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(lfirst(cell))));
	reference->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(reference), NULL);
	return query;
}

/* Makes an entry read rows by name in the place of a table. */
static void
read_instead(RangeTblEntry *rte, char *name)
{
	rte->rtekind = RTE_CTE;
	rte->ctename = name;
	rte->relid = InvalidOid;
	rte->relkind = '\0';
}

/* Makes an entry read the input's delta; gives the number of the topic's own columns, dropped ones too. */
static int
read_delta(RangeTblEntry *rte, ViewInput *input)
{
	int			ncolumns = list_length(rte->eref->colnames);

	read_instead(rte, input->delta_name);
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(KV_COL_TIME)));
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(KV_COL_BEFORE)));
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(KV_COL_ROW)));
	return ncolumns;
}

/* Makes an entry read the input's buffer or lookup table; gives the new numbers of its columns. */
static AttrNumber *
read_table(RangeTblEntry *rte, ViewInput *input)
{
	AttrNumber *numbers = palloc0(sizeof(AttrNumber) * (list_length(rte->eref->colnames) + 1));
	AttrNumber	position = 0;
	int			attno = -1;

	rte->relid = kv_delta_table(input->buffer_name);
	rte->relkind = RELKIND_RELATION;
	rte->rellockmode = AccessShareLock;
	rte->eref->colnames = NIL;
	while ((attno = bms_next_member(input->columns, attno)) >= 0)
	{
		numbers[attno] = ++position;
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(get_attname(rte->relid, position, false)));
	}
	if (kv_input_drives(input))
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(KV_COL_TIME)));
	return numbers;
}

/* Makes an entry read a capture of the input's used columns; gives the new numbers of its columns. */
static AttrNumber *
read_capture(RangeTblEntry *rte, ViewInput *input, char *name)
{
	AttrNumber *numbers = palloc0(sizeof(AttrNumber) * (list_length(rte->eref->colnames) + 1));
	AttrNumber	position = 0;
	int			attno = -1;

	read_instead(rte, name);
	rte->eref->colnames = NIL;
	while ((attno = bms_next_member(input->columns, attno)) >= 0)
	{
		numbers[attno] = ++position;
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(get_attname(input->relid, attno, false)));
	}
	return numbers;
}

/* Finds a table of kafka_state; see delta_query.h. */
Oid
kv_delta_table(const char *qualified_name)
{
	const char *name = strchr(qualified_name, '.') + 1;
	Oid			relid = get_relname_relid(name, get_namespace_oid(KV_STATE_SCHEMA, false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" of a continuous view does not exist", qualified_name),
				 errhint("Drop the view and create it again.")));
	return relid;
}

/* Gives the columns of a query their new numbers. */
static void
remap_query(Query *query, ColumnMap *map)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
		kv_row_source_mutate(lfirst_node(RangeTblEntry, cell), (RowSourceMutator) remap_mutator, map);
	query->targetList = (List *) remap_mutator((Node *) query->targetList, map);
	query->havingQual = remap_mutator(query->havingQual, map);
	query->jointree = (FromExpr *) remap_mutator((Node *) query->jointree, map);
}

static Node *
remap_mutator(Node *node, ColumnMap *map)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = copyObject((Var *) node);

		if (map->numbers[var->varno])
		{
			var->varattno = map->numbers[var->varno][var->varattno];
			var->varnosyn = 0;	/* else it is printed by the number it had */
			var->varattnosyn = 0;
		}
		return (Node *) var;
	}
	return expression_tree_mutator(node, remap_mutator, map);
}

/* ANDs a condition to WHERE; see delta_query.h. */
void
kv_delta_add_condition(Query *query, Node *condition)
{
	List	   *conditions = make_ands_implicit((Expr *) query->jointree->quals);

	query->jointree->quals = (Node *) make_ands_explicit(lappend(conditions, condition));
}

/*
 * Gives the conditions by which a row of an input can be left out without looking at others. In an outer join of streams
 * those of WHERE do not keep a row from being the match of another, and those of ON do not keep a preserved one from being a result.
 */
static List *
row_conditions(const ViewArm *arm, const ViewInput *input)
{
	JoinExpr   *outer = kv_outer_join_find(arm, arm->query);
	List	   *conditions = NIL;

	if (!input->nullable)
		conditions = own_conditions(copyObject(arm->query->jointree->quals), input->rti);
	if (outer && !input->preserved)
		conditions = list_concat(conditions, own_conditions(copyObject(outer->quals), input->rti));
	return conditions;
}

/* Gives the ANDed conditions that use one input's columns and nothing else. */
static List *
own_conditions(Node *node, int rti)
{
	List	   *own = NIL;
	ListCell   *cell;

	foreach(cell, make_ands_implicit((Expr *) node))
	{
		Node	   *condition = lfirst(cell);
		int			member;

		if (is_andclause(condition))
			own = list_concat(own, own_conditions(condition, rti));
		else if (bms_get_singleton_member(pull_varnos(NULL, condition), &member) && member == rti)
			own = lappend(own, condition);
	}
	return own;
}

/* kv_time + lateness > greatest(kv_before, $1): the row of a delta is not late. */
static Node *
on_time(ViewInput *input, int rti, int ncolumns)
{
	MinMaxExpr *reached = makeNode(MinMaxExpr);

	reached->minmaxtype = TIMESTAMPTZOID;
	reached->op = IS_GREATEST;
	reached->args = list_make2(time_column(rti, ncolumns + DELTA_BEFORE), kv_delta_frontier(1));
	reached->location = -1;
	return kv_delta_operate(">", kv_delta_operate("+", time_column(rti, ncolumns + DELTA_TIME), kv_delta_interval_constant(input->lateness_us)), (Node *) reached);
}

/* Gives kv_before of an input's delta; see delta_query.h. */
Node *
kv_delta_before(const ViewArm *arm, const ViewInput *input)
{
	return time_column(input->rti, list_length(rt_fetch(input->rti, arm->query->rtable)->eref->colnames) + DELTA_BEFORE);
}

/* Gives a row's place in processing order; see delta_query.h. */
Node *
kv_delta_row(const ViewArm *arm, const ViewInput *input)
{
	return (Node *) makeVar(input->rti, list_length(rt_fetch(input->rti, arm->query->rtable)->eref->colnames) + DELTA_ROW, INT8OID, -1, InvalidOid, 0);
}

/* kv_time > $1 - retention: what eviction leaves, so that eviction is never seen. */
static Node *
visible(const ViewInput *input)
{
	return kv_delta_operate(">", buffered_time(input),
							kv_delta_operate("-", kv_delta_frontier(1), kv_delta_interval_constant(input->retain_us)));
}

/* Gives kv_time of an input that is read from its buffer. */
static Node *
buffered_time(const ViewInput *input)
{
	return time_column(input->rti, bms_num_members(input->columns) + 1);
}

/* Makes an operator of Postgres' own; see delta_query.h. */
Node *
kv_delta_operate(const char *name, Node *left, Node *right)
{
	return (Node *) make_op(make_parsestate(NULL), list_make2(makeString("pg_catalog"), makeString(pstrdup(name))), left, right, NULL, -1);
}

static Node *
time_column(int rti, AttrNumber attno)
{
	return (Node *) makeVar(rti, attno, TIMESTAMPTZOID, -1, InvalidOid, 0);
}

/* Gives a statement's parameter; see delta_query.h. */
Node *
kv_delta_frontier(int number)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = TIMESTAMPTZOID;
	param->paramtypmod = -1;
	param->location = -1;
	return (Node *) param;
}

Node *
kv_delta_interval_constant(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return (Node *) makeConst(INTERVALOID, -1, InvalidOid, sizeof(Interval), IntervalPGetDatum(interval), false, false);
}

/* Gives an interval as SQL; see delta_query.h. */
char *
kv_delta_interval(int64 us)
{
	Const	   *constant = (Const *) kv_delta_interval_constant(us);

	return psprintf("%s::interval", quote_literal_cstr(DatumGetCString(DirectFunctionCall1(interval_out, constant->constvalue))));
}
