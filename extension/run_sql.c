/*
 * run_sql.c: the only door to SPI.
 *
 * Invariant: nobody else switches the role or a setting for SQL of ours. A
 * scope (KvSql) is one SPI connection under one role with one set of settings;
 * scopes nest. After an error nothing needs to be undone by hand: the abort of the
 * (sub)transaction restores role and security context, GUC nest levels
 * and the SPI stack.
 *
 * The engine's own statements run as the owner of the extension with a
 * search_path that holds nothing but pg_catalog. Statements of a view run as the owner
 * of the view inside a security-restricted operation, with the settings that were
 * captured when it was created, so that they mean the same whoever is connected.
 *
 * A maintenance statement is planned once per size class of its delta and kept
 * across transactions. Its generic plan is made here explicitly, not on first
 * execution, because the planner settings that keep a small delta from scanning
 * a whole buffer must hold while it is planned and for nothing else.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "commands/extension.h"
#include "executor/tstoreReceiver.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"

#include "run_sql.h"

#define SAFE_SEARCH_PATH "pg_catalog, pg_temp"

/* Size class n holds deltas of up to 8^(n+1) rows, the last one all above. */
#define SIZE_CLASSES 8

/*
 * Deltas up to this class (4,096 rows) meet buffers and looked-up tables through
 * their indexes only: 1.5 us a probe makes 6 ms at most, while a hash join would
 * read the other side whole (ENGINEERING.md).
 */
#define LAST_SMALL_CLASS 3

struct KvPlan
{
	MemoryContextCallback callback; /* frees plans with the context */
	char	   *text;
	int			nparams;
	Oid		   *types;
	bool		allow_all;		/* meets no table */
	bool		bitmaps;		/* may combine indexes for small deltas too */
	bool		probes_only;	/* meets the tables it joins through their indexes, however large the delta */
	SPIPlanPtr	plans[SIZE_CLASSES];	/* NULL: not needed so far */
};

bool		kv_maintaining = false;

static void switch_role(KvSql *sql, Oid role, int security_flags);
static void enter(KvSql *sql, Oid role, int security_flags);
static void set_local(const char *name, const char *value);
static void apply_setting(const char *setting);
static void check_result(int result, const char *text);
static void free_plans(void *arg);
static SPIPlanPtr planned(KvPlan *plan, int size_class);
static SPIPlanPtr prepare_plan(KvPlan *plan);
static void plan_now(SPIPlanPtr spi_plan, bool probes_only, bool bitmaps);
static bool has_generic_plan(SPIPlanPtr spi_plan);
static ParamListInfo make_params(const KvPlan *plan, const Datum *values, const char *nulls);


/* Gives the role that the engine's own statements run as: the extension's owner, or InvalidOid without the extension. */
Oid
kv_sql_engine_role(void)
{
	Oid			extension = get_extension_oid(KV_EXTENSION, true);
	Oid			owner = InvalidOid;
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	if (!OidIsValid(extension))
		return InvalidOid;

	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
}

/* Enters SPI as the extension's owner with an empty search_path; raises an error where the extension is not installed. */
void
kv_sql_enter_engine(KvSql *sql)
{
	Oid			owner = kv_sql_engine_role();

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in this database", KV_EXTENSION),
				 errhint("Run CREATE EXTENSION %s.", KV_EXTENSION)));
	enter(sql, owner, SECURITY_LOCAL_USERID_CHANGE);
	set_local("search_path", SAFE_SEARCH_PATH);
	/* what the session prefers must not change what our statements see or how values are read back */
	set_local("row_security", "on");
}

/* Enters as kv_sql_enter_engine does, for SQL that goes by indexes, of however little there is; see the header. */
void
kv_sql_enter_by_index(KvSql *sql)
{
	kv_sql_enter_engine(sql);
	set_local("enable_seqscan", "off");
	set_local("enable_bitmapscan", "off");
}

/* Enters SPI as role, security-restricted, with captured settings (text[] of name=value) or a safe search_path. */
void
kv_sql_enter_role(KvSql *sql, Oid role, ArrayType *settings)
{
	enter(sql, role, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	set_local("row_security", "on");
	if (settings == NULL)
		set_local("search_path", SAFE_SEARCH_PATH);
	else
	{
		Datum	   *elements;
		bool	   *isnull;
		int			count;

		deconstruct_array(settings, TEXTOID, -1, false, TYPALIGN_INT, &elements, &isnull, &count);
		for (int i = 0; i < count; i++)
		{
			if (!isnull[i])
				apply_setting(TextDatumGetCString(elements[i]));
		}
	}
}

/* Leaves the scope: SPI's memory goes, role and settings are as before. */
void
kv_sql_leave(KvSql *sql)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "scopes of SQL are not nested");
	if (sql->pushed_snapshot)
		PopActiveSnapshot();
	kv_sql_act_as_before(sql);
}

