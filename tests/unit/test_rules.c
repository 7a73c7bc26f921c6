// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * From policies to options set, end to end: what the agent writes to the maps, read by the hooks'
 * own code, against walking over all blocks as sockpol.policy(5) says.
 */
#include "compile/cascade.h"
#include "policy/when.h"
#include "compile/generation.h"
#include "host/host.h"
#include "hook_twin.h"
#include "random_policies.h"

static const struct kernel_sizes sizes = {
	.glob_states = 4096,
	.glob_edges = 65536,
	.steps = 1024,
	.policies = 64,
	.ops = 8192,
	.credits = 4096,
	.tests = 1024,
	.vectors = 16384,
	.range_nodes = 4096,
	.sources = 256,
};

/* The stages as the kernel runs them, for this test on its own: not by agent/policy/stage.c. */
static const struct stage_facts {
	enum direction direction;
	enum protocol protocol;
	bool is_unix, remote, local;
} stages[SP_STAGE_MAX] = {
	[SP_STAGE_TCP_BIND] = { DIRECTION_LISTEN, PROTOCOL_TCP, .local = true },
	[SP_STAGE_TCP_CONNECT] = { DIRECTION_CONNECT, PROTOCOL_TCP, .remote = true },
	[SP_STAGE_TCP_SYN] = { DIRECTION_CONNECT, PROTOCOL_TCP, .remote = true, .local = true },
	[SP_STAGE_TCP_ACTIVE_EST] = { DIRECTION_CONNECT, PROTOCOL_TCP, .remote = true,
				      .local = true },
	[SP_STAGE_TCP_PASSIVE_EST] = { DIRECTION_ACCEPT, PROTOCOL_TCP, .remote = true,
				       .local = true },
	[SP_STAGE_TCP_LISTEN] = { DIRECTION_LISTEN, PROTOCOL_TCP, .local = true },
	[SP_STAGE_UDP_BIND] = { DIRECTION_LISTEN, PROTOCOL_UDP, .local = true },
	[SP_STAGE_UDP_CONNECT] = { DIRECTION_CONNECT, PROTOCOL_UDP, .remote = true, .local = true },
	[SP_STAGE_UDP_SEND] = { DIRECTION_CONNECT, PROTOCOL_UDP },
	[SP_STAGE_UNIX_CONNECT] = { DIRECTION_CONNECT, .is_unix = true },
	[SP_STAGE_UNIX_SEND] = { DIRECTION_CONNECT, .is_unix = true },
	[SP_STAGE_REPLY_ACTIVE] = { DIRECTION_CONNECT, PROTOCOL_TCP, .remote = true,
				    .local = true },
	[SP_STAGE_REPLY_PASSIVE] = { DIRECTION_ACCEPT, PROTOCOL_TCP, .remote = true,
				     .local = true },
};

struct world {
	struct seeded *random;
	struct sources *sources;
	struct generation *generation;
	const struct effective *effective;
	uint32_t index;
};

static struct connection random_connection(struct seeded *r, enum sp_stage s)
{
	const struct stage_facts *of = &stages[s];
	struct connection c = { .direction = of->direction, .protocol = of->protocol };
	bool v4 = random_below(r, 2);

	if (of->is_unix) {
		c.family = SP_FAMILY_INDEX_UNIX;
		return c;
	}
	c.family = v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
	if (of->remote)
		c.remote = random_endpoint(r, v4);
	/* an address of its own, but perhaps no port yet, or nothing at all */
	if (of->local && (s != SP_STAGE_UDP_CONNECT || random_below(r, 2)))
		c.local = random_endpoint(r, v4);
	if (s == SP_STAGE_TCP_BIND && random_below(r, 2))
		c.local.port = 0;
	return c;
}

static void set_address(struct address *to, const struct endpoint *from)
{
	memcpy(to->a, from->address, from->v4 ? 4 : 16);
	to->known = from->known;
	to->v4 = from->v4;
	to->port = from->port;
}

