/*
 * view_objects.c: the relations a continuous view consists of.
 *
 *	result table	where the user said; made as the user, so that his rights,
 *					default privileges and tablespaces count
 *	unstored view	the same place, made the same way: a real view with the defining
 *					query, which needs no definition_N beside it
 *	definition_N	real view with the defining query        \
 *	buffer_N_i, lookup_N_i, rows_N_i, groups_N, distinct_N_i,  | in kafka_state; made by the engine, owned by the user
 *	session_rows_N (maintenance.c)                            /
 *
 * Invariant: what is in kafka_state lives and dies with the result table or unstored view: an internal
 * dependency takes it along when that is dropped, and takes the table along
 * when a topic under the definition is dropped with CASCADE. pg_dump knows no
 * internal dependencies; kafka.adopt and kafka.fork make them again (kv_bind_view).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"

#include "maintenance.h"
#include "retention.h"
#include "run_sql.h"
#include "spell_out.h"
#include "view_objects.h"
#include "view_relations.h"

#define KEYED_FILLFACTOR 80		/* leaves room for HOT updates of groups (ENGINEERING.md) */

static char *column_names(Query *query);
static char *column_definitions(TupleDesc desc);
static char *key_constraint(ViewDef *view);
static char *storage_clauses(NewView *new, bool keyed);
static void add_option(StringInfo text, DefElem *option);
static void guard_state(const char *qualified_name);
static Oid	named_relation(const char *qualified_name);
static void bind_made(ViewDef *view);
static void bind_named(Oid relid, const char *qualified_name);


/* Makes the view with the defining query, still owned by the engine. */
void
kv_make_definition(NewView *new)
{
	char	   *name = psprintf("definition_" INT64_FORMAT, new->id);
	KvSql		sql;

	/* deparsed where nothing but pg_catalog is visible, so every other name comes out qualified, and operators without one are spelled out */
	kv_sql_enter_engine(&sql);
	kv_sql_ddl("CREATE VIEW kafka_state.%s (%s) AS %s", name, column_names(new->query),
			   pg_get_querydef(kv_spell_out(new->query), false));
	kv_sql_leave(&sql);
	new->definition = get_relname_relid(name, get_namespace_oid(KV_STATE_SCHEMA, false));
}

/* Makes an unstored view as the user: the real view with the defining query is the view itself. */
void
kv_make_unstored(NewView *new)
{
	KvSql		sql;

	kv_sql_enter_role(&sql, new->owner, NULL);
	kv_sql_ddl("CREATE VIEW %s (%s)%s AS %s", new->qualified, column_names(new->query), storage_clauses(new, false),
			   pg_get_querydef(kv_spell_out(new->query), false));
	/* or a view of one topic would hand them on to that */
	kv_sql_ddl("CREATE TRIGGER " KV_REFUSE_TRIGGER " INSTEAD OF INSERT OR UPDATE OR DELETE ON %s "
			   "FOR EACH ROW EXECUTE FUNCTION kafka_state.refuse_write()", new->qualified);
	kv_sql_leave(&sql);
	new->relid = new->definition = get_relname_relid(new->name, get_namespace_oid(new->schema, false));
}

/* Lists the names of a query's columns. */
static char *
column_names(Query *query)
{
	StringInfoData names;
	ListCell   *cell;

	initStringInfo(&names);
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (!entry->resjunk)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", quote_identifier(entry->resname));
	}
	return names.data;
}

/* Makes the result table as the user, and binds the definition to it. */
void
kv_make_result_table(NewView *new, ViewDef *view)
{
	KvSql		sql;

	kv_sql_enter_role(&sql, new->owner, NULL);
	kv_sql_ddl("CREATE TABLE %s (%s%s)%s", new->qualified, column_definitions(view->result), key_constraint(view),
			   storage_clauses(new, view->shape == SHAPE_KEYED));
	/* its key may be null, so that no index of it would do for a publication */
	kv_sql_ddl("ALTER TABLE %s REPLICA IDENTITY FULL", new->qualified);
	kv_sql_ddl("CREATE TRIGGER " KV_REFUSE_TRIGGER " BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s "
			   "FOR EACH STATEMENT EXECUTE FUNCTION kafka_state.refuse_write()", new->qualified);
	if (view->retention_us >= 0 && kv_retention_index(view))
		kv_sql_ddl("CREATE INDEX ON %s (%s)", new->qualified, kv_retention_index(view));
	kv_sql_leave(&sql);

	new->relid = get_relname_relid(new->name, get_namespace_oid(new->schema, false));
	kv_view_adopt_relation(new->relid, new->definition);
}

