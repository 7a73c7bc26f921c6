/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Policies for tests of the stages behind the loader, written as C.  Memory that runs out, or a
 * pattern or a value that is wrong, fails the test at once.
 */
#ifndef SOCKPOL_POLICY_FIXTURE_H
#define SOCKPOL_POLICY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy.h"

#define FIXTURE_OPTIONS	 12
#define FIXTURE_RULES	 4
#define FIXTURE_PATTERNS 4
#define UNSET		 INT32_MIN /* as the value: `unset` */

struct fixture_setting {
	enum option_id option;
	int value;	  /* or UNSET */
	const char *text; /* the value of an OPTION_STRING */
};

struct fixture_rule {
	const char *name;
	unsigned directions; /* BIT(enum direction); 0: not given */
	struct fixture_setting options[FIXTURE_OPTIONS];
};

/* An array ends where a pattern is NULL, a rule has no name, a setting neither value nor text. */
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
		for (size_t i = 0; i < FIXTURE_OPTIONS && (from[i].value || from[i].text); i++) {
			struct setting *s;

			if ((int)from[i].option != id)
				continue;
			assert_int_equal(GROW(to->v, to->n), 0);
			s = &to->v[to->n++];
			*s = (struct setting){ .option = &option_table[id],
					       .unset = from[i].value == UNSET };
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
				assert_int_equal(sockopt_setint(&s->value, from[i].value), 0);
		}
	}
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
		p->rules[i].when.has_direction = r->directions != 0;
		p->rules[i].when.directions =
			r->directions ? r->directions : BIT(DIRECTION_MAX) - 1;
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

#endif
