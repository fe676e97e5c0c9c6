/* view_options.h: WITH (kafka.*) of a continuous view, as given and as stored; the settings captured with it. */
#ifndef KV_VIEW_OPTIONS_H
#define KV_VIEW_OPTIONS_H

#include "kafka_views.h"
#include "analyze.h"
#include "utils/array.h"

/* Reads and checks WITH (...); given gets name=value text[] as stored, others the options that are the table's own. */
extern ContinuousOptions *kv_view_options_from_list(List *options, const char *view_name, ArrayType **given, List **others);
extern bool kv_has_view_options(List *options); /* does one stand in the namespace kafka? */
extern ArrayType *kv_capture_settings(void);	/* as stored in kafka_state.view.settings */

#endif							/* KV_VIEW_OPTIONS_H */
