/*
 * affected.h: the statements that find which rows of an arm over tables the changes of
 * its inputs reach, and keep the copies of the inputs.
 */
#ifndef KV_AFFECTED_H
#define KV_AFFECTED_H

#include "view_def.h"
#include "statement.h"

/* The anchors of an arm that the changes of a (sub)batch reach, as a capture. */
typedef struct Affected
{
	ViewArm    *arm;
	char	   *capture;		/* may hold an anchor more than once */
	List	   *names;			/* char *: its columns, those of the anchor that are not constants */
	List	   *types;			/* Oid */
	List	   *nullable;		/* int */
	bool		is_input;		/* the capture is the last rows of the arm's only input, deleted ones too */
} Affected;

/*
 * Appends to statements what captures the anchors: in a capture of that name whose columns are names (char *); where the arm has one input
 * only, its last rows by the names they have.
 */
extern Affected *kv_affected_statements(ViewArm *arm, char *capture, List *names, List **statements);
/*
 * The arm's query with these targets, over the last rows of its only input, or restricted to the affected anchors; then
 * anchor_names are the names of the anchor's columns among the targets.
 */
extern char *kv_affected_rows(Affected *affected, List *targets, List *anchor_names);
/* FROM item "affected": the distinct anchors. */
extern char *kv_affected_distinct(Affected *affected);

#endif							/* KV_AFFECTED_H */
