// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Does the class of an address or a port tell which rules list it?  The trees are walked by the
 * hooks' own code. */
#include <time.h>

#include "compile/prefix_sets.h"
#include "hook_twin.h"
#include "policy_fixture.h"
#include "seeded.h"

struct world {
	struct range_nodes nodes;
	struct prefix_sets *sets;
};

static void world_new(struct world *w)
{
	*w = (struct world){ 0 };
	assert_int_equal(prefix_sets_new(&w->nodes, &w->sets), 0);
}

static void world_free(struct world *w)
{
	prefix_sets_free(w->sets);
	free(w->nodes.v);
}

/* For all rules of a policy, so that a bit is a place. */
static struct prefix_view get(struct world *w, const struct policy *p, enum sp_property property)
{
	const struct rule *rules[SP_RULES_MAX];
	struct prefix_view v;

	assert_true(p->n_rules <= SP_RULES_MAX);
	for (size_t i = 0; i < p->n_rules; i++)
		rules[i] = &p->rules[i];
	assert_int_equal(prefix_sets_get(w->sets, rules, p->n_rules, property, &v), 0);
	return v;
}

static void put(const struct prefix_view *v)
{
	free(v->rules);
}

/* The rules that a class leaves. */
static uint64_t rules_of(const struct prefix_view *v, uint32_t class)
{
	assert_false(twin.failed);
	if (class < v->n_classes)
		return v->rules[class];
	fail_msg("class %u of %zu", class, v->n_classes);
	return 0;
}

static void load(const struct world *w)
{
	static struct image image;

	image.of[MAP_ID_range_nodes].values = w->nodes.v;
	image.of[MAP_ID_range_nodes].n = (uint32_t)w->nodes.n;
	twin_load(&image);
}

static uint64_t look_up(const struct world *w, const struct prefix_view *v,
			const unsigned char *address, bool v4)
{
	const struct sp_test test = { .tree4 = v->tree4, .tree6 = v->tree6 };
	struct address key = { .known = true, .v4 = v4 };

	load(w);
	memcpy(key.a, address, v4 ? 4 : 16);
	return rules_of(v, class_of_address(&test, &key, 0));
}

static uint64_t look_up_text(const struct world *w, const struct prefix_view *v,
			     const char *address)
{
	bool v6 = strchr(address, ':');
	unsigned char data[16] = { 0 };

	assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, address, data), 1);
	return look_up(w, v, data, !v6);
}

static uint64_t look_up_port(const struct world *w, const struct prefix_view *v, uint16_t port)
{
	load(w);
	return rules_of(v, look_up_key(v->tree4, port, 0));
}

static void expect_rules(const struct world *w, const struct prefix_view *v, const char *address,
			 uint64_t expected)
{
	uint64_t rules = look_up_text(w, v, address);

	if (rules != expected)
		fail_msg("%s is in the lists of rules %#llx, not %#llx", address,
			 (unsigned long long)rules, (unsigned long long)expected);
}

static void test_addresses(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  .rules = { { "ten", .remote = { "10.0.0.0/8", "10.1.2.3/32" } },
			     { "none" },
			     { "all", .remote = { "0.0.0.0/0" } },
			     { "one", .remote = { "10.1.2.3/32", "fd00::1/128" } },
			     { "six", .remote = { "::/0" } },
			     { "twice", .remote = { "10.1.0.0/16", "10.1.0.0/16", "10.0.0.0/7" } },
			     { "own", .local = { "192.168.0.0/16" } } } },
	};
	struct config *c = fixture_config(policies, 1);
	struct prefix_view v;
	struct world w;

	(void)state;
	world_new(&w);
	v = get(&w, c->policies, SP_PROPERTY_REMOTE);
	assert_true(v.asking == 0x3d);
	assert_true(v.rules[0] == 0);
	expect_rules(&w, &v, "10.1.2.3", 0x2d);
	expect_rules(&w, &v, "10.1.2.4", 0x25);
	expect_rules(&w, &v, "10.2.0.0", 0x25);
	expect_rules(&w, &v, "11.255.255.255", 0x24);
	expect_rules(&w, &v, "12.0.0.0", 0x04);
	expect_rules(&w, &v, "9.255.255.255", 0x04);
	expect_rules(&w, &v, "fd00::1", 0x18);
	expect_rules(&w, &v, "::", 0x10);
	put(&v);

	v = get(&w, c->policies, SP_PROPERTY_LOCAL);
	assert_true(v.asking == 0x40);
	expect_rules(&w, &v, "192.168.0.1", 0x40);
	expect_rules(&w, &v, "10.1.2.3", 0);
	expect_rules(&w, &v, "fd00::1", 0);
	put(&v);
	world_free(&w);
	config_free(c);
}

