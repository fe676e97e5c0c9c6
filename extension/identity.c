/*
 * identity.c: who this database is to Kafka (DESIGN.md 5.5).
 *
 * Invariant: the fingerprint is written once, before the first pipeline or the first
 * message of a transaction, and never by itself again. A copy of the database (clone,
 * restore, CREATE DATABASE TEMPLATE) therefore carries the fingerprint of
 * the original, does not match it and starts nothing until somebody decides with
 * kafka.adopt() or kafka.fork(). CREATE EXTENSION writes none, or the rows of a
 * dump could not be restored.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "identity.h"
#include "run_sql.h"

static struct stat version;		/* of PG_VERSION when the postmaster started: children inherit it */

static char *instance_name(void);
static bool is_lost(void);
static void rebase_transactions(void);


/*
 * Gives what every name in Kafka begins with: the instance and the database that the fingerprint was first written
 * in, which kafka.adopt() leaves as they are, so that the names stay the same.
 */
char *
kv_identity_prefix(void)
{
	Oid			database = MyDatabaseId;
	char	   *instance = instance_name();
	MemoryContext caller = CurrentMemoryContext;
	bool		isnull;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	if (kv_sql_read("SELECT kafka_database, kafka_instance FROM kafka_state.identity", 0, NULL, NULL, NULL, 1) > 0)
	{
		database = DatumGetObjectId(kv_sql_value(0, 1, &isnull));
		instance = MemoryContextStrdup(caller, kv_sql_text(0, 2));
	}
	kv_sql_leave(&sql);
	return psprintf("%s.%u", instance, database);
}

/* See the header. */
void
kv_identity_init(void)
{
	if (stat("PG_VERSION", &version) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", "PG_VERSION")));
}

/*
 * See the header. A promotion begins a timeline; a restore on the same one writes PG_VERSION anew, and no tool can bring back the time
 * at which an inode was changed. chown, chmod and a hard link change it too: where the server runs that is not seen, and after
 * its next start Kafka is asked once more than it had to be.
 */
char *
kv_identity_here(void)
{
	return psprintf("%u/%llu/%lld", GetWALInsertionTimeLine(), (unsigned long long) version.st_ino, (long long) version.st_ctime);
}

int64
kv_identity_adoptions(void)
{
	int64		adoptions = 0;
	bool		isnull;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	if (kv_sql_read("SELECT adoptions FROM kafka_state.identity", 0, NULL, NULL, NULL, 1) > 0)
		adoptions = DatumGetInt64(kv_sql_value(0, 1, &isnull));
	kv_sql_leave(&sql);
	return adoptions;
}

/* Gives the name of this instance: kafka.instance, or the stored one, or the system identifier. */
static char *
instance_name(void)
{
	char	   *name = NULL;
	KvSql		sql;

	if (kv_instance != NULL && kv_instance[0] != '\0')
		return pstrdup(kv_instance);
	kv_sql_enter_engine(&sql);
	if (kv_sql_read("SELECT instance FROM kafka_state.identity", 0, NULL, NULL, NULL, 1) > 0)
		name = kv_sql_text(0, 1);
	kv_sql_leave(&sql);
	return name != NULL ? name : psprintf(UINT64_FORMAT, GetSystemIdentifier());
}

/* Writes the fingerprint of this database if there is none; after a restore there is, and it does not match. */
void
kv_identity_ensure(void)
{
	static const char text[] =
		"INSERT INTO kafka_state.identity (instance, system_identifier, data_directory, database, kafka_instance, kafka_database) "
		"VALUES ($1, $2, $3, $4, $1, $4) ON CONFLICT DO NOTHING";
	const Oid	types[] = {TEXTOID, TEXTOID, TEXTOID, OIDOID};
	Datum		values[4];
	KvSql		sql;

	values[0] = CStringGetTextDatum(instance_name());
	values[1] = CStringGetTextDatum(psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	values[2] = CStringGetTextDatum(DataDir);
	values[3] = ObjectIdGetDatum(MyDatabaseId);
	kv_sql_enter_engine(&sql);
	kv_sql_run(text, 4, types, values, NULL);
	kv_sql_leave(&sql);
}

/*
 * Compares the fingerprint with this database. With kafka.instance set the data
 * directory may be another one: the members of an HA cluster share the name.
 */
bool
kv_identity_matches(char **reason)
{
	char	   *instance;
	char	   *stored;
	KvSql		sql;

	*reason = NULL;
	instance = instance_name();
	kv_sql_enter_engine(&sql);
	if (kv_sql_read("SELECT instance, system_identifier, data_directory, database FROM kafka_state.identity",
					0, NULL, NULL, NULL, 1) > 0)
	{
		bool		isnull;
		Oid			database = DatumGetObjectId(kv_sql_value(0, 4, &isnull));

		if (strcmp(stored = kv_sql_text(0, 1), instance) != 0)
			*reason = psprintf("this database is known to Kafka as instance \"%s\", but kafka.instance is \"%s\"", stored, instance);
		else if (strcmp(kv_sql_text(0, 2), psprintf(UINT64_FORMAT, GetSystemIdentifier())) != 0)
			*reason = pstrdup("this database was restored from another cluster");
		else if (kv_instance[0] == '\0' && strcmp(stored = kv_sql_text(0, 3), DataDir) != 0)
			*reason = psprintf("this cluster was at \"%s\" and is a copy of it now", stored);
		else if (database != MyDatabaseId)
			*reason = pstrdup("this database is a copy of another one");
		if (*reason != NULL)
		{
			char	   *copy = SPI_palloc(strlen(*reason) + 1);

			*reason = strcpy(copy, *reason);
		}
	}
	else if (is_lost())
	{
		static const char missing[] = "what says who this database was is missing: it is being restored, or was restored in part";

		*reason = strcpy(SPI_palloc(sizeof(missing)), missing);
	}
	kv_sql_leave(&sql);
	return *reason == NULL;
}

/* See the header. */
bool
kv_identity_is_settled(void)
{
	char	   *reason;
	bool		found;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	found = kv_sql_read("SELECT FROM kafka_state.identity", 0, NULL, NULL, NULL, 1) > 0;
	kv_sql_leave(&sql);
	return found && kv_identity_matches(&reason);
}

/*
 * Tells whether the fingerprint must have been there, since there is what is made only after it, or messages with numbers that this database has
 * not given: a restore of several jobs brings it when it likes, and sequences last. Inside the engine's scope, where there is none.
 */
static bool
is_lost(void)
{
	return kv_sql_read("SELECT FROM kafka_state.pipeline UNION ALL SELECT FROM kafka_state.transaction_batch"
					   " UNION ALL SELECT FROM kafka_state.transaction_outbox o, kafka_state.transaction_outbox_seq_seq s"
					   " WHERE o.seq > s.last_value OR NOT s.is_called", 0, NULL, NULL, NULL, 1) > 0;
}

/*
 * Takes over the identity for this database, optionally under new names in Kafka. What is new to Kafka has nothing
 * published there, so what the notes say is decided.
 */
void
kv_identity_take(bool new_names)
{
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	rebase_transactions();
	if (new_names)
	{
		const Oid	type[] = {TEXTOID};
		Datum		here = CStringGetTextDatum(kv_identity_here());

		/* a publisher that is about to note what it has published under the old name does so now, or sees the new one */
		kv_sql_ddl("LOCK TABLE kafka_state.published IN SHARE ROW EXCLUSIVE MODE");
		kv_sql_run("DELETE FROM kafka_state.identity", 0, NULL, NULL, NULL);
		kv_sql_run("UPDATE kafka_state.pipeline SET token = left(gen_random_uuid()::text, 8), compared = $1", 1, type, &here, NULL);
		/* but what was to be done again is not done again, and is out under the old names only */
		kv_sql_run("UPDATE kafka_state.published n SET decided = true, batch = least(n.batch, p.batch), part = CASE WHEN n.batch > p.batch THEN 0 ELSE n.part END"
				   " FROM kafka_state.pipeline p WHERE p.pipeline = n.pipeline", 0, NULL, NULL, NULL);
		kv_sql_run("DELETE FROM kafka_state.redo", 0, NULL, NULL, NULL);
		kv_sql_run("UPDATE kafka_state.transaction_batch SET token = left(gen_random_uuid()::text, 8), claimed = false", 0, NULL, NULL, NULL);
	}
	else
	{
		const Oid	types[] = {TEXTOID, TEXTOID, OIDOID, TEXTOID};
		Datum		values[] = {
			CStringGetTextDatum(psprintf(UINT64_FORMAT, GetSystemIdentifier())), CStringGetTextDatum(DataDir),
			ObjectIdGetDatum(MyDatabaseId), CStringGetTextDatum(kv_instance)
		};

		if (kv_sql_run("UPDATE kafka_state.identity SET system_identifier = $1, data_directory = $2, database = $3, "
					   "instance = coalesce(nullif($4, ''), instance), adoptions = adoptions + 1", 4, types, values, NULL) == 0 && is_lost())
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot go on as a database of which nothing says who it was"),
					 errdetail("Table kafka_state.identity has no row."),
					 errhint("Restore its row from the dump, or run kafka.fork() to go on under new names.")));
		kv_sql_run("UPDATE kafka_state.pipeline SET compared = '', resumed = resumed + 1", 0, NULL, NULL, NULL);
	}
	kv_sql_leave(&sql);
	kv_identity_ensure();
}

