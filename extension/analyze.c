/*
 * analyze.c: a defining query as a ViewDef.
 *
 * Everything here is derived from the query's text and the catalogs, again at every
 * start, so that a rename or an upgrade never finds a stale copy. What cannot be
 * maintained exactly is refused here or in the rooms it calls: refuse.c (the query by
 * itself), layers.c and normalize.c (its form), group_layer.c (keys, aggregates), join_graph.c (conditions).
 */
#include "analyze.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "full_join.h"
#include "group_layer.h"
#include "join_graph.h"
#include "layers.h"
#include "lineage.h"
#include "normalize.h"
#include "outer_join.h"
#include "output_time.h"
#include "refuse.h"
#include "retention.h"
#include "retract.h"
#include "row_keys.h"
#include "row_source.h"
#include "window_end.h"
#include "window_layer.h"

static Refusal *expand_full_joins(List **queries);
static bool reads_tables_only(Query *query);
static Refusal *make_arms(ViewDef *view, List *queries);
static Refusal *find_inputs(ViewDef *view, ViewArm *arm);
static Refusal *check_drivers(ViewDef *view);
static Refusal *refuse_relation(ViewArm *arm, ViewInput *input);
static Refusal *refuse_own_stream(ViewDef *view, ViewInput *input);
static Refusal *refuse_options(const ContinuousOptions *options);
static Refusal *refuse_bootstrap(ViewDef *view);
static Refusal *refuse_start(ViewDef *view);
static Refusal *classify_input(ViewDef *view, ViewInput *input, RangeTblEntry *rte);
static Bitmapset *keys_not_null(TopicDef *topic);
static Refusal *classify_view(ViewDef *view, ViewInput *input, RangeTblEntry *rte, ViewRow *row);
static Refusal *find_columns(ViewArm *arm, ViewInput *input);
static void name_delta(ViewDef *view, ViewInput *input);
static Refusal *describe_result(ViewDef *view);
static Query *definition_query(Oid definition);
static void apply_settings(ArrayType *settings);

/* Analyses a query; see analyze.h. */
ViewDef *
kv_analyze(Query *query, const ContinuousOptions *options, Refusal **refusal)
{
	ViewDef    *view;
	ViewLayers	layers;

	query = copyObject(query);
	kv_row_source_lift(query);
	*refusal = kv_refuse_query(query);
	if (*refusal)
		return NULL;
	if (query->jointree->fromlist == NIL && !query->setOperations)
	{
		*refusal = kv_refusal(-1, "continuous view \"%s\" must read a topic",
							  "A query without FROM never changes.", "Select from a foreign table of the wrapper kafka.");
		return NULL;
	}
	*refusal = kv_split_layers(query, &layers);
	if (*refusal)
		return NULL;

	view = palloc0(sizeof(ViewDef));
	view->owner = GetUserId();
	view->grace_us = options->grace_us;
	view->groups = layers.groups;
	view->row_names = layers.row_names;
	*refusal = make_arms(view, layers.arms);
	if (!*refusal && kv_view_is_table_driven(view))
		*refusal = refuse_options(options);
	if (!*refusal && !options->bootstrap)
		*refusal = refuse_bootstrap(view);
	if (!*refusal && options->start)
		*refusal = refuse_start(view);
	if (!*refusal)
		*refusal = describe_result(view);
	if (!*refusal)
		*refusal = kv_group_layer(view);
	for (int i = 0; i < view->narms && !*refusal; i++)
		*refusal = kv_join_graph(&view->arms[i]);
	if (!*refusal && kv_view_is_table_driven(view))
		*refusal = kv_row_keys(view);
	if (!*refusal && view->shape == SHAPE_KEYED)
		kv_find_not_null(view);
	if (!*refusal)
		*refusal = kv_window_layer(view, options);
	if (!*refusal)
		*refusal = view->final ? kv_window_output_time(view, options->event_time) : kv_output_time(view, options->event_time);
	if (!*refusal)
		*refusal = kv_retention(view, options);
	return *refusal ? NULL : view;
}

