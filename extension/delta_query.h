/*
 * delta_query.h: defining queries with their inputs exchanged for deltas, buffers and
 * lookup tables, as trees and as the SQL text that Postgres' deparser makes of them.
 */
#ifndef KV_DELTA_QUERY_H
#define KV_DELTA_QUERY_H

#include "view_def.h"

/*
 * Settings under which names are printed qualified and constants read back the
 * same everywhere; ends with AtEOXact_GUC(true, nest) (an error ends it too).
 */
extern int	kv_delta_begin_printing(void);
/* Prints a query made by this room. */
extern char *kv_delta_print(Query *query);

/*
 * Gives base (the query of the driver's arm, or a variant of it with other targets) with driving input
 * number driver read from its delta, the arm's other streams from their buffers and lookups from their tables;
 * late rows of the delta and rows past retention in buffers are left out.
 */
extern Query *kv_delta_query(ViewDef *view, Query *base, int driver);
/*
 * The same for the rows that preserved input number adds to an outer join of streams without a match: those of its delta that are
 * late, or those of the capture kv_delta_closed_name, which has the columns of its buffer.
 */
extern Query *kv_delta_unmatched(ViewDef *view, Query *base, int number, bool late);
extern char *kv_delta_closed_name(const ViewInput *preserved);
/* The condition that the frontier's move from $1 to $2 closes a row of its buffer. */
extern char *kv_delta_closing(const ViewInput *preserved);
/*
 * Gives base (the query of an arm over tables, or a variant of it) with every input read from its copy; or, where captures has a name at
 * the input's place in the arm, from that capture, which has its used columns.
 */
extern Query *kv_delta_over_tables(ViewArm *arm, Query *base, char **captures);
/*
 * SELECT of one input's delta alone: the rows that pass the conditions on this input
 * only. with targets the used columns and kv_time of rows that are not late, or, if late, of the late rows
 * kv_row and whether the frontier alone made them late.
 */
extern Query *kv_delta_own_rows(ViewDef *view, int input, bool late);
/* An empty SELECT from a capture or delta of that name with these columns (char *), which are Vars of entry 1. */
extern Query *kv_delta_select_from(const char *name, List *columns);

/* ANDs a condition to the query's WHERE. */
extern void kv_delta_add_condition(Query *query, Node *condition);
/* left name right, of pg_catalog. */
extern Node *kv_delta_operate(const char *name, Node *left, Node *right);
/* Parameter of a statement: 1 the view's closed frontier before the batch, 2 the one after it. */
extern Node *kv_delta_frontier(int number);
extern Node *kv_delta_interval_constant(int64 us);
/* kv_before of a driving input, the stream time of its partition before the row, as the arm's query will have it once the input is read from its delta. */
extern Node *kv_delta_before(const ViewArm *arm, const ViewInput *input);
/* kv_row of it, its place in processing order. */
extern Node *kv_delta_row(const ViewArm *arm, const ViewInput *input);

/* Oid of one of the engine's tables by its qualified name; raises ERRCODE_UNDEFINED_TABLE. */
extern Oid	kv_delta_table(const char *qualified_name);
/* An interval of us as a quoted SQL literal with its type. */
extern char *kv_delta_interval(int64 us);

#endif							/* KV_DELTA_QUERY_H */
