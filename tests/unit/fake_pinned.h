/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A configuration in force that the test makes up.  Stands in for agent/kernel/pinned.c: a test
 * that includes this does not link it.
 */
#ifndef SOCKPOL_FAKE_PINNED_H
#define SOCKPOL_FAKE_PINNED_H

#include <errno.h>

#include "kernel/pinned.h"
#include "policy_fixture.h"

static struct {
	const struct config *config; /* NULL: nothing is pinned */
	struct sp_state state;
	unsigned reloads;		   /* that come in the midst of the readings to come */
	unsigned opened;		   /* how often it was begun */
	const struct sp_failure *failures; /* each counted twice */
	size_t n_failures;
	const struct sp_outcome *outcomes; /* each counted three times */
	size_t n_outcomes;
} fake;

#define FAKE_RULES 100 /* the indices of a policy's counters: 100 for itself, 101 ... its rules */

static uint32_t fake_index(const struct policy *p, const char *rule, void *userdata)
{
	uint32_t of_policy = FAKE_RULES * (1 + (uint32_t)(p - fake.config->policies));

	(void)userdata;
	return of_policy + fixture_counter(p, rule);
}

int pinned_open(const char *pin_dir, struct pinned **ret)
{
	(void)pin_dir;
	if (!fake.config)
		return -ENOENT;
	fake.opened++;
	*ret = (struct pinned *)&fake;
	return 0;
}

void pinned_close(struct pinned *p)
{
	(void)p;
}

int pinned_state(const struct pinned *p, struct sp_state *ret)
{
	(void)p;
	*ret = fake.state;
	return 0;
}

const struct sp_generation *pinned_generation(const struct pinned *p)
{
	(void)p;
	return &fake.state.of[fake.state.generation & 1];
}

bool pinned_is_outdated(const struct pinned *p)
{
	(void)p;
	if (!fake.reloads)
		return false;
	fake.reloads--;
	fake.state.generation++;
	return true;
}

int pinned_image(const struct pinned *p, struct image **ret)
{
	char *error;
	struct position at;

	(void)p;
	return image_new(fake.config, fake_index, NULL, ret, &error, &at);
}

int pinned_each_counter(const struct pinned *p, pinned_counter_fn *fn, void *userdata)
{
	int r = 0;

	(void)p;
	for (size_t i = 0; i < fake.config->n_policies && r == 0; i++) {
		const struct policy *policy = &fake.config->policies[i];
		struct sp_counter c = { 0 };

		snprintf(c.policy, sizeof(c.policy), "%s", policy->name);
		r = fn(fake_index(policy, "", NULL), &c, 0, userdata);
		for (size_t k = 0; k < policy->n_rules && r == 0; k++) {
			snprintf(c.rule, sizeof(c.rule), "%s", policy->rules[k].name);
			r = fn(fake_index(policy, c.rule, NULL), &c, 0, userdata);
		}
	}
	return r;
}

int pinned_each_failure(const struct pinned *p, pinned_failure_fn *fn, void *userdata)
{
	int r = 0;

	(void)p;
	for (size_t i = 0; i < fake.n_failures && r == 0; i++)
		r = fn(&fake.failures[i], 2, userdata);
	return r;
}

int pinned_each_outcome(const struct pinned *p, pinned_outcome_fn *fn, void *userdata)
{
	int r = 0;

	(void)p;
	for (size_t i = 0; i < fake.n_outcomes && r == 0; i++)
		r = fn(&fake.outcomes[i], 3, userdata);
	return r;
}

uint32_t pinned_map_room(const struct pinned *p, enum map_id id)
{
	(void)p;
	return map_table[id].entries;
}

#endif
