/*
 * analyze.c: a defining query as a ViewDef.
 *
 * Everything here is derived from the query's text and the catalogs, again at every
 * start, so that a rename or an upgrade never finds a stale copy. What cannot be
 * maintained exactly is refused here or in the rooms it calls: refuse.c (the query by
 * itself), normalize.c (FROM), join_graph.c (conditions), aggregate.c (aggregates).
 */
#include "analyze.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "aggregate.h"
#include "catalog.h"
#include "join_graph.h"
#include "normalize.h"
#include "refuse.h"

typedef struct GroupSearch
{
	List	   *group_exprs;
	Var		   *ungrouped;
} GroupSearch;

static Refusal *find_inputs(ViewDef *view);
static Refusal *classify_input(ViewDef *view, ViewInput *input, RangeTblEntry *rte);
static Refusal *classify_view(ViewInput *input, RangeTblEntry *rte, ViewRow *row);
static Refusal *find_columns(ViewDef *view, ViewInput *input);
static void name_delta(ViewDef *view, ViewInput *input);
static Refusal *check_left_joins(ViewDef *view, Node *jtnode);
static Refusal *describe_result(ViewDef *view);
static Refusal *find_groups(ViewDef *view);
static void drop_repeated_groups(Query *query);
static Refusal *check_group_keys(ViewDef *view, List *group_exprs);
static Refusal *check_aggregates(ViewDef *view, List *group_exprs);
static Var *find_ungrouped(Node *node, List *group_exprs);
static bool ungrouped_walker(Node *node, GroupSearch *search);
static Refusal *find_output_time(ViewDef *view, const ContinuousOptions *options);
static AttrNumber passed_through_time(ViewDef *view);
static bool is_input_time(ViewDef *view, Node *node, int *input);
static int64 output_delay(ViewDef *view, AttrNumber attno);
static Query *definition_query(Oid definition);
static void apply_settings(ArrayType *settings);

/* Analyses a query; see analyze.h. */
ViewDef *
kv_analyze(Query *query, const ContinuousOptions *options, Refusal **refusal)
{
	ViewDef    *view;
	Query	   *normal;

	*refusal = kv_refuse_query(query);
	if (*refusal)
		return NULL;
	if (query->jointree->fromlist == NIL)
	{
		*refusal = kv_refusal(-1, "continuous view \"%s\" must read a topic",
							  "A query without FROM never changes.", "Select from a foreign table of the wrapper kafka.");
		return NULL;
	}
	normal = kv_normalize(query, refusal);
	if (!normal)
		return NULL;

	view = palloc0(sizeof(ViewDef));
	view->query = normal;
	view->owner = GetUserId();
	view->grace_us = options->grace_us;
	*refusal = find_inputs(view);
	if (!*refusal)
		*refusal = check_left_joins(view, linitial(normal->jointree->fromlist));
	if (!*refusal)
		*refusal = describe_result(view);
	if (!*refusal)
		*refusal = find_groups(view);
	if (!*refusal)
		*refusal = kv_join_graph(view);
	if (!*refusal)
		*refusal = find_output_time(view, options);
	return *refusal ? NULL : view;
}

/* Makes the inputs of the tables in FROM. */
static Refusal *
find_inputs(ViewDef *view)
{
	Query	   *query = view->query;
	Refusal    *refusal;

	view->inputs = palloc0(sizeof(ViewInput) * list_length(query->rtable));
	view->has_oracle = true;
	for (int rti = 1; rti <= list_length(query->rtable); rti++)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);
		ViewInput  *input = &view->inputs[view->ninputs];

		if (rte->rtekind == RTE_FUNCTION || rte->rtekind == RTE_JOIN)
			continue;
		if (rte->rtekind != RTE_RELATION)
			return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot have \"%s\" in FROM", rte->eref->aliasname),
							  "This version reads topics, continuous views, tables and functions there.",
							  "Put the rows of a VALUES list into an ordinary table.");
		input->number = view->ninputs++;
		input->rti = rti;
		input->relid = rte->relid;
		refusal = classify_input(view, input, rte);
		if (!refusal)
			refusal = find_columns(view, input);
		if (refusal)
			return refusal;
		if (kv_input_drives(input))
			view->ndriving++;
		else
			view->has_oracle = false;
		name_delta(view, input);
	}
	if (view->ndriving == 0)
		return kv_refusal(-1, "continuous view \"%s\" must read a stream",
						  "Its FROM has upsert topics or ordinary tables only; this version maintains views that an append topic or an append-only continuous view drives.",
						  "Join the table to a stream, or select from the upsert topic directly: it gives the last value per key.");
	return NULL;
}

