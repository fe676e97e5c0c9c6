/*
 * members.c: the definitions that one run of a pipeline works with.
 *
 * Everything is loaded once per run: views in creation order, their statements,
 * the topics they read with the columns they need, the sinks of unstored views. When something of it changes the
 * run ends between two batches and the next one loads it again; nothing is patched.
 *
 * Two signs of change: the signature (rows of the catalog; looked at once a second
 * and after a wake-up) and invalidations of topics and the row types of their columns, the server and its user mappings, definitions and
 * unstored views' sinks. Who lags behind much DDL is told only that anything may have changed; then a digest
 * of the catalog's rows says whether it has, so that work elsewhere in the database does not end all runs. What may be another right of a role than before makes rights to be checked again before the
 * next batch.
 *
 * Statements are texts, which Postgres reads again when a plan of theirs has become invalid, and then finds what has the names now. A view is made of
 * what had them at its creation. So a digest with all names is compared, too, when something changes that has a name in a statement: relations,
 * functions, types, their attributes and labels, operators, collations, schemas; before a batch, and before it commits, for it may have read a text again in between.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "converter.h"
#include "delta.h"
#include "lineage.h"
#include "marks.h"
#include "members.h"
#include "rights.h"
#include "sink_list.h"
#include "sinks.h"
#include "view_options.h"

volatile bool kv_members_invalid = false;

static Pipeline *watched = NULL;
static uint32 server_hash;		/* as invalidations name them */
static uint32 mapping_hash;
static uint32 public_mapping_hash;
static List *named_hashes = NIL;	/* of functions and the like in definitions; in TopMemoryContext */
static List *named_classes = NIL;	/* of relations there that no query reads: row types with attributes, constants of regclass; the same */
static const int named_caches[] = {PROCOID, TYPEOID, OPEROID, COLLOID, TSCONFIGOID, TSDICTOID, ENUMOID, NAMESPACEOID};
static bool anything_changed = false;	/* perhaps: compare */
static bool comparing = false;	/* so it stays after an error: not every one ends the run (attempt.c) */
static volatile bool rights_changed = false;
static bool rights_in_doubt = false;	/* changed, and not all have been checked since */

static void load_views(Pipeline *pipeline, List *rows);
static void need_frontiers_above(Pipeline *pipeline, PipelineView *view);
static void compile_view(Pipeline *pipeline, PipelineView *view);
static void load_topics(Pipeline *pipeline);
static void add_topic(Pipeline *pipeline, const ViewInput *input);
static void load_topic(Pipeline *pipeline, TopicInput *input);
static void order_topics(Pipeline *pipeline);
static void put_before(Pipeline *pipeline, Oid looked_up, const ViewDef *view);
static bool bootstrap_is_done(Pipeline *pipeline);
static char *digest(Pipeline *pipeline);
static List *named_relations(Pipeline *pipeline);
static void watch_named(Pipeline *pipeline);
static int	named_cache(Oid class);
static Datum oid_array(const List *oids);
static void note_relation(Datum arg, Oid relid);
static void note_server(Datum arg, int cache, uint32 hash);
static void note_mapping(Datum arg, int cache, uint32 hash);
static void note_role(Datum arg, int cache, uint32 hash);
static void note_named(Datum arg, int cache, uint32 hash);


/* Loads the definitions of a pipeline; see the header. Runs: in a transaction. Blocks: for locks on definitions. */
Pipeline *
kv_members_load(int64 id, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Pipeline   *pipeline = palloc0(sizeof(Pipeline));
	List	   *rows;

	pipeline->context = context;
	pipeline->batch = AllocSetContextCreate(context, "kv batch", ALLOCSET_DEFAULT_SIZES);
	pipeline->row = kv_pipeline_get(id, true);
	rows = pipeline->row ? kv_view_list(id) : NIL;
	if (rows == NIL)
	{
		MemoryContextSwitchTo(old);
		return NULL;
	}
	load_views(pipeline, rows);
	pipeline->owner = pipeline->views[0].view->owner;
	load_topics(pipeline);
	pipeline->kafka_name = kv_pipeline_kafka_name(pipeline->row);
	pipeline->bootstrap_done = bootstrap_is_done(pipeline);
	MemoryContextSwitchTo(old);
	return pipeline;
}