/* SP_FAMILY_*: what bpf/sockpol.bpf.c's families_of() has for it. */
static uint32_t families_of(const struct connection *c)
{
	switch (c->family) {
	case SP_FAMILY_INDEX_IPV4:
		return SP_FAMILY_IPV4;
	case SP_FAMILY_INDEX_IPV6:
		return SP_FAMILY_IPV6;
	default:
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	}
}

struct winner {
	const struct block *block; /* NULL: nobody sets it */
	const struct setting *setting;
};

/* sockpol.policy(5), "What wins": the last to set it. */
static struct winner walk(const struct effective *e, const struct option *option,
			  const struct connection *c)
{
	struct winner w = { 0 };

	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct block *b = &e->blocks[i];

		if (b->rule ? !when_holds(&b->rule->when, c) : c->family == SP_FAMILY_INDEX_UNIX)
			continue;
		for (size_t n = 0; n < b->options->n; n++)
			if (options_rival(b->options->v[n].option, option))
				w = (struct winner){ b, &b->options->v[n] };
	}
	return w;
}

/* What of the winner is set at the stage, or NULL.  SP_STAGE_TCP_SYN sets what SP_STAGE_TCP_CONNECT
 * would. */
static const struct setting *due(const struct winner *w, enum sp_stage s)
{
	enum sp_stage as = s == SP_STAGE_TCP_SYN ? SP_STAGE_TCP_CONNECT : s;
	const struct option *o;
	const struct rule *rule;

	if (!w->block || !w->setting || w->setting->unset)
		return NULL;
	o = w->setting->option;
	rule = w->block->rule;
	if (s == SP_STAGE_TCP_LISTEN && !o->carried &&
	    !(rule && rule->when.has_direction && rule->when.directions & BIT(DIRECTION_LISTEN)))
		return NULL;
	return (o->stages[stages[s].direction] & BIT(as)) ? w->setting : NULL;
}

static size_t n_compared, n_by_rules; /* settings; of them those that a rule made */

static void expect_same(const struct world *w, enum sp_stage s, const struct sp_op *op,
			const struct block *block, const struct setting *setting)
{
	const struct option *o = setting->option;
	const struct sockopt *value = &setting->value;
	unsigned char expected[SP_VALUE_SIZE] = { 0 };
	uint32_t source = sources_id(w->sources, block->policy, block->rule);
	int jiffies;

	n_compared++;
	n_by_rules += block->rule != NULL;
	assert_int_equal(sockopt_get(value, expected, value->size), 0);
	if (o == &option_table[OPTION_TIMEOUT_INIT]) {
		assert_int_equal(sockopt_getint(value, &jiffies), 0);
		jiffies = host_jiffies(jiffies * 1000LL);
		memcpy(expected, &jiffies, sizeof(jiffies));
	}
	if (op->option != option_id(o) || op->source != source || op->optlen != value->size ||
	    op->level != o->level || op->optname != o->optname ||
	    memcmp(op->value, expected, sizeof(expected)) != 0)
		SEEDED_FAIL(
			w->random,
			"stage %d sets %s (source %u), not %s (source %u) of %s/%s, or not to its value",
			s, option_table[op->option].name, op->source, o->name, source,
			block->policy->name, block->rule ? block->rule->name : "");
}

static void run_at(const struct world *w, enum sp_stage s, const struct connection *c)
{
	struct facts facts = { .family = c->family };

	if (stages[s].remote)
		set_address(&facts.remote, &c->remote);
	if (stages[s].local)
		set_address(&facts.local, &c->local);
	twin_run(w->index, s, &facts, families_of(c));
}

/* The stage whose settings are credited at this one too: it runs when it is not known yet what
 * becomes of the socket, or several times. */