/* Finds out what kind of input a relation is, and its event time. */
static Refusal *
classify_input(ViewDef *view, ViewInput *input, RangeTblEntry *rte)
{
	ViewRow    *row;

	input->lateness_us = PG_INT64_MAX;
	if (rte->relkind == RELKIND_FOREIGN_TABLE && kv_topic_is(rte->relid))
	{
		TopicDef   *topic = kv_topic_get(rte->relid);

		input->kind = topic->mode == MODE_APPEND ? INPUT_STREAM : INPUT_LOOKUP;
		if (input->kind == INPUT_STREAM)
			input->time_attno = topic->time_attno != 0 ? topic->time_attno : topic->timestamp_attno;
		for (int i = 0; input->kind == INPUT_LOOKUP && i < topic->nkeys; i++)
			input->keys = lappend_int(input->keys, topic->columns[topic->keys[i]].attno);
		return NULL;
	}
	row = rte->relkind == RELKIND_RELATION ? kv_view_by_relation(rte->relid, true) : NULL;
	if (row)
		return classify_view(input, rte, row);
	input->kind = INPUT_RELATION;
	return NULL;
}

/* Takes a continuous view as a stream; refuses keyed ones and those without a time. */
static Refusal *
classify_view(ViewInput *input, RangeTblEntry *rte, ViewRow *row)
{
	ViewDef    *upper = kv_view_load(row->view);

	if (upper->shape != SHAPE_APPEND)
		return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot read the aggregate view \"%s\"", rte->eref->aliasname),
						  "The rows of an aggregate change, and this version maintains views over rows that are only ever added.",
						  "Aggregate the topics again in this view, or select from both views in the query that reads them.");
	if (upper->time_attno == 0)
		return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot read the view \"%s\", whose rows have no event time", rte->eref->aliasname),
						  "None of its columns is the event time of its inputs, or several are.",
						  psprintf("Select the event-time column of its input in \"%s\", or name the column that carries the time with kafka.event_time.", rte->eref->aliasname));
	input->kind = INPUT_VIEW;
	input->time_attno = upper->time_attno;
	return NULL;
}

/* Collects the columns of an input that the query uses, its keys and its event time. */
static Refusal *
find_columns(ViewDef *view, ViewInput *input)
{
	Query	   *query = view->query;
	List	   *trees = list_make3(query->jointree, query->targetList, query->havingQual);
	List	   *vars;
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind == RTE_FUNCTION)
			trees = lappend(trees, rte->functions);
	}
	vars = pull_var_clause((Node *) trees, PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS);
	foreach(cell, vars)
	{
		Var		   *var = lfirst_node(Var, cell);

		if (var->varno != input->rti)
			continue;
		if (var->varattno <= 0)
			return kv_refusal(var->location,
							  var->varattno == 0 ? "continuous view \"%s\" cannot use a whole row as a value" :
							  "continuous view \"%s\" cannot use system columns",
							  "A row is kept by its columns, only those that the query names.",
							  "Name the columns, for example in row(...) or jsonb_build_object(...).");
		input->columns = bms_add_member(input->columns, var->varattno);
	}
	foreach(cell, input->keys)
		input->columns = bms_add_member(input->columns, lfirst_int(cell));
	if (input->time_attno > 0)
		input->columns = bms_add_member(input->columns, input->time_attno);
	return NULL;
}

/* Names the input's delta after its relation; two relations of one name get different ones. */
static void
name_delta(ViewDef *view, ViewInput *input)
{
	List	   *taken = NIL;

	for (int i = 0; i < input->number; i++)
	{
		if (view->inputs[i].relid == input->relid)
		{
			input->delta_name = view->inputs[i].delta_name;
			return;
		}
		taken = lappend(taken, view->inputs[i].delta_name);
	}
	input->delta_name = kv_unique_name(makeObjectName(get_rel_name(input->relid), NULL, "delta"), taken);
}

/* Refuses left joins to streams: only tables may be looked up so. */
static Refusal *
check_left_joins(ViewDef *view, Node *jtnode)
{
	JoinExpr   *join = (JoinExpr *) jtnode;

	if (!IsA(jtnode, JoinExpr))
		return NULL;
	for (int i = 0; join->jointype == JOIN_LEFT && i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];

		if (input->rti == ((RangeTblRef *) join->rarg)->rtindex && kv_input_drives(input))
			return kv_refusal(exprLocation(join->quals),
							  psprintf("continuous view \"%%s\" cannot use an outer join to the stream \"%s\"",
									   rt_fetch(input->rti, view->query->rtable)->eref->aliasname),
							  "This version does not tell yet when an unmatched row can no longer find a match.",
							  "Use an inner join; outer joins to upsert topics and ordinary tables work.");
	}
	return check_left_joins(view, join->larg);
}

