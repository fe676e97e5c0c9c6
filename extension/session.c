/*
 * session.c: session windows: the marker kafka.session(at, gap), and the aggregate
 * that puts the rows of one group into sessions.
 *
 * A session is a closed range from its first to its last event; an event belongs to it that is
 * at most the gap away. A row touches the sessions that are open for it: it extends one, merges those it bridges, or begins one. A session
 * has closed for a row when its last event + gap + grace is at or before what the row's partition, or the view, had reached; then
 * it is left as it is, so an open one may lie around it or beside it. A row is late, and touches nothing, when the session it would make
 * has closed. So what happens to a row depends on those before it, and not on where a batch begins. What has closed by the view's
 * frontier is not among the stored sessions here.
 *
 * Sessions that are merged into another one point to it; so at the end every row and every stored
 * session finds the one it belongs to, however many merges later.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "window.h"

typedef struct Session
{
	TimestampTz first;
	TimestampTz last;
	int			merged_into;	/* number of a session; its own: it stands */
	bool		stored;
	TimestampTz stored_first;	/* as it was stored */
	TimestampTz stored_last;
} Session;

typedef struct SessionRow
{
	int64		number;			/* kv_row */
	int			session;		/* or one of these */
#define ROW_LATE (-1)
#define ROW_TIMELESS (-2)
} SessionRow;

typedef struct Sessions
{
	int64		gap_us;
	int64		grace_us;		/* PG_INT64_MAX: sessions never close */
	int64		longest_us;		/* from first to last event of a session, at most */
	TypeCacheEntry *range_type;
	Session    *sessions;
	int			nsessions;
	int			max_sessions;
	int		   *standing;		/* numbers of those not merged into others, in order of their first events; as many as max_sessions */
	int			nstanding;
	SessionRow *rows;
	int			nrows;
	int			max_rows;
} Sessions;

static Sessions *begin_sessions(FunctionCallInfo fcinfo);
static int64 grace_length(const Interval *grace);
static void take_stored(Sessions *sessions, ArrayType *stored);
static int	new_session(Sessions *sessions, TimestampTz first, TimestampTz last, int place);
static void put_row(Sessions *sessions, int64 number, TimestampTz at, TimestampTz reached);
static bool is_touched(Sessions *sessions, const Session *session, TimestampTz at, TimestampTz reached);
static bool may_reach(Sessions *sessions, int place, TimestampTz at);
static int	first_beyond(Sessions *sessions, TimestampTz at);
static int	place_of(Sessions *sessions, TimestampTz first);
static void insert_standing(Sessions *sessions, int number, int place);
static void remove_standing(Sessions *sessions, int place);
static bool is_beyond(TimestampTz before, TimestampTz after, int64 gap_us);
static bool has_ended(Sessions *sessions, TimestampTz last, TimestampTz reached);
static void add_row(Sessions *sessions, int64 number, int session);
static Session *standing_session(Sessions *sessions, int number);
static Datum make_answer(Sessions *sessions, TupleDesc desc, const SessionRow *row, Session *stored);
static Datum make_session_range(Sessions *sessions, TimestampTz first, TimestampTz last);

PG_FUNCTION_INFO_V1(kafka_session);
PG_FUNCTION_INFO_V1(kafka_sessionize_step);
PG_FUNCTION_INFO_V1(kafka_sessionize_final);

/* kafka.session(at, gap): means something to continuous views only. */
Datum
kafka_session(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("kafka.session() can only be used in a continuous view"),
			 errdetail("Which session a row belongs to depends on the rows around it."),
			 errhint("Write CREATE MATERIALIZED VIEW ... WITH (kafka.continuous) AS SELECT kafka.session(at, gap) AS during, ... GROUP BY during, ...")));
}

/* Transition function of sessionize(stored, kv_row, at, reached, gap, grace). */
Datum
kafka_sessionize_step(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext caller;
	Sessions   *sessions;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	caller = MemoryContextSwitchTo(context);
	sessions = PG_ARGISNULL(0) ? begin_sessions(fcinfo) : (Sessions *) PG_GETARG_POINTER(0);
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a row of a session has no number")));
	if (PG_ARGISNULL(3))
		add_row(sessions, PG_GETARG_INT64(2), ROW_TIMELESS);
	else
		put_row(sessions, PG_GETARG_INT64(2), PG_GETARG_TIMESTAMPTZ(3), PG_ARGISNULL(4) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(4));
	MemoryContextSwitchTo(caller);
	PG_RETURN_POINTER(sessions);
}