/*
 * Makes the outbox of ordinary transactions this cluster's own. Transaction ids and snapshots of another one mean nothing here,
 * so they are evaluated once, among themselves: the rows of the batch under way get an id that every snapshot shows, what
 * came behind it the id of this transaction, and the batch a snapshot that shows the former alone. The rows that wait behind it get no number here.
 * The original may have published them since, but some of them may be of sessions of this database, which the original has never had, and nothing tells
 * the ones from the others: so they go out, some perhaps again. What others have published up to now is no copy's that was started beside this one.
 */
static void
rebase_transactions(void)
{
	/* a session may be renaming a server, and its rows are to be found here under one name */
	kv_sql_run("SELECT FROM kafka_state.transaction_batch ORDER BY server FOR UPDATE", 0, NULL, NULL, NULL);
	kv_sql_run("UPDATE kafka_state.transaction_outbox o SET xid = CASE WHEN NOT b.published"
			   " AND pg_visible_in_snapshot(o.xid, b.snapshot) AND (b.previous IS NULL OR NOT pg_visible_in_snapshot(o.xid, b.previous))"
			   " THEN '2' ELSE pg_current_xact_id() END"
			   " FROM kafka_state.transaction_batch b WHERE b.server = o.server", 0, NULL, NULL, NULL);
	kv_sql_run("UPDATE kafka_state.transaction_outbox o SET xid = pg_current_xact_id()"
			   " WHERE NOT EXISTS (SELECT FROM kafka_state.transaction_batch b WHERE b.server = o.server)", 0, NULL, NULL, NULL);
	kv_sql_run("UPDATE kafka_state.transaction_batch SET previous = NULL, snapshot = '3:3:', made_in = ''", 0, NULL, NULL, NULL);
}
