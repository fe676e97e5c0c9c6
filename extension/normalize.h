/*
 * normalize.h: the FROM clause of a defining query as a row of steps: one range
 * table entry each, joined inner, left or full from left to right.
 */
#ifndef KV_NORMALIZE_H
#define KV_NORMALIZE_H

#include "from_steps.h"
#include "refuse.h"

/*
 * Gives the select-project-joins (List of Query *) whose rows together are those of a query without groups: one, or
 * several where a UNION ALL is in FROM. In each, plain views and simple subqueries are expanded, join aliases
 * resolved and inner conditions gathered in WHERE; its first range table entries are the steps in FROM
 * order, with unique aliases and real column names; RTE_JOINs follow where there is an outer join.
 * Outer joins whose null rows WHERE rejects are inner (or left, instead of full) ones.
 * Uses query up. Refuses a FROM clause that cannot be written so.
 */
extern Refusal *kv_normalize(Query *query, List **arms);
/* Exchanges columns of joins for the columns of their arms, everywhere in the query. */
extern void kv_normalize_aliases(Query *query);
/* Brings the column lists of RTE_JOINs in line with their arms, after an arm was exchanged for another relation. */
extern void kv_normalize_joins(Query *query);
/* Gives the steps (FromStep *) of a normalised query; makes its FROM of others over the same range table. */
extern List *kv_normalize_steps(Query *query);
extern void kv_normalize_from(Query *query, List *steps);
/* Gives the query with FROM and WHERE of the list: its entries are the steps, in their order, and no others. Uses query and list up. */
extern Query *kv_normalize_rebuild(Query *query, StepList *list);
/* Is an entry of a range table a view to be expanded? An unstored continuous view is an input of its own. */
extern bool kv_is_plain_view(RangeTblEntry *rte);
/* Makes names unique by appending _1, _2 ...; taken is a list of char *. */
extern char *kv_unique_name(const char *name, List *taken);

#endif							/* KV_NORMALIZE_H */