/* Starts with the stored sessions, which the first row brings along. */
static Sessions *
begin_sessions(FunctionCallInfo fcinfo)
{
	Sessions   *sessions = palloc0(sizeof(Sessions));

	if (PG_ARGISNULL(5))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the gap of a session must not be null")));
	sessions->gap_us = kv_window_length(PG_GETARG_INTERVAL_P(5), "gap");
	sessions->grace_us = PG_ARGISNULL(6) ? PG_INT64_MAX : grace_length(PG_GETARG_INTERVAL_P(6));
	sessions->range_type = lookup_type_cache(TSTZRANGEOID, TYPECACHE_RANGE_INFO);
	sessions->max_sessions = 16;
	sessions->sessions = palloc(sizeof(Session) * sessions->max_sessions);
	sessions->standing = palloc(sizeof(int) * sessions->max_sessions);
	sessions->max_rows = 16;
	sessions->rows = palloc(sizeof(SessionRow) * sessions->max_rows);
	if (!PG_ARGISNULL(1))
		take_stored(sessions, PG_GETARG_ARRAYTYPE_P(1));
	return sessions;
}

static int64
grace_length(const Interval *grace)
{
	int64		days_us;
	int64		length_us;

	if (grace->month != 0 || pg_mul_s64_overflow(grace->day, USECS_PER_DAY, &days_us) ||
		pg_add_s64_overflow(grace->time, days_us, &length_us) || length_us < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("grace of a session must be an exact length of time, not below zero")));
	return length_us;
}

static void
take_stored(Sessions *sessions, ArrayType *stored)
{
	Datum	   *ranges;
	bool	   *nulls;
	int			count;

	deconstruct_array(stored, TSTZRANGEOID, -1, false, TYPALIGN_DOUBLE, &ranges, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		RangeBound	lower;
		RangeBound	upper;
		bool		empty;
		int			number;

		if (nulls[i])
			continue;
		range_deserialize(sessions->range_type, DatumGetRangeTypeP(ranges[i]), &lower, &upper, &empty);
		if (empty || lower.infinite || upper.infinite)
			elog(ERROR, "a stored session has no bounds");
		number = new_session(sessions, DatumGetTimestampTz(lower.val), DatumGetTimestampTz(upper.val),
							 place_of(sessions, DatumGetTimestampTz(lower.val)));
		sessions->sessions[number].stored = true;
	}
}

/* Adds a session at a place among the standing ones; gives its number. */
static int
new_session(Sessions *sessions, TimestampTz first, TimestampTz last, int place)
{
	int			number = sessions->nsessions++;
	Session    *session;

	if (number == sessions->max_sessions)
	{
		sessions->max_sessions *= 2;
		sessions->sessions = repalloc(sessions->sessions, sizeof(Session) * sessions->max_sessions);
		sessions->standing = repalloc(sessions->standing, sizeof(int) * sessions->max_sessions);
	}
	insert_standing(sessions, number, place);
	sessions->longest_us = Max(sessions->longest_us, last - first);
	session = &sessions->sessions[number];
	memset(session, 0, sizeof(Session));
	session->first = session->stored_first = first;
	session->last = session->stored_last = last;
	session->merged_into = number;
	return number;
}

/* Puts a row into the open sessions it touches, which become one, or into a new one, unless it is late. */
static void
put_row(Sessions *sessions, int64 number, TimestampTz at, TimestampTz reached)
{
	int			end;
	int			target = -1;
	int			place;
	TimestampTz first = at;
	TimestampTz last = at;

	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp is out of range for a window")));
	end = first_beyond(sessions, at);
	place = end;
	while (place > 0 && may_reach(sessions, place - 1, at))
	{
		Session    *session = &sessions->sessions[sessions->standing[--place]];

		if (!is_touched(sessions, session, at, reached))
			continue;
		target = sessions->standing[place];
		first = Min(first, session->first);
		last = Max(last, session->last);
	}
	if (has_ended(sessions, last, reached))
		add_row(sessions, number, ROW_LATE);
	else if (target < 0)
		add_row(sessions, number, new_session(sessions, at, at, place_of(sessions, at)));
	else
	{
		for (int i = end - 1; i >= place; i--)
		{
			int			other = sessions->standing[i];

			if (!is_touched(sessions, &sessions->sessions[other], at, reached))
				continue;
			sessions->sessions[other].merged_into = target;
			remove_standing(sessions, i);
		}
		sessions->sessions[target].first = first;
		sessions->sessions[target].last = last;
		sessions->longest_us = Max(sessions->longest_us, last - first);
		insert_standing(sessions, target, place_of(sessions, first));
		add_row(sessions, number, target);
	}
}

/* Is a session no more than the gap from a moment, and open for a row that came when so much time was reached? */
static bool
is_touched(Sessions *sessions, const Session *session, TimestampTz at, TimestampTz reached)
{
	return !is_beyond(session->last, at, sessions->gap_us) && !is_beyond(at, session->first, sessions->gap_us) &&
		!has_ended(sessions, session->last, reached);
}

/* Can the standing session at a place, or one before it, be so long that it comes within the gap of a moment? */
static bool
may_reach(Sessions *sessions, int place, TimestampTz at)
{
	TimestampTz first = sessions->sessions[sessions->standing[place]].first;
	int64		last;

	return pg_add_s64_overflow(first, sessions->longest_us, &last) || !is_beyond(last, at, sessions->gap_us);
}

