/* row_time.h: the event time of the row that caused an output, told by the statements of a view to its triggers. */
#ifndef KV_ROW_TIME_H
#define KV_ROW_TIME_H

#include "kafka_views.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"

typedef enum RowTimeKind
{
	ROW_TIME_COLUMN,			/* a column of the row has it */
	ROW_TIME_ORDER,				/* noted row by row, in the order in which they are inserted */
	ROW_TIME_KEY				/* noted under the key of the row */
} RowTimeKind;

/* How far a trigger has come in the notes; begins as zeros. */
typedef struct RowTimeCursor
{
	uint64		round;			/* number of the kv_row_times_begin */
	int64		next;
} RowTimeCursor;

/*
 * From here on this backend writes rows of relid; desc is their type, columns (attnos) are the column that has the
 * time, all columns, or those of the key. Forgets what was noted before.
 */
extern void kv_row_times_begin(Oid relid, RowTimeKind kind, TupleDesc desc, List *columns);
extern void kv_row_times_end(void);
/* The event time of what caused a row of relid to be as it is, or to go; DT_NOBEGIN: not known. */
extern TimestampTz kv_row_time(Oid relid, RowTimeCursor *cursor, const Datum *values, const bool *nulls);

#endif							/* KV_ROW_TIME_H */
