/* closed_rows.h: rows that time made or closed at the end of a batch, applied so that one of them cannot hold up the others. */
#ifndef KV_CLOSED_ROWS_H
#define KV_CLOSED_ROWS_H

#include "pipeline.h"

/* Applies nrows rows; called in a subtransaction, again with fewer rows after an error. What it adds to the view's own rows goes, then. */
typedef void (*ClosedRowsApply) (Tuplestorestate *rows, int64 nrows, void *arg);

/* Rows of one kind, and what is done with them. */
typedef struct ClosedRows
{
	Pipeline   *pipeline;
	PipelineView *view;			/* for which they are applied */
	Oid			source;			/* the topic or view they come from */
	TupleDesc	desc;
	Tuplestorestate *rows;
	int64		nrows;
	ClosedRowsApply apply;
	void	   *arg;
} ClosedRows;

/* Applies them together, or where that fails by a row's own fault, in parts; a row that fails alone is set aside. */
extern void kv_closed_rows_apply(const ClosedRows *closed);

#endif							/* KV_CLOSED_ROWS_H */
