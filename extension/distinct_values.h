/*
 * distinct_values.h: the values that the groups of a view have had, for its aggregates with DISTINCT.
 * Printing must have begun (delta_query.h) for statements.
 */
#ifndef KV_DISTINCT_VALUES_H
#define KV_DISTINCT_VALUES_H

#include "statement.h"
#include "view_def.h"

/* Arguments under DISTINCT that aggregates of a view share, with their FILTER. */
typedef struct DistinctSet
{
	Aggref	   *aggregate;		/* the first of them */
	char	   *table_name;		/* qualified: keys, then arguments; unique */
	char	   *capture;		/* values that are new in a batch */
	List	   *key_names;		/* char * */
	List	   *value_names;
} DistinctSet;

/* Gives the sets of a view (DistinctSet *) whose keys have these names. */
extern List *kv_distinct_sets(const ViewDef *view, List *key_names);
/* Qualified names (char *) of their tables. */
extern List *kv_distinct_table_names(const ViewDef *view);
extern DistinctSet *kv_distinct_set_of(List *sets, const Aggref *aggregate);
/* CREATE statements (char *) of a set's table. */
extern List *kv_distinct_tables(const ViewDef *view, const DistinctSet *set);
/* Keeps the values of new rows, and captures those that are new. */
extern MaintenanceStatement *kv_distinct_keep(ViewDef *view, const DistinctSet *set);
/* A partial aggregate over the rows of a set instead of the values it captures, as one over these: keys, then values, Vars of entry 1. */
extern Aggref *kv_distinct_over_values(const DistinctSet *set, const Aggref *partial);

#endif							/* KV_DISTINCT_VALUES_H */
