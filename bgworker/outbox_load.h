/* outbox_load.h: what the next Kafka transaction of a pipeline takes from its outbox. */
#ifndef KV_OUTBOX_LOAD_H
#define KV_OUTBOX_LOAD_H

#include "storage/lockdefs.h"

#include "message_set.h"
#include "output.h"

/* What one Kafka transaction of a pipeline takes. */
typedef struct Load
{
	MessageSet *messages;
	OutboxPlace end;			/* what is out with it; batch 0: nothing to do */
	bool		more;			/* there are messages after it */
	bool		locked;			/* nothing has been read, for a session is dropping the pipeline */
	KafkaOffset *offsets;
	int			noffsets;
	char	   *frontiers;
	MemoryContext context;		/* of all that */
} Load;

/* Reads it with one snapshot, into context. Runs: outside a transaction. Blocks: no. */
extern void kv_load_read(Output *output, Load *load, MemoryContext context);

/*
 * Locks a pipeline's outbox until the transaction ends, before whatever would wait for its lock: a session that has dropped the pipeline and
 * not committed keeps it for long, and the other outputs of the process would wait too. False: it is not free now. Blocks: no.
 */
extern bool kv_load_lock_outbox(int64 pipeline, LOCKMODE mode);

#endif							/* KV_OUTBOX_LOAD_H */