static enum sp_stage credited_here_too(enum sp_stage s)
{
	switch (s) {
	case SP_STAGE_TCP_PASSIVE_EST:
		return SP_STAGE_REPLY_PASSIVE;
	case SP_STAGE_TCP_LISTEN:
		return SP_STAGE_TCP_BIND;
	default:
		return s;
	}
}

static bool has_setting_at(const struct block *b, enum sp_stage s)
{
	for (size_t i = 0; i < b->options->n; i++)
		if (!b->options->v[i].unset &&
		    b->options->v[i].option->stages[stages[s].direction] & BIT(s))
			return true;
	return false;
}

/* An IPv4 option on an IPv6 connection is nobody's merit. */
static bool takes_option(const struct connection *c, int id)
{
	return option_families(&option_table[id]) & families_of(c);
}

/* Credited once: who won something; and nobody else, but for what another stage has set. */
static void compare_credits(const struct world *w, enum sp_stage s, const struct connection *c)
{
	bool won[ARRAY_SIZE(twin.applied)] = { false }, may[ARRAY_SIZE(twin.applied)] = { false };

	for (int id = 0; id < OPTION_MAX; id++) {
		struct winner winner = walk(w->effective, &option_table[id], c);

		if (!due(&winner, s) || !takes_option(c, id))
			continue;
		won[sources_id(w->sources, winner.block->policy, NULL)] = true;
		won[sources_id(w->sources, winner.block->policy, winner.block->rule)] = true;
	}
	for (size_t i = 0; i < w->effective->n_blocks; i++) {
		const struct block *b = &w->effective->blocks[i];

		if (credited_here_too(s) == s || !has_setting_at(b, credited_here_too(s)))
			continue;
		may[sources_id(w->sources, b->policy, NULL)] = true;
		may[sources_id(w->sources, b->policy, b->rule)] = true;
	}
	for (unsigned i = 1; i < ARRAY_SIZE(twin.applied); i++)
		if (twin.applied[i] > 1 || (won[i] && !twin.applied[i]) ||
		    (twin.applied[i] && !won[i] && !may[i]))
			SEEDED_FAIL(w->random, "stage %d credits source %u %llu times, it %s", s, i,
				    (unsigned long long)twin.applied[i],
				    won[i] ? "won something" : "won nothing");
}

static bool asks_for_local(const struct policy *p)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (p->rules[i].when.has_local || p->rules[i].when.has_local_port)
			return true;
	return false;
}

/*
 * The three stages of a connecting socket, and its replies: nobody is credited twice, and who won
 * something is.  (But for rules that ask for `local`: where others of the policy are credited
 * already at connect(2), it is not known yet.)
 */
static void compare_connect_credits(const struct world *w, const struct connection *c)
{
	static const enum sp_stage of[] = { SP_STAGE_TCP_CONNECT, SP_STAGE_TCP_SYN,
					    SP_STAGE_TCP_ACTIVE_EST, SP_STAGE_REPLY_ACTIVE };
	uint64_t credited[ARRAY_SIZE(twin.applied)] = { 0 };

	for (size_t i = 0; i + 1 < ARRAY_SIZE(of); i++) {
		run_at(w, of[i], c);
		for (unsigned source = 0; source < ARRAY_SIZE(credited); source++)
			credited[source] += twin.applied[source];
	}
	for (unsigned source = 0; source < ARRAY_SIZE(credited); source++)
		if (credited[source] > 1)
			SEEDED_FAIL(w->random, "connecting credits source %u twice", source);
	for (size_t i = 0; i < ARRAY_SIZE(of); i++) {
		for (int id = 0; id < OPTION_MAX; id++) {
			struct winner won = walk(w->effective, &option_table[id], c);

			if (!due(&won, of[i]) || !takes_option(c, id) ||
			    asks_for_local(won.block->policy))
				continue;
			if (!credited[sources_id(w->sources, won.block->policy, NULL)] ||
			    !credited[sources_id(w->sources, won.block->policy, won.block->rule)])
				SEEDED_FAIL(w->random,
					    "%s of %s/%s is set at stage %d, not credited",
					    option_table[id].name, won.block->policy->name,
					    won.block->rule ? won.block->rule->name : "", of[i]);
		}
	}
}

