/*
 * scalar_put.c: numbers, times and uuids to text, and every other type through its output function.
 *
 * Why it exists: output functions palloc each text, and those of times and floats depend
 * on settings. Invariant: the text depends on the value alone and reads back as
 * the same value; so a key is the same bytes whoever writes it.
 */
#include "scalar_put.h"

#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "scalar_text.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/datetime.h"
#include "utils/float.h"

/* The variables behind the settings that output functions look at. */
typedef struct OutputSettings
{
	pg_tz	   *zone;
	int			date_style;
	int			interval_style;
	int			float_digits;
	int			bytea_format;
} OutputSettings;

static char *put_two_digits(char *p, int value);
static void exchange_settings(OutputSettings *settings);

/* Appends an integer. */
void
kv_put_int64(StringInfo out, int64 value)
{
	out->len += pg_lltoa(value, kv_reserve(out, MAXINT8LEN + 1));
}

/* Appends the shortest text that reads back as the same double. */
void
kv_put_float8(StringInfo out, double value)
{
	out->len += double_to_shortest_decimal_buf(value, kv_reserve(out, DOUBLE_SHORTEST_DECIMAL_LEN));
}

/* Appends the shortest text that reads back as the same float. */
void
kv_put_float4(StringInfo out, float value)
{
	out->len += float_to_shortest_decimal_buf(value, kv_reserve(out, FLOAT_SHORTEST_DECIMAL_LEN));
}

/* Says whether a numeric is NaN or infinite. */
bool
kv_numeric_is_special(Numeric value)
{
	uint16		header;

	memcpy(&header, VARDATA_ANY(value), sizeof(header));
	return (header & NUM_SIGN_MASK) == NUM_SPECIAL;
}

/* Appends what numeric_out gives. */
void
kv_put_numeric(StringInfo out, Numeric value)
{
	const char *data = VARDATA_ANY(value);
	int			size = VARSIZE_ANY_EXHDR(value);
	uint16		header;
	int16		weight;
	int			dscale;
	bool		negative;
	int			ndigits;
	char	   *p;

	memcpy(&header, data, sizeof(header));
	if ((header & NUM_SIGN_MASK) == NUM_SPECIAL)
	{
		uint16		kind = header & NUM_EXT_MASK;

		appendStringInfoString(out, kind == NUM_PINF ? "Infinity" : kind == NUM_NINF ? "-Infinity" : "NaN");
		return;
	}
	if (header & NUM_SHORT)
	{
		negative = (header & NUM_SHORT_NEG) != 0;
		dscale = (header & NUM_SHORT_SCALE_MASK) >> NUM_SHORT_SCALE_SHIFT;
		weight = (header & NUM_SHORT_WEIGHT_MASK) |
			(header & NUM_SHORT_WEIGHT_SIGN ? ~NUM_SHORT_WEIGHT_MASK : 0);
		data += sizeof(uint16);
		size -= sizeof(uint16);
	}
	else
	{
		negative = (header & NUM_SIGN_MASK) == NUM_NEG;
		dscale = header & NUM_SCALE_MASK;
		memcpy(&weight, data + sizeof(uint16), sizeof(weight));
		data += sizeof(uint16) + sizeof(int16);
		size -= sizeof(uint16) + sizeof(int16);
	}
	ndigits = size / (int) sizeof(int16);

	p = kv_reserve(out, (Max(weight, 0) + 1) * NUM_BASE_DIGITS + dscale + 2 * NUM_BASE_DIGITS);
	if (negative)
		*p++ = '-';
	if (weight < 0)
		*p++ = '0';
	for (int i = 0; i <= weight; i++)
	{
		int16		digit = 0;

		if (i < ndigits)
			memcpy(&digit, data + i * sizeof(int16), sizeof(digit));
		if (i == 0)
			p += pg_ltoa(digit, p);
		else
			p = put_two_digits(put_two_digits(p, digit / 100), digit % 100);
	}
	if (dscale > 0)
	{
		char	   *stop;

		*p++ = '.';
		stop = p + dscale;
		for (int i = weight + 1; p < stop; i++)
		{
			int16		digit = 0;

			if (i >= 0 && i < ndigits)
				memcpy(&digit, data + i * sizeof(int16), sizeof(digit));
			p = put_two_digits(put_two_digits(p, digit / 100), digit % 100);
		}
		p = stop;
	}
	out->len = p - out->data;
}

/* Writes two digits. */
static char *
put_two_digits(char *p, int value)
{
	*p++ = '0' + value / 10;
	*p++ = '0' + value % 10;
	return p;
}

