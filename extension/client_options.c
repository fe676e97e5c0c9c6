/*-------------------------------------------------------------------------
 * client_options.c
 *	  The allowlist of librdkafka properties.
 *
 * Why it exists: an option of a server is handed to a library that can load
 * code, run a shell and read files of the server machine, and server options
 * can be read by every role. So each property has a class here that says where it may
 * stand and who may set it; librdkafka itself then checks the value on a scratch
 * configuration, and its own words are the DETAIL.
 *
 * Invariant: a secret never stands in a server option, and a secret's value is
 * never in a message.
 *-------------------------------------------------------------------------
 */
#include "client_options.h"

#include <librdkafka/rdkafka.h>

#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

typedef enum PropertyClass
{
	PROPERTY_TUNING,			/* server; anyone */
	PROPERTY_LOGIN,				/* server or user mapping; anyone */
	PROPERTY_SECRET,			/* user mapping only; anyone */
	PROPERTY_FILE,				/* server or user mapping; superusers: a file of the server machine */
	PROPERTY_SUPERUSER,			/* server; superusers: everything that has no class here */
	PROPERTY_ENGINE,			/* nobody: the engine owns it */
	PROPERTY_NEVER				/* nobody: loads code, runs a shell, is a mock or a callback */
} PropertyClass;

typedef struct Property
{
	const char *name;
	PropertyClass class;
} Property;

static const Property properties[] = {
	{"bootstrap.servers", PROPERTY_TUNING},
	{"broker.address.family", PROPERTY_TUNING},
	{"broker.address.ttl", PROPERTY_TUNING},
	{"check.crcs", PROPERTY_TUNING},
	{"client.id", PROPERTY_TUNING},
	{"client.rack", PROPERTY_TUNING},
	{"compression.codec", PROPERTY_TUNING},
	{"compression.level", PROPERTY_TUNING},
	{"compression.type", PROPERTY_TUNING},
	{"batch.num.messages", PROPERTY_TUNING},
	{"batch.size", PROPERTY_TUNING},
	{"connections.max.idle.ms", PROPERTY_TUNING},
	{"fetch.error.backoff.ms", PROPERTY_TUNING},
	{"fetch.max.bytes", PROPERTY_TUNING},
	{"fetch.message.max.bytes", PROPERTY_TUNING},
	{"fetch.min.bytes", PROPERTY_TUNING},
	{"fetch.wait.max.ms", PROPERTY_TUNING},
	{"linger.ms", PROPERTY_TUNING},
	{"max.partition.fetch.bytes", PROPERTY_TUNING},
	{"message.max.bytes", PROPERTY_TUNING},
	{"metadata.max.age.ms", PROPERTY_TUNING},
	{"queue.buffering.max.kbytes", PROPERTY_TUNING},
	{"queue.buffering.max.messages", PROPERTY_TUNING},
	{"queue.buffering.max.ms", PROPERTY_TUNING},
	{"queued.max.messages.kbytes", PROPERTY_TUNING},
	{"queued.min.messages", PROPERTY_TUNING},
	{"receive.message.max.bytes", PROPERTY_TUNING},
	{"reconnect.backoff.max.ms", PROPERTY_TUNING},
	{"reconnect.backoff.ms", PROPERTY_TUNING},
	{"request.timeout.ms", PROPERTY_TUNING},
	{"retry.backoff.ms", PROPERTY_TUNING},
	{"security.protocol", PROPERTY_TUNING},
	{"socket.connection.setup.timeout.ms", PROPERTY_TUNING},
	{"socket.keepalive.enable", PROPERTY_TUNING},
	{"socket.receive.buffer.bytes", PROPERTY_TUNING},
	{"socket.send.buffer.bytes", PROPERTY_TUNING},
	{"socket.timeout.ms", PROPERTY_TUNING},
	{"ssl.cipher.suites", PROPERTY_TUNING},
	{"ssl.endpoint.identification.algorithm", PROPERTY_TUNING},

	{"sasl.mechanism", PROPERTY_LOGIN},
	{"sasl.mechanisms", PROPERTY_LOGIN},
	{"sasl.username", PROPERTY_LOGIN},
	{"sasl.oauthbearer.client.id", PROPERTY_LOGIN},
	{"sasl.oauthbearer.scope", PROPERTY_LOGIN},
	{"sasl.oauthbearer.extensions", PROPERTY_LOGIN},
	{"ssl.ca.pem", PROPERTY_LOGIN},
	{"ssl.certificate.pem", PROPERTY_LOGIN},

	{"sasl.password", PROPERTY_SECRET},
	{"sasl.oauthbearer.client.secret", PROPERTY_SECRET},
	{"sasl.oauthbearer.config", PROPERTY_SECRET},
	{"ssl.key.password", PROPERTY_SECRET},
	{"ssl.key.pem", PROPERTY_SECRET},
	{"ssl.keystore.password", PROPERTY_SECRET},

	{"sasl.kerberos.keytab", PROPERTY_FILE},
	{"ssl.ca.location", PROPERTY_FILE},
	{"ssl.certificate.location", PROPERTY_FILE},
	{"ssl.crl.location", PROPERTY_FILE},
	{"ssl.key.location", PROPERTY_FILE},
	{"ssl.keystore.location", PROPERTY_FILE},

	{"acks", PROPERTY_ENGINE},
	{"allow.auto.create.topics", PROPERTY_ENGINE},
	{"auto.offset.reset", PROPERTY_ENGINE},
	{"delivery.report.only.error", PROPERTY_ENGINE},
	{"dr.copy.payload", PROPERTY_ENGINE},
	{"enable.gapless.guarantee", PROPERTY_ENGINE},
	{"enable.idempotence", PROPERTY_ENGINE},
	{"enable.partition.eof", PROPERTY_ENGINE},
	{"enable.random.seed", PROPERTY_ENGINE},
	{"group.id", PROPERTY_ENGINE},
	{"group.instance.id", PROPERTY_ENGINE},
	{"group.protocol.type", PROPERTY_ENGINE},
	{"isolation.level", PROPERTY_ENGINE},
	{"log.queue", PROPERTY_ENGINE},
	{"log.thread.name", PROPERTY_ENGINE},
	{"partition.assignment.strategy", PROPERTY_ENGINE},
	{"partitioner", PROPERTY_ENGINE},
	{"produce.offset.report", PROPERTY_ENGINE},
	{"queuing.strategy", PROPERTY_ENGINE},
	{"request.required.acks", PROPERTY_ENGINE},
	{"socket.nagle.disable", PROPERTY_ENGINE},
	{"statistics.interval.ms", PROPERTY_ENGINE},
	{"transactional.id", PROPERTY_ENGINE},

	{"builtin.features", PROPERTY_NEVER},
	{"interceptors", PROPERTY_NEVER},
	{"opaque", PROPERTY_NEVER},
	{"plugin.library.paths", PROPERTY_NEVER},
	{"sasl.kerberos.kinit.cmd", PROPERTY_NEVER},
	{"ssl.engine.id", PROPERTY_NEVER},
	{"ssl.engine.location", PROPERTY_NEVER},
};

