/*
 * group_layer.h: the group layer of a view: keys and aggregates.
 */
#ifndef KV_GROUP_LAYER_H
#define KV_GROUP_LAYER_H

#include "refuse.h"
#include "view_def.h"

/* Fills shape, keys and own_state from view->groups. Refuses what cannot be a key or kept up. */
extern Refusal *kv_group_layer(ViewDef *view);

#endif							/* KV_GROUP_LAYER_H */
