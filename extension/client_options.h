/*
 * client_options.h: which librdkafka properties a server or a user mapping may
 * set, and who may set them. Part of the room client.c, which makes the handles.
 */
#ifndef KV_CLIENT_OPTIONS_H
#define KV_CLIENT_OPTIONS_H

#include "kafka_views.h"
#include "nodes/pg_list.h"

/*
 * Checks one option of a server (in_user_mapping false) or a user mapping on a
 * scratch configuration; raises an error with librdkafka's words as DETAIL.
 * Underscores may stand for dots; gives back librdkafka's name, palloc'd.
 */
extern const char *kv_client_check_option(const char *name, const char *value, bool in_user_mapping);

/* Gives back librdkafka's name of an option, palloc'd: dots for underscores. */
extern char *kv_client_property_name(const char *option);

/* Gives the largest message that producers of a server with these options (a List of DefElem) take. */
extern int	kv_client_message_limit(List *options);
/* librdkafka's default, and the least that it allows. */
#define KV_MESSAGE_LIMIT 1000000
#define KV_MESSAGE_LIMIT_MIN 1000

/* The candidate that is nearest to a mistyped name, for a HINT; nearest is NULL where none is near. */
typedef struct NearestName
{
	const char *name;			/* as typed */
	const char *nearest;
	int			distance;
} NearestName;

extern void kv_nearest_consider(NearestName *match, const char *candidate);

#endif							/* KV_CLIENT_OPTIONS_H */