/* Makes the arms of the rows layer and their inputs. */
static Refusal *
make_arms(ViewDef *view, List *queries)
{
	int			most_inputs = 0;
	Refusal    *refusal = expand_full_joins(&queries);
	ListCell   *cell;

	if (refusal)
		return refusal;
	foreach(cell, queries)
		most_inputs += list_length(lfirst_node(Query, cell)->rtable);
	view->inputs = palloc0(sizeof(ViewInput) * most_inputs);
	view->arms = palloc0(sizeof(ViewArm) * list_length(queries));
	view->has_oracle = true;	/* until an input, or what drives it, says otherwise */
	foreach(cell, queries)
	{
		ViewArm    *arm = &view->arms[view->narms];

		arm->number = view->narms++;
		arm->query = lfirst_node(Query, cell);
		arm->first = view->ninputs;
		arm->inputs = &view->inputs[arm->first];
		arm->grace_us = view->grace_us;
		refusal = find_inputs(view, arm);
		if (!refusal)
			refusal = kv_outer_join_mark(arm);
		if (refusal)
			return refusal;
		view->ndriving += arm->ndriving;
	}
	return check_drivers(view);
}

/* Makes two queries of each that begins with a FULL JOIN and reads tables only. */
static Refusal *
expand_full_joins(List **queries)
{
	List	   *expanded = NIL;
	Refusal    *refusal = NULL;
	ListCell   *cell;

	foreach(cell, *queries)
	{
		Query	   *query = lfirst_node(Query, cell);

		if (!kv_is_full_join(query) || !reads_tables_only(query))
			expanded = lappend(expanded, query);
		else if (!refusal)
			refusal = kv_full_join_arms(query, &expanded);
	}
	*queries = expanded;
	return refusal;
}

/* Is every relation of the query a table whose changes are told? What cannot be read at all is refused later. */
static bool
reads_tables_only(Query *query)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		ViewInput	input = {0};

		if (rte->rtekind == RTE_RELATION && (kv_analyze_input(&input, rte) != NULL || !kv_input_is_table(&input)))
			return false;
	}
	return true;
}

/* Makes the inputs of the tables in an arm's FROM. */
static Refusal *
find_inputs(ViewDef *view, ViewArm *arm)
{
	List	   *rtable = arm->query->rtable;
	Refusal    *refusal;

	for (int rti = 1; rti <= list_length(rtable); rti++)
	{
		RangeTblEntry *rte = rt_fetch(rti, rtable);
		ViewInput  *input = &view->inputs[view->ninputs];

		if (rte->rtekind != RTE_RELATION)
			continue;			/* a join, or a row source */
		input->number = view->ninputs++;
		input->arm = arm->number;
		input->rti = rti;
		input->relid = rte->relid;
		refusal = classify_input(view, input, rte);
		if (!refusal)
			refusal = find_columns(arm, input);
		if (refusal)
			return refusal;
		arm->ninputs++;
		arm->ndriving += kv_input_drives(input) ? 1 : 0;
		name_delta(view, input);
	}
	return arm->ninputs > 0 ? NULL : kv_refuse_constant_rows((Node *) arm->query->targetList);
}

/* Checks that streams or tables drive all arms, and that what a stream looks up does not follow from it. */
static Refusal *
check_drivers(ViewDef *view)
{
	Refusal    *refusal = NULL;

	for (int i = 0; i < view->narms; i++)
	{
		if (view->ndriving > 0 && view->arms[i].ndriving == 0)
			return kv_refusal(exprLocation((Node *) view->arms[i].query->targetList),
							  "continuous view \"%s\" cannot unite rows of a stream with rows of a table",
							  "Rows of a stream are only ever added; those of a table change and go.",
							  "Make a continuous view of each, and unite them in the query that reads them.");
	}
	for (int i = 0; i < view->ninputs && !refusal; i++)
	{
		ViewInput  *input = &view->inputs[i];

		if (view->ndriving > 0 && !kv_input_drives(input))
			view->has_oracle = false;
		if (view->ndriving > 0 && input->kind == INPUT_KEYED)
			refusal = refuse_own_stream(view, input);
		else if (view->ndriving == 0 && input->kind == INPUT_RELATION)
			refusal = refuse_relation(kv_input_arm(view, i), input);
	}
	return refusal;
}

/* Refuses an ordinary table where no stream looks it up. */
static Refusal *
refuse_relation(ViewArm *arm, ViewInput *input)
{
	return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot follow the ordinary table \"%s\"", rt_fetch(input->rti, arm->query->rtable)->eref->aliasname),
					  "Only a stream looks such tables up, in their rows of the moment; nothing tells a view when they change.",
					  "Publish the table to a topic in mode 'upsert', by triggers that execute kafka.publish, and read the topic.");
}

