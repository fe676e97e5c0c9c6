/* group_offsets.h: all that Kafka remembers of a consumer group. */
#ifndef KV_GROUP_OFFSETS_H
#define KV_GROUP_OFFSETS_H

#include "kafka_txn.h"

/* The first thing to do where an answer is not what it should be (seen with Kafka 4.1.1, which may load a part of a group's offsets). */
#define KV_OLD_ANSWER_HINT "If a broker has been started again lately, first start it once more: it may answer with old offsets until then. "

/* A question that is on its way. */
typedef struct GroupQuestion GroupQuestion;

/*
 * Asks for all committed offsets of a group, which has had these at least, or later ones: an answer without them is believed only when it
 * has not had them for 5 s. The question and what is expected live in parent, which must not be reset while kv_group_is_busy, for that would
 * wait. Runs: outside a transaction. Blocks: no.
 */
extern GroupQuestion *kv_group_ask(MemoryContext parent, Oid serverid, Oid role, const char *group, const KafkaOffset *expected, int nexpected);
/*
 * Is the answer there? True: it is in *offsets, as kv_group_offsets gives it, and the question is over. False: kv_call_fd() tells when
 * to look again. Raises an error where there is none within 30 s.
 */
extern bool kv_group_answered(GroupQuestion *question, List **offsets);
extern bool kv_group_is_busy(GroupQuestion *question);
/* Says what it waits for, as kv_txn_waits_for does. */
extern char *kv_group_waits_for(GroupQuestion *question, int limit_ms, char **detail);

/*
 * Reads all committed offsets of a group, as KafkaOffset *, with metadata; waits for open transactions, and for what is expected. NIL: Kafka knows of none.
 * Runs: outside a transaction. Blocks: 30 s at most.
 */
extern List *kv_group_offsets(Oid serverid, Oid role, const char *group, const KafkaOffset *expected, int nexpected);
/* Sets the offsets of these partitions, below 0 where Kafka knows of none. Runs: outside a transaction. Blocks: 30 s at most. */
extern void kv_group_read_offsets(Oid serverid, Oid role, const char *group, KafkaOffset *offsets, int noffsets);
/* Finds an offset in what kv_group_offsets gave; below 0: there is none. */
extern int64 kv_group_offset_of(const List *offsets, const char *topic, int32 partition);

#endif							/* KV_GROUP_OFFSETS_H */
