/*
 * create_view.c: CREATE MATERIALIZED VIEW and CREATE VIEW ... WITH (kafka.continuous) from
 * the analysed statement to committed rows of kafka_state.
 *
 * Invariants: no broker is asked, so a view can be created while it is down. What
 * the user makes, he makes with his own rights (schema, result table,
 * reading the inputs); what the engine adds in kafka_state is made by the
 * engine and given to him. Nothing starts before the transaction commits.
 *
 * The definition is kept as text turned into a real view: names in it follow
 * renames, and dependencies and pg_dump work without help of ours. The
 * maintenance statements are always compiled from that view, here too, so that what
 * works at creation works in the worker.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "catalog.h"
#include "ddl.h"
#include "default_bound.h"
#include "fault_point.h"
#include "outbox.h"
#include "refuse.h"
#include "rights.h"
#include "run_sql.h"
#include "shared.h"
#include "view_objects.h"
#include "view_relations.h"

/* Pipelines that this transaction made: only those may take in more views by name. */
static TransactionId made_in;
static List *made_pipelines = NIL;	/* of int64 *, in TopTransactionContext */

static void check_installed(void);
static bool find_name(NewView *new, bool if_not_exists, Oid *existing);
static void apply_column_names(NewView *new);
static Refusal *refuse_unstored(ViewDef *view);
static int	group_location(Query *groups);
static List *add_bounds(NewView *new);
static PipelineRow *choose_pipeline(NewView *new, ViewDef *view);
static int64 pipeline_of_views(NewView *new, ViewDef *view);
static void check_first_rows(NewView *new, ViewRow *upper);
static PipelineRow *join_pipeline(NewView *new, ViewDef *view, int64 pipeline);
static void check_start(NewView *new, ViewDef *view, List *members);
static Oid	server_of_topics(NewView *new, ViewDef *view);
static PipelineRow *make_pipeline(NewView *new);
static bool was_made_here(int64 pipeline);
static Oid	server_of_pipeline(int64 pipeline);
static void check_topics_differ(NewView *new);


/*
 * Creates a continuous view and gives its result table, or itself where it is unstored. query is the analysed
 * query of the statement, before rewriting. Raises an error for everything that
 * cannot be maintained.
 */
Oid
kv_create_view(IntoClause *into, Query *query, const char *source_text, bool if_not_exists, bool stored)
{
	NewView		new = {.into = into, .stored = stored, .query = copyObject(query), .owner = GetUserId()};
	Refusal    *refusal = NULL;
	ViewDef    *view;
	List	   *bounds;
	ListCell   *cell;
	Oid			existing;

	check_installed();
	if (find_name(&new, if_not_exists, &existing))
		return existing;
	new.options = kv_view_options_from_list(into->options, new.name, &new.given, &new.table_options);
	new.settings = kv_capture_settings();
	apply_column_names(&new);
	bounds = add_bounds(&new);

	view = kv_analyze(copyObject(new.query), new.options, &refusal);
	if (view != NULL && !stored)
		refusal = refuse_unstored(view);
	if (refusal != NULL)
		kv_refuse(refusal, new.name, source_text);
	foreach(cell, bounds)
		ereport(NOTICE,
				(errmsg("continuous view \"%s\" joins streams on one more condition: %s", new.name, (char *) lfirst(cell)),
				 errdetail("It follows from %s and is part of the view's query.", new.options->bound_given ? "its option kafka.bound" : "kafka.default_bound")));
	(void) kv_rights_check(new.query);
	new.pipeline = choose_pipeline(&new, view);
	KV_FAULT_POINT("create_pipeline_chosen");

	new.id = kv_view_reserve_id();
	if (stored)
	{
		kv_make_definition(&new);
		kv_make_result_table(&new, view);
	}
	else
		kv_make_unstored(&new);
	KV_FAULT_POINT("create_relation_made");
	kv_view_insert(new.id, new.pipeline->pipeline, new.relid, new.definition, new.given, new.settings, false);
	KV_FAULT_POINT("create_row_inserted");
	CommandCounterIncrement();
	check_topics_differ(&new);
	kv_make_buffers(&new);
	KV_FAULT_POINT("create_buffers_made");
	kv_pipeline_wake(new.pipeline->pipeline);
	return new.relid;
}

/* Raises an error where the extension or its processes are missing. */
static void
check_installed(void)
{
	if (!kv_catalog_installed())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in this database", KV_EXTENSION),
				 errhint("Run CREATE EXTENSION %s.", KV_EXTENSION)));
}

