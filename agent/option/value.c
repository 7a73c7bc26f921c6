// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <strings.h>

#include "base/diag.h"
#include "option/value.h"

#define DSCP_NAMES "CS0-CS7, AF11-AF43, EF, VA, LE, DF"
#define RATE_SYNTAX                                                                                \
	"bytes/s (B/s), or with kbit/s, Mbit/s, Gbit/s, kB/s, MB/s, GB/s, KiB/s, MiB/s, GiB/s"

/* The SO_MAX_PACING_RATE that does not limit, and how it is written. */
#define RATE_UNLIMITED	    UINT32_MAX
#define RATE_UNLIMITED_NAME "unlimited"

#define KIB 1024ULL
#define KB  1000ULL

/* One NAME is num/den of the type's base: bytes, bytes per second, microseconds. */
struct unit {
	const char *name; /* "": none is written; NULL: the end */
	uint64_t num, den;
};

static const struct unit size_units[] = {
	{ "", 1, 1 }, { "K", KIB, 1 }, { "M", KIB *KIB, 1 }, { "G", KIB *KIB *KIB, 1 }, { NULL },
};

static const struct unit rate_units[] = {
	{ "", 1, 1 },
	{ "B/s", 1, 1 },
	{ "kbit/s", KB, 8 },
	{ "kB/s", KB, 1 },
	{ "KiB/s", KIB, 1 },
	{ "Mbit/s", KB *KB, 8 },
	{ "MB/s", KB *KB, 1 },
	{ "MiB/s", KIB *KIB, 1 },
	{ "Gbit/s", KB *KB *KB, 8 },
	{ "GB/s", KB *KB *KB, 1 },
	{ "GiB/s", KIB *KIB *KIB, 1 },
	{ NULL },
};

static const struct unit time_units[] = {
	{ "us", 1, 1 },		{ "ms", 1000, 1 },	   { "s", 1000000, 1 },
	{ "min", 60000000, 1 }, { "h", 3600000000ULL, 1 }, { NULL },
};

/* Smallest first. */
static const struct unit *const units_of[OPTION_TYPE_MAX] = {
	[OPTION_SIZE] = size_units,
	[OPTION_RATE] = rate_units,
	[OPTION_TIME] = time_units,
};

/* Returns how much of the type's base the option's own unit is. */
static uint64_t own_unit(const struct option *o)
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

/* Returns 0-63, or -ENOENT; case does not matter. */
static int dscp_from_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(dscp_classes); i++)
		if (!strcasecmp(dscp_classes[i].name, name))
			return dscp_classes[i].dscp;
	return -ENOENT;
}

/* Returns NULL when the class has no name. */
static const char *dscp_name(int dscp)
{
	for (size_t i = 0; i < ARRAY_SIZE(dscp_classes); i++)
		if (dscp_classes[i].dscp == dscp)
			return dscp_classes[i].name;
	return NULL;
}

char *value_format_units(enum option_type type, uint64_t value)
{
	char best[64] = "", text[64];

	for (const struct unit *u = units_of[type]; u->name; u++) {
		/* Units of bits are only read: a whole number of them is a whole number of
		 * bytes. */
		if (u->den != 1 || value % u->num)
			continue;
		if (type == OPTION_RATE && !*u->name) /* bits or bytes? */
			continue;
		snprintf(text, sizeof(text), "%" PRIu64 "%s", value / u->num, u->name);
		if (!best[0] || strlen(text) < strlen(best))
			memcpy(best, text, sizeof(best));
	}
	return strdup(best);
}

int64_t value_number(const struct option *o, const struct sockopt *value)
{
	int number;

	if (o->type == OPTION_STRING || sockopt_getint(value, &number) < 0)
		return 0;
	/* An option whose range needs it uses all 32 bits without a sign. */
	return o->max > INT32_MAX ? (int64_t)(uint32_t)number : number;
}