/* Makes the result's row type. */
static Refusal *
describe_result(ViewDef *view)
{
	List	   *targets = view->query->targetList;
	List	   *names = NIL;
	int			count = 0;
	ListCell   *cell;

	foreach(cell, targets)
		count += lfirst_node(TargetEntry, cell)->resjunk ? 0 : 1;
	view->result = CreateTemplateTupleDesc(count);
	foreach(cell, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Node	   *expr = (Node *) target->expr;
		ListCell   *other;

		if (target->resjunk)
			continue;
		foreach(other, names)
			if (strcmp(lfirst(other), target->resname) == 0)
				return kv_refusal(exprLocation(expr),
								  psprintf("continuous view \"%%s\" has two columns named \"%s\"", target->resname),
								  "Columns are found by name, in its table and in the topics it is published to.",
								  "Give one of them another name with AS.");
		names = lappend(names, target->resname);
		if (get_typtype(exprType(expr)) == TYPTYPE_PSEUDO)
			return kv_refusal(exprLocation(expr),
							  psprintf("continuous view \"%%s\" cannot store the column \"%s\" of type %s", target->resname, format_type_be(exprType(expr))),
							  "A table cannot have a column of a pseudo-type.", "Cast it to a type that can be stored.");
		TupleDescInitEntry(view->result, target->resno, target->resname, exprType(expr), exprTypmod(expr), 0);
		TupleDescInitEntryCollation(view->result, target->resno, exprCollation(expr));
	}
	if (count == 0)
		return kv_refusal(-1, "continuous view \"%s\" must have a column", "A row without columns cannot be published.", NULL);
	return NULL;
}

/* Tells append-only from keyed views; finds the keys and where the state lives. */
static Refusal *
find_groups(ViewDef *view)
{
	Query	   *query = view->query;
	List	   *group_exprs;
	Refusal    *refusal;

	if (!query->hasAggs && !query->groupClause && !query->havingQual)
	{
		view->shape = SHAPE_APPEND;
		return NULL;
	}
	view->shape = SHAPE_KEYED;
	drop_repeated_groups(query);
	group_exprs = get_sortgrouplist_exprs(query->groupClause, query->targetList);
	refusal = check_group_keys(view, group_exprs);
	if (!refusal)
		refusal = check_aggregates(view, group_exprs);
	return refusal;
}

/*
 * Groups by the first of equal columns and by none twice. After SELECT k, k AS again ... GROUP BY 2, 1 the definition has
 * GROUP BY k, k, which Postgres reads as the first column alone, and creation must find the same keys as every start.
 */
static void
drop_repeated_groups(Query *query)
{
	List	   *kept = NIL;
	ListCell   *cell;

	foreach(cell, query->groupClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, cell);
		TargetEntry *target = get_sortgroupclause_tle(clause, query->targetList);
		TargetEntry *first = tlist_member(target->expr, query->targetList);

		if (first != target && first->ressortgroupref != 0)
		{
			target->ressortgroupref = 0;
			continue;
		}
		target->ressortgroupref = 0;
		first->ressortgroupref = clause->tleSortGroupRef;
		kept = lappend(kept, clause);
	}
	query->groupClause = kept;
}

/* Checks that every GROUP BY expression is a column with an order, which can be a key. */
static Refusal *
check_group_keys(ViewDef *view, List *group_exprs)
{
	Query	   *query = view->query;
	ListCell   *cell;

	foreach(cell, query->groupClause)
	{
		TargetEntry *target = get_sortgroupclause_tle(lfirst(cell), query->targetList);
		Oid			type = exprType((Node *) target->expr);

		if (target->resjunk)
			return kv_refusal(exprLocation((Node *) target->expr),
							  "continuous view \"%s\" must select every GROUP BY expression",
							  "Together they are the key by which its rows are found and published.",
							  "Add the expression to the select list.");
		if (!OidIsValid(GetDefaultOpClass(type, BTREE_AM_OID)))
			return kv_refusal(exprLocation((Node *) target->expr),
							  psprintf("continuous view \"%%s\" cannot group by a value of type %s", format_type_be(type)),
							  "The key of a view is a unique index, and the type has no order.",
							  "Cast it to a type with an order, for example text or jsonb.");
		view->keys = lappend_int(view->keys, target->resno);
	}
	if (view->keys == NIL && query->havingQual)
		return kv_refusal(exprLocation(query->havingQual),
						  "continuous view \"%s\" cannot use HAVING without GROUP BY",
						  "It has one row, from its creation on.",
						  "Put the condition into the query that reads the view.");
	return NULL;
}

