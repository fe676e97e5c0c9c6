/*
 * row_keys.c: the keys of a view over tables, and the anchors of its arms.
 *
 * The key of a view that does not aggregate is a set of its columns that tells which row of every table a row is made of
 * (closure.h), and which arm made it. An arm's anchor is what of it belongs to tables that are joined inner: every row
 * with that anchor is computed again when a change reaches it, so its rows must be found by it, in the view as in the tables. Under an
 * aggregate nothing is selected by the user, and the anchor is made of the tables' keys.
 *
 * Invariant: no two rows of the view agree in its key, nulls being the same; no row of another arm has an arm's anchor,
 * unless both arms have the same columns as their anchor (recompute.c computes them together).
 */
#include "row_keys.h"

#include "catalog/pg_am.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "closure.h"
#include "equality.h"

static Refusal *check_reach(ViewArm *arm);
static bool is_reached(ViewInput *input, Bitmapset *reached);
static Refusal *find_keys(ViewDef *view);
static List *candidates(ViewDef *view);
static bool is_kept(ViewArm *arm, Form_pg_attribute column);
static bool covers(ViewArm *arm, List *columns, Bitmapset *entries);
static Refusal *refuse_unselected(ViewArm *arm, List *columns);
static bool has_inner_column(ViewArm *arm, List *columns);
static Refusal *refuse_without(ViewArm *arm, ViewInput *input, AttrNumber key);
static Refusal *refuse_alike(ViewDef *view, List *columns);
static bool are_apart(ViewArm *one, ViewArm *other, List *columns, bool nulls_aside);
static bool is_table_key(ViewArm *arm, Node *node);
static bool constants_differ(Const *one, Const *other);
static bool absent_in_other(ViewArm *one, ViewArm *other, List *columns, bool nulls_aside);
static bool compares_as(OpExpr *equality, Var *column);
static bool suffices(ViewDef *view, List *columns);
static List *drop_needless(ViewDef *view, List *columns);
static bool is_key_column(ViewDef *view, AttrNumber column);
static void anchor_in_result(ViewDef *view, ViewArm *arm);
static void anchor_in_tables(ViewArm *arm);
static void shorten_anchor(ViewArm *arm, Bitmapset *tables);
static AnchorColumn *anchor_column(ViewArm *arm, Node *source, AttrNumber attno);
static bool anchor_covers(ViewArm *arm, List *anchor, Bitmapset *entries);
static List *order_by_use(ViewDef *view);
static Node *column_of_arm(ViewDef *view, ViewArm *arm, AttrNumber column);

/* Finds anchors and keys; see row_keys.h. */
Refusal *
kv_row_keys(ViewDef *view)
{
	Refusal    *refusal = NULL;

	for (int i = 0; i < view->narms && !refusal; i++)
		refusal = check_reach(&view->arms[i]);
	if (!refusal && view->groups == NULL)
		refusal = find_keys(view);
	for (int i = 0; i < view->narms && !refusal; i++)
	{
		if (view->groups)
			anchor_in_tables(&view->arms[i]);
		else
			anchor_in_result(view, &view->arms[i]);
	}
	if (refusal || view->groups)
		return refusal;
	view->keys = order_by_use(view);
	return NULL;
}

/* Checks that from a changed row of each table the rows of all others that it meets are found by their columns. */
static Refusal *
check_reach(ViewArm *arm)
{
	for (int from = 0; from < arm->ninputs; from++)
	{
		Bitmapset  *reached = bms_make_singleton(arm->inputs[from].rti);
		bool		changed = true;

		while (changed)
		{
			changed = false;
			for (int i = 0; i < arm->ninputs; i++)
			{
				if (bms_is_member(arm->inputs[i].rti, reached) || !is_reached(&arm->inputs[i], reached))
					continue;
				reached = bms_add_member(reached, arm->inputs[i].rti);
				changed = true;
			}
		}
		for (int i = 0; i < arm->ninputs; i++)
		{
			if (!bms_is_member(arm->inputs[i].rti, reached))
				return kv_refusal(-1, psprintf("continuous view \"%%s\" cannot find rows of \"%s\" from a changed row of \"%s\"",
											   rt_fetch(arm->inputs[i].rti, arm->query->rtable)->eref->aliasname,
											   rt_fetch(arm->inputs[from].rti, arm->query->rtable)->eref->aliasname),
								  "They are joined on the result of a function in FROM, or on an expression that no index can hold: of several tables, of no type with an order, or dependent on a setting such as TimeZone.",
								  "Make a continuous view that has the expression as a column (of a function's rows: WITH ORDINALITY, with its number selected), and join that.");
		}
	}
	return NULL;
}

