/*
 * statement.h: one maintenance statement, and the small pieces of SQL text that
 * the rooms that compile them share.
 */
#ifndef KV_STATEMENT_H
#define KV_STATEMENT_H

#include "kafka_views.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "view_def.h"

typedef enum StatementPhase
{
	PHASE_LOOKUP,				/* applies a table's delta to its lookup table */
	PHASE_COMPUTE,				/* computes and writes result rows */
	PHASE_APPEND,				/* puts a delta into its buffer; after the COMPUTE of the same input */
	PHASE_TAKE,					/* captures the rows of input that the frontier's move from $1 to $2 closes, for the next two; once a batch, behind the other statements */
	PHASE_UNMATCHED,			/* computes and writes those that have no match; behind it COMPUTE and LATE run that read captures */
	PHASE_CLOSE,				/* computes and writes what else this move decides */
	PHASE_EVICT,				/* deletes what no probe can see any more; now and then */
	PHASE_LATE					/* SELECT late_rows bigint, skipped bigint[]: late rows, and kv_row of those that only the frontier made late (null: none) */
} StatementPhase;

/*
 * All statements take two parameters, timestamptz: $1, the view's closed frontier before the batch, and $2, the one after it
 * (-infinity: none). $2 equals $1 in those that run before the end of the batch, that is all but TAKE, UNMATCHED, what reads the
 * captures of that, CLOSE and EVICT.
 */
typedef struct MaintenanceStatement
{
	StatementPhase phase;
	char	   *title;			/* "join new rows of orders with buffered payments" */
	char	   *sql;
	int			input;			/* skipped when the delta of this input has no rows (TAKE: never); -1: always run */
	bool		deltas_only;	/* it reads captures and no table: any way to join them is fine */
	bool		by_row;			/* the captured rows it reads do not depend on each other: one that makes it fail is set aside */
	bool		silent;			/* what its triggers would write to topics is left out */
	bool		writes_view;	/* it writes the result table; with capture_desc and no captures the rows it gives are news for views over it (kv_statement_return_rows; unstored) */
	char	   *captures;		/* name under which its result rows become a delta for later statements of this batch; NULL: none. Several statements may append to the same */
	TupleDesc	capture_desc;	/* row type of captures */
	bool		null_safe;		/* it finds rows of a table by columns that may be null (kv_statement_match) */
	char	   *reads;			/* name of such a capture that it reads (skipped when empty), or NULL; a COMPUTE with it runs on what UNMATCHED captures too */
	char	   *reads_also;		/* name of another one, which may be empty but was captured if the first was; or NULL */
} MaintenanceStatement;

/* The name of a phase as kafka.explain shows it. */
extern const char *kv_phase_name(StatementPhase phase);
/* Makes a statement; title and sql are kept. input -1: not tied to a delta. */
extern MaintenanceStatement *kv_statement(StatementPhase phase, char *title, char *sql, int input);
/*
 * Notes that the statement writes the result table. Where views read it, it also returns what it writes: the rows, of a keyed view with
 * kv_deleted behind them; its text must have a row "t".
 */
extern void kv_statement_return_rows(const ViewDef *view, MaintenanceStatement *statement, bool deleted);
extern TupleDesc kv_statement_keyed_desc(TupleDesc result);
/* Names (char *) as a quoted, comma-separated list, each behind prefix ("" or "t."). */
extern char *kv_statement_columns(List *names, const char *prefix);
/* "name type collation" of CREATE TABLE. */
extern char *kv_statement_column_definition(const char *name, Oid type, int32 typmod, Oid collation);
/* The first count column names of a relation. */
extern List *kv_statement_relation_columns(Oid relid, int count);
/* The equality of a type as an operator in SQL, qualified unless it is Postgres' own. */
extern char *kv_statement_equality(Oid type);
/* The same of its <, and of any operator. */
extern char *kv_statement_less(Oid type);
extern char *kv_statement_operator(Oid operator);
/*
 * The condition that columns of the rows named left and right are the same; types has their types (Oid). Where nullable (int) is
 * true nulls are the same too: an index finds such rows by a bitmap only (MaintenanceStatement.null_safe).
 */
extern char *kv_statement_match(const char *left, List *left_names, const char *right, List *right_names, List *types, List *nullable);
/*
 * A subquery for FROM LATERAL that gives the ctid of the rows of table whose columns names are the same as those of the row other, where at
 * least one of these is null: one part for each pattern of nulls, which is a probe of the index on these columns.
 */
extern char *kv_statement_find_with_nulls(const char *table, List *names, const char *other, List *types);
/*
 * The same of all rows, those without a null too; only nullable (int) columns are null in some. also: further conditions on the row x, "" or " AND ...".
 * Whatever the planner believes of the table, it is probed for each row of other.
 */
extern char *kv_statement_find(const char *table, List *names, const char *other, List *types, List *nullable, const char *also);
/*
 * The condition that a stored row differs from the new one in any of the columns attnos of desc; stored and fresh are
 * their expressions (char *). Values are the same if their bytes are: a result whose equal has other digits (1.0 and 1.00) is another
 * one, and a type needs no equality for it (json, point).
 */
extern char *kv_statement_difference(TupleDesc desc, List *attnos, List *stored, List *fresh);

#endif							/* KV_STATEMENT_H */