/* Checks the aggregates and that other columns are grouped; decides whether the view is its own state. */
static Refusal *
check_aggregates(ViewDef *view, List *group_exprs)
{
	Query	   *query = view->query;
	Node	   *trees = (Node *) list_make2(query->targetList, query->havingQual);
	Var		   *ungrouped = find_ungrouped(trees, group_exprs);
	ListCell   *cell;

	if (ungrouped)
		return kv_refusal(ungrouped->location,
						  "continuous view \"%s\" must group by every column it selects",
						  "That the column depends on the table's primary key holds for the table's rows of now only.",
						  "Add the column to GROUP BY.");
	foreach(cell, kv_aggregate_collect(trees))
	{
		Refusal    *refusal = kv_aggregate_check(lfirst_node(Aggref, cell));

		if (refusal)
			return refusal;
	}

	view->own_state = view->keys != NIL && query->havingQual == NULL;
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (!list_member_int(view->keys, target->resno) &&
			!(IsA(target->expr, Aggref) && kv_aggregate_is_own_state((Aggref *) target->expr)))
			view->own_state = false;
	}
	return NULL;
}

/* Finds a column of an expression over groups that is neither grouped nor aggregated, NULL: none. */
static Var *
find_ungrouped(Node *node, List *group_exprs)
{
	GroupSearch search = {.group_exprs = group_exprs};

	ungrouped_walker(node, &search);
	return search.ungrouped;
}

static bool
ungrouped_walker(Node *node, GroupSearch *search)
{
	if (node == NULL || IsA(node, Aggref))
		return false;
	if (!IsA(node, List) && list_member(search->group_exprs, node))
		return false;
	if (IsA(node, Var))
	{
		search->ungrouped = (Var *) node;
		return true;
	}
	return expression_tree_walker(node, ungrouped_walker, search);
}

/* Finds the column that carries the time for views over this one. */
static Refusal *
find_output_time(ViewDef *view, const ContinuousOptions *options)
{
	if (!options->event_time)
	{
		if (view->shape == SHAPE_APPEND)
			view->time_attno = passed_through_time(view);
	}
	else
	{
		for (int i = 0; i < view->result->natts; i++)
		{
			Form_pg_attribute column = TupleDescAttr(view->result, i);

			if (strcmp(NameStr(column->attname), options->event_time) == 0 &&
				(column->atttypid == TIMESTAMPTZOID || column->atttypid == TIMESTAMPOID))
				view->time_attno = column->attnum;
		}
		if (view->time_attno == 0)
			return kv_refusal(-1, psprintf("continuous view \"%%s\" has no event-time column \"%s\"", options->event_time),
							  "The option kafka.event_time names a column of type timestamptz or timestamp.",
							  "Select the column, or leave the option out.");
	}
	if (view->time_attno != 0)
		view->output_delay_us = output_delay(view, view->time_attno);
	return NULL;
}

/* Gives greatest() of all inputs' event times, or else the only input's event time that is selected, 0: neither. */
static AttrNumber
passed_through_time(ViewDef *view)
{
	AttrNumber	single = 0;
	int			nsingle = 0;
	ListCell   *cell;

	foreach(cell, view->query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		int			input;

		if (target->resjunk)
			continue;
		if (is_input_time(view, (Node *) target->expr, &input))
		{
			if (input < 0)
				return target->resno;
			if (nsingle++ == 0 || view->ndriving == 1)
				single = single ? single : target->resno;
		}
	}
	return nsingle == 1 || view->ndriving == 1 ? single : 0;
}

/* Is it an input's event time (*input its number), or greatest() of those of all driving inputs (*input -1)? */
static bool
is_input_time(ViewDef *view, Node *node, int *input)
{
	if (IsA(node, Var))
	{
		for (int i = 0; i < view->ninputs; i++)
		{
			*input = i;
			if (kv_input_drives(&view->inputs[i]) && view->inputs[i].rti == ((Var *) node)->varno &&
				view->inputs[i].time_attno == ((Var *) node)->varattno)
				return true;
		}
		return false;
	}
	if (IsA(node, MinMaxExpr) && ((MinMaxExpr *) node)->op == IS_GREATEST)
	{
		Bitmapset  *seen = NULL;
		ListCell   *cell;

		foreach(cell, ((MinMaxExpr *) node)->args)
		{
			if (!is_input_time(view, lfirst(cell), input) || *input < 0)
				return false;
			seen = bms_add_member(seen, *input);
		}
		*input = -1;
		return bms_num_members(seen) == view->ndriving;
	}
	return false;
}

