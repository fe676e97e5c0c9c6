/*
 * normalize.c: brings the FROM clause of a defining query into the one form that
 * analysis and the statements work with: steps from left to right, each one range
 * table entry, joined inner (its conditions are in WHERE), left or full (its conditions
 * stay with it); from_steps.c finds them. A plain view or a subquery is expanded; on the nullable side of an outer join only
 * where its columns are null with its table's.
 *
 * The result is only ever printed (by Postgres' deparser) or looked at, never
 * planned: see kv_normalize_joins.
 */
#include "normalize.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog.h"
#include "row_source.h"
#include "subselect.h"

/* New number of every range table entry, index is the old one. */
typedef struct RenumberMap
{
	int		   *numbers;
} RenumberMap;

static Refusal *expand_query(Query *query, List **arms);
static Refusal *expand_union(Query *query, int rti, Query *united, List **arms);
static int	find_subquery(Node *jtnode, Query *query, bool nullable, bool direct, Refusal **refusal);
static bool is_nulled_with_its_table(RangeTblEntry *rte);
static Query *subquery_of(RangeTblEntry *rte, Refusal **refusal);
static Refusal *refuse_subquery(Query *subquery, RangeTblEntry *rte);
static void pull_up(Query *query, int rti, Query *subquery);
static Node *exchange_reference(Node *jtnode, int rti, Node *replacement);
static Node *flatten_mutator(Node *node, void *query);
static RangeTblEntry *clean_entry(RangeTblEntry *rte, List **taken);
static List *real_column_names(Oid relid);
static Node *renumber_mutator(Node *node, RenumberMap *map);
static void append_steps(Node *jtnode, List **steps);
static List *join_steps(Query *query, List *steps);
static void fill_join(Query *query, JoinExpr *join);
static void join_columns(Query *query, Node *arm, List **vars, List **names, List **numbers);

/* Normalises a query; see normalize.h. */
Refusal *
kv_normalize(Query *query, List **arms)
{
	*arms = NIL;
	return expand_query(query, arms);
}

/* Expands plain views and subqueries in FROM until there are none, a union into one query per member; normalises what comes out. */
static Refusal *
expand_query(Query *query, List **arms)
{
	StepList	list = {NIL};
	Refusal    *refusal = NULL;
	int			rti;

	kv_normalize_aliases(query);
	while ((rti = find_subquery((Node *) query->jointree, query, false, false, &refusal)) > 0)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);
		Query	   *subquery = subquery_of(rte, &refusal);

		if (!refusal)
			refusal = refuse_subquery(subquery, rte);
		if (refusal)
			return refusal;
		if (subquery->setOperations)
			return expand_union(query, rti, subquery, arms);
		pull_up(query, rti, subquery);
	}
	if (!refusal)
		refusal = kv_from_steps((Node *) query->jointree, &list);
	if (!refusal && list.steps == NIL)
		refusal = kv_refuse_constant_rows((Node *) query->targetList);
	if (!refusal)
		*arms = lappend(*arms, kv_normalize_rebuild(query, &list));
	return refusal;
}

/* Expands copies of the query, one for each member of the union that stands at rti. */
static Refusal *
expand_union(Query *query, int rti, Query *united, List **arms)
{
	List	   *members;
	Refusal    *refusal = kv_union_members(united, &members);
	ListCell   *cell;

	foreach(cell, members)
	{
		Query	   *copy;
		RangeTblEntry *rte;

		if (refusal)
			break;
		copy = copyObject(query);
		rte = rt_fetch(rti, copy->rtable);
		rte->rtekind = RTE_SUBQUERY;
		rte->relkind = '\0';
		rte->relid = InvalidOid;
		rte->subquery = lfirst_node(Query, cell);
		refusal = expand_query(copy, arms);
	}
	return refusal;
}

/*
 * Gives the number of the first view or subquery below jtnode, 0: none. On a nullable side it is a refusal, unless it
 * can be expanded there: directly below a left or right join (direct), its conditions can be the join's.
 */
