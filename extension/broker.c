/*
 * broker.c: asks brokers about topics, each question with a limit.
 *
 * librdkafka's calls block; here they come in slices of SLICE_MS, with
 * CHECK_FOR_INTERRUPTS between. Objects of librdkafka are held by memory contexts
 * that an error ends. What may pass by itself is asked again until the limit.
 */
#include "broker.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#define SLICE_MS 500
#define DOUBT_MS 5000

static rd_kafka_resp_err_t ask_partitions(KvClient *client, const char *topic, int timeout_ms, int *count, int32 **leaders);
static int64 query_offset(KvClient *client, const char *topic, int partition, int64 time_ms, const char *what, int timeout_ms, instr_time start);
static rd_kafka_resp_err_t ask_offset(KvClient *client, rd_kafka_topic_partition_list_t *list, int64 time_ms, int timeout_ms);
static bool may_be_asked_again(rd_kafka_resp_err_t err, instr_time start);
static int	wait_slice(int timeout_ms, instr_time start);
static const char *failure_words(KvClient *client, rd_kafka_resp_err_t err);
static void raise_unreachable(KvClient *client, const char *what, const char *topic, rd_kafka_resp_err_t err) pg_attribute_noreturn();

/* Runs: either. Blocks: timeout_ms, interruptible. */
int
kv_broker_partitions(KvClient *client, const char *topic, int timeout_ms, bool *unknown, char **error)
{
	int32	   *leaders;

	return kv_broker_leaders(client, topic, timeout_ms, unknown, error, &leaders);
}

/* Runs: either. Blocks: timeout_ms, interruptible. */
int
kv_broker_leaders(KvClient *client, const char *topic, int timeout_ms, bool *unknown, char **error, int32 **leaders)
{
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	int			count = -1;
	instr_time	start;
	int			slice;

	*unknown = false;
	*error = NULL;
	*leaders = NULL;
	INSTR_TIME_SET_CURRENT(start);
	while (count < 0 && (slice = wait_slice(timeout_ms, start)) > 0)
	{
		err = ask_partitions(client, topic, slice, &count, leaders);
		if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || kv_error_kind(err) == KAFKA_STOP)
			break;
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			pg_usleep(10000);
	}
	if (count < 0)
	{
		*unknown = err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
		*error = pstrdup(failure_words(client, err));
	}
	return count;
}

/* Asks once for the number of partitions, and who leads them. */
static rd_kafka_resp_err_t
ask_partitions(KvClient *client, const char *topic, int timeout_ms, int *count, int32 **leaders)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kv request", ALLOCSET_SMALL_SIZES);
	rd_kafka_topic_t *rkt = kv_client_topic(client, context, topic);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err;

	err = rd_kafka_metadata(client->rk, 0, rkt, &metadata, timeout_ms);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		err = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR__TIMED_OUT;
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			*count = metadata->topics[0].partition_cnt;
			*leaders = palloc(sizeof(int32) * Max(*count, 1));
			/* one that the answer leaves out has none, as far as it says */
			for (int i = 0; i < *count; i++)
				(*leaders)[i] = -1;
			for (int i = 0; i < *count; i++)
			{
				const rd_kafka_metadata_partition_t *partition = &metadata->topics[0].partitions[i];

				if (partition->id >= 0 && partition->id < *count)
					(*leaders)[partition->id] = partition->leader;
			}
		}
		rd_kafka_metadata_destroy(metadata);
	}
	MemoryContextDelete(context);
	return err;
}

/* See the header. librdkafka knows it from any answer about topics; without one it waits, and with one that lacks it it does not. */
char *
kv_broker_cluster(KvClient *client, int timeout_ms)
{
	instr_time	start;
	int			slice;

	INSTR_TIME_SET_CURRENT(start);
	while ((slice = wait_slice(timeout_ms, start)) > 0)
	{
		char	   *id = rd_kafka_clusterid(client->rk, slice);

		if (id != NULL)
		{
			char	   *copy = pstrdup(id);

			rd_kafka_mem_free(client->rk, id);
			return copy;
		}
		if (rd_kafka_controllerid(client->rk, 0) >= 0)
			return NULL;		/* an answer came, without an id */
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
			 errmsg("could not reach Kafka server \"%s\"", client->server_name),
			 errdetail("%s", failure_words(client, RD_KAFKA_RESP_ERR__TIMED_OUT)),
			 errhint("Check bootstrap_servers of the server and that the brokers run. The pipeline tries again by itself.")));
}

