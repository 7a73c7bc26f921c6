// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <strings.h>

#include "option/value.h"
#include "option/value_format.h"

/* Room for the longest text that a message quotes. */
#define QUOTE_SIZE 64

/* What is being parsed, for the messages. */
struct parse {
	const struct option *option;
	const char *text;
	char **error;
};

/* Prepares the text for a message: cut where it is long, without control characters. */
static const char *quote(const char *text, char to[static QUOTE_SIZE])
{
	size_t len = strlen(text), keep = len;
	bool cut = len >= QUOTE_SIZE;

	if (cut) {
		keep = QUOTE_SIZE - sizeof("...");
		while (keep && ((unsigned char)text[keep] & 0xc0) == 0x80)
			keep--; /* not in the middle of a UTF-8 sequence */
	}
	for (size_t i = 0; i < keep; i++)
		to[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
	snprintf(to + keep, QUOTE_SIZE - keep, "%s", cut ? "..." : "");
	return to;
}

/* Makes the sentence "'TEXT' <reason>".  Returns err, or -ENOMEM. */
#define FAIL(p, err, reason, ...)                                                                  \
	sentence((p)->error, err, "'%s' " reason, quote((p)->text, (char[QUOTE_SIZE]){ 0 }),       \
		 ##__VA_ARGS__)

/* Makes the sentence "'TEXT' <reason>; accepted: <syntax>". */
static int fail_syntax(const struct parse *p, int err, const char *reason)
{
	_cleanup_free_ char *syntax = value_syntax(p->option);

	if (!syntax) {
		*p->error = NULL;
		return -ENOMEM;
	}
	return FAIL(p, err, "%s; accepted: %s", reason, syntax);
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
	const char *at = text + (d.negative ? 1 : 0);
	const char *reason = refuse_start(text);

	if (reason) {
		*ret_reason = reason;
		return -EINVAL;
	}
	for (; is_digit(*at); at++)
		d.overflow |= append_digit(&d.digits, (uint64_t)(*at - '0'));
	if (*at == '.') {
		if (!is_digit(at[1])) {
			*ret_reason = "has no digit after the point";
			return -EINVAL;
		}
		at = scan_fraction(at + 1, &d);
	}
	d.rest = at;
	*ret = d;
	return 0;
}

/* Reads 0x and one to sixteen digits.  Returns 0, -EINVAL or -ERANGE. */
static int scan_hex(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (text[0] != '0' || text[1] != 'x' || !text[2])
		return -EINVAL;
	for (const char *at = text + 2; *at; at++) {
		if (!isxdigit((unsigned char)*at))
			return -EINVAL;
		if (value >> 60)
			return -ERANGE;
		value = value << 4 |
			(uint64_t)(is_digit(*at) ? *at - '0' : (*at | 0x20) - 'a' + 10);
	}
	*ret = value;
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
	const struct option *o = p->option;
	const char *reason = NULL;
	struct decimal d;
	uint64_t hex;
	int r;

	if (o->hex) {
		r = scan_hex(p->text, &hex);
		if (r == -ERANGE || (!r && hex > INT64_MAX))
			return fail_syntax(p, -ERANGE, "is too large");
		if (!r) {
			*ret = (int64_t)hex;
			return check_range(p, *ret);
		}
	}
	r = scan_decimal(p->text, &d, &reason);
	if (r < 0)
		return fail_syntax(p, r, reason);
	if (*d.rest || d.scale != 1 || strchr(p->text, '.'))
		return fail_syntax(p, -EINVAL, "is not a whole number");
	if (d.overflow || d.digits > INT64_MAX)
		return fail_syntax(p, -ERANGE, "is far out of range");
	*ret = d.negative ? -(int64_t)d.digits : (int64_t)d.digits;
	return check_range(p, *ret);
}

static const struct unit *find_unit(enum option_type type, const char *name)
{
	size_t n;
	const struct unit *units = value_units(type, &n);

	for (size_t i = 0; i < n; i++)
		if (streq(units[i].name, name))
			return &units[i];
	return NULL;
}

/* Reports a number without a required unit, and suggests the option's own. */
static int fail_unitless(const struct parse *p)
{
	size_t n;
	const struct unit *units = value_units(p->option->type, &n);

	for (size_t i = 0; i < n; i++)
		if (units[i].num == value_own_unit(p->option))
			return FAIL(p, -EINVAL, "has no unit: write %.*s%s", QUOTE_SIZE, p->text,
				    units[i].name);
	return fail_syntax(p, -EINVAL, "has no unit");
}

/* Converts a number with a unit to the option's own unit, exactly or not at all. */
static int scale_number(const struct parse *p, int64_t *ret)
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
	if (d.overflow || __builtin_mul_overflow(d.scale, unit->den * value_own_unit(o), &den))
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

/* Reads sizes and times. */
static int parse_scaled(const struct parse *p, int64_t *ret)
{
	int r = scale_number(p, ret);

	return r < 0 ? r : check_range(p, *ret);
}

static int parse_rate(const struct parse *p, int64_t *ret)
{
	int r;

	if (streq(p->text, RATE_UNLIMITED_NAME)) {
		*ret = RATE_UNLIMITED;
		return 0;
	}
	r = scale_number(p, ret);
	if (r < 0)
		return r;
	/* The kernel takes 0 for "do not pace", which is hardly what was meant. */
	if (!*ret)
		return FAIL(p, -ERANGE, "is no rate: write " RATE_UNLIMITED_NAME " for no limit");
	return check_range(p, *ret);
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

/* Reads OPTION_TCLASS and OPTION_DSCP: both give the whole byte, the DSCP in its upper six bits. */
static int parse_class(const struct parse *p, int64_t *ret)
{
	int dscp = dscp_from_name(p->text);
	int r;

	if (dscp >= 0) {
		*ret = dscp << 2;
		return 0;
	}
	if (isalpha((unsigned char)p->text[0]))
		return fail_syntax(p, -EINVAL, "is not a DSCP class");
	r = parse_whole(p, ret);
	if (!r && p->option->type == OPTION_DSCP)
		*ret <<= 2;
	return r;
}

static int parse_string(const struct parse *p, struct sockopt *ret)
{
	const struct option *o = p->option;
	size_t len = strlen(p->text);
	struct sockopt s;
	int r;

	if (!len && o->min)
		return fail_syntax(p, -ERANGE, "is empty");
	if (len > (size_t)o->max)
		return fail_syntax(p, -ERANGE, "is too long");
	/* The kernel refuses these in the name of an interface, and no module has them in its
	 * name. */
	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)p->text[i]) || strchr(" /:", p->text[i]))
			return fail_syntax(p, -EINVAL, "is not a name");
	r = sockopt_init(&s, o->level, o->optname, len + 1);
	if (!r)
		r = sockopt_set(&s, p->text, len + 1);
	if (r < 0) {
		*p->error = NULL;
		return r;
	}
	*ret = s;
	return 0;
}

