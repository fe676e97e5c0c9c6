/*
 * refuse.h: every reason why a query cannot be a continuous view: where, why, and
 * what to write instead. Checks return a Refusal or NULL; kv_refuse raises it.
 */
#ifndef KV_REFUSE_H
#define KV_REFUSE_H

#include "kafka_views.h"
#include "nodes/parsenodes.h"

typedef struct Refusal
{
	int			sqlcode;		/* ERRCODE_FEATURE_NOT_SUPPORTED unless said otherwise */
	int			location;		/* byte position in the statement's text, -1 */
	char	   *message;		/* continuous view "v" cannot use LIMIT: %s-free; the name is put in by kv_refuse for "%s" */
	char	   *detail;
	char	   *hint;
	char	   *later_hint;	/* what to do where the view exists already and something under it has changed; may be NULL */
} Refusal;

extern Refusal *kv_refusal(int location, const char *message, const char *detail, const char *hint);
/* Checks the parts of a query that need no knowledge of its inputs: volatile functions, now(), LIMIT, window functions ... */
extern Refusal *kv_refuse_query(Query *query);
/* Checks the functions of a tree alone: volatile, now() and its kin. */
extern Refusal *kv_refuse_functions(Node *node);
extern Refusal *kv_refuse_constant_rows(Node *targets);
/* Raises the refusal for the view named name; position is set where location is known. */
extern void kv_refuse(const Refusal *refusal, const char *name, const char *source_text) pg_attribute_noreturn();

#endif							/* KV_REFUSE_H */
