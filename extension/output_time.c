/*
 * output_time.c: which column of a view carries the time for views over it, and how far
 * behind the inputs' watermark it can be.
 *
 * Invariant: no row that a view makes after its inputs' least watermark was w has a time before w less the output
 * delay, lateness aside: so that less the delay is the watermark for views over it.
 */
#include "output_time.h"

#include "catalog/pg_type.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"

#include "join_graph.h"

static AttrNumber passed_through_time(ViewDef *view);
static AttrNumber time_of_arm(ViewArm *arm);
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
	else
	{
		for (int i = 0; i < view->result->natts; i++)
		{
			Form_pg_attribute column = TupleDescAttr(view->result, i);

			if (strcmp(NameStr(column->attname), event_time) == 0 &&
				(column->atttypid == TIMESTAMPTZOID || column->atttypid == TIMESTAMPOID))
				view->time_attno = column->attnum;
		}
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

/* Is it the time of an input, or of all? See output_time.h. */
bool
kv_is_event_time(ViewArm *arm, Node *node, int *input)
{
	if (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (IsA(node, Var))
	{
		for (int i = 0; i < arm->ninputs; i++)
		{
			*input = i;
			if (kv_input_drives(&arm->inputs[i]) && arm->inputs[i].rti == ((Var *) node)->varno &&
				arm->inputs[i].time_attno == ((Var *) node)->varattno)
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
			if (!kv_is_event_time(arm, lfirst(cell), input) || *input < 0)
				return false;
			seen = bms_add_member(seen, *input);
		}
		*input = -1;
		return bms_num_members(seen) == arm->ndriving;
	}
	return false;
}

/* Gives the bound between the input whose time it is and the one whose row comes last; see output_time.h. */
int64
kv_event_time_delay(const ViewArm *arm, int input)
{
	int64		delay = 0;

	for (int i = 0; i < arm->ninputs && input >= 0; i++)
		if (kv_input_drives(&arm->inputs[i]))
			delay = Max(delay, kv_join_time_bound(arm, input, i));
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