static int
find_subquery(Node *jtnode, Query *query, bool nullable, bool direct, Refusal **refusal)
{
	ListCell   *cell;
	int			found = 0;

	if (IsA(jtnode, RangeTblRef))
	{
		int			rti = ((RangeTblRef *) jtnode)->rtindex;
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);

		if (rte->rtekind != RTE_SUBQUERY && !kv_is_plain_view(rte))
			return 0;
		if (kv_row_source_is(rte) && (nullable || !kv_row_source_is_expressions(rte->subquery)))
			return 0;
		if (!nullable || (direct && is_nulled_with_its_table(rte)))
			return rti;
		*refusal = kv_refusal(-1,
							  psprintf("continuous view \"%%s\" cannot put \"%s\" on the nullable side of an outer join", rte->eref->aliasname),
							  "A subquery or view can stand there if it reads one table, in a LEFT or RIGHT JOIN, and its columns are null where the table has no row.",
							  "Join its tables one by one, each with a LEFT JOIN of its own, or make it a continuous view and join that.");
		return 0;
	}
	if (IsA(jtnode, FromExpr))
	{
		foreach(cell, ((FromExpr *) jtnode)->fromlist)
		{
			found = find_subquery(lfirst(cell), query, nullable, direct && list_length(((FromExpr *) jtnode)->fromlist) == 1, refusal);
			if (found || *refusal)
				return found;
		}
		return 0;
	}

	{
		JoinExpr   *join = castNode(JoinExpr, jtnode);
		bool		left_nullable = join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL;
		bool		right_nullable = join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL;

		found = find_subquery(join->larg, query, nullable || left_nullable, join->jointype == JOIN_RIGHT, refusal);
		if (!found && !*refusal)
			found = find_subquery(join->rarg, query, nullable || right_nullable, join->jointype == JOIN_LEFT, refusal);
		return found;
	}
}

/*
 * Are the columns of a view or subquery null where its one table has no row, so that they can stand for its columns behind
 * an outer join? What cannot be expanded anywhere passes here, and is refused for that.
 */
static bool
is_nulled_with_its_table(RangeTblEntry *rte)
{
	Refusal    *refusal;
	Query	   *subquery = subquery_of(rte, &refusal);
	ListCell   *cell;

	if (refusal || refuse_subquery(subquery, rte))
		return true;
	if (subquery->setOperations || list_length(subquery->jointree->fromlist) != 1 || !IsA(linitial(subquery->jointree->fromlist), RangeTblRef))
		return false;
	foreach(cell, subquery->targetList)
	{
		Node	   *column = (Node *) lfirst_node(TargetEntry, cell)->expr;

		if (!contain_vars_of_level(column, 0) || contain_nonstrict_functions(column))
			return false;
	}
	return true;
}

/* Is it a view to be expanded? See normalize.h. */
bool
kv_is_plain_view(RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && kv_view_by_relation(rte->relid, true) == NULL;
}

/* Gives a copy of the query behind a view or subquery, its relations locked and WITH inlined. */
static Query *
subquery_of(RangeTblEntry *rte, Refusal **refusal)
{
	Query	   *subquery;

	if (rte->rtekind == RTE_RELATION)
	{
		Relation	view = table_open(rte->relid, AccessShareLock);

		subquery = copyObject(get_view_query(view));
		rte->security_barrier = RelationIsSecurityView(view);
		table_close(view, NoLock);
		AcquireRewriteLocks(subquery, true, false);
	}
	else
		subquery = copyObject(rte->subquery);
	*refusal = kv_inline_with(subquery);
	kv_row_source_lift(subquery);
	kv_normalize_aliases(subquery);
	return subquery;
}