/* Resolves the name; true: the relation exists and that is all right (IF NOT EXISTS). */
static bool
find_name(NewView *new, bool if_not_exists, Oid *existing)
{
	RangeVar   *name = new->into->rel;
	Oid			namespace = RangeVarGetAndCheckCreationNamespace(name, NoLock, existing);

	new->name = name->relname;
	new->schema = get_namespace_name(namespace);
	new->qualified = quote_qualified_identifier(new->schema, new->name);
	if (name->relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot be temporary or unlogged", new->name),
				 errdetail("Its rows and its positions in the topics must survive together."),
				 errhint("Leave TEMPORARY or UNLOGGED out, and name no temporary schema.")));
	if (!OidIsValid(*existing))
		return false;
	ereport(if_not_exists ? NOTICE : ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 if_not_exists ? errmsg("relation \"%s\" already exists, skipping", new->name) :
			 errmsg("relation \"%s\" already exists", new->name)));
	return true;
}

/* Gives the query's columns the names of the statement's column list. */
static void
apply_column_names(NewView *new)
{
	ListCell   *name = list_head(new->into->colNames);
	ListCell   *cell;

	foreach(cell, new->query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (entry->resjunk || name == NULL)
			continue;
		entry->resname = pstrdup(strVal(lfirst(name)));
		name = lnext(new->into->colNames, name);
	}
	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("too many column names were specified")));
}

/* Refuses an analysed view that only a table could hold. */
static Refusal *
refuse_unstored(ViewDef *view)
{
	if (view->retention_us >= 0)
		return kv_refusal(-1, "continuous view \"%s\" cannot have the option kafka.retention",
						  "Its rows are not stored.", "Leave the option out, or use CREATE MATERIALIZED VIEW ... WITH (kafka.continuous).");
	if (view->shape == SHAPE_APPEND && view->groups == NULL)
		return NULL;
	if (view->groups == NULL)
		return kv_refusal(-1, "continuous view \"%s\" must be stored, because its rows change",
						  "It reads tables only, whose rows change and go, and only a stored row can be changed.",
						  "Use CREATE MATERIALIZED VIEW ... WITH (kafka.continuous).");
	return kv_refusal(group_location(view->groups),
					  view->final ? "continuous view \"%s\" must be stored, because it aggregates" :
					  "continuous view \"%s\" must be stored, because its rows change",
					  view->final ? "This version stores what closed windows give." :
					  "The row of a group changes with each of its records, and only a stored row can be changed.",
					  "Use CREATE MATERIALIZED VIEW ... WITH (kafka.continuous).");
}

/* Gives the place of the first GROUP BY expression or else column of a group layer, -1: unknown. */
static int
group_location(Query *groups)
{
	if (groups->groupClause != NIL)
		return exprLocation(get_sortgroupclause_expr(linitial(groups->groupClause), groups->targetList));
	return exprLocation((Node *) linitial_node(TargetEntry, groups->targetList)->expr);
}

/* Adds the time bounds between streams that the query leaves out, if the view has one for that; gives them as text. */
static List *
add_bounds(NewView *new)
{
	bool		hidden = false;
	List	   *added = NIL;
	Refusal    *refusal;

	/* nothing is added to what can be maintained as it is */
	if (new->options->bound_us >= 0 && kv_analyze(copyObject(new->query), new->options, &refusal) == NULL)
		added = kv_default_bound(new->query, new->options->bound_us, &hidden);
	if (added == NIL && new->options->bound_given && hidden)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot have the option kafka.bound", new->name),
				 errdetail("Conditions on what a subquery, WITH query or view gives may bound its streams already, which is not known before that is taken apart."),
				 errhint("Leave the option out, and write conditions on the event times where they are missing.")));
	if (added == NIL && new->options->bound_given)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot have the option kafka.bound", new->name),
				 errdetail("It has no two streams in one FROM, with event times of one type, that are not bound already. (An outer join that says USING has no place for a condition.)"),
				 errhint("Leave the option out, and write conditions on the event times where they are missing.")));
	return added;
}

/* ------------------------------------------------------------------ which pipeline */

