/* publish_transactions.h: takes the outbox of the ordinary transactions of a server to Kafka, step by step. */
#ifndef KV_PUBLISH_TRANSACTIONS_H
#define KV_PUBLISH_TRANSACTIONS_H

#include "group_offsets.h"
#include "metadata.h"
#include "transaction_batch.h"
#include "transaction_rows.h"

/* Instance, database, server and token, with room to spare; a longer one is only compared as far as that. */
#define MAX_NAME 512

/* Kafka allows 249 bytes. */
#define MAX_TOPIC 256

typedef enum TransactionsState
{
	TRANSACTIONS_AT_REST,
	TRANSACTIONS_OPENING,		/* opens a producer */
	TRANSACTIONS_FINDING,		/* asks for the group, whatever the answer */
	TRANSACTIONS_SETTLING,		/* has Kafka give no old answer (kafka_txn.c) */
	TRANSACTIONS_ASKING,		/* asks what Kafka has */
	TRANSACTIONS_CLAIMING,		/* gives the topic the number of the batch before */
	TRANSACTIONS_PUBLISHING,
	TRANSACTIONS_ABORTING		/* after an error */
} TransactionsState;

/* Publishing for the ordinary transactions of a server. */
typedef struct TransactionOutput
{
	Oid			serverid;
	TransactionsState state;
	bool		due;			/* to look whether there is anything to publish */
	bool		failed;			/* the last attempt of this process: its error says more than what the next one waits for */
	TimestampTz locked_at;		/* since when a session has locked what it looks at; 0: none has */
	bool		abandoned;		/* its server may lead elsewhere: the producer goes as soon as no call uses it */
	/* the batch */
	TransactionBatch current;
	bool		begin;			/* the last one was out: another one begins */
	int64		end;			/* seq up to which it is being published; 0: all of it */
	int64		committed;		/* number of the last batch, or part of one, that this process has asked Kafka to commit */
	int64		topic_of;		/* number of a batch that is out in part; 0: none is */
	char		topic[MAX_TOPIC];	/* of its first message */
	OutboxPlace owed;			/* what is out and to be noted before anything else, for kafka.fork() may be giving other names; batch 0: nothing */
	GroupQuestion *question;	/* while FINDING or ASKING */
	MemoryContext batch;		/* of one batch, or a part of it */
	TransactionRows *rows;		/* of one that goes out in parts */
	/* Kafka */
	KafkaTxn   *txn;
	int64		known;			/* greatest batch that it had when the producer was opened */
	int64		adoptions;		/* of this database: after another one the next three are false */
	bool		asked;			/* known is of this name */
	bool		fenced;			/* the last producer was */
	bool		beside;			/* the server that has taken the place of this one does not say so itself: it runs beside this one */
	List	   *claims;			/* Claim *, in context */
	char		kafka_name[MAX_NAME];	/* of the producer */
	char	   *replaced_by;	/* the owner of the server that has taken the place of this one; NULL: none has */
	OutboxMetadata replacing;	/* what it has left in Kafka, but for the pointers */
	MemoryContext context;		/* of the producer */
} TransactionOutput;

extern TransactionOutput *kv_transactions_make(MemoryContext context, Oid serverid);
/* Is a call to Kafka under way? Its end, which kv_call_fd() tells, has to be awaited before any other function here but kv_transactions_tell. */
extern bool kv_transactions_are_busy(const TransactionOutput *output);
/* Does the next step; a body for kv_process_attempt. Raises an error where one failed: kv_transactions_give_up is next. Blocks: no. */
extern void kv_transactions_advance(void *output);
/* Says in the publisher's status that Kafka or a session is waited for, and for what, once that takes long. */
extern void kv_transactions_tell(TransactionOutput *output);
/* After an error: aborts what is open, and closes the producer. Raises nothing. */
extern void kv_transactions_give_up(TransactionOutput *output);
/* Goes on with that, while the state is TRANSACTIONS_ABORTING; true: it is at rest. Raises nothing. */
extern bool kv_transactions_have_given_up(TransactionOutput *output);

#endif							/* KV_PUBLISH_TRANSACTIONS_H */