/*
 * Gives how much older than the inputs' least watermark the time of a new row can be,
 * us: the bound between the input whose time it is and the one whose row comes last. Of a column
 * that is no input's time (option event_time), the greatest bound is taken.
 */
static int64
output_delay(ViewDef *view, AttrNumber attno)
{
	TargetEntry *target = get_tle_by_resno(view->query->targetList, attno);
	int			input;
	bool		known = is_input_time(view, (Node *) target->expr, &input);
	int64		delay = 0;

	if (known && input < 0)
		return 0;
	for (int i = 0; i < view->ninputs; i++)
		for (int j = 0; j < view->ninputs; j++)
			if ((!known || i == input) && kv_input_drives(&view->inputs[i]) && kv_input_drives(&view->inputs[j]))
				delay = Max(delay, kv_join_time_bound(view, i, j));
	return delay;
}

/* Names the view and what belongs to it; see analyze.h. */
void
kv_view_set_id(ViewDef *view, int64 id, int64 pipeline, Oid relid)
{
	view->id = id;
	view->pipeline = pipeline;
	view->relid = relid;
	view->name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];

		if (kv_input_drives(input) && view->ndriving > 1)
			input->buffer_name = psprintf("%s.buffer_" INT64_FORMAT "_%d", KV_STATE_SCHEMA, id, input->number);
		else if (input->kind == INPUT_LOOKUP)
			input->buffer_name = psprintf("%s.lookup_" INT64_FORMAT "_%d", KV_STATE_SCHEMA, id, input->number);
	}
	if (view->shape == SHAPE_KEYED && !view->own_state)
		view->groups_name = psprintf("%s.groups_" INT64_FORMAT, KV_STATE_SCHEMA, id);
}

/*
 * Loads a view by its id; see analyze.h. It is analysed with the settings of its
 * creation, which decide about constants and time zones, and as its owner: folding constants may call
 * the owner's functions.
 */
ViewDef *
kv_view_load(int64 id)
{
	ViewRow    *row = kv_view_get(id, false);
	HeapTuple	class;
	ViewDef    *view;
	Refusal    *refusal = NULL;
	Oid			owner;
	Oid			save_user;
	int			save_sec_context;
	int			nest;

	class = SearchSysCache1(RELOID, ObjectIdGetDatum(row->relation));
	if (!HeapTupleIsValid(class))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("continuous view " INT64_FORMAT " no longer exists", id)));

	owner = ((Form_pg_class) GETSTRUCT(class))->relowner;
	ReleaseSysCache(class);

	GetUserIdAndSecContext(&save_user, &save_sec_context);
	SetUserIdAndSecContext(owner, save_sec_context | SECURITY_RESTRICTED_OPERATION);
	nest = NewGUCNestLevel();
	apply_settings(row->settings);
	view = kv_analyze(definition_query(row->definition), kv_view_options_from_array(row->options), &refusal);
	if (!view)
	{
		/* it was accepted once, so something under it is another than it was */
		refusal->hint = refusal->later_hint ? refusal->later_hint :
			"Something the view uses has changed since the view was created: change it back, or drop the view.";
		kv_refuse(refusal, get_rel_name(row->relation), NULL);
	}
	AtEOXact_GUC(true, nest);
	SetUserIdAndSecContext(save_user, save_sec_context);

	kv_view_set_id(view, id, row->pipeline, row->relation);
	view->owner = owner;
	return view;
}

/* Gives the query of a definition view, its relations locked. */
static Query *
definition_query(Oid definition)
{
	Relation	relation = table_open(definition, AccessShareLock);
	Query	   *query = copyObject(get_view_query(relation));

	table_close(relation, NoLock);
	AcquireRewriteLocks(query, true, false);
	return query;
}

/* Sets what was captured at creation, until the GUC nest level ends. */
static void
apply_settings(ArrayType *settings)
{
	Datum	   *elements;
	int			count;

	deconstruct_array(settings, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *setting = TextDatumGetCString(elements[i]);
		char	   *equals = strchr(setting, '=');

		if (!equals)
			elog(ERROR, "captured setting \"%s\" has no value", setting);
		*equals = '\0';
		(void) set_config_option(setting, equals + 1, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}
