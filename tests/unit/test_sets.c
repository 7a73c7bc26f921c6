// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Does the class of an address or a port tell which rules list it?  The maps are fake_maps.h's. */
#include <time.h>

#include "fake_maps.h"
#include "policy_fixture.h"
#include "seeded.h"
#include "sets.h"

static struct sets *new_sets(void)
{
	struct sets *s;

	fake_reset();
	assert_int_equal(sets_new(NULL, &s), 0);
	return s;
}

/* The rules that the class of what `data` says leaves, as the hook looks it up. */
static uint64_t look_up(const struct set_view *v, int map, const unsigned char *data, size_t size)
{
	struct sp_set_key6 key = { .prefixlen = SP_SET_BITS + 8 * (uint32_t)size, .set = v->id };
	const uint32_t *class;

	memcpy(key.data, data, size);
	class = fake_longest(map, &key);
	if (!class)
		return v->rules[0];
	assert_true(*class < v->n_classes);
	return v->rules[*class];
}

static uint64_t look_up_text(const struct set_view *v, const char *address)
{
	bool v6 = strchr(address, ':');
	unsigned char data[16] = { 0 };

	assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, address, data), 1);
	return look_up(v, v6 ? KERNEL_MAP_SETS6 : KERNEL_MAP_SETS4, data, v6 ? 16 : 4);
}

static uint64_t look_up_port(const struct set_view *v, unsigned port)
{
	const unsigned char data[4] = { (unsigned char)(port >> 8), (unsigned char)port };

	return look_up(v, KERNEL_MAP_SETS4, data, 2);
}

static void expect_rules(const struct set_view *v, const char *address, uint64_t expected)
{
	uint64_t rules = look_up_text(v, address);

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
	struct sets *s = new_sets();
	struct set_view v;

	(void)state;
	assert_int_equal(sets_get(s, c->policies, SP_PROPERTY_REMOTE, &v), 0);
	assert_true(v.asking == 0x3d);
	assert_true(v.rules[0] == 0);
	expect_rules(&v, "10.1.2.3", 0x2d);
	expect_rules(&v, "10.1.2.4", 0x25);
	expect_rules(&v, "10.2.0.0", 0x25);
	expect_rules(&v, "11.255.255.255", 0x24);
	expect_rules(&v, "12.0.0.0", 0x04);
	expect_rules(&v, "9.255.255.255", 0x04);
	expect_rules(&v, "fd00::1", 0x18);
	expect_rules(&v, "::", 0x10);
	sets_put(s, &v);

	assert_int_equal(sets_get(s, c->policies, SP_PROPERTY_LOCAL, &v), 0);
	assert_true(v.asking == 0x40);
	expect_rules(&v, "192.168.0.1", 0x40);
	expect_rules(&v, "10.1.2.3", 0);
	expect_rules(&v, "fd00::1", 0);
	sets_put(s, &v);
	assert_int_equal(fake_n_prefixes(), 0);
	sets_free(s);
	config_free(c);
	fake_reset();
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
	struct sets *s = new_sets();
	struct set_view v;

	(void)state;
	assert_int_equal(sets_get(s, p, SP_PROPERTY_REMOTE_PORT, &v), 0);
	assert_true(v.asking == 0xf);
	for (unsigned port = 1; port <= 65535; port++) {
		uint64_t expected = 0x4, rules = look_up_port(&v, port);

		expected |= port == 80 || port == 65535 ? 0x1 : 0;
		expected |= port >= 79 && port <= 8081 ? 0x2 : 0;
		expected |= port <= 2047 ? 0x8 : 0;
		if (rules != expected)
			fail_msg("port %u is in the lists of rules %#llx, not %#llx", port,
				 (unsigned long long)rules, (unsigned long long)expected);
	}
	/* 0 is none: the hook asks for no class then, but none is there either */
	assert_true(look_up_port(&v, 0) == 0);
	/* a range is at most 30 prefixes */
	assert_true(fake_n_prefixes() < 2 + 4 * 30);
	sets_put(s, &v);

	assert_int_equal(sets_get(s, p, SP_PROPERTY_LOCAL_PORT, &v), 0);
	assert_true(v.asking == 0x10);
	assert_true(look_up_port(&v, 80) == 0x10);
	assert_true(look_up_port(&v, 81) == 0);
	sets_put(s, &v);
	assert_int_equal(fake_n_prefixes(), 0);
	sets_free(s);
	config_free(c);
	fake_reset();
}

