/*
 * scalar_text.c: numbers, times and uuids from text.
 *
 * Why it exists: numeric_in alone costs more than the whole rest of decoding a record
 * (ENGINEERING.md), and input functions raise errors, which in a stream of
 * records would need a subtransaction for each. Invariant: where a parser here says
 * TEXT_FINE, its value is the one the type's input function gives, bit for bit.
 */
#include "scalar_text.h"

#include <errno.h>
#include <math.h>

#include "common/int.h"
#include "utils/datetime.h"

/* Longer numbers go through numeric_in. */
#define NUM_MAX_CHARS 200

/* A number as written. */
typedef struct Decimal
{
	bool		negative;
	const char *whole;			/* digits before the point, leading zeros left out */
	int			nwhole;
	const char *fraction;
	int			nfraction;
	int			exponent;
	bool		has_exponent;
} Decimal;

static bool scan_decimal(const char *text, size_t len, Decimal *d);
static char *end_text(const char *text, size_t len, char *room, size_t size);
static Numeric store_numeric(const Decimal *d, int dscale);
static bool parse_digits(const char *text, int count, int *value);
static bool parse_day(const char *text, int *julian);
static TextResult parse_clock(const char *text, const char *end, int64 *time_us, const char **rest);
static bool parse_zone(const char *text, const char *end, int64 *offset_us);

static const double powers_of_ten[] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
	1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
};

/* Reads an exact integer. */
TextResult
kv_text_int64(const char *text, size_t len, int64 *value)
{
	Decimal		d;
	uint64		sum = 0;
	int			shift;
	int			ndigits;
	bool		negative = len > 0 && *text == '-';
	size_t		at = negative;

	/* the usual case first: digits and nothing else */
	if (len <= 18)
	{
		for (; at < len && text[at] >= '0' && text[at] <= '9'; at++)
			sum = sum * 10 + (text[at] - '0');
		if (at == len && at > (size_t) negative)
		{
			*value = negative ? -(int64) sum : (int64) sum;
			return TEXT_FINE;
		}
		sum = 0;
	}
	if (!scan_decimal(text, len, &d))
		return TEXT_OTHER;
	/* whole and fraction side by side, times ten to the power of shift */
	shift = d.exponent - d.nfraction;
	ndigits = d.nwhole + d.nfraction;
	for (int i = 0; i < ndigits; i++)
	{
		int			digit = (i < d.nwhole ? d.whole[i] : d.fraction[i - d.nwhole]) - '0';

		if (i >= ndigits + shift)
		{
			if (digit != 0)
				return TEXT_FRACTION;
			continue;
		}
		if (sum > (PG_UINT64_MAX - digit) / 10)
			return TEXT_RANGE;
		sum = sum * 10 + digit;
	}
	for (; shift > 0 && sum != 0; shift--)
	{
		if (sum > PG_UINT64_MAX / 10)
			return TEXT_RANGE;
		sum *= 10;
	}
	if (sum > (uint64) PG_INT64_MAX + (d.negative ? 1 : 0))
		return TEXT_RANGE;
	*value = d.negative ? (int64) (0 - sum) : (int64) sum;
	return TEXT_FINE;
}

/* Scans a number of the JSON grammar (leading zeros allowed); false if it is none. */
static bool
scan_decimal(const char *text, size_t len, Decimal *d)
{
	const char *p = text;
	const char *end = text + len;
	bool		negative_exponent = false;

	d->negative = p < end && *p == '-';
	if (d->negative)
		p++;
	if (p == end || *p < '0' || *p > '9')
		return false;
	while (p < end && *p == '0')
		p++;
	d->whole = p;
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	d->nwhole = p - d->whole;
	d->fraction = p;
	d->nfraction = 0;
	d->exponent = 0;
	d->has_exponent = false;
	if (p < end && *p == '.')
	{
		d->fraction = ++p;
		while (p < end && *p >= '0' && *p <= '9')
			p++;
		d->nfraction = p - d->fraction;
		if (d->nfraction == 0)
			return false;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		d->has_exponent = true;
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			negative_exponent = *p++ == '-';
		if (p == end)
			return false;
		for (; p < end && *p >= '0' && *p <= '9'; p++)
			d->exponent = Min(d->exponent * 10 + (*p - '0'), 100000000);
		if (negative_exponent)
			d->exponent = -d->exponent;
	}
	return p == end;
}

