/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Policies for tests of the stages behind the loader, written as C.  Memory that runs out, or a
 * pattern or a value that is wrong, fails the test at once.
 */
#ifndef SOCKPOL_POLICY_FIXTURE_H
#define SOCKPOL_POLICY_FIXTURE_H

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/policy.h"

#define FIXTURE_OPTIONS	 16
#define FIXTURE_RULES	 16
#define FIXTURE_PATTERNS 4
#define FIXTURE_ENTRIES	 8	   /* of a list in `when` */
#define UNSET		 INT32_MIN /* as the value: `unset` */

struct fixture_setting {
	enum option_id option;
	int value;		      /* or UNSET; 0 with a range: there is none */
	const char *text;	      /* the value of an OPTION_STRING */
	enum application application; /* not given: override */
	struct value_range range;
	bool refuse, apply;
};

struct fixture_ports {
	uint16_t first, last; /* last 0: the one port */
};

struct fixture_rule {
	const char *name;
	unsigned directions; /* BIT(enum direction); 0: not given, also below */
	struct fixture_setting options[FIXTURE_OPTIONS];
	unsigned protocols;		     /* BIT(enum protocol) */
	unsigned families;		     /* BIT(enum sp_family) */
	const char *remote[FIXTURE_ENTRIES]; /* "10.0.0.0/8", "fd00::1/128" */
	const char *local[FIXTURE_ENTRIES];
	struct fixture_ports remote_port[FIXTURE_ENTRIES], local_port[FIXTURE_ENTRIES];
};

/*
 * An array ends where a pattern or a prefix is NULL, a rule has no name, a setting neither value
 * nor text nor range, a range of ports begins at port 0.
 */
struct fixture_policy {
	const char *name;
	const char *cgroup[FIXTURE_PATTERNS], *unit[FIXTURE_PATTERNS];
	const char *exclude[FIXTURE_PATTERNS]; /* cgroup patterns */
	struct fixture_setting base[FIXTURE_OPTIONS];
	struct fixture_rule rules[FIXTURE_RULES];
};

static char *fixture_strdup(const char *s)
{
	char *copy = strdup(s);

	assert_non_null(copy);
	return copy;
}

static void fixture_pattern(struct patterns *to, enum glob_kind kind, const char *text)
{
	char *error;

	assert_int_equal(GROW(to->v, to->n), 0);
	to->v[to->n] = (struct pattern){ 0 };
	assert_int_equal(glob_new(kind, text, &to->v[to->n].glob, &error), 0);
	to->n++;
}

static void fixture_settings(struct settings *to, const struct fixture_setting *from)
{
	/* in option table order, as the loader has it */
	for (int id = 0; id < OPTION_MAX; id++) {
		for (size_t i = 0; i < FIXTURE_OPTIONS &&
				   (from[i].value || from[i].text || from[i].range.is_given);
		     i++) {
			struct setting *s;

			if ((int)from[i].option != id)
				continue;
			assert_int_equal(GROW(to->v, to->n), 0);
			s = &to->v[to->n++];
			*s = (struct setting){
				.option = &option_table[id],
				.unset = from[i].value == UNSET,
				.is_range_alone = from[i].range.is_given && !from[i].value,
				.range = from[i].range,
				.application = from[i].application != APPLICATION_UNSAID
						       ? from[i].application
						       : APPLICATION_OVERRIDE,
				.refuse = from[i].refuse,
				.apply = from[i].apply,
			};
			if (s->unset)
				continue;
			assert_int_equal(
				sockopt_init(&s->value, s->option->level, s->option->optname, 0),
				0);
			if (from[i].text)
				assert_int_equal(sockopt_set(&s->value, from[i].text,
							     strlen(from[i].text) + 1),
						 0);
			else
				assert_int_equal(
					sockopt_setint(&s->value, s->is_range_alone
									  ? (int)s->range.max
									  : from[i].value),
					0);
		}
	}
}

