/*
 * batch_size.c: how many records a batch takes where kafka.batch_rows are too many.
 *
 * Records that join with many others may make more rows than memory or temp_file_limit can hold, and bad ones leave what each attempt
 * has used (dead_letter.c). Such a batch is run again
 * with half of its records, down to a single one; once some have fit, the next ones are larger again, by doubling. Where batches end decides
 * nothing but what is published in between.
 *
 * The size is of the run: the next one begins with kafka.batch_rows.
 */
#include "postgres.h"

#include "batch_size.h"

/* So many batches in a row must fit before a larger one is tried, which costs a batch if it fails. */
#define FITTING_BATCHES 16

static bool is_too_large(int sqlstate);


/* Gives the most records that a batch takes. */
int64
kv_batch_size(const Pipeline *pipeline)
{
	return pipeline->batch_size > 0 ? Min(pipeline->batch_size, kv_batch_rows) : kv_batch_rows;
}

/* Halves the size if that may help; see batch_size.h. Runs: outside a transaction. Blocks: no. */
bool
kv_batch_size_halve(Pipeline *pipeline, int64 taken, ErrorData *error)
{
	if (!is_too_large(error->sqlerrcode))
		return false;
	if (taken <= 1)
	{
		if (error->hint == NULL)
			error->hint = pstrdup("A smaller batch is not possible. Raise temp_file_limit, or the memory of the server; or drop the view and create it again "
								  "with a narrower join.");
		return false;
	}
	if (pipeline->batch_size == 0)
		ereport(LOG,
				(errmsg("a batch of " INT64_FORMAT " records of pipeline \"%s\" is too large and is run in parts", taken, pipeline->row->name),
				 errdetail_internal("%s", error->message)));
	pipeline->batch_size = taken / 2;
	pipeline->fitting_batches = 0;
	return true;
}

/* No memory, or more in temporary files than temp_file_limit. */
static bool
is_too_large(int sqlstate)
{
	return sqlstate == ERRCODE_OUT_OF_MEMORY || sqlstate == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
}

/* Counts a batch that has fit, and doubles the size after some. */
void
kv_batch_size_fits(Pipeline *pipeline)
{
	if (pipeline->batch_size == 0 || ++pipeline->fitting_batches < FITTING_BATCHES)
		return;
	pipeline->fitting_batches = 0;
	pipeline->batch_size *= 2;
	if (pipeline->batch_size >= kv_batch_rows)
		pipeline->batch_size = 0;
}