static char *format_class(const struct option *o, int64_t number)
{
	const char *name = number & 3 ? NULL : dscp_name((int)(number >> 2));

	if (name)
		return strdup(name);
	return text_format("%" PRId64, o->type == OPTION_DSCP ? number >> 2 : number);
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
		return value_format_units(o->type, (uint64_t)number * own_unit(o));
	case OPTION_TCLASS:
	case OPTION_DSCP:
		return format_class(o, number);
	default:
		return text_format(o->hex && number > 9 ? "0x%" PRIx64 : "%" PRId64, number);
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
	_cleanup_free_ char *min =
		plain ? text_format("%" PRId64, o->min) : format_number(o, o->min);
	_cleanup_free_ char *max =
		plain ? text_format("%" PRId64, o->max) : format_number(o, o->max);

	if (!min || !max)
		return NULL;
	return text_format("%s%s to %s%s", o->zero ? "0, or " : "", min, max,
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
		return text_format("%s, or a DSCP class (" DSCP_NAMES ")", range);
	case OPTION_STRING:
		return text_format("name of %s characters", range);
	default:
		return text_format("%s; %s", notation(o), range);
	}
}

/* The text that is parsed, for the messages. */
struct parse {
	const struct option *option;
	const char *text;
	char **error;
};

/* Makes the sentence "'TEXT' <reason>".  Returns err, or -ENOMEM. */
#define FAIL(p, err, reason, ...)                                                                  \
	sentence((p)->error, err, "'%s' " reason, EXCERPT((p)->text), ##__VA_ARGS__)

/* Makes the sentence "'TEXT' <reason>; accepted: <syntax>". */
static int fail_syntax(const struct parse *p, int err, const char *reason)
{
	_cleanup_free_ char *syntax = value_syntax(p->option);

	return !syntax ? -ENOMEM : FAIL(p, err, "%s; accepted: %s", reason, syntax);
}

/* A number as it was written: digits / 10^n_fraction, then the text behind it. */
struct decimal {
	bool negative;
	bool overflow; /* too large for `digits` */
	uint64_t digits;
	uint64_t scale; /* 10^(number of digits after the point that are not trailing zeros) */
	const char *rest;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9'; /* whatever the locale thinks */
}

static bool append_digit(uint64_t *digits, uint64_t digit)
{
	return __builtin_mul_overflow(*digits, 10, digits) ||
	       __builtin_add_overflow(*digits, digit, digits);
}

static const char *scan_fraction(const char *at, struct decimal *d)
{
	unsigned zeros = 0;

	for (; is_digit(*at); at++) {
		if (*at == '0') {
			zeros++;
			continue;
		}
		/* Zeros count only if another digit follows: 1.500 is 1.5. */
		for (; zeros && !d->overflow; zeros--)
			d->overflow |= append_digit(&d->digits, 0) ||
				       __builtin_mul_overflow(d->scale, 10, &d->scale);
		d->overflow |= append_digit(&d->digits, (uint64_t)(*at - '0')) ||
			       __builtin_mul_overflow(d->scale, 10, &d->scale);
	}
	return at;
}

/* Returns why no number can begin like this (a clause that follows the text); NULL: one can. */
static const char *refuse_start(const char *text)
{
	const char *digits = text + (*text == '-' ? 1 : 0);

	if (!*text)
		return "is empty";
	if (strpbrk(text, " \t\r\n"))
		return "has a space in it";
	if (*text == '+')
		return "has a sign";
	if (!is_digit(*digits) || streq(text, "-0"))
		return "is not a number";
	if (digits[0] == '0' && is_digit(digits[1]))
		return "has a leading zero";
	return NULL;
}

/* Returns 0, or -EINVAL with *ret_reason (as above). */
static int scan_decimal(const char *text, struct decimal *ret, const char **ret_reason)
{
	struct decimal d = { .scale = 1, .negative = *text == '-' };
	const char *reason = refuse_start(text);
	char *at;

	if (reason) {
		*ret_reason = reason;
		return -EINVAL;
	}
	errno = 0;
	d.digits = strtoull(text + d.negative, &at, 10);
	d.overflow = errno == ERANGE;
	d.rest = at;
	if (*at == '.') {
		if (!is_digit(at[1])) {
			*ret_reason = "has no digit after the point";
			return -EINVAL;
		}
		d.rest = scan_fraction(at + 1, &d);
	}
	*ret = d;
	return 0;
}

/* Reads 0x and hex digits.  Returns 0, -EINVAL or -ERANGE. */
static int scan_hex(const char *text, int64_t *ret)
{
	unsigned long long value;
	char *end;

	if (text[0] != '0' || text[1] != 'x' || !isxdigit((unsigned char)text[2]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 16);
	if (*end)
		return -EINVAL;
	if (errno || value > INT64_MAX)
		return -ERANGE;
	*ret = (int64_t)value;
	return 0;
}

static int check_range(const struct parse *p, int64_t value)
{
	const struct option *o = p->option;

	if ((o->zero && !value) || (value >= o->min && value <= o->max))
		return 0;
	return fail_syntax(p, -ERANGE,
			   value < 0	    ? "is negative"
			   : value < o->min ? "is too small"
					    : "is too large");
}

/* Reads a whole number: OPTION_INT, and the numbers of OPTION_TCLASS and OPTION_DSCP. */
static int parse_whole(const struct parse *p, int64_t *ret)
{
	const char *reason = NULL;
	struct decimal d;
	int r = p->option->hex ? scan_hex(p->text, ret) : -EINVAL;

	if (r == -ERANGE)
		return fail_syntax(p, r, "is too large");
	if (r == 0)
		return 0;
	r = scan_decimal(p->text, &d, &reason);
	if (r < 0)
		return fail_syntax(p, r, reason);
	if (*d.rest || d.scale != 1 || strchr(p->text, '.'))
		return fail_syntax(p, -EINVAL, "is not a whole number");
	if (d.overflow || d.digits > INT64_MAX)
		return fail_syntax(p, -ERANGE, "is far out of range");
	*ret = d.negative ? -(int64_t)d.digits : (int64_t)d.digits;
	return 0;
}

static const struct unit *find_unit(enum option_type type, const char *name)
{
	for (const struct unit *u = units_of[type]; u->name; u++)
		if (streq(u->name, name))
			return u;
	return NULL;
}

/* Reports a number without a required unit, and suggests the option's own. */
static int fail_unitless(const struct parse *p)
{
	for (const struct unit *u = units_of[p->option->type]; u->name; u++)
		if (u->num == own_unit(p->option))
			return FAIL(p, -EINVAL, "has no unit: write %.*s%s", EXCERPT_SIZE, p->text,
				    u->name);
	return fail_syntax(p, -EINVAL, "has no unit");
}

/* Reads a number with a unit, and converts it to the option's own unit, exactly or not at all. */
static int parse_scaled(const struct parse *p, int64_t *ret)
{
	const struct option *o = p->option;
	const char *reason = NULL;
	const struct unit *unit;
	uint64_t num, den;
	struct decimal d;
	int r;

	r = scan_decimal(p->text, &d, &reason);
	if (r < 0)
		return fail_syntax(p, r, reason);
	if (d.negative)
		return fail_syntax(p, -ERANGE, "is negative");
	unit = find_unit(o->type, d.rest);
	if (!unit && !*d.rest)
		return fail_unitless(p);
	if (!unit)
		return fail_syntax(p, -EINVAL, "has an unknown unit");
	if (d.overflow && d.scale == 1)
		return fail_syntax(p, -ERANGE, "is too large");
	if (d.overflow || __builtin_mul_overflow(d.scale, unit->den * own_unit(o), &den))
		return FAIL(p, -ERANGE, "has too many digits");
	if (__builtin_mul_overflow(d.digits, unit->num, &num))
		return fail_syntax(p, -ERANGE, "is too large");
	if (num % den)
		return FAIL(p, -ERANGE, "is not a whole number of %s", value_own_unit_name(o));
	if (num / den > INT64_MAX)
		return fail_syntax(p, -ERANGE, "is too large");
	*ret = (int64_t)(num / den);
	return 0;
}

static int parse_rate(const struct parse *p, int64_t *ret)
{
	int r;

	if (streq(p->text, RATE_UNLIMITED_NAME)) {
		*ret = RATE_UNLIMITED;
		return 0;
	}
	r = parse_scaled(p, ret);
	/* The kernel takes 0 for "do not pace", which is hardly what was meant. */
	if (r == 0 && !*ret)
		return FAIL(p, -ERANGE, "is no rate: write " RATE_UNLIMITED_NAME " for no limit");
	return r;
}

static int parse_bool(const struct parse *p, int64_t *ret)
{
	static const char *const words[][4] = { { "off", "no", "false", "0" },
						{ "on", "yes", "true", "1" } };

	for (int value = 0; value < 2; value++) {
		for (size_t i = 0; i < ARRAY_SIZE(words[value]); i++) {
			if (!strcasecmp(words[value][i], p->text)) {
				*ret = value;
				return 0;
			}
		}
	}
	return fail_syntax(p, -EINVAL, "is neither on nor off");
}

/* Reads OPTION_TCLASS, the whole byte with the DSCP in its upper six bits, and OPTION_DSCP. */
static int parse_class(const struct parse *p, int64_t *ret)
{
	int dscp = dscp_from_name(p->text);

	if (dscp >= 0) {
		*ret = p->option->type == OPTION_DSCP ? dscp : dscp << 2;
		return 0;
	}
	if (isalpha((unsigned char)p->text[0]))
		return fail_syntax(p, -EINVAL, "is not a DSCP class");
	return parse_whole(p, ret);
}

static int check_string(const struct parse *p)
{
	const struct option *o = p->option;
	size_t len = strlen(p->text);

	if (!len && o->min)
		return fail_syntax(p, -ERANGE, "is empty");
	if (len > (size_t)o->max)
		return fail_syntax(p, -ERANGE, "is too long");
	/* The kernel refuses these in the name of an interface, and no module has them in its
	 * name. */
	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)p->text[i]) || strchr(" /:", p->text[i]))
			return fail_syntax(p, -EINVAL, "is not a name");
	return 0;
}