/* A prefix or an address where others are likely to be: bytes of few values. */
static void random_address(struct seeded *r, unsigned char address[16], bool v4)
{
	static const unsigned char bytes[] = { 0, 1, 127, 128, 254, 255 };

	memset(address, 0, 16);
	for (unsigned i = 0; i < (v4 ? 4 : 16); i++)
		address[i] = i < 2 || i > 13 || v4 ? random_of(r, bytes) : 0;
}

static void add_random_prefix(struct seeded *r, struct prefixes *to)
{
	static const unsigned lengths4[] = { 0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 32 };
	static const unsigned lengths6[] = { 0, 1, 7, 8, 9, 16, 64, 120, 127, 128 };
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

static void compare_addresses(struct seeded *r, const struct policy *p, const struct set_view *v)
{
	for (int i = 0; i < 200; i++) {
		bool v4 = random_below(r, 2);
		unsigned char address[16];
		uint64_t expected = 0, rules;

		random_address(r, address, v4);
		for (size_t n = 0; n < p->n_rules; n++)
			if (in_list(&p->rules[n].when.remote, address, v4))
				expected |= 1ull << n;
		rules = look_up(v, v4 ? KERNEL_MAP_SETS4 : KERNEL_MAP_SETS6, address, v4 ? 4 : 16);
		if (rules != expected)
			SEEDED_FAIL(r, "address %d: rules %#llx, not %#llx", i,
				    (unsigned long long)rules, (unsigned long long)expected);
	}
}

static void compare_ports(struct seeded *r, const struct policy *p, const struct set_view *v)
{
	for (int i = 0; i < 200; i++) {
		uint16_t port = random_port(r);
		uint64_t expected = 0, rules = look_up_port(v, port);

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
	struct sets *s = new_sets();
	struct set_view addresses, ports;

	assert_int_equal(sets_get(s, c->policies, SP_PROPERTY_REMOTE, &addresses), 0);
	assert_int_equal(sets_get(s, c->policies, SP_PROPERTY_REMOTE_PORT, &ports), 0);
	compare_addresses(r, c->policies, &addresses);
	compare_ports(r, c->policies, &ports);
	sets_put(s, &addresses);
	sets_put(s, &ports);
	if (fake_n_prefixes())
		SEEDED_FAIL(r, "%zu prefixes are left", fake_n_prefixes());
	sets_free(s);
	config_free(c);
	fake_reset();
}

static void test_random(void **state)
{
	(void)state;
	for_seeds(50, run_random);
}

/* Equal lists are one set, whichever policy and rule has them, until the last reference goes. */
static void test_sharing(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", .rules = { { "a", .remote = { "10.0.0.0/8", "fd00::/8" } } } },
		{ "q", .rules = { { "none" }, { "b", .local = { "fd00::/8", "10.0.0.0/8" } } } },
		{ "r", .rules = { { "c", .remote = { "10.0.0.0/9", "fd00::/8" } } } },
	};
	struct config *c = fixture_config(policies, 3);
	struct sets *s = new_sets();
	struct set_view p, q, r, again;
	size_t updates;

	(void)state;
	assert_int_equal(sets_get(s, &c->policies[0], SP_PROPERTY_REMOTE, &p), 0);
	assert_int_equal(fake_n_prefixes(), 2);
	updates = fake.n_updates;
	assert_int_equal(sets_get(s, &c->policies[1], SP_PROPERTY_LOCAL, &q), 0);
	assert_int_equal(sets_get(s, &c->policies[0], SP_PROPERTY_REMOTE, &again), 0);
	assert_int_equal(fake.n_updates, updates);
	assert_int_equal(p.id, q.id);
	assert_int_equal(p.id, again.id);
	/* but which rules a class means is each one's own */
	expect_rules(&p, "10.0.0.1", 0x1);
	expect_rules(&q, "10.0.0.1", 0x2);

	assert_int_equal(sets_get(s, &c->policies[2], SP_PROPERTY_REMOTE, &r), 0);
	assert_int_not_equal(p.id, r.id);
	assert_int_equal(fake_n_prefixes(), 4);
	expect_rules(&r, "10.128.0.1", 0);
	sets_put(s, &r);
	sets_put(s, &p);
	sets_put(s, &again);
	assert_int_equal(fake_n_prefixes(), 2);
	expect_rules(&q, "fd00::1", 0x2);
	sets_put(s, &q);
	assert_int_equal(fake_n_prefixes(), 0);
	sets_put(s, &q); /* as generation_free() does for what was never made */
	sets_free(s);
	config_free(c);
	fake_reset();
}

static void test_no_room(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", .rules = { { "a", .remote = { "10.0.0.0/8", "fd00::/8", "1.2.3.4/32",
						     "::1/128" } } } },
	};
	struct config *c = fixture_config(policies, 1);
	struct sets *s = new_sets();
	struct set_view v;

	(void)state;
	for (size_t at = 1; at <= 4; at++) {
		struct set_view untouched;

		memset(&v, 0x5a, sizeof(v));
		untouched = v;
		fake.n_updates = 0;
		fake.fail_at = at;
		assert_int_equal(sets_get(s, c->policies, SP_PROPERTY_REMOTE, &v), -ENOSPC);
		assert_memory_equal(&v, &untouched, sizeof(v));
		assert_int_equal(fake_n_prefixes(), 0);
	}
	fake.fail_at = 0;
	assert_int_equal(sets_get(s, c->policies, SP_PROPERTY_REMOTE, &v), 0);
	expect_rules(&v, "1.2.3.4", 0x1);
	sets_put(s, &v);
	sets_free(s);
	config_free(c);
	fake_reset();
}