/*
 * Reads a double: exactly by one multiplication or division where mantissa and power
 * of ten are both exact doubles, by strtod otherwise.
 */
TextResult
kv_text_float8(const char *text, size_t len, double *value)
{
	Decimal		d;
	char		small[128];
	char	   *copy;
	int			shift;
	bool		range;

	if (!scan_decimal(text, len, &d))
		return TEXT_OTHER;
	shift = d.exponent - d.nfraction;
	if (d.nwhole + d.nfraction <= 15 && shift >= -22 && shift <= 22)
	{
		int64		mantissa = 0;

		for (int i = 0; i < d.nwhole; i++)
			mantissa = mantissa * 10 + (d.whole[i] - '0');
		for (int i = 0; i < d.nfraction; i++)
			mantissa = mantissa * 10 + (d.fraction[i] - '0');
		*value = shift < 0 ? mantissa / powers_of_ten[-shift] : mantissa * powers_of_ten[shift];
		if (d.negative)
			*value = -*value;
		return TEXT_FINE;
	}
	copy = end_text(text, len, small, sizeof(small));
	errno = 0;
	*value = strtod(copy, NULL);
	range = isinf(*value) || (errno == ERANGE && *value == 0);
	if (copy != small)
		pfree(copy);
	return range ? TEXT_RANGE : TEXT_FINE;
}

