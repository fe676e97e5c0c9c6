/*-------------------------------------------------------------------------
 * offsets.c
 *	  The commands of kv_kafka about positions: end, settle, group, commit, forget-group.
 *-------------------------------------------------------------------------
 */
#include "kv_kafka.h"

#include <stdio.h>
#include <unistd.h>

void
print_ends(int argc, char **argv)
{
	rd_kafka_t *rk = make_consumer(options.isolation);
	int			partitions = require_topic(rk, argv[0]);

	for (int partition = 0; partition < partitions; partition++)
	{
		int64_t		low,
					high;

		fetch_watermarks(rk, argv[0], partition, &low, &high);
		printf("%d\t%ld\t%ld\n", partition, low, high);
	}
}

/*
 * Waits until whoever reads committed records sees all there are: a commit is
 * known to its producer a moment before its markers are in the topics.
 */
void
settle_topics(int argc, char **argv)
{
	rd_kafka_t *committed = make_consumer("read_committed");
	rd_kafka_t *all = make_consumer("read_uncommitted");

	for (int i = 0; i < argc; i++)
	{
		int			partitions = require_topic(all, argv[i]);

		for (int partition = 0; partition < partitions; partition++)
		{
			int64_t		low,
						high,
						stable;

			fetch_watermarks(all, argv[i], partition, &low, &high);
			for (int tries = 0;; tries++)
			{
				fetch_watermarks(committed, argv[i], partition, &low, &stable);
				if (stable >= high)
					break;
				if (tries == TIMEOUT_MS / 5)
					die("%s [%d]: a transaction is open for %d s", argv[i], partition, TIMEOUT_MS / 1000);
				usleep(5 * 1000);
			}
		}
	}
}

void
print_group(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_ListConsumerGroupOffsets_t *request = rd_kafka_ListConsumerGroupOffsets_new(argv[0], NULL);
	rd_kafka_event_t *event = NULL;
	const rd_kafka_group_result_t **results;
	rd_kafka_topic_partition_list_t *list;
	size_t		count;

	/* a broker that has just started loads its groups first, and librdkafka does not ask again by itself */
	for (int tries = 0; event == NULL; tries++)
	{
		rd_kafka_ListConsumerGroupOffsets(rk, &request, 1, NULL, queue);
		event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
		if (event == NULL)
			die("no answer from %s", options.broker);
		if (rd_kafka_event_error(event) && tries == 500)
			die("%s", rd_kafka_event_error_string(event));
		if (rd_kafka_event_error(event))
		{
			rd_kafka_event_destroy(event);
			event = NULL;
			usleep(20 * 1000);
		}
	}
	results = rd_kafka_ListConsumerGroupOffsets_result_groups(rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
	if (count != 1)
		die("no answer for group \"%s\"", argv[0]);
	if (rd_kafka_group_result_error(results[0]))
		die("%s", rd_kafka_error_string(rd_kafka_group_result_error(results[0])));
	list = rd_kafka_topic_partition_list_copy(rd_kafka_group_result_partitions(results[0]));
	rd_kafka_topic_partition_list_sort(list, NULL, NULL);
	for (int i = 0; i < list->cnt; i++)
	{
		printf("%s\t%d\t%ld\t", list->elems[i].topic, list->elems[i].partition, list->elems[i].offset);
		print_bytes(list->elems[i].metadata ? list->elems[i].metadata : "", list->elems[i].metadata_size);
		putchar('\n');
	}
}

/* Commits the start of a partition for some groups, as any consumer does. */
void
commit_start(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
	{
		rd_kafka_t *rk = make_client(RD_KAFKA_CONSUMER, "group.id", argv[i], NULL);
		rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
		rd_kafka_resp_err_t err;

		rd_kafka_topic_partition_list_add(list, argv[0], 0)->offset = 0;
		err = rd_kafka_commit(rk, list, 0);
		if (err)
			die("could not commit for group \"%s\": %s", argv[i], rd_kafka_err2str(err));
		rd_kafka_topic_partition_list_destroy(list);
	}
}

/* Deletes all that the broker remembers of a group, as it does by itself when the group has been silent for long. */
void
forget_group(int argc, char **argv)
{
	rd_kafka_t *rk = make_client(RD_KAFKA_PRODUCER, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_DeleteGroup_t *request = rd_kafka_DeleteGroup_new(argv[0]);
	const rd_kafka_group_result_t **results;
	rd_kafka_event_t *event;
	size_t		count;

	rd_kafka_DeleteGroups(rk, &request, 1, NULL, queue);
	event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
	if (event == NULL)
		die("no answer from %s", options.broker);
	if (rd_kafka_event_error(event))
		die("%s", rd_kafka_event_error_string(event));
	results = rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(event), &count);
	if (count != 1 || rd_kafka_group_result_error(results[0]))
		die("%s: %s", argv[0], count != 1 ? "no answer" : rd_kafka_error_string(rd_kafka_group_result_error(results[0])));
	rd_kafka_event_destroy(event);
}
