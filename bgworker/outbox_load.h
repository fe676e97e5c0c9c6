/* outbox_load.h: what the next Kafka transaction of a pipeline takes from its outbox. */
#ifndef KV_OUTBOX_LOAD_H
#define KV_OUTBOX_LOAD_H

#include "message_set.h"
#include "output.h"

/* What one Kafka transaction of a pipeline takes. */
typedef struct Load
{
	MessageSet *messages;
	OutboxPlace end;			/* what is out with it; batch 0: nothing to do */
	bool		more;			/* there are messages after it */
	KafkaOffset *offsets;
	int			noffsets;
	char	   *frontiers;
	MemoryContext context;		/* of all that */
} Load;

/* Reads it with one snapshot, into context. Runs: outside a transaction. Blocks: no. */
extern void kv_load_read(Output *output, Load *load, MemoryContext context);

#endif							/* KV_OUTBOX_LOAD_H */
