/*
 * spell_out.c: writes out the operators that SQL has no place to name.
 *
 * Why it exists: a definition is kept as a view that is made from the query's text (view_objects.c), and pg_dump
 * makes it again from text. IS DISTINCT FROM, NULLIF, CASE x WHEN and JOIN USING have no operator in
 * their text, so it is looked up anew: for an extension's type out of the search_path that is none, or, worse, that
 * of a type it can be cast to: a citext would be compared as a text. Where the operator is not Postgres' own, these
 * forms are written with it.
 *
 * Everything else Postgres' deparser prints qualified, as OPERATOR(schema.=); but not the columns of a single table in ORDER BY,
 * where a bare name is that of a column of the result first.
 */
#include "spell_out.h"

#include "access/htup_details.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/syscache.h"

#include "normalize.h"

static bool sorts_by_hidden_column(Query *query);
static Node *spell_mutator(Node *node, void *context);
static Query *spell_query(Query *query);
static bool has_foreign_using(Node *node, void *context);
static bool uses_foreign_operator(Node *node, void *context);
static bool is_foreign(Oid operator);
static void name_conditions(Query *query, Node *jtnode);
static void keep_all_columns(Query *query, JoinExpr *join);
static void add_columns(Query *query, Node *arm, List *numbers, RangeTblEntry *joined, List **names);
static Node *spell_distinct(DistinctExpr *distinct);
static Node *spell_nullif(NullIfExpr *nullif);
static Node *spell_case(CaseExpr *expr);
static Node *exchange_test(Node *node, Node *value);
static Node *is_null(Node *value);


Query *
kv_spell_out(Query *query)
{
	query = spell_query(query);
	kv_qualify_sorts(query);
	return query;
}

/*
 * Has a query print its columns with their tables where ORDER BY would take a bare name for another column, of the result: of one
 * entry Postgres prints names alone, of two it does not, whether the second is read or not.
 */
void
kv_qualify_sorts(Query *query)
{
	RangeTblEntry *second;

	if (list_length(query->rtable) != 1 || !sorts_by_hidden_column(query))
		return;
	second = makeNode(RangeTblEntry);
	second->rtekind = RTE_RESULT;
	second->eref = makeAlias("kv_unread", NIL);
	query->rtable = lappend(query->rtable, second);
}

/* Does a query sort by a column of its only table that has the name of another column of the result? */
static bool
sorts_by_hidden_column(Query *query)
{
	ListCell   *cell;

	foreach(cell, query->sortClause)
	{
		Node	   *sort = get_sortgroupclause_expr(lfirst_node(SortGroupClause, cell), query->targetList);
		ListCell   *target;

		foreach(target, IsA(sort, Var) && ((Var *) sort)->varattno > 0 ? query->targetList : NIL)
		{
			TargetEntry *column = lfirst_node(TargetEntry, target);

			if (!column->resjunk && !equal(column->expr, sort) &&
				strcmp(column->resname, get_rte_attribute_name(linitial_node(RangeTblEntry, query->rtable), ((Var *) sort)->varattno)) == 0)
				return true;
		}
	}
	return false;
}

/* Spells out what stands below a node, then the node. */
static Node *
spell_mutator(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) spell_query((Query *) node);
	node = expression_tree_mutator(node, spell_mutator, context);
	switch (nodeTag(node))
	{
		case T_DistinctExpr:
			return spell_distinct((DistinctExpr *) node);
		case T_NullIfExpr:
			return spell_nullif((NullIfExpr *) node);
		case T_CaseExpr:
			return spell_case((CaseExpr *) node);
		default:
			return node;
	}
}

/* Spells out a query. If one join's USING is written as ON, all are: there are two columns of the name below the others then. */
static Query *
spell_query(Query *query)
{
	query = query_tree_mutator(query, spell_mutator, NULL, 0);
	if (has_foreign_using((Node *) query->jointree, NULL))
	{
		kv_normalize_aliases(query);
		name_conditions(query, (Node *) query->jointree);
	}
	return query;
}

/* ------------------------------------------------------------------ JOIN USING */

static bool
has_foreign_using(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, JoinExpr) && ((JoinExpr *) node)->usingClause && uses_foreign_operator(((JoinExpr *) node)->quals, NULL))
		return true;
	return expression_tree_walker(node, has_foreign_using, context);
}

static bool
uses_foreign_operator(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, OpExpr) && is_foreign(((OpExpr *) node)->opno))
		return true;
	return expression_tree_walker(node, uses_foreign_operator, context);
}

/* Is it an operator that a text under another search_path may not find? */
static bool
is_foreign(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	bool		foreign = false;

	if (HeapTupleIsValid(tuple))
	{
		foreign = ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace != PG_CATALOG_NAMESPACE;
		ReleaseSysCache(tuple);
	}
	return foreign;
}

/* Has all joins below a node print their conditions; nothing refers to the joins' own columns any more. */
static void
name_conditions(Query *query, Node *jtnode)
{
	ListCell   *cell;

	if (IsA(jtnode, FromExpr))
	{
		foreach(cell, ((FromExpr *) jtnode)->fromlist)
			name_conditions(query, lfirst(cell));
	}
	else if (IsA(jtnode, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) jtnode;

		name_conditions(query, join->larg);
		name_conditions(query, join->rarg);
		if (join->usingClause)
			keep_all_columns(query, join);
		join->usingClause = NIL;
		join->isNatural = false;
		join->join_using_alias = NULL;
		join->alias = NULL;		/* it would hide the tables */
		rt_fetch(join->rtindex, query->rtable)->alias = NULL;
		rt_fetch(join->rtindex, query->rtable)->join_using_alias = NULL;
	}
}

