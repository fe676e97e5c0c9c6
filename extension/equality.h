/*
 * equality.h: what equality tells of values.
 */
#ifndef KV_EQUALITY_H
#define KV_EQUALITY_H

#include "postgres.h"

/* Are equal values of the type the same bytes? */
extern bool kv_equality_is_identity(Oid type, Oid collation);
/* Do two types tell the same values apart, by their default equality? */
extern bool kv_equality_is_shared(Oid type, Oid collation, Oid other_type, Oid other_collation);
/* Is an operator with this collation the equality of the type, or of its family? */
extern bool kv_equality_is_of(Oid operator, Oid operator_collation, Oid type, Oid collation);
/* Are values of the type the same bytes where an operator with this collation finds them equal? */
extern bool kv_equality_tells_bytes(Oid operator, Oid operator_collation, Oid type);

#endif							/* KV_EQUALITY_H */
