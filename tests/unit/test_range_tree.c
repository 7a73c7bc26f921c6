// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Does the class of an address or a port tell which rules list it?  The trees are walked by the
 * hooks' own code. */
#include <errno.h>
#include <time.h>

#include "compile/range_tree.h"
#include "hook_twin.h"
#include "policy_fixture.h"
#include "seeded.h"

struct world {
	struct range_trees trees;
};

static void world_new(struct world *w)
{
	*w = (struct world){ 0 };
}

static void world_free(struct world *w)
{
	range_trees_clear(&w->trees);
}

/* For all rules of a policy, so that a bit is a place. */
static struct range_view get(struct world *w, const struct policy *p, enum sp_property property)
{
	const struct rule *rules[SP_RULES_MAX];
	struct range_view v;

	assert_true(p->n_rules <= SP_RULES_MAX);
	for (size_t i = 0; i < p->n_rules; i++)
		rules[i] = &p->rules[i];
	assert_int_equal(range_trees_get(&w->trees, rules, p->n_rules, property, &v), 0);
	return v;
}

static void put(const struct range_view *v)
{
	free(v->rules);
}

/* The rules that a class leaves. */
static uint64_t rules_of(const struct range_view *v, uint32_t class)
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

	image.of[MAP_ID_range_nodes].values = w->trees.v;
	image.of[MAP_ID_range_nodes].n = (uint32_t)w->trees.n;
	twin_load(&image);
}

static uint64_t look_up(const struct world *w, const struct range_view *v,
			const unsigned char *address, bool v4)
{
	const struct sp_test test = { .tree4 = v->tree4, .tree6 = v->tree6 };
	struct address key = { .known = true, .v4 = v4 };

	load(w);
	memcpy(key.a, address, v4 ? 4 : 16);
	return rules_of(v, class_of_address(&test, &key, 0));
}

static uint64_t look_up_text(const struct world *w, const struct range_view *v, const char *address)
{
	bool v6 = strchr(address, ':');
	unsigned char data[16] = { 0 };

	assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, address, data), 1);
	return look_up(w, v, data, !v6);
}

static uint64_t look_up_port(const struct world *w, const struct range_view *v, uint16_t port)
{
	load(w);
	return rules_of(v, look_up_key(v->tree4, port, 0));
}

static void expect_rules(const struct world *w, const struct range_view *v, const char *address,
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
	struct range_view v;
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
	struct range_view v;
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
	assert_int_equal(w.trees.n, 3);
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

/* Makes the prefix of so many bits around an address. */
static struct range prefix_of(bool v4, const unsigned char address[16], unsigned length)
{
	struct range p = { .kind = v4 ? RANGE_IPV4 : RANGE_IPV6 };

	for (unsigned bit = 0; bit < 8 * range_size(&p); bit++) {
		unsigned char mask = (unsigned char)(0x80 >> bit % 8);

		if (bit < length) {
			p.first[bit / 8] |= address[bit / 8] & mask;
			p.last[bit / 8] |= address[bit / 8] & mask;
		} else {
			p.last[bit / 8] |= mask;
		}
	}
	return p;
}

static void add_random_prefix(struct seeded *r, struct ranges *to)
{
	static const unsigned lengths4[] = { 0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 32 };
	static const unsigned lengths6[] = { 0, 1, 8, 9, 16, 63, 64, 65, 120, 127, 128 };
	unsigned char address[16];
	bool v4 = random_below(r, 2);
	unsigned length;

	if (v4)
		length = random_below(r, 3) ? random_of(r, lengths4) : random_below(r, 33);
	else
		length = random_below(r, 3) ? random_of(r, lengths6) : random_below(r, 129);
	random_address(r, address, v4);
	assert_int_equal(GROW(to->v, to->n), 0);
	to->v[to->n++] = prefix_of(v4, address, length);
}

static uint16_t random_port(struct seeded *r)
{
	static const uint16_t ports[] = {
		1, 2, 79, 80, 81, 1023, 1024, 32767, 32768, 65534, 65535
	};

	return random_below(r, 2) ? random_of(r, ports) : (uint16_t)(1 + random_below(r, 65535));
}

static void add_random_range(struct seeded *r, struct ranges *to)
{
	uint16_t a = random_port(r), b = random_below(r, 2) ? random_port(r) : a;

	fixture_port(to, a < b ? a : b, a < b ? b : a);
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

static bool in_list(const struct ranges *list, const unsigned char *address, bool v4)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct range *p = &list->v[i];
		unsigned byte = 0;

		while (byte < range_size(p) && p->first[byte] <= address[byte] &&
		       address[byte] <= p->last[byte])
			byte++; /* in a prefix a byte is fixed, or free, or both by bits */
		if ((p->kind == RANGE_IPV4) == v4 && byte == range_size(p))
			return true;
	}
	return false;
}

static bool in_ranges(const struct ranges *list, uint16_t port)
{
	for (size_t i = 0; i < list->n; i++)
		if (fixture_port_at(list->v[i].first) <= port &&
		    port <= fixture_port_at(list->v[i].last))
			return true;
	return false;
}