/* Everything that the walk says, in the table's order, and nothing else. */
static void compare_stage(const struct world *w, enum sp_stage s, const struct connection *c)
{
	size_t n = 0;

	run_at(w, s, c);
	for (int id = 0; id < OPTION_MAX; id++) {
		struct winner winner = walk(w->effective, &option_table[id], c);
		const struct setting *setting = due(&winner, s);

		/* an option in two spellings comes by the first one, whichever was written */
		if (id == OPTION_SO_BINDTOIFINDEX || !winner.block || !setting ||
		    !(option_families(setting->option) & families_of(c)))
			continue;
		if (n == twin.n_set)
			SEEDED_FAIL(w->random, "stage %d does not set %s", s,
				    setting->option->name);
		expect_same(w, s, twin.set[n++], winner.block, setting);
	}
	if (n != twin.n_set)
		SEEDED_FAIL(w->random, "stage %d sets %s too", s,
			    option_table[twin.set[n]->option].name);
}

/*
 * What is due before the SYN is set at connect(2), or, all of it that asks for `local`, when the
 * kernel has chosen that: together once.
 */
static void compare_connect(const struct world *w, const struct connection *c)
{
	const struct sp_op *set[OPTION_MAX] = { NULL };

	for (int pass = 0; pass < 2; pass++) {
		run_at(w, pass ? SP_STAGE_TCP_SYN : SP_STAGE_TCP_CONNECT, c);
		for (size_t i = 0; i < twin.n_set; i++) {
			if (set[twin.set[i]->option])
				SEEDED_FAIL(w->random, "%s is set twice",
					    option_table[twin.set[i]->option].name);
			set[twin.set[i]->option] = twin.set[i];
		}
	}
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct option *o = &option_table[id];
		struct winner winner = walk(w->effective, o, c);
		const struct setting *setting = due(&winner, SP_STAGE_TCP_CONNECT);
		bool expected =
			setting && setting->option == o && option_families(o) & families_of(c);

		if (expected != (set[id] != NULL))
			SEEDED_FAIL(w->random, "%s is %s before the SYN", o->name,
				    set[id] ? "set" : "not set");
		if (expected && set[id])
			expect_same(w, SP_STAGE_TCP_CONNECT, set[id], winner.block, setting);
	}
}

/* The way to the cgroup that they are about. */
static struct node nodes[] = {
	{ .id = 1, .path = "/", .name = "" },
	{ .id = 2, .parent = &nodes[0], .path = "/a", .name = "a" },
	{ .id = 3, .parent = &nodes[1], .path = "/a/b", .name = "b" },
};

/* Places the cgroups; what they need is compiled and counted, and not yet written. */
static void world_new(struct world *w, struct config *c, const struct kernel_sizes *room,
		      unsigned half)
{
	const struct place *place = &nodes[ARRAY_SIZE(nodes) - 1].places[half];
	const char *what;

	fake_reset();
	fake.sizes = *room;
	*w = (struct world){ 0 };
	assert_int_equal(sources_new(NULL, &w->sources), 0);
	assert_int_equal(sources_add_config(w->sources, c), 0);
	assert_int_equal(generation_new(NULL, w->sources, c, half, &w->generation), 0);
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		assert_int_equal(
			generation_place(w->generation, &nodes[i], &nodes[i].places[half], &what),
			0);
	w->effective = cascade_effective(place->class);
	w->index = place->policy;
	assert_int_equal(w->index != 0, w->effective != NULL);
}

static void world_write(struct world *w)
{
	const char *what;

	assert_int_equal(generation_write_steps(w->generation, &what), 0);
}

static void world_free(struct world *w)
{
	(void)generation_erase(w->generation);
	generation_free(w->generation);
	sources_free(w->sources);
	assert_int_equal(HASH_COUNT(fake.steps), 0);
	fake_reset();
}