/* The most prefixes that a configuration may have, in two rules. */
static void test_scale(void **state)
{
	static const struct fixture_policy policies[] = { { "p", .rules = { { "a" }, { "b" } } } };
	struct config *c = fixture_config(policies, 1);
	struct rule *rules = c->policies[0].rules;
	struct seeded r = { .seed = 1 };
	struct sets *s = new_sets();
	struct timespec begin, end;
	struct set_view v;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		struct prefixes *to = &rules[i % 2].when.remote;

		assert_int_equal(GROW(to->v, to->n), 0);
		to->v[to->n] = (struct prefix){ .v4 = true, .length = 32 };
		for (int byte = 0; byte < 4; byte++)
			to->v[to->n].address[byte] = (unsigned char)random_below(&r, 256);
		to->n++;
	}
	rules[0].when.has_remote = rules[1].when.has_remote = true;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(sets_get(s, c->policies, SP_PROPERTY_REMOTE, &v), 0);
	assert_true(fake_n_prefixes() > 99900); /* less what is there twice */
	sets_put(s, &v);
	clock_gettime(CLOCK_MONOTONIC, &end);
	print_message("100,000 prefixes: %.0f ms\n",
		      (double)(end.tv_sec - begin.tv_sec) * 1e3 +
			      (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
	assert_true(end.tv_sec - begin.tv_sec < 10); /* generous: sanitizers, a busy machine */
	assert_int_equal(fake_n_prefixes(), 0);
	sets_free(s);
	config_free(c);
	fake_reset();
}

/* The next agent's: equal sets are used on, others stay until nothing needs them. */
static void test_found_again(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  .rules = { { "a", .remote = { "10.0.0.0/8", "10.1.0.0/16", "fd00::/8" } } } },
		{ "q", .rules = { { "b", .remote_port = { { 80 }, { 1000, 1003 } } } } },
		{ "r", .rules = { { "c", .remote = { "10.0.0.0/9" } } } },
	};
	struct config *c = fixture_config(policies, 3);
	struct sets *earlier = new_sets(), *s;
	struct set_view p, q, again, other;
	size_t updates;

	(void)state;
	assert_int_equal(sets_get(earlier, &c->policies[0], SP_PROPERTY_REMOTE, &p), 0);
	assert_int_equal(sets_get(earlier, &c->policies[1], SP_PROPERTY_REMOTE_PORT, &q), 0);
	assert_int_equal(sets_new(NULL, &s), 0);
	assert_int_equal(sets_read(s), 0);
	updates = fake.n_updates;
	assert_int_equal(sets_get(s, &c->policies[0], SP_PROPERTY_REMOTE, &again), 0);
	assert_int_equal(again.id, p.id);
	assert_int_equal(fake.n_updates, updates);
	assert_int_equal(sets_get(s, &c->policies[2], SP_PROPERTY_REMOTE, &other), 0);
	assert_int_not_equal(other.id, p.id);
	assert_int_not_equal(other.id, q.id);
	expect_rules(&p, "10.200.0.1", 0x1);
	assert_int_equal(look_up_port(&q, 1002), 0x1);
	sets_forget_found(s);
	expect_rules(&again, "fd00::1", 0x1);
	assert_int_equal(look_up_port(&q, 1002), 0);
	sets_put(s, &again);
	sets_put(s, &other);
	assert_int_equal(fake_n_prefixes(), 0);
	free(p.rules);
	free(q.rules);
	sets_free(s);
	sets_free(earlier);
	config_free(c);
	fake_reset();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),   cmocka_unit_test(test_ports),
		cmocka_unit_test(test_random),	    cmocka_unit_test(test_sharing),
		cmocka_unit_test(test_no_room),	    cmocka_unit_test(test_scale),
		cmocka_unit_test(test_found_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