static void compare_addresses(struct seeded *r, const struct world *w, const struct policy *p,
			      const struct range_view *v)
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
			  const struct range_view *v)
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
	struct range_view addresses, ports;
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
	struct range_view p, q, r, again;
	struct world w;

	(void)state;
	world_new(&w);
	p = get(&w, &c->policies[0], SP_PROPERTY_REMOTE);
	assert_int_equal(w.trees.n, 2);
	q = get(&w, &c->policies[1], SP_PROPERTY_LOCAL);
	again = get(&w, &c->policies[0], SP_PROPERTY_REMOTE);
	assert_int_equal(w.trees.n, 2);
	assert_true(p.tree4 == q.tree4 && p.tree6 == q.tree6);
	assert_true(p.tree4 == again.tree4 && p.tree6 == again.tree6);
	/* but which rules a class means is each one's own */
	expect_rules(&w, &p, "10.0.0.1", 0x1);
	expect_rules(&w, &q, "10.0.0.1", 0x2);

	r = get(&w, &c->policies[2], SP_PROPERTY_REMOTE);
	assert_int_not_equal(p.tree4, r.tree4);
	assert_int_equal(p.tree6, r.tree6);
	assert_int_equal(w.trees.n, 3);
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
	struct range_view v;

	for (unsigned i = 0; i < 100000; i++) {
		struct ranges *to = &rules[i % 2].when.remote;
		unsigned char address[16];

		for (unsigned byte = 0; byte < sizeof(address); byte++)
			address[byte] = (unsigned char)random_below(&r, 256);
		assert_int_equal(GROW(to->v, to->n), 0);
		to->v[to->n++] = prefix_of(v4, address, 128);
	}
	rules[0].when.has_remote = rules[1].when.has_remote = true;
	world_new(&w);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	v = get(&w, c->policies, SP_PROPERTY_REMOTE);
	clock_gettime(CLOCK_MONOTONIC, &end);
	print_message("100,000 prefixes: %zu nodes, %.0f ms\n", w.trees.n,
		      (double)(end.tv_sec - begin.tv_sec) * 1e3 +
			      (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
	assert_true(end.tv_sec - begin.tv_sec < 10); /* generous: sanitizers, a busy machine */
	assert_true(w.trees.n < n_nodes_max);
	for (unsigned i = 0; i < 1000; i++) {
		const struct range *p = &rules[i % 2].when.remote.v[i];

		if (!(look_up(&w, &v, p->first, v4) & 1u << i % 2))
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

/* n single ports, so 2 n + 1 pieces: at each number the tree is as low as can be, and right. */
static void test_heights(void **state)
{
	static const struct fixture_policy policy = {
		"p", .rules = { { "a", .remote_port = { { 5 } } } }
	};
	struct config *c = fixture_config(&policy, 1);

	(void)state;
	for (unsigned n = 1; n < 500; n++) {
		struct range_view v;
		unsigned height = 1;
		struct world w;

		world_new(&w);
		v = get(&w, c->policies, SP_PROPERTY_REMOTE_PORT);
		for (unsigned room = SP_LEAF_RANGES; room < 2 * n + 1; room *= SP_NODE_CHILDREN)
			height++;
		assert_int_equal(v.tree4 >> SP_ANSWER_LEVELS_SHIFT, height);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(look_up_port(&w, &v, (uint16_t)(10 * i + 4)), 0);
			assert_int_equal(look_up_port(&w, &v, (uint16_t)(10 * i + 5)), 1);
			assert_int_equal(look_up_port(&w, &v, (uint16_t)(10 * i + 6)), 0);
		}
		put(&v);
		world_free(&w);
		fixture_port(&c->policies->rules->when.remote_port, (uint16_t)(10 * n + 5),
			     (uint16_t)(10 * n + 5));
	}
	config_free(c);
}

/* Where there is only one answer it takes no tree. */
static void test_one_answer(void **state)
{
	static const struct fixture_policy policy = {
		"p", .rules = { { "a", .remote = { "0.0.0.0/1", "128.0.0.0/1" } } }
	};
	struct config *c = fixture_config(&policy, 1);
	struct range_view v;
	struct world w;

	(void)state;
	world_new(&w);
	v = get(&w, c->policies, SP_PROPERTY_LOCAL);
	assert_true(v.tree4 == 0 && v.tree6 == 0 && v.asking == 0);
	assert_int_equal(v.n_classes, 1);
	assert_int_equal(w.trees.n, 0);
	put(&v);
	v = get(&w, c->policies, SP_PROPERTY_REMOTE);
	assert_true(v.tree6 == 0);
	assert_int_equal(w.trees.n, 1); /* the keys of IPv4 are those of 64 bits */
	expect_rules(&w, &v, "127.255.255.255", 1);
	expect_rules(&w, &v, "128.0.0.0", 1);
	put(&v);
	world_free(&w);
	config_free(c);
}

/* More nodes than an answer has an index for (said to be there, as they would take 16 GB). */
static void test_too_many(void **state)
{
	static const struct fixture_policy policy = {
		"p", .rules = { { "a", .remote_port = { { 5 } } } }
	};
	struct config *c = fixture_config(&policy, 1);
	const struct rule *rule = c->policies->rules;
	struct range_view v = { .tree4 = 77 };
	struct world w;

	(void)state;
	world_new(&w);
	w.trees.n = (size_t)SP_ANSWER_INDEX + 1;
	assert_int_equal(range_trees_get(&w.trees, &rule, 1, SP_PROPERTY_REMOTE_PORT, &v), -E2BIG);
	assert_int_equal(v.tree4, 77);
	assert_null(w.trees.v);
	world_free(&w);
	config_free(c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),  cmocka_unit_test(test_ports),
		cmocka_unit_test(test_random),	   cmocka_unit_test(test_sharing),
		cmocka_unit_test(test_scale),	   cmocka_unit_test(test_heights),
		cmocka_unit_test(test_one_answer), cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
