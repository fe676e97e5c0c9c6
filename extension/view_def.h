/*
 * view_def.h: a continuous view as the engine sees it. analyze.c fills it from the
 * defining query, join_graph.c its times and probes; nobody stores it.
 *
 * A view has two layers. The rows layer makes rows of the inputs: one arm, or several
 * whose rows are united (UNION ALL), all with the same columns. The group layer, if there
 * is one, groups and aggregates these rows; otherwise they are the view's.
 */
#ifndef KV_VIEW_DEF_H
#define KV_VIEW_DEF_H

#include "kafka_views.h"
#include "access/tupdesc.h"
#include "nodes/parsenodes.h"
#include "topic.h"

/* Options of WITH (kafka.*), checked. */
typedef struct ContinuousOptions
{
	int64		grace_us;		/* of joins; when stored always known */
	bool		grace_given;	/* false: kafka.default_grace of the view's creation */
	int64		bound_us;		/* between the times of joined streams where the query says nothing; -1: none. Its conditions are in the stored query */
	bool		bound_given;	/* false: kafka.default_bound of the view's creation */
	bool		final;			/* emit = 'final' */
	int64		retention_us;	/* -1: rows are kept */
	char	   *event_time;		/* column name or NULL */
	char	   *pipeline;		/* name or NULL */
	bool		bootstrap;		/* default true */
	char	   *start;			/* NULL, earliest, latest or a timestamp: overrides the topics' own */
} ContinuousOptions;

typedef enum InputKind
{
	INPUT_STREAM,				/* append topic: drives */
	INPUT_VIEW,					/* append-only continuous view, read as a stream: drives */
	INPUT_LOOKUP,				/* upsert topic, kept as a table in kafka_state: looked up by streams, drives where there is none */
	INPUT_KEYED,				/* keyed continuous view: the same */
	INPUT_RELATION				/* ordinary table: its rows of now, looked up */
} InputKind;

/* An expression of an input's columns that is compared for equality. */
typedef struct ProbeExpr
{
	Node	   *expr;
	Oid			collation;		/* by which it is compared */
} ProbeExpr;

/* What of an input is compared for equality with something that depends on others. */
typedef struct Probe
{
	Bitmapset  *others;			/* their range table entries; NULL: constants */
	List	   *columns;		/* AttrNumbers of the input */
	List	   *exprs;			/* of ProbeExpr *: what is more than a column, or compared otherwise than a column's own equality does */
} Probe;

typedef struct ViewInput
{
	int			number;			/* from 0, arm by arm in FROM order */
	int			arm;			/* number of the arm it belongs to */
	int			rti;			/* range table index in the arm's query */
	Oid			relid;			/* foreign table, view's result table, or table */
	InputKind	kind;
	char	   *delta_name;		/* name its delta has in the statements, for example "orders_delta"; same relation twice: same name */
	char	   *buffer_name;	/* qualified table: buffer of a stream in a join, or the lookup table; NULL: none needed */
	Bitmapset  *columns;		/* attnos the query uses (plus keys and event time) */
	List	   *keys;			/* lookup, keyed: AttrNumbers of the key columns */
	Bitmapset  *not_null;		/* lookup, keyed: attnos of columns that are never null */
	AttrNumber	time_attno;		/* the input's event-time column, 0: only kv_time */
	/* joins of streams, microseconds; DESIGN.md 2.4 */
	int64		lateness_us;	/* late when time + lateness_us <= greatest(stream time before it, frontier); PG_INT64_MAX: never */
	List	   *probes;			/* of Probe *: by what its rows are looked up */
	List	   *selection;		/* tables: conditions on its columns alone that every look-up has and that raise no error */
	int64		retain_us;		/* visible and buffered while time > frontier - retain_us */
	/* outer joins of streams */
	bool		preserved;		/* its rows without a match are rows of the view */
	bool		nullable;		/* the other side is preserved */
	int64		close_us;		/* preserved: no match can come any more once the frontier has reached time + close_us */
} ViewInput;

/* A column by which the rows that an arm makes are found again; see row_keys.h. */
typedef struct AnchorColumn
{
	Node	   *source;			/* Var of an inner input, or a Const that all rows of the arm have */
	AttrNumber	attno;			/* column of the result; 0 under an aggregate */
	bool		nullable;
} AnchorColumn;

/* One select-project-join of the rows layer. */
typedef struct ViewArm
{
	int			number;
	Query	   *query;			/* analysed and normalised (normalize.h); targetList: the row columns by number */
	ViewInput  *inputs;			/* its part of ViewDef.inputs, in FROM order */
	int			first;			/* number of its first input */
	int			ninputs;
	int			ndriving;		/* inputs that are streams or append-only views */
	int64		grace_us;		/* of its join */
	int64	   *time_bounds;	/* [i * ninputs + j]: least upper bound of time j - time i, us; i, j count within the arm (join_graph.c) */
	List	   *anchor;			/* table-driven: of AnchorColumn *: rows with other anchors are not touched by a change */
	bool		anchor_is_row;	/* and no two rows of the arm have the same */
	char	   *rows_name;		/* table-driven, under an aggregate: qualified table of the arm's rows */
} ViewArm;

