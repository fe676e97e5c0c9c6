/*
 * equality.c: what equality tells of values.
 *
 * Why it exists: equal values need not be the same. 1.0 and 1.00 are equal and two different results, so are 0 and -0, '24 hours' and
 * '1 day', and what a nondeterministic collation does not tell apart. A key, a group and a join see equality; what is written, and what
 * an expression makes of a value, see the bytes. So an equal value may be looked for, but never put in the place of another.
 * And one equality implies another only where both are of one family, under one collation, or where the first tells bytes apart.
 */
#include "equality.h"

#include "access/nbtree.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static bool is_builtin(Oid type);
static bool same_collation(Oid collation, Oid other);

/*
 * Tells whether equal values are the same bytes; see equality.h: as the btree operator class says. A type without
 * an order says nothing. (That of char(n) says so for values of one length only.)
 */
bool
kv_equality_is_identity(Oid type, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
	Oid			same = InvalidOid;

	if (!is_builtin(type) || getBaseType(type) == BPCHAROID)
		return false;
	if (OidIsValid(entry->btree_opf))
		same = get_opfamily_proc(entry->btree_opf, entry->btree_opintype, entry->btree_opintype, BTEQUALIMAGE_PROC);
	return OidIsValid(same) && DatumGetBool(OidFunctionCall1Coll(same, collation, ObjectIdGetDatum(entry->btree_opintype)));
}

/* Is the type's equality Postgres' own? */
static bool
is_builtin(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple;
	bool		builtin;

	if (!OidIsValid(operator))
		return false;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	builtin = ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace == PG_CATALOG_NAMESPACE;
	ReleaseSysCache(tuple);
	return builtin;
}

/* Compares two equalities; see equality.h. */
bool
kv_equality_is_shared(Oid type, Oid collation, Oid other_type, Oid other_collation)
{
	Oid			family = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	Oid			other_family = lookup_type_cache(other_type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;

	if (OidIsValid(family) && family == other_family && same_collation(collation, other_collation))
		return true;
	return kv_equality_is_identity(type, collation) && kv_equality_is_identity(other_type, other_collation);
}

/* Do two collations find the same values equal? Deterministic ones compare bytes in the end. */
static bool
same_collation(Oid collation, Oid other)
{
	return collation == other || ((!OidIsValid(collation) || get_collation_isdeterministic(collation)) &&
								  (!OidIsValid(other) || get_collation_isdeterministic(other)));
}

/* Tells whether an operator is a type's equality; see equality.h. */
bool
kv_equality_is_of(Oid operator, Oid operator_collation, Oid type, Oid collation)
{
	Oid			family = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;

	return OidIsValid(family) && get_op_opfamily_strategy(operator, family) == BTEqualStrategyNumber && same_collation(operator_collation, collation);
}

/* Tells whether an operator compares bytes; see equality.h. */
bool
kv_equality_tells_bytes(Oid operator, Oid operator_collation, Oid type)
{
	return kv_equality_is_identity(type, operator_collation) && kv_equality_is_of(operator, operator_collation, type, operator_collation);
}
