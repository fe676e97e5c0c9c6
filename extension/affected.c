/*
 * affected.c: which rows of an arm over tables do changed rows of its inputs reach?
 *
 * The inputs of an arm are taken one after the other in FROM order. Each has a copy of its own (input_tables.c); while one is
 * taken, the copies before it have this batch's rows and those after it do not, so the difference between the view before and
 * after the batch is the sum of the differences that the inputs make one by one, for self-joins and diamonds too. A row of
 * the result that one input changes is made of an old or a new row of it and of what stands in the other copies. So its anchor is found by
 * joining the changed rows, old and new, along the conditions; rows that are the same before and after are left out at once.
 * A set of anchors that is too large costs work but changes nothing; one too small would be wrong. Hence conditions
 * on the nullable side of a left join, which a change may make true or false, do not restrict it.
 *
 * An arm with one input needs no copy: its changed keys are the anchors.
 */
#include "affected.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "delta_query.h"
#include "closure.h"
#include "equality.h"
#include "input_tables.h"
#include "normalize.h"
#include "row_source.h"

static void describe_columns(Affected *affected, List *names);
static char *take_last(ViewInput *input, List **statements);
static void take_input(Affected *affected, ViewInput *input, List **statements);
static MaintenanceStatement *find_changed(ViewInput *input, char *last, char *changed);
static MaintenanceStatement *find_affected(Affected *affected, ViewInput *input, char *changed);
static Query *reaching_query(ViewArm *arm, ViewInput *input);
static Bitmapset *needed_entries(ViewArm *arm, ViewInput *input);
static List *conditions_on(Node *node, Bitmapset *entries);
static char *rows_of_only_input(Affected *affected, Query *query);

/* Compiles the statements; see affected.h. */
Affected *
kv_affected_statements(ViewArm *arm, char *capture, List *names, List **statements)
{
	Affected   *affected = palloc0(sizeof(Affected));

	affected->arm = arm;
	affected->capture = capture;
	describe_columns(affected, names);
	if (arm->ninputs == 1)
	{
		affected->is_input = true;
		affected->capture = take_last(&arm->inputs[0], statements);
		return affected;
	}
	for (int i = 0; i < arm->ninputs; i++)
		take_input(affected, &arm->inputs[i], statements);
	return affected;
}

/* Lists the anchor's columns in the capture. */
static void
describe_columns(Affected *affected, List *names)
{
	ViewArm    *arm = affected->arm;
	ListCell   *cell;
	int			i = 0;

	foreach(cell, arm->anchor)
	{
		AnchorColumn *column = lfirst(cell);
		char	   *name;

		if (IsA(column->source, Const))
			continue;
		name = list_nth(names, i++);
		if (arm->ninputs == 1)
		{
			Node	   *source = column->source;

			while (IsA(source, RelabelType))
				source = (Node *) ((RelabelType *) source)->arg;
			name = get_attname(arm->inputs[0].relid, castNode(Var, source)->varattno, false);
		}
		affected->names = lappend(affected->names, name);
		affected->types = lappend_oid(affected->types, exprType(column->source));
		affected->nullable = lappend_int(affected->nullable, column->nullable);
	}
}

/* Captures the last row of every key in an input's delta; gives the capture's name. */
static char *
take_last(ViewInput *input, List **statements)
{
	MaintenanceStatement *statement = kv_statement(PHASE_COMPUTE, psprintf("take the last row of every key of %s", get_rel_name(input->relid)),
												   kv_input_last_rows(input, false), input->number);

	statement->captures = psprintf("kv_last_%d", input->number);
	statement->capture_desc = kv_input_desc(input, true);
	*statements = lappend(*statements, statement);
	return statement->captures;
}

/* Captures what the changed rows of one input of several reach, and brings its copy up to date. */
static void
take_input(Affected *affected, ViewInput *input, List **statements)
{
	char	   *last = take_last(input, statements);
	char	   *changed = psprintf("kv_changed_%d", input->number);
	MaintenanceStatement *copy[2];

	*statements = lappend(*statements, find_changed(input, last, changed));
	*statements = lappend(*statements, find_affected(affected, input, changed));
	copy[0] = kv_copy_delete(input, last);
	copy[1] = kv_copy_upsert(input, last);
	for (int i = 0; i < 2; i++)
	{
		copy[i]->reads = last;
		*statements = lappend(*statements, copy[i]);
	}
}

