/*
 * agg_state.c: the SQL type kafka_state.agg_state.
 *
 * A stored transition state is what the aggregate's serialisation function makes of
 * it, or the type's send function where the state is of an SQL type, behind eight bytes that
 * tell: layout, flags, major version of Postgres (nobody promises that another one reads the same bytes),
 * and which function reads the rest.
 *
 * Invariant: nobody but a superuser can make a value of the type from bytes. Deserialisation
 * functions believe what they read, so a made-up state could crash the server; states are in tables
 * that the owners of views own, and the functions that read them are called as these owners. The type has
 * no cast, and its input functions refuse, as those of pg_node_tree do. Superusers pass, because a
 * dump is restored through them.
 *
 * A null of the type is the state of no rows at all; a transition state that is null has a flag.
 */
#include "agg_state.h"

#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/regproc.h"

#define LAYOUT 1
#define MAJOR_VERSION (PG_VERSION_NUM / 10000)

#define STATE_NULL 0x01			/* the transition state is null; nothing follows */
#define STATE_BEGUN 0x02		/* AggRun.begun */
#define STATE_INTERNAL 0x04		/* bytes of a serialisation function, not of an SQL type */

typedef struct StoredState
{
	int32		vl_len_;
	uint8		layout;
	uint8		flags;
	uint8		major;
	uint8		unused;
	uint32		format;			/* big-endian, as all that follows usually is: a dump may move to another machine */
	char		bytes[FLEXIBLE_ARRAY_MEMBER];
} StoredState;

static void check_state(const AggDef *agg, const StoredState *state);
static bytea *send_value(AggDef *agg, Datum value);
static Datum receive_value(AggDef *agg, StringInfo bytes);
static void check_maker(void);
static StoredState *make_state(const char *bytes, int length);

PG_FUNCTION_INFO_V1(kafka_agg_state_in);
PG_FUNCTION_INFO_V1(kafka_agg_state_out);
PG_FUNCTION_INFO_V1(kafka_agg_state_recv);
PG_FUNCTION_INFO_V1(kafka_agg_state_send);

/* Makes a value of a running state; see agg_state.h. */
Datum
kv_agg_state_keep(const AggRun *run, fmNodePtr node)
{
	AggDef	   *agg = run->agg;
	bool		internal = agg->state_type == INTERNALOID;
	bool		isnull = run->isnull;
	bytea	   *bytes = NULL;
	int			length = 0;
	StoredState *state;

	if (!isnull)
		bytes = internal ? DatumGetByteaPP(kv_agg_call(&agg->serialize, node, run->value, &isnull)) : send_value(agg, run->value);
	if (!isnull)
		length = VARSIZE_ANY_EXHDR(bytes);
	state = palloc0(sizeof(StoredState) + length);
	SET_VARSIZE(state, sizeof(StoredState) + length);
	state->layout = LAYOUT;
	state->flags = (isnull ? STATE_NULL : 0) | (run->begun ? STATE_BEGUN : 0) | (internal ? STATE_INTERNAL : 0);
	state->major = MAJOR_VERSION;
	state->format = pg_hton32(agg->format);
	if (length > 0)
		memcpy(state->bytes, VARDATA_ANY(bytes), length);
	return PointerGetDatum(state);
}

/* Reads a stored state; see agg_state.h. */
Datum
kv_agg_state_read(AggDef *agg, Datum kept, fmNodePtr node, bool *isnull, bool *begun)
{
	StoredState *state = (StoredState *) PG_DETOAST_DATUM(kept);
	int			length = VARSIZE(state) - sizeof(StoredState);
	StringInfoData bytes;

	check_state(agg, state);
	*isnull = (state->flags & STATE_NULL) != 0;
	*begun = (state->flags & STATE_BEGUN) != 0;
	if (*isnull)
		return (Datum) 0;
	if (agg->state_type == INTERNALOID)
	{
		bytea	   *serial = palloc(VARHDRSZ + length);

		SET_VARSIZE(serial, VARHDRSZ + length);
		memcpy(VARDATA(serial), state->bytes, length);
		return kv_agg_call(&agg->deserialize, node, PointerGetDatum(serial), isnull);
	}
	initStringInfo(&bytes);
	appendBinaryStringInfo(&bytes, state->bytes, length);
	return receive_value(agg, &bytes);
}