/* Copies a text and ends it with a zero byte, in the given room or, if it is longer, in a palloc'd one. */
static char *
end_text(const char *text, size_t len, char *room, size_t size)
{
	char	   *copy = len < size ? room : palloc(len + 1);

	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

/* Reads a float; not by way of double, which would round twice. */
TextResult
kv_text_float4(const char *text, size_t len, float *value)
{
	Decimal		d;
	char		small[128];
	char	   *copy;
	bool		range;

	if (!scan_decimal(text, len, &d))
		return TEXT_OTHER;
	copy = end_text(text, len, small, sizeof(small));
	errno = 0;
	*value = strtof(copy, NULL);
	range = isinf(*value) || (errno == ERANGE && *value == 0);
	if (copy != small)
		pfree(copy);
	return range ? TEXT_RANGE : TEXT_FINE;
}

/* Reads a numeric; exponents, rounding to the typmod and long numbers are left to numeric_in. */
TextResult
kv_text_numeric(const char *text, size_t len, int32 typmod, Numeric *value)
{
	Decimal		d;
	int			dscale;

	if (!scan_decimal(text, len, &d) || d.has_exponent || d.nwhole + d.nfraction > NUM_MAX_CHARS)
		return TEXT_OTHER;
	dscale = d.nfraction;
	if (typmod >= (int32) VARHDRSZ)
	{
		int			precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
		int			scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;

		if (scale < 0 || scale > precision)
			return TEXT_OTHER;
		while (d.nfraction > scale && d.fraction[d.nfraction - 1] == '0')
			d.nfraction--;
		if (d.nfraction > scale)
			return TEXT_OTHER;
		if (d.nwhole > precision - scale)
			return TEXT_RANGE;
		dscale = scale;
	}
	*value = store_numeric(&d, dscale);
	return TEXT_FINE;
}

/* Builds the stored form: zero digits of base 10000 are left out on both ends. */
static Numeric
store_numeric(const Decimal *d, int dscale)
{
	int16		digits[NUM_MAX_CHARS / NUM_BASE_DIGITS + 2];
	int			ndigits = 0;
	int			first = 0;
	int			weight = (d->nwhole + NUM_BASE_DIGITS - 1) / NUM_BASE_DIGITS - 1;
	bool		negative = d->negative;
	bool		is_short;
	Size		header_len;
	Size		size;
	char	   *result;

	for (int at = 0; at < d->nwhole;)
	{
		int			group_len = (d->nwhole - at - 1) % NUM_BASE_DIGITS + 1;
		int			group = 0;

		for (; group_len > 0; group_len--)
			group = group * 10 + (d->whole[at++] - '0');
		digits[ndigits++] = group;
	}
	for (int at = 0; at < d->nfraction; at += NUM_BASE_DIGITS)
	{
		int			group = 0;

		for (int i = at; i < at + NUM_BASE_DIGITS; i++)
			group = group * 10 + (i < d->nfraction ? d->fraction[i] - '0' : 0);
		digits[ndigits++] = group;
	}
	while (ndigits > first && digits[ndigits - 1] == 0)
		ndigits--;
	while (first < ndigits && digits[first] == 0)
	{
		first++;
		weight--;
	}
	ndigits -= first;
	if (ndigits == 0)
	{
		weight = 0;
		negative = false;
	}

	is_short = dscale <= 63 && weight >= -64 && weight <= 63;
	header_len = is_short ? sizeof(uint16) : sizeof(uint16) + sizeof(int16);
	size = VARHDRSZ + header_len + ndigits * sizeof(int16);
	result = palloc(size);
	SET_VARSIZE(result, size);
	if (is_short)
		*(uint16 *) (result + VARHDRSZ) = NUM_SHORT | (negative ? NUM_SHORT_NEG : 0) |
			(dscale << NUM_SHORT_SCALE_SHIFT) |
			(weight < 0 ? NUM_SHORT_WEIGHT_SIGN : 0) | (weight & NUM_SHORT_WEIGHT_MASK);
	else
	{
		*(uint16 *) (result + VARHDRSZ) = (negative ? NUM_NEG : 0) | dscale;
		*(int16 *) (result + VARHDRSZ + sizeof(uint16)) = weight;
	}
	memcpy(result + VARHDRSZ + header_len, digits + first, ndigits * sizeof(int16));
	return (Numeric) result;
}

/* Reads milliseconds since 1970; what lies below a microsecond is rounded. */
TextResult
kv_text_epoch_ms(const char *text, size_t len, Timestamp *value)
{
	static const int64 epoch_us = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	int64		ms;
	int64		us;
	TextResult	result = kv_text_int64(text, len, &ms);

	if (result == TEXT_FINE)
	{
		if (pg_mul_s64_overflow(ms, 1000, &us))
			return TEXT_RANGE;
	}
	else if (result == TEXT_FRACTION)
	{
		double		fraction;

		/* exact enough: a double holds microseconds of some 285 years around 1970 */
		result = kv_text_float8(text, len, &fraction);
		if (result != TEXT_FINE)
			return result;
		fraction = rint(fraction * 1000.0);
		if (fraction < -9.0e18 || fraction > 9.0e18)
			return TEXT_RANGE;
		us = (int64) fraction;
	}
	else
		return result;
	if (pg_sub_s64_overflow(us, epoch_us, value) || !IS_VALID_TIMESTAMP(*value))
		return TEXT_RANGE;
	return TEXT_FINE;
}

/* Reads YYYY-MM-DD, T or a space, HH:MM[:SS[.f]], and Z, +HH, +HHMM or +HH:MM or nothing. */
TextResult
kv_text_timestamp(const char *text, size_t len, Timestamp *value, bool *has_zone)
{
	const char *end = text + len;
	const char *rest;
	int			julian;
	int64		time_us;
	int64		offset_us = 0;
	TextResult	result;

	if (len < 16 || !parse_day(text, &julian) || (text[10] != 'T' && text[10] != ' '))
		return TEXT_OTHER;
	result = parse_clock(text + 11, end, &time_us, &rest);
	if (result != TEXT_FINE)
		return result;
	*has_zone = rest < end;
	if (*has_zone && !parse_zone(rest, end, &offset_us))
		return TEXT_OTHER;
	*value = (int64) (julian - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY + time_us - offset_us;
	return TEXT_FINE;
}

/* Reads exactly count digits. */
static bool
parse_digits(const char *text, int count, int *value)
{
	*value = 0;
	for (int i = 0; i < count; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		*value = *value * 10 + (text[i] - '0');
	}
	return true;
}

/* Reads ten characters YYYY-MM-DD of the years 1 to 9999. */
static bool
parse_day(const char *text, int *julian)
{
	int			year,
				month,
				day;

	if (text[4] != '-' || text[7] != '-' ||
		!parse_digits(text, 4, &year) || !parse_digits(text + 5, 2, &month) || !parse_digits(text + 8, 2, &day))
		return false;
	if (year < 1 || month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1])
		return false;
	*julian = date2j(year, month, day);
	return true;
}

/* Reads HH:MM[:SS[.f]]; at most nine digits of a second, rounded to six. */
static TextResult
parse_clock(const char *text, const char *end, int64 *time_us, const char **rest)
{
	int			hour,
				minute,
				second = 0;
	int			fraction_ns = 0;
	const char *p = text + 5;

	if (end - text < 5 || text[2] != ':' || !parse_digits(text, 2, &hour) || !parse_digits(text + 3, 2, &minute))
		return TEXT_OTHER;
	if (end - p >= 3 && *p == ':')
	{
		if (!parse_digits(p + 1, 2, &second))
			return TEXT_OTHER;
		p += 3;
		if (p < end && *p == '.')
		{
			int			ndigits = 0;

			for (p++; p < end && *p >= '0' && *p <= '9'; p++)
			{
				if (++ndigits > 9)
					return TEXT_OTHER;
				fraction_ns = fraction_ns * 10 + (*p - '0');
			}
			if (ndigits == 0)
				return TEXT_OTHER;
			for (; ndigits < 9; ndigits++)
				fraction_ns *= 10;
		}
	}
	if (hour > 23 || minute > 59 || second > 59 || fraction_ns % 1000 == 500)
		return TEXT_OTHER;
	*time_us = ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC + (fraction_ns + 500) / 1000;
	*rest = p;
	return TEXT_FINE;
}

/* Reads all of a zone: Z, +HH, +HHMM or +HH:MM, up to 15 hours. */
static bool
parse_zone(const char *text, const char *end, int64 *offset_us)
{
	int			hours,
				minutes = 0;
	size_t		len = end - text;

	if (len == 1 && (*text == 'Z' || *text == 'z'))
		return true;
	if ((*text != '+' && *text != '-') || (len != 3 && len != 5 && len != 6) || !parse_digits(text + 1, 2, &hours))
		return false;
	if (len == 5 && !parse_digits(text + 3, 2, &minutes))
		return false;
	if (len == 6 && (text[3] != ':' || !parse_digits(text + 4, 2, &minutes)))
		return false;
	if (hours > 15 || minutes > 59)
		return false;
	*offset_us = (hours * 60 + minutes) * USECS_PER_MINUTE;
	if (*text == '-')
		*offset_us = -*offset_us;
	return true;
}

/* Reads YYYY-MM-DD. */
TextResult
kv_text_date(const char *text, size_t len, DateADT *value)
{
	int			julian;

	if (len != 10 || !parse_day(text, &julian))
		return TEXT_OTHER;
	*value = julian - POSTGRES_EPOCH_JDATE;
	return TEXT_FINE;
}

/* Reads the usual 36 characters. */
TextResult
kv_text_uuid(const char *text, size_t len, pg_uuid_t *value)
{
	int			at = 0;

	if (len != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-')
		return TEXT_OTHER;
	for (int i = 0; i < UUID_LEN; i++)
	{
		int			byte = 0;

		if (text[at] == '-')
			at++;
		for (int nibble = 0; nibble < 2; nibble++, at++)
		{
			char		c = text[at];

			if (c >= '0' && c <= '9')
				byte = byte * 16 + (c - '0');
			else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
				byte = byte * 16 + ((c | 0x20) - 'a' + 10);
			else
				return TEXT_OTHER;
		}
		value->data[i] = byte;
	}
	return TEXT_FINE;
}