/* Captures old and new rows of an input, without those that stay as they are. */
static MaintenanceStatement *
find_changed(ViewInput *input, char *last, char *changed)
{
	TupleDesc	desc = kv_input_desc(input, false);
	List	   *ours = kv_statement_relation_columns(kv_delta_table(input->buffer_name), desc->natts);
	List	   *theirs = kv_input_columns(input);
	List	   *keys = kv_input_keys(input, theirs);
	List	   *attnos = NIL;
	List	   *old = NIL;
	List	   *new = NIL;
	char	   *match = kv_copy_match(input);
	char	   *differs;
	MaintenanceStatement *statement;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (list_member_ptr(keys, list_nth(theirs, i)) && kv_equality_is_identity(column->atttypid, column->attcollation))
			continue;
		attnos = lappend_int(attnos, i + 1);
		old = lappend(old, psprintf("t.%s", quote_identifier(list_nth(ours, i))));
		new = lappend(new, psprintf("last.%s", quote_identifier(list_nth(theirs, i))));
	}
	differs = attnos == NIL ? "" : psprintf(" OR %s", kv_statement_difference(desc, attnos, old, new));
	statement = kv_statement(PHASE_COMPUTE, psprintf("find the rows of %s that change, as they were and as they are", get_rel_name(input->relid)),
							 psprintf("SELECT %s\n   FROM %s AS last JOIN %s AS t ON %s\n  WHERE last." KV_COL_DELETED "%s\n"
									  "UNION ALL\n"
									  "SELECT %s\n   FROM %s AS last LEFT JOIN %s AS t ON %s\n  WHERE NOT last." KV_COL_DELETED " AND (t.ctid IS NULL%s)",
									  kv_statement_columns(ours, "t."), last, input->buffer_name, match, differs,
									  kv_statement_columns(theirs, "last."), last, input->buffer_name, match, differs), input->number);
	statement->reads = last;
	statement->captures = changed;
	statement->capture_desc = desc;
	statement->null_safe = kv_input_has_null_keys(input);
	return statement;
}

/* Captures the anchors that changed rows of an input reach. */
static MaintenanceStatement *
find_affected(Affected *affected, ViewInput *input, char *changed)
{
	ViewArm    *arm = affected->arm;
	char	  **captures = palloc0(sizeof(char *) * arm->ninputs);
	Query	   *query = reaching_query(arm, input);
	MaintenanceStatement *statement;
	ListCell   *cell;

	query->targetList = NIL;
	foreach(cell, arm->anchor)
	{
		AnchorColumn *column = lfirst(cell);
		int			i = list_length(query->targetList);

		if (!IsA(column->source, Const))
			query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) copyObject(column->source), i + 1, list_nth(affected->names, i), false));
	}
	captures[input->number - arm->first] = changed;
	query = kv_delta_over_tables(arm, query, captures);
	statement = kv_statement(PHASE_COMPUTE, psprintf("find what the changed rows of %s reach", get_rel_name(input->relid)), kv_delta_print(query), input->number);
	statement->reads = changed;
	statement->captures = affected->capture;
	statement->capture_desc = ExecTypeFromTL(query->targetList);
	return statement;
}

/* Makes the join by which changed rows of an input find the arm's anchors, without targets. */
static Query *
reaching_query(ViewArm *arm, ViewInput *input)
{
	Query	   *query = copyObject(arm->query);
	Bitmapset  *needed = needed_entries(arm, input);
	Bitmapset  *inner = bms_intersect(needed, kv_arm_entries(arm, false));
	List	   *conditions = conditions_on(query->jointree->quals, inner);
	List	   *steps = NIL;
	ListCell   *cell;

	foreach(cell, kv_normalize_steps(query))
	{
		FromStep   *step = lfirst(cell);

		if (!bms_is_member(step->rti, needed))
			continue;
		if (step->rti == input->rti && step->type == JOIN_LEFT)
		{
			/* rows that it does not match do not change with it */
			conditions = list_concat(conditions, conditions_on(step->condition, needed));
			step->type = JOIN_INNER;
			step->condition = NULL;
		}
		steps = lappend(steps, step);
	}
	query->jointree->quals = conditions ? (Node *) make_ands_explicit(conditions) : NULL;
	kv_normalize_from(query, steps);
	return query;
}

