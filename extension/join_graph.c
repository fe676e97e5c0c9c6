/*
 * join_graph.c: reads the conditions of a view's joins: equalities (probes.c), and time
 * bounds between streams closed over all pairs (DESIGN.md 2.4).
 *
 * D[i][j] is the least upper bound of t_j - t_i that the conditions imply, t being
 * the event time of a stream's row. Then a row of stream i may still meet a row of j
 * that is D[i][j] later, so i's rows are kept for max_j (lateness_j + D[i][j]), and a row
 * of i is late once nothing it could meet is sure to be there any more:
 * lateness_i = grace + max(0, max_j D[i][j]).
 *
 * Outer join of streams p and n, p preserved; F is the frontier before a batch, F' after it. Row p is closed by the batch with
 * F < t_p + close_p <= F', close_p = lateness_n + D[p][n]: if the buffer of n has no match for it then, it is emitted unmatched.
 * (A late row is in no buffer; it is emitted at once.)
 * - Nothing matches later: a row n of a later batch has t_n + lateness_n > F' unless it is late, so t_n > t_p + D[p][n].
 * - A row on time is not closed before it comes: t_p + lateness_p > F, and lateness_p <= close_p, because D[p][n] + D[n][p] >= 0
 *   unless no rows can match; then close_p is taken as lateness_p. So exactly one batch closes it, at or after its arrival.
 * - Every match of p that came on time is still in the buffer of n then: t_n >= t_p - D[n][p] > F - close_p - D[n][p],
 *   so n is kept for close_p + D[n][p], which is more than probes need. Probes do meet all of them: p on time means
 *   t_n >= t_p - D[n][p] > F - lateness_p - D[n][p], n on time the same the other way round.
 * Hence p is either matched, with the rows that came on time and no others, or emitted once without a match; and as retention
 * is above in both, whether eviction has run or not makes no difference. The frontier is state and the buffers are given back
 * by a reload as far as they are retained, so that is true across a crash.
 *
 * Every bound may be taken too wide without harm (rows are kept longer), never too
 * narrow. That decides how days and months count.
 */
#include "join_graph.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "outer_join.h"

/* An event time plus an offset between least and most us. */
typedef struct TimeTerm
{
	int			input;
	int64		least;
	int64		most;
} TimeTerm;

static void append_conditions(Node *node, int nullable, List **conditions);
static void append_left_conditions(Node *jtnode, List **conditions);
static void read_time_conditions(ViewArm *arm, List *conditions);
static void bound_by(ViewArm *arm, Node *left, Node *right);
static bool bound_difference(ViewArm *arm, Node *left, Node *right);
static bool read_time_term(ViewArm *arm, Node *node, TimeTerm *term);
static bool add_interval(TimeTerm *term, Node *node, bool minus, bool is_local);
static void narrow(ViewArm *arm, int i, int j, int64 bound);
static int64 add_bounds(int64 a, int64 b);
static Refusal *refuse_unbounded(ViewArm *arm, int i, int j);
static void set_retention(ViewArm *arm);
static void set_closing(ViewArm *arm, int i);

#define BOUND(arm, i, j) ((arm)->time_bounds[(i) * (arm)->ninputs + (j)])

/* Reads the join conditions; see join_graph.h. */
Refusal *
kv_join_graph(ViewArm *arm)
{
	List	   *conditions = kv_join_conditions(arm);
	Refusal    *refusal;
	int			ninputs = arm->ninputs;

	refusal = kv_probes(arm, conditions);
	if (refusal)
		return refusal;

	kv_join_begin_bounds(arm);
	read_time_conditions(arm, conditions);
	kv_join_close_bounds(arm);

	if (arm->ndriving > 1)
	{
		for (int i = 0; i < ninputs; i++)
			for (int j = 0; j < ninputs; j++)
				if (kv_input_drives(&arm->inputs[i]) && kv_input_drives(&arm->inputs[j]) &&
					BOUND(arm, i, j) == KV_UNBOUNDED)
					return refuse_unbounded(arm, i, j);
	}
	set_retention(arm);
	return NULL;
}

int64
kv_join_time_bound(const ViewArm *arm, int i, int j)
{
	return BOUND(arm, i, j);
}

/* Makes room for bounds; see join_graph.h. */
void
kv_join_begin_bounds(ViewArm *arm)
{
	arm->time_bounds = palloc(sizeof(int64) * arm->ninputs * arm->ninputs);
	for (int i = 0; i < arm->ninputs; i++)
		for (int j = 0; j < arm->ninputs; j++)
			BOUND(arm, i, j) = i == j ? 0 : KV_UNBOUNDED;
}