static void run_random(struct seeded *r)
{
	struct world w;

	world_new(&w, random_config(r), &sizes, (unsigned)(r->seed & 1));
	w.random = r;
	world_write(&w);
	for (int i = 0; w.effective && i < 100; i++) {
		enum sp_stage s = random_below(r, SP_STAGE_MAX);
		struct connection c = random_connection(r, s);

		if (s == SP_STAGE_TCP_CONNECT || s == SP_STAGE_TCP_SYN) {
			c = random_connection(r, SP_STAGE_TCP_SYN);
			compare_connect(&w, &c);
			compare_connect_credits(&w, &c);
		} else {
			compare_stage(&w, s, &c);
			/* these are credited at others */
			if (s != SP_STAGE_TCP_BIND && s != SP_STAGE_TCP_ACTIVE_EST &&
			    s != SP_STAGE_REPLY_ACTIVE && s != SP_STAGE_REPLY_PASSIVE)
				compare_credits(&w, s, &c);
		}
	}
	world_free(&w);
}

static void test_random(void **state)
{
	(void)state;
	n_compared = n_by_rules = 0;
	for_seeds(300, run_random);
	/* that there was something to compare */
	print_message("%zu settings compared, %zu of them by rules\n", n_compared, n_by_rules);
	assert_true(getenv("SOCKPOL_TEST_SEED") || (n_compared > 10000 && n_by_rules > 3000));
}

static struct connection connect_to(const char *address, uint16_t port)
{
	struct connection c = {
		.direction = DIRECTION_CONNECT,
		.protocol = PROTOCOL_TCP,
		.family = SP_FAMILY_INDEX_IPV4,
		.remote = { .known = true, .v4 = true, .port = port },
	};

	assert_int_equal(inet_pton(AF_INET, address, c.remote.address), 1);
	return c;
}

/* "policy policy/rule ..." */
static void expect_applied(const struct world *w, const char *expected)
{
	const struct config *config = generation_config(w->generation);
	char who[256] = "";

	for (size_t i = 0; i < config->n_policies; i++) {
		const struct policy *p = &config->policies[i];

		if (twin.applied[sources_id(w->sources, p, NULL)])
			strcat(strcat(who, *who ? " " : ""), p->name);
		for (size_t n = 0; n < p->n_rules; n++)
			if (twin.applied[sources_id(w->sources, p, &p->rules[n])])
				strcat(strcat(strcat(strcat(who, *who ? " " : ""), p->name), "/"),
				       p->rules[n].name);
	}
	assert_string_equal(who, expected);
}

static void test_credits(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "base", { "/a" }, .base = { { OPTION_TCP_NODELAY, 1 } } },
		{ "rules",
		  { "/a" },
		  .rules = { { "near", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "10.0.0.0/8" } },
			     { "web", 0, { { OPTION_TCP_NODELAY, 2 } }, .remote_port = { { 80 } } },
			     { "off",
			       0,
			       { { OPTION_SO_MARK, UNSET } },
			       .remote = { "10.9.0.0/16" } } } },
		{ "reply",
		  { "/a" },
		  .rules = { { "wide",
			       0,
			       { { OPTION_RWND_INIT, 9 } },
			       .remote = { "11.0.0.0/8" } } } },
	};
	static const struct {
		const char *remote;
		uint16_t port;
		const char *applied;
	} cases[] = {
		{ "9.0.0.1", 81, "base" },
		{ "9.0.0.1", 80, "rules rules/web" },
		{ "10.0.0.1", 81, "base rules rules/near" },
		{ "10.9.0.1", 81, "base" }, /* `near` holds, and loses to `off` */
		{ "11.0.0.1", 81, "base reply reply/wide" },
	};
	struct world w;

	(void)state;
	world_new(&w, fixture_config(policies, 3), &sizes, 0);
	world_write(&w);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct connection c = connect_to(cases[i].remote, cases[i].port);

		run_at(&w, SP_STAGE_TCP_CONNECT, &c);
		expect_applied(&w, cases[i].applied);
	}
	world_free(&w);
}

