/*
 * metadata.c: what travels with the positions of every Kafka transaction of ours, and says which batch is out, and whose it is.
 *
 * It is a JSON object {batch, part, owner, adoptions, timeline, here, frontiers}. Frontiers, the clock
 * among them, are for a database that has lost the batch, and are left out where they would not fit.
 * A claim (publish_transactions.c) has "claim" in their place.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "catalog.h"
#include "metadata.h"

/* Kafka's default limit is 4,096; more aborts the transaction. */
#define METADATA_BYTES 4096

static int64 adoptions;			/* of this database */

static char *write_start(OutboxPlace place);
static int64 number_field(Jsonb *object, const char *name);
static char *text_field(Jsonb *object, const char *name);


/* See the header. */
void
kv_metadata_note_era(void)
{
	adoptions = kv_identity_adoptions();
}

/* See the header. */
int64
kv_metadata_adoptions(void)
{
	return adoptions;
}

/* See the header. */
bool
kv_metadata_is_replaced(const OutboxMetadata *metadata)
{
	return metadata->adoptions > adoptions ||
		(metadata->adoptions == adoptions && metadata->timeline > GetWALInsertionTimeLine());
}

/* See the header. */
bool
kv_metadata_is_surpassed(const OutboxMetadata *metadata)
{
	return metadata->adoptions < adoptions ||
		(metadata->adoptions == adoptions && metadata->timeline < GetWALInsertionTimeLine());
}

/* See the header. */
bool
kv_metadata_is_of_copy(const OutboxMetadata *metadata, const char *compared)
{
	const char *here = kv_identity_here();

	return strcmp(compared, here) == 0 && metadata->here != NULL && strcmp(metadata->here, here) != 0 &&
		metadata->adoptions == adoptions && metadata->timeline == GetWALInsertionTimeLine();
}

/* Writes what travels with the offsets. Frontiers are left out where they would not fit, or are not known (NULL). */
char *
kv_metadata_write(OutboxPlace place, const char *frontiers)
{
	char	   *start = write_start(place);
	char	   *metadata = frontiers != NULL ? psprintf("%s,\"frontiers\":%s}", start, frontiers) : NULL;

	return metadata == NULL || strlen(metadata) > METADATA_BYTES ? psprintf("%s}", start) : metadata;
}

/* See the header. */
char *
kv_metadata_write_claim(int64 batch)
{
	OutboxPlace place = {batch, 0};

	return psprintf("%s,\"claim\":true}", write_start(place));
}

/* Writes what all of them begin with. */
static char *
write_start(OutboxPlace place)
{
	return psprintf("{\"batch\":" INT64_FORMAT ",\"part\":" INT64_FORMAT ",\"owner\":\"%s\",\"adoptions\":" INT64_FORMAT ",\"timeline\":%u"
					",\"here\":\"%s\"",
					place.batch, place.part, kv_metadata_owner(), adoptions, GetWALInsertionTimeLine(), kv_identity_here());
}

/* Reads it; false for what is not an object with a batch. Raises an error for what is not JSON at all. */
bool
kv_metadata_parse(const char *text, OutboxMetadata *metadata)
{
	Jsonb	   *object;
	char	   *number;

	if (text[0] != '{')
		return false;
	object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	number = text_field(object, "batch");
	if (number == NULL)
		return false;
	metadata->found = true;
	metadata->place.batch = pg_strtoint64(number);
	metadata->place.part = number_field(object, "part");
	metadata->adoptions = number_field(object, "adoptions");
	metadata->timeline = number_field(object, "timeline");
	metadata->owner = text_field(object, "owner");
	metadata->here = text_field(object, "here");
	metadata->claim = text_field(object, "claim") != NULL;
	metadata->frontiers = text_field(object, "frontiers");
	if (metadata->owner == NULL)
		metadata->owner = pstrdup("");
	return true;
}

/* Gives a field of an object as a number, 0 if it has none. */
static int64
number_field(Jsonb *object, const char *name)
{
	char	   *number = text_field(object, name);

	return number == NULL ? 0 : pg_strtoint64(number);
}

/* Is a behind b? All of a batch is more than any part of it. */
bool
kv_place_is_before(OutboxPlace a, OutboxPlace b)
{
	if (a.batch != b.batch)
		return a.batch < b.batch;
	return a.part != 0 && (b.part == 0 || a.part < b.part);
}

/* Gives a field of an object as text, NULL if it has none. */
static char *
text_field(Jsonb *object, const char *name)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(&object->root, name, strlen(name), &value) == NULL)
		return NULL;
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	return JsonbToCString(NULL, &JsonbValueToJsonb(&value)->root, 0);
}

/* Names this process: machine, port, pid and a random number that no other process has. */
const char *
kv_metadata_owner(void)
{
	static char owner[160];

	if (owner[0] == '\0')
	{
		char		host[100] = "";
		uint32		token;

		(void) gethostname(host, sizeof(host) - 1);
		for (char *p = host; *p != '\0'; p++)
		{
			if (*p == '"' || *p == '\\' || (unsigned char) *p < ' ')
				*p = '_';
		}
		if (!pg_strong_random(&token, sizeof(token)))
			elog(ERROR, "could not generate a random number");
		snprintf(owner, sizeof(owner), "%s:%d:%d:%08x", host, PostPortNumber, MyProcPid, token);
	}
	return owner;
}
