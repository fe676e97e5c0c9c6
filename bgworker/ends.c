/*
 * ends.c: has leaders confirm where partitions end that have nothing new.
 *
 * Why it exists: a partition that was at its end and whose leader cannot be reached from here looks like one that gets nothing new. The other
 * brokers answer, and name its leader; librdkafka goes on trying, and tells a consumer nothing. Were it idle, time would go on without it,
 * and what it has got meanwhile be late for good. So a partition is idle only as far as its leader has said that there is no more (advance.c).
 *
 * A question is one request to each leader, for all of its partitions, made in a thread (kafka_call.c) while the worker goes on.
 * librdkafka gives one answer for all leaders, which one of them spoils: then each is asked by itself. Those that gave no answer the last time come
 * last and by themselves, so that the others need not wait for them.
 *
 * A leader's answer is for committed records: where a transaction is open, a partition ends to all readers before what that has written first, whatever
 * is behind it. How far the log goes comes with what is fetched, so the client knows; such a partition is not idle either.
 *
 * Invariant: the thread writes an Ask before it counts it in ready, and never after; the worker reads only what is counted.
 */
#include "postgres.h"

#include <time.h>

#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "ends.h"

/* How long leaders may take that are asked together: the answer comes behind that of a fetch. */
#define TOGETHER_MS 5000

/* How long one may take that is asked by itself. */
#define ALONE_MS 2000

/* Before leaders are asked again that said at once that they cannot tell: one that was just elected, or lost. */
#define PAUSE_MS 100

/* So many partitions are named; a slot has no room for all. */
#define MAX_NAMED 8

/* A partition that is asked for. */
typedef struct Ask
{
	Partition  *partition;		/* not for the thread */
	const char *topic;
	int32		number;
	int32		leader;
	bool		suspect;		/* it gave no answer the last time */
	int64		end;			/* the answer; -1: none */
} Ask;

typedef struct EndsQuestion
{
	MemoryContext context;
	MemoryContextCallback callback;
	KafkaCall  *call;
	TimestampTz asked_at;
	int			nasks;			/* suspects behind the others, each by leader */
	int			ntogether;		/* the others */
	int			ready;			/* atomic: so many have come to their end */
	int			taken;			/* so many were noted */
	Ask			asks[FLEXIBLE_ARRAY_MEMBER];
} EndsQuestion;

static void add_asks(EndsQuestion *question, TopicInput *input, bool all);
static bool is_asked_for(const Partition *partition);
static EndsQuestion *make_question(Pipeline *pipeline, int most);
static void end_question(void *arg);
static int	compare_asks(const void *a, const void *b);
static void ask_all(KafkaCall *call);
static void ask_each(KafkaCall *call, int from, int until);
static bool ask_some(KafkaCall *call, int from, int until, int limit_ms);
static bool ask_once(KafkaCall *call, int from, int until, int limit_ms);
static int	elapsed_ms(const struct timespec *since);
static void note_answer(const Pipeline *pipeline, const Ask *ask, TimestampTz asked_at);
static bool has_uncommitted(const Pipeline *pipeline, const Partition *partition);
static int64 end_of_log(const Pipeline *pipeline, const Partition *partition);


/* See the header. Runs: either. Blocks: no. */
bool
kv_ends_ask(Pipeline *pipeline, TimestampTz now, bool all)
{
	EndsQuestion *question;
	int			most = 0;

	if (pipeline->ends != NULL)
		return false;
	for (int i = 0; i < pipeline->ntopics; i++)
		most += pipeline->topics[i].npartitions;
	question = make_question(pipeline, most);
	question->asked_at = now;
	for (int i = 0; i < pipeline->ntopics; i++)
		add_asks(question, &pipeline->topics[i], all);
	if (question->nasks == 0)
	{
		MemoryContextDelete(question->context);
		return true;
	}
	qsort(question->asks, question->nasks, sizeof(Ask), compare_asks);
	question->call->body = ask_all;
	question->call->pause_ms = 0;
	question->call->arg = question;
	kv_call_start(question->call);
	pipeline->ends = question;
	return true;
}