/* Finds or makes the pipeline that will maintain the view. */
static PipelineRow *
choose_pipeline(NewView *new, ViewDef *view)
{
	int64		of_views = pipeline_of_views(new, view);
	PipelineRow *existing = NULL;

	if (of_views != 0)
		return join_pipeline(new, view, of_views);

	new->server = server_of_topics(new, view);
	if (new->options->pipeline != NULL)
		existing = kv_pipeline_by_name(new->options->pipeline, true);
	if (existing == NULL)
		return make_pipeline(new);
	if (!was_made_here(existing->pipeline))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" cannot join pipeline \"%s\"", new->name, existing->name),
				 errdetail("The pipeline is at work already: its topics are read beyond what the view would need."),
				 errhint("Create the views of a shared pipeline in one transaction, or give this one a pipeline of its own.")));
	if (server_of_pipeline(existing->pipeline) != new->server)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot join pipeline \"%s\"", new->name, existing->name),
				 errdetail("A pipeline reads one server, and this one reads another."),
				 errhint("Give the view a pipeline of its own.")));
	return join_pipeline(new, view, existing->pipeline);
}

/* Gives the pipeline of the continuous views among the inputs, 0 without; raises an error where there are several. */
static int64
pipeline_of_views(NewView *new, ViewDef *view)
{
	int64		pipeline = 0;
	bool		topics = false;

	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];
		ViewRow    *row;

		if (!kv_input_is_view(input))
		{
			topics |= kv_input_is_topic(input);
			continue;
		}
		row = kv_view_by_relation(input->relid, false);
		check_first_rows(new, row);
		if (pipeline != 0 && pipeline != row->pipeline)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("continuous view \"%s\" cannot read views of two pipelines", new->name),
					 errdetail("Their batches commit at different times, so no batch would see both as they belong together."),
					 errhint("Create the views it reads in one transaction with the same kafka.pipeline.")));
		pipeline = row->pipeline;
	}
	if (pipeline != 0 && topics && !was_made_here(pipeline))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot read a topic and a view that is at work", new->name),
				 errdetail("A view over views is maintained by their pipeline, which has read topics beyond what the view would need."),
				 errhint("Create both views in one transaction.")));
	if (pipeline != 0 && topics && server_of_pipeline(pipeline) != server_of_topics(new, view))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot read a topic and a view of topics of another server", new->name),
				 errdetail("A pipeline reads one server."),
				 errhint("Mirror the topic into the other cluster.")));
	return pipeline;
}

/* Refuses a view over an unstored one whose rows so far nobody can tell any more. */
static void
check_first_rows(NewView *new, ViewRow *upper)
{
	char	   *name = get_rel_name(upper->relation);
	ViewDef    *view;

	if (upper->relation != upper->definition || was_made_here(upper->pipeline))
		return;
	view = kv_view_load(upper->view);
	if (view->has_oracle && !view->reads_expiring)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("continuous view \"%s\" cannot read \"%s\", whose earlier rows are not stored", new->name, name),
			 view->has_oracle ? errdetail("A view that \"%s\" reads, or one above that, removes rows that are old.", name) :
			 errdetail("\"%s\" has looked up rows of a table as they were when each record arrived; its query sees them as they are now.", name),
			 errhint("Create both views in one transaction, or make the first a materialized view.")));
}

/* Checks that the view can be a member of a pipeline that exists. */
static PipelineRow *
join_pipeline(NewView *new, ViewDef *view, int64 pipeline)
{
	PipelineRow *row = kv_pipeline_get(pipeline, false);
	ViewRow    *member;
	List	   *members = kv_view_list(pipeline);

	if (new->options->pipeline != NULL && strcmp(new->options->pipeline, row->name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("continuous view \"%s\" belongs to pipeline \"%s\", not to \"%s\"",
						new->name, row->name, new->options->pipeline),
				 errdetail("A view over continuous views is maintained by their pipeline."),
				 errhint("Leave the option kafka.pipeline out.")));
	if (new->into->skipData && !was_made_here(pipeline))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("continuous view \"%s\" cannot be created paused", new->name),
				 errdetail("It is maintained by pipeline \"%s\", which other views need.", row->name),
				 errhint("Leave WITH NO DATA out.")));
	if (new->into->skipData)
		kv_pipeline_set_paused(pipeline, true);
	if (members == NIL)
		return row;
	member = linitial(members);
	if (kv_relation_owner(member->relation) != new->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("continuous view \"%s\" cannot join pipeline \"%s\" of another owner", new->name, row->name),
				 errdetail("A pipeline has one owner, as whom it connects to Kafka."),
				 errhint("Run SET ROLE %s first.",
						 quote_identifier(GetUserNameFromId(kv_relation_owner(member->relation), false)))));
	check_start(new, view, members);
	return row;
}