static void fixture_prefix(struct ranges *to, const char *text)
{
	char *error;

	assert_int_equal(GROW(to->v, to->n), 0);
	assert_int_equal(prefix_parse(text, &to->v[to->n++], &error), 0);
}

static bool fixture_prefixes(struct ranges *to, const char *const *from)
{
	for (size_t i = 0; i < FIXTURE_ENTRIES && from[i]; i++)
		fixture_prefix(to, from[i]);
	return to->n;
}

static void fixture_port(struct ranges *to, uint16_t first, uint16_t last)
{
	assert_int_equal(GROW(to->v, to->n), 0);
	to->v[to->n++] = (struct range){
		.kind = RANGE_PORT,
		.first = { (unsigned char)(first >> 8), (unsigned char)first },
		.last = { (unsigned char)(last >> 8), (unsigned char)last },
	};
}

static inline uint16_t fixture_port_at(const unsigned char *data)
{
	return (uint16_t)(data[0] << 8 | data[1]);
}

static bool fixture_ports(struct ranges *to, const struct fixture_ports *from)
{
	for (size_t i = 0; i < FIXTURE_ENTRIES && from[i].first; i++)
		fixture_port(to, from[i].first, from[i].last ? from[i].last : from[i].first);
	return to->n;
}

static void fixture_when(struct when *to, const struct fixture_rule *from)
{
	when_init(to);
	to->has_direction = from->directions != 0;
	to->has_protocol = from->protocols != 0;
	to->has_family = from->families != 0;
	if (to->has_direction)
		to->directions = from->directions;
	if (to->has_protocol)
		to->protocols = from->protocols;
	if (to->has_family)
		to->families = from->families;
	to->has_remote = fixture_prefixes(&to->remote, from->remote);
	to->has_local = fixture_prefixes(&to->local, from->local);
	to->has_remote_port = fixture_ports(&to->remote_port, from->remote_port);
	to->has_local_port = fixture_ports(&to->local_port, from->local_port);
}

static void fixture_add(struct config *c, const struct fixture_policy *from)
{
	struct policy *p;

	assert_int_equal(GROW(c->policies, c->n_policies), 0);
	p = &c->policies[c->n_policies++];
	*p = (struct policy){ .name = fixture_strdup(from->name) };
	for (size_t i = 0; i < FIXTURE_PATTERNS; i++) {
		if (from->cgroup[i])
			fixture_pattern(&p->match, GLOB_CGROUP, from->cgroup[i]);
		if (from->unit[i])
			fixture_pattern(&p->match, GLOB_UNIT, from->unit[i]);
		if (from->exclude[i])
			fixture_pattern(&p->exclude, GLOB_CGROUP, from->exclude[i]);
	}
	fixture_settings(&p->base, from->base);
	while (p->n_rules < FIXTURE_RULES && from->rules[p->n_rules].name)
		p->n_rules++;
	p->rules = calloc(p->n_rules + 1, sizeof(*p->rules));
	assert_non_null(p->rules);
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct fixture_rule *r = &from->rules[i];

		p->rules[i].name = fixture_strdup(r->name);
		fixture_when(&p->rules[i].when, r);
		c->n_prefixes += p->rules[i].when.remote.n + p->rules[i].when.local.n;
		fixture_settings(&p->rules[i].options, r->options);
	}
}

/* The caller frees it with config_free(). */
static struct config *fixture_config(const struct fixture_policy *v, size_t n)
{
	struct config *c = config_new();

	assert_non_null(c);
	for (size_t i = 0; i < n; i++)
		fixture_add(c, &v[i]);
	return c;
}

/* Returns which counter of the policy has that name: 0 its own, 1 and up its rules', and after
 * these what socket(2) gives. */
static inline uint32_t fixture_counter(const struct policy *p, const char *rule)
{
	uint32_t i = 0;

	if (!*rule)
		return 0;
	while (i < p->n_rules && !streq(p->rules[i].name, rule))
		i++;
	return 1 + i;
}

#endif