/* Families of properties that have no row of their own. */
static const Property families[] = {
	{"auto.commit.", PROPERTY_ENGINE},
	{"enable.auto.", PROPERTY_ENGINE},
	{"offset.store.", PROPERTY_ENGINE},
	{"consume.callback.", PROPERTY_ENGINE},
	{"test.mock.", PROPERTY_NEVER},
	{"ssl.engine.", PROPERTY_NEVER},
};

static PropertyClass classify(const char *name);
static bool is_callback(const char *name);
static void refuse_forbidden(const char *option, PropertyClass class);
static void check_place(const char *option, PropertyClass class, bool in_user_mapping);
static void check_value(const char *option, const char *name, const char *value, bool secret);
static const char *nearest_property(const char *name);

const char *
kv_client_check_option(const char *option, const char *value, bool in_user_mapping)
{
	char	   *name = kv_client_property_name(option);
	PropertyClass class = classify(name);

	refuse_forbidden(option, class);
	check_value(option, name, value, class == PROPERTY_SECRET);
	check_place(option, class, in_user_mapping);
	return name;
}

char *
kv_client_property_name(const char *option)
{
	char	   *name = pstrdup(option);

	for (char *c = name; *c != '\0'; c++)
	{
		if (*c == '_')
			*c = '.';
	}
	return name;
}

int
kv_client_message_limit(List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(kv_client_property_name(option->defname), "message.max.bytes") == 0)
			return pg_strtoint32(defGetString(option));
	}
	return KV_MESSAGE_LIMIT;
}

/* Finds the class of a property; one that is not listed is for superusers. */
static PropertyClass
classify(const char *name)
{
	for (int i = 0; i < lengthof(properties); i++)
	{
		if (strcmp(properties[i].name, name) == 0)
			return properties[i].class;
	}
	for (int i = 0; i < lengthof(families); i++)
	{
		if (strncmp(families[i].name, name, strlen(families[i].name)) == 0)
			return families[i].class;
	}
	return is_callback(name) ? PROPERTY_NEVER : PROPERTY_SUPERUSER;
}