int value_parse(const struct option *o, const char *text, struct sockopt *ret, char **ret_error)
{
	static int (*const parsers[])(const struct parse *p, int64_t *ret) = {
		[OPTION_INT] = parse_whole,   [OPTION_BOOL] = parse_bool,
		[OPTION_SIZE] = parse_scaled, [OPTION_RATE] = parse_rate,
		[OPTION_TIME] = parse_scaled, [OPTION_TCLASS] = parse_class,
		[OPTION_DSCP] = parse_class,
	};
	struct parse p = { o, text, ret_error };
	struct sockopt s;
	int64_t number;
	int r;

	if (o->type == OPTION_STRING)
		return parse_string(&p, ret);
	r = parsers[o->type](&p, &number);
	if (r < 0)
		return r;
	r = sockopt_init(&s, o->level, o->optname, sizeof(int));
	if (!r)
		r = sockopt_setint(&s, (int)(uint32_t)number);
	if (r < 0) {
		*ret_error = NULL;
		return r;
	}
	*ret = s;
	return 0;
}

int value_parse_shorthand(const struct option_shorthand *s, const char *text, struct sockopt *ret,
			  char **ret_error)
{
	const struct option as_written = option_of_shorthand(s);

	return value_parse(&as_written, text, ret, ret_error);
}
