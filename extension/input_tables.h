/*
 * input_tables.h: the tables in which inputs are kept: buffers of streams, copies of
 * upsert topics and keyed views.
 */
#ifndef KV_INPUT_TABLES_H
#define KV_INPUT_TABLES_H

#include "view_def.h"
#include "statement.h"

/* CREATE TABLE / INDEX statements (char *) for an input's buffer or copy. */
extern List *kv_input_tables(ViewInput *input, bool unlogged);
/* Does a crash empty the buffer of a stream (buffer_name is set)? Runs: in a transaction. */
extern bool kv_buffer_is_unlogged(const ViewInput *input);
/* Names (char *) of an input's used columns, by number, and of those the key columns, in key order. */
extern List *kv_input_columns(const ViewInput *input);
extern List *kv_input_keys(const ViewInput *input, List *names);
extern bool kv_input_has_null_keys(const ViewInput *input);
/* Row type of an input's used columns, with kv_deleted behind them if asked for. */
extern TupleDesc kv_input_desc(const ViewInput *input, bool with_deleted);
/* The last row of every key in the input's delta, or the key of it only, with kv_deleted, as SQL. */
extern char *kv_input_last_rows(const ViewInput *input, bool keys_only);
/*
 * Statements that bring a copy up to date from such rows: last is SQL that stands behind FROM, a subquery or a capture's name.
 */
extern MaintenanceStatement *kv_copy_delete(ViewInput *input, const char *last);
extern MaintenanceStatement *kv_copy_upsert(ViewInput *input, const char *last);
/* The condition that the row "t" of the copy has the key of the row "last". */
extern char *kv_copy_match(const ViewInput *input);

#endif							/* KV_INPUT_TABLES_H */