/* Refuses another start than that of a view which reads the same stream: a pipeline has one position in each partition. */
static void
check_start(NewView *new, ViewDef *view, List *members)
{
	ListCell   *cell;

	foreach(cell, members)
	{
		ViewRow    *row = lfirst(cell);
		char	   *start = kv_view_options_from_array(row->options)->start;
		ViewDef    *member;

		if (start == new->options->start || (start && new->options->start && strcmp(start, new->options->start) == 0))
			continue;
		member = kv_view_load(row->view);
		for (int i = 0; i < view->ninputs; i++)
			for (int j = 0; j < member->ninputs; j++)
				if (view->inputs[i].kind == INPUT_STREAM && view->inputs[i].relid == member->inputs[j].relid)
					ereport(ERROR,
							(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							 errmsg("continuous view \"%s\" cannot begin elsewhere in topic \"%s\" than view \"%s\"",
									new->name, get_rel_name(view->inputs[i].relid), member->name),
							 errdetail("They have one pipeline, which reads the topic once."),
							 errhint("Give both the same kafka.start, or each a pipeline of its own.")));
	}
}

/* Gives the server of the topics among the inputs; raises an error where there are several. */
static Oid
server_of_topics(NewView *new, ViewDef *view)
{
	Oid			server = InvalidOid;

	for (int i = 0; i < view->ninputs; i++)
	{
		TopicDef   *topic;

		if (!kv_input_is_topic(&view->inputs[i]))
			continue;
		topic = kv_topic_get(view->inputs[i].relid);
		if (OidIsValid(server) && server != topic->serverid)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("continuous view \"%s\" cannot read topics of two servers", new->name),
					 errdetail("Positions in both could not be committed to Kafka in one transaction."),
					 errhint("Mirror one topic into the other cluster.")));
		server = topic->serverid;
	}
	return server;
}

/* Makes a pipeline with the given name, or the view's name, or its qualified name where that is taken. */
static PipelineRow *
make_pipeline(NewView *new)
{
	char	   *name = new->options->pipeline;
	PipelineRow *pipeline;
	MemoryContext old;
	int64	   *made;

	if (name == NULL)
	{
		name = new->name;
		if (kv_pipeline_by_name(name, true) != NULL)
			name = new->qualified;
	}
	pipeline = kv_pipeline_insert(name);
	kv_outbox_create(pipeline->pipeline);
	if (new->into->skipData)
		kv_pipeline_set_paused(pipeline->pipeline, true);

	if (made_in != GetTopTransactionId())
		made_pipelines = NIL;	/* memory of a transaction that is over */
	made_in = GetTopTransactionId();
	old = MemoryContextSwitchTo(TopTransactionContext);
	made = palloc(sizeof(int64));
	*made = pipeline->pipeline;
	made_pipelines = lappend(made_pipelines, made);
	MemoryContextSwitchTo(old);
	return pipeline;
}

static bool
was_made_here(int64 pipeline)
{
	ListCell   *cell;

	if (made_in != GetTopTransactionIdIfAny())
		return false;
	foreach(cell, made_pipelines)
	{
		if (*(int64 *) lfirst(cell) == pipeline)
			return true;
	}
	return false;
}

/* Gives the server whose topics a pipeline's views read; InvalidOid for a pipeline without views. */
static Oid
server_of_pipeline(int64 pipeline)
{
	ListCell   *cell;

	foreach(cell, kv_view_list(pipeline))
	{
		ViewDef    *view = kv_view_load(((ViewRow *) lfirst(cell))->view);

		for (int i = 0; i < view->ninputs; i++)
		{
			if (kv_input_is_topic(&view->inputs[i]))
				return kv_topic_get(view->inputs[i].relid)->serverid;
		}
	}
	return InvalidOid;
}

/* Raises an error where the pipeline would read one topic through two foreign tables: it has one position in a partition. */
static void
check_topics_differ(NewView *new)
{
	List	   *seen = NIL;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, kv_view_list(new->pipeline->pipeline))
	{
		ViewDef    *view = kv_view_load(((ViewRow *) lfirst(cell))->view);

		for (int i = 0; i < view->ninputs; i++)
		{
			TopicDef   *topic;

			if (!kv_input_is_topic(&view->inputs[i]))
				continue;
			topic = kv_topic_get(view->inputs[i].relid);
			foreach(other, seen)
			{
				TopicDef   *first = lfirst(other);

				if (first->relid != topic->relid && strcmp(first->topic, topic->topic) == 0)
					ereport(ERROR,
							(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							 errmsg("continuous view \"%s\" cannot read topic \"%s\" through two foreign tables", new->name, topic->topic),
							 errdetail("Its pipeline would read %s and %s, and has one position in each partition.",
									   first->relation_name, topic->relation_name),
							 errhint("Use one foreign table with the columns of both, or give the views pipelines of their own.")));
			}
			seen = lappend(seen, topic);
		}
	}
}