/* Refuses to join a stream with what is aggregated of it: whether a row is already in there when it is joined would be chance. */
static Refusal *
refuse_own_stream(ViewDef *view, ViewInput *input)
{
	List	   *own = NIL;
	Oid			common = InvalidOid;
	ListCell   *cell;

	for (int i = 0; i < view->ninputs; i++)
		if (kv_input_drives(&view->inputs[i]))
			own = list_concat_unique_oid(own, kv_streams_behind(view->inputs[i].relid));
	foreach(cell, kv_streams_behind(input->relid))
		if (list_member_oid(own, lfirst_oid(cell)))
			common = lfirst_oid(cell);
	if (!OidIsValid(common))
		return NULL;
	return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot join a stream with the view \"%s\" of the same stream", get_rel_name(input->relid)),
					  psprintf("Each record of \"%s\" changes rows of that view and looks them up, and both at once.", get_rel_name(common)),
					  "Join the views in the query that reads them.");
}

/* Refuses options about time, which the rows of tables have not. */
static Refusal *
refuse_options(const ContinuousOptions *options)
{
	char	   *option = options->event_time ? "event_time" : !options->bootstrap ? "bootstrap" : NULL;

	if (!option)
		return NULL;
	return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot have the option kafka.%s", option),
					  "It reads tables only, whose rows have no time and are not looked up by a stream.", "Leave the option out.");
}

/* Refuses to say when tables are read of a view whose streams look none up. */
static Refusal *
refuse_bootstrap(ViewDef *view)
{
	for (int i = 0; i < view->ninputs; i++)
		if (kv_input_is_table(&view->inputs[i]))
			return NULL;
	return kv_refusal(-1, "continuous view \"%s\" cannot have the option kafka.bootstrap",
					  "Its streams look up no topic and no view.", "Leave the option out.");
}

/* Refuses to begin elsewhere in what is read whole, or by another view. */
static Refusal *
refuse_start(ViewDef *view)
{
	for (int i = 0; i < view->ninputs; i++)
		if (view->inputs[i].kind == INPUT_STREAM)
			return NULL;
	return kv_refusal(-1, "continuous view \"%s\" cannot have the option kafka.start",
					  "It reads no stream itself: tables are read whole, and views from their first row.",
					  "Leave the option out; give it to the views that read the streams.");
}

/* Classifies an input by itself; see analyze.h. */
Refusal *
kv_analyze_input(ViewInput *input, RangeTblEntry *rte)
{
	ViewDef		view = {0};

	return classify_input(&view, input, rte);
}

/* Finds out what kind of input a relation is, and its event time. */
static Refusal *
classify_input(ViewDef *view, ViewInput *input, RangeTblEntry *rte)
{
	ViewRow    *row;

	input->lateness_us = PG_INT64_MAX;
	if (rte->relkind == RELKIND_FOREIGN_TABLE && kv_topic_is(rte->relid))
	{
		TopicDef   *topic = kv_topic_get(rte->relid);

		input->kind = topic->mode == MODE_APPEND ? INPUT_STREAM : INPUT_LOOKUP;
		if (input->kind == INPUT_STREAM)
			input->time_attno = topic->time_attno != 0 ? topic->time_attno : topic->timestamp_attno;
		for (int i = 0; input->kind == INPUT_LOOKUP && i < topic->nkeys; i++)
			input->keys = lappend_int(input->keys, topic->columns[topic->keys[i]].attno);
		if (input->kind == INPUT_LOOKUP)
			input->not_null = keys_not_null(topic);
		return NULL;
	}
	row = rte->relkind == RELKIND_RELATION || rte->relkind == RELKIND_VIEW ? kv_view_by_relation(rte->relid, true) : NULL;
	if (row)
		return classify_view(view, input, rte, row);
	input->kind = INPUT_RELATION;
	return NULL;
}

/* Gives the key columns that are never null: one that is the record's key as a whole, which may be null in JSON only. */
static Bitmapset *
keys_not_null(TopicDef *topic)
{
	TopicColumn *key = &topic->columns[topic->keys[0]];

	return topic->nkeys == 1 && key->source == COLUMN_KEY && topic->key_format != KEY_JSON ? bms_make_singleton(key->attno) : NULL;
}