/* Makes what the maintenance statements of the stored definition need. */
void
kv_make_buffers(NewView *new)
{
	ViewDef    *view = kv_view_load(new->id);
	ListCell   *cell;
	KvSql		sql;

	kv_sql_enter_engine(&sql);
	foreach(cell, kv_maintenance_tables(view))
	{
		kv_sql_ddl("%s", (char *) lfirst(cell));
		/* at once: an index folds its expressions as the owner of its table */
		bind_made(view);
	}
	foreach(cell, kv_maintenance_relations(view))
		guard_state(lfirst(cell));
	kv_sql_leave(&sql);
	kv_bind_view(view);

	kv_sql_enter_role(&sql, new->owner, new->settings);
	PG_TRY();
	{
		kv_maintaining = true;
		foreach(cell, kv_maintenance_first_rows(view))
			kv_sql_ddl("%s", (char *) lfirst(cell));
	}
	PG_FINALLY();
	{
		kv_maintaining = false;
	}
	PG_END_TRY();
	kv_sql_leave(&sql);
}

/* Refuses direct writes to a table that holds state, and lets a publication FOR ALL TABLES have it without stopping the engine's. */
static void
guard_state(const char *qualified_name)
{
	kv_sql_ddl("ALTER TABLE %s REPLICA IDENTITY FULL", qualified_name);
	kv_sql_ddl("CREATE TRIGGER " KV_REFUSE_TRIGGER " BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s "
			   "FOR EACH STATEMENT EXECUTE FUNCTION kafka_state.refuse_write()", qualified_name);
}

/* Does what kv_bind_view does for the tables that are there by now. */
static void
bind_made(ViewDef *view)
{
	ListCell   *cell;

	foreach(cell, kv_maintenance_relations(view))
	{
		List	   *name = stringToQualifiedNameList(lfirst(cell));

		if (OidIsValid(RangeVarGetRelid(makeRangeVarFromNameList(name), NoLock, true)))
			bind_named(view->relid, lfirst(cell));
	}
}

/* Makes the buffers, copies and companion of a view live and die with it, for its owner. */
void
kv_bind_view(ViewDef *view)
{
	ListCell   *cell;

	if (!view->unstored)
		bind_named(view->relid, psprintf("kafka_state.definition_" INT64_FORMAT, view->id));
	foreach(cell, kv_maintenance_relations(view))
		bind_named(view->relid, lfirst(cell));
}

static Oid
named_relation(const char *qualified_name)
{
	return RangeVarGetRelid(makeRangeVarFromNameList(stringToQualifiedNameList(qualified_name)), NoLock, false);
}

/* Binds one relation unless it is bound. */
static void
bind_named(Oid relid, const char *qualified_name)
{
	Oid			relation = named_relation(qualified_name);

	if (!list_member_oid(kv_view_relations(relid), relation))
		kv_view_adopt_relation(relid, relation);
}

/* Lists columns with types and collations, for the role scope's search_path. */
static char *
column_definitions(TupleDesc desc)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		appendStringInfo(&text, "%s%s %s", i > 0 ? ", " : "", quote_identifier(NameStr(column->attname)),
						 format_type_extended(column->atttypid, column->atttypmod,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		if (OidIsValid(column->attcollation) && column->attcollation != get_typcollation(column->atttypid))
			appendStringInfo(&text, " COLLATE %s", generate_collation_name(column->attcollation));
	}
	return text.data;
}

/* Gives the unique constraint of a keyed view: a constraint, so that nobody drops its index unseen. */
static char *
key_constraint(ViewDef *view)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, view->keys)
	{
		Form_pg_attribute column = TupleDescAttr(view->result, lfirst_int(cell) - 1);

		appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : ", UNIQUE NULLS NOT DISTINCT (",
						 quote_identifier(NameStr(column->attname)));
	}
	if (view->keys != NIL)
		appendStringInfoChar(&text, ')');
	return text.data;
}

/* Gives USING, WITH and TABLESPACE as the statement has them. */
static char *
storage_clauses(NewView *new, bool keyed)
{
	StringInfoData text;
	StringInfoData options;
	bool		has_fillfactor = false;
	ListCell   *cell;

	initStringInfo(&text);
	initStringInfo(&options);
	foreach(cell, new->table_options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		has_fillfactor |= option->defnamespace == NULL && strcmp(option->defname, "fillfactor") == 0;
		add_option(&options, option);
	}
	if (keyed && !has_fillfactor)
		appendStringInfo(&options, "%sfillfactor = %d", options.len > 0 ? ", " : "", KEYED_FILLFACTOR);

	if (new->into->accessMethod != NULL)
		appendStringInfo(&text, " USING %s", quote_identifier(new->into->accessMethod));
	if (options.len > 0)
		appendStringInfo(&text, " WITH (%s)", options.data);
	if (new->into->tableSpaceName != NULL)
		appendStringInfo(&text, " TABLESPACE %s", quote_identifier(new->into->tableSpaceName));
	return text.data;
}

static void
add_option(StringInfo text, DefElem *option)
{
	if (text->len > 0)
		appendStringInfoString(text, ", ");
	if (option->defnamespace != NULL)
		appendStringInfo(text, "%s.", quote_identifier(option->defnamespace));
	appendStringInfoString(text, quote_identifier(option->defname));
	if (option->arg != NULL)
		appendStringInfo(text, " = %s", quote_literal_cstr(defGetString(option)));
}
