// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <inttypes.h>
#include <stdarg.h>

#include "option/value.h"
#include "option/value_units.h"

#define RATE_SYNTAX "bytes/s, or with kbit/s, Mbit/s, Gbit/s, kB/s, MB/s, GB/s, KiB/s, MiB/s, GiB/s"

static char *PRINTF_LIKE(1, 2) format(const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}

int64_t value_number(const struct option *o, const struct sockopt *value)
{
	int number;

	if (o->type == OPTION_STRING || sockopt_getint(value, &number) < 0)
		return 0;
	/* Options whose range needs it use all 32 bits without a sign. */
	return o->max > INT32_MAX ? (int64_t)(uint32_t)number : number;
}

static char *format_int(const struct option *o, int64_t number)
{
	return format(o->hex && number > 9 ? "0x%" PRIx64 : "%" PRId64, number);
}

static char *format_class(const struct option *o, int64_t number)
{
	const char *name = number & 3 ? NULL : dscp_name((int)(number >> 2));

	if (name)
		return strdup(name);
	return format("%" PRId64, o->type == OPTION_DSCP ? number >> 2 : number);
}

/* A number in the option's own unit, as value_parse() reads it. */
static char *format_number(const struct option *o, int64_t number)
{
	switch (o->type) {
	case OPTION_BOOL:
		return strdup(number ? "on" : "off");
	case OPTION_RATE:
		if (number == RATE_UNLIMITED)
			return strdup(RATE_UNLIMITED_NAME);
		return value_format_units(o->type, (uint64_t)number);
	case OPTION_SIZE:
	case OPTION_TIME:
		return value_format_units(o->type, (uint64_t)number * value_own_unit(o));
	case OPTION_TCLASS:
	case OPTION_DSCP:
		return format_class(o, number);
	default:
		return format_int(o, number);
	}
}

char *value_format(const struct option *o, const struct sockopt *value)
{
	const char *text = sockopt_data(value);

	if (o->type == OPTION_STRING)
		return strdup(text ? text : "");
	return format_number(o, value_number(o, value));
}

/* What a number may look like, without its range; NULL: the range says it all. */
static const char *notation(const struct option *o)
{
	switch (o->type) {
	case OPTION_INT:
		return o->hex ? "whole number, decimal or 0x hex" : "whole number";
	case OPTION_SIZE:
		return "bytes, or with K, M, G";
	case OPTION_RATE:
		return RATE_SYNTAX ", or " RATE_UNLIMITED_NAME;
	case OPTION_TIME:
		return "number with us, ms, s, min or h";
	default:
		return "";
	}
}

/* "1s to 32767s", "0, or 88 to 32767": sizes and rates as plain numbers. */
static char *syntax_range(const struct option *o)
{
	bool plain = o->type != OPTION_TIME;
	_cleanup_free_ char *min = plain ? format("%" PRId64, o->min) : format_number(o, o->min);
	_cleanup_free_ char *max = plain ? format("%" PRId64, o->max) : format_number(o, o->max);

	if (!min || !max)
		return NULL;
	return format("%s%s to %s%s", o->zero ? "0, or " : "", min, max,
		      o->type == OPTION_RATE ? " bytes/s" : "");
}

char *value_syntax(const struct option *o)
{
	_cleanup_free_ char *range = syntax_range(o);

	if (!range)
		return NULL;
	switch (o->type) {
	case OPTION_BOOL:
		return strdup("on, off, yes, no, true, false, 1, 0");
	case OPTION_TCLASS:
	case OPTION_DSCP:
		return format("%s, or a DSCP class (" DSCP_NAMES ")", range);
	case OPTION_STRING:
		return format("name of %s characters", range);
	default:
		return format("%s; %s", notation(o), range);
	}
}

char *value_syntax_shorthand(const struct option_shorthand *s)
{
	const struct option as_written = option_of_shorthand(s);

	return value_syntax(&as_written);
}
