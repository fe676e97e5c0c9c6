/*
 * topic_reader.h: the records of a topic from given offsets to given ends, one
 * after the other. Part of the room fdw_scan.c.
 */
#ifndef KV_TOPIC_READER_H
#define KV_TOPIC_READER_H

#include "client.h"
#include "topic.h"

typedef struct TopicReader TopicReader;

/*
 * Connects as role. few: the reader is expected to stop early, so little is
 * fetched ahead. Lives in a child of parent. Raises an error if the topic does not exist or
 * no broker answers.
 */
extern TopicReader *kv_reader_open(MemoryContext parent, const TopicDef *topic, Oid role, bool few);
extern int	kv_reader_partitions(const TopicReader *reader);
/* First offset and read_committed end of a partition as they were when first asked for. */
extern void kv_reader_range(TopicReader *reader, int partition, int64 *low, int64 *high);
/* First offset whose record is at or after a time in Unix ms. */
extern int64 kv_reader_seek_time(TopicReader *reader, int partition, int64 time_ms);
/* Begins (again); starts and ends have an entry a partition, one whose start is not before its end is not read. */
extern void kv_reader_start(TopicReader *reader, const int64 *starts, const int64 *ends);
/* Gives back the next record, valid until the next call, or NULL when all ends are reached. */
extern const rd_kafka_message_t *kv_reader_next(TopicReader *reader);
extern void kv_reader_close(TopicReader *reader);

#endif							/* KV_TOPIC_READER_H */