/* Runs: either. Blocks: timeout_ms, interruptible. */
void
kv_broker_offsets(KvClient *client, const char *topic, int partition, int timeout_ms, int64 *low, int64 *high)
{
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	*low = query_offset(client, topic, partition, RD_KAFKA_OFFSET_BEGINNING, "the offsets", timeout_ms, start);
	*high = query_offset(client, topic, partition, RD_KAFKA_OFFSET_END, "the offsets", timeout_ms, start);
}

/* Runs: either. Blocks: timeout_ms, interruptible. */
int64
kv_broker_offset_for_time(KvClient *client, const char *topic, int partition, int64 time_ms, int timeout_ms)
{
	int64		offset;
	int64		low;
	instr_time	start;

	INSTR_TIME_SET_CURRENT(start);
	offset = query_offset(client, topic, partition, Max(time_ms, 0), "the offset of a time", timeout_ms, start);
	if (offset < 0)
		kv_broker_offsets(client, topic, partition, timeout_ms, &low, &offset);
	return offset;
}

/*
 * Asks for the offset of a time, or of the beginning or the end, which have numbers of their own. By rd_kafka_offsets_for_times, because
 * rd_kafka_query_watermark_offsets (2.0.2) does not keep to its limit where a leader does not answer. Raises an error where there is none in time.
 */
static int64
query_offset(KvClient *client, const char *topic, int partition, int64 time_ms, const char *what, int timeout_ms, instr_time start)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kv request", ALLOCSET_SMALL_SIZES);
	rd_kafka_topic_partition_list_t *list = kv_client_list(context, 1);
	rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_add(list, topic, partition);
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	int64		offset;
	int			slice;

	while ((slice = wait_slice(timeout_ms, start)) > 0)
	{
		err = ask_offset(client, list, time_ms, slice);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR || !may_be_asked_again(err, start))
			break;
		pg_usleep(10000);
	}
	offset = entry->offset;
	MemoryContextDelete(context);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		raise_unreachable(client, what, topic, err);
	return offset;
}

/* Asks once for the offset of a time in the only partition of the list. */
static rd_kafka_resp_err_t
ask_offset(KvClient *client, rd_kafka_topic_partition_list_t *list, int64 time_ms, int timeout_ms)
{
	rd_kafka_resp_err_t err;

	list->elems[0].offset = time_ms;
	list->elems[0].err = RD_KAFKA_RESP_ERR_NO_ERROR;
	err = rd_kafka_offsets_for_times(client->rk, list, timeout_ms);
	return err != RD_KAFKA_RESP_ERR_NO_ERROR ? err : list->elems[0].err;
}

/* May a question that failed be asked again? A broker that has just started knows of no partition for a moment, so that is not believed at once. */
static bool
may_be_asked_again(rd_kafka_resp_err_t err, instr_time start)
{
	instr_time	now;

	if (err != RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
		return kv_error_kind(err) == KAFKA_RETRY;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return INSTR_TIME_GET_MILLISEC(now) < DOUBT_MS;
}

/* Gives back how long the next call may take: SLICE_MS, less at the end, 0 when the time has passed. */
static int
wait_slice(int timeout_ms, instr_time start)
{
	instr_time	now;
	double		left;

	CHECK_FOR_INTERRUPTS();
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	left = timeout_ms - INSTR_TIME_GET_MILLISEC(now);
	return left <= 0 ? 0 : Min(SLICE_MS, Max(1, (int) left));
}

/* Gives back what to show for err: the reason the connection gave, if it is about the connection. */
static const char *
failure_words(KvClient *client, rd_kafka_resp_err_t err)
{
	const char *last = kv_client_last_error(client);
	bool		connection = err == RD_KAFKA_RESP_ERR__TRANSPORT || err == RD_KAFKA_RESP_ERR__TIMED_OUT ||
		err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;

	return connection && last != NULL ? last : rd_kafka_err2str(err);
}

static void
raise_unreachable(KvClient *client, const char *what, const char *topic, rd_kafka_resp_err_t err)
{
	bool		unknown = err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
		err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;

	ereport(ERROR,
			(errcode(unknown ? ERRCODE_FDW_TABLE_NOT_FOUND : ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not read %s of topic \"%s\" from server \"%s\"", what, topic, client->server_name),
			 errdetail("librdkafka: %s", failure_words(client, err)),
			 errhint("Check that the topic exists, that the brokers run and that the user may read the topic.")));
}
