/*
 * converter.h: what a converter of one column, or of a part of one, is made of
 * (convert.c makes it), and the conversion of containers by the converters of their parts.
 */
#ifndef KV_CONVERTER_H
#define KV_CONVERTER_H

#include "kafka_views.h"
#include "format_json.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/typcache.h"

typedef struct DecodeError
{
	int			sqlstate;		/* MAKE_SQLSTATE form */
	char		message[512];	/* names the column where it is one's fault */
	char		detail[512];
} DecodeError;

typedef enum ConvertResult
{
	CONVERT_FINE,
	CONVERT_NULL,
	CONVERT_BAD,				/* error->sqlstate and error->detail say why */
	CONVERT_CATCH				/* cannot be done without catching errors; call again with catching true */
} ConvertResult;

typedef struct Converter Converter;

typedef enum ConverterKind
{
	CONVERT_BOOL, CONVERT_INT2, CONVERT_INT4, CONVERT_INT8, CONVERT_FLOAT4, CONVERT_FLOAT8, CONVERT_NUMERIC,
	CONVERT_TEXT, CONVERT_BYTEA, CONVERT_UUID, CONVERT_TIMESTAMPTZ, CONVERT_TIMESTAMP, CONVERT_DATE,
	CONVERT_JSON, CONVERT_JSONB, CONVERT_ARRAY, CONVERT_COMPOSITE, CONVERT_RANGE, CONVERT_DOMAIN,
	CONVERT_INPUT
} ConverterKind;

/* kv_convert_json, for the parts of a container: that room is above this one. */
typedef ConvertResult (*ConvertField) (Converter *c, const JsonField *field, bool catching, Datum *value,
									   DecodeError *error);

struct Converter
{
	ConverterKind kind;
	ConvertField convert;
	Oid			type;
	int32		typmod;
	MemoryContext context;
	FmgrInfo	input;			/* of the type; for a domain of the domain itself */
	Oid			ioparam;
	/* array: of its elements; domain: of the base type; range: of the bounds */
	Converter  *element;
	int16		element_len;
	bool		element_by_value;
	char		element_align;
	/* composite */
	TupleDesc	desc;
	Converter **attributes;
	TypeCacheEntry *range;
	void	   *domain_state;
};

/* Convert containers; always with catching. */
extern ConvertResult kv_convert_array(Converter *c, const JsonField *field, Datum *value, DecodeError *error);
extern ConvertResult kv_convert_composite(Converter *c, const JsonField *field, Datum *value, DecodeError *error);
extern ConvertResult kv_convert_range(Converter *c, const JsonField *field, Datum *value, DecodeError *error);

/* Would the type take an object of JSON as a whole (json, jsonb, composite, range)? */
extern bool kv_converter_takes_object(const Converter *converter);

/* Adds to a list of oids the relations of the composite types in a type, whose attributes converters and encoders know by themselves. */
extern List *kv_row_types(List *types, Oid type);

/* The parser of this process. */
extern JsonParser *kv_json_parser(void);
/* Notes a fault; gives CONVERT_BAD. */
extern ConvertResult kv_convert_bad(DecodeError *error, int sqlstate, const char *format,...) pg_attribute_printf(3, 4);

#endif							/* KV_CONVERTER_H */