static int make_value(const struct option *o, const void *data, size_t size, struct sockopt *ret)
{
	struct sockopt s = { .level = o->level, .name = o->optname };
	int r = sockopt_set(&s, data, size);

	if (r == 0)
		*ret = s;
	return r;
}

int value_from_number(const struct option *o, uint32_t number, struct sockopt *ret)
{
	return make_value(o, &number, sizeof(number), ret);
}

char *value_format_number(const struct option *o, uint32_t number)
{
	struct sockopt value;
	char *text;

	if (value_from_number(o, number, &value) < 0)
		return NULL;
	text = value_format(o, &value);
	sockopt_destroy(&value);
	return text;
}

int value_parse(const struct option *o, const char *text, struct sockopt *ret, char **ret_error)
{
	static int (*const parsers[])(const struct parse *p, int64_t *ret) = {
		[OPTION_INT] = parse_whole,   [OPTION_BOOL] = parse_bool,
		[OPTION_SIZE] = parse_scaled, [OPTION_RATE] = parse_rate,
		[OPTION_TIME] = parse_scaled, [OPTION_TCLASS] = parse_class,
		[OPTION_DSCP] = parse_class,
	};
	const struct parse p = { o, text, ret_error };
	int64_t number = 0;
	int r;

	*ret_error = NULL;
	if (o->type == OPTION_STRING) {
		r = check_string(&p);
		return r < 0 ? r : make_value(o, text, strlen(text) + 1, ret);
	}
	r = parsers[o->type](&p, &number);
	if (r == 0)
		r = check_range(&p, number);
	if (r < 0)
		return r;
	return value_from_number(o, (uint32_t)(o->type == OPTION_DSCP ? number << 2 : number), ret);
}