/* Raises an error for a state that the aggregate's functions cannot read. */
static void
check_state(const AggDef *agg, const StoredState *state)
{
	if (state->major != MAJOR_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("state of aggregate %s was stored by PostgreSQL %d", format_procedure(agg->aggregate), state->major),
				 errdetail("Another major version may keep other things in it."),
				 errhint("Drop the continuous view and create it again.")));
	if (((state->flags & STATE_INTERNAL) != 0) != (agg->state_type == INTERNALOID) || pg_ntoh32(state->format) != agg->format)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("state is not one of aggregate %s", format_procedure(agg->aggregate)),
				 errhint("If the aggregate has changed, drop the continuous view and create it again.")));
}

/*
 * Gives the binary form of a value in the encoding of the database: send functions convert text to that of the client,
 * which is another one each time.
 */
static bytea *
send_value(AggDef *agg, Datum value)
{
	int			client = pg_get_client_encoding();
	bytea	   *bytes = NULL;

	if (client == GetDatabaseEncoding())
		return SendFunctionCall(&agg->serialize.info, value);
	PG_TRY();
	{
		SetClientEncoding(GetDatabaseEncoding());
		bytes = SendFunctionCall(&agg->serialize.info, value);
	}
	PG_FINALLY();
	{
		SetClientEncoding(client);
	}
	PG_END_TRY();
	return bytes;
}

/* Reads what send_value gave. */
static Datum
receive_value(AggDef *agg, StringInfo bytes)
{
	int			client = pg_get_client_encoding();
	Datum		value = (Datum) 0;

	if (client == GetDatabaseEncoding())
		return ReceiveFunctionCall(&agg->deserialize.info, bytes, agg->receive_param, -1);
	PG_TRY();
	{
		SetClientEncoding(GetDatabaseEncoding());
		value = ReceiveFunctionCall(&agg->deserialize.info, bytes, agg->receive_param, -1);
	}
	PG_FINALLY();
	{
		SetClientEncoding(client);
	}
	PG_END_TRY();
	return value;
}

/* ------------------------------------------------------------------ the type */

/* Shows the bytes in hex, as dumps carry them. */
Datum
kafka_agg_state_out(PG_FUNCTION_ARGS)
{
	StoredState *state = (StoredState *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));
	int			length = VARSIZE(state) - VARHDRSZ;
	char	   *text = palloc(length * 2 + 1);

	text[hex_encode(VARDATA(state), length, text)] = '\0';
	PG_RETURN_CSTRING(text);
}

Datum
kafka_agg_state_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	char	   *bytes;
	int			length;

	check_maker();
	bytes = palloc(strlen(text) / 2 + 1);
	length = hex_decode(text, strlen(text), bytes);
	PG_RETURN_POINTER(make_state(bytes, length));
}

Datum
kafka_agg_state_send(PG_FUNCTION_ARGS)
{
	StoredState *state = (StoredState *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));
	StringInfoData bytes;

	pq_begintypsend(&bytes);
	pq_sendbytes(&bytes, VARDATA(state), VARSIZE(state) - VARHDRSZ);
	PG_RETURN_BYTEA_P(pq_endtypsend(&bytes));
}

Datum
kafka_agg_state_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			length = message->len - message->cursor;

	check_maker();
	PG_RETURN_POINTER(make_state(pq_getmsgbytes(message, length), length));
}

/* Raises an error unless a superuser makes the state. */
static void
check_maker(void)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot accept a value of type %s", "kafka_state.agg_state"),
				 errdetail("The functions that read a stored state of an aggregate trust its bytes.")));
}

static StoredState *
make_state(const char *bytes, int length)
{
	StoredState *state = palloc(VARHDRSZ + length);

	SET_VARSIZE(state, VARHDRSZ + length);
	memcpy(VARDATA(state), bytes, length);
	if (length < sizeof(StoredState) - VARHDRSZ || state->layout != LAYOUT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid value of type %s", "kafka_state.agg_state")));
	return state;
}