/* Acts as role without SPI; see the header. */
void
kv_sql_act_as(KvSql *sql, Oid role)
{
	switch_role(sql, role, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	set_local("search_path", SAFE_SEARCH_PATH);
}

/* Role and settings are as before, whatever the role has set meanwhile. */
void
kv_sql_act_as_before(KvSql *sql)
{
	AtEOXact_GUC(false, sql->guc_nest);
	SetUserIdAndSecContext(sql->save_user, sql->save_sec_context);
}

/* Takes a role, and a level of settings that end with it. */
static void
switch_role(KvSql *sql, Oid role, int security_flags)
{
	GetUserIdAndSecContext(&sql->save_user, &sql->save_sec_context);
	SetUserIdAndSecContext(role, sql->save_sec_context | security_flags);
	sql->guc_nest = NewGUCNestLevel();
}

/* Connects to SPI under a role; both entries end here. */
static void
enter(KvSql *sql, Oid role, int security_flags)
{
	switch_role(sql, role, security_flags);
	sql->pushed_snapshot = !ActiveSnapshotSet();
	if (sql->pushed_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

/* Sets a parameter until the current nest level ends. One that is as it should be is left: to check a value may mean to read a file. */
static void
set_local(const char *name, const char *value)
{
	const char *current = GetConfigOption(name, false, false);

	if (current != NULL && strcmp(current, value) == 0)
		return;
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Sets one captured "name=value". */
static void
apply_setting(const char *setting)
{
	const char *equals = strchr(setting, '=');

	if (equals == NULL)
		elog(ERROR, "captured setting \"%s\" has no value", setting);
	set_local(pnstrdup(setting, equals - setting), equals + 1);
}

/* Runs one statement that may write; see the header. */
uint64
kv_sql_run(const char *text, int nparams, const Oid *types, const Datum *values, const char *nulls)
{
	check_result(SPI_execute_with_args(text, nparams, (Oid *) types, (Datum *) values, nulls, false, 0), text);
	return SPI_processed;
}

/*
 * Runs one statement that only reads. It takes a snapshot of its own, so that it
 * sees what this transaction and, in READ COMMITTED, others have done so far.
 */
uint64
kv_sql_read(const char *text, int nparams, const Oid *types, const Datum *values, const char *nulls,
			long max_rows)
{
	int			result;

	PushActiveSnapshot(GetTransactionSnapshot());
	result = SPI_execute_with_args(text, nparams, (Oid *) types, (Datum *) values, nulls, true, max_rows);
	PopActiveSnapshot();
	check_result(result, text);
	return SPI_processed;
}

/* Runs DDL made with a printf format. */
void
kv_sql_ddl(const char *format,...)
{
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&text, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	check_result(SPI_execute(text.data, false, 0), text.data);
}

/* Raises an error for what SPI reports by its result code only. */
static void
check_result(int result, const char *text)
{
	if (result < 0)
		elog(ERROR, "SPI could not run \"%s\": %s", text, SPI_result_code_string(result));
}

/* Gives a value of the last result; by-reference values live until the scope is left. */
Datum
kv_sql_value(uint64 row, int column, bool *isnull)
{
	if (SPI_tuptable == NULL || row >= SPI_tuptable->numvals)
		elog(ERROR, "the last statement has no row " UINT64_FORMAT, row);
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/* Makes a parameter of a time as kafka_state has it, and its letter for SPI. */
Datum
kv_sql_time_datum(TimestampTz time, char *null)
{
	*null = time == DT_NOBEGIN ? 'n' : ' ';
	return Int64GetDatum(time);
}

/* Gives such a time from the last result. */
TimestampTz
kv_sql_time(uint64 row, int column)
{
	bool		isnull;
	Datum		value = kv_sql_value(row, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetInt64(value);
}

/* Gives a bigint that is not null from the last result. */
int64
kv_sql_int8(uint64 row, int column)
{
	bool		isnull;

	return DatumGetInt64(kv_sql_value(row, column, &isnull));
}

/* Gives a value of the last result as text in the context that was current when the scope was entered; NULL for null. */
char *
kv_sql_text(uint64 row, int column)
{
	char	   *value;
	char	   *copy;

	if (SPI_tuptable == NULL || row >= SPI_tuptable->numvals)
		elog(ERROR, "the last statement has no row " UINT64_FORMAT, row);
	value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
	if (value == NULL)
		return NULL;
	copy = SPI_palloc(strlen(value) + 1);
	strcpy(copy, value);
	return copy;
}

/* Makes a plan that prepares its statement when it is first run; plan and prepared statements live as long as context. */
KvPlan *
kv_plan_make(MemoryContext context, const char *text, int nparams, const Oid *types)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	KvPlan	   *plan = palloc0(sizeof(KvPlan));

	plan->text = pstrdup(text);
	plan->nparams = nparams;
	if (nparams > 0)
	{
		plan->types = palloc(sizeof(Oid) * nparams);
		memcpy(plan->types, types, sizeof(Oid) * nparams);
	}
	plan->callback.func = free_plans;
	plan->callback.arg = plan;
	MemoryContextRegisterResetCallback(context, &plan->callback);
	MemoryContextSwitchTo(old);
	return plan;
}

/* Runs a statement of every batch by a plan that is kept for the life of the process. */
uint64
kv_plan_run_kept(KvPlan **plan, const char *text, int nparams, const Oid *types, const Datum *values, const char *nulls)
{
	if (*plan == NULL)
		*plan = kv_plan_make(TopMemoryContext, text, nparams, types);
	return kv_plan_run(*plan, 0, values, nulls, NULL);
}

/*
 * Changes one row of kafka_state by kept plans, the second only where the first finds none; see the header. The text has %s where the row's
 * condition stands, which KV_THE_ROW gives, of key $1. Gives the number of changed rows.
 */
uint64
kv_plan_change_row(KvRowPlan *plan, const char *text, const char *newest, const char *by_key,
				   int nparams, const Oid *types, const Datum *values, const char *nulls)
{
	if (plan->by_key == NULL)
	{
		plan->newest = kv_plan_make(TopMemoryContext, psprintf(text, newest), nparams, types);
		plan->by_key = kv_plan_make(TopMemoryContext, psprintf(text, by_key), nparams, types);
	}
	return kv_plan_run(plan->newest, 0, values, nulls, NULL) > 0 ? SPI_processed : kv_plan_run(plan->by_key, 0, values, nulls, NULL);
}

/*
 * Keeps a plan from reading the tables it joins whole, at any size of the delta: a buffer grows with
 * the time bound, not with the delta, and a batch of 50,000 rows sorted a buffer of a million each time.
 */
void
kv_plan_probe_only(KvPlan *plan)
{
	plan->probes_only = true;
}

/* Lets the plan use bitmap scans at any size of the delta; see the header. */
void
kv_plan_allow_bitmaps(KvPlan *plan)
{
	plan->bitmaps = true;
}

/* Lets the plan join however the planner likes; see the header. */
void
kv_plan_allow_all(KvPlan *plan)
{
	plan->allow_all = true;
}

/*
 * Runs the plan of a size class; see the header. With a capture the result rows
 * go there, otherwise they are in SPI_tuptable.
 */
uint64
kv_plan_run(KvPlan *plan, int size_class, const Datum *values, const char *nulls, Tuplestorestate *capture)
{
	SPIPlanPtr	spi_plan = planned(plan, size_class);
	SPIExecuteOptions options;

	memset(&options, 0, sizeof(options));
	options.params = make_params(plan, values, nulls);
	if (capture != NULL)
	{
		options.dest = CreateDestReceiver(DestTuplestore);
		SetTuplestoreDestReceiverParams(options.dest, capture, CurrentMemoryContext, false, NULL, NULL);
	}
	check_result(SPI_execute_plan_extended(spi_plan, &options), plan->text);
	if (options.dest != NULL)
		options.dest->rDestroy(options.dest);
	return SPI_processed;
}

/* Gives the prepared statement of a size class, planned. */
static SPIPlanPtr
planned(KvPlan *plan, int size_class)
{
	SPIPlanPtr	spi_plan;

	size_class = Min(Max(size_class, 0), SIZE_CLASSES - 1);
	if (plan->plans[size_class] == NULL)
		plan->plans[size_class] = prepare_plan(plan);
	spi_plan = plan->plans[size_class];
	if (!has_generic_plan(spi_plan))
		plan_now(spi_plan, !plan->allow_all && (plan->probes_only || size_class <= LAST_SMALL_CLASS), plan->bitmaps);
	return spi_plan;
}

/* Gives what EXPLAIN says about the plan of a size class; see the header. */
char *
kv_plan_explain(KvPlan *plan, int size_class, List *deltas)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(planned(plan, size_class));
	Datum	   *values = palloc0(sizeof(Datum) * plan->nparams);
	char	   *nulls = palloc(plan->nparams);
	QueryEnvironment *environment = create_queryEnv();
	ExplainState *explain = NewExplainState();
	ListCell   *cell;

	if (cached == NULL)
		elog(ERROR, "no generic plan for \"%s\"", plan->text);
	memset(nulls, 'n', plan->nparams);
	foreach(cell, deltas)
		register_ENR(environment, lfirst(cell));
	explain->costs = false;
	ExplainBeginOutput(explain);
	ExplainOnePlan(linitial_node(PlannedStmt, cached->stmt_list), NULL, explain, plan->text, make_params(plan, values, nulls),
				   environment, NULL, NULL);
	ExplainEndOutput(explain);
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	return explain->str->data;
}

/* Frees the prepared statements; the next run prepares them again. */
void
kv_plan_free(KvPlan *plan)
{
	for (int i = 0; i < SIZE_CLASSES; i++)
	{
		if (plan->plans[i] != NULL)
			SPI_freeplan(plan->plans[i]);
		plan->plans[i] = NULL;
	}
}

/* Frees the prepared statements when the plan's context goes. */
static void
free_plans(void *arg)
{
	kv_plan_free((KvPlan *) arg);
}

/* Analyses the statement with the deltas that are registered now, and keeps it across transactions. */
static SPIPlanPtr
prepare_plan(KvPlan *plan)
{
	SPIPlanPtr	spi_plan = SPI_prepare_cursor(plan->text, plan->nparams, plan->types, CURSOR_OPT_GENERIC_PLAN);

	if (spi_plan == NULL)
		check_result(SPI_result, plan->text);
	check_result(SPI_keepplan(spi_plan), plan->text);
	return spi_plan;
}

/* Tells whether a valid generic plan stands ready. */
static bool
has_generic_plan(SPIPlanPtr spi_plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(spi_plan));

	return source->is_valid && source->gplan != NULL && source->gplan->is_valid;
}

/* Makes the generic plan, for a small delta with nothing but index probes of the tables it meets. */
static void
plan_now(SPIPlanPtr spi_plan, bool probes_only, bool bitmaps)
{
	int			guc_nest = NewGUCNestLevel();
	CachedPlan *cached;

	if (probes_only)
	{
		set_local("enable_hashjoin", "off");
		set_local("enable_mergejoin", "off");
		set_local("enable_seqscan", "off");
		set_local("enable_bitmapscan", bitmaps ? "on" : "off");
	}
	set_local("jit", "off");
	cached = SPI_plan_get_cached_plan(spi_plan);
	if (cached != NULL)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	AtEOXact_GUC(false, guc_nest);
}

/* Makes the executor's parameter list; NULL without parameters. */
static ParamListInfo
make_params(const KvPlan *plan, const Datum *values, const char *nulls)
{
	ParamListInfo params;

	if (plan->nparams == 0)
		return NULL;
	params = makeParamList(plan->nparams);
	for (int i = 0; i < plan->nparams; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = nulls != NULL && nulls[i] == 'n';
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = plan->types[i];
	}
	return params;
}

/* Makes a tuplestore readable under a name in the entered scope, in whose memory it is called, planned for nrows rows. */
EphemeralNamedRelation
kv_sql_register(const char *name, TupleDesc desc, Tuplestorestate *rows, double nrows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	int			result;

	enr->md.name = pstrdup(name);
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = nrows;
	enr->reldata = rows;
	result = SPI_register_relation(enr);
	if (result == SPI_ERROR_REL_DUPLICATE)
	{
		SPI_unregister_relation(name);
		result = SPI_register_relation(enr);
	}
	check_result(result, name);
	return enr;
}

/* Gives the size class of a delta: 8 times as many rows a class. */
int
kv_size_class(double nrows)
{
	int			size_class = 0;

	for (double limit = 8; nrows > limit && size_class < SIZE_CLASSES - 1; limit *= 8)
		size_class++;
	return size_class;
}