/* Can rows of the input be looked up by what is reached? */
static bool
is_reached(ViewInput *input, Bitmapset *reached)
{
	ListCell   *cell;

	foreach(cell, input->probes)
		if (bms_is_subset(((Probe *) lfirst(cell))->others, reached))
			return true;
	return false;
}

/* Finds the columns that tell the view's rows apart. */
static Refusal *
find_keys(ViewDef *view)
{
	List	   *columns = candidates(view);
	Refusal    *refusal = NULL;

	for (int i = 0; i < view->narms && !refusal; i++)
	{
		if (!covers(&view->arms[i], columns, kv_arm_entries(&view->arms[i], true)) || !has_inner_column(&view->arms[i], columns))
			refusal = refuse_unselected(&view->arms[i], columns);
	}
	if (!refusal)
		refusal = refuse_alike(view, columns);
	if (!refusal)
		view->keys = drop_needless(view, columns);
	return refusal;
}

/* Lists the columns that may be part of the key: in every arm a table's column or a constant, of a type with an order and, however cast, the same equality. */
static List *
candidates(ViewDef *view)
{
	List	   *columns = NIL;

	for (int column = 1; column <= view->result->natts; column++)
	{
		bool		usable = OidIsValid(GetDefaultOpClass(TupleDescAttr(view->result, column - 1)->atttypid, BTREE_AM_OID));

		for (int i = 0; i < view->narms && usable; i++)
			usable = is_kept(&view->arms[i], TupleDescAttr(view->result, column - 1));
		if (usable)
			columns = lappend_int(columns, column);
	}
	return columns;
}

/* Is a column of the result a column or constant of the arm, and tells the same values apart? */
static bool
is_kept(ViewArm *arm, Form_pg_attribute column)
{
	Node	   *value = kv_arm_column(arm, column->attnum);

	return value != NULL && kv_equality_is_shared(exprType(value), exprCollation(value), column->atttypid, column->attcollation);
}

/* Do the columns determine the rows of these entries? */
static bool
covers(ViewArm *arm, List *columns, Bitmapset *entries)
{
	Closure    *closure = kv_closure_begin(arm);
	ListCell   *cell;

	foreach(cell, columns)
		kv_closure_add(closure, kv_arm_column(arm, lfirst_int(cell)));
	return bms_is_subset(entries, closure->rows);
}

/* Is one of the columns that of an inner table? Constants in WHERE may determine everything, but rows are found by columns. */
static bool
has_inner_column(ViewArm *arm, List *columns)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		Var		   *var = (Var *) kv_arm_column(arm, lfirst_int(cell));
		ViewInput  *input = IsA(var, Var) ? kv_arm_input(arm, var->varno) : NULL;

		if (input != NULL && bms_is_member(var->varno, kv_arm_entries(arm, false)))
			return true;
	}
	return false;
}

/* Names a column without which rows of the arm cannot be told apart. */
static Refusal *
refuse_unselected(ViewArm *arm, List *columns)
{
	Closure    *closure = kv_closure_begin(arm);
	ListCell   *cell;

	foreach(cell, columns)
		kv_closure_add(closure, kv_arm_column(arm, lfirst_int(cell)));
	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewInput  *input = &arm->inputs[i];

		foreach(cell, input->keys)
			if (!bms_is_member(input->rti, closure->rows) && !bms_is_member(lfirst_int(cell), closure->columns[input->rti]))
				return refuse_without(arm, input, lfirst_int(cell));
	}
	for (int i = 0; i < arm->ninputs && bms_is_subset(kv_arm_entries(arm, true), closure->rows); i++)
		if (bms_is_member(arm->inputs[i].rti, kv_arm_entries(arm, false)))
			return refuse_without(arm, &arm->inputs[i], linitial_int(arm->inputs[i].keys));
	return kv_refusal(exprLocation((Node *) arm->query->targetList),
					  "continuous view \"%s\" must select the number of each row that its function gives",
					  "Rows of a view over tables change and go, and are found again by their key.",
					  "Write WITH ORDINALITY behind the function, and add the column ordinality to the select list; "
					  "VALUES or a subquery can be written as unnest(ARRAY[...]) WITH ORDINALITY.");
}

