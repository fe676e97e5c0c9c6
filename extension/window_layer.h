/*
 * window_layer.h: which group key of a view is a window of event time.
 */
#ifndef KV_WINDOW_LAYER_H
#define KV_WINDOW_LAYER_H

#include "refuse.h"
#include "view_def.h"

/* What the key is, from which its end follows (window_end.h). */
typedef enum WindowKind
{
	WINDOW_RANGE,				/* the window, half-open */
	WINDOW_END,					/* its end */
	WINDOW_START,				/* its start; all windows have one length */
	WINDOW_CALENDAR,			/* its start; it is a unit of the calendar long */
	WINDOW_SESSION				/* from its first to its last event; it ends the gap after the last */
} WindowKind;

typedef struct ViewWindow
{
	WindowKind	kind;
	AttrNumber	key;			/* column of the result; one of view->keys */
	Node	   *expr;			/* the GROUP BY expression, over the row columns */
	int64		length_us;		/* WINDOW_START: of each; WINDOW_SESSION: the gap; else of the longest one, PG_INT64_MAX: it is not known */
	char	   *unit;			/* WINDOW_CALENDAR: as date_trunc knows it */
	Interval   *unit_length;	/* WINDOW_CALENDAR */
	char	   *zone;			/* the time zone the key was cut in, or is a local time of; NULL: TimeZone, as captured with the view */
	int64		delay_us;		/* how much older than the inputs' least watermark the time of a row can be: of joins, their output delay */
} ViewWindow;

/*
 * Finds the window of a grouped view and fills view->window and its closing from the options; after kv_join_graph. Windows close
 * only where an option asks for it; then a view without one that can close is refused, as is an option without effect.
 */
extern Refusal *kv_window_layer(ViewDef *view, const ContinuousOptions *options);
/* Does a tree call kafka.session? */
extern bool kv_window_uses_session(Node *node);

#endif							/* KV_WINDOW_LAYER_H */
