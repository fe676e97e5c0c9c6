/* metadata.h: what travels with the positions of a Kafka transaction. */
#ifndef KV_METADATA_H
#define KV_METADATA_H

#include "kafka_views.h"

/*
 * How far an outbox is out: all batches before this one, and of this one the rows up to seq part, or (part 0) all. A batch
 * that is too large for one Kafka transaction goes out in parts, which end at fixed rows of the outbox.
 */
typedef struct OutboxPlace
{
	int64		batch;
	int64		part;
} OutboxPlace;

/* What Kafka knows of an output: the metadata of its last Kafka transaction. */
typedef struct OutboxMetadata
{
	bool		found;
	OutboxPlace place;
	char	   *owner;			/* the process that published it */
	bool		claim;			/* it only keeps the number of a batch: nothing of a batch was published with it */
	char	   *frontiers;		/* JSON object; NULL: they did not fit */
	/* its database: see kv_metadata_is_replaced */
	int64		adoptions;
	int64		timeline;
	char	   *here;			/* kv_identity_here() there */
} OutboxMetadata;

/* Metadata of a Kafka transaction; palloc'd. frontiers NULL: not known. */
extern char *kv_metadata_write(OutboxPlace place, const char *frontiers);
/* The same of a Kafka transaction without messages that gives a topic the number of a batch. */
extern char *kv_metadata_write_claim(int64 batch);
/* Reads it; false: it is none of ours. */
extern bool kv_metadata_parse(const char *text, OutboxMetadata *metadata);
/* Reads what metadata says of this database; before kv_metadata_write and kv_metadata_is_replaced. Runs: in a transaction. */
extern void kv_metadata_note_era(void);
extern int64 kv_metadata_adoptions(void);	/* of this database, as of then */
/*
 * Is it from a database that has taken this one's place: adopted more often, or on a later timeline? That one has gone its own
 * way since, so the numbers it gave mean something else here.
 */
extern bool kv_metadata_is_replaced(const OutboxMetadata *metadata);
/* Is it from a database whose place this one has taken: adopted less often, or on an earlier timeline? */
extern bool kv_metadata_is_surpassed(const OutboxMetadata *metadata);
/*
 * Is it, on the same timeline, from a copy that has been started beside this database? compared: where what Kafka has was last known here; if it
 * was known at this very place, who publishes from another one since has not come before this one, and its numbers mean something else too.
 */
extern bool kv_metadata_is_of_copy(const OutboxMetadata *metadata, const char *compared);
/* Is a behind b? */
extern bool kv_place_is_before(OutboxPlace a, OutboxPlace b);
/* Names this process: machine, port, pid and a random number that no other process has. */
extern const char *kv_metadata_owner(void);

#endif							/* KV_METADATA_H */