/*
 * Gives the entries through which an input's rows reach the anchor: itself where it has the anchor's columns, else all inner tables and
 * what its own left join depends on.
 */
static Bitmapset *
needed_entries(ViewArm *arm, ViewInput *input)
{
	Bitmapset  *inner = kv_arm_entries(arm, false);
	Bitmapset  *needed = bms_make_singleton(input->rti);
	Bitmapset  *anchor = NULL;
	ListCell   *cell;
	int			before;

	foreach(cell, arm->anchor)
		anchor = bms_add_members(anchor, pull_varnos(NULL, ((AnchorColumn *) lfirst(cell))->source));
	if (bms_is_member(input->rti, inner) && bms_is_subset(anchor, needed))
		return needed;

	for (int i = 0; i < arm->ninputs; i++)
		if (bms_is_member(arm->inputs[i].rti, inner))
			needed = bms_add_member(needed, arm->inputs[i].rti);
	do
	{
		before = bms_num_members(needed);
		foreach(cell, kv_normalize_steps(arm->query))
		{
			FromStep   *step = lfirst(cell);
			List	   *used = kv_row_source_vars(rt_fetch(step->rti, arm->query->rtable));

			if (!bms_is_member(step->rti, needed))
				continue;
			needed = bms_add_members(needed, pull_varnos(NULL, step->condition));
			needed = bms_add_members(needed, pull_varnos(NULL, (Node *) used));
		}
	} while (bms_num_members(needed) > before);
	return needed;
}

/* Gives the ANDed conditions that use columns of these entries only. */
static List *
conditions_on(Node *node, Bitmapset *entries)
{
	List	   *conditions = NIL;
	ListCell   *cell;

	foreach(cell, make_ands_implicit((Expr *) node))
	{
		if (is_andclause(lfirst(cell)))
			conditions = list_concat(conditions, conditions_on(lfirst(cell), entries));
		else if (bms_is_subset(pull_varnos(NULL, lfirst(cell)), entries))
			conditions = lappend(conditions, lfirst(cell));
	}
	return conditions;
}

/* Prints the arm's query for what is affected; see affected.h. */
char *
kv_affected_rows(Affected *affected, List *targets, List *anchor_names)
{
	ViewArm    *arm = affected->arm;
	char	  **captures = palloc0(sizeof(char *) * arm->ninputs);
	Query	   *query = copyObject(arm->query);
	List	   *names = NIL;
	ListCell   *cell;

	query->targetList = targets;
	if (affected->is_input)
		return rows_of_only_input(affected, query);

	foreach(cell, targets)
		names = lappend(names, lfirst_node(TargetEntry, cell)->resname);
	return psprintf("SELECT %s\n   FROM (%s) AS joined,\n    %s\n  WHERE %s", kv_statement_columns(names, "joined."),
					kv_delta_print(kv_delta_over_tables(arm, query, captures)), kv_affected_distinct(affected),
					kv_statement_match("joined", anchor_names, "affected", affected->names, affected->types, affected->nullable));
}

/* Prints the arm's query over the last rows of its only input that are not deletions. */
static char *
rows_of_only_input(Affected *affected, Query *query)
{
	ViewInput  *input = &affected->arm->inputs[0];
	int			ncolumns = bms_num_members(input->columns);
	RangeTblEntry *rte;
	List	   *conditions;

	query = kv_delta_over_tables(affected->arm, query, &affected->capture);
	rte = rt_fetch(input->rti, query->rtable);
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(KV_COL_DELETED)));
	conditions = make_ands_implicit((Expr *) query->jointree->quals);
	conditions = lcons(makeBoolExpr(NOT_EXPR, list_make1(makeVar(input->rti, ncolumns + 1, BOOLOID, -1, InvalidOid, 0)), -1), conditions);
	query->jointree->quals = (Node *) make_ands_explicit(conditions);
	return kv_delta_print(query);
}

/* Gives the distinct anchors; see affected.h. */
char *
kv_affected_distinct(Affected *affected)
{
	return psprintf("(SELECT DISTINCT %s FROM %s) AS affected", kv_statement_columns(affected->names, ""), affected->capture);
}