/* Loads the views; who is read by whom is known before statements are made. */
static void
load_views(Pipeline *pipeline, List *rows)
{
	ListCell   *lc;

	pipeline->views = palloc0(sizeof(PipelineView) * list_length(rows));
	foreach(lc, rows)
	{
		PipelineView *view = &pipeline->views[pipeline->nviews++];

		view->row = lfirst(lc);
		view->view = kv_view_load(view->row->view);
		view->reads = kv_rights_check_view(view->row);
		view->watermark = DT_NOBEGIN;
		view->frontier = view->row->frontier;
		view->next_frontier = view->frontier;
		view->evicted_at = DT_NOBEGIN;
	}
	for (int i = 0; i < pipeline->nviews; i++)
	{
		for (int j = 0; j < pipeline->views[i].view->ninputs; j++)
		{
			ViewInput  *input = &pipeline->views[i].view->inputs[j];

			for (int u = 0; u < i && kv_input_is_view(input); u++)
			{
				if (pipeline->views[u].row->relation == input->relid)
					pipeline->views[u].is_read = true;
			}
		}
	}
	for (int i = 0; i < pipeline->nviews; i++)
	{
		KvSql		role;

		/* planning folds functions of users */
		kv_sql_act_as(&role, pipeline->views[i].view->owner);
		compile_view(pipeline, &pipeline->views[i]);
		kv_sinks_load(pipeline, &pipeline->views[i]);
		kv_sql_act_as_before(&role);
		foreach(lc, pipeline->views[i].sinks)
		{
			TopicDef   *topic = ((ViewSink *) lfirst(lc))->topic;

			for (int j = 0; j < topic->ncolumns; j++)
				pipeline->row_types = kv_row_types(pipeline->row_types, topic->columns[j].type);
		}
	}
	for (int i = pipeline->nviews - 1; i >= 0; i--)
		need_frontiers_above(pipeline, &pipeline->views[i]);
}

/* Has the frontiers of the views that a view reads kept where its own is: after a restart they say how far time had gone. */
static void
need_frontiers_above(Pipeline *pipeline, PipelineView *view)
{
	for (int j = 0; j < view->view->ninputs && view->needs_frontier; j++)
	{
		for (int u = 0; u < pipeline->nviews; u++)
		{
			if (view->view->inputs[j].kind == INPUT_VIEW && pipeline->views[u].row->relation == view->view->inputs[j].relid)
				pipeline->views[u].needs_frontier = true;
		}
	}
}

/* Makes a view's statements and the plans that will keep them prepared. */
static void
compile_view(Pipeline *pipeline, PipelineView *view)
{
	ListCell   *lc;

	view->view->read_by_views = view->is_read;
	view->plan = kv_maintenance(view->view);
	foreach(lc, view->plan->statements)
	{
		MaintenanceStatement *statement = lfirst(lc);

		view->compiled = lappend(view->compiled, kv_maintenance_make_plan(pipeline->context, view->view, statement));
		/* a change that is not told would leave the views over this one as they were, for ever */
		if (view->is_read && statement->writes_view && statement->capture_desc == NULL)
			elog(ERROR, "statement \"%s\" of view %s does not return what it writes", statement->title, view->view->name);
		view->closes |= statement->phase == PHASE_TAKE || statement->phase == PHASE_CLOSE;
		view->evicts |= statement->phase == PHASE_EVICT;
	}
	view->needs_frontier = view->closes || view->view->window != NULL;
	if (view->is_read || view->view->unstored)
	{
		TupleDesc	columns = kv_delta_row_desc(pipeline->context, view->view->result);
		bool		keyed = view->view->shape == SHAPE_KEYED;

		view->row_desc = keyed ? kv_statement_keyed_desc(columns) : columns;
		view->delta_desc = kv_delta_desc(pipeline->context, columns, keyed);
	}
	for (int j = 0; j < view->view->ninputs; j++)
	{
		ViewInput  *input = &view->view->inputs[j];

		if (input->kind != INPUT_STREAM && input->kind != INPUT_VIEW)
			continue;
		if (input->buffer_name != NULL || input->lateness_us != PG_INT64_MAX)
			view->needs_frontier = true;
	}
}