/* The same policy's rules have other bits beside another policy's: each outcome has its own. */
static void test_two_outcomes(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "wide",
		  { "/a" },
		  .rules = { { "x", 0, { { OPTION_SO_MARK, 1 } }, .remote = { "10.1.0.0/16" } },
			     { "y", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "10.2.0.0/16" } } } },
		{ "both",
		  { "/a/b", "/c" },
		  .rules = { { "z", 0, { { OPTION_SO_MARK, 3 } }, .remote = { "10.3.0.0/16" } } } },
	};
	const struct node first = { .path = "/c", .name = "c" };
	struct connection c = connect_to("10.3.0.1", 80), other = connect_to("10.9.0.1", 80);
	struct place place;
	const char *what;
	struct world w;

	(void)state;
	world_new(&w, fixture_config(policies, 2), &sizes, 0);
	assert_int_equal(generation_place(w.generation, &first, &place, &what), 0);
	world_write(&w);
	run_at(&w, SP_STAGE_TCP_CONNECT, &c);
	expect_applied(&w, "both both/z");
	w.index = place.policy;
	run_at(&w, SP_STAGE_TCP_CONNECT, &c);
	expect_applied(&w, "both both/z");
	run_at(&w, SP_STAGE_TCP_CONNECT, &other);
	expect_applied(&w, "");
	world_free(&w);
}

/* A map that is full is named, and what was begun is not in force. */
static void test_no_room(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, 1 } },
		  .rules = { { "r", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "10.0.0.0/8" } } } },
	};
	static const struct {
		uint32_t policies, ops, credits, tests, vectors, range_nodes;
		const char *what;
	} cases[] = {
		{ 0, 99, 99, 99, 99, 99, "policies" }, { 1, 1, 99, 99, 99, 99, "ops" },
		{ 1, 99, 1, 99, 99, 99, "credits" },   { 1, 99, 99, 0, 99, 99, "tests" },
		{ 1, 99, 99, 99, 1, 99, "vectors" },   { 1, 99, 99, 99, 99, 0, "range_nodes" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct kernel_sizes room = {
			.glob_states = 99,
			.glob_edges = 9999,
			.steps = 99,
			.policies = cases[i].policies,
			.ops = cases[i].ops,
			.credits = cases[i].credits,
			.tests = cases[i].tests,
			.vectors = cases[i].vectors,
			.range_nodes = cases[i].range_nodes,
			.sources = 9,
		};
		struct kernel_sizes needed = { 0 };
		struct world w;
		const char *what;

		world_new(&w, fixture_config(policies, 1), &room, 1);
		assert_int_equal(generation_write_steps(w.generation, &what), -ENOSPC);
		assert_string_equal(what, cases[i].what);
		generation_needed(w.generation, &needed);
		assert_true(needed.policies >= 1 && needed.ops > 1 && needed.credits > 1 &&
			    needed.tests >= 1 && needed.vectors > 1 && needed.range_nodes == 1);
		world_free(&w);
	}
}

/* The two functions of bpf/rules.h that find a rule's place. */
static void test_bits(void **state)
{
	struct seeded r = { .seed = 1 };

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t lower = (1ull << bit) - 1, x = 1ull << bit | (random_bits(&r) & lower);

		assert_int_equal(highest_bit(1ull << bit), bit);
		assert_int_equal(highest_bit(x), bit);
		assert_int_equal(count_bits(lower), bit);
		assert_int_equal(count_bits(x), __builtin_popcountll(x));
	}
	assert_int_equal(count_bits(UINT64_MAX), 64);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits),	     cmocka_unit_test(test_credits),
		cmocka_unit_test(test_two_outcomes), cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