static void test_ports(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", .rules = { { "one", .remote_port = { { 80 }, { 65535 } } },
				  { "range", .remote_port = { { 79, 8081 } } },
				  { "all", .remote_port = { { 1, 65535 } } },
				  { "low", .remote_port = { { 1, 1023 }, { 1024, 2047 } } },
				  { "local", .local_port = { { 80 } } } } },
	};
	struct config *c = fixture_config(policies, 1);
	const struct policy *p = c->policies;
	struct prefix_view v;
	struct world w;

	(void)state;
	world_new(&w);
	v = get(&w, p, SP_PROPERTY_REMOTE_PORT);
	assert_true(v.asking == 0xf);
	for (unsigned port = 1; port <= 65535; port++) {
		uint64_t expected = 0x4, rules = look_up_port(&w, &v, (uint16_t)port);

		expected |= port == 80 || port == 65535 ? 0x1 : 0;
		expected |= port >= 79 && port <= 8081 ? 0x2 : 0;
		expected |= port <= 2047 ? 0x8 : 0;
		if (rules != expected)
			fail_msg("port %u is in the lists of rules %#llx, not %#llx", port,
				 (unsigned long long)rules, (unsigned long long)expected);
	}
	assert_true(look_up_port(&w, &v, 0) == 0); /* not known */
	/* 1, 79, 80, 81, 1024, 2048, 8082, 65535 and what is before them: two leaves */
	assert_int_equal(w.nodes.n, 3);
	put(&v);

	v = get(&w, p, SP_PROPERTY_LOCAL_PORT);
	assert_true(v.asking == 0x10);
	assert_true(look_up_port(&w, &v, 80) == 0x10);
	assert_true(look_up_port(&w, &v, 81) == 0);
	put(&v);
	world_free(&w);
	config_free(c);
}

/* A prefix or an address where others are likely to be: bytes of few values. */
static void random_address(struct seeded *r, unsigned char address[16], bool v4)
{
	static const unsigned char bytes[] = { 0, 1, 127, 128, 254, 255 };
	unsigned char fillers[2] = { random_below(r, 4) ? 0 : 255, random_below(r, 4) ? 0 : 255 };

	memset(address, 0, 16);
	for (unsigned i = 0; i < (v4 ? 4 : 16); i++)
		address[i] = i < 2 || i > 13 || v4 ? random_of(r, bytes) : fillers[i / 8];
}

static void add_random_prefix(struct seeded *r, struct prefixes *to)
{
	static const unsigned lengths4[] = { 0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 32 };
	static const unsigned lengths6[] = { 0, 1, 8, 9, 16, 63, 64, 65, 120, 127, 128 };
	struct prefix p = { .v4 = random_below(r, 2) };

	if (p.v4)
		p.length = random_below(r, 3) ? random_of(r, lengths4) : random_below(r, 33);
	else
		p.length = random_below(r, 3) ? random_of(r, lengths6) : random_below(r, 129);
	random_address(r, p.address, p.v4);
	for (unsigned bit = p.length; bit < 128; bit++)
		p.address[bit / 8] &= (unsigned char)~(0x80u >> bit % 8);
	assert_int_equal(GROW(to->v, to->n), 0);
	to->v[to->n++] = p;
}