/* Appends a time as ISO 8601; what its plain form cannot write as Postgres' ISO style does. */
void
kv_put_timestamp(StringInfo out, Timestamp value, bool utc)
{
	/* rows of a batch are mostly of one day, and its calendar date costs as much as all the rest */
	static int64 last_days = PG_INT64_MIN;
	static int	year,
				month,
				day;
	int64		days;
	int64		time_us;
	int			seconds;
	int			fraction;
	char	   *p;

	if (TIMESTAMP_NOT_FINITE(value))
	{
		appendStringInfoString(out, TIMESTAMP_IS_NOBEGIN(value) ? "-infinity" : "infinity");
		return;
	}
	days = value / USECS_PER_DAY;
	time_us = value % USECS_PER_DAY;
	if (time_us < 0)
	{
		time_us += USECS_PER_DAY;
		days--;
	}
	if (days != last_days)
		j2date((int) days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	last_days = days;
	if (year < 1 || year > 9999)
	{
		struct pg_tm tm;
		fsec_t		fsec;
		char		text[MAXDATELEN + 1];

		if (timestamp2tm(value, NULL, &tm, &fsec, NULL, NULL) != 0)
			elog(ERROR, "timestamp out of range");
		tm.tm_isdst = 0;		/* else no zone is written */
		EncodeDateTime(&tm, fsec, utc, 0, NULL, USE_ISO_DATES, text);
		appendStringInfoString(out, text);
		return;
	}
	seconds = time_us / USECS_PER_SEC;
	fraction = time_us % USECS_PER_SEC;
	p = kv_reserve(out, 32);
	p = put_two_digits(put_two_digits(p, year / 100), year % 100);
	*p++ = '-';
	p = put_two_digits(p, month);
	*p++ = '-';
	p = put_two_digits(p, day);
	*p++ = 'T';
	p = put_two_digits(p, seconds / 3600);
	*p++ = ':';
	p = put_two_digits(p, seconds / 60 % 60);
	*p++ = ':';
	p = put_two_digits(p, seconds % 60);
	if (fraction != 0)
	{
		*p++ = '.';
		p = put_two_digits(put_two_digits(put_two_digits(p, fraction / 10000), fraction / 100 % 100), fraction % 100);
		while (p[-1] == '0')
			p--;
	}
	if (utc)
		*p++ = 'Z';
	out->len = p - out->data;
}

/* Appends a date as ISO 8601. */
void
kv_put_date(StringInfo out, DateADT value)
{
	struct pg_tm tm;
	char		text[MAXDATELEN + 1];

	if (DATE_NOT_FINITE(value))
	{
		appendStringInfoString(out, DATE_IS_NOBEGIN(value) ? "-infinity" : "infinity");
		return;
	}
	j2date(value + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	EncodeDateOnly(&tm, USE_ISO_DATES, text);
	appendStringInfoString(out, text);
}

/* Appends an interval as ISO 8601, which interval_in reads whatever IntervalStyle is. */
void
kv_put_interval(StringInfo out, const Interval *value)
{
	struct pg_itm itm;
	char		text[MAXDATELEN + 1];

	interval2itm(*value, &itm);
	EncodeInterval(&itm, INTSTYLE_ISO_8601, text);
	appendStringInfoString(out, text);
}

/* Appends the usual 36 characters. */
void
kv_put_uuid(StringInfo out, const pg_uuid_t *value)
{
	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			kv_put_char(out, '-');
		kv_put_hex(out, (const char *) &value->data[i], 1);
	}
}

/* Appends bytes as hex digits. */
void
kv_put_hex(StringInfo out, const char *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char	   *p;

	p = kv_reserve(out, len * 2);
	for (size_t i = 0; i < len; i++)
	{
		*p++ = digits[(unsigned char) bytes[i] >> 4];
		*p++ = digits[(unsigned char) bytes[i] & 0xF];
	}
	out->len += len * 2;
}

/*
 * Gives what the output function of a type says with times in UTC and ISO 8601, floats in full and bytea in hex: of ranges,
 * arrays and rows the text has those of their parts. Not SET, which would cost more than the output.
 */
char *
kv_scalar_output(FmgrInfo *output, Datum value)
{
	static pg_tz *utc = NULL;
	OutputSettings settings;
	char	   *volatile text = NULL;

	if (utc == NULL)
		utc = pg_tzset("GMT");
	settings = (OutputSettings) {
		.zone = utc,.date_style = USE_ISO_DATES,.interval_style = INTSTYLE_ISO_8601,.float_digits = 1,.bytea_format = BYTEA_OUTPUT_HEX
	};
	exchange_settings(&settings);
	PG_TRY();
	{
		text = OutputFunctionCall(output, value);
	}
	PG_FINALLY();
	{
		exchange_settings(&settings);
	}
	PG_END_TRY();
	return text;
}

/* Puts the given settings in force, and those that were into their place. */
static void
exchange_settings(OutputSettings *settings)
{
	OutputSettings before = {
		.zone = session_timezone,.date_style = DateStyle,.interval_style = IntervalStyle,.float_digits = extra_float_digits,.bytea_format = bytea_output
	};

	session_timezone = settings->zone;
	DateStyle = settings->date_style;
	IntervalStyle = settings->interval_style;
	extra_float_digits = settings->float_digits;
	bytea_output = settings->bytea_format;
	*settings = before;
}
