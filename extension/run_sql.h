/*
 * run_sql.h: the only door to SPI. A KvSql is one SPI connection under one
 * role with one set of settings; scopes nest and end in reverse order. After an
 * error the (sub)transaction's abort ends them.
 */
#ifndef KV_RUN_SQL_H
#define KV_RUN_SQL_H

#include "kafka_views.h"
#include "executor/spi.h"
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"

typedef struct KvSql
{
	Oid			save_user;
	int			save_sec_context;
	int			guc_nest;
	bool		pushed_snapshot;	/* SPI wants one to be active, and a worker's transaction has none */
} KvSql;

/* The role of kv_sql_enter_engine: the extension's owner; InvalidOid where the extension is not installed. */
extern Oid	kv_sql_engine_role(void);

/*
 * Set by batch.c around maintenance statements: result tables accept writes of
 * the statement itself, not of triggers below it (change_view.c).
 */
extern bool kv_maintaining;

/*
 * Enters SPI as the extension's owner with search_path = pg_catalog, pg_temp:
 * for the fixed statements on kafka_state. All names in them are qualified.
 */
extern void kv_sql_enter_engine(KvSql *sql);
/*
 * The same for statements that find their few rows by an index, in its order. The planner knows nothing of dead rows: it takes a table
 * of them for a small one and reads it whole.
 */
extern void kv_sql_enter_by_index(KvSql *sql);

/*
 * Enters SPI as role, security-restricted, with the settings ("name=value"
 * text[] as in kafka_state.view.settings, NULL for just a safe search_path).
 */
extern void kv_sql_enter_role(KvSql *sql, Oid role, ArrayType *settings);
extern void kv_sql_leave(KvSql *sql);
/*
 * The same role, restrictions and search_path without SPI, for what runs code of users and is no statement:
 * input functions and CHECKs of domains, expressions that are planned.
 */
extern void kv_sql_act_as(KvSql *sql, Oid role);
extern void kv_sql_act_as_before(KvSql *sql);

/*
 * Runs one statement with parameters inside an entered scope. The result is in
 * SPI_tuptable / SPI_processed until the scope is left. nulls is SPI's ("n" or
 * " " a parameter) or NULL. Raises an error where SPI reports one.
 */
extern uint64 kv_sql_run(const char *text, int nparams, const Oid *types,
						 const Datum *values, const char *nulls);
/* The same, never writing; max_rows 0 is all. */
extern uint64 kv_sql_read(const char *text, int nparams, const Oid *types,
						  const Datum *values, const char *nulls, long max_rows);
/* Runs printf-formatted DDL without parameters; quote names with quote_identifier. */
extern void kv_sql_ddl(const char *format,...) pg_attribute_printf(1, 2);

/* Value of a column of the first / a given row of the last result; *isnull set. */
extern Datum kv_sql_value(uint64 row, int column, bool *isnull);
extern int64 kv_sql_int8(uint64 row, int column);	/* of one that is not null */
/* Times of kafka_state are bigint microseconds of Postgres' epoch, null for "none yet", which is DT_NOBEGIN here. */
extern TimestampTz kv_sql_time(uint64 row, int column);
extern Datum kv_sql_time_datum(TimestampTz time, char *null);	/* *null: its letter in nulls */
extern char *kv_sql_text(uint64 row, int column);	/* output function; NULL for null; palloc'd in the caller's context of SPI */

/*
 * A statement prepared once and kept across transactions, one plan per size
 * class (a power of 8 of the delta's rows), because the planner's row count of an
 * ephemeral named relation is fixed when the plan is made (ENGINEERING.md).
 */
typedef struct KvPlan KvPlan;
extern KvPlan *kv_plan_make(MemoryContext context, const char *text, int nparams, const Oid *types);
/*
 * Runs the plan in the entered scope, where the deltas it reads are registered.
 * Result rows (SELECT or RETURNING) are put into capture if not NULL, else they are in SPI_tuptable. Returns the
 * number of rows processed. Maintenance plans are made with hash and merge
 * joins only where the delta is large, so a small delta never scans a buffer.
 */
extern uint64 kv_plan_run(KvPlan *plan, int size_class, const Datum *values, const char *nulls,
						  Tuplestorestate *capture);
extern uint64 kv_plan_run_kept(KvPlan **plan, const char *text, int nparams, const Oid *types, const Datum *values, const char *nulls);
/*
 * The row of a key in a table of kafka_state whose rows change with every batch. While a session holds an old snapshot, all versions that
 * the row has had stay in table and index, and a search for the equal key meets the oldest first, and all of them. New ones lie behind them, and
 * an index has equal keys in the order of the table: so it is read from its end. (The planner drops the order of what it knows to be equal.)
 */
#define KV_NEWEST(table, column, key) \
	"(SELECT ctid, * FROM kafka_state." table " WHERE " column " >= " key " AND " column " <= " key " ORDER BY " column " DESC LIMIT 1)"
/* All rows of such a table, found the same way one by one. */
#define KV_NEWEST_OF_ALL(table, column) \
	"(WITH RECURSIVE k(k) AS ((SELECT pg_catalog.max(" column ") FROM kafka_state." table ")" \
	"   UNION ALL SELECT (SELECT pg_catalog.max(" column ") FROM kafka_state." table " WHERE " column " < k.k) FROM k WHERE k.k IS NOT NULL)" \
	" SELECT r.* FROM k, LATERAL " KV_NEWEST(table, column, "k.k") " r)"
/* An UPDATE of such a row: where it has been changed between the search and the lock, it is found by the key. */
typedef struct KvRowPlan
{
	KvPlan	   *newest;
	KvPlan	   *by_key;
} KvRowPlan;
#define KV_THE_ROW(table, column) "ctid = (SELECT ctid FROM " KV_NEWEST(table, column, "$1") " n)", column " = $1"
extern uint64 kv_plan_change_row(KvRowPlan *plan, const char *text, const char *newest, const char *by_key,
								 int nparams, const Oid *types, const Datum *values, const char *nulls);
extern void kv_plan_probe_only(KvPlan *plan);	/* joins through indexes whatever the delta's size */
extern void kv_plan_allow_bitmaps(KvPlan *plan);	/* index scans of small deltas may be bitmap scans, which an OR of conditions needs */
/* Lets it join however the planner likes, at any size of the delta: of a statement that reads deltas alone. */
extern void kv_plan_allow_all(KvPlan *plan);
extern void kv_plan_free(KvPlan *plan);
/* What EXPLAIN says, palloc'd, in the entered scope, where these deltas (of kv_sql_register) are registered. */
extern char *kv_plan_explain(KvPlan *plan, int size_class, List *deltas);
/* Makes a tuplestore readable under a name by the statements of the entered scope. */
extern EphemeralNamedRelation kv_sql_register(const char *name, TupleDesc desc, Tuplestorestate *rows, double nrows);
extern int	kv_size_class(double nrows);

#endif							/* KV_RUN_SQL_H */