typedef enum ViewShape
{
	SHAPE_APPEND,				/* append-only rows */
	SHAPE_KEYED					/* rows change: one per group of an aggregate, or one per row of tables */
} ViewShape;

typedef struct ViewDef
{
	int64		id;				/* 0 while it is being created */
	int64		pipeline;
	Oid			relid;			/* result table, or an unstored view itself; InvalidOid while being created */
	bool		unstored;		/* a plain view: its rows go to its sinks and to views over it only */
	char	   *name;			/* qualified, for statements and messages */
	Oid			owner;
	int			narms;			/* rows layer; stream-driven: every arm has a driving input */
	ViewArm    *arms;
	List	   *row_names;		/* char *: its columns, unique */
	Query	   *groups;			/* group layer over the row columns, which are Vars of entry 1 (layers.h); NULL: none */
	TupleDesc	result;			/* columns of the result table */
	ViewShape	shape;
	int			ninputs;
	ViewInput  *inputs;
	int			ndriving;		/* of all arms; 0: tables drive the view (kv_view_is_table_driven) */
	List	   *keys;			/* keyed or with groups: AttrNumbers in result of the GROUP BY columns, or of those that tell the rows of tables apart */
	Bitmapset  *not_null;		/* keyed: result columns that are never null */
	bool		ordered;		/* keyed: it takes the rows in processing order */
	bool		own_state;		/* keyed: the result table is its own aggregate state (DESIGN.md 3) */
	char	   *groups_name;	/* with groups and not own_state: qualified companion table */
	AttrNumber	time_attno;		/* result column with the time for views over this one; 0: none */
	int64		output_delay_us;	/* output watermark = inputs' least watermark - this */
	int64		grace_us;		/* of joins */
	struct ViewWindow *window;	/* with groups: its windows, if they close or are sessions (window_layer.h); NULL otherwise */
	bool		window_closes;	/* false: sessions that never close */
	int64		window_grace_us;	/* a window is closed this long after its end */
	bool		sessions;		/* the windows are sessions (session_statements.h) */
	bool		keeps_rows;		/* of sessions: the rows of open ones are kept, because nothing made of two can be merged (session_rows.h) */
	char	   *session_rows_name;	/* keeps_rows: qualified table */
	bool		final;			/* a group's row is written when its window closes and never changed: groups, but SHAPE_APPEND */
	int64		retention_us;	/* rows are removed this long after their time (retention.h); -1: never */
	bool		read_by_views;	/* set by the caller of kv_view_load, before kv_accumulate: statements that write rows of an append-only view also return them */
	bool		reads_expiring; /* a view that it reads as a stream removes rows that are old: its query does not find them */
	bool		has_oracle;		/* kafka.verify can compare it; false: stream-table joins */
} ViewDef;

/* Does a new row of the input make new rows of the view (stream or append-only view)? */
static inline bool
kv_input_drives(const ViewInput *input)
{
	return input->kind == INPUT_STREAM || input->kind == INPUT_VIEW;
}

/* Is it a table whose rows change: upsert topic or keyed view? */
static inline bool
kv_input_is_table(const ViewInput *input)
{
	return input->kind == INPUT_LOOKUP || input->kind == INPUT_KEYED;
}

/* Is it a topic, or else a continuous view? */
static inline bool
kv_input_is_topic(const ViewInput *input)
{
	return input->kind == INPUT_STREAM || input->kind == INPUT_LOOKUP;
}

static inline bool
kv_input_is_view(const ViewInput *input)
{
	return input->kind == INPUT_VIEW || input->kind == INPUT_KEYED;
}

/* Does it read any? */
static inline bool
kv_view_reads_views(const ViewDef *view)
{
	for (int i = 0; i < view->ninputs; i++)
	{
		if (kv_input_is_view(&view->inputs[i]))
			return true;
	}
	return false;
}

/* Does no stream drive it, but the changes of tables (recompute.c)? */
static inline bool
kv_view_is_table_driven(const ViewDef *view)
{
	return view->ndriving == 0;
}

/* The arm an input belongs to. */
static inline ViewArm *
kv_input_arm(const ViewDef *view, int input)
{
	return &view->arms[view->inputs[input].arm];
}

/* Does one stream alone make the rows, so that they can be aggregated as they come? */
static inline bool
kv_view_is_direct(const ViewDef *view)
{
	return view->narms == 1 && view->ndriving == 1 && !view->sessions;
}

#endif							/* KV_VIEW_DEF_H */
