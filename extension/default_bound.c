/*
 * default_bound.c: time bounds between streams that a query leaves out (options kafka.bound, kafka.default_bound).
 *
 * A join of streams needs a bound in both directions (join_graph.c). What is missing is written into the query itself, before it is
 * analysed and stored: so the view equals its query, which everybody can see, and no row is left out without a condition that says so.
 *
 * First the pairs of which the query compares the times, in one direction; then, in FROM order, those that no
 * bound between others implies. The place of a condition is the innermost join of both, or WHERE.
 *
 * Invariant: what the query bounds itself is never made narrower. Only one FROM is looked at, before subqueries are taken apart (normalize.c). So nothing
 * is added where bounds may come through one: beside a subquery with a stream, and where times that a subquery gives stand in a condition, there and inside.
 */
#include "default_bound.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "analyze.h"
#include "delta_query.h"
#include "join_graph.h"
#include "normalize.h"

/* One FROM with its streams, as an arm of which nothing else is known. */
typedef struct StreamJoin
{
	ViewArm		arm;
	JoinExpr   *outer;			/* the outer join of streams, NULL: none */
	int64		bound_us;
	List	  **added;			/* of char * */
} StreamJoin;

/* What holds for the query with all that is inside of it. */
typedef struct Visit
{
	int64		bound_us;
	List	   *withs;			/* of CommonTableExpr *: all that stand around */
	List	   *added;			/* of char * */
	bool		hidden;			/* something had to be left out */
} Visit;

static void visit(Visit *all, Query *query);
static void supply_all(StreamJoin *join, Query *query);
static bool compares_times(Node *node, void *context);
static bool gives_time(Query *query, Node *node);
static bool hides_bounds(Visit *all, Query *query);
static bool gives_stream(RangeTblEntry *rte, List *withs);
static bool reads_stream(Query *query, List *withs);
static void find_streams(StreamJoin *join, Query *query);
static JoinExpr *outer_join(StreamJoin *join, Node *jtnode);
static bool has_stream(StreamJoin *join, Node *jtnode);
static bool contains(Node *jtnode, int rti);
static void read_conditions(StreamJoin *join, Node *jtnode);
static void read_quals(StreamJoin *join, Node *quals);
static void supply(StreamJoin *join, int first, int second);
static bool add_condition(StreamJoin *join, int first, int second, bool upper);
static Node *time_of(StreamJoin *join, int input, char **name);
static Node **place_of(StreamJoin *join, int one, int other);
static JoinExpr *innermost_join(Node *jtnode, int one, int other);

/* Adds what is missing; see default_bound.h. */
List *
kv_default_bound(Query *query, int64 bound_us, bool *hidden)
{
	Visit		all = {.bound_us = bound_us};

	*hidden = compares_times((Node *) query, NULL);
	if (*hidden)
		return NIL;
	visit(&all, query);
	*hidden = all.hidden;
	return all.added;
}

/* Adds it to a query and to those inside of it. */
static void
visit(Visit *all, Query *query)
{
	StreamJoin	join = {.bound_us = all->bound_us,.added = &all->added};
	int			nwiths = list_length(all->withs);
	ListCell   *cell;

	all->withs = list_concat(all->withs, query->cteList);
	foreach(cell, query->rtable)
		if (lfirst_node(RangeTblEntry, cell)->rtekind == RTE_SUBQUERY)
			visit(all, lfirst_node(RangeTblEntry, cell)->subquery);
	foreach(cell, query->cteList)
		visit(all, castNode(Query, lfirst_node(CommonTableExpr, cell)->ctequery));

	find_streams(&join, query);
	if (join.arm.ninputs > 1 && hides_bounds(all, query))
		all->hidden = true;
	else if (join.arm.ninputs > 1)
		supply_all(&join, query);
	all->withs = list_truncate(all->withs, nwiths);
}

/* Adds what is missing between the streams of a FROM. */
static void
supply_all(StreamJoin *join, Query *query)
{
	int			ninputs = join->arm.ninputs;
	int64	   *written;

	join->outer = outer_join(join, (Node *) query->jointree);
	kv_join_begin_bounds(&join->arm);
	if (join->outer)
		read_quals(join, join->outer->quals);
	else
		read_conditions(join, (Node *) query->jointree);
	written = memcpy(palloc(sizeof(int64) * ninputs * ninputs), join->arm.time_bounds, sizeof(int64) * ninputs * ninputs);
	kv_join_close_bounds(&join->arm);
	for (int compared = 1; compared >= 0; compared--)
		for (int i = 0; i < ninputs; i++)
			for (int j = i + 1; j < ninputs; j++)
				if ((written[i * ninputs + j] != KV_UNBOUNDED || written[j * ninputs + i] != KV_UNBOUNDED) == (compared == 1))
					supply(join, i, j);
}

/* Has the query, or one inside of it, a condition on what could be a time, or a comparison of times, that a subquery gives? */
static bool
compares_times(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, compares_times, context);
	return gives_time((Query *) node, (Node *) ((Query *) node)->jointree) || query_tree_walker((Query *) node, compares_times, context, 0);
}