/* Takes a continuous view as a stream or as a table; refuses those without a time, or without a key. */
static Refusal *
classify_view(ViewDef *view, ViewInput *input, RangeTblEntry *rte, ViewRow *row)
{
	ViewDef    *upper = kv_view_load(row->view);
	char	   *name = rte->eref->aliasname;

	/* what a keyed view removes is gone for its readers too */
	view->reads_expiring |= (upper->retention_us >= 0 && upper->shape != SHAPE_KEYED) || upper->reads_expiring;
	if (upper->shape == SHAPE_KEYED)
	{
		input->kind = INPUT_KEYED;
		input->keys = upper->keys;
		input->not_null = upper->not_null;
		if (upper->keys != NIL)
			return NULL;
		return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot read the view \"%s\", which has no key", name),
						  "It aggregates everything into one row.",
						  psprintf("Compute the result in \"%s\" itself, or group it by a constant column: SELECT 'all' AS key, ... GROUP BY key.", name));
	}
	if (upper->time_attno == 0 && upper->final)
		return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot read the view \"%s\", whose rows have no event time", name),
						  "None of its columns is the end of its windows.",
						  psprintf("Select the end in \"%s\", for example upper(window) AS until, or name the column with the start by its option kafka.event_time.", name));
	if (upper->time_attno == 0)
		return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot read the view \"%s\", whose rows have no event time", name),
						  "None of its columns is the event time of its inputs, or several are.",
						  psprintf("Select the event-time column of its input in \"%s\", or name the column that carries the time with kafka.event_time.", name));
	input->kind = INPUT_VIEW;
	input->time_attno = upper->time_attno;
	if (upper->unstored && !upper->has_oracle)
		view->has_oracle = false;
	return NULL;
}

/* Collects the columns of an input that the query uses, its keys and its event time. */
static Refusal *
find_columns(ViewArm *arm, ViewInput *input)
{
	Query	   *query = arm->query;
	List	   *trees = list_make2(query->jointree, query->targetList);
	List	   *vars;
	ListCell   *cell;

	foreach(cell, query->rtable)
		trees = lappend(trees, kv_row_source_vars(lfirst_node(RangeTblEntry, cell)));
	vars = pull_var_clause((Node *) trees, PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS);
	foreach(cell, vars)
	{
		Var		   *var = lfirst_node(Var, cell);

		if (var->varno != input->rti)
			continue;
		if (var->varattno <= 0)
			return kv_refusal(var->location,
							  var->varattno == 0 ? "continuous view \"%s\" cannot use a whole row as a value" :
							  "continuous view \"%s\" cannot use system columns",
							  "A row is kept by its columns, only those that the query names.",
							  "Name the columns, for example in row(...) or jsonb_build_object(...).");
		input->columns = bms_add_member(input->columns, var->varattno);
	}
	foreach(cell, input->keys)
		input->columns = bms_add_member(input->columns, lfirst_int(cell));
	if (input->time_attno > 0)
		input->columns = bms_add_member(input->columns, input->time_attno);
	return NULL;
}

/* Names the input's delta after its relation; two relations of one name get different ones. */
static void
name_delta(ViewDef *view, ViewInput *input)
{
	List	   *taken = NIL;

	for (int i = 0; i < input->number; i++)
	{
		if (view->inputs[i].relid == input->relid)
		{
			input->delta_name = view->inputs[i].delta_name;
			return;
		}
		taken = lappend(taken, view->inputs[i].delta_name);
	}
	input->delta_name = kv_unique_name(makeObjectName(get_rel_name(input->relid), NULL, "delta"), taken);
}

/* Makes the result's row type. */
static Refusal *
describe_result(ViewDef *view)
{
	List	   *targets = view->groups ? view->groups->targetList : view->arms[0].query->targetList;
	List	   *names = NIL;
	int			count = 0;
	ListCell   *cell;

	foreach(cell, targets)
		count += lfirst_node(TargetEntry, cell)->resjunk ? 0 : 1;
	view->result = CreateTemplateTupleDesc(count);
	foreach(cell, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Node	   *expr = (Node *) target->expr;
		ListCell   *other;

		if (target->resjunk)
			continue;
		foreach(other, names)
			if (strcmp(lfirst(other), target->resname) == 0)
				return kv_refusal(exprLocation(expr),
								  psprintf("continuous view \"%%s\" has two columns named \"%s\"", target->resname),
								  "Columns are found by name, in its table and in the topics it is published to.",
								  "Give one of them another name with AS.");
		names = lappend(names, target->resname);
		if (get_typtype(exprType(expr)) == TYPTYPE_PSEUDO)
			return kv_refusal(exprLocation(expr),
							  psprintf("continuous view \"%%s\" cannot store the column \"%s\" of type %s", target->resname, format_type_be(exprType(expr))),
							  "A table cannot have a column of a pseudo-type.", "Cast it to a type that can be stored.");
		TupleDescInitEntry(view->result, target->resno, target->resname, exprType(expr), exprTypmod(expr), 0);
		TupleDescInitEntryCollation(view->result, target->resno, exprCollation(expr));
	}
	if (count == 0)
		return kv_refusal(-1, "continuous view \"%s\" must have a column", "A row without columns cannot be published.", NULL);
	return NULL;
}

