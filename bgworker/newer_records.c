/*
 * newer_records.c: a record of an upsert topic that is tried again must not take the place of a newer one of its key.
 *
 * Nothing in the database says that there is one: a deletion leaves no row. The topic does, so it is read from the first such record to
 * the pipeline's position, for keys only; they are compared as the columns they are. What is a dead letter itself, or was one and
 * has been discarded, has not been applied and does not count, neither to all views nor to the one that is asked about. Its key may
 * have gone to another partition since, if the topic got more of them: these are read from its time on.
 *
 * A view over views that reads the topic, too, gets what these made of it all the same: they may have other keys.
 *
 * What the topic does not have any more: a record that compaction has removed had a newer one of its key, perhaps a deletion, which goes in turn.
 * Where the beginning of the topic was deleted, newer ones may have been deleted with it. Nobody knows, so such a record stays a dead letter.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "newer_records.h"
#include "run_sql.h"
#include "set_aside.h"
#include "topic_reader.h"
#include "upsert_rows.h"

/* A place in the topic. */
typedef struct Place
{
	int64		offset;
	int64		partition;
} Place;

/* Records of one topic that are tried again for the same views. */
typedef struct Search
{
	Pipeline   *pipeline;
	TopicInput *input;
	PipelineView *view;			/* NULL: every one */
	KeptRecord **records;
	int			nrecords;
	MemoryContext context;
	MemoryContext one_record;
	Decoder    *decoder;		/* of the keys */
	Datum	   *values;			/* of the last record */
	bool	   *nulls;
	UpsertRows *keys;
	HTAB	   *not_applied;	/* places of dead letters, and of discarded ones */
	HTAB	   *found;			/* places of the records, where the topic still has them */
	int			npartitions;	/* that the topic has now */
	int64	   *starts;			/* per partition: where it is read from */
	int64	   *ends;
	int64	   *lows;			/* where it begins */
} Search;

static int	collect(Search *search, KeptRecord *records, int nrecords, int from);
static void run(Search *search);
static void watch_keys(Search *search);
static void read_other_partitions(Search *search, TopicReader *reader);
static bool decode_key(Search *search, const TopicRecord *record);
static HTAB *make_places(Search *search, const char *name);
static void read_not_applied(Search *search);
static void read_topic(Search *search, TopicReader *reader);
static void set_bounds(Search *search, TopicReader *reader);
static void judge(Search *search);


/* Fails what is not the newest; see newer_records.h. */
void
kv_newer_records_fail(Pipeline *pipeline, KeptRecord *records, int nrecords)
{
	bool	   *done = palloc0(sizeof(bool) * Max(nrecords, 1));

	for (int i = 0; i < nrecords; i++)
	{
		Search		search = {.pipeline = pipeline};

		if (done[i] || records[i].failed || records[i].rows_only || !records[i].partition->input->is_table)
			continue;
		search.records = palloc(sizeof(KeptRecord *) * nrecords);
		search.nrecords = collect(&search, records, nrecords, i);
		for (int j = 0; j < search.nrecords; j++)
			done[search.records[j] - records] = true;
		run(&search);
	}
}

/* Collects the records that are of the same topic and for the same views as one. */
static int
collect(Search *search, KeptRecord *records, int nrecords, int from)
{
	int			count = 0;

	search->input = records[from].partition->input;
	search->view = records[from].view;
	for (int i = from; i < nrecords; i++)
		if (!records[i].failed && !records[i].rows_only && records[i].partition->input == search->input && records[i].view == search->view)
			search->records[count++] = &records[i];
	return count;
}

