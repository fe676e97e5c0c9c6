/*
 * broker.h: what brokers say about topics.
 */
#ifndef KV_BROKER_H
#define KV_BROKER_H

#include "client.h"

/*
 * Partition count of a topic; -1 with *error set (librdkafka's words) if it
 * cannot be had within timeout_ms, *unknown true if the broker says the topic does not exist.
 * Blocks in slices of 500 ms with CHECK_FOR_INTERRUPTS between.
 */
extern int	kv_broker_partitions(KvClient *client, const char *topic, int timeout_ms, bool *unknown, char **error);
/* The same; *leaders: the broker that serves each, palloc'd; -1: none does now, so that nobody knows where the partition ends. */
extern int	kv_broker_leaders(KvClient *client, const char *topic, int timeout_ms, bool *unknown, char **error, int32 **leaders);
/* Id of the brokers' cluster, palloc'd; NULL: they do not say. Raises an error where none answers. Blocks: timeout_ms, interruptible. */
extern char *kv_broker_cluster(KvClient *client, int timeout_ms);
/* First offset and end; a consumer's end is the read_committed one (the last stable offset). Raises on failure. */
extern void kv_broker_offsets(KvClient *client, const char *topic, int partition, int timeout_ms,
							  int64 *low, int64 *high);
/* First offset whose record timestamp is at or after time_ms, or the end; raises on failure. */
extern int64 kv_broker_offset_for_time(KvClient *client, const char *topic, int partition,
									   int64 time_ms, int timeout_ms);

#endif							/* KV_BROKER_H */
