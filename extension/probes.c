/*
 * probes.c: by what the rows of each input of a join are looked up.
 *
 * An equality connects what it compares: rows of one side are found by an index on it, given a row of the other. Invariant: every
 * index that a probe stands for can answer its equalities, by operator and collation; where none can, there is no
 * probe, and what tables drive is refused without one (row_keys.c).
 */
#include "probes.h"

#include "catalog/pg_am.h"
#include "commands/defrem.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "equality.h"
#include "normalize.h"
#include "row_source.h"

static void keep_probes(ViewArm *arm, ViewInput *input, List *probes, bool driving_only);
static List *selection_of(ViewArm *arm, ViewInput *input, List *conditions);
static void use_equality(ViewArm *arm, JoinCondition *condition, int *component, List **probes);
static bool use_constant(ViewArm *arm, OpExpr *equality, Node *side, Bitmapset *constant_members, Bitmapset *members, int *component, List **probes);
static void connect(int *component, int nentries, Bitmapset *members);
static void add_probe(List **probes, OpExpr *equality, Node *side, Bitmapset *others);
static bool compares_column(OpExpr *equality, Var *var);
static bool can_be_indexed(OpExpr *equality, Node *side);
static Probe *probe_of(List **probes, Bitmapset *others);

/* Notes the probes, and checks that equalities connect all inputs; see probes.h. */
Refusal *
kv_probes(ViewArm *arm, List *conditions)
{
	int			nentries = list_length(arm->query->rtable);
	int		   *component = palloc(sizeof(int) * (nentries + 1));
	List	  **probes = palloc0(sizeof(List *) * (nentries + 1));
	ListCell   *cell;

	for (int rti = 1; rti <= nentries; rti++)
		component[rti] = rti;
	for (int rti = 1; rti <= nentries; rti++)
	{
		List	   *used = kv_row_source_vars(rt_fetch(rti, arm->query->rtable));

		connect(component, nentries, bms_add_member(pull_varnos(NULL, (Node *) used), rti));
	}
	foreach(cell, conditions)
		use_equality(arm, lfirst(cell), component, probes);

	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewInput  *input = &arm->inputs[i];

		keep_probes(arm, input, probes[input->rti], true);
		if (input->probes == NIL)
			keep_probes(arm, input, probes[input->rti], false);
		if (kv_input_is_table(input))
			input->selection = selection_of(arm, input, conditions);
		if (component[input->rti] != component[arm->inputs[0].rti])
			return kv_refusal(kv_probes_location(arm, input->rti),
							  psprintf("continuous view \"%%s\" cannot join \"%s\" without an equality",
									   rt_fetch(input->rti, arm->query->rtable)->eref->aliasname),
							  "Every new row would be compared with all rows of the other inputs.",
							  "Join on equal columns; further conditions of any kind may be added.");
	}
	return NULL;
}

/* Keeps the probes of an input that one whose rows come or change can make, or all. A table that is looked up itself asks no other. */
static void
keep_probes(ViewArm *arm, ViewInput *input, List *probes, bool driving_only)
{
	ListCell   *cell;

	foreach(cell, probes)
	{
		Probe	   *probe = lfirst(cell);
		bool		driven = false;

		for (int i = 0; i < arm->ninputs; i++)
			driven |= (kv_input_drives(&arm->inputs[i]) || arm->ndriving == 0) && bms_is_member(arm->inputs[i].rti, probe->others);
		if (driven || !driving_only)
			input->probes = lappend(input->probes, probe);
	}
}

/*
 * Gives the conditions by which a table's rows are left out without looking at others, and without an error: those of WHERE, or of its own left
 * join. (WHERE on the nullable side selects results, and not every look-up has it.)
 */
static List *
selection_of(ViewArm *arm, ViewInput *input, List *conditions)
{
	int			nullable = 0;
	List	   *selection = NIL;
	ListCell   *cell;

	foreach(cell, kv_normalize_steps(arm->query))
	{
		FromStep   *step = lfirst(cell);

		if (step->rti == input->rti && step->type != JOIN_INNER)
			nullable = input->rti;
	}
	foreach(cell, conditions)
	{
		JoinCondition *condition = lfirst(cell);
		int			rti;

		if (condition->nullable == nullable && bms_get_singleton_member(pull_varnos(NULL, condition->clause), &rti) && rti == input->rti &&
			!contain_leaked_vars(condition->clause) && !contain_mutable_functions(condition->clause) && !contain_subplans(condition->clause))
			selection = lappend(selection, condition->clause);
	}
	return selection;
}

/*
 * Connects what an equality compares. A condition of a left join selects rows
 * of its nullable table alone: it connects that one, not the tables on its other side with each other.
 */
