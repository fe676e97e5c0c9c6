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

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "identity.h"
#include "run_sql.h"


/* Gives the prefix of every name in Kafka: kafka.instance, or the stored one, or the system identifier. */
char *
kv_instance_name(void)
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
		"INSERT INTO kafka_state.identity (instance, system_identifier, data_directory, database) "
		"VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
	const Oid	types[] = {TEXTOID, TEXTOID, TEXTOID, OIDOID};
	Datum		values[4];
	KvSql		sql;

	values[0] = CStringGetTextDatum(kv_instance_name());
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
	instance = kv_instance_name();
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
	kv_sql_leave(&sql);
	return *reason == NULL;
}

/* Takes over the identity for this database, optionally under new names in Kafka. */
void
kv_identity_take(bool new_tokens)
{
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	if (new_tokens)
	{
		kv_sql_run("DELETE FROM kafka_state.identity", 0, NULL, NULL, NULL);
		kv_sql_run("UPDATE kafka_state.pipeline SET token = left(gen_random_uuid()::text, 8)", 0, NULL, NULL, NULL);
		kv_sql_run("UPDATE kafka_state.transaction_batch SET token = left(gen_random_uuid()::text, 8)", 0, NULL, NULL, NULL);
	}
	else
	{
		const Oid	types[] = {TEXTOID, TEXTOID, OIDOID, TEXTOID};
		Datum		values[] = {
			CStringGetTextDatum(psprintf(UINT64_FORMAT, GetSystemIdentifier())), CStringGetTextDatum(DataDir),
			ObjectIdGetDatum(MyDatabaseId), CStringGetTextDatum(kv_instance)
		};

		kv_sql_run("UPDATE kafka_state.identity SET system_identifier = $1, data_directory = $2, database = $3, "
				   "instance = coalesce(nullif($4, ''), instance)", 4, types, values, NULL);
	}
	kv_sql_leave(&sql);
	kv_identity_ensure();
}