/* Does such a column of anything but a table stand in a query's conditions? */
static bool
gives_time(Query *query, Node *node)
{
	ListCell   *cell;

	foreach(cell, pull_var_clause(flatten_join_alias_vars(query, copyObject(node)), 0))
	{
		Var		   *var = lfirst(cell);
		RangeTblEntry *rte = rt_fetch(var->varno, query->rtable);

		if ((rte->rtekind != RTE_RELATION || kv_is_plain_view(rte)) &&
			(var->vartype == TIMESTAMPTZOID || var->vartype == TIMESTAMPOID || var->vartype == INTERVALOID || var->vartype == BOOLOID))
			return true;
	}
	return false;
}

/* Can a bound between the streams of a query's FROM come through a subquery in it? */
static bool
hides_bounds(Visit *all, Query *query)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind == RTE_SUBQUERY && rte->lateral && rte->subquery->jointree->quals != NULL)
			return true;
		if ((rte->rtekind != RTE_RELATION || kv_is_plain_view(rte)) && gives_stream(rte, all->withs))
			return true;
	}
	return false;
}

/* Does an entry of FROM give rows of a stream? */
static bool
gives_stream(RangeTblEntry *rte, List *withs)
{
	ViewInput	input = {.relid = rte->relid};
	Relation	relation;
	bool		found = false;
	ListCell   *cell;

	if (rte->rtekind == RTE_SUBQUERY)
		return reads_stream(rte->subquery, withs);
	if (rte->rtekind == RTE_CTE && !rte->self_reference)
	{
		/* names may be hidden by nearer ones: then too many are asked */
		foreach(cell, withs)
			if (strcmp(lfirst_node(CommonTableExpr, cell)->ctename, rte->ctename) == 0 && !lfirst_node(CommonTableExpr, cell)->cterecursive)
				found |= reads_stream(castNode(Query, lfirst_node(CommonTableExpr, cell)->ctequery), withs);
	}
	if (rte->rtekind != RTE_RELATION)
		return found;
	if (!kv_is_plain_view(rte))
		return kv_analyze_input(&input, rte) == NULL && kv_input_drives(&input);
	relation = table_open(rte->relid, AccessShareLock);
	found = reads_stream(get_view_query(relation), NIL);
	table_close(relation, NoLock);
	return found;
}

static bool
reads_stream(Query *query, List *withs)
{
	ListCell   *cell;

	withs = list_concat_copy(withs, query->cteList);
	foreach(cell, query->rtable)
		if (gives_stream(lfirst_node(RangeTblEntry, cell), withs))
			return true;
	return false;
}

/* Takes the streams with an event time that a query names in FROM itself. */
static void
find_streams(StreamJoin *join, Query *query)
{
	ViewArm    *arm = &join->arm;

	arm->query = query;
	arm->inputs = palloc0(sizeof(ViewInput) * (list_length(query->rtable) + 1));
	for (int rti = 1; rti <= list_length(query->rtable); rti++)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);
		ViewInput  *input = &arm->inputs[arm->ninputs];

		if (rte->rtekind != RTE_RELATION)
			continue;
		memset(input, 0, sizeof(ViewInput));
		input->rti = rti;
		input->relid = rte->relid;
		if (kv_analyze_input(input, rte) == NULL && kv_input_drives(input) && input->time_attno > 0)
			arm->ninputs++;
	}
}

/* Finds the outer join that has streams on both sides, NULL: there is none. */
static JoinExpr *
outer_join(StreamJoin *join, Node *jtnode)
{
	JoinExpr   *expr = (JoinExpr *) jtnode;
	JoinExpr   *found = NULL;
	ListCell   *cell;

	if (IsA(jtnode, FromExpr))
	{
		foreach(cell, ((FromExpr *) jtnode)->fromlist)
			found = found ? found : outer_join(join, lfirst(cell));
	}
	if (!IsA(jtnode, JoinExpr))
		return found;
	if (expr->jointype != JOIN_INNER && has_stream(join, expr->larg) && has_stream(join, expr->rarg))
		return expr;
	found = outer_join(join, expr->larg);
	return found ? found : outer_join(join, expr->rarg);
}

static bool
has_stream(StreamJoin *join, Node *jtnode)
{
	for (int i = 0; i < join->arm.ninputs; i++)
		if (contains(jtnode, join->arm.inputs[i].rti))
			return true;
	return false;
}

/* Is a relation in a part of FROM? */
static bool
contains(Node *jtnode, int rti)
{
	ListCell   *cell;

	if (IsA(jtnode, RangeTblRef))
		return ((RangeTblRef *) jtnode)->rtindex == rti;
	if (IsA(jtnode, JoinExpr))
		return contains(((JoinExpr *) jtnode)->larg, rti) || contains(((JoinExpr *) jtnode)->rarg, rti);
	foreach(cell, castNode(FromExpr, jtnode)->fromlist)
		if (contains(lfirst(cell), rti))
			return true;
	return false;
}