static void
use_equality(ViewArm *arm, JoinCondition *condition, int *component, List **probes)
{
	int			nentries = list_length(arm->query->rtable);
	Node	   *left;
	Node	   *right;
	Bitmapset  *left_members;
	Bitmapset  *right_members;
	Bitmapset  *connected;

	if (!kv_join_equality(condition->clause, &left, &right))
		return;
	left_members = pull_varnos(NULL, left);
	right_members = pull_varnos(NULL, right);
	if (use_constant(arm, (OpExpr *) condition->clause, left, right_members, left_members, component, probes) ||
		use_constant(arm, (OpExpr *) condition->clause, right, left_members, right_members, component, probes))
		return;
	if (bms_is_empty(left_members) || bms_is_empty(right_members) || bms_overlap(left_members, right_members))
		return;
	connected = bms_union(left_members, right_members);
	if (condition->nullable != 0)
	{
		if (!bms_is_member(condition->nullable, connected))
			return;
		connected = bms_del_member(connected, condition->nullable);
		connected = bms_add_member(bms_make_singleton(condition->nullable), bms_next_member(connected, -1));
	}
	connect(component, nentries, connected);
	add_probe(probes, (OpExpr *) condition->clause, left, right_members);
	add_probe(probes, (OpExpr *) condition->clause, right, left_members);
}

/*
 * Connects a table whose column equals a constant to everything: each new row meets the same few of its
 * rows. (A member of a union may have a constant where others have a column.) False: it is no such equality.
 */
static bool
use_constant(ViewArm *arm, OpExpr *equality, Node *side, Bitmapset *constant_members, Bitmapset *members, int *component, List **probes)
{
	int			rti;

	if (!bms_is_empty(constant_members) || !bms_get_singleton_member(members, &rti))
		return false;
	for (int i = 0; i < arm->ninputs; i++)
	{
		if (arm->inputs[i].rti != rti || kv_input_drives(&arm->inputs[i]))
			continue;
		connect(component, list_length(arm->query->rtable), bms_add_member(bms_make_singleton(rti), arm->inputs[0].rti));
		add_probe(probes, equality, side, NULL);
	}
	return true;
}

/* Tells whether it is an equality; see probes.h. */
bool
kv_join_equality(Node *node, Node **left, Node **right)
{
	OpExpr	   *clause = (OpExpr *) node;

	if (!IsA(node, OpExpr) || list_length(clause->args) != 2)
		return false;
	*left = linitial(clause->args);
	*right = lsecond(clause->args);
	return op_mergejoinable(clause->opno, exprType(*left)) || op_hashjoinable(clause->opno, exprType(*left));
}

/* Makes one component of the members' components. */
static void
connect(int *component, int nentries, Bitmapset *members)
{
	int			member = -1;
	int			target = component[bms_next_member(members, -1)];

	while ((member = bms_next_member(members, member)) >= 0)
	{
		int			from = component[member];

		for (int rti = 1; rti <= nentries; rti++)
			if (component[rti] == from)
				component[rti] = target;
	}
}

/* Notes that others can be used to look up rows by what a side of an equality is: a column, or an expression of one entry's columns that an index can hold. */
static void
add_probe(List **probes, OpExpr *equality, Node *side, Bitmapset *others)
{
	Var		   *var = (Var *) side;
	Probe	   *probe;
	ProbeExpr  *expr;
	int			rti;

	while (IsA(var, RelabelType))
		var = (Var *) ((RelabelType *) var)->arg;
	if (!bms_get_singleton_member(pull_varnos(NULL, side), &rti))
		return;
	if (IsA(var, Var) && compares_column(equality, var))
	{
		probe = probe_of(&probes[rti], others);
		probe->columns = list_append_unique_int(probe->columns, var->varattno);
	}
	else if (can_be_indexed(equality, side))
	{
		probe = probe_of(&probes[rti], others);
		expr = palloc(sizeof(ProbeExpr));
		expr->expr = side;
		expr->collation = equality->inputcollid;
		probe->exprs = lappend(probe->exprs, expr);
	}
}

/* Would an index on the column itself serve the equality: is it the column's own, under the column's collation? */
static bool
compares_column(OpExpr *equality, Var *var)
{
	return equality->inputcollid == var->varcollid && kv_equality_is_of(equality->opno, equality->inputcollid, var->vartype, var->varcollid);
}

/* Would an index on the expression, under the equality's collation, serve it? */
static bool
can_be_indexed(OpExpr *equality, Node *side)
{
	return OidIsValid(GetDefaultOpClass(exprType(side), BTREE_AM_OID)) && !contain_mutable_functions(side) && !contain_subplans(side) &&
		kv_equality_is_of(equality->opno, equality->inputcollid, exprType(side), equality->inputcollid);
}

/* Finds the probe by these others, or makes it. */
static Probe *
probe_of(List **probes, Bitmapset *others)
{
	Probe	   *probe;
	ListCell   *cell;

	foreach(cell, *probes)
		if (bms_equal(((Probe *) lfirst(cell))->others, others))
			return lfirst(cell);
	probe = palloc0(sizeof(Probe));
	probe->others = others;
	*probes = lappend(*probes, probe);
	return probe;
}

/* Gives the place of an entry; see probes.h. */
int
kv_probes_location(ViewArm *arm, int rti)
{
	ListCell   *cell;

	foreach(cell, pull_var_clause((Node *) list_make2(arm->query->jointree, arm->query->targetList),
								  PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS))
	{
		Var		   *var = lfirst(cell);

		if (IsA(var, Var) && var->varno == rti)
			return var->location;
	}
	return -1;
}
