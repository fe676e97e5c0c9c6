/*
 * output_time.c: which column of a view carries the time for views over it, and how far
 * behind the inputs' watermark it can be.
 *
 * Invariant: no row that a view makes after its inputs' least watermark was w has a time before w less the output
 * delay, lateness aside: so that less the delay is the watermark for views over it. Rows that an outer join leaves without a
 * match are made when time closes them, and so are the oldest; the time of a side that is null in them is no time of the view.
 */
#include "output_time.h"

#include "catalog/pg_type.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"

#include "join_graph.h"

static AttrNumber passed_through_time(ViewDef *view);
static AttrNumber time_of_arm(ViewArm *arm);
static bool is_input_time(ViewArm *arm, Node *node, int *input);
static bool are_all_times(ViewArm *arm, List *nodes);
static bool is_nullable_time(ViewArm *arm, AttrNumber attno);
static int64 output_delay(ViewDef *view, ViewArm *arm, AttrNumber attno);

/* Finds the time of the view's rows; see output_time.h. */
Refusal *
kv_output_time(ViewDef *view, const char *event_time)
{
	if (!event_time)
	{
		if (view->shape == SHAPE_APPEND)
			view->time_attno = passed_through_time(view);
	}
	else if (view->shape == SHAPE_KEYED)
		return kv_refusal(-1, "continuous view \"%s\" cannot have the option kafka.event_time",
						  "Its rows change, so views over it read it as a table, whose rows have no time.",
						  "Leave the option out; rows of windows have a time under kafka.emit = 'final'.");
	else
	{
		for (int i = 0; i < view->result->natts; i++)
		{
			Form_pg_attribute column = TupleDescAttr(view->result, i);

			if (strcmp(NameStr(column->attname), event_time) == 0 &&
				(column->atttypid == TIMESTAMPTZOID || column->atttypid == TIMESTAMPOID))
				view->time_attno = column->attnum;
		}
		for (int i = 0; i < view->narms && view->time_attno != 0 && view->groups == NULL; i++)
			if (is_nullable_time(&view->arms[i], view->time_attno))
				return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot take its event time from the column \"%s\"", event_time),
								  "It is null in rows that the outer join leaves without a match.",
								  "Name the event time of the side that is kept; of a FULL JOIN select greatest() or coalesce() of both and name that.");
		if (view->time_attno == 0)
			return kv_refusal(-1, psprintf("continuous view \"%%s\" has no event-time column \"%s\"", event_time),
							  "The option kafka.event_time names a column of type timestamptz or timestamp.",
							  "Select the column, or leave the option out.");
	}
	for (int i = 0; i < view->narms && view->time_attno != 0; i++)
		view->output_delay_us = Max(view->output_delay_us, output_delay(view, &view->arms[i], view->time_attno));
	return NULL;
}

/* Gives the column that carries the time in every arm, 0: there is none. */
static AttrNumber
passed_through_time(ViewDef *view)
{
	AttrNumber	attno = time_of_arm(&view->arms[0]);

	for (int i = 1; i < view->narms && attno != 0; i++)
	{
		TargetEntry *target = get_tle_by_resno(view->arms[i].query->targetList, attno);
		int			input;

		if (!kv_is_event_time(&view->arms[i], (Node *) target->expr, &input))
			attno = 0;
	}
	return attno;
}

/* Gives greatest() of all inputs' event times, or else the only input's event time that is selected, 0: neither. */
static AttrNumber
time_of_arm(ViewArm *arm)
{
	AttrNumber	single = 0;
	int			nsingle = 0;
	ListCell   *cell;

	foreach(cell, arm->query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		int			input;

		if (kv_is_event_time(arm, (Node *) target->expr, &input))
		{
			if (input < 0)
				return target->resno;
			if (nsingle++ == 0 || arm->ndriving == 1)
				single = single ? single : target->resno;
		}
	}
	return nsingle == 1 || arm->ndriving == 1 ? single : 0;
}

/* Is a row column the event time of a stream that an outer join makes null? */
static bool
is_nullable_time(ViewArm *arm, AttrNumber attno)
{
	int			input;

	return is_input_time(arm, (Node *) get_tle_by_resno(arm->query->targetList, attno)->expr, &input) && arm->inputs[input].nullable;
}

/* Is it the time of an input, or of all? See output_time.h. */
bool
kv_is_event_time(ViewArm *arm, Node *node, int *input)
{
	if (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (IsA(node, Var))
		return is_input_time(arm, node, input) && !arm->inputs[*input].nullable;
	if (IsA(node, MinMaxExpr) && ((MinMaxExpr *) node)->op == IS_GREATEST)
	{
		*input = -1;
		return are_all_times(arm, ((MinMaxExpr *) node)->args);
	}
	if (IsA(node, CoalesceExpr) && are_all_times(arm, ((CoalesceExpr *) node)->args))
		return is_input_time(arm, linitial(((CoalesceExpr *) node)->args), input);
	return false;
}

/* Is it the event time of an input? Gives its number within the arm. */
static bool
is_input_time(ViewArm *arm, Node *node, int *input)
{
	if (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	for (int i = 0; i < arm->ninputs && IsA(node, Var); i++)
	{
		*input = i;
		if (kv_input_drives(&arm->inputs[i]) && arm->inputs[i].rti == ((Var *) node)->varno &&
			arm->inputs[i].time_attno == ((Var *) node)->varattno)
			return true;
	}
	return false;
}

/* Are they the event times of all driving inputs, so that one of them is not null? */
static bool
are_all_times(ViewArm *arm, List *nodes)
{
	Bitmapset  *seen = NULL;
	ListCell   *cell;
	int			input;

	foreach(cell, nodes)
	{
		if (!is_input_time(arm, lfirst(cell), &input))
			return false;
		seen = bms_add_member(seen, input);
	}
	return bms_num_members(seen) == arm->ndriving;
}

/*
 * Gives the bound between the input whose time it is and the one whose row comes last, and the time after which rows without a
 * match are closed; see output_time.h.
 */
int64
kv_event_time_delay(const ViewArm *arm, int input)
{
	int64		delay = 0;

	for (int i = 0; i < arm->ninputs; i++)
	{
		if (input >= 0 && kv_input_drives(&arm->inputs[i]))
			delay = Max(delay, kv_join_time_bound(arm, input, i));
		if (arm->inputs[i].preserved)
			delay = Max(delay, arm->inputs[i].close_us);
	}
	return delay;
}

/*
 * Gives how much older than the inputs' least watermark the time of a new row can be,
 * us. Of a column that is no input's time (option event_time, groups), the greatest bound is taken.
 */
static int64
output_delay(ViewDef *view, ViewArm *arm, AttrNumber attno)
{
	int			input;
	int64		delay = 0;

	if (view->groups == NULL && kv_is_event_time(arm, (Node *) get_tle_by_resno(arm->query->targetList, attno)->expr, &input))
		return kv_event_time_delay(arm, input);
	for (int i = 0; i < arm->ninputs; i++)
		if (kv_input_drives(&arm->inputs[i]))
			delay = Max(delay, kv_event_time_delay(arm, i));
	return delay;
}