static uint16_t random_port(struct seeded *r)
{
	static const uint16_t ports[] = {
		1, 2, 79, 80, 81, 1023, 1024, 32767, 32768, 65534, 65535
	};

	return random_below(r, 2) ? random_of(r, ports) : (uint16_t)(1 + random_below(r, 65535));
}

static void add_random_range(struct seeded *r, struct port_ranges *to)
{
	uint16_t a = random_port(r), b = random_below(r, 2) ? random_port(r) : a;

	assert_int_equal(GROW(to->v, to->n), 0);
	to->v[to->n++] = (struct port_range){ .first = a < b ? a : b, .last = a < b ? b : a };
}

/* One policy without a name; free it with config_free(). */
static struct config *random_config(struct seeded *r)
{
	struct config *c = config_new();
	struct policy *p;

	assert_non_null(c);
	assert_int_equal(GROW(c->policies, c->n_policies), 0);
	p = &c->policies[c->n_policies++];
	*p = (struct policy){ .n_rules = 1 + random_below(r, SP_RULES_MAX) };
	p->rules = calloc(p->n_rules, sizeof(*p->rules));
	assert_non_null(p->rules);
	for (size_t i = 0; i < p->n_rules; i++) {
		struct when *w = &p->rules[i].when;

		when_init(w);
		for (unsigned n = random_below(r, 6); n; n--)
			add_random_prefix(r, &w->remote);
		for (unsigned n = random_below(r, 3); n; n--)
			add_random_range(r, &w->remote_port);
		w->has_remote = w->remote.n;
		w->has_remote_port = w->remote_port.n;
	}
	return c;
}

static bool in_list(const struct prefixes *list, const unsigned char *address, bool v4)
{
	for (size_t i = 0; i < list->n; i++) {
		unsigned bit = 0;

		while (bit < list->v[i].length &&
		       !((list->v[i].address[bit / 8] ^ address[bit / 8]) & 0x80u >> bit % 8))
			bit++;
		if (list->v[i].v4 == v4 && bit == list->v[i].length)
			return true;
	}
	return false;
}

static bool in_ranges(const struct port_ranges *list, uint16_t port)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->v[i].first <= port && port <= list->v[i].last)
			return true;
	return false;
}

static void compare_addresses(struct seeded *r, const struct world *w, const struct policy *p,
			      const struct prefix_view *v)
{
	for (int i = 0; i < 200; i++) {
		bool v4 = random_below(r, 2);
		unsigned char address[16];
		uint64_t expected = 0, rules;

		random_address(r, address, v4);
		for (size_t n = 0; n < p->n_rules; n++)
			if (in_list(&p->rules[n].when.remote, address, v4))
				expected |= 1ull << n;
		rules = look_up(w, v, address, v4);
		if (rules != expected)
			SEEDED_FAIL(r, "address %d: rules %#llx, not %#llx", i,
				    (unsigned long long)rules, (unsigned long long)expected);
	}
}

static void compare_ports(struct seeded *r, const struct world *w, const struct policy *p,
			  const struct prefix_view *v)
{
	for (int i = 0; i < 200; i++) {
		uint16_t port = random_port(r);
		uint64_t expected = 0, rules = look_up_port(w, v, port);

		for (size_t n = 0; n < p->n_rules; n++)
			if (in_ranges(&p->rules[n].when.remote_port, port))
				expected |= 1ull << n;
		if (rules != expected)
			SEEDED_FAIL(r, "port %u: rules %#llx, not %#llx", port,
				    (unsigned long long)rules, (unsigned long long)expected);
	}
}

static void run_random(struct seeded *r)
{
	struct config *c = random_config(r);
	struct prefix_view addresses, ports;
	struct world w;

	world_new(&w);
	addresses = get(&w, c->policies, SP_PROPERTY_REMOTE);
	ports = get(&w, c->policies, SP_PROPERTY_REMOTE_PORT);
	compare_addresses(r, &w, c->policies, &addresses);
	compare_ports(r, &w, c->policies, &ports);
	put(&addresses);
	put(&ports);
	world_free(&w);
	config_free(c);
}