static void
run(Search *search)
{
	TopicInput *input = search->input;
	TopicReader *reader;
	MemoryContext old;

	search->context = AllocSetContextCreate(search->pipeline->batch, "kv newer records", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(search->context);
	search->one_record = AllocSetContextCreate(search->context, "kv record", ALLOCSET_DEFAULT_SIZES);
	search->decoder = kv_decoder_make(search->context, input->topic, bms_make_singleton(0), search->pipeline->owner);
	search->values = palloc0(sizeof(Datum) * input->topic->desc->natts);
	search->nulls = palloc0(sizeof(bool) * input->topic->desc->natts);
	search->keys = kv_upsert_make(search->context, input->topic, input->npartitions);
	search->not_applied = make_places(search, "kv not applied");
	search->found = make_places(search, "kv found");
	reader = kv_reader_open(search->context, input->topic, search->pipeline->owner, false);
	search->npartitions = kv_reader_partitions(reader);
	search->starts = palloc0(sizeof(int64) * Max(search->npartitions, input->npartitions));
	search->ends = palloc0(sizeof(int64) * Max(search->npartitions, input->npartitions));
	search->lows = palloc0(sizeof(int64) * Max(search->npartitions, input->npartitions));
	PushActiveSnapshot(GetTransactionSnapshot());
	watch_keys(search);
	read_other_partitions(search, reader);
	read_not_applied(search);
	read_topic(search, reader);
	judge(search);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(search->context);
}

/* Takes the keys of the records, and where reading begins. One without a key that can be read fails when it is tried. */
static void
watch_keys(Search *search)
{
	for (int i = 0; i < search->nrecords; i++)
	{
		KeptRecord *kept = search->records[i];
		int			number = kept->partition->number;

		if (search->ends[number] == 0)
		{
			search->starts[number] = kept->record.offset;
			search->ends[number] = kept->partition->committed_offset;
		}
		search->starts[number] = Min(search->starts[number], kept->record.offset);
		if (decode_key(search, &kept->record))
			kv_upsert_watch(search->keys, search->values, search->nulls);
	}
}

/* Has every partition read from the time of the oldest record on. */
static void
read_other_partitions(Search *search, TopicReader *reader)
{
	int64		oldest_ms = PG_INT64_MAX;

	for (int i = 0; i < search->nrecords; i++)
		oldest_ms = Min(oldest_ms, search->records[i]->record.timestamp_ms);
	for (int n = 0; search->input->npartitions > 1 && n < search->input->npartitions; n++)
	{
		const Partition *partition = &search->input->partitions[n];
		int64		start;

		if (partition->committed_offset == partition->start_offset)
			continue;
		start = oldest_ms < 0 ? partition->start_offset : kv_reader_seek_time(reader, n, oldest_ms);
		search->starts[n] = search->ends[n] == 0 ? start : Min(search->starts[n], start);
		search->ends[n] = partition->committed_offset;
	}
}

/* Decodes a record's key columns. */
static bool
decode_key(Search *search, const TopicRecord *record)
{
	MemoryContext old;
	DecodeResult result;
	DecodeError bad;
	TimestampTz time;

	MemoryContextReset(search->one_record);
	old = MemoryContextSwitchTo(search->one_record);
	result = kv_decode(search->decoder, record, search->values, search->nulls, &time, &bad);
	MemoryContextSwitchTo(old);
	return result == DECODE_ROW || result == DECODE_DELETE;
}

static HTAB *
make_places(Search *search, const char *name)
{
	HASHCTL		control = {.keysize = sizeof(Place),.entrysize = sizeof(Place),.hcxt = search->context};

	return hash_create(name, 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Reads which records have not been applied to the views. */
static void
read_not_applied(Search *search)
{
	static const char text[] =
		"SELECT record_offset, partition::bigint FROM kafka_state.dead_letter"
		" WHERE pipeline = $1 AND relation::oid = $2 AND record_offset IS NOT NULL AND NOT rows_only AND (view IS NULL OR view::oid = $3)"
		" UNION ALL SELECT record_offset, partition::bigint FROM kafka_state.skipped"
		" WHERE pipeline = $1 AND relation::oid = $2 AND NOT retried AND input IS NULL AND (view IS NULL OR view = $4)";
	const Oid	types[] = {INT8OID, OIDOID, OIDOID, INT8OID};
	Datum		values[4];
	uint64		count;
	KvSql		sql;

	values[0] = Int64GetDatum(search->pipeline->row->pipeline);
	values[1] = ObjectIdGetDatum(search->input->topic->relid);
	values[2] = ObjectIdGetDatum(search->view ? search->view->row->relation : InvalidOid);
	values[3] = Int64GetDatum(search->view ? search->view->row->view : 0);
	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 4, types, values, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		Place		place = {.offset = kv_sql_int8(i, 1),.partition = kv_sql_int8(i, 2)};

		(void) hash_search(search->not_applied, &place, HASH_ENTER, NULL);
	}
	kv_sql_leave(&sql);
}

/* Reads the topic from the first of the records to what has been applied. */
static void
read_topic(Search *search, TopicReader *reader)
{
	const rd_kafka_message_t *msg;

	set_bounds(search, reader);
	kv_reader_start(reader, search->starts, search->ends);
	while ((msg = kv_reader_next(reader)) != NULL)
	{
		Place		place = {.offset = msg->offset,.partition = msg->partition};
		TopicRecord record = kv_record_of(msg);

		if (hash_search(search->not_applied, &place, HASH_FIND, NULL) != NULL)
			(void) hash_search(search->found, &place, HASH_ENTER, NULL);
		else if (decode_key(search, &record))
			kv_upsert_see(search->keys, &record, search->values, search->nulls);
	}
	kv_reader_close(reader);
}

static void
set_bounds(Search *search, TopicReader *reader)
{
	for (int i = 0; i < search->npartitions; i++)
	{
		int64		high;

		if (search->ends[i] == 0)
			continue;
		kv_reader_range(reader, i, &search->lows[i], &high);
		search->starts[i] = Max(search->starts[i], search->lows[i]);
		search->ends[i] = Min(search->ends[i], high);
	}
}

/* Fails the records that are not the newest, or of which nobody knows. */
static void
judge(Search *search)
{
	for (int i = 0; i < search->nrecords; i++)
	{
		KeptRecord *kept = search->records[i];
		Place		place = {.offset = kept->record.offset,.partition = kept->partition->number};
		bool		newer;

		if (!decode_key(search, &kept->record))
			continue;
		newer = kv_upsert_has_newer(search->keys, search->values, search->nulls, kept->partition->number, place.offset, kept->record.timestamp_ms);
		if (newer && kept->upper_rows != NULL)
			kept->rows_only = true;
		else if (newer)
			kv_set_aside_again(search->pipeline, kept, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "a newer record of the same key has been applied",
						 "The record was not applied again, because it would take the place of that one.");
		else if (place.offset < search->lows[place.partition])
			kv_set_aside_again(search->pipeline, kept, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "nobody knows whether a newer record of the same key has been applied",
						 "The topic has deleted the record, and perhaps newer ones of its key with it. Write the row to the topic again to have it.");
		else if (hash_search(search->found, &place, HASH_FIND, NULL) == NULL)
			kv_set_aside_again(search->pipeline, kept, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "a newer record of the same key has been applied",
						 "Compaction has removed the record from the topic, as it does with those that have a newer one. It was not applied again.");
	}
}
