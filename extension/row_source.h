/*
 * row_source.h: what stands in FROM and reads no table: functions, VALUES, and subqueries over these. Its rows
 * depend on the rows beside it alone, so it needs no delta: it is printed as it stands.
 */
#ifndef KV_ROW_SOURCE_H
#define KV_ROW_SOURCE_H

#include "kafka_views.h"
#include "nodes/parsenodes.h"

/* Is it one? A view or subquery that reads a table, a topic or a WITH query is none. */
extern bool kv_row_source_is(const RangeTblEntry *rte);
/* Is it a subquery without FROM that only names expressions, so that these can stand in its place? */
extern bool kv_row_source_is_expressions(const Query *subquery);
/* Does it give one row at most for a row beside it? */
extern bool kv_row_source_is_single(const RangeTblEntry *rte);
/* The columns (Var *) of the query's other entries that it uses, as that query would name them. */
extern List *kv_row_source_vars(const RangeTblEntry *rte);
/* Exchanges its expressions for those that mutator gives for the same columns, at whatever depth they stand. */
typedef Node *(*RowSourceMutator) (Node *node, void *context);
extern void kv_row_source_mutate(RangeTblEntry *rte, RowSourceMutator mutator, void *context);

/*
 * Puts subqueries in expressions that read no table, such as ARRAY(SELECT ...) over an array of the row, into FROM, each as a
 * row source that has it as its only column. query->hasSubLinks tells afterwards whether others are left.
 */
extern void kv_row_source_lift(Query *query);
/* Has the expression a subquery that reads a table? */
extern bool kv_row_source_reads_below(Node *node);

#endif							/* KV_ROW_SOURCE_H */