/* Lists the conditions of an arm; see join_graph.h. */
List *
kv_join_conditions(const ViewArm *arm)
{
	List	   *conditions = NIL;

	append_conditions(arm->query->jointree->quals, 0, &conditions);
	append_left_conditions(linitial(arm->query->jointree->fromlist), &conditions);
	return conditions;
}

/* Appends the ANDed conditions of a tree to a list of JoinConditions, constants folded; nullable: their left join's table, 0: WHERE. */
static void
append_conditions(Node *node, int nullable, List **conditions)
{
	ListCell   *cell;

	if (node == NULL)
		return;
	node = eval_const_expressions(NULL, copyObject(node));
	foreach(cell, make_ands_implicit((Expr *) node))
	{
		if (is_andclause(lfirst(cell)))
			append_conditions(lfirst(cell), nullable, conditions);
		else
		{
			JoinCondition *condition = palloc(sizeof(JoinCondition));

			condition->clause = lfirst(cell);
			condition->nullable = nullable;
			*conditions = lappend(*conditions, condition);
		}
	}
}

static void
append_left_conditions(Node *jtnode, List **conditions)
{
	JoinExpr   *join = (JoinExpr *) jtnode;

	if (!IsA(jtnode, JoinExpr))
		return;
	append_left_conditions(join->larg, conditions);
	append_conditions(join->quals, ((RangeTblRef *) join->rarg)->rtindex, conditions);
}

/*
 * Takes the bounds from comparisons of event times. Those of left joins to tables drop no row of a stream; of an outer join of
 * streams its own condition says what matches, and WHERE only which of the matches are shown.
 */
static void
read_time_conditions(ViewArm *arm, List *conditions)
{
	JoinExpr   *outer = kv_outer_join_find(arm, arm->query);
	int			nullable = outer ? ((RangeTblRef *) outer->rarg)->rtindex : 0;
	ListCell   *cell;

	foreach(cell, conditions)
	{
		JoinCondition *condition = lfirst(cell);

		if (condition->nullable == nullable)
			kv_join_read_bounds(arm, condition->clause);
	}
}

