/*
 * row_keys.h: by which columns the rows of a table-driven view are told apart and found
 * again.
 */
#ifndef KV_ROW_KEYS_H
#define KV_ROW_KEYS_H

#include "view_def.h"
#include "refuse.h"

/*
 * Finds the anchor of every arm, and, where the view does not aggregate, its keys. Refuses a view whose select list does not
 * tell its rows apart, and joins by which a changed row cannot find those it belongs to.
 */
extern Refusal *kv_row_keys(ViewDef *view);
/* Finds the columns of a keyed view that are never null, whatever drives it. */
extern void kv_find_not_null(ViewDef *view);

#endif							/* KV_ROW_KEYS_H */
