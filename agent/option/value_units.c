// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <inttypes.h>
#include <strings.h>

#include "option/value_units.h"

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

/* Where two names mean the same class the first is the one that is printed. */
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
		/* Bits are for reading: what is a whole number of them is one of bytes too. */
		if (units[i].den != 1 || value % units[i].num)
			continue;
		snprintf(text, sizeof(text), "%" PRIu64 "%s", value / units[i].num, units[i].name);
		if (!best[0] || strlen(text) < strlen(best))
			memcpy(best, text, sizeof(best));
	}
	return strdup(best);
}