/* Takes bounds from a condition; see join_graph.h. */
void
kv_join_read_bounds(ViewArm *arm, Node *condition)
{
	OpExpr	   *comparison = (OpExpr *) condition;
	Node	   *left;
	Node	   *right;
	Oid			type;
	int			strategy;

	if (!IsA(comparison, OpExpr) || list_length(comparison->args) != 2)
		return;
	left = linitial(comparison->args);
	right = lsecond(comparison->args);
	type = exprType(left);
	if (type != exprType(right) || (type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != INTERVALOID))
		return;
	strategy = get_op_opfamily_strategy(comparison->opno, lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf);
	if (strategy == BTLessStrategyNumber || strategy == BTLessEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bound_by(arm, left, right);
	if (strategy == BTGreaterStrategyNumber || strategy == BTGreaterEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bound_by(arm, right, left);
}

/* Takes the bound from lesser <= greater. */
static void
bound_by(ViewArm *arm, Node *lesser, Node *greater)
{
	TimeTerm	a;
	TimeTerm	b;

	if (exprType(lesser) == INTERVALOID)
	{
		bound_difference(arm, lesser, greater);
		return;
	}
	if (!read_time_term(arm, lesser, &a) || !read_time_term(arm, greater, &b) || a.input == b.input)
		return;
	/* t_a + a <= t_b + b, so t_a - t_b <= b - a */
	narrow(arm, b.input, a.input, add_bounds(b.most, -a.least));
}

/* Takes the bound from t_a - t_b <= constant, or constant <= t_a - t_b; interval comparison counts a day as 24 hours. */
static bool
bound_difference(ViewArm *arm, Node *lesser, Node *greater)
{
	bool		constant_right = IsA(greater, Const);
	Node	   *difference = constant_right ? lesser : greater;
	Const	   *constant = (Const *) (constant_right ? greater : lesser);
	OpExpr	   *minus = (OpExpr *) difference;
	Oid			function;
	Interval   *interval;
	int64		length;
	TimeTerm	a;
	TimeTerm	b;

	if (!IsA(constant, Const) || constant->constisnull || !IsA(minus, OpExpr) || list_length(minus->args) != 2)
		return false;
	function = get_opcode(minus->opno);
	if (function != F_TIMESTAMPTZ_MI && function != F_TIMESTAMP_MI)
		return false;
	if (!read_time_term(arm, linitial(minus->args), &a) || !read_time_term(arm, lsecond(minus->args), &b) || a.input == b.input)
		return false;

	interval = DatumGetIntervalP(constant->constvalue);
	if (pg_mul_s64_overflow((int64) interval->month * DAYS_PER_MONTH + interval->day, USECS_PER_DAY, &length) ||
		pg_add_s64_overflow(length, interval->time, &length))
		return false;
	if (constant_right)
		narrow(arm, b.input, a.input, add_bounds(add_bounds(length, b.most), -a.least));
	else
		narrow(arm, a.input, b.input, add_bounds(add_bounds(-length, a.most), -b.least));
	return true;
}

/* Reads an event-time column with constant intervals added or taken away. */
static bool
read_time_term(ViewArm *arm, Node *node, TimeTerm *term)
{
	OpExpr	   *sum = (OpExpr *) node;

	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		for (int i = 0; i < arm->ninputs; i++)
		{
			ViewInput  *input = &arm->inputs[i];

			if (input->rti == var->varno && input->time_attno == var->varattno && kv_input_drives(input))
			{
				term->input = i;
				term->least = term->most = 0;
				return true;
			}
		}
		return false;
	}
	if (!IsA(node, OpExpr) || list_length(sum->args) != 2)
		return false;
	switch (get_opcode(sum->opno))
	{
		case F_TIMESTAMPTZ_PL_INTERVAL:
			return read_time_term(arm, linitial(sum->args), term) && add_interval(term, lsecond(sum->args), false, true);
		case F_TIMESTAMP_PL_INTERVAL:
			return read_time_term(arm, linitial(sum->args), term) && add_interval(term, lsecond(sum->args), false, false);
		case F_TIMESTAMPTZ_MI_INTERVAL:
			return read_time_term(arm, linitial(sum->args), term) && add_interval(term, lsecond(sum->args), true, true);
		case F_TIMESTAMP_MI_INTERVAL:
			return read_time_term(arm, linitial(sum->args), term) && add_interval(term, lsecond(sum->args), true, false);
		case F_INTERVAL_PL_TIMESTAMPTZ:
			return read_time_term(arm, lsecond(sum->args), term) && add_interval(term, linitial(sum->args), false, true);
		case F_INTERVAL_PL_TIMESTAMP:
			return read_time_term(arm, lsecond(sum->args), term) && add_interval(term, linitial(sum->args), false, false);
		default:
			return false;
	}
}

/*
 * Adds a constant interval to a term. A month is 28 to 31 days; added to a local
 * time (timestamptz), days and months may besides cross a change of the zone's offset,
 * which is a day at most (Samoa 2011) and nothing where the zone has one offset.
 */
static bool
add_interval(TimeTerm *term, Node *node, bool minus, bool is_local)
{
	Const	   *constant = (Const *) node;
	Interval   *interval;
	int64		least;
	int64		most;
	int64		days;
	int64		slack = 0;
	long		offset;

	if (!IsA(node, Const) || constant->constisnull || constant->consttype != INTERVALOID)
		return false;
	interval = DatumGetIntervalP(constant->constvalue);
	if (abs(interval->month) > 12000 || abs(interval->day) > 366000 || interval->time > INT64CONST(1000000) * USECS_PER_DAY ||
		interval->time < -INT64CONST(1000000) * USECS_PER_DAY)
		return false;

	if (is_local && (interval->day != 0 || interval->month != 0) && !pg_get_timezone_offset(session_timezone, &offset))
		slack = USECS_PER_DAY;
	days = interval->day + (int64) interval->month * (interval->month > 0 ? 28 : 31);
	least = days * USECS_PER_DAY + interval->time - slack;
	days = interval->day + (int64) interval->month * (interval->month > 0 ? 31 : 28);
	most = days * USECS_PER_DAY + interval->time + slack;
	term->least += minus ? -most : least;
	term->most += minus ? -least : most;
	return true;
}

/* Notes t_j - t_i <= bound. */
static void
narrow(ViewArm *arm, int i, int j, int64 bound)
{
	BOUND(arm, i, j) = Min(BOUND(arm, i, j), bound);
}

/* Adds, staying unbounded. */
static int64
add_bounds(int64 a, int64 b)
{
	int64		sum;

	if (a == KV_UNBOUNDED || b == KV_UNBOUNDED || pg_add_s64_overflow(a, b, &sum))
		return KV_UNBOUNDED;
	return sum;
}

/* Closes the bounds over all pairs, see join_graph.h: shortest paths. */
void
kv_join_close_bounds(ViewArm *arm)
{
	for (int via = 0; via < arm->ninputs; via++)
		for (int i = 0; i < arm->ninputs; i++)
			for (int j = 0; j < arm->ninputs; j++)
				if (i != j)
					narrow(arm, i, j, add_bounds(BOUND(arm, i, via), BOUND(arm, via, j)));
}

/* Says what condition is missing between the rows of i and those of j. */
static Refusal *
refuse_unbounded(ViewArm *arm, int i, int j)
{
	ViewInput  *pair[2] = {&arm->inputs[Min(i, j)], &arm->inputs[Max(i, j)]};
	char	   *names[2];
	char	   *times[2] = {NULL, NULL};
	Oid			types[2] = {InvalidOid, InvalidOid};
	char	   *hint;

	for (int k = 0; k < 2; k++)
	{
		RangeTblEntry *rte = rt_fetch(pair[k]->rti, arm->query->rtable);

		names[k] = rte->eref->aliasname;
		if (pair[k]->time_attno == 0)
			continue;
		types[k] = get_atttype(pair[k]->relid, pair[k]->time_attno);
		times[k] = psprintf("%s.%s", names[k], strVal(list_nth(rte->eref->colnames, pair[k]->time_attno - 1)));
	}
	if (times[0] && times[1] && types[0] != types[1])
		hint = psprintf("The types of their event times must agree before they can be compared: %s is %s and %s is %s. Declare both columns timestamptz.",
						times[0], format_type_be(types[0]), times[1], format_type_be(types[1]));
	else if (times[0] && times[1])
		hint = psprintf("Add a condition on their event times, for example: AND %s BETWEEN %s AND %s + interval '1 hour'. "
						"Or give the view the option kafka.bound, an interval, by which what is missing is added.", times[1], times[0], times[0]);
	else
		hint = psprintf("Give \"%s\" an event-time column (option event_time of the topic table, or of the view it is), and add a condition on the event times of both.",
						times[0] ? names[1] : names[0]);
	return kv_refusal(kv_probes_location(arm, pair[1]->rti),
					  psprintf("continuous view \"%%s\" cannot join the streams \"%s\" and \"%s\" without a time bound", names[0], names[1]),
					  psprintf("Nothing says how much later than a row of \"%s\" a row of \"%s\" may be, so rows would have to be kept for ever.",
							   rt_fetch(arm->inputs[i].rti, arm->query->rtable)->eref->aliasname,
							   rt_fetch(arm->inputs[j].rti, arm->query->rtable)->eref->aliasname),
					  hint);
}

/* Derives lateness and retention of every driving input of a stream-stream join; nothing is late elsewhere. */
static void
set_retention(ViewArm *arm)
{
	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewInput  *input = &arm->inputs[i];
		int64		ahead = 0;

		input->lateness_us = KV_UNBOUNDED;
		if (arm->ndriving < 2 || !kv_input_drives(input))
			continue;
		for (int j = 0; j < arm->ninputs; j++)
			if (kv_input_drives(&arm->inputs[j]))
				ahead = Max(ahead, BOUND(arm, i, j));
		input->lateness_us = add_bounds(arm->grace_us, ahead);
	}
	for (int i = 0; i < arm->ninputs && arm->ndriving > 1; i++)
	{
		ViewInput  *input = &arm->inputs[i];

		for (int j = 0; j < arm->ninputs; j++)
			if (j != i && kv_input_drives(input) && kv_input_drives(&arm->inputs[j]))
				input->retain_us = Max(input->retain_us, add_bounds(arm->inputs[j].lateness_us, BOUND(arm, i, j)));
	}
	for (int i = 0; i < arm->ninputs; i++)
		if (arm->inputs[i].preserved)
			set_closing(arm, i);
}

/* Derives when a row of preserved input i is closed, and how much longer its partners are kept for that. */
static void
set_closing(ViewArm *arm, int i)
{
	ViewInput  *preserved = &arm->inputs[i];
	ViewInput  *partner = kv_outer_join_partner(arm, preserved);
	int			j = partner - arm->inputs;

	preserved->close_us = Max(preserved->lateness_us, add_bounds(partner->lateness_us, BOUND(arm, i, j)));
	preserved->retain_us = Max(preserved->retain_us, preserved->close_us);
	partner->retain_us = Max(partner->retain_us, add_bounds(preserved->close_us, BOUND(arm, j, i)));
}
