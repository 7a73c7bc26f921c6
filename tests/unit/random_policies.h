/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Random configurations, and ends of connections that their rules are about. */
#ifndef SOCKPOL_RANDOM_POLICIES_H
#define SOCKPOL_RANDOM_POLICIES_H

#include "policy/when.h"
#include "policy_fixture.h"
#include "seeded.h"

/* Few of each, so that rules overlap and connections meet their edges. */
static const char *const nets[] = {
	"0.0.0.0/0",   "10.0.0.0/8", "10.0.0.0/15", "10.1.0.0/16", "10.1.2.0/31",   "10.1.2.2/32",
	"128.0.0.0/1", "::/0",	     "fd00::/8",    "fd00:1::/32", "fd00:1::1/128", "fd00:1::/127",
};
static const char *const addresses[] = {
	"10.0.0.1",  "10.1.0.0",    "10.1.2.1", "10.1.2.2", "10.1.2.3",	 "10.2.0.0",  "11.0.0.0",
	"127.0.0.1", "192.168.0.1", "fd00::1",	"fd00:1::", "fd00:1::1", "fd00:1::2", "fe80::1",
};
static const uint16_t ports[] = { 1, 79, 80, 81, 1023, 1024, 65535 };

/* What a fixture_policy only points to. */
struct names {
	char policy[16];
	char rules[FIXTURE_RULES][16];
};

static void random_settings(struct seeded *r, struct fixture_setting *to, unsigned n)
{
	static const char *const texts[] = { "a", "bb", "ccc", "" };
	bool taken[OPTION_MAX] = { false };

	while (n) {
		/* half of the settings are of a few options, so that they contend */
		enum option_id id = random_below(r, 2)
					    ? random_below(r, OPTION_MAX)
					    : random_below(r, 6) + OPTION_SO_BINDTODEVICE;
		const struct option *o = &option_table[id];

		n--;
		if (taken[id])
			continue;
		taken[id] = true;
		/* one block never has both spellings */
		taken[OPTION_SO_BINDTODEVICE] |= id == OPTION_SO_BINDTOIFINDEX;
		taken[OPTION_SO_BINDTOIFINDEX] |= id == OPTION_SO_BINDTODEVICE;
		to->option = id;
		if (random_below(r, 8) == 0)
			to->value = UNSET;
		else if (o->type == OPTION_STRING)
			to->text = random_of(r, texts);
		else
			to->value = 1 + (int)random_below(r, 100000);
		to++;
	}
}

static void random_ports(struct seeded *r, struct fixture_ports *to)
{
	for (unsigned n = 1 + random_below(r, 2); n; n--, to++) {
		uint16_t a = random_of(r, ports), b = random_of(r, ports);

		to->first = a < b ? a : b;
		to->last = a < b ? b : a;
	}
}

static void random_nets(struct seeded *r, const char **to)
{
	for (unsigned n = 1 + random_below(r, 3); n; n--)
		*to++ = random_of(r, nets);
}

static void random_rule(struct seeded *r, struct fixture_rule *to)
{
	if (random_below(r, 2) == 0)
		to->directions = 1 + random_below(r, BIT(DIRECTION_MAX) - 1);
	if (random_below(r, 4) == 0)
		to->protocols = 1 + random_below(r, BIT(PROTOCOL_MAX) - 1);
	if (random_below(r, 3) == 0)
		to->families = 1 + random_below(r, BIT(SP_FAMILY_INDEX_MAX) - 1);
	if (random_below(r, 3) == 0)
		random_nets(r, to->remote);
	if (random_below(r, 6) == 0)
		random_nets(r, to->local);
	if (random_below(r, 4) == 0)
		random_ports(r, to->remote_port);
	if (random_below(r, 6) == 0)
		random_ports(r, to->local_port);
	random_settings(r, to->options, random_below(r, 6));
}

/* At most four policies of FIXTURE_RULES rules, so never more than SP_RULES_MAX. */
static inline struct config *random_config(struct seeded *r)
{
	static const char *const globs[] = { "/", "/a", "/a/b", "/**" };
	struct config *c = config_new();

	assert_non_null(c);
	for (unsigned i = random_below(r, 4) + 1; i; i--) {
		struct fixture_policy p = { 0 };
		struct names names;

		snprintf(names.policy, sizeof(names.policy), "p%u", i);
		p.name = names.policy;
		p.cgroup[0] = random_of(r, globs);
		random_settings(r, p.base, random_below(r, 8));
		for (unsigned n = random_below(r, 2) ? random_below(r, FIXTURE_RULES + 1) : 2; n;) {
			n--;
			snprintf(names.rules[n], sizeof(names.rules[n]), "r%u", n);
			p.rules[n].name = names.rules[n];
			random_rule(r, &p.rules[n]);
		}
		fixture_add(c, &p);
	}
	return c;
}

static struct endpoint random_endpoint(struct seeded *r, bool v4)
{
	struct endpoint e = { .known = true, .v4 = v4, .port = random_of(r, ports) };
	const char *address;

	do {
		address = random_of(r, addresses);
	} while (!strchr(address, ':') != v4);
	assert_int_equal(inet_pton(v4 ? AF_INET : AF_INET6, address, e.address), 1);
	return e;
}

#endif
