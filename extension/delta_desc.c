/*
 * delta_desc.c: the row types of deltas.
 *
 * Invariant: the columns of the topic or the view come first under their numbers, the engine's behind them
 * in one order (delta_query.c finds them by it).
 */
#include "delta_desc.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "utils/rel.h"

/* Makes the row type of a delta in context. */
TupleDesc
kv_delta_desc(MemoryContext context, TupleDesc columns, bool with_deleted)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	int			natts = columns->natts;
	TupleDesc	desc = CreateTemplateTupleDesc(natts + (with_deleted ? 4 : 3));

	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(desc, i, columns, i);
	TupleDescInitEntry(desc, natts + 1, KV_COL_TIME, TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, natts + 2, KV_COL_BEFORE, TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, natts + 3, KV_COL_ROW, INT8OID, -1, 0);
	if (with_deleted)
		TupleDescInitEntry(desc, natts + 4, KV_COL_DELETED, BOOLOID, -1, 0);
	MemoryContextSwitchTo(old);
	return desc;
}

/* Makes the row type that RETURNING * of a table gives. */
TupleDesc
kv_delta_row_desc(MemoryContext context, TupleDesc columns)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	int			natts = 0;
	TupleDesc	desc;

	for (int i = 0; i < columns->natts; i++)
		natts += TupleDescAttr(columns, i)->attisdropped ? 0 : 1;
	desc = CreateTemplateTupleDesc(natts);
	natts = 0;
	for (int i = 1; i <= columns->natts; i++)
	{
		if (!TupleDescAttr(columns, i - 1)->attisdropped)
			TupleDescCopyEntry(desc, ++natts, columns, i);
	}
	MemoryContextSwitchTo(old);
	return desc;
}

/* Makes the row type of an input's delta; see the header. */
TupleDesc
kv_delta_desc_of_input(const ViewInput *input)
{
	Relation	rel = relation_open(input->relid, AccessShareLock);
	TupleDesc	columns = CreateTupleDescCopy(RelationGetDescr(rel));

	relation_close(rel, NoLock);
	if (kv_input_is_view(input))
		columns = kv_delta_row_desc(CurrentMemoryContext, columns);
	return kv_delta_desc(CurrentMemoryContext, columns, kv_input_is_table(input));
}