static Refusal *
refuse_without(ViewArm *arm, ViewInput *input, AttrNumber key)
{
	return kv_refusal(exprLocation((Node *) arm->query->targetList),
					  psprintf("continuous view \"%%s\" must select \"%s.%s\"",
							   rt_fetch(input->rti, arm->query->rtable)->eref->aliasname, get_attname(input->relid, key, false)),
					  "Rows of a view over tables change and go, and are found again by the keys of the tables they are made of.",
					  "Add the column to the select list, as it is.");
}

/* Refuses arms whose rows may have the same key. */
static Refusal *
refuse_alike(ViewDef *view, List *columns)
{
	for (int i = 0; i < view->narms; i++)
		for (int j = i + 1; j < view->narms; j++)
		{
			if (are_apart(&view->arms[i], &view->arms[j], columns, false))
				continue;
			if (are_apart(&view->arms[i], &view->arms[j], columns, true))
				return kv_refusal(exprLocation((Node *) view->arms[j].query->targetList),
								  "continuous view \"%s\" cannot have null keys on both sides of a FULL JOIN",
								  "A null has no match, so each side may have a row with it, and both rows have the same key.",
								  "Read tables without such rows: continuous views whose key cannot be null, for example by WHERE ... IS NOT NULL.");
			return kv_refusal(exprLocation((Node *) view->arms[j].query->targetList),
								  "continuous view \"%s\" must tell the rows of the tables that it unites apart",
								  "Rows of both can have the same key, so neither would be found again when it changes.",
								  "Add a constant column to the select list of each, with a different value: SELECT 'a' AS source, ...");
		}
	return NULL;
}

/* Can no row of one arm have the key of a row of the other, nulls in columns of tables set aside or not? */
static bool
are_apart(ViewArm *one, ViewArm *other, List *columns, bool nulls_aside)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		Node	   *a = kv_arm_column(one, lfirst_int(cell));
		Node	   *b = kv_arm_column(other, lfirst_int(cell));
		bool		a_null = IsA(a, Const) && ((Const *) a)->constisnull;
		bool		b_null = IsA(b, Const) && ((Const *) b)->constisnull;

		if (IsA(a, Const) && IsA(b, Const) && !a_null && !b_null && constants_differ((Const *) a, (Const *) b))
			return true;
		/* a column that is no key follows from one, and rows would be looked for by that alone: those of both arms */
		if ((a_null && is_table_key(other, b) && (nulls_aside || kv_arm_not_null(other, b))) ||
			(b_null && is_table_key(one, a) && (nulls_aside || kv_arm_not_null(one, a))))
			return true;
	}
	return absent_in_other(one, other, columns, nulls_aside) || absent_in_other(other, one, columns, nulls_aside);
}

/* Is it a column of the key of one of the arm's tables? */
static bool
is_table_key(ViewArm *arm, Node *node)
{
	for (int i = 0; IsA(node, Var) && i < arm->ninputs; i++)
		if (arm->inputs[i].rti == ((Var *) node)->varno)
			return list_member_int(arm->inputs[i].keys, ((Var *) node)->varattno);
	return false;
}

/* Are two constants different values of one type? */
static bool
constants_differ(Const *one, Const *other)
{
	TypeCacheEntry *type = lookup_type_cache(one->consttype, TYPECACHE_EQ_OPR_FINFO);

	return one->consttype == other->consttype && OidIsValid(type->eq_opr) &&
		!DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, one->constcollid, one->constvalue, other->constvalue));
}

/*
 * Does one arm have rows only where a table has no row with the same values, and the other such rows only? So it is with the two
 * sides of a FULL JOIN, whose columns are one in the result (USING). A null equals nothing, so one of the columns must not be null.
 */
