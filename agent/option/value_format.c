// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <strings.h>

#include "option/value.h"
#include "option/value_format.h"

#define RATE_SYNTAX "bytes/s, or with kbit/s, Mbit/s, Gbit/s, kB/s, MB/s, GB/s, KiB/s, MiB/s, GiB/s"

#define KIB 1024ULL
#define KB  1000ULL

static const struct unit size_units[] = {
	{ "", 1, 1 },
	{ "K", KIB, 1 },
	{ "M", KIB *KIB, 1 },
	{ "G", KIB *KIB *KIB, 1 },
};

static const struct unit rate_units[] = {
	{ "", 1, 1 },
	{ "kbit/s", KB, 8 },
	{ "kB/s", KB, 1 },
	{ "KiB/s", KIB, 1 },
	{ "Mbit/s", KB *KB, 8 },
	{ "MB/s", KB *KB, 1 },
	{ "MiB/s", KIB *KIB, 1 },
	{ "Gbit/s", KB *KB *KB, 8 },
	{ "GB/s", KB *KB *KB, 1 },
	{ "GiB/s", KIB *KIB *KIB, 1 },
};

static const struct unit time_units[] = {
	{ "us", 1, 1 },		{ "ms", 1000, 1 },	   { "s", 1000000, 1 },
	{ "min", 60000000, 1 }, { "h", 3600000000ULL, 1 },
};

const struct unit *value_units(enum option_type type, size_t *ret_n)
{
	switch (type) {
	case OPTION_SIZE:
		*ret_n = ARRAY_SIZE(size_units);
		return size_units;
	case OPTION_RATE:
		*ret_n = ARRAY_SIZE(rate_units);
		return rate_units;
	case OPTION_TIME:
		*ret_n = ARRAY_SIZE(time_units);
		return time_units;
	default:
		*ret_n = 0;
		return NULL;
	}
}

uint64_t value_own_unit(const struct option *o)
{
	return o->type == OPTION_TIME ? o->unit_usec : 1;
}

const char *value_own_unit_name(const struct option *o)
{
	switch (o->type) {
	case OPTION_SIZE:
		return "bytes";
	case OPTION_RATE:
		return "bytes/s";
	case OPTION_TIME:
		return o->unit_usec == 1000000 ? "seconds"
		       : o->unit_usec == 1000  ? "milliseconds"
					       : "microseconds";
	default:
		return "";
	}
}

struct option option_of_shorthand(const struct option_shorthand *s)
{
	return (struct option){
		.name = s->name,
		.level = s->expands_to[0]->level,
		.optname = s->expands_to[0]->optname,
		.type = s->type,
		.max = s->expands_to[0]->max >> 2, /* six bits of eight */
	};
}

/* The first of two names for a class is printed. */
static const struct {
	const char *name;
	int dscp;
} dscp_classes[] = {
	{ "CS0", 0 },	{ "LE", 1 },	{ "CS1", 8 },	{ "AF11", 10 }, { "AF12", 12 },
	{ "AF13", 14 }, { "CS2", 16 },	{ "AF21", 18 }, { "AF22", 20 }, { "AF23", 22 },
	{ "CS3", 24 },	{ "AF31", 26 }, { "AF32", 28 }, { "AF33", 30 }, { "CS4", 32 },
	{ "AF41", 34 }, { "AF42", 36 }, { "AF43", 38 }, { "CS5", 40 },	{ "VA", 44 },
	{ "EF", 46 },	{ "CS6", 48 },	{ "CS7", 56 },	{ "DF", 0 },
};

int dscp_from_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(dscp_classes); i++)
		if (!strcasecmp(dscp_classes[i].name, name))
			return dscp_classes[i].dscp;
	return -ENOENT;
}

const char *dscp_name(int dscp)
{
	for (size_t i = 0; i < ARRAY_SIZE(dscp_classes); i++)
		if (dscp_classes[i].dscp == dscp)
			return dscp_classes[i].name;
	return NULL;
}

char *value_format_units(enum option_type type, uint64_t value)
{
	char best[64] = "", text[64];
	size_t n;
	const struct unit *units = value_units(type, &n);

	for (size_t i = 0; i < n; i++) {
		/* Units of bits are only read: a whole number of them is a whole number of
		 * bytes. */
		if (units[i].den != 1 || value % units[i].num)
			continue;
		snprintf(text, sizeof(text), "%" PRIu64 "%s", value / units[i].num, units[i].name);
		if (!best[0] || strlen(text) < strlen(best))
			memcpy(best, text, sizeof(best));
	}
	return strdup(best);
}

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
	/* An option whose range needs it uses all 32 bits without a sign. */
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

/* Formats a number in the option's own unit, in the form that value_parse() reads. */
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

/* Says what a number may look like, without its range; NULL: the range says everything. */
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

/* Formats a range: "1s to 32767s", "0, or 88 to 32767"; sizes and rates as plain numbers. */
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
