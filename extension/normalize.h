/*
 * normalize.h: the FROM clause of a defining query as a row of steps: one range
 * table entry each, joined inner or left from left to right.
 */
#ifndef KV_NORMALIZE_H
#define KV_NORMALIZE_H

#include "refuse.h"

/*
 * Gives a copy of the query with plain views and simple subqueries expanded, join aliases
 * resolved and inner conditions gathered in WHERE. Its first range table entries are the steps in FROM
 * order, with unique aliases and real column names; RTE_JOINs follow where there is a left join.
 * NULL with *refusal set if the FROM clause cannot be written so.
 */
extern Query *kv_normalize(Query *query, Refusal **refusal);
/* Brings the column lists of RTE_JOINs in line with their arms, after an arm was exchanged for another relation. */
extern void kv_normalize_joins(Query *query);
/* Makes names unique by appending _1, _2 ...; taken is a list of char *. */
extern char *kv_unique_name(const char *name, List *taken);

#endif							/* KV_NORMALIZE_H */