/* Loads the topics that views read, each once. */
static void
load_topics(Pipeline *pipeline)
{
	int			most = 0;

	for (int i = 0; i < pipeline->nviews; i++)
		most += pipeline->views[i].view->ninputs;
	pipeline->topics = palloc0(sizeof(TopicInput) * Max(most, 1));
	for (int i = 0; i < pipeline->nviews; i++)
	{
		for (int j = 0; j < pipeline->views[i].view->ninputs; j++)
			add_topic(pipeline, &pipeline->views[i].view->inputs[j]);
	}
	for (int i = 0; i < pipeline->ntopics; i++)
		load_topic(pipeline, &pipeline->topics[i]);
	order_topics(pipeline);
	kv_marks_set_distances(pipeline);
}

/*
 * Finds out whose records may not come behind whose in a sub-batch, because all of a topic's are applied at once: those of tables
 * not behind those of streams, and those from which a keyed view is made not behind those of the streams that look it up.
 */
static void
order_topics(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int j = 0; pipeline->topics[i].is_table && j < pipeline->ntopics; j++)
			if (!pipeline->topics[j].is_table)
				pipeline->topics[i].not_behind = bms_add_member(pipeline->topics[i].not_behind, j);
	}
	for (int i = 0; i < pipeline->nviews; i++)
	{
		ViewDef    *view = pipeline->views[i].view;

		for (int j = 0; j < view->ninputs && !kv_view_is_table_driven(view); j++)
			if (view->inputs[j].kind == INPUT_KEYED)
				put_before(pipeline, view->inputs[j].relid, view);
	}
}

/* Keeps the streams behind a keyed view before those that drive a view which looks it up. */
static void
put_before(Pipeline *pipeline, Oid looked_up, const ViewDef *view)
{
	List	   *earlier = kv_streams_behind(looked_up);
	List	   *later = NIL;

	for (int i = 0; i < view->ninputs; i++)
		if (kv_input_drives(&view->inputs[i]))
			later = list_concat_unique_oid(later, kv_streams_behind(view->inputs[i].relid));
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		for (int j = 0; list_member_oid(earlier, pipeline->topics[i].topic->relid) && j < pipeline->ntopics; j++)
			if (list_member_oid(later, pipeline->topics[j].topic->relid))
				pipeline->topics[i].not_behind = bms_add_member(pipeline->topics[i].not_behind, j);
	}
}

/* Adds the topic of an input, or to what is known of it. */
static void
add_topic(Pipeline *pipeline, const ViewInput *input)
{
	TopicInput *topic = NULL;

	if (!kv_input_is_topic(input))
		return;
	for (int i = 0; i < pipeline->ntopics; i++)
	{
		if (pipeline->topics[i].topic->relid == input->relid)
			topic = &pipeline->topics[i];
	}
	if (topic == NULL)
	{
		topic = &pipeline->topics[pipeline->ntopics++];
		topic->topic = kv_topic_copy(pipeline->context, kv_topic_get(input->relid));
		topic->watermark = DT_NOBEGIN;
	}
	topic->wanted = bms_add_members(topic->wanted, input->columns);
	if (input->kind == INPUT_STREAM && input->buffer_name != NULL)
		topic->has_buffers = true;
}

/* Makes decoder and row type of a topic. */
static void
load_topic(Pipeline *pipeline, TopicInput *input)
{
	TopicDef   *topic = input->topic;

	if (OidIsValid(pipeline->serverid) && pipeline->serverid != topic->serverid)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pipeline \"%s\" reads topics of two servers", pipeline->row->name),
				 errdetail("Foreign table %s is on server \"%s\".", topic->relation_name, topic->server_name),
				 errhint("Use topics of one server in the views of a pipeline.")));
	/* librdkafka fetches a partition once and for one queue: one of the two would get nothing */
	for (TopicInput *other = pipeline->topics; other < input; other++)
	{
		if (strcmp(other->topic->topic, topic->topic) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("pipeline \"%s\" reads topic \"%s\" by two foreign tables", pipeline->row->name, topic->topic),
					 errdetail("They are %s and %s.", other->topic->relation_name, topic->relation_name),
					 errhint("Use one foreign table for the topic in the views of a pipeline.")));
	}
	pipeline->serverid = topic->serverid;
	input->is_table = topic->mode == MODE_UPSERT;
	for (int i = 0; i < topic->nkeys; i++)
		input->wanted = bms_add_member(input->wanted, topic->columns[topic->keys[i]].attno);
	if (topic->time_attno != 0)
		input->wanted = bms_add_member(input->wanted, topic->time_attno);
	input->decoder = kv_decoder_make(pipeline->context, topic, input->wanted, pipeline->owner);
	input->delta_desc = kv_delta_desc(pipeline->context, topic->desc, input->is_table);
	for (int i = 0; (i = bms_next_member(input->wanted, i)) > 0;)
		pipeline->row_types = kv_row_types(pipeline->row_types, TupleDescAttr(topic->desc, i - 1)->atttypid);
}

