/*
 * closed_rows.c: rows that time made or closed, not a record that arrives: groups of windows, rows of an outer join that may have no match, and
 * what a view over another gets of them.
 *
 * Their records were applied long ago, so none is left to be a dead letter; the row is. Invariant: a row that cannot be applied
 * is set aside and the others are applied, as with records (dead_letter.c): in subtransactions, all together, and in halves where
 * that fails by the fault of a row. So a division by zero in one group neither stops the pipeline nor vanishes.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "closed_rows.h"
#include "delta.h"
#include "format.h"
#include "set_aside.h"
#include "subtransaction.h"

static void apply_range(const ClosedRows *closed, MinimalTuple *tuples, int64 from, int64 to);
static ErrorData *try_rows(const ClosedRows *closed, Tuplestorestate *rows, int64 nrows);
static MinimalTuple *copy_rows(const ClosedRows *closed);

/* Applies the rows; see closed_rows.h. Runs: in a transaction. */
void
kv_closed_rows_apply(const ClosedRows *closed)
{
	ErrorData  *error = closed->nrows > 0 ? try_rows(closed, closed->rows, closed->nrows) : NULL;

	if (error == NULL)
		return;
	if (!kv_fault_of_record(error))
		ReThrowError(error);
	FreeErrorData(error);
	apply_range(closed, copy_rows(closed), 0, closed->nrows);
}

/* Applies a part of the rows, whose whole has failed. */
static void
apply_range(const ClosedRows *closed, MinimalTuple *tuples, int64 from, int64 to)
{
	Tuplestorestate *part = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(closed->desc, &TTSOpsMinimalTuple);
	ErrorData  *error;

	CHECK_FOR_INTERRUPTS();
	for (int64 i = from; i < to; i++)
		tuplestore_puttupleslot(part, ExecStoreMinimalTuple(tuples[i], slot, false));
	ExecDropSingleTupleTableSlot(slot);

	error = try_rows(closed, part, to - from);
	if (error != NULL && !kv_fault_of_record(error))
		ReThrowError(error);
	if (error != NULL && to - from == 1)
		kv_set_aside_row(closed->pipeline, closed->view, closed->source, closed->desc, part, error);
	tuplestore_end(part);
	if (error != NULL && to - from > 1)
	{
		apply_range(closed, tuples, from, from + (to - from) / 2);
		apply_range(closed, tuples, from + (to - from) / 2, to);
	}
}

/* Applies rows in a subtransaction; gives the error, with nothing of it left. The PG_TRY turns an error into a choice: whose fault is it? */
static ErrorData *
try_rows(const ClosedRows *closed, Tuplestorestate *rows, int64 nrows)
{
	SubTransaction sub;
	ErrorData  *volatile error = NULL;
	bool		maintaining = kv_maintaining;
	PipelineView *view = closed->view;
	int64		late_rows = view->late_rows;
	int64		published = view->published;
	Tuplestorestate *rows_so_far = view->rows;

	if (rows_so_far != NULL)
	{
		view->rows = tuplestore_begin_heap(false, false, work_mem);
		view->published = 0;
	}
	kv_subtransaction_begin(&sub);
	PG_TRY();
	{
		closed->apply(rows, nrows, closed->arg);
		kv_subtransaction_release(&sub);
	}
	PG_CATCH();
	{
		error = kv_subtransaction_failed(&sub);
		kv_maintaining = maintaining;
		view->late_rows = late_rows;
		view->published = 0;
	}
	PG_END_TRY();
	if (rows_so_far != NULL)
	{
		if (error == NULL)
			kv_delta_append(rows_so_far, view->rows, view->row_desc);
		tuplestore_end(view->rows);
		view->rows = rows_so_far;
	}
	view->published += published;
	return error;
}

/* Copies the rows into memory, to make parts of them. */
static MinimalTuple *
copy_rows(const ClosedRows *closed)
{
	MinimalTuple *tuples = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(MinimalTuple) * closed->nrows);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(closed->desc, &TTSOpsMinimalTuple);

	tuplestore_select_read_pointer(closed->rows, 0);
	tuplestore_rescan(closed->rows);
	for (int64 i = 0; i < closed->nrows && tuplestore_gettupleslot(closed->rows, true, false, slot); i++)
		tuples[i] = ExecCopySlotMinimalTuple(slot);
	ExecDropSingleTupleTableSlot(slot);
	return tuples;
}