/* Names the view and what belongs to it; see analyze.h. */
void
kv_view_set_id(ViewDef *view, int64 id, int64 pipeline, Oid relid)
{
	view->id = id;
	view->pipeline = pipeline;
	view->relid = relid;
	view->name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	for (int i = 0; i < view->ninputs; i++)
	{
		ViewInput  *input = &view->inputs[i];

		if (kv_input_drives(input) && kv_input_arm(view, i)->ndriving > 1)
			input->buffer_name = psprintf("%s.buffer_" INT64_FORMAT "_%d", KV_STATE_SCHEMA, id, input->number);
		else if (kv_input_is_table(input) && (view->ndriving > 0 || kv_input_arm(view, i)->ninputs > 1))
			input->buffer_name = psprintf("%s.lookup_" INT64_FORMAT "_%d", KV_STATE_SCHEMA, id, input->number);
	}
	for (int i = 0; i < view->narms; i++)
		if (kv_view_is_table_driven(view) && view->groups)
			view->arms[i].rows_name = psprintf("%s.rows_" INT64_FORMAT "_%d", KV_STATE_SCHEMA, id, i);
	if (view->groups && !view->own_state && !(kv_view_is_table_driven(view) && !kv_can_retract(view)))
		view->groups_name = psprintf("%s.groups_" INT64_FORMAT, KV_STATE_SCHEMA, id);
	if (view->keeps_rows)
		view->session_rows_name = psprintf("%s.session_rows_" INT64_FORMAT, KV_STATE_SCHEMA, id);
}

/*
 * Loads a view by its id; see analyze.h. It is analysed with the settings of its
 * creation, which decide about constants and time zones, and as its owner: folding constants may call
 * the owner's functions.
 */
ViewDef *
kv_view_load(int64 id)
{
	ViewRow    *row = kv_view_get(id, false);
	HeapTuple	class;
	ViewDef    *view;
	Refusal    *refusal = NULL;
	Oid			owner;
	Oid			save_user;
	int			save_sec_context;
	int			nest;

	class = SearchSysCache1(RELOID, ObjectIdGetDatum(row->relation));
	if (!HeapTupleIsValid(class))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("continuous view " INT64_FORMAT " no longer exists", id)));

	owner = ((Form_pg_class) GETSTRUCT(class))->relowner;
	ReleaseSysCache(class);

	GetUserIdAndSecContext(&save_user, &save_sec_context);
	SetUserIdAndSecContext(owner, save_sec_context | SECURITY_RESTRICTED_OPERATION);
	nest = NewGUCNestLevel();
	apply_settings(row->settings);
	view = kv_analyze(definition_query(row->definition), kv_view_options_from_array(row->options), &refusal);
	if (!view)
	{
		/* it was accepted once, so something under it is another than it was */
		refusal->hint = refusal->later_hint ? refusal->later_hint :
			"Something the view uses has changed since the view was created: change it back, or drop the view.";
		kv_refuse(refusal, get_rel_name(row->relation), NULL);
	}
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(save_user, save_sec_context);

	kv_view_set_id(view, id, row->pipeline, row->relation);
	view->unstored = row->relation == row->definition;
	view->owner = owner;
	return view;
}

/* Gives the query of a definition view, its relations locked. */
static Query *
definition_query(Oid definition)
{
	Relation	relation = table_open(definition, AccessShareLock);
	Query	   *query = copyObject(get_view_query(relation));

	table_close(relation, NoLock);
	AcquireRewriteLocks(query, true, false);
	return query;
}

/* Sets what was captured at creation, until the GUC nest level ends. */
static void
apply_settings(ArrayType *settings)
{
	Datum	   *elements;
	int			count;

	deconstruct_array(settings, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *setting = TextDatumGetCString(elements[i]);
		char	   *equals = strchr(setting, '=');

		if (!equals)
			elog(ERROR, "captured setting \"%s\" has no value", setting);
		*equals = '\0';
		(void) set_config_option(setting, equals + 1, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}