/* Tells whether streams may be read: no view waits for the tables it looks up. */
static bool
bootstrap_is_done(Pipeline *pipeline)
{
	for (int i = 0; i < pipeline->nviews; i++)
	{
		PipelineView *view = &pipeline->views[i];

		if (view->row->initialized || kv_view_is_table_driven(view->view) || !kv_view_options_from_array(view->row->options)->bootstrap)
			continue;
		for (int j = 0; j < view->view->ninputs; j++)
		{
			if (kv_input_is_table(&view->view->inputs[j]))
				return false;
		}
	}
	return true;
}

/* Gives what a run depends on as text. Runs: in a transaction. Blocks: no. */
char *
kv_members_signature(int64 id)
{
	PipelineRow *row = kv_catalog_installed() ? kv_pipeline_get(id, true) : NULL;
	StringInfoData signature;
	ListCell   *lc;
	ListCell   *sink;

	initStringInfo(&signature);
	if (row == NULL)
		return signature.data;
	foreach(lc, kv_view_list(id))
	{
		ViewRow    *view = lfirst(lc);

		appendStringInfo(&signature, INT64_FORMAT ":%u:%u ", view->view, view->relation, view->definition);
		foreach(sink, kv_sink_list(view->view))
			appendStringInfo(&signature, ">%u ", lfirst_oid(sink));
	}
	if (signature.len > 0)
		appendStringInfo(&signature, "%s %s", row->token, row->paused ? "paused" : "running");
	return signature.data;
}

/* Watches what the pipeline's definitions are made of. */
void
kv_members_watch(Pipeline *pipeline)
{
	static bool registered = false;

	watched = pipeline;
	kv_members_invalid = false;
	rights_changed = false;
	anything_changed = false;
	comparing = false;
	/* nobody was told of what changed while they were checked one after the other */
	rights_in_doubt = pipeline != NULL;
	if (pipeline != NULL)
	{
		server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(pipeline->serverid));
		mapping_hash = GetSysCacheHashValue2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(pipeline->owner), ObjectIdGetDatum(pipeline->serverid));
		public_mapping_hash = GetSysCacheHashValue2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(pipeline->serverid));
		watch_named(pipeline);
		pipeline->definitions = MemoryContextStrdup(pipeline->context, digest(pipeline));
	}
	if (registered)
		return;
	CacheRegisterRelcacheCallback(note_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, note_server, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGUSERSERVER, note_mapping, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, note_role, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, note_role, (Datum) 0);
	for (int i = 0; i < lengthof(named_caches); i++)
		CacheRegisterSyscacheCallback(named_caches[i], note_named, (Datum) 0);
	registered = true;
}

/* Finds out how invalidations name what the definitions name besides relations. Those of other caches may be named alike: that costs a comparison. */
static void
watch_named(Pipeline *pipeline)
{
	static const char text[] =
		"SELECT DISTINCT d.refclassid, d.refobjid FROM pg_catalog.pg_rewrite r"
		" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid"
		" WHERE r.ev_class = ANY ($1)";
	const Oid	types[] = {OIDARRAYOID};
	List	   *relations = named_relations(pipeline);
	Datum		values[1];
	uint64		count;
	MemoryContext old;
	KvSql		sql;

	for (int i = 0; i < pipeline->nviews; i++)
		relations = lappend_oid(relations, pipeline->views[i].row->definition);
	values[0] = oid_array(relations);
	list_free(named_hashes);
	list_free(named_classes);
	named_hashes = named_classes = NIL;
	kv_sql_enter_engine(&sql);
	count = kv_sql_read(text, 1, types, values, NULL, 0);
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		Oid			class = DatumGetObjectId(kv_sql_value(i, 1, &isnull));
		Datum		object = kv_sql_value(i, 2, &isnull);
		int			cache = named_cache(class);

		old = MemoryContextSwitchTo(TopMemoryContext);
		if (class == RelationRelationId)
			named_classes = lappend_oid(named_classes, DatumGetObjectId(object));
		else if (cache >= 0)
			named_hashes = lappend_int(named_hashes, (int) GetSysCacheHashValue1(cache, object));
		MemoryContextSwitchTo(old);
	}
	kv_sql_leave(&sql);
}