/* Checks that a subquery is a select-project-join, which can be expanded. */
static Refusal *
refuse_subquery(Query *subquery, RangeTblEntry *rte)
{
	char	   *what = rte->rtekind == RTE_RELATION ? "view" : "subquery";
	Refusal    *inner = kv_refuse_query(subquery);

	if (inner)
	{
		if (rte->rtekind == RTE_RELATION)
		{
			inner->location = -1;	/* it points into the text of that view */
			inner->detail = psprintf("The reason lies in %s \"%s\". %s", what, rte->eref->aliasname, inner->detail);
		}
		return inner;
	}
	if (subquery->hasAggs || subquery->groupClause || subquery->havingQual || subquery->distinctClause)
		return kv_refusal(rte->rtekind == RTE_RELATION ? -1 : exprLocation((Node *) subquery->targetList),
						  psprintf("continuous view \"%%s\" cannot use the %s \"%s\", which groups or aggregates", what, rte->eref->aliasname),
						  "A view groups once, at its top.",
						  "Make the grouped query a continuous view of its own, and read that.");
	if (rte->security_barrier)
		return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot use the security barrier view \"%s\"", rte->eref->aliasname),
						  "Its conditions would not be kept apart from those of the view.",
						  "Use the tables below it, or a view without security_barrier.");
	return NULL;
}

/* Puts the subquery's FROM and WHERE in the place of its reference, and its expressions in the place of its columns. */
static void
pull_up(Query *query, int rti, Query *subquery)
{
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	ListCell   *cell;

#define SUBSTITUTE(node) \
	ReplaceVarsFromTargetList((Node *) (node), rti, 0, rte, subquery->targetList, REPLACEVARS_REPORT_ERROR, 0, &query->hasSubLinks)

	OffsetVarNodes((Node *) subquery, list_length(query->rtable), 0);
	IncrementVarSublevelsUp((Node *) subquery, -1, 1);	/* LATERAL references are of this level now */
	query->targetList = (List *) SUBSTITUTE(query->targetList);
	query->havingQual = SUBSTITUTE(query->havingQual);
	query->jointree = (FromExpr *) SUBSTITUTE(query->jointree);
	foreach(cell, query->rtable)
	{
		RangeTblEntry *other = lfirst_node(RangeTblEntry, cell);

		if (other->rtekind == RTE_FUNCTION)
			other->functions = (List *) SUBSTITUTE(other->functions);
		else if (other->rtekind == RTE_TABLEFUNC)
			other->tablefunc = (TableFunc *) SUBSTITUTE(other->tablefunc);
		else if (other->rtekind == RTE_VALUES)
			other->values_lists = (List *) SUBSTITUTE(other->values_lists);
		else if (other->rtekind == RTE_SUBQUERY && other->lateral)
			other->subquery = (Query *) ReplaceVarsFromTargetList((Node *) other->subquery, rti, 1, rte, subquery->targetList,
																  REPLACEVARS_REPORT_ERROR, 0, &query->hasSubLinks);
	}
	query->rtable = list_concat(query->rtable, subquery->rtable);
	query->jointree = (FromExpr *) exchange_reference((Node *) query->jointree, rti, (Node *) subquery->jointree);
#undef SUBSTITUTE
}

/* Gives the join tree with the reference to rti exchanged for another tree. */
static Node *
exchange_reference(Node *jtnode, int rti, Node *replacement)
{
	ListCell   *cell;

	if (IsA(jtnode, RangeTblRef))
		return ((RangeTblRef *) jtnode)->rtindex == rti ? replacement : jtnode;
	if (IsA(jtnode, FromExpr))
	{
		foreach(cell, ((FromExpr *) jtnode)->fromlist)
			lfirst(cell) = exchange_reference(lfirst(cell), rti, replacement);
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, jtnode);

		join->larg = exchange_reference(join->larg, rti, replacement);
		join->rarg = exchange_reference(join->rarg, rti, replacement);
	}
	return jtnode;
}

/* Resolves join aliases; see normalize.h. */
void
kv_normalize_aliases(Query *query)
{
	ListCell   *cell;

	query->targetList = (List *) flatten_join_alias_vars(query, (Node *) query->targetList);
	query->havingQual = flatten_join_alias_vars(query, query->havingQual);
	query->jointree = (FromExpr *) flatten_join_alias_vars(query, (Node *) query->jointree);
	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->lateral)
			kv_row_source_mutate(rte, flatten_mutator, query);
	}
}

/* Exchanges one column; in a subquery that reads tables too, as a LATERAL one does until it is expanded. */
static Node *
flatten_mutator(Node *node, void *query)
{
	return flatten_join_alias_vars(query, node);
}