/* Adds the partitions of a topic that are to be asked for. */
static void
add_asks(EndsQuestion *question, TopicInput *input, bool all)
{
	for (int n = 0; n < input->npartitions; n++)
	{
		Partition  *partition = &input->partitions[n];
		Ask		   *ask;

		if (!is_asked_for(partition))
			partition->unanswered = partition->uncommitted = false;
		else if (all || !partition->unanswered)
		{
			ask = &question->asks[question->nasks++];
			ask->partition = partition;
			ask->topic = input->topic->topic;
			ask->number = n;
			ask->leader = partition->leader;
			ask->suspect = partition->unanswered;
			ask->end = -1;
			question->ntogether += !ask->suspect;
		}
	}
}

/* One with records at hand is not idle anyway, and where nobody leads there is nobody to ask. Before its end one is asked for its status only. */
static bool
is_asked_for(const Partition *partition)
{
	return partition->started && !partition->parked && !partition->leaderless && partition->fifo_given == partition->fifo_count;
}

/* Makes a question that stands until its call is over, and goes before the client. */
static EndsQuestion *
make_question(Pipeline *pipeline, int most)
{
	MemoryContext context = AllocSetContextCreate(pipeline->consumer->context, "kv ends", ALLOCSET_SMALL_SIZES);
	EndsQuestion *question = MemoryContextAllocZero(context, offsetof(EndsQuestion, asks) + sizeof(Ask) * most);

	question->context = context;
	question->call = &pipeline->consumer->call;
	question->call->list = kv_client_list(context, most);
	/* registered last, so it comes before the end of the list */
	question->callback.func = end_question;
	question->callback.arg = question;
	MemoryContextRegisterResetCallback(context, &question->callback);
	return question;
}

static void
end_question(void *arg)
{
	EndsQuestion *question = arg;

	kv_call_cancel(question->call);
	(void) kv_call_wait(question->call, -1);
}

/* Orders what is asked together before the suspects, and by leader. */
static int
compare_asks(const void *a, const void *b)
{
	const Ask  *one = a;
	const Ask  *other = b;

	if (one->suspect != other->suspect)
		return one->suspect ? 1 : -1;
	return (one->leader > other->leader) - (one->leader < other->leader);
}

/* Asks for all. This and what it calls runs in a thread: see kafka_call.h. */
static void
ask_all(KafkaCall *call)
{
	EndsQuestion *question = call->arg;
	int			ntogether = question->ntogether;

	if (ntogether > 0 && !ask_some(call, 0, ntogether, TOGETHER_MS) &&
		question->asks[0].leader != question->asks[ntogether - 1].leader)
		ask_each(call, 0, ntogether);
	__atomic_store_n(&question->ready, ntogether, __ATOMIC_RELEASE);
	ask_each(call, ntogether, question->nasks);
}

/* Asks one leader after the other. */
static void
ask_each(KafkaCall *call, int from, int until)
{
	EndsQuestion *question = call->arg;
	int			next;

	for (; from < until; from = next)
	{
		for (next = from + 1; next < until && question->asks[next].leader == question->asks[from].leader; next++)
			;
		(void) ask_some(call, from, next, ALONE_MS);
		__atomic_store_n(&question->ready, next, __ATOMIC_RELEASE);
	}
}

/* Asks for some until all of them are answered, the time is over or nobody wants to know any more. */
static bool
ask_some(KafkaCall *call, int from, int until, int limit_ms)
{
	static const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
	struct timespec began;
	int			left_ms = limit_ms;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (left_ms > 0 && !__atomic_load_n(&call->cancelled, __ATOMIC_ACQUIRE))
	{
		if (ask_once(call, from, until, left_ms))
			return true;
		(void) nanosleep(&pause, NULL);
		left_ms = limit_ms - elapsed_ms(&began);
	}
	return false;
}

