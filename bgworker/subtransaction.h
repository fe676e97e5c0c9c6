/* subtransaction.h: attempts that leave nothing behind if they fail, and no memory if they do not. */
#ifndef KV_SUBTRANSACTION_H
#define KV_SUBTRANSACTION_H

#include "utils/resowner.h"

/* One that runs; filled by kv_subtransaction_begin. */
typedef struct SubTransaction
{
	MemoryContext context;		/* current before and after it, and in it */
	ResourceOwner owner;		/* the same */
	Size		used;			/* bytes of its CurTransactionContext when it began */
} SubTransaction;

extern void kv_subtransaction_begin(SubTransaction *sub);
extern void kv_subtransaction_release(SubTransaction *sub);
/* Rolls it back and gives the error that ended it, in the context that was current before. For a PG_CATCH. */
extern ErrorData *kv_subtransaction_failed(SubTransaction *sub);

#endif