/* Takes the bounds that WHERE and inner joins say. The conditions of a left join to a table drop no row of a stream. */
static void
read_conditions(StreamJoin *join, Node *jtnode)
{
	ListCell   *cell;

	if (IsA(jtnode, FromExpr))
	{
		read_quals(join, ((FromExpr *) jtnode)->quals);
		foreach(cell, ((FromExpr *) jtnode)->fromlist)
			read_conditions(join, lfirst(cell));
	}
	else if (IsA(jtnode, JoinExpr))
	{
		if (((JoinExpr *) jtnode)->jointype == JOIN_INNER)
			read_quals(join, ((JoinExpr *) jtnode)->quals);
		read_conditions(join, ((JoinExpr *) jtnode)->larg);
		read_conditions(join, ((JoinExpr *) jtnode)->rarg);
	}
}

/* Takes the bounds that ANDed conditions say. */
static void
read_quals(StreamJoin *join, Node *quals)
{
	ListCell   *cell;

	if (quals == NULL)
		return;
	quals = flatten_join_alias_vars(join->arm.query, copyObject(quals));
	foreach(cell, make_ands_implicit((Expr *) eval_const_expressions(NULL, quals)))
		kv_join_read_bounds(&join->arm, lfirst(cell));
}

/* Adds what is missing between two streams. */
static void
supply(StreamJoin *join, int first, int second)
{
	for (int upper = 0; upper < 2; upper++)
	{
		int			from = upper ? first : second;
		int			to = upper ? second : first;

		if (kv_join_time_bound(&join->arm, from, to) != KV_UNBOUNDED || !add_condition(join, first, second, upper))
			continue;
		join->arm.time_bounds[from * join->arm.ninputs + to] = join->bound_us;
		kv_join_close_bounds(&join->arm);
	}
}

/* Adds second <= first + bound, or second >= first - bound; false: nothing can be added. */
static bool
add_condition(StreamJoin *join, int first, int second, bool upper)
{
	char	   *names[2];
	Node	   *times[2] = {time_of(join, first, &names[0]), time_of(join, second, &names[1])};
	Node	  **place = place_of(join, join->arm.inputs[first].rti, join->arm.inputs[second].rti);
	Node	   *limit;

	if (place == NULL || ((Var *) times[0])->vartype != ((Var *) times[1])->vartype)
		return false;
	limit = kv_delta_operate(upper ? "+" : "-", times[0], kv_delta_interval_constant(join->bound_us));
	limit = kv_delta_operate(upper ? "<=" : ">=", times[1], limit);
	*place = *place == NULL ? limit : (Node *) make_ands_explicit(list_make2(*place, limit));
	*join->added = lappend(*join->added, psprintf("%s %s %s %s %s", names[1], upper ? "<=" : ">=", names[0], upper ? "+" : "-", kv_delta_interval(join->bound_us)));
	return true;
}

/* Makes the event time of a stream, which the query reads with it, and its name. */
static Node *
time_of(StreamJoin *join, int number, char **name)
{
	ViewInput  *input = &join->arm.inputs[number];
	RangeTblEntry *rte = rt_fetch(input->rti, join->arm.query->rtable);
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(input->relid, input->time_attno, &type, &typmod, &collation);
	rte->selectedCols = bms_add_member(rte->selectedCols, input->time_attno - FirstLowInvalidHeapAttributeNumber);
	*name = psprintf("%s.%s", quote_identifier(rte->eref->aliasname), quote_identifier(strVal(list_nth(rte->eref->colnames, input->time_attno - 1))));
	return (Node *) makeVar(input->rti, input->time_attno, type, typmod, collation, 0);
}

/* Finds the place of a condition on two relations; NULL: it is an outer join that says USING, which has none. */
static Node **
place_of(StreamJoin *join, int one, int other)
{
	JoinExpr   *innermost = innermost_join((Node *) join->arm.query->jointree, one, other);

	if (innermost == NULL || (innermost->jointype == JOIN_INNER && innermost->usingClause != NIL))
		return &join->arm.query->jointree->quals;
	return innermost->usingClause == NIL ? &innermost->quals : NULL;
}

/* Finds the innermost join of two relations, NULL: they stand side by side in FROM. */
static JoinExpr *
innermost_join(Node *jtnode, int one, int other)
{
	JoinExpr   *expr = (JoinExpr *) jtnode;
	JoinExpr   *found = NULL;
	ListCell   *cell;

	if (IsA(jtnode, FromExpr))
	{
		foreach(cell, ((FromExpr *) jtnode)->fromlist)
			found = found ? found : innermost_join(lfirst(cell), one, other);
		return found;
	}
	if (!IsA(jtnode, JoinExpr) || !contains(jtnode, one) || !contains(jtnode, other))
		return NULL;
	found = innermost_join(expr->larg, one, other);
	if (!found)
		found = innermost_join(expr->rarg, one, other);
	return found ? found : expr;
}