/* Is it one of librdkafka's function pointers (error_cb ...)? */
static bool
is_callback(const char *name)
{
	size_t		len = strlen(name);

	return len > 3 && strcmp(name + len - 3, ".cb") == 0;
}

/* Raises an error for what nobody may set. */
static void
refuse_forbidden(const char *option, PropertyClass class)
{
	if (class == PROPERTY_ENGINE)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" cannot be set", option),
				 errdetail("Exactly-once processing depends on this property: kafka_views sets it itself."),
				 errhint("Leave the option out.")));
	if (class == PROPERTY_NEVER)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("option \"%s\" cannot be set", option),
				 errdetail("The property makes librdkafka load code, run a command or replace its broker."),
				 errhint("Leave the option out.")));
}

/* Raises an error where the option stands in the wrong catalog or the user may not set it. */
static void
check_place(const char *option, PropertyClass class, bool in_user_mapping)
{
	if (class == PROPERTY_SECRET && !in_user_mapping)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" is a secret and cannot stand in a server", option),
				 errdetail("Every role can read the options of a server."),
				 errhint("Set it by CREATE USER MAPPING ... OPTIONS (...).")));
	if ((class == PROPERTY_TUNING || class == PROPERTY_SUPERUSER) && in_user_mapping)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" cannot stand in a user mapping", option),
				 errdetail("A user mapping holds what a user logs in with."),
				 errhint("Set it by CREATE SERVER or ALTER SERVER ... OPTIONS (...).")));
	if (class == PROPERTY_FILE && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only superusers may set option \"%s\"", option),
				 errdetail("It names a file of the server machine."),
				 errhint("Give the text of the certificate or key instead: ssl_ca_pem, ssl_certificate_pem, ssl_key_pem.")));
	if (class == PROPERTY_SUPERUSER && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only superusers may set option \"%s\"", option),
				 errdetail("It is not among the properties that every role may set."),
				 errhint("Ask a superuser to set it.")));
}

/* Lets librdkafka check name and value; raises an error with its words. */
static void
check_value(const char *option, const char *name, const char *value, bool secret)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		words[512];
	rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, words, sizeof(words));

	rd_kafka_conf_destroy(conf);
	if (result == RD_KAFKA_CONF_OK)
		return;
	if (words[0] != '\0' && words[strlen(words) - 1] == '\n')
		words[strlen(words) - 1] = '\0';	/* some of its sentences end with a line */
	if (result == RD_KAFKA_CONF_UNKNOWN)
	{
		const char *nearest = nearest_property(name);

		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" is unknown", option),
				 errdetail("librdkafka: %s", words),
				 nearest != NULL ? errhint("Perhaps you meant the option \"%s\".", nearest) :
				 errhint("Options are the client properties of librdkafka; an underscore may stand for a dot.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid value for option \"%s\"", option),
			 secret ? 0 : errdetail("librdkafka: %s", words)));
}

/*
 * Gives back the known property that is nearest to name, or NULL: from the list above
 * and from librdkafka's own defaults. Never one that cannot be set.
 */
static const char *
nearest_property(const char *name)
{
	NearestName match = {name};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	size_t		count;
	const char **pairs = rd_kafka_conf_dump(conf, &count);
	const char *nearest;

	for (int i = 0; i < lengthof(properties); i++)
	{
		if (properties[i].class < PROPERTY_ENGINE)
			kv_nearest_consider(&match, properties[i].name);
	}
	for (size_t i = 0; i + 1 < count; i += 2)
	{
		if (classify(pairs[i]) < PROPERTY_ENGINE)
			kv_nearest_consider(&match, pairs[i]);
	}
	nearest = match.nearest;
	if (nearest != NULL)
	{
		char	   *option = pstrdup(nearest);

		for (char *c = option; *c != '\0'; c++)
		{
			if (*c == '.')
				*c = '_';
		}
		nearest = option;
	}
	rd_kafka_conf_dump_free(pairs, count);
	rd_kafka_conf_destroy(conf);
	return nearest;
}

/* Keeps the candidate if it is nearer than what was considered before, at most half of its letters changed. */
void
kv_nearest_consider(NearestName *match, const char *candidate)
{
	size_t		len = strlen(match->name);
	size_t		candidate_len = strlen(candidate);
	int			limit = Min(6, candidate_len / 2);
	int			distance;

	if (len == 0 || len > 100 || candidate_len > 100)
		return;
	distance = varstr_levenshtein_less_equal(match->name, len, candidate, candidate_len, 1, 1, 1, limit, true);
	if (distance <= limit && (match->nearest == NULL || distance < match->distance))
	{
		match->nearest = candidate;
		match->distance = distance;
	}
}