static bool
absent_in_other(ViewArm *one, ViewArm *other, List *columns, bool nulls_aside)
{
	Closure    *closure = kv_closure_begin(one);
	Bitmapset  *entries = kv_arm_entries(one, true);
	int			rti = -1;

	while ((rti = bms_next_member(entries, rti)) >= 0)
	{
		ViewInput  *absent = kv_arm_input(one, rti);
		List	   *equalities;
		bool		all = true;
		bool		not_null = false;
		int			there = 0;
		ListCell   *cell;

		if (absent == NULL || !kv_entry_is_absent(closure, rti))
			continue;
		equalities = kv_left_join_equalities(closure, rti);
		all = equalities != NIL;
		foreach(cell, equalities)
		{
			List	   *sides = lfirst_node(OpExpr, cell)->args;
			bool		found = false;
			ListCell   *column;

			foreach(column, columns)
			{
				Node	   *mine = kv_arm_column(one, lfirst_int(column));
				Var		   *theirs = (Var *) kv_arm_column(other, lfirst_int(column));
				ViewInput  *input = IsA(theirs, Var) ? kv_arm_input(other, theirs->varno) : NULL;

				for (int side = 0; side < 2 && input != NULL && input->relid == absent->relid; side++)
				{
					Var		   *key = (Var *) list_nth(sides, side);

					if (!IsA(key, Var) || key->varno != rti || key->varattno != theirs->varattno || !compares_as(lfirst(cell), theirs) ||
						!equal(list_nth(sides, 1 - side), mine) || (there != 0 && there != theirs->varno))
						continue;
					there = theirs->varno;
					found = true;
					not_null |= nulls_aside || kv_arm_not_null(one, mine) || kv_arm_not_null(other, (Node *) theirs);
				}
			}
			all &= found;
		}
		if (all && not_null && bms_is_member(there, kv_arm_entries(other, false)))
			return true;
	}
	return false;
}

/* Does an equality hold of all values that are equal to a column's by the column's own? */
static bool
compares_as(OpExpr *equality, Var *column)
{
	return kv_equality_is_identity(column->vartype, column->varcollid) ||
		kv_equality_is_of(equality->opno, equality->inputcollid, column->vartype, column->varcollid);
}

/* Do the columns tell the view's rows apart? */
static bool
suffices(ViewDef *view, List *columns)
{
	for (int i = 0; i < view->narms; i++)
		if (!has_inner_column(&view->arms[i], columns) || !covers(&view->arms[i], columns, kv_arm_entries(&view->arms[i], true)))
			return false;
	return refuse_alike(view, columns) == NULL;
}

/* Drops columns as long as the others suffice: those that are in no table's key first, and of equal ones the last. */
static List *
drop_needless(ViewDef *view, List *columns)
{
	for (int keys_too = 0; keys_too < 2; keys_too++)
	{
		for (int i = list_length(columns) - 1; i >= 0; i--)
		{
			List	   *fewer;

			if (!keys_too && is_key_column(view, list_nth_int(columns, i)))
				continue;
			fewer = list_delete_nth_cell(list_copy(columns), i);
			if (suffices(view, fewer))
				columns = fewer;
		}
	}
	return columns;
}

/* Is it in some arm a column of a table's key? */
static bool
is_key_column(ViewDef *view, AttrNumber column)
{
	for (int i = 0; i < view->narms; i++)
	{
		Var		   *var = (Var *) kv_arm_column(&view->arms[i], column);
		ViewInput  *input = IsA(var, Var) ? kv_arm_input(&view->arms[i], var->varno) : NULL;

		if (input != NULL && list_member_int(input->keys, var->varattno))
			return true;
	}
	return false;
}

/* Makes the anchor of the key's columns: those of inner tables that determine the rows of all of these, and constants. */
static void
anchor_in_result(ViewDef *view, ViewArm *arm)
{
	Bitmapset  *inner = kv_arm_entries(arm, false);
	Bitmapset  *tables = NULL;
	ListCell   *cell;

	for (int i = 0; i < arm->ninputs; i++)
		if (bms_is_member(arm->inputs[i].rti, inner))
			tables = bms_add_member(tables, arm->inputs[i].rti);
	foreach(cell, view->keys)
	{
		AttrNumber	attno = lfirst_int(cell);
		Node	   *column = kv_arm_column(arm, attno);

		if (IsA(column, Const) || bms_is_member(((Var *) column)->varno, inner))
			arm->anchor = lappend(arm->anchor, anchor_column(arm, (Node *) get_tle_by_resno(arm->query->targetList, attno)->expr, attno));
	}
	shorten_anchor(arm, tables);
}

