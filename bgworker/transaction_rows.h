/* transaction_rows.h: rows of the outbox of ordinary transactions, by the batch they belong to. */
#ifndef KV_TRANSACTION_ROWS_H
#define KV_TRANSACTION_ROWS_H

#include "message_set.h"

/* Is there anything to publish? Runs: in a transaction, with nothing under way: all that stands is unpublished. */
extern bool kv_transaction_rows_wait(const char *server);
/* Gives the topic of the first message of the server's batch, palloc'd; NULL: the batch is empty. Runs: in a transaction. */
extern char *kv_transaction_rows_topic(const char *server);
/* The same of any message that waits for the server; NULL: none does. */
extern char *kv_transaction_rows_any_topic(const char *server);
/* Deletes the rows of the server's batch, and no others. Runs: in a transaction. */
extern void kv_transaction_rows_delete(const char *server);

/* What is left to read of a batch, from part to part. */
typedef struct TransactionRows TransactionRows;
extern TransactionRows *kv_transaction_rows_make(MemoryContext context);
extern void kv_transaction_rows_forget(TransactionRows *rows);
/*
 * Reads messages of the server's batch behind seq after, in order, until a Kafka transaction is full, into a set in context;
 * *end: seq of its last row, 0: the batch ends there. Runs: in a transaction of its own.
 */
extern MessageSet *kv_transaction_rows_read(TransactionRows *rows, MemoryContext context, const char *server, int64 batch, int64 after,
											int64 *end);

#endif							/* KV_TRANSACTION_ROWS_H */