/* Gives the place of the first standing session that begins more than the gap after a moment. */
static int
first_beyond(Sessions *sessions, TimestampTz at)
{
	int			low = 0;
	int			high = sessions->nstanding;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (is_beyond(at, sessions->sessions[sessions->standing[middle]].first, sessions->gap_us))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Gives the place for a session that begins at a moment. */
static int
place_of(Sessions *sessions, TimestampTz first)
{
	int			low = 0;
	int			high = sessions->nstanding;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (sessions->sessions[sessions->standing[middle]].first > first)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static void
insert_standing(Sessions *sessions, int number, int place)
{
	memmove(&sessions->standing[place + 1], &sessions->standing[place], sizeof(int) * (sessions->nstanding - place));
	sessions->standing[place] = number;
	sessions->nstanding++;
}

static void
remove_standing(Sessions *sessions, int place)
{
	sessions->nstanding--;
	memmove(&sessions->standing[place], &sessions->standing[place + 1], sizeof(int) * (sessions->nstanding - place));
}

/* Does a moment lie more than the gap after another? */
static bool
is_beyond(TimestampTz before, TimestampTz after, int64 gap_us)
{
	int64		distance;

	return pg_sub_s64_overflow(after, before, &distance) ? after > before : distance > gap_us;
}

/* Has a session whose last event this is ended for a row? Sums beyond int64 lie beyond all times. */
static bool
has_ended(Sessions *sessions, TimestampTz last, TimestampTz reached)
{
	int64		end;

	if (sessions->grace_us == PG_INT64_MAX || pg_add_s64_overflow(last, sessions->gap_us, &end) ||
		pg_add_s64_overflow(end, sessions->grace_us, &end))
		return false;
	return end <= reached;
}

static void
add_row(Sessions *sessions, int64 number, int session)
{
	SessionRow *row;

	if (sessions->nrows == sessions->max_rows)
	{
		sessions->max_rows *= 2;
		sessions->rows = repalloc(sessions->rows, sizeof(SessionRow) * sessions->max_rows);
	}
	row = &sessions->rows[sessions->nrows++];
	row->number = number;
	row->session = session;
}

/* Final function: an answer for every row in their order, then one for every stored session that is another one now. */
Datum
kafka_sessionize_final(PG_FUNCTION_ARGS)
{
	Sessions   *sessions = PG_ARGISNULL(0) ? NULL : (Sessions *) PG_GETARG_POINTER(0);
	Oid			type = get_element_type(get_fn_expr_rettype(fcinfo->flinfo));
	ArrayBuildState *answers;
	TupleDesc	desc;

	if (sessions == NULL)
		PG_RETURN_NULL();
	desc = lookup_rowtype_tupdesc(type, -1);
	answers = initArrayResult(type, CurrentMemoryContext, false);
	for (int i = 0; i < sessions->nrows; i++)
		accumArrayResult(answers, make_answer(sessions, desc, &sessions->rows[i], NULL), false, type, CurrentMemoryContext);
	for (int i = 0; i < sessions->nsessions; i++)
	{
		Session    *stored = &sessions->sessions[i];
		Session    *now = standing_session(sessions, i);

		if (stored->stored && (now->first != stored->stored_first || now->last != stored->stored_last))
			accumArrayResult(answers, make_answer(sessions, desc, NULL, stored), false, type, CurrentMemoryContext);
	}
	ReleaseTupleDesc(desc);
	PG_RETURN_DATUM(makeArrayResult(answers, CurrentMemoryContext));
}

/* Follows merges to the end, and makes the way shorter for the next one. */
static Session *
standing_session(Sessions *sessions, int number)
{
	int			standing = number;

	while (sessions->sessions[standing].merged_into != standing)
		standing = sessions->sessions[standing].merged_into;
	sessions->sessions[number].merged_into = standing;
	return &sessions->sessions[standing];
}

/* Makes a kafka_state.session_answer (kv_row, stored, session, late) of a row, or of a stored session. */
static Datum
make_answer(Sessions *sessions, TupleDesc desc, const SessionRow *row, Session *stored)
{
	Datum		values[4] = {0};
	bool		nulls[4] = {true, true, true, false};

	if (row != NULL)
	{
		values[0] = Int64GetDatum(row->number);
		nulls[0] = false;
	}
	if (stored != NULL)
	{
		values[1] = make_session_range(sessions, stored->stored_first, stored->stored_last);
		nulls[1] = false;
	}
	if (stored != NULL || row->session >= 0)
	{
		Session    *now = standing_session(sessions, stored != NULL ? stored - sessions->sessions : row->session);

		values[2] = make_session_range(sessions, now->first, now->last);
		nulls[2] = false;
	}
	values[3] = BoolGetDatum(row != NULL && row->session == ROW_LATE);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Makes the range [first, last]. */
static Datum
make_session_range(Sessions *sessions, TimestampTz first, TimestampTz last)
{
	RangeBound	lower = {.val = TimestampTzGetDatum(first),.inclusive = true,.lower = true};
	RangeBound	upper = {.val = TimestampTzGetDatum(last),.inclusive = true,.lower = false};

	return RangeTypePGetDatum(make_range(sessions->range_type, &lower, &upper, false));
}