/* Makes the anchor of the keys of inner tables, without what follows from others. */
static void
anchor_in_tables(ViewArm *arm)
{
	Bitmapset  *inner = kv_arm_entries(arm, false);
	Bitmapset  *tables = NULL;
	ListCell   *cell;

	for (int i = 0; i < arm->ninputs; i++)
	{
		ViewInput  *input = &arm->inputs[i];

		if (!bms_is_member(input->rti, inner))
			continue;
		tables = bms_add_member(tables, input->rti);
		foreach(cell, input->keys)
		{
			Oid			type;
			int32		typmod;
			Oid			collation;

			get_atttypetypmodcoll(input->relid, lfirst_int(cell), &type, &typmod, &collation);
			arm->anchor = lappend(arm->anchor, anchor_column(arm, (Node *) makeVar(input->rti, lfirst_int(cell), type, typmod, collation, 0), 0));
		}
	}
	shorten_anchor(arm, tables);
}

/* Drops columns from the anchor, the last first, as long as the others determine the rows of the tables; constants and one column stay. */
static void
shorten_anchor(ViewArm *arm, Bitmapset *tables)
{
	int			left = 0;
	ListCell   *cell;

	foreach(cell, arm->anchor)
		left += IsA(((AnchorColumn *) lfirst(cell))->source, Const) ? 0 : 1;
	for (int i = list_length(arm->anchor) - 1; i >= 0; i--)
	{
		List	   *fewer = list_delete_nth_cell(list_copy(arm->anchor), i);

		if (left == 1 || IsA(((AnchorColumn *) list_nth(arm->anchor, i))->source, Const) || !anchor_covers(arm, fewer, tables))
			continue;
		arm->anchor = fewer;
		left--;
	}
	arm->anchor_is_row = anchor_covers(arm, arm->anchor, kv_arm_entries(arm, true));
}

static AnchorColumn *
anchor_column(ViewArm *arm, Node *source, AttrNumber attno)
{
	AnchorColumn *column = palloc0(sizeof(AnchorColumn));

	column->source = source;
	column->attno = attno;
	column->nullable = !kv_arm_not_null(arm, source);
	return column;
}

/* Does the anchor determine the rows of these entries? */
static bool
anchor_covers(ViewArm *arm, List *anchor, Bitmapset *entries)
{
	Closure    *closure = kv_closure_begin(arm);
	ListCell   *cell;

	foreach(cell, anchor)
		kv_closure_add(closure, ((AnchorColumn *) lfirst(cell))->source);
	return bms_is_subset(entries, closure->rows);
}

/* Gives the key with the columns first that are in the anchors of most arms, so that its index finds rows by anchor too. */
static List *
order_by_use(ViewDef *view)
{
	List	   *ordered = NIL;

	for (int uses = view->narms; uses >= 0; uses--)
	{
		ListCell   *cell;

		foreach(cell, view->keys)
		{
			int			used = 0;

			for (int i = 0; i < view->narms; i++)
			{
				ListCell   *column;

				foreach(column, view->arms[i].anchor)
					used += ((AnchorColumn *) lfirst(column))->attno == lfirst_int(cell);
			}
			if (used == uses)
				ordered = lappend_int(ordered, lfirst_int(cell));
		}
	}
	return ordered;
}

/* Finds the columns of the result that are never null; see row_keys.h. */
void
kv_find_not_null(ViewDef *view)
{
	for (int column = 1; column <= view->result->natts; column++)
	{
		bool		not_null = true;

		for (int i = 0; i < view->narms && not_null; i++)
		{
			Node	   *value = column_of_arm(view, &view->arms[i], column);

			not_null = value != NULL && kv_arm_not_null(&view->arms[i], value);
		}
		if (not_null)
			view->not_null = bms_add_member(view->not_null, column);
	}
}

/* Gives what a column of the result is in an arm, of groups a key that is a row column; NULL: an expression. */
static Node *
column_of_arm(ViewDef *view, ViewArm *arm, AttrNumber column)
{
	TargetEntry *target;

	if (view->groups == NULL)
		return kv_arm_column(arm, column);
	target = get_tle_by_resno(view->groups->targetList, column);
	if (!list_member_int(view->keys, column) || !IsA(target->expr, Var))
		return NULL;
	return kv_arm_column(arm, ((Var *) target->expr)->varattno);
}
