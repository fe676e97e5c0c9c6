/* note_times.h: how the statements of a view note the event times of the rows they write (row_time.h). */
#ifndef KV_NOTE_TIMES_H
#define KV_NOTE_TIMES_H

#include "view_def.h"

/* Makes this backend ready for the notes of a view's statements, and for publishing its rows; kv_row_times_end ends it. */
extern void kv_note_times_begin(const ViewDef *view);
/* Must the statements that insert the view's rows note their times? */
extern bool kv_note_times_of_rows(const ViewDef *view);
/*
 * Gives the event time of a row that query makes, which kv_delta_query made for the arm's input number driver (-1: of buffers
 * alone): the greatest of the driving rows that met in it.
 */
extern Node *kv_note_event_time(const ViewArm *arm, Query *query, int driver);
/* Makes a query that groups note the greatest time (over its rows) of every group under its key. */
extern void kv_note_group_times(Query *query, Node *time);
/* Prints a query that makes rows of the view so that it notes the time of each. */
extern char *kv_note_row_times(const ViewDef *view, Query *query, Node *time);
/* Prints a query that makes at most one row of every group, with columns of these names, so that it notes the row's time under the group's keys. */
extern char *kv_note_key_times(Query *query, List *names, List *key_names, Node *time);

#endif							/* KV_NOTE_TIMES_H */