static void test_random(void **state)
{
	(void)state;
	for_seeds(50, run_random);
}

/* Equal lists are one set, whichever policy and rule has them. */
static void test_sharing(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", .rules = { { "a", .remote = { "10.0.0.0/8", "fd00::/8" } } } },
		{ "q", .rules = { { "none" }, { "b", .local = { "fd00::/8", "10.0.0.0/8" } } } },
		{ "r", .rules = { { "c", .remote = { "10.0.0.0/9", "fd00::/8" } } } },
	};
	struct config *c = fixture_config(policies, 3);
	struct prefix_view p, q, r, again;
	struct world w;

	(void)state;
	world_new(&w);
	p = get(&w, &c->policies[0], SP_PROPERTY_REMOTE);
	assert_int_equal(w.nodes.n, 2);
	q = get(&w, &c->policies[1], SP_PROPERTY_LOCAL);
	again = get(&w, &c->policies[0], SP_PROPERTY_REMOTE);
	assert_int_equal(w.nodes.n, 2);
	assert_true(p.tree4 == q.tree4 && p.tree6 == q.tree6);
	assert_true(p.tree4 == again.tree4 && p.tree6 == again.tree6);
	/* but which rules a class means is each one's own */
	expect_rules(&w, &p, "10.0.0.1", 0x1);
	expect_rules(&w, &q, "10.0.0.1", 0x2);

	r = get(&w, &c->policies[2], SP_PROPERTY_REMOTE);
	assert_int_not_equal(p.tree4, r.tree4);
	assert_int_equal(w.nodes.n, 4);
	expect_rules(&w, &r, "10.128.0.1", 0);
	expect_rules(&w, &q, "10.128.0.1", 0x2);
	put(&p);
	put(&q);
	put(&again);
	put(&r);
	world_free(&w);
	config_free(c);
}

/* The most prefixes that a configuration may have, in two rules; whole addresses take the most. */
static void run_scale(bool v4, uint32_t n_nodes_max)
{
	static const struct fixture_policy policies[] = { { "p", .rules = { { "a" }, { "b" } } } };
	struct config *c = fixture_config(policies, 1);
	struct rule *rules = c->policies[0].rules;
	struct seeded r = { .seed = 1 };
	struct world w;
	struct timespec begin, end;
	struct prefix_view v;

	for (unsigned i = 0; i < 100000; i++) {
		struct prefixes *to = &rules[i % 2].when.remote;
		unsigned length = v4 ? 32 : 128;

		assert_int_equal(GROW(to->v, to->n), 0);
		to->v[to->n] = (struct prefix){ .v4 = v4, .length = length };
		for (unsigned byte = 0; byte < length / 8; byte++)
			to->v[to->n].address[byte] = (unsigned char)random_below(&r, 256);
		to->n++;
	}
	rules[0].when.has_remote = rules[1].when.has_remote = true;
	world_new(&w);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	v = get(&w, c->policies, SP_PROPERTY_REMOTE);
	clock_gettime(CLOCK_MONOTONIC, &end);
	print_message("100,000 prefixes: %zu nodes, %.0f ms\n", w.nodes.n,
		      (double)(end.tv_sec - begin.tv_sec) * 1e3 +
			      (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
	assert_true(end.tv_sec - begin.tv_sec < 10); /* generous: sanitizers, a busy machine */
	assert_true(w.nodes.n < n_nodes_max);
	for (unsigned i = 0; i < 1000; i++) {
		const struct prefix *p = &rules[i % 2].when.remote.v[i];

		if (!(look_up(&w, &v, p->address, v4) & 1u << i % 2))
			fail_msg("prefix %u is not found", i);
	}
	put(&v);
	world_free(&w);
	config_free(c);
}

static void test_scale(void **state)
{
	(void)state;
	run_scale(true, 40000);
	run_scale(false, 140000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_ports),
		cmocka_unit_test(test_random),	  cmocka_unit_test(test_sharing),
		cmocka_unit_test(test_scale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