/* Makes the normalised query from its steps; see normalize.h. */
Query *
kv_normalize_rebuild(Query *query, StepList *list)
{
	RenumberMap map = {palloc0(sizeof(int) * (list_length(query->rtable) + 1))};
	List	   *taken = NIL;
	List	   *rtable = NIL;
	ListCell   *cell;
	Node	   *quals = (Node *) make_ands_explicit(list->conditions);

	foreach(cell, list->steps)
	{
		FromStep   *step = lfirst(cell);

		rtable = lappend(rtable, clean_entry(rt_fetch(step->rti, query->rtable), &taken));
		map.numbers[step->rti] = list_length(rtable);
	}
	foreach(cell, list->steps)
	{
		FromStep   *step = lfirst(cell);

		step->rti = map.numbers[step->rti];
		step->condition = renumber_mutator(step->condition, &map);
	}
	foreach(cell, rtable)
		kv_row_source_mutate(lfirst_node(RangeTblEntry, cell), (RowSourceMutator) renumber_mutator, &map);
	query->rtable = rtable;
	query->targetList = (List *) renumber_mutator((Node *) query->targetList, &map);
	query->havingQual = renumber_mutator(query->havingQual, &map);
	quals = list->conditions ? renumber_mutator(quals, &map) : NULL;
	query->jointree = makeFromExpr(NIL, quals);
	query->constraintDeps = NIL;
	kv_normalize_from(query, list->steps);
	return query;
}

/* Gives the steps of a normalised query; see normalize.h. */
List *
kv_normalize_steps(Query *query)
{
	List	   *steps = NIL;
	ListCell   *cell;

	foreach(cell, query->jointree->fromlist)
		append_steps(lfirst(cell), &steps);
	return steps;
}

static void
append_steps(Node *jtnode, List **steps)
{
	FromStep   *step = palloc0(sizeof(FromStep));
	Node	   *reference = jtnode;

	if (IsA(jtnode, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) jtnode;

		append_steps(join->larg, steps);
		reference = join->rarg;
		step->type = join->jointype;
		step->condition = join->quals;
	}
	step->rti = ((RangeTblRef *) reference)->rtindex;
	*steps = lappend(*steps, step);
}

/* Makes FROM of steps; see normalize.h. */
void
kv_normalize_from(Query *query, List *steps)
{
	int			nentries = 0;
	ListCell   *cell;

	/* RTE_JOINs stand behind what they join */
	foreach(cell, query->rtable)
		nentries += lfirst_node(RangeTblEntry, cell)->rtekind == RTE_JOIN ? 0 : 1;
	query->rtable = list_copy_head(query->rtable, nentries);
	query->jointree->fromlist = join_steps(query, steps);
	kv_normalize_joins(query);
}

/* Gives a copy of a range table entry under a unique alias; of a relation with its real column names. */
static RangeTblEntry *
clean_entry(RangeTblEntry *rte, List **taken)
{
	RangeTblEntry *clean = copyObject(rte);
	char	   *name = kv_unique_name(rte->eref->aliasname, *taken);

	*taken = lappend(*taken, name);
	clean->eref->aliasname = name;
	if (rte->rtekind == RTE_RELATION)
	{
		clean->eref->colnames = real_column_names(rte->relid);
		clean->alias = makeAlias(name, NIL);
	}
	else
		clean->alias = copyObject(clean->eref);
	return clean;
}

/* Makes a name unique; see normalize.h. */
char *
kv_unique_name(const char *name, List *taken)
{
	char	   *candidate = pstrdup(name);
	int			number = 0;
	ListCell   *cell;

again:
	foreach(cell, taken)
	{
		if (strcmp(lfirst(cell), candidate) == 0)
		{
			char		suffix[16];
			int			keep = strlen(name);

			snprintf(suffix, sizeof(suffix), "_%d", ++number);
			keep = pg_mbcliplen(name, keep, NAMEDATALEN - 1 - strlen(suffix));
			candidate = psprintf("%.*s%s", keep, name, suffix);
			goto again;
		}
	}
	return candidate;
}