/* Makes a join with USING one that has the columns of both sides; their types are of no account to the deparser. */
static void
keep_all_columns(Query *query, JoinExpr *join)
{
	RangeTblEntry *rte = rt_fetch(join->rtindex, query->rtable);
	List	   *names = NIL;

	rte->joinmergedcols = 0;
	rte->joinaliasvars = NIL;
	add_columns(query, join->larg, rte->joinleftcols, rte, &names);
	add_columns(query, join->rarg, rte->joinrightcols, rte, &names);
	rte->eref = makeAlias("unnamed_join", names);
}

static void
add_columns(Query *query, Node *arm, List *numbers, RangeTblEntry *joined, List **names)
{
	int			rti = IsA(arm, RangeTblRef) ? ((RangeTblRef *) arm)->rtindex : castNode(JoinExpr, arm)->rtindex;
	ListCell   *cell;

	foreach(cell, numbers)
	{
		joined->joinaliasvars = lappend(joined->joinaliasvars, makeVar(rti, lfirst_int(cell), INT4OID, -1, InvalidOid, 0));
		*names = lappend(*names, copyObject(list_nth(rt_fetch(rti, query->rtable)->eref->colnames, lfirst_int(cell) - 1)));
	}
}

/* ------------------------------------------------------------------ expressions */

/* a IS DISTINCT FROM b: (a = b) IS NOT TRUE AND NOT (a IS NULL AND b IS NULL) */
static Node *
spell_distinct(DistinctExpr *distinct)
{
	OpExpr	   *equal;
	BooleanTest *differs;
	Node	   *both;

	if (!is_foreign(distinct->opno))
		return (Node *) distinct;
	equal = (OpExpr *) copyObject((Node *) distinct);
	NodeSetTag(equal, T_OpExpr);
	differs = makeNode(BooleanTest);
	differs->arg = (Expr *) equal;
	differs->booltesttype = IS_NOT_TRUE;
	differs->location = distinct->location;
	both = (Node *) makeBoolExpr(AND_EXPR, list_make2(is_null(linitial(distinct->args)), is_null(lsecond(distinct->args))), -1);
	return (Node *) makeBoolExpr(AND_EXPR, list_make2(differs, makeBoolExpr(NOT_EXPR, list_make1(both), -1)), distinct->location);
}

static Node *
is_null(Node *value)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = copyObject((Expr *) value);
	test->nulltesttype = IS_NULL;
	test->argisrow = false;
	test->location = -1;
	return (Node *) test;
}

/* NULLIF(a, b): CASE WHEN a = b THEN NULL ELSE a END */
static Node *
spell_nullif(NullIfExpr *nullif)
{
	Node	   *value = linitial(nullif->args);
	OpExpr	   *equal;
	CaseExpr   *result;
	CaseWhen   *when;

	if (!is_foreign(nullif->opno))
		return (Node *) nullif;
	equal = (OpExpr *) copyObject((Node *) nullif);
	NodeSetTag(equal, T_OpExpr);
	equal->opresulttype = BOOLOID;
	equal->opcollid = InvalidOid;
	when = makeNode(CaseWhen);
	when->expr = (Expr *) equal;
	when->result = (Expr *) makeNullConst(exprType(value), exprTypmod(value), exprCollation(value));
	when->location = nullif->location;
	result = makeNode(CaseExpr);
	result->casetype = exprType(value);
	result->casecollid = exprCollation(value);
	result->args = list_make1(when);
	result->defresult = copyObject((Expr *) value);
	result->location = nullif->location;
	return (Node *) result;
}

/* CASE x WHEN a THEN ...: CASE WHEN x = a THEN ... */
static Node *
spell_case(CaseExpr *expr)
{
	bool		foreign = false;
	ListCell   *cell;

	foreach(cell, expr->args)
		foreign |= expr->arg != NULL && IsA(lfirst_node(CaseWhen, cell)->expr, OpExpr) &&
			is_foreign(((OpExpr *) lfirst_node(CaseWhen, cell)->expr)->opno);
	if (!foreign)
		return (Node *) expr;
	foreach(cell, expr->args)
	{
		OpExpr	   *equal = castNode(OpExpr, lfirst_node(CaseWhen, cell)->expr);

		linitial(equal->args) = exchange_test(linitial(equal->args), (Node *) expr->arg);
	}
	expr->arg = NULL;
	return (Node *) expr;
}

/* Puts the value in the place where CASE compares it, below the casts there may be. */
static Node *
exchange_test(Node *node, Node *value)
{
	switch (nodeTag(node))
	{
		case T_CaseTestExpr:
			return copyObject(value);
		case T_RelabelType:
			((RelabelType *) node)->arg = (Expr *) exchange_test((Node *) ((RelabelType *) node)->arg, value);
			return node;
		case T_CoerceViaIO:
			((CoerceViaIO *) node)->arg = (Expr *) exchange_test((Node *) ((CoerceViaIO *) node)->arg, value);
			return node;
		case T_ArrayCoerceExpr:
			((ArrayCoerceExpr *) node)->arg = (Expr *) exchange_test((Node *) ((ArrayCoerceExpr *) node)->arg, value);
			return node;
		case T_FuncExpr:
			linitial(((FuncExpr *) node)->args) = exchange_test(linitial(((FuncExpr *) node)->args), value);
			return node;
		default:
			elog(ERROR, "unexpected node %d where CASE compares", (int) nodeTag(node));
	}
}