/* Gives the cache whose invalidations name objects of a catalog; -1: none. Labels of enums, which have names too, are none that anything depends on. */
static int
named_cache(Oid class)
{
	return class == ProcedureRelationId ? PROCOID : class == TypeRelationId ? TYPEOID : class == OperatorRelationId ? OPEROID :
		class == CollationRelationId ? COLLOID : class == TSConfigRelationId ? TSCONFIGOID : class == TSDictionaryRelationId ? TSDICTOID : -1;
}

/* Gives the relations that statements of the pipeline name. */
static List *
named_relations(Pipeline *pipeline)
{
	List	   *relations = NIL;

	for (int i = 0; i < pipeline->nviews; i++)
	{
		relations = list_append_unique_oid(relations, pipeline->views[i].row->relation);
		relations = list_concat_unique_oid(relations, pipeline->views[i].reads);
	}
	return relations;
}

static Datum
oid_array(const List *oids)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(oids), 1));
	ListCell   *lc;

	foreach(lc, oids)
		elements[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	return PointerGetDatum(construct_array(elements, list_length(oids), OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

/*
 * Gives a digest of the catalog's rows of topics, definitions, sinks, the server and the user mappings that may be used, and of the names of
 * all that statements name: a definition as a text has those of functions and the like.
 * Only what somebody wrote on purpose is in it, nothing that VACUUM or ANALYZE write.
 */
static char *
digest(Pipeline *pipeline)
{
	static const char text[] =
		"SELECT pg_catalog.md5(pg_catalog.concat("
		" (SELECT pg_catalog.string_agg(ROW(c.oid, c.relname, c.relnamespace, c.relowner, c.relacl, f.ftserver, f.ftoptions)::text, ' ' ORDER BY c.oid)"
		"  FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid WHERE c.oid = ANY ($1)),"
		" (SELECT pg_catalog.string_agg(ROW(a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull,"
		"  a.attisdropped, a.attfdwoptions)::text, ' ' ORDER BY a.attrelid, a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1)),"
		" (SELECT pg_catalog.string_agg(r.ev_action::text, ' ' ORDER BY r.oid) FROM pg_catalog.pg_rewrite r WHERE r.ev_class = ANY ($1)),"
		" (SELECT ROW(s.srvname, s.srvowner, s.srvacl, s.srvoptions)::text FROM pg_catalog.pg_foreign_server s WHERE s.oid = $2),"
		" (SELECT pg_catalog.string_agg(ROW(m.umuser, m.umoptions)::text, ' ' ORDER BY m.umuser)"
		"  FROM pg_catalog.pg_user_mapping m WHERE m.umserver = $2 AND m.umuser IN (0, $3)),"
		" (SELECT pg_catalog.string_agg(ROW(c.oid, n.nspname, c.relname, CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END)::text, ' ' ORDER BY c.oid)"
		"  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($4))))";
	const Oid	types[] = {OIDARRAYOID, OIDOID, OIDOID, OIDARRAYOID};
	Datum		values[4];
	List	   *relations = NIL;
	List	   *named = named_relations(pipeline);
	ListCell   *lc;
	char	   *rows;
	KvSql		sql;

	relations = list_copy(pipeline->row_types);
	for (int i = 0; i < pipeline->ntopics; i++)
		relations = lappend_oid(relations, pipeline->topics[i].topic->relid);
	for (int i = 0; i < pipeline->nviews; i++)
	{
		relations = lappend_oid(relations, pipeline->views[i].row->definition);
		named = lappend_oid(named, pipeline->views[i].row->definition);
		foreach(lc, pipeline->views[i].sinks)
			relations = lappend_oid(relations, ((ViewSink *) lfirst(lc))->topic->relid);
	}
	values[0] = oid_array(relations);
	values[1] = ObjectIdGetDatum(pipeline->serverid);
	values[2] = ObjectIdGetDatum(pipeline->owner);
	values[3] = oid_array(named);
	kv_sql_enter_engine(&sql);
	kv_sql_read(text, 4, types, values, NULL, 1);
	rows = kv_sql_text(0, 1);
	kv_sql_leave(&sql);
	return psprintf("%s %s", rows, kv_members_signature(pipeline->row->pipeline));
}

/* See the header. What is noted while it compares is for the next time. */
bool
kv_members_changed(Pipeline *pipeline)
{
	bool		own_transaction = !IsTransactionState();

	if (kv_members_invalid || !(anything_changed || comparing))
		return kv_members_invalid;
	comparing = true;
	anything_changed = false;
	if (own_transaction)
		StartTransactionCommand();
	if (strcmp(digest(pipeline), pipeline->definitions) != 0)
		kv_members_invalid = true;
	comparing = false;
	if (own_transaction)
	{
		CommitTransactionCommand();
		MemoryContextSwitchTo(pipeline->context);
	}
	return kv_members_invalid;
}

/* See the header. */
void
kv_members_check(Pipeline *pipeline)
{
	AcceptInvalidationMessages();
	if (kv_members_changed(pipeline))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("definitions of pipeline \"%s\" have changed", pipeline->row->name),
				 errdetail("The batch is run again with the new ones.")));
}

/* Is told of changed relations; relid 0: any may have. */
static void
note_relation(Datum arg, Oid relid)
{
	if (watched == NULL)
		return;
	if (!OidIsValid(relid))
		anything_changed = rights_changed = true;
	for (int i = 0; i < watched->ntopics; i++)
	{
		if (watched->topics[i].topic->relid == relid)
			kv_members_invalid = true;
	}
	if (list_member_oid(watched->row_types, relid))
		kv_members_invalid = true;
	if (list_member_oid(named_classes, relid))
		anything_changed = true;
	for (int i = 0; i < watched->nviews; i++)
	{
		ListCell   *sink;

		if (watched->views[i].row->definition == relid)
			kv_members_invalid = true;
		if (watched->views[i].row->relation == relid)
			anything_changed = true;
		if (list_member_oid(watched->views[i].reads, relid))
			anything_changed = rights_changed = true;
		foreach(sink, watched->views[i].sinks)
		{
			if (((ViewSink *) lfirst(sink))->topic->relid == relid)
				kv_members_invalid = true;
		}
	}
}

/* Is told of changed servers; hash 0: any may have. */
static void
note_server(Datum arg, int cache, uint32 hash)
{
	if (hash == 0)
		anything_changed = true;
	else if (watched != NULL && hash == server_hash)
		kv_members_invalid = true;
}

/* Is told of changed user mappings: the owner's counts, and everybody's. */
static void
note_mapping(Datum arg, int cache, uint32 hash)
{
	if (hash == 0)
		anything_changed = true;
	else if (watched != NULL && (hash == mapping_hash || hash == public_mapping_hash))
		kv_members_invalid = true;
}

static void
note_role(Datum arg, int cache, uint32 hash)
{
	rights_changed = true;
}

/* Is told of changed functions and the like, and of schemas and labels of enums, any of which may be of something of ours. */
static void
note_named(Datum arg, int cache, uint32 hash)
{
	if (hash == 0 || cache == NAMESPACEOID || cache == ENUMOID || list_member_int(named_hashes, (int) hash))
		anything_changed = true;
}

/* Checks the rights of the views' owners again; see the header. After an error they stay in doubt. */
void
kv_members_check_rights(Pipeline *pipeline)
{
	if (!rights_changed && !rights_in_doubt)
		return;
	rights_in_doubt = true;
	rights_changed = false;
	for (int i = 0; i < pipeline->nviews; i++)
	{
		(void) kv_rights_check_view(pipeline->views[i].row);
		kv_sinks_check(&pipeline->views[i]);
	}
	rights_in_doubt = false;
}