/* Asks once; false: for some there is no answer. */
static bool
ask_once(KafkaCall *call, int from, int until, int limit_ms)
{
	Ask		   *asks = ((EndsQuestion *) call->arg)->asks;
	rd_kafka_topic_partition_list_t *list = call->list;
	bool		answered = true;

	while (list->cnt > 0)
		(void) rd_kafka_topic_partition_list_del_by_idx(list, list->cnt - 1);
	for (int i = from; i < until; i++)
		rd_kafka_topic_partition_list_add(list, asks[i].topic, asks[i].number)->offset = RD_KAFKA_OFFSET_END;
	(void) rd_kafka_offsets_for_times(call->rk, list, limit_ms);
	/* whatever came of the whole, one without an answer still has the question in its place */
	for (int i = from; i < until; i++)
	{
		const rd_kafka_topic_partition_t *entry = &list->elems[i - from];

		asks[i].end = entry->err == RD_KAFKA_RESP_ERR_NO_ERROR && entry->offset >= 0 ? entry->offset : -1;
		answered = answered && asks[i].end >= 0;
	}
	return answered;
}

static int
elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

/* See the header. Runs: either. Blocks: no. */
bool
kv_ends_answered(Pipeline *pipeline)
{
	EndsQuestion *question = pipeline->ends;
	bool		over;
	int			ready;

	if (question == NULL)
		return false;
	over = !kv_call_is_running(question->call);
	ready = __atomic_load_n(&question->ready, __ATOMIC_ACQUIRE);
	if (ready == question->taken && !over)
		return false;
	while (question->taken < ready)
		note_answer(pipeline, &question->asks[question->taken++], question->asked_at);
	if (over)
	{
		pipeline->ends = NULL;
		MemoryContextDelete(question->context);
	}
	return true;
}

/* Notes what a leader has said: there is no more than what was fetched; there is, so it comes, or will when it is committed; nothing. */
static void
note_answer(const Pipeline *pipeline, const Ask *ask, TimestampTz asked_at)
{
	Partition  *partition = ask->partition;
	bool		nothing_new = ask->end >= 0 && partition->at_end && ask->end <= Max(partition->fetched_offset, partition->eof_offset);

	partition->unanswered = ask->end < 0;
	partition->uncommitted = nothing_new && has_uncommitted(pipeline, partition);
	partition->confirmed_at = nothing_new && !partition->uncommitted ? asked_at : 0;
}

/* Tells whether the log went on behind the end of a partition when it was last fetched of. */
static bool
has_uncommitted(const Pipeline *pipeline, const Partition *partition)
{
	return end_of_log(pipeline, partition) > Max(partition->fetched_offset, partition->eof_offset);
}

/* Gives where the log ended, committed or not, when it was last fetched of; 0: it has not been. */
static int64
end_of_log(const Pipeline *pipeline, const Partition *partition)
{
	int64		low = 0;
	int64		high = 0;

	return rd_kafka_get_watermark_offsets(pipeline->consumer->rk, partition->input->topic->topic, partition->number, &low, &high) ==
		RD_KAFKA_RESP_ERR_NO_ERROR ? Max(high, 0) : 0;
}

/* See the header. Ends that move on while others are waited for are not waited for: some producers have a transaction open at all times. */
bool
kv_ends_tables_read(Pipeline *pipeline)
{
	bool		read = true;

	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; pipeline->topics[i].is_table && n < pipeline->topics[i].npartitions; n++)
		{
			Partition  *partition = &pipeline->topics[i].partitions[n];

			if (partition->log_end < 0)
				partition->log_end = end_of_log(pipeline, partition);
			read = read && Max(partition->next_offset, partition->eof_offset) >= Min(partition->log_end, partition->limit);
		}
	}
	return read;
}

/* See the header. */
char *
kv_ends_unanswered(Pipeline *pipeline)
{
	StringInfoData names;
	int			count = 0;

	initStringInfo(&names);
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int n = 0; n < pipeline->topics[i].npartitions; n++)
		{
			if (pipeline->topics[i].partitions[n].unanswered && count++ < MAX_NAMED)
				appendStringInfo(&names, "%stopic \"%s\" partition %d", count == 1 ? "" : ", ", pipeline->topics[i].topic->topic, n);
		}
	}
	if (count > MAX_NAMED)
		appendStringInfo(&names, " and %d more", count - MAX_NAMED);
	return count > 0 ? names.data : NULL;
}
