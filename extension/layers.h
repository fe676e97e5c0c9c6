/*
 * layers.h: a defining query split into what makes rows and what groups them.
 */
#ifndef KV_LAYERS_H
#define KV_LAYERS_H

#include "refuse.h"

typedef struct ViewLayers
{
	List	   *arms;			/* of Query *: normalised select-project-joins with the same columns (normalize.h) */
	List	   *row_names;		/* of char *: these columns, unique */
	Query	   *groups;			/* keys, aggregates and HAVING over them as Vars of entry 1; NULL: the rows are the result */
} ViewLayers;

/* Splits a query. WITH is inlined, DISTINCT becomes GROUP BY, UNION ALL several arms. Gives a refusal or NULL. */
extern Refusal *kv_split_layers(const Query *query, ViewLayers *layers);
/* Gives an expression over the row columns with the expressions of an arm's target list in their places. */
extern Node *kv_layers_row_values(Node *node, List *targets);

#endif							/* KV_LAYERS_H */