/* Gives the names of a relation's columns by attribute number, "" for a dropped one: the deparser's convention. */
static List *
real_column_names(Oid relid)
{
	Relation	relation = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		names = lappend(names, makeString(attribute->attisdropped ? pstrdup("") : pstrdup(NameStr(attribute->attname))));
	}
	table_close(relation, NoLock);
	return names;
}

/* Exchanges the numbers of range table entries in a tree. */
static Node *
renumber_mutator(Node *node, RenumberMap *map)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = copyObject((Var *) node);

		if (map->numbers[var->varno] == 0)
			elog(ERROR, "column of range table entry %d, which is not joined", var->varno);
		var->varno = map->numbers[var->varno];
		var->varnosyn = 0;
		var->varattnosyn = 0;
		return (Node *) var;
	}
	return expression_tree_mutator(node, renumber_mutator, map);
}

/* Gives the FROM list: the steps side by side, or one left-deep join where there is an outer join. */
static List *
join_steps(Query *query, List *steps)
{
	List	   *fromlist = NIL;
	Node	   *joined = NULL;
	bool		has_outer = false;
	ListCell   *cell;

	foreach(cell, steps)
		has_outer |= ((FromStep *) lfirst(cell))->type != JOIN_INNER;

	foreach(cell, steps)
	{
		FromStep   *step = lfirst(cell);
		RangeTblRef *reference = makeNode(RangeTblRef);
		JoinExpr   *join;
		RangeTblEntry *rte;

		reference->rtindex = step->rti;
		if (!has_outer)
		{
			fromlist = lappend(fromlist, reference);
			continue;
		}
		if (joined == NULL)
		{
			joined = (Node *) reference;
			continue;
		}
		rte = makeNode(RangeTblEntry);
		rte->rtekind = RTE_JOIN;
		rte->jointype = step->type;
		query->rtable = lappend(query->rtable, rte);

		join = makeNode(JoinExpr);
		join->jointype = rte->jointype;
		join->larg = joined;
		join->rarg = (Node *) reference;
		join->quals = step->condition;
		join->rtindex = list_length(query->rtable);
		joined = (Node *) join;
	}
	return has_outer ? list_make1(joined) : fromlist;
}

/* Brings RTE_JOINs in line with their arms; see normalize.h. */
void
kv_normalize_joins(Query *query)
{
	Node	   *joined = linitial(query->jointree->fromlist);

	if (IsA(joined, JoinExpr))
		fill_join(query, (JoinExpr *) joined);
}

/* Fills the RTE_JOIN of a left-deep join from the inside out. */
static void
fill_join(Query *query, JoinExpr *join)
{
	RangeTblEntry *rte = rt_fetch(join->rtindex, query->rtable);
	List	   *names = NIL;

	if (IsA(join->larg, JoinExpr))
		fill_join(query, (JoinExpr *) join->larg);
	rte->joinaliasvars = NIL;
	rte->joinleftcols = NIL;
	rte->joinrightcols = NIL;
	join_columns(query, join->larg, &rte->joinaliasvars, &names, &rte->joinleftcols);
	join_columns(query, join->rarg, &rte->joinaliasvars, &names, &rte->joinrightcols);
	rte->eref = makeAlias("unnamed_join", names);
}

/*
 * Appends the columns of a join's arm. Types of the variables are of no
 * account: the deparser asks for names only, and nothing refers to the join.
 */
static void
join_columns(Query *query, Node *arm, List **vars, List **names, List **numbers)
{
	int			rti = IsA(arm, RangeTblRef) ? ((RangeTblRef *) arm)->rtindex : ((JoinExpr *) arm)->rtindex;
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	ListCell   *cell;
	int			attno = 0;

	foreach(cell, rte->eref->colnames)
	{
		attno++;
		if (strVal(lfirst(cell))[0] == '\0')
			continue;			/* dropped */
		*vars = lappend(*vars, makeVar(rti, attno, INT4OID, -1, InvalidOid, 0));
		*names = lappend(*names, makeString(pstrdup(strVal(lfirst(cell)))));
		*numbers = lappend_int(*numbers, attno);
	}
}
