/*
 * outer_join.c: finds the outer join of two streams in an arm and refuses what cannot be
 * maintained exactly.
 *
 * Why only two streams, and nothing but them in ON: an unmatched row is made when its last match can no longer
 * arrive, by looking for it once more. With tables in ON the second look would see other rows of them than the first; with
 * further streams the row that has no match is itself the result of a join, and no buffer has it. A view over
 * a view has: its rows are kept, with their own time.
 */
#include "outer_join.h"

#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

static Refusal *check_join(ViewArm *arm, JoinExpr *join);
static Refusal *refuse_kept_table(ViewArm *arm, JoinExpr *join);
static Refusal *check_condition(ViewArm *arm, JoinExpr *join);
static ViewInput *input_of(const ViewArm *arm, Node *jtnode);
static bool is_stream(const ViewInput *input);
static char *alias_of(const ViewArm *arm, const ViewInput *input);


/* Marks the sides; see outer_join.h. */
Refusal *
kv_outer_join_mark(ViewArm *arm)
{
	Node	   *jtnode = linitial(arm->query->jointree->fromlist);
	Refusal    *refusal = NULL;

	for (; IsA(jtnode, JoinExpr) && !refusal; jtnode = ((JoinExpr *) jtnode)->larg)
		if (((JoinExpr *) jtnode)->jointype != JOIN_INNER)
			refusal = check_join(arm, (JoinExpr *) jtnode);
	return refusal;
}

/* Checks one outer join; marks its sides if they are streams. */
static Refusal *
check_join(ViewArm *arm, JoinExpr *join)
{
	ViewInput  *joined = input_of(arm, join->rarg);
	bool		is_full = join->jointype == JOIN_FULL;
	Refusal    *refusal;

	if (!is_full && !is_stream(joined))
		return NULL;
	if (arm->ndriving == 0)		/* the first one of tables is taken apart (full_join.c) */
		return kv_refusal(exprLocation(join->quals),
						  "continuous view \"%s\" cannot use two FULL JOINs of tables",
						  "Which rows of the third table have no match depends on the matches of the first two.",
						  "Make a continuous view of the first FULL JOIN, and join that with the third table.");
	if (arm->ndriving > 2)
		return kv_refusal(exprLocation(join->quals),
						  psprintf("continuous view \"%%s\" cannot join \"%s\" outer among three or more streams", rt_fetch(((RangeTblRef *) join->rarg)->rtindex, arm->query->rtable)->eref->aliasname),
						  "Which rows stay unmatched is known one join at a time.",
						  "Chain views: join two of the streams in one continuous view, and that view with the next stream in another.");
	if (arm->ndriving < 2 || (is_full && !(is_stream(input_of(arm, join->larg)) && is_stream(joined))))
		return refuse_kept_table(arm, join);
	refusal = check_condition(arm, join);
	if (refusal)
		return refusal;

	joined->nullable = true;
	joined->preserved = is_full;
	kv_outer_join_partner(arm, joined)->preserved = true;
	kv_outer_join_partner(arm, joined)->nullable = is_full;
	return NULL;
}

/* Refuses an outer join that would make rows of a table alone, or whose sides are no single streams. */
static Refusal *
refuse_kept_table(ViewArm *arm, JoinExpr *join)
{
	if (join->jointype == JOIN_FULL)
		return kv_refusal(exprLocation(join->quals),
						  "continuous view \"%s\" cannot use a FULL JOIN but of two streams",
						  "Rows of a table that no row of the stream has met so far would come and go with both.",
						  "Use a LEFT JOIN from the stream to the table; the tables that a FULL JOIN of streams looks up follow it.");
	return kv_refusal(exprLocation(join->quals),
					  psprintf("continuous view \"%%s\" cannot use an outer join to the stream \"%s\" from a table", alias_of(arm, input_of(arm, join->rarg))),
					  "Rows of the table that no row of the stream has met so far would come and go with both.",
					  "Let the stream be the side that is kept: stream LEFT JOIN table.");
}

/* Refuses anything but the columns of the two streams in ON. */
static Refusal *
check_condition(ViewArm *arm, JoinExpr *join)
{
	ListCell   *cell;

	foreach(cell, pull_var_clause(join->quals, 0))
	{
		Var		   *var = lfirst_node(Var, cell);
		bool		of_stream = false;

		for (int i = 0; i < arm->ninputs; i++)
			of_stream |= is_stream(&arm->inputs[i]) && arm->inputs[i].rti == var->varno;
		if (!of_stream)
			return kv_refusal(var->location,
							  psprintf("continuous view \"%%s\" cannot use \"%s\" in the condition of an outer join of streams",
									   rt_fetch(var->varno, arm->query->rtable)->eref->aliasname),
							  "Whether a row has a match must be the same when it arrives and when its time is over, and tables change in between.",
							  "Chain views: look the table up, or expand the row, in a continuous view of its own, and join that view with the other stream.");
	}
	return NULL;
}

/* Finds the join; see outer_join.h. */
JoinExpr *
kv_outer_join_find(const ViewArm *arm, Query *query)
{
	Node	   *jtnode = linitial(query->jointree->fromlist);

	for (; IsA(jtnode, JoinExpr); jtnode = ((JoinExpr *) jtnode)->larg)
	{
		ViewInput  *joined = input_of(arm, ((JoinExpr *) jtnode)->rarg);

		if (((JoinExpr *) jtnode)->jointype != JOIN_INNER && joined && joined->nullable)
			return (JoinExpr *) jtnode;
	}
	return NULL;
}

/* Changes the type of a join; see outer_join.h. */
void
kv_outer_join_set_type(Query *query, JoinExpr *join, JoinType type)
{
	join->jointype = type;
	rt_fetch(join->rtindex, query->rtable)->jointype = type;
}

/* Gives the other stream; see outer_join.h. */
ViewInput *
kv_outer_join_partner(const ViewArm *arm, const ViewInput *input)
{
	for (int i = 0; i < arm->ninputs; i++)
		if (&arm->inputs[i] != input && kv_input_drives(&arm->inputs[i]))
			return &arm->inputs[i];
	elog(ERROR, "an outer join of streams has one side");
}

/* Gives the input that a reference in FROM is to, NULL: it is a function or a join. */
static ViewInput *
input_of(const ViewArm *arm, Node *jtnode)
{
	for (int i = 0; i < arm->ninputs && IsA(jtnode, RangeTblRef); i++)
		if (arm->inputs[i].rti == ((RangeTblRef *) jtnode)->rtindex)
			return &arm->inputs[i];
	return NULL;
}

static bool
is_stream(const ViewInput *input)
{
	return input && kv_input_drives(input);
}

static char *
alias_of(const ViewArm *arm, const ViewInput *input)
{
	return rt_fetch(input->rti, arm->query->rtable)->eref->aliasname;
}
