/*
 * subtransaction.c: what records and rows are tried in (dead_letter.c, closed_rows.c).
 *
 * A batch may have as many as it has records. PostgreSQL keeps the memory of each that is released, 8 kB, until
 * the batch commits, if anything was ever allocated in it; a trigger for each statement is enough, which all views have, and that
 * is freed with its statement. Invariant: where nothing is in use any more, nothing is kept.
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/memnodes.h"
#include "utils/memutils.h"

#include "subtransaction.h"

static Size bytes_used(MemoryContext context);


/* Begins one; the current context stays. Runs: in a transaction. */
void
kv_subtransaction_begin(SubTransaction *sub)
{
	sub->context = CurrentMemoryContext;
	sub->owner = CurrentResourceOwner;
	BeginInternalSubTransaction(NULL);
	sub->used = bytes_used(CurTransactionContext);
	MemoryContextSwitchTo(sub->context);
}

/* Makes what was done in it the outer level's. */
void
kv_subtransaction_release(SubTransaction *sub)
{
	/* PostgreSQL asks whether it was reset, not whether everything has been freed */
	if (CurTransactionContext->firstchild == NULL && CurTransactionContext->reset_cbs == NULL &&
		bytes_used(CurTransactionContext) == sub->used)
		MemoryContextReset(CurTransactionContext);
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(sub->context);
	CurrentResourceOwner = sub->owner;
}

/* See the header. */
ErrorData *
kv_subtransaction_failed(SubTransaction *sub)
{
	ErrorData  *error;

	MemoryContextSwitchTo(sub->context);
	error = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(sub->context);
	CurrentResourceOwner = sub->owner;
	return error;
}

/* Gives the bytes of a context that are taken: its own header's, and of what was allocated there and not freed. */
static Size
bytes_used(MemoryContext context)
{
	MemoryContextCounters counters = {0};

	context->methods->stats(context, NULL, NULL, &counters, false);
	return counters.totalspace - counters.freespace;
}
