/* publish_transactions.h: the outbox of the ordinary transactions of a server. */
#ifndef KV_PUBLISH_TRANSACTIONS_H
#define KV_PUBLISH_TRANSACTIONS_H

#include "kafka_views.h"

/* Publishing for the ordinary transactions of a server. */
typedef struct TransactionOutput TransactionOutput;
extern TransactionOutput *kv_transactions_make(MemoryContext context, Oid serverid);
/* Publishes what has been committed so far as one batch; a body for kv_process_attempt. */
extern void kv_transactions_publish(void *output);
extern bool kv_transactions_more(const TransactionOutput *output);
/* After an error: aborts, and gives up a producer that is of no use any more. */
extern void kv_transactions_failed(TransactionOutput *output);

#endif							/* KV_PUBLISH_TRANSACTIONS_H */
